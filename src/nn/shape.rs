//! The shape of what goes into a network, and of what passes between its layers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The shape of one row of data, the minibatch's dimension left out.
///
/// Written as a number for flat rows (`784`), as a list for rows with dimensions (`[1, 28, 28]`: channels, height,
/// width; `[3, 100]`: channels, length), and with `null` first for sequences whose length varies (`[null, 12]`: steps
/// of 12 values).
///
/// ```
/// use tinderbox::nn::InputShape;
///
/// assert_eq!(InputShape::from(784).to_string(), "784");
/// assert_eq!(InputShape::from([1, 28, 28]).to_string(), "1×28×28");
/// assert_eq!(InputShape::sequence([12]).to_string(), "steps×12");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ShapeForm", into = "ShapeForm")]
pub struct InputShape {
    /// The dimensions; of a sequence, those of one step.
    pub dims: Vec<usize>,
    /// True if a row is a sequence of any number of steps.
    pub ragged: bool,
}

impl InputShape {
    /// Sequences of any length, whose steps have these dimensions.
    pub fn sequence(dims: impl Into<Vec<usize>>) -> Self {
        Self { dims: dims.into(), ragged: true }
    }

    /// Returns the number of values of a row; of a sequence, of a step. Saturates.
    pub fn count(&self) -> usize {
        self.dims.iter().fold(1, |n: usize, &d| n.saturating_mul(d))
    }

    /// Returns the number of values of a row that is flat.
    pub(crate) fn flat(&self) -> Option<usize> {
        match (&*self.dims, self.ragged) {
            ([n], false) => Some(*n),
            _ => None,
        }
    }
}

impl fmt::Display for InputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let steps = self.ragged.then(|| "steps".to_owned());
        let words: Vec<String> = steps.into_iter().chain(self.dims.iter().map(usize::to_string)).collect();
        f.write_str(&words.join("×"))
    }
}

impl From<usize> for InputShape {
    fn from(values: usize) -> Self {
        Self { dims: vec![values], ragged: false }
    }
}

impl<const N: usize> From<[usize; N]> for InputShape {
    fn from(dims: [usize; N]) -> Self {
        Self { dims: dims.into(), ragged: false }
    }
}

impl From<Vec<usize>> for InputShape {
    fn from(dims: Vec<usize>) -> Self {
        Self { dims, ragged: false }
    }
}

impl From<&InputShape> for InputShape {
    fn from(shape: &InputShape) -> Self {
        shape.clone()
    }
}

/// The written form; flat rows stay the number they were in the first manifests.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ShapeForm {
    Flat(usize),
    Dims(Vec<Option<usize>>),
}

impl TryFrom<ShapeForm> for InputShape {
    type Error = String;

    fn try_from(written: ShapeForm) -> Result<Self, String> {
        match written {
            ShapeForm::Flat(values) => Ok(values.into()),
            ShapeForm::Dims(dims) => {
                let ragged = dims.first() == Some(&None);
                let fixed = &dims[usize::from(ragged)..];
                let fixed: Option<Vec<usize>> = fixed.iter().copied().collect();
                Ok(Self { dims: fixed.ok_or("only the first dimension of a shape may be null")?, ragged })
            }
        }
    }
}

impl From<InputShape> for ShapeForm {
    fn from(shape: InputShape) -> Self {
        match shape.flat() {
            Some(values) => ShapeForm::Flat(values),
            None => {
                let steps = shape.ragged.then_some(None);
                ShapeForm::Dims(steps.into_iter().chain(shape.dims.into_iter().map(Some)).collect())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_read_back_as_written() {
        for (shape, json) in [
            (InputShape::from(784), "784"),
            ([1, 28, 28].into(), "[1,28,28]"),
            (InputShape::sequence([12]), "[null,12]"),
            (InputShape::sequence([]), "[null]"),
        ] {
            assert_eq!(serde_json::to_string(&shape).unwrap(), json);
            assert_eq!(serde_json::from_str::<InputShape>(json).unwrap(), shape);
        }
        assert!(serde_json::from_str::<InputShape>("[3,null]").unwrap_err().to_string().contains("first dimension"));
    }
}
