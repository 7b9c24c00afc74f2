//! Curves of one class against all others.

use crate::model::RocCurve;

/// Points of a curve that are kept.
const MOST_POINTS: usize = 400;

/// Curves of one class against all others.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub struct ClassCurves {
    /// The class.
    pub name: String,
    /// False-positive rate and true-positive rate.
    pub roc: Vec<(f64, f64)>,
    /// Area under it.
    pub auc: f64,
    /// Recall and precision.
    pub precision_recall: Vec<(f64, f64)>,
    /// Area under it, as average precision.
    pub average_precision: f64,
}

impl ClassCurves {
    /// Returns the curves of a class: each row's score, and whether the row is of the class.
    pub(super) fn of(name: String, scores: &[f32], positive: &[bool]) -> Self {
        // There is none where all rows are of one kind.
        let roc = RocCurve::new(scores, positive).ok();
        let (precision_recall, average_precision) = precision_recall(scores, positive);
        Self {
            name,
            auc: roc.as_ref().map_or(f64::NAN, RocCurve::area),
            roc: thin(roc.map(|roc| roc.points().to_vec()).unwrap_or_default()),
            precision_recall: thin(precision_recall),
            average_precision,
        }
    }
}

/// Returns recall and precision as the threshold falls, and the average precision. Rows of one score move together.
fn precision_recall(scores: &[f32], positive: &[bool]) -> (Vec<(f64, f64)>, f64) {
    let all = positive.iter().filter(|is| **is).count().max(1) as f64;
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let (mut found, mut taken, mut average) = (0, 0, 0.0);
    let mut points = Vec::new();
    for rows in order.chunk_by(|a, b| scores[*a] == scores[*b]) {
        let right = rows.iter().filter(|row| positive[**row]).count();
        found += right;
        taken += rows.len();
        let precision = found as f64 / taken as f64;
        average += right as f64 / all * precision;
        points.push((found as f64 / all, precision));
    }
    (points, average)
}

/// Returns an even choice of points, the first and the last among them.
fn thin(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    if points.len() <= MOST_POINTS {
        return points;
    }
    let last = points.len() - 1;
    (0..MOST_POINTS).map(|place| points[place * last / (MOST_POINTS - 1)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curves_are_those_of_scikit_learn() {
        // roc_auc_score and average_precision_score of scikit-learn 1.7 for these four rows.
        let curves = ClassCurves::of("b".into(), &[0.35, 0.1, 0.8, 0.4], &[true, false, true, false]);
        assert_eq!(curves.auc, 0.75);
        assert!((curves.average_precision - 0.8333333333333333).abs() < 1e-12);
        assert_eq!(curves.roc, [(0.0, 0.0), (0.0, 0.5), (0.5, 0.5), (0.5, 1.0), (1.0, 1.0)]);
        let one_kind = ClassCurves::of("b".into(), &[0.5, 0.1], &[true, true]);
        assert!(one_kind.auc.is_nan() && one_kind.roc.is_empty());
    }
}
