//! `tinderbox import`: files to a table.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tinderbox::files::{FileFormat, ReadOptions, read_files};

use super::write_mode::WriteMode;
use crate::{cli::Global, connection::session, failure::Result, output::Output};

/// Makes a table of files on this machine: Parquet, Arrow, CSV, JSON lines; NumPy and IDX arrays, a column each; a
/// folder of images, each in a folder named after its class.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// The files, of one format and with the same columns
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// The table
    #[arg(long, value_name = "TABLE")]
    to: String,
    #[command(flatten)]
    mode: WriteMode,
    /// The format, in place of the extensions'
    #[arg(long = "as", value_name = "FORMAT")]
    file_format: Option<FileFormat>,
    /// The separator of CSV
    #[arg(long, value_name = "CHARACTER")]
    delimiter: Option<char>,
    /// CSV whose first line is a row
    #[arg(long)]
    no_header: bool,
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output) -> Result {
    let options =
        ReadOptions { format: arguments.file_format, delimiter: arguments.delimiter, no_header: arguments.no_header };
    let rows = read_files(&arguments.paths, &options)?;
    let spark = session(global, output).await?;
    let mode = arguments.mode.check(&spark, &arguments.to).await?;
    let frame = spark.create_dataframe_from_stream(rows, None).await?;
    frame.write().mode(mode).save_as_table(&arguments.to).await?;
    let table = spark.table(&arguments.to);
    let (count, schema) = (table.count().await?, table.schema().await?);
    let columns: Vec<String> =
        schema.fields().iter().map(|field| format!("{} {}", field.name, field.data_type.simple_string())).collect();
    let object = json!({ "table": arguments.to, "rows": count, "columns": columns });
    output.object(|| format!("{} has {count} rows of {}", arguments.to, columns.join(", ")), &object)?;
    Ok(spark.stop().await?)
}
