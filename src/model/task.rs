//! Task of a network: the meaning of its outputs.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Meaning of a network's outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Task {
    /// One score (logit) per class; a row is of one class.
    Classes {
        /// The classes' names, by label.
        names: Vec<String>,
    },
    /// One score (logit) per label, each of which a row has or has not.
    Labels {
        /// The labels' names.
        names: Vec<String>,
    },
    /// One value per target.
    Values {
        /// The targets' names.
        names: Vec<String>,
        /// Conversion of outputs into the targets' own units, after `link`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scaling: Option<Scaling>,
        /// Function from an output to a value.
        #[serde(default)]
        link: Link,
    },
    /// The row that went in, value by value.
    Input {
        /// Function from an output to a value.
        #[serde(default)]
        link: Link,
    },
}

/// Function from an output to a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Link {
    /// It is one.
    #[default]
    Identity,
    /// Its exponential is: the output is the logarithm of a rate.
    Exp,
    /// Its sigmoid is: the output is a logit.
    Sigmoid,
}

impl Link {
    /// Returns the value that an output stands for.
    pub fn value(self, output: f64) -> f64 {
        match self {
            Link::Identity => output,
            Link::Exp => output.exp(),
            Link::Sigmoid => 1.0 / (1.0 + (-output).exp()),
        }
    }
}

/// Where targets lie and how far apart: a network learns `(target - mean) / std`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// One a target.
    pub mean: Vec<f64>,
    /// One a target, above 0.
    pub std: Vec<f64>,
}

impl Scaling {
    /// Returns rows of targets at mean 0 and standard deviation 1. The offset is removed in double precision: a target
    /// such as a time in seconds loses its digits otherwise.
    pub fn apply(&self, rows: &[f64]) -> Vec<f32> {
        let scales = self.mean.iter().zip(&self.std).cycle();
        rows.iter().zip(scales).map(|(value, (mean, std))| ((value - mean) / std) as f32).collect()
    }

    /// Returns the value of the `target`-th output in that target's own units.
    pub fn undo(&self, target: usize, value: f64) -> f64 {
        value * self.std[target] + self.mean[target]
    }
}

impl From<Vec<String>> for Task {
    fn from(names: Vec<String>) -> Self {
        Task::Classes { names }
    }
}

impl Task {
    /// Returns the names of the outputs; none where the input is restored.
    pub fn names(&self) -> &[String] {
        match self {
            Task::Classes { names } | Task::Labels { names } | Task::Values { names, .. } => names,
            Task::Input { .. } => &[],
        }
    }

    /// Checks that a network with so many inputs and outputs can do it.
    ///
    /// # Errors
    /// [`Error::Param`] when the outputs are not as many as names, inputs or scales, or a scale is none.
    pub fn check(&self, inputs: usize, outputs: usize) -> Result<()> {
        let of_names = |what: &str, count: usize| match count == outputs {
            true => Ok(()),
            false => {
                let legal = format!("as many names as the network has outputs, {outputs}");
                Err(Error::param(what, format!("{count} names"), legal))
            }
        };
        match self {
            Task::Classes { names } => of_names("classes", names.len()),
            Task::Labels { names } => of_names("labels", names.len()),
            Task::Values { names, scaling, .. } => {
                of_names("targets", names.len())?;
                let Some(Scaling { mean, std }) = scaling else { return Ok(()) };
                let legal = mean.len() == outputs
                    && std.len() == outputs
                    && mean.iter().all(|m| m.is_finite())
                    && std.iter().all(|s| s.is_finite() && *s > 0.0);
                let words = format!("{outputs} finite means and as many finite deviations above 0");
                if legal { Ok(()) } else { Err(Error::param("scaling", format!("{mean:?} and {std:?}"), words)) }
            }
            Task::Input { .. } if inputs == outputs => Ok(()),
            Task::Input { .. } => {
                let legal = format!("as many as a row has values, {inputs}");
                Err(Error::param("outputs", outputs, legal))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_applied_and_undone() {
        let scaling = Scaling { mean: vec![10.0, -1.0], std: vec![2.0, 0.5] };
        let rows = scaling.apply(&[12.0, -1.0, 8.0, 0.0]);
        assert_eq!(rows, [1.0, 0.0, -1.0, 2.0]);
        let back: Vec<f64> = (0..4).map(|i| scaling.undo(i % 2, f64::from(rows[i]))).collect();
        assert_eq!(back, [12.0, -1.0, 8.0, 0.0]);
        assert_eq!((Link::Exp.value(0.0), Link::Sigmoid.value(0.0), Link::Identity.value(3.0)), (1.0, 0.5, 3.0));
    }

    #[test]
    fn a_task_that_does_not_fit_the_network_is_refused() {
        let names = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let scaled = |mean: Vec<f64>, std: Vec<f64>| Task::Values {
            names: names(1),
            scaling: Some(Scaling { mean, std }),
            link: Link::Identity,
        };
        for (task, words) in [
            (Task::Classes { names: names(3) }, "classes"),
            (Task::Labels { names: names(3) }, "labels"),
            (scaled(vec![0.0], vec![0.0]), "above 0"),
            (scaled(vec![f64::NAN], vec![1.0]), "finite"),
            (scaled(vec![0.0; 2], vec![1.0; 2]), "1 finite means"),
            (Task::Input { link: Link::Sigmoid }, "values, 4"),
        ] {
            let message = task.check(4, 1).unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
        scaled(vec![1.0], vec![2.0]).check(4, 1).unwrap();
    }

    #[test]
    fn a_task_reads_back_as_written() {
        let scaling = Some(Scaling { mean: vec![1.0], std: vec![0.1] });
        for task in [
            Task::Values { names: vec!["y".into()], scaling, link: Link::Identity },
            Task::Input { link: Link::Sigmoid },
            Task::Labels { names: vec!["a".into()] },
        ] {
            assert_eq!(serde_json::from_str::<Task>(&serde_json::to_string(&task).unwrap()).unwrap(), task);
        }
    }
}
