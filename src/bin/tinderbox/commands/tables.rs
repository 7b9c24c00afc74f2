//! `tinderbox tables`: tables and views.

use clap::Args;
use serde_json::json;

use crate::{
    cli::Global,
    connection::session,
    failure::Result,
    output::{Align, Output, Rows},
};

#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Name pattern, such as 'iris*' or 'a|b'
    pattern: Option<String>,
    /// The database; the current one unless given
    #[arg(long, short)]
    database: Option<String>,
    /// All databases
    #[arg(long, short, conflicts_with = "database")]
    all: bool,
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output) -> Result {
    let spark = session(global, output).await?;
    let catalog = spark.catalog();
    let databases = match (arguments.all, arguments.database) {
        (true, _) => catalog.list_databases(None).await?.into_iter().map(|database| database.name).collect(),
        (false, Some(database)) => vec![database],
        (false, None) => vec![catalog.current_database().await?],
    };
    let mut rows = Rows::new([("database", Align::Left), ("name", Align::Left), ("kind", Align::Left)]);
    for (place, database) in databases.iter().enumerate() {
        for table in catalog.list_tables(Some(database), arguments.pattern.as_deref()).await? {
            // Temporary views belong to no database, and are listed with each.
            if table.is_temporary && place > 0 {
                continue;
            }
            let database = if table.is_temporary { "" } else { database.as_str() };
            let kind = table.table_type.as_deref().unwrap_or("unreadable").to_lowercase();
            rows.push([json!(database), json!(table.name), json!(kind)]);
        }
    }
    output.rows(&rows, "no table")?;
    Ok(spark.stop().await?)
}
