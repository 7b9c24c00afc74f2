//! Plans cut short: rows kept on the cluster in place of the plan that made them.

use spark_connect_proto::{
    self as proto, command::CommandType, execute_plan_response::ResponseType, relation::RelType,
};

use super::{DataFrame, StorageLevel, action::unexpected, plan::Attached};
use crate::{Result, connect::Client};

/// Rows on the cluster; let go of when the last frame over them is dropped.
#[derive(Debug)]
pub(super) struct HeldRows {
    client: Client,
    relation: proto::CachedRemoteRelation,
}

impl DataFrame {
    /// Writes the rows to the cluster's checkpoint folder (`spark.checkpoint.dir`), and returns a frame that reads them
    /// there; at once if `eager`, else when they are first asked for.
    ///
    /// The files stay unless `spark.cleaner.referenceTracking.cleanCheckpoints` is set.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server) when no folder is set; as [`stream`](Self::stream).
    pub async fn checkpoint(&self, eager: bool) -> Result<DataFrame> {
        self.checkpointed(false, eager, None).await
    }

    /// Keeps the rows on the executors, at a storage level (memory and disk if `None`), and returns a frame that reads
    /// them there. They are lost with an executor.
    ///
    /// # Errors
    /// As [`stream`](Self::stream).
    pub async fn local_checkpoint(&self, eager: bool, level: Option<StorageLevel>) -> Result<DataFrame> {
        self.checkpointed(true, eager, level).await
    }

    async fn checkpointed(&self, local: bool, eager: bool, level: Option<StorageLevel>) -> Result<DataFrame> {
        let command = proto::CheckpointCommand {
            relation: Some(self.checked()?),
            local,
            eager,
            storage_level: level.map(StorageLevel::to_proto),
        };
        let answers = self.command(CommandType::CheckpointCommand(command)).await?;
        let relation = answers.into_iter().find_map(|answer| match answer {
            ResponseType::CheckpointCommandResult(result) => result.relation,
            _ => None,
        });
        let relation = relation.ok_or_else(|| unexpected("CheckpointCommand"))?;
        let held = HeldRows { client: self.client().clone(), relation: relation.clone() };
        Ok(self.with_attachment(RelType::CachedRemoteRelation(relation), Vec::new(), Attached::Rows(held)))
    }
}

impl Drop for HeldRows {
    fn drop(&mut self) {
        let relation = Some(std::mem::take(&mut self.relation));
        let command = proto::RemoveCachedRemoteRelationCommand { relation };
        let command_type = Some(CommandType::RemoveCachedRemoteRelationCommand(command));
        let plan = proto::Plan { op_type: Some(proto::plan::OpType::Command(proto::Command { command_type })) };
        let execution = self.client.execute(plan, Default::default());
        self.client.in_background(async move {
            // The session may have ended, and the rows with it.
            if let Err(error) = execution.responses().await {
                tracing::debug!(%error, "the rows of a checkpoint stay until the session ends");
            }
        });
    }
}
