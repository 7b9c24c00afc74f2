//! Which rows are held out.

use super::TrainParams;
use crate::{
    Error, Result,
    nn::random::{Philox, Purpose},
    tensor::{Columns, Examples},
};

/// Row numbers to learn from, and row numbers held out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) training: Vec<u32>,
    pub(super) held_out: Vec<u32>,
}

impl Split {
    /// Holds out what the data says, else the asked share of rows by a hash of the seed and the row's number.
    ///
    /// Refuses a split that leaves nothing on one side.
    pub(super) fn new(examples: &Examples, params: &TrainParams, columns: &Columns) -> Result<Self> {
        params.check_split(columns)?;
        let hash = |row: u32| Philox::new(params.seed, Purpose::Split, 0, u64::from(row)).next_f32();
        let is_held_out = |row: &u32| match examples.held_out.get(*row as usize) {
            Some(held_out) => *held_out,
            None => f64::from(hash(*row)) < params.validation_fraction,
        };
        let (held_out, training): (Vec<u32>, Vec<u32>) = (0..examples.rows() as u32).partition(is_held_out);
        let asked = columns.validation.is_some() || params.validation_fraction > 0.0;
        if training.is_empty() || (asked && held_out.is_empty()) {
            return Err(Self::one_sided(examples.rows(), held_out.len(), params, columns));
        }
        Ok(Self { training, held_out })
    }

    fn one_sided(rows: usize, held_out: usize, params: &TrainParams, columns: &Columns) -> Error {
        let side = if held_out == 0 { "none to check against" } else { "none to learn from" };
        match &columns.validation {
            Some(column) => Error::data(column, format!("{held_out} of {rows} rows are held out, which leaves {side}")),
            None => Error::param(
                "validation_fraction",
                params.validation_fraction,
                format!("a share that splits {rows} rows in two; this one leaves {side}"),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples(rows: usize) -> Examples {
        Examples { width: 1, features: vec![0.0; rows], labels: vec![0; rows], ..Default::default() }
    }

    fn split(examples: &Examples, fraction: f64, seed: u64) -> Result<Split> {
        let params = TrainParams { validation_fraction: fraction, seed, ..Default::default() };
        Split::new(examples, &params, &Columns::new("x", "y"))
    }

    #[test]
    fn the_seed_decides_which_rows_are_held_out() {
        let examples = examples(2000);
        let a = split(&examples, 0.25, 7).unwrap();
        assert_eq!(a, split(&examples, 0.25, 7).unwrap());
        assert_ne!(a, split(&examples, 0.25, 8).unwrap());
        assert!((450..550).contains(&a.held_out.len()), "{}", a.held_out.len());
        assert_eq!(a.training.len() + a.held_out.len(), 2000);
        assert!(split(&examples, 0.0, 7).unwrap().held_out.is_empty());
    }

    #[test]
    fn a_validation_column_decides_alone() {
        let columns = Columns::new("x", "y").validation("v");
        let examples = Examples { held_out: vec![false, true, false], ..examples(3) };
        let split = Split::new(&examples, &TrainParams::default(), &columns).unwrap();
        assert_eq!((split.training, split.held_out), (vec![0, 2], vec![1]));
        let both = TrainParams { validation_fraction: 0.5, ..Default::default() };
        let message = Split::new(&examples, &both, &columns).unwrap_err().to_string();
        assert!(message.contains("validation_fraction") && message.contains("`v`"), "{message}");
    }

    #[test]
    fn a_one_sided_split_is_refused() {
        let message = split(&examples(3), 0.001, 7).unwrap_err().to_string();
        assert!(message.contains("0.001") && message.contains("check against"), "{message}");
        let message = split(&examples(3), 0.999, 7).unwrap_err().to_string();
        assert!(message.contains("learn from"), "{message}");
        let columns = Columns::new("x", "y").validation("v");
        for (held_out, words) in [(false, "0 of 3"), (true, "3 of 3")] {
            let examples = Examples { held_out: vec![held_out; 3], ..examples(3) };
            let message = Split::new(&examples, &TrainParams::default(), &columns).unwrap_err().to_string();
            assert!(message.contains("`v`") && message.contains(words), "{message}");
        }
    }
}
