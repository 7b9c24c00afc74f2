//! Receiver operating characteristic of scores for one class.

use crate::{Error, Result};

/// The receiver operating characteristic: which share of the right rows is found for which share of the wrong ones, as
/// the threshold falls. Rows of equal scores move together, as in scikit-learn's `roc_curve`.
#[derive(Debug, Clone, PartialEq)]
pub struct RocCurve {
    points: Vec<(f64, f64)>,
}

impl RocCurve {
    /// Takes one score and one truth per row.
    ///
    /// # Errors
    /// [`Error::Param`] when there are not as many of both, a score is NaN, or all rows are of one kind.
    pub fn new(scores: &[f32], positive: &[bool]) -> Result<Self> {
        if scores.len() != positive.len() {
            let legal = format!("as many as there are truths, {}", positive.len());
            return Err(Error::param("scores", format!("{} values", scores.len()), legal));
        }
        if let Some(row) = scores.iter().position(|s| s.is_nan()) {
            return Err(Error::param("scores", format!("NaN in row {row}"), "numbers"));
        }
        let all = positive.iter().filter(|p| **p).count();
        if all == 0 || all == positive.len() {
            let value = format!("{all} of {} rows", positive.len());
            return Err(Error::param("positive", value, "true for some rows and false for others"));
        }
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        let (mut found, mut mistaken) = (0, 0);
        let mut points = vec![(0.0, 0.0)];
        for rows in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
            let right = rows.iter().filter(|row| positive[**row]).count();
            found += right;
            mistaken += rows.len() - right;
            points.push((mistaken as f64 / (positive.len() - all) as f64, found as f64 / all as f64));
        }
        Ok(Self { points })
    }

    /// Returns `(share of wrong rows taken, share of right rows found)`, from `(0, 0)` to `(1, 1)`.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// Returns the area under the curve: the probability that a positive row scores higher than a negative one, ties
    /// counting half.
    pub fn area(&self) -> f64 {
        self.points.windows(2).map(|p| (p[1].0 - p[0].0) * (p[1].1 + p[0].1) / 2.0).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_area_is_the_share_of_pairs_in_order() {
        // scikit-learn 1.7: roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.75.
        let curve = RocCurve::new(&[0.1, 0.4, 0.35, 0.8], &[false, false, true, true]).unwrap();
        assert_eq!(curve.area(), 0.75);
        assert_eq!(curve.points(), [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        let even = RocCurve::new(&[0.5; 3], &[true, false, true]).unwrap();
        assert_eq!((even.area(), even.points().len()), (0.5, 2));
    }

    #[test]
    fn what_has_no_curve_is_refused() {
        for (scores, positive, words) in [
            (vec![0.1], vec![true, false], "as there are truths, 2"),
            (vec![f32::NAN, 0.0], vec![true, false], "NaN in row 0"),
            (vec![0.1, 0.2], vec![true, true], "false for others"),
        ] {
            let message = RocCurve::new(&scores, &positive).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
