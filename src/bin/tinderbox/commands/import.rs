//! `tinderbox import`: files to a table.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tinderbox::{
    dataframe::SaveMode,
    files::{FileFormat, ReadOptions, read_files},
};

use crate::{
    cli::Global,
    connection::session,
    failure::{Failure, Result},
    output::Output,
};

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
    /// Replace the table if it exists
    #[arg(long, conflicts_with = "append")]
    overwrite: bool,
    /// Add to the table if it exists
    #[arg(long)]
    append: bool,
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
    let mode = match (arguments.overwrite, arguments.append) {
        (true, _) => SaveMode::Overwrite,
        (_, true) => SaveMode::Append,
        _ => SaveMode::ErrorIfExists,
    };
    if mode == SaveMode::ErrorIfExists && spark.catalog().table_exists(&arguments.to).await? {
        return Err(Failure::option(
            "to",
            arguments.to,
            "a new table; --overwrite replaces this one, --append adds to it",
        ));
    }
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
