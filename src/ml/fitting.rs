//! Fits the stages of a pipeline in few queries.

use std::collections::HashSet;

use super::{
    learning::{self, AggregateFit, ElementExprs},
    pipeline::{PipelineModel, PipelineStage},
    stage::Transformer,
    step,
};
use crate::{
    Result,
    dataframe::{DataFrame, Schema},
};

/// A pipeline being fitted, in rounds. Each round applies the transformers whose input exists and fits, in one query,
/// the estimators whose input exists; a stage that reads another estimator's output waits for the next round.
pub(super) struct Fitting<'a> {
    stages: &'a [PipelineStage],
    /// The columns that each stage adds.
    writes: Vec<Vec<String>>,
    fitted: Vec<Option<Box<dyn Transformer>>>,
    applied: Vec<bool>,
    frame: DataFrame,
    schema: Schema,
    elements: ElementExprs,
}

/// Work of one round.
enum Round {
    /// Estimators fitted in one query.
    Together(Vec<(usize, AggregateFit)>),
    /// An estimator that runs by itself.
    Alone(usize),
}

impl<'a> Fitting<'a> {
    /// Checks all stages before any work.
    pub(super) async fn new(stages: &'a [PipelineStage], frame: &DataFrame) -> Result<Self> {
        let schema = frame.schema_for_stages().await?;
        let mut fitting = Self {
            stages,
            writes: vec![Vec::new(); stages.len()],
            fitted: stages.iter().map(|_| None).collect(),
            applied: vec![false; stages.len()],
            frame: frame.clone(),
            schema,
            elements: ElementExprs::default(),
        };
        fitting.check_from(0)?;
        Ok(fitting)
    }

    /// Checks the stages from a position on against the current frame, up to one whose outputs only the server knows.
    fn check_from(&mut self, place: usize) -> Result<()> {
        let mut before = self.schema.clone();
        for (stage, writes) in self.stages.iter().zip(&mut self.writes).skip(place) {
            let after = stage.transform_schema(&before)?;
            let is_new = |name: &&str| before.fields().iter().all(|field| field.name != **name);
            *writes = after.names().filter(is_new).map(str::to_owned).collect();
            if !stage.has_known_schema() {
                break;
            }
            before = after;
        }
        Ok(())
    }

    pub(super) async fn run(mut self) -> Result<PipelineModel> {
        while self.waits_after(0) {
            match self.round().await? {
                Round::Alone(i) => {
                    if let PipelineStage::Estimator(stage) = &self.stages[i] {
                        self.fitted[i] = Some(stage.fit(&self.frame).await?.into_transformer());
                    }
                    self.apply(i).await?;
                }
                Round::Together(asked) => {
                    let (places, asked): (Vec<_>, Vec<_>) = asked.into_iter().unzip();
                    let models = learning::learn(&self.frame, &self.schema, asked).await?;
                    for (i, model) in places.iter().zip(models) {
                        self.fitted[*i] = Some(model.into_transformer());
                    }
                    for i in places {
                        self.apply(i).await?;
                    }
                }
            }
        }
        let stages = self.stages.iter().zip(self.fitted).filter_map(|(stage, fitted)| match stage {
            PipelineStage::Transformer(stage) => Some(stage.duplicate()),
            PipelineStage::Estimator(_) => fitted,
        });
        Ok(PipelineModel::new(stages))
    }

    /// Returns whether an estimator from this position on is yet to be fitted.
    fn waits_after(&self, place: usize) -> bool {
        let mut rest = self.stages.iter().zip(&self.fitted).skip(place);
        rest.any(|(stage, fitted)| matches!(stage, PipelineStage::Estimator(_)) && fitted.is_none())
    }

    /// Applies the transformers that can be, and finds the estimators that can be fitted now.
    async fn round(&mut self) -> Result<Round> {
        let mut waiting: HashSet<String> = HashSet::new();
        let mut together = Vec::new();
        for i in 0..self.stages.len() {
            if self.applied[i] {
                continue;
            }
            // Nothing before it waits, so the frame is what it would be in its turn.
            let in_turn = waiting.is_empty() && together.is_empty();
            let reads = match &self.stages[i] {
                PipelineStage::Estimator(stage) => stage.reads(),
                PipelineStage::Transformer(stage) => stage.reads(),
            };
            if reads.is_none() && !in_turn {
                break;
            }
            let ready = in_turn || reads.as_ref().is_some_and(|r| r.iter().all(|n| !waiting.contains(n)));
            if let (PipelineStage::Transformer(_), true) = (&self.stages[i], ready) {
                self.apply(i).await?;
                continue;
            }
            if let (PipelineStage::Estimator(stage), true) = (&self.stages[i], ready) {
                match stage.learning(&self.schema, &self.elements)? {
                    Some(learning) => together.push((i, learning)),
                    None if in_turn => return Ok(Round::Alone(i)),
                    None => {}
                }
            }
            waiting.extend(self.writes[i].iter().cloned());
            if reads.is_none() {
                break;
            }
        }
        Ok(Round::Together(together))
    }

    /// Adds a stage's columns to the frame, if an estimator after it still needs them.
    async fn apply(&mut self, i: usize) -> Result<()> {
        self.applied[i] = true;
        let stage: &dyn Transformer = match (&self.stages[i], &self.fitted[i]) {
            (PipelineStage::Transformer(stage), _) => stage.as_ref(),
            (_, Some(fitted)) => fitted.as_ref(),
            _ => return Ok(()),
        };
        if self.waits_after(0) {
            (self.frame, self.schema) = step::transform(stage, &self.frame, &self.schema).await?;
            if stage.reads().is_none() {
                self.elements.clear();
            }
            self.elements.learn_from(stage, &self.schema);
            if !self.stages[i].has_known_schema() {
                // It was applied in its turn, so that all after it still waits.
                self.check_from(i + 1)?;
            }
        }
        Ok(())
    }
}
