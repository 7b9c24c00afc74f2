//! A saved model that a command works with.

use tinderbox::{dataframe::DataFrame, ml::PipelineModel, report::Report, session::Session, table::ModelTable};

use super::models::{ModelName, TableArgument};
use crate::{
    cli::Global,
    connection::{self, Connection},
    failure::Result,
    output::Output,
};

/// A version of a model, and the session that it was loaded in.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(crate) spark: Session,
    pub(crate) name: String,
    pub(crate) version: i64,
    pub(crate) pipeline: PipelineModel,
    table: ModelTable,
}

impl LoadedModel {
    /// Opens a session and loads a version.
    pub(crate) async fn open(
        model: &ModelName,
        models: &TableArgument,
        global: &Global,
        output: &Output,
    ) -> Result<Self> {
        let connection = Connection::find(global).await?;
        let spark = connection.open(output).await?;
        let table = ModelTable::new(&spark, models.name(&connection));
        let version = model.version(&table).await?;
        let pipeline = PipelineModel::load(&spark, table.table(), &model.name, Some(version)).await?;
        Ok(Self { spark, name: model.name.clone(), version, pipeline, table })
    }

    /// Returns the rows of a table that a condition leaves.
    pub(crate) async fn rows(&self, table: &str, filter: Option<&str>) -> Result<DataFrame> {
        let frame = connection::table(&self.spark, table).await?;
        Ok(filter.map_or_else(|| frame.clone(), |condition| frame.filter_expr(condition)))
    }

    /// Returns a report that names the version.
    pub(crate) fn report(&self) -> Result<Report> {
        Ok(Report::new(self.pipeline.network()?).saved_as(self.table.table(), &self.name, self.version))
    }
}
