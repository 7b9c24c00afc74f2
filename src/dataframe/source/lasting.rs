//! Groups that another process would form of the same rows again, so that what one has read need not be read twice.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use futures::{StreamExt, stream::BoxStream};

use super::{PartitionedSource, groups::Group, prepare::PreparedSource, read};
use crate::Result;

/// A group whose rows are those of some files, and so the same in any process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastingGroup {
    /// Another as soon as the query, its session, the files or their number of rows are.
    pub(crate) key: u64,
    pub(crate) rows: u64,
}

impl PartitionedSource {
    /// Returns the groups, in order, if all are of files; none otherwise.
    pub(crate) async fn lasting_groups(&self) -> Result<Vec<LastingGroup>> {
        Ok(self.prepare().await?.lasting_groups())
    }

    /// Returns the rows of some groups, each whole and counted, in the order given.
    pub(crate) async fn groups(&self, wanted: &[usize]) -> Result<BoxStream<'static, Result<read::GroupRows>>> {
        let prepared: Arc<PreparedSource> = self.prepare().await?;
        let groups = wanted.iter().map(|at| (*at, prepared.groups[*at].clone())).collect();
        let (total, sessions) = (prepared.groups.len(), prepared.sessions.clone());
        let rows = read::whole_groups(groups, total, sessions, prepared.in_flight);
        Ok(rows.inspect(move |_| _ = &prepared).boxed())
    }
}

impl PreparedSource {
    fn lasting_groups(&self) -> Vec<LastingGroup> {
        if self.names.is_some() {
            return Vec::new();
        }
        let lasting = |group: &Group| {
            let rows = group.rows.filter(|_| !group.files.is_empty())?;
            let mut key = DefaultHasher::new();
            (env!("CARGO_PKG_VERSION"), self.state(), &group.files, rows).hash(&mut key);
            Some(LastingGroup { key: key.finish(), rows })
        };
        self.groups.iter().map(lasting).collect::<Option<_>>().unwrap_or_default()
    }
}
