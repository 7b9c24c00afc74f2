//! `tinderbox sql`: a query, a file of queries, or a prompt.

mod prompt;
mod statements;

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use clap::Args;
use futures::TryStreamExt;
use tinderbox::{
    arrow::{array::RecordBatch, compute::concat_batches},
    dataframe::{DataFrame, column, is_vector, quote, vector_to_array},
    session::Session,
};

use self::statements::statements;
use crate::{
    cli::Global,
    connection::session,
    failure::{Failure, Result},
    interrupt::Interrupt,
    output::{Format, Output},
};

/// Runs SQL. Without a query: a prompt on a terminal, else the queries of standard input.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// One query, or several with `;` between them
    query: Option<String>,
    /// A file of queries
    #[arg(long, short, conflicts_with = "query", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Most rows of a table for people; 0 shows all
    #[arg(long, default_value_t = 100)]
    limit: usize,
}

pub(crate) async fn run(arguments: Arguments, global: &Global, output: &Output, interrupt: &Interrupt) -> Result {
    let text = match (arguments.query, arguments.file) {
        (Some(query), _) => Some(query),
        (None, Some(path)) => Some(std::fs::read_to_string(&path).map_err(|error| Failure::io(path, error))?),
        (None, None) if !std::io::stdin().is_terminal() => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(|error| Failure::io("standard input", error))?;
            Some(text)
        }
        (None, None) => None,
    };
    let spark = session(global, output).await?;
    match text {
        Some(text) => {
            let queries = statements(&text);
            if queries.is_empty() {
                return Err(Failure::option("query", "empty", "at least one query"));
            }
            for query in queries {
                execute(&spark, &query, arguments.limit, output).await?;
            }
        }
        None => {
            interrupt.for_prompt();
            prompt::run(&spark, arguments.limit, output).await?;
        }
    }
    Ok(spark.stop().await?)
}

/// Runs one query and prints its rows.
async fn execute(spark: &Session, query: &str, limit: usize, output: &Output) -> Result {
    let frame = readable(&spark.sql(query).await?).await?;
    if frame.schema().await?.fields().is_empty() {
        return Ok(());
    }
    if output.format() != Format::Table {
        let mut batches = frame.stream().await?;
        let mut begin = true;
        while let Some(batch) = batches.try_next().await? {
            output.batch(&batch, std::mem::take(&mut begin))?;
        }
        return Ok(());
    }
    let some = i32::try_from(limit).ok().filter(|limit| (1..i32::MAX).contains(limit));
    let batches = match some {
        Some(limit) => frame.limit(limit + 1).collect().await?,
        None => frame.collect().await?,
    };
    let Some(first) = batches.first() else { return Ok(()) };
    let all: RecordBatch = concat_batches(&first.schema(), &batches).map_err(|error| {
        Failure::from(tinderbox::Error::Arrow { context: "a result".into(), source: Box::new(error) })
    })?;
    let shown = some.map_or(all.num_rows(), |limit| all.num_rows().min(limit as usize));
    output.batch(&all.slice(0, shown), true)?;
    match shown < all.num_rows() {
        true => output.say(format!("the first {shown} rows; --limit 0 shows all")),
        false => output.say(format!("{shown} row{}", if shown == 1 { "" } else { "s" })),
    }
    Ok(())
}

/// Returns a frame whose vectors are arrays, which people and files can read.
pub(crate) async fn readable(frame: &DataFrame) -> Result<DataFrame> {
    let schema = frame.schema().await?;
    if schema.repeated_name().is_some() || !schema.fields().iter().any(|field| is_vector(&field.data_type)) {
        return Ok(frame.clone());
    }
    let columns = schema.fields().iter().map(|field| match is_vector(&field.data_type) {
        true => vector_to_array(column(&field.name), "float64").alias(&field.name),
        false => column(&field.name),
    });
    Ok(frame.select(columns))
}

/// Returns the names of a table's columns as SQL writes them.
async fn columns(spark: &Session, table: &str) -> Vec<String> {
    let bare = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let sql = |name: &str| if bare(name) { name.to_owned() } else { quote(name) };
    match spark.table(table).columns().await {
        Ok(names) => names.iter().map(|name| sql(name)).collect(),
        Err(_) => Vec::new(),
    }
}
