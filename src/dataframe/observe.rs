//! Counts that the cluster takes of rows while a command moves them.

use std::collections::HashMap;

use futures::TryStreamExt;
use spark_connect::column::Column;
use spark_connect_proto::{self as proto, command::CommandType, expression::literal::LiteralType, relation::RelType};

use super::{Context, DataFrame};
use crate::{Result, connect::Event};

/// Whole numbers by the name of what was counted and, in order, by metric.
pub(crate) type Observed = HashMap<String, Vec<i64>>;

impl DataFrame {
    /// Has the commands that move this frame's rows report aggregates of them under a name.
    pub(crate) fn observed(&self, name: &str, aggregates: impl IntoIterator<Item = Column>) -> DataFrame {
        let metrics = aggregates.into_iter().map(|aggregate| aggregate.to_proto()).collect();
        let observe = proto::CollectMetrics { input: self.input(), name: name.to_owned(), metrics };
        self.derive(RelType::CollectMetrics(Box::new(observe)))
    }
}

impl Context {
    /// Runs a command to its end; returns what it observed.
    pub(super) async fn observe(&self, command: CommandType) -> Result<Observed> {
        let command = proto::Command { command_type: Some(command) };
        let mut events = self.execute(proto::Plan { op_type: Some(proto::plan::OpType::Command(command)) });
        let mut observed = Observed::new();
        while let Some(event) = events.try_next().await? {
            let Event::Observed(metrics) = event else { continue };
            for metric in metrics {
                let number = |value: &proto::expression::Literal| match value.literal_type {
                    Some(LiteralType::Long(number)) => number,
                    _ => 0,
                };
                observed.insert(metric.name, metric.values.iter().map(number).collect());
            }
        }
        Ok(observed)
    }
}
