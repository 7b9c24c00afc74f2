//! Learning-rate schedules.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, number};

/// Factor of the parameters' learning rate, by step.
///
/// Schedules over the whole run end with its last epoch. While the number of steps in an epoch is not known (the first
/// epoch of a source that does not say its rows), they move from epoch to epoch.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "job", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// The same throughout.
    #[default]
    Constant,
    /// Times `gamma` every so many epochs, PyTorch's `StepLR`.
    Step {
        /// Epochs, at least 1.
        step_size: usize,
        /// Above 0.
        gamma: f64,
    },
    /// Times `gamma` every epoch, PyTorch's `ExponentialLR`.
    Exponential {
        /// Above 0.
        gamma: f64,
    },
    /// Down to `end_factor` along a straight line over the run, PyTorch's `LinearLR`.
    Linear {
        /// Factor at the end, in [0, 1].
        end_factor: f64,
    },
    /// Down to `end_factor` along half a cosine over the run (Loshchilov and Hutter, "SGDR", ICLR 2017), PyTorch's
    /// `CosineAnnealingLR`.
    Cosine {
        /// Factor at the end, in [0, 1].
        end_factor: f64,
    },
    /// Up along a straight line for so many steps, then as `after` says.
    WarmUp {
        /// Steps, at least 1; step `i` has the share `(i + 1) / (steps + 1)`.
        steps: u64,
        /// Schedule that follows; it counts from the run's beginning, and is not itself a warm-up.
        after: Box<Schedule>,
    },
    /// From a 25th up to the learning rate along half a cosine, then down to almost nothing (Smith and Topin,
    /// "Super-convergence", 2018), PyTorch's `OneCycleLR` without its cycle of momentum.
    OneCycle {
        /// The share of the run that goes up, in (0, 1); PyTorch's default is 0.3.
        pct_start: f64,
    },
    /// Times `factor` when the loss on the validation rows, or else on the training rows, has not fallen for more than
    /// `patience` epochs, PyTorch's `ReduceLROnPlateau`.
    Plateau {
        /// In (0, 1).
        factor: f64,
        /// Epochs.
        patience: usize,
        /// A loss counts as fallen when it is below this much less of the best one: `best × (1 - threshold)`; in [0,
        /// 1).
        threshold: f64,
        /// Smallest factor, in [0, 1].
        min_factor: f64,
    },
}

/// Where a run is, as far as schedules care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The epoch, from 0.
    pub epoch: usize,
    /// Epochs asked for.
    pub epochs: usize,
    /// The step in the epoch, from 0.
    pub step_in_epoch: u64,
    /// Steps in an epoch; none while that is not known.
    pub steps_per_epoch: Option<u64>,
    /// The step over all epochs, from 0.
    pub step: u64,
}

/// State of [`Schedule::Plateau`]; the other schedules have none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Plateau {
    /// Factor of the learning rate.
    pub factor: f64,
    /// The lowest loss so far; none before the first epoch's end.
    #[serde(with = "number::optional")]
    pub best: Option<f64>,
    /// Epochs since then.
    pub since: usize,
}

impl Default for Plateau {
    fn default() -> Self {
        Self { factor: 1.0, best: None, since: 0 }
    }
}

impl Position {
    /// Steps so far and steps in all, in epochs while the number of steps is not known.
    fn of_all(&self) -> (f64, f64) {
        let (steps, now) = match self.steps_per_epoch {
            Some(steps) => (steps.max(1) as f64, self.step_in_epoch as f64),
            None => (1.0, 0.0),
        };
        (self.epoch as f64 * steps + now, (self.epochs as f64 * steps).max(1.0))
    }
}

