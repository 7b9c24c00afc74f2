//! Names for frames, within a session or the whole server; frames kept on the cluster.

use spark_connect_proto::{self as proto, analyze_plan_request as ask, command::CommandType, relation::RelType};

use super::{DataFrame, StorageLevel};
use crate::Result;

impl DataFrame {
    /// Names this frame within the session.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server), also when the name is taken;
    /// [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn create_temp_view(&self, name: &str) -> Result<()> {
        self.name_view(name, false, false).await
    }

    /// Names this frame within the session, in place of what had the name.
    ///
    /// # Errors
    /// As [`create_temp_view`](Self::create_temp_view).
    pub async fn create_or_replace_temp_view(&self, name: &str) -> Result<()> {
        self.name_view(name, false, true).await
    }

    /// Names this frame for all sessions of the server, as `global_temp.NAME`.
    ///
    /// # Errors
    /// As [`create_temp_view`](Self::create_temp_view).
    pub async fn create_global_temp_view(&self, name: &str) -> Result<()> {
        self.name_view(name, true, false).await
    }

    /// Names this frame for all sessions of the server, in place of what had the name.
    ///
    /// # Errors
    /// As [`create_temp_view`](Self::create_temp_view).
    pub async fn create_or_replace_global_temp_view(&self, name: &str) -> Result<()> {
        self.name_view(name, true, true).await
    }

    async fn name_view(&self, name: &str, is_global: bool, replace: bool) -> Result<()> {
        let input = Some(self.checked()?);
        let view = proto::CreateDataFrameViewCommand { input, name: name.to_owned(), is_global, replace };
        self.command(CommandType::CreateDataframeView(view)).await.map(drop)
    }

    /// Takes a name from the session; the frame stays what it is.
    pub(super) async fn drop_temp_view(&self, name: &str) -> Result<()> {
        let drop = proto::DropTempView { view_name: name.to_owned() };
        let catalog = proto::Catalog { cat_type: Some(proto::catalog::CatType::DropTempView(drop)) };
        self.beside(RelType::Catalog(catalog)).collect().await.map(std::mem::drop)
    }

    /// Has the cluster keep this frame's rows, once computed: in memory, and on disk what does not fit.
    ///
    /// # Errors
    /// [`Error::Server`](crate::Error::Server); [`Error::Unreachable`](crate::Error::Unreachable).
    pub async fn persist(&self) -> Result<()> {
        self.persist_at(StorageLevel::default()).await
    }

    /// As [`persist`](Self::persist), at a storage level.
    ///
    /// # Errors
    /// As [`persist`](Self::persist).
    pub async fn persist_at(&self, level: StorageLevel) -> Result<()> {
        let (relation, storage_level) = (Some(self.checked()?), Some(level.to_proto()));
        self.client().analyze(ask::Analyze::Persist(ask::Persist { relation, storage_level })).await.map(std::mem::drop)
    }

    /// Lets go of what [`persist`](Self::persist) kept.
    ///
    /// # Errors
    /// As [`persist`](Self::persist).
    pub async fn unpersist(&self) -> Result<()> {
        let relation = Some(self.checked()?);
        self.client().analyze(ask::Analyze::Unpersist(ask::Unpersist { relation, blocking: Some(false) })).await?;
        Ok(())
    }
}
