//! A network's weights in the host's memory, on no device.

use std::{ops::RangeBounds, sync::Arc};

use crate::{Error, Result};

/// One parameter: row-major single-precision values with a name and a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// The parameter's name, such as `0.weight`.
    pub name: String,
    /// Its dimensions; a linear weight is `(outputs, inputs)`.
    pub shape: Vec<usize>,
    /// Its values, row-major, as many as the dimensions' product.
    pub values: Vec<f32>,
}

impl NamedTensor {
    /// Returns the transpose of a matrix.
    pub(super) fn transposed(&self) -> Self {
        let [rows, columns] = self.shape[..] else { return self.clone() };
        let values = (0..columns).flat_map(|c| (0..rows).map(move |r| self.values[r * columns + c])).collect();
        Self { name: self.name.clone(), shape: vec![columns, rows], values }
    }
}

/// All parameters of a network, sorted by name. Copies share them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Weights(Arc<Vec<NamedTensor>>);

impl Weights {
    /// Gathers tensors that are known to be whole and named apart.
    pub(crate) fn sorted(mut tensors: Vec<NamedTensor>) -> Self {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Self(Arc::new(tensors))
    }

    /// Gathers tensors from elsewhere.
    ///
    /// # Errors
    /// [`Error::Network`] when two share a name, or one has more or fewer values than its shape says.
    pub fn new(tensors: Vec<NamedTensor>) -> Result<Self> {
        let weights = Self::sorted(tensors);
        if let Some(pair) = weights.0.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(Error::Network {
                layer: format!("`{}`", pair[0].name),
                got: "two tensors of this name".into(),
                fits: "a name is given once".into(),
            });
        }
        for tensor in weights.tensors() {
            let count = tensor.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            if count != Some(tensor.values.len()) {
                return Err(Error::Network {
                    layer: format!("`{}`", tensor.name),
                    got: format!("{} values", tensor.values.len()),
                    fits: format!(
                        "shape {:?} holds {}",
                        tensor.shape,
                        count.map_or("too many".into(), |n| n.to_string())
                    ),
                });
            }
        }
        Ok(weights)
    }

    /// Returns the tensors, sorted by name.
    pub fn tensors(&self) -> &[NamedTensor] {
        &self.0
    }

    /// Returns the tensor of that name.
    pub fn get(&self, name: &str) -> Option<&NamedTensor> {
        self.0.binary_search_by(|t| t.name.as_str().cmp(name)).ok().map(|i| &self.0[i])
    }

    /// Returns the weights of some layers, by their positions as [`NetworkSpec::summary`](super::NetworkSpec::summary)
    /// shows them: `..4` for a network that begins with the same four layers and differs after them.
    pub fn layers(&self, layers: impl RangeBounds<usize>) -> Self {
        let number = |name: &str| name.split_once('.').and_then(|(number, _)| number.parse::<usize>().ok());
        let own = |tensor: &&NamedTensor| number(&tensor.name).is_some_and(|number| layers.contains(&number));
        Self(Arc::new(self.0.iter().filter(own).cloned().collect()))
    }

    /// Returns the same tensors by other names; those are left out for which `name` gives none.
    ///
    /// # Errors
    /// [`Error::Network`] when two get one name.
    pub fn renamed(&self, name: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let renamed = |tensor: &NamedTensor| Some(NamedTensor { name: name(&tensor.name)?, ..tensor.clone() });
        Self::new(self.0.iter().filter_map(renamed).collect())
    }

    /// Returns the number of values of all tensors.
    pub fn count(&self) -> usize {
        self.0.iter().map(|t| t.values.len()).sum()
    }
}

impl From<&Weights> for Weights {
    fn from(weights: &Weights) -> Self {
        weights.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], values: usize) -> NamedTensor {
        NamedTensor { name: name.into(), shape: shape.into(), values: vec![0.0; values] }
    }

    #[test]
    fn tensors_are_found_by_name_in_any_order() {
        let weights = Weights::new(vec![tensor("b", &[2], 2), tensor("a", &[2, 3], 6)]).unwrap();
        assert_eq!(weights.tensors()[0].name, "a");
        assert_eq!(weights.get("b").unwrap().shape, [2]);
        assert!(weights.get("c").is_none());
        assert_eq!(weights.count(), 8);
    }

    #[test]
    fn layers_are_taken_by_number_and_names_changed() {
        let all = ["0.weight", "2.weight", "10.weight", "head.weight"].map(|name| tensor(name, &[1], 1));
        let weights = Weights::new(all.to_vec()).unwrap();
        let names = |weights: &Weights| weights.tensors().iter().map(|t| t.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(&weights.layers(..2)), ["0.weight"]);
        assert_eq!(names(&weights.layers(1..=10)), ["10.weight", "2.weight"]);
        assert_eq!(names(&weights.layers(..)), ["0.weight", "10.weight", "2.weight"]);
        let head = weights.renamed(|name| name.strip_prefix("head.").map(|rest| format!("4.{rest}"))).unwrap();
        assert_eq!(names(&head), ["4.weight"]);
        let message = weights.renamed(|_| Some("same".into())).unwrap_err().to_string();
        assert!(message.contains("`same`"), "{message}");
    }

    #[test]
    fn doubled_names_and_wrong_counts_are_refused() {
        let message = Weights::new(vec![tensor("a", &[1], 1), tensor("a", &[1], 1)]).unwrap_err().to_string();
        assert!(message.contains("`a`"), "{message}");
        let message = Weights::new(vec![tensor("a", &[2, 2], 3)]).unwrap_err().to_string();
        assert!(message.contains("3 values") && message.contains("holds 4"), "{message}");
        assert!(Weights::new(vec![tensor("a", &[usize::MAX, 2], 0)]).is_err());
    }
}