impl Schedule {
    pub(super) fn check(&self) -> Result<()> {
        let within = |name: &str, value: f64, legal: bool, words: &str| {
            if legal { Ok(()) } else { Err(Error::param(format!("schedule.{name}"), value, words)) }
        };
        let share = |name, value: f64| within(name, value, (0.0..=1.0).contains(&value), "in [0, 1]");
        let above_0 =
            |name, value: f64| within(name, value, value.is_finite() && value > 0.0, "a finite number above 0");
        let inside = |name, value: f64| within(name, value, value > 0.0 && value < 1.0, "in (0, 1)");
        match self {
            Schedule::Constant => Ok(()),
            Schedule::Step { step_size: 0, .. } => Err(Error::param("schedule.step_size", 0, "at least 1 epoch")),
            Schedule::Step { gamma, .. } | Schedule::Exponential { gamma } => above_0("gamma", *gamma),
            Schedule::Linear { end_factor } | Schedule::Cosine { end_factor } => share("end_factor", *end_factor),
            Schedule::WarmUp { steps: 0, .. } => Err(Error::param("schedule.steps", 0, "at least 1")),
            Schedule::WarmUp { after, .. } if matches!(**after, Schedule::WarmUp { .. }) => {
                Err(Error::param("schedule.after", "warm_up", "a schedule that does not warm up once more"))
            }
            Schedule::WarmUp { after, .. } => after.check(),
            Schedule::OneCycle { pct_start } => inside("pct_start", *pct_start),
            Schedule::Plateau { factor, threshold, min_factor, .. } => {
                inside("factor", *factor)?;
                within("threshold", *threshold, (0.0..1.0).contains(threshold), "in [0, 1)")?;
                share("min_factor", *min_factor)
            }
        }
    }

    /// Returns the share of the learning rate for one step.
    pub fn factor(&self, at: &Position, plateau: &Plateau) -> f64 {
        let (now, all) = at.of_all();
        let between = |from: f64, to: f64, part: f64| to + (from - to) * (1.0 + (PI * part).cos()) / 2.0;
        match *self {
            Schedule::Constant => 1.0,
            Schedule::Step { step_size, gamma } => gamma.powf((at.epoch / step_size.max(1)) as f64),
            Schedule::Exponential { gamma } => gamma.powf(at.epoch as f64),
            Schedule::Linear { end_factor } => 1.0 + (end_factor - 1.0) * now / all,
            Schedule::Cosine { end_factor } => between(1.0, end_factor, now / all),
            Schedule::WarmUp { steps, ref after } => {
                let part = (at.step as f64 + 1.0) / (steps as f64 + 1.0);
                part.min(1.0) * after.factor(at, plateau)
            }
            Schedule::OneCycle { pct_start } => {
                let (start, end) = (1.0 / 25.0, 1.0 / 25.0 / 1e4);
                // PyTorch's turning points: the step before the share is over, and the last.
                let (top, last) = ((pct_start * all - 1.0).max(0.0), (all - 1.0).max(1.0));
                if now <= top && top > 0.0 {
                    between(start, 1.0, now / top)
                } else {
                    between(1.0, end, ((now - top) / (last - top).max(1.0)).min(1.0))
                }
            }
            Schedule::Plateau { .. } => plateau.factor,
        }
    }

