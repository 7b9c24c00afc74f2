//! `tinderbox export`: rows to a file.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tinderbox::files::{Exported, FileFormat, export_file};

use super::sql::readable;
use crate::{
    cli::Global,
    connection::{session, table},
    failure::Result,
    output::Output,
};

/// Copies the rows of a table or a query to a file on this machine. The rows stream: any number fits. A result that
/// the network cuts is read on, and a file is whole or not there. What a large export of a table had brought when it
/// was killed stays in FILE.parts, and the same command resumes from there.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// A table, or a query in SQL
    rows: String,
    /// The file; its extension is the format: .parquet, .csv, .tsv, .arrow or .jsonl
    #[arg(long, value_name = "FILE")]
    to: PathBuf,
    /// The format, in place of the extension's
    #[arg(long = "as", value_name = "FORMAT")]
    file_format: Option<FileFormat>,
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output) -> Result {
    let format = arguments.file_format.map_or_else(|| FileFormat::of(&arguments.to), Ok)?;
    let spark = session(global, output).await?;
    let is_query = arguments.rows.trim().contains(char::is_whitespace) && !arguments.rows.trim().starts_with('`');
    let frame = if is_query { spark.sql(&arguments.rows).await? } else { table(&spark, &arguments.rows).await? };
    let frame = readable(&frame).await?;
    let source = frame.source();
    let Exported { rows, resumed, .. } = export_file(&source, &arguments.to, format).await?;
    source.close().await?;
    let object = json!({ "rows": rows, "resumed": resumed, "file": arguments.to });
    let before = if resumed > 0 { format!(", {resumed} of them from before") } else { String::new() };
    output.object(|| format!("{rows} rows in {}{before}", arguments.to.display()), &object)?;
    Ok(spark.stop().await?)
}
