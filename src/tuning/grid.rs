//! Candidates: every combination of values, or some drawn at random.

use serde_json::Value;

use crate::{
    ml::ParamMap,
    nn::random::{Philox, Purpose},
};

/// Every combination of some params' values (`org.apache.spark.ml.tuning.ParamGridBuilder`).
///
/// ```
/// use tinderbox::tuning::ParamGrid;
///
/// let grid = ParamGrid::new().add("stepSize", [0.001, 0.01]).add("batchSize", [16, 64]);
/// let candidates: Vec<String> = grid.into_iter().map(|params| params.to_string()).collect();
/// assert_eq!(candidates[1], "batchSize=64, stepSize=0.001");
/// assert_eq!(candidates.len(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ParamGrid {
    params: Vec<(String, Vec<Value>)>,
}

impl ParamGrid {
    /// Creates one candidate, with the estimator's own params.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tries these values of a param with every combination of the others.
    pub fn add<V: Into<Value>>(mut self, name: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        self.params.push((name.into(), values.into_iter().map(Into::into).collect()));
        self
    }
}

impl IntoIterator for ParamGrid {
    type Item = ParamMap;
    type IntoIter = std::vec::IntoIter<ParamMap>;

    /// Lists every combination; the param added last changes first.
    fn into_iter(self) -> Self::IntoIter {
        let combined = self.params.into_iter().fold(vec![ParamMap::new()], |candidates, (name, values)| {
            let with = |candidate: &ParamMap| {
                let candidate = candidate.clone();
                let name = name.clone();
                values.clone().into_iter().map(move |value| candidate.clone().with(&name, value))
            };
            candidates.iter().flat_map(with).collect()
        });
        combined.into_iter()
    }
}

/// Candidates drawn at random, each param by itself, the same for the same seed.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomSearch {
    params: Vec<(String, RandomDraw)>,
    candidates: usize,
    seed: u64,
}

#[derive(Debug, Clone, PartialEq)]
enum RandomDraw {
    Any(Vec<Value>),
    Uniform(f64, f64),
    LogUniform(f64, f64),
    Whole(i64, i64),
}

impl RandomSearch {
    /// That many candidates.
    pub fn new(candidates: usize, seed: u64) -> Self {
        Self { params: Vec::new(), candidates, seed }
    }

    /// Adds a param drawn from these values.
    pub fn any<V: Into<Value>>(self, name: impl Into<String>, values: impl IntoIterator<Item = V>) -> Self {
        self.draw(name, RandomDraw::Any(values.into_iter().map(Into::into).collect()))
    }

    /// Adds a number from `low` to below `high`.
    pub fn uniform(self, name: impl Into<String>, low: f64, high: f64) -> Self {
        self.draw(name, RandomDraw::Uniform(low, high))
    }

    /// Adds a number from `low` to below `high`, both above 0, every factor as likely as another: for step sizes and
    /// the like.
    pub fn log_uniform(self, name: impl Into<String>, low: f64, high: f64) -> Self {
        self.draw(name, RandomDraw::LogUniform(low, high))
    }

    /// Adds an integer from `low` to `high`, both included.
    pub fn whole(self, name: impl Into<String>, low: i64, high: i64) -> Self {
        self.draw(name, RandomDraw::Whole(low, high))
    }

    fn draw(mut self, name: impl Into<String>, draw: RandomDraw) -> Self {
        self.params.push((name.into(), draw));
        self
    }
}

impl RandomDraw {
    /// Returns the value at a place from 0 to below 1.
    fn at(&self, place: f64) -> Value {
        let among = |count: usize| (place * count as f64) as usize;
        match self {
            RandomDraw::Any(values) => values.get(among(values.len())).cloned().unwrap_or(Value::Null),
            RandomDraw::Uniform(low, high) => (low + place * (high - low)).into(),
            RandomDraw::LogUniform(low, high) => (low.ln() + place * (high.ln() - low.ln())).exp().into(),
            RandomDraw::Whole(low, high) => {
                let count = high.saturating_sub(*low).saturating_add(1).max(1);
                (low + (place * count as f64) as i64).into()
            }
        }
    }
}

impl IntoIterator for RandomSearch {
    type Item = ParamMap;
    type IntoIter = std::vec::IntoIter<ParamMap>;

    fn into_iter(self) -> Self::IntoIter {
        let candidate = |index: usize| {
            self.params.iter().zip(0u32..).fold(ParamMap::new(), |map, ((name, draw), lane)| {
                let place = Philox::new(self.seed, Purpose::Search, lane, index as u64).next_f32();
                map.with(name, draw.at(f64::from(place)))
            })
        };
        (0..self.candidates).map(candidate).collect::<Vec<_>>().into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_every_combination() {
        assert_eq!(ParamGrid::new().into_iter().collect::<Vec<_>>(), [ParamMap::new()]);
        let grid = ParamGrid::new().add("a", [1, 2, 3]).add("b", ["x", "y"]);
        let texts: Vec<String> = grid.into_iter().map(|map| map.to_string()).collect();
        assert_eq!(texts.join("; "), r#"a=1, b="x"; a=1, b="y"; a=2, b="x"; a=2, b="y"; a=3, b="x"; a=3, b="y""#);
    }

    #[test]
    fn draws_stay_in_their_ranges_and_follow_from_the_seed() {
        let search = |seed| {
            RandomSearch::new(200, seed)
                .log_uniform("rate", 1e-4, 1e-1)
                .uniform("share", 0.2, 0.4)
                .whole("depth", 1, 3)
                .any("kind", ["a", "b"])
                .into_iter()
                .collect::<Vec<_>>()
        };
        let drawn = search(5);
        assert_eq!(drawn, search(5));
        assert_ne!(drawn, search(6));
        let of = |name: &str| drawn.iter().map(|map| map.get(name).unwrap().as_f64().unwrap()).collect::<Vec<_>>();
        assert!(of("rate").iter().all(|x| (1e-4..1e-1).contains(x)));
        let small = of("rate").iter().filter(|x| **x < 1e-3).count();
        assert!((40..95).contains(&small), "a third of the draws is in each decade: {small}");
        assert!(of("share").iter().all(|x| (0.2..0.4).contains(x)));
        assert!([1.0, 2.0, 3.0].iter().all(|depth| of("depth").contains(depth)));
        assert!(drawn.iter().any(|map| map.get("kind") == Some(&"b".into())));
    }
}
