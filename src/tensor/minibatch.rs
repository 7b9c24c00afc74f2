//! Minibatches in any order over rows in memory.

use super::Examples;

/// What to do with the rows that are left when the minibatch size does not divide their number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Remainder {
    /// They form a smaller last minibatch.
    #[default]
    Keep,
    /// They sit this epoch out, unless there is no other minibatch.
    Drop,
}

/// Some rows, copied together.
#[derive(Debug, Clone, PartialEq)]
pub struct Minibatch {
    /// `rows × width` values, row-major.
    pub features: Vec<f32>,
    /// The class of each row.
    pub labels: Vec<u32>,
    /// The weight of each row.
    pub weights: Vec<f32>,
}

impl Minibatch {
    /// Copies the rows of those numbers.
    pub fn gather(examples: &Examples, rows: &[u32]) -> Self {
        let mut features = Vec::with_capacity(rows.len() * examples.width);
        for &row in rows {
            features.extend_from_slice(examples.row(row as usize));
        }
        Self {
            features,
            labels: rows.iter().map(|&row| examples.labels[row as usize]).collect(),
            weights: rows.iter().map(|&row| examples.weight(row as usize)).collect(),
        }
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.labels.len()
    }
}

/// The minibatches of one epoch.
#[derive(Debug)]
pub struct Minibatches<'a> {
    examples: &'a Examples,
    order: &'a [u32],
    size: usize,
}

impl<'a> Minibatches<'a> {
    /// Cuts `order` (row numbers) into minibatches of `size` rows, at least 1.
    pub fn new(examples: &'a Examples, order: &'a [u32], size: usize, remainder: Remainder) -> Self {
        let size = size.max(1);
        let order = match remainder {
            Remainder::Drop if order.len() > size => &order[..order.len() / size * size],
            _ => order,
        };
        Self { examples, order, size }
    }

    /// How many are still to come.
    pub fn remaining(&self) -> usize {
        self.order.len().div_ceil(self.size)
    }
}

impl Iterator for Minibatches<'_> {
    type Item = Minibatch;

    fn next(&mut self) -> Option<Minibatch> {
        if self.order.is_empty() {
            return None;
        }
        let (rows, rest) = self.order.split_at(self.size.min(self.order.len()));
        self.order = rest;
        Some(Minibatch::gather(self.examples, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(rows: u32) -> Examples {
        let features = (0..rows).flat_map(|r| [r as f32, -(r as f32)]).collect();
        Examples { width: 2, features, labels: (0..rows).collect(), ..Default::default() }
    }

    #[test]
    fn minibatches_follow_the_order_and_end_unevenly() {
        let examples = examples(5);
        let order = [4, 2, 0, 1, 3];
        let batches = Minibatches::new(&examples, &order, 2, Remainder::Keep);
        assert_eq!(batches.remaining(), 3);
        let batches: Vec<_> = batches.collect();
        assert_eq!(batches.iter().map(|b| b.labels.clone()).collect::<Vec<_>>(), [vec![4, 2], vec![0, 1], vec![3]]);
        assert_eq!(batches[0].features, [4.0, -4.0, 2.0, -2.0]);
        assert_eq!(batches[2].weights, [1.0]);
    }

    #[test]
    fn a_dropped_remainder_never_drops_everything() {
        let examples = examples(5);
        let order = [0, 1, 2, 3, 4];
        let sizes = |size, remainder| -> Vec<usize> {
            Minibatches::new(&examples, &order, size, remainder).map(|b| b.rows()).collect()
        };
        assert_eq!(sizes(2, Remainder::Drop), [2, 2]);
        assert_eq!(sizes(5, Remainder::Drop), [5]);
        assert_eq!(sizes(9, Remainder::Drop), [5]);
        assert_eq!(Minibatches::new(&examples, &[], 2, Remainder::Keep).count(), 0);
    }
}
