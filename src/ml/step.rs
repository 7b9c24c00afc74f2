//! The work of a stage on every row by itself, as data.

use spark_connect::column::Column;

use super::stage::Transformer;
use crate::{
    Result,
    dataframe::{DataFrame, NestedFields, Schema},
};

/// One thing that a stage does to every row by itself. The cluster does it to a frame
/// ([`Transformer::transform`](super::Transformer::transform)), this process to a batch
/// ([`Transformer::transform_batch`](super::Transformer::transform_batch)).
#[non_exhaustive]
#[derive(Debug, Clone)]
pub enum Step {
    /// Leaves out the rows for which the condition is not true.
    Filter(Column),
    /// Adds columns, each by its name and an expression of the columns before the step. An expression with
    /// metadata ([`with_metadata`](crate::dataframe::with_metadata)) gives it to its column.
    WithColumns(Vec<(String, Column)>),
}

impl Step {
    /// Adds one column.
    pub(super) fn with_column(name: &str, value: Column) -> Self {
        Step::WithColumns(vec![(name.to_owned(), value)])
    }
}

/// Returns the frame after these steps.
pub(super) fn apply(frame: &DataFrame, steps: Vec<Step>) -> DataFrame {
    steps.into_iter().fold(frame.clone(), |frame, step| match step {
        Step::Filter(condition) => frame.filter(condition),
        Step::WithColumns(columns) if columns.is_empty() => frame,
        Step::WithColumns(columns) => frame.with_columns(columns),
    })
}

/// Returns the frame after a stage's steps, which may name fields within structs.
pub(super) fn apply_stage(stage: &dyn Transformer, frame: &DataFrame, schema: &Schema) -> Result<Option<DataFrame>> {
    let nested = NestedFields::of(schema);
    let (open, schema) = nested.open(frame, schema);
    Ok(stage.steps(&schema)?.map(|steps| nested.close(apply(&open, steps))))
}

/// Returns the frame after a stage, and its schema. Queries the server only where the stage does not know its schema.
pub(super) async fn transform(
    stage: &dyn Transformer,
    frame: &DataFrame,
    schema: &Schema,
) -> Result<(DataFrame, Schema)> {
    let expected = stage.transform_schema(schema)?;
    if let Some(after) = apply_stage(stage, frame, schema)? {
        return Ok((after, expected));
    }
    let after = stage.transform(frame).await?;
    let schema = after.schema_for_stages().await?;
    Ok((after, schema))
}

/// Implements `transform` by the stage's steps; in an `impl Transformer`.
macro_rules! transform_by_steps {
    () => {
        fn transform<'a>(
            &'a self,
            frame: &'a $crate::dataframe::DataFrame,
        ) -> futures::future::BoxFuture<'a, $crate::Result<$crate::dataframe::DataFrame>> {
            Box::pin(async move {
                let schema = frame.schema_for_stages().await?;
                self.transform_schema(&schema)?;
                Ok($crate::ml::step::apply_stage(self, frame, &schema)?.unwrap_or_else(|| frame.clone()))
            })
        }
    };
}
pub(super) use transform_by_steps;
