//! Rows that change those of a table.

use spark_connect::column::Column;
use spark_connect_proto::{
    self as proto,
    command::CommandType,
    expression::ExprType,
    merge_action::{ActionType, Assignment},
};

use super::{DataFrame, column};
use crate::{Error, Result};

/// Change of a row of a table.
#[derive(Debug, Clone)]
pub enum MergeAction {
    /// Every column takes the value of the frame's column of its name.
    UpdateAll,
    /// These columns take these values.
    Update(Vec<(String, Column)>),
    /// The row is deleted.
    Delete,
}

/// Row that the table gets for a frame's row without a partner.
#[derive(Debug, Clone)]
pub enum InsertAction {
    /// A row with the frame's columns.
    All,
    /// A row with these values in these columns, and defaults in the others.
    Columns(Vec<(String, Column)>),
}

/// Changes a table's rows by those of a frame, from [`DataFrame::merge_into`]. Spark's `MergeIntoWriter`.
///
/// Of the clauses of a kind, the first whose condition is true counts. The table's format must know merges (Delta and
/// Iceberg do; Parquet does not).
///
/// ```no_run
/// # use tinderbox::{Result, dataframe::{InsertAction, MergeAction}, prelude::*};
/// # async fn example(changes: DataFrame) -> Result<()> {
/// changes
///     .alias("new")
///     .merge_into("people", functions::expr("people.id = new.id"))
///     .when_matched(Some(functions::expr("new.gone")), MergeAction::Delete)
///     .when_matched(None, MergeAction::UpdateAll)
///     .when_not_matched(None, InsertAction::All)
///     .merge()
///     .await
/// # }
/// ```
#[derive(Debug, Clone)]
#[must_use = "nothing is merged until `merge` is awaited"]
pub struct MergeIntoWriter {
    frame: DataFrame,
    command: proto::MergeIntoTableCommand,
}

impl DataFrame {
    /// Changes a table's rows by this frame's; the name is SQL. Rows for which the condition is true are partners.
    pub fn merge_into(&self, table: &str, condition: Column) -> MergeIntoWriter {
        let command = proto::MergeIntoTableCommand {
            target_table_name: table.to_owned(),
            merge_condition: Some(condition.to_proto()),
            ..Default::default()
        };
        MergeIntoWriter { frame: self.clone(), command }
    }
}

impl MergeIntoWriter {
    /// Changes the table's rows with a partner (and for which the condition is true).
    pub fn when_matched(mut self, condition: Option<Column>, action: MergeAction) -> Self {
        self.command.match_actions.push(change(condition, action));
        self
    }

    /// Adds rows for the frame's rows without a partner (and for which the condition is true).
    pub fn when_not_matched(mut self, condition: Option<Column>, action: InsertAction) -> Self {
        let (kind, values) = match action {
            InsertAction::All => (ActionType::InsertStar, Vec::new()),
            InsertAction::Columns(values) => (ActionType::Insert, values),
        };
        self.command.not_matched_actions.push(expression(kind, condition, values));
        self
    }

    /// Changes the table's rows without a partner (and for which the condition is true).
    pub fn when_not_matched_by_source(mut self, condition: Option<Column>, action: MergeAction) -> Self {
        self.command.not_matched_by_source_actions.push(change(condition, action));
        self
    }

    /// Adds columns that the table lacks to it, where its format can.
    pub fn with_schema_evolution(mut self) -> Self {
        self.command.with_schema_evolution = true;
        self
    }

    /// Runs the merge.
    ///
    /// # Errors
    /// [`Error::Param`] when no clause says what to do; [`Error::Server`] when there is no such table, its format knows no
    /// merges, or a row has two partners; [`Error::Unreachable`].
    pub async fn merge(mut self) -> Result<()> {
        let command = &self.command;
        let clauses = [&command.match_actions, &command.not_matched_actions, &command.not_matched_by_source_actions];
        if clauses.iter().all(|actions| actions.is_empty()) {
            let legal = "at least one: `when_matched`, `when_not_matched` or `when_not_matched_by_source`";
            return Err(Error::param("clauses", "none", legal));
        }
        self.command.source_table_plan = Some(self.frame.checked()?);
        self.frame.command(CommandType::MergeIntoTableCommand(self.command)).await.map(drop)
    }
}

fn change(condition: Option<Column>, action: MergeAction) -> proto::Expression {
    match action {
        MergeAction::UpdateAll => expression(ActionType::UpdateStar, condition, Vec::new()),
        MergeAction::Update(values) => expression(ActionType::Update, condition, values),
        MergeAction::Delete => expression(ActionType::Delete, condition, Vec::new()),
    }
}

fn expression(kind: ActionType, condition: Option<Column>, values: Vec<(String, Column)>) -> proto::Expression {
    let assignment = |(name, value): (String, Column)| Assignment {
        key: Some(column(&name).to_proto()),
        value: Some(value.to_proto()),
    };
    let action = proto::MergeAction {
        action_type: kind.into(),
        condition: condition.map(|condition| Box::new(condition.to_proto())),
        assignments: values.into_iter().map(assignment).collect(),
    };
    proto::Expression { expr_type: Some(ExprType::MergeAction(Box::new(action))), ..Default::default() }
}