    /// Takes note of an epoch's loss.
    pub fn epoch(&self, loss: f64, plateau: &mut Plateau) {
        match *self {
            Schedule::WarmUp { ref after, .. } => after.epoch(loss, plateau),
            Schedule::Plateau { factor, patience, threshold, min_factor } => {
                if plateau.best.is_none_or(|best| loss < best * (1.0 - threshold)) {
                    (plateau.best, plateau.since) = (Some(loss), 0);
                    return;
                }
                plateau.since += 1;
                if plateau.since > patience {
                    plateau.factor = (plateau.factor * factor).max(min_factor);
                    plateau.since = 0;
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const EPOCHS: usize = 6;
    const STEPS: u64 = 4;
    const LOSSES: [f64; EPOCHS] = [1.0, 0.9, 0.95, 0.9, 0.92, 0.91];

    fn rates(schedule: &Schedule) -> Vec<f64> {
        let (mut plateau, mut rates) = (Plateau::default(), Vec::new());
        for (epoch, loss) in LOSSES.into_iter().enumerate() {
            for step_in_epoch in 0..STEPS {
                let step = epoch as u64 * STEPS + step_in_epoch;
                let at = Position { epoch, epochs: EPOCHS, step_in_epoch, steps_per_epoch: Some(STEPS), step };
                rates.push(0.1 * schedule.factor(&at, &plateau));
            }
            schedule.epoch(loss, &mut plateau);
        }
        rates
    }

    #[test]
    fn every_schedule_is_that_of_pytorch() {
        // Written by `reference/schedules.py`.
        let reference: BTreeMap<String, Vec<f64>> =
            serde_json::from_str(include_str!("reference/schedules.json")).unwrap();
        let cases = [
            ("step", Schedule::Step { step_size: 2, gamma: 0.3 }),
            ("exponential", Schedule::Exponential { gamma: 0.8 }),
            ("cosine", Schedule::Cosine { end_factor: 0.1 }),
            ("linear", Schedule::Linear { end_factor: 0.2 }),
            ("one_cycle", Schedule::OneCycle { pct_start: 0.25 }),
            ("plateau", Schedule::Plateau { factor: 0.5, patience: 1, threshold: 1e-4, min_factor: 0.3 }),
        ];
        assert_eq!(cases.len(), reference.len());
        for (name, schedule) in cases {
            schedule.check().unwrap();
            let rates = rates(&schedule);
            assert_eq!(rates.len(), reference[name].len());
            let worst = rates.iter().zip(&reference[name]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(worst < 1e-12, "{name}: {worst} {rates:?}");
        }
    }

    #[test]
    fn warming_up_leads_into_what_follows() {
        let after = Schedule::Exponential { gamma: 0.5 };
        let all = rates(&Schedule::WarmUp { steps: 3, after: Box::new(after.clone()) });
        assert_eq!(all[..3], [0.1 * 0.25, 0.1 * 0.5, 0.1 * 0.75]);
        assert_eq!(all[3..], rates(&after)[3..]);
        let losses = Schedule::WarmUp {
            steps: 1,
            after: Box::new(Schedule::Plateau { factor: 0.5, patience: 0, threshold: 0.0, min_factor: 0.0 }),
        };
        assert!(rates(&losses)[23] < 0.05);
    }

    #[test]
    fn a_run_of_unknown_length_moves_by_epochs() {
        let share = |step_in_epoch, steps_per_epoch| {
            let at = Position { epoch: 1, epochs: 4, step_in_epoch, steps_per_epoch, step: 9 };
            Schedule::Linear { end_factor: 0.0 }.factor(&at, &Plateau::default())
        };
        assert_eq!((share(0, None), share(5, None), share(4, Some(8))), (0.75, 0.75, 0.625));
    }

    #[test]
    fn a_plateau_ends_where_it_is_told() {
        let schedule = Schedule::Plateau { factor: 0.1, patience: 0, threshold: 0.0, min_factor: 0.05 };
        let mut plateau = Plateau::default();
        (0..9).for_each(|_| schedule.epoch(1.0, &mut plateau));
        assert_eq!(plateau.factor, 0.05);
    }

    #[test]
    fn bad_settings_are_named() {
        let plateau = |factor, threshold, min_factor| Schedule::Plateau { factor, patience: 1, threshold, min_factor };
        for (schedule, words) in [
            (Schedule::Step { step_size: 0, gamma: 0.5 }, ["schedule.step_size", "at least 1"]),
            (Schedule::Step { step_size: 1, gamma: f64::NAN }, ["schedule.gamma", "above 0"]),
            (Schedule::Exponential { gamma: 0.0 }, ["schedule.gamma", "above 0"]),
            (Schedule::Linear { end_factor: 1.5 }, ["schedule.end_factor", "[0, 1]"]),
            (Schedule::Cosine { end_factor: f64::NAN }, ["schedule.end_factor", "[0, 1]"]),
            (Schedule::OneCycle { pct_start: 1.0 }, ["schedule.pct_start", "(0, 1)"]),
            (plateau(1.0, 0.0, 0.0), ["schedule.factor", "(0, 1)"]),
            (plateau(0.5, 1.0, 0.0), ["schedule.threshold", "[0, 1)"]),
            (plateau(0.5, 0.0, -1.0), ["schedule.min_factor", "[0, 1]"]),
            (Schedule::WarmUp { steps: 0, after: Box::default() }, ["schedule.steps", "at least 1"]),
            (
                Schedule::WarmUp { steps: 1, after: Box::new(Schedule::WarmUp { steps: 1, after: Box::default() }) },
                ["schedule.after", "once more"],
            ),
        ] {
            let message = schedule.check().unwrap_err().to_string();
            assert!(words.iter().all(|w| message.contains(w)), "{message}");
        }
        let json = r#"{"warm_up": {"steps": 10, "after": {"cosine": {"end_factor": 0.0}}}}"#;
        let schedule: Schedule = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::from_str::<Schedule>(&serde_json::to_string(&schedule).unwrap()).unwrap(), schedule);
    }
}
