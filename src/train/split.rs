//! Which rows are held out.

use super::TrainParams;
use crate::{
    DataProblem, Error, Result,
    nn::random::{Philox, Purpose},
    tensor::Columns,
};

/// Numbers of training rows and of held-out rows, decided row by row as they arrive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct HeldOutSplit {
    pub(super) training: Vec<u32>,
    pub(super) held_out: Vec<u32>,
}

impl HeldOutSplit {
    /// Returns the number of assigned rows; also the next row's number.
    pub(super) fn rows(&self) -> u32 {
        (self.training.len() + self.held_out.len()) as u32
    }

    /// Assigns the next row by what the data says of it, else by a hash of the seed and the row's number. Gives its
    /// number and whether it is held out.
    pub(super) fn assign(&mut self, mark: Option<bool>, params: &TrainParams) -> (u32, bool) {
        let row = self.rows();
        let fraction = params.validation_fraction;
        let hash = || Philox::new(params.seed, Purpose::Split, 0, u64::from(row)).next_f32();
        let held_out = mark.unwrap_or_else(|| fraction > 0.0 && f64::from(hash()) < fraction);
        if held_out { &mut self.held_out } else { &mut self.training }.push(row);
        (row, held_out)
    }

    /// Refuses a split that leaves nothing on one side.
    pub(super) fn check(&self, params: &TrainParams, columns: &Columns) -> Result<()> {
        let asked = columns.validation.is_some() || params.validation_fraction > 0.0;
        let (rows, held_out) = (self.rows(), self.held_out.len());
        let one_sided = self.training.is_empty() || (asked && held_out == 0);
        if !one_sided {
            return Ok(());
        }
        let side = if held_out == 0 { "no validation row" } else { "no training row" };
        Err(match &columns.validation {
            Some(column) => {
                let part = "held out".into();
                Error::data(column, DataProblem::EmptySplit { rows: rows.into(), taken: held_out as u64, part })
            }
            None => Error::param(
                "validation_fraction",
                params.validation_fraction,
                format!("a share that splits {rows} rows in two; this one leaves {side}"),
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(rows: usize, fraction: f64, seed: u64) -> Result<HeldOutSplit> {
        let params = TrainParams { validation_fraction: fraction, seed, ..Default::default() };
        let mut split = HeldOutSplit::default();
        (0..rows).for_each(|_| _ = split.assign(None, &params));
        split.check(&params, &Columns::new("x", "y")).map(|()| split)
    }

    fn marked(marks: [bool; 3]) -> Result<HeldOutSplit> {
        let mut split = HeldOutSplit::default();
        marks.iter().for_each(|&mark| _ = split.assign(Some(mark), &TrainParams::default()));
        split.check(&TrainParams::default(), &Columns::new("x", "y").validation("v")).map(|()| split)
    }

    #[test]
    fn the_seed_decides_which_rows_are_held_out() {
        let a = split(2000, 0.25, 7).unwrap();
        assert_eq!(a, split(2000, 0.25, 7).unwrap());
        assert_ne!(a, split(2000, 0.25, 8).unwrap());
        assert!((450..550).contains(&a.held_out.len()), "{}", a.held_out.len());
        assert_eq!(a.rows(), 2000);
        assert!(split(2000, 0.0, 7).unwrap().held_out.is_empty());
        let fewer = split(1000, 0.25, 7).unwrap();
        assert!(a.held_out.starts_with(&fewer.held_out), "what comes later decides nothing");
    }

    #[test]
    fn a_validation_column_decides_alone() {
        let split = marked([false, true, false]).unwrap();
        assert_eq!((split.training, split.held_out), (vec![0, 2], vec![1]));
        let both = TrainParams { validation_fraction: 0.5, ..Default::default() };
        let message = both.check_split(&Columns::new("x", "y").validation("v")).unwrap_err().to_string();
        assert!(message.contains("validation_fraction") && message.contains("`v`"), "{message}");
    }

    #[test]
    fn a_one_sided_split_is_refused() {
        let message = split(3, 0.001, 7).unwrap_err().to_string();
        assert!(message.contains("0.001") && message.contains("no validation row"), "{message}");
        let message = split(3, 0.999, 7).unwrap_err().to_string();
        assert!(message.contains("no training row"), "{message}");
        for (held_out, words) in [(false, "0 of 3"), (true, "3 of 3")] {
            let message = marked([held_out; 3]).unwrap_err().to_string();
            assert!(message.contains("`v`") && message.contains(words), "{message}");
        }
    }
}
