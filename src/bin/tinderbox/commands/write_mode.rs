//! Options of commands that write a table.

use clap::Args;
use tinderbox::{dataframe::SaveMode, session::Session};

use crate::failure::{Failure, Result};

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct WriteMode {
    /// Replace the table if it exists
    #[arg(long, conflicts_with = "append")]
    overwrite: bool,
    /// Add to the table if it exists
    #[arg(long)]
    append: bool,
}

impl WriteMode {
    /// Returns the mode; a table that exists and is neither replaced nor added to is refused.
    pub(crate) async fn check(self, spark: &Session, table: &str) -> Result<SaveMode> {
        match self {
            WriteMode { overwrite: true, .. } => Ok(SaveMode::Overwrite),
            WriteMode { append: true, .. } => Ok(SaveMode::Append),
            _ if !spark.catalog().table_exists(table).await? => Ok(SaveMode::ErrorIfExists),
            _ => Err(Failure::option("to", table, "a new table; --overwrite replaces this one, --append adds to it")),
        }
    }
}
