//! Results on standard output, for people or for programs; the rest on standard error.

use std::{
    error::Error as _,
    io::{self, IsTerminal, Write},
};

use anstream::{eprintln, stdout};
use clap::ValueEnum;
use comfy_table::{CellAlignment, ContentArrangement, Table, TableComponent, presets};
use serde_json::Value;
use tinderbox::{
    Error,
    arrow::{
        array::RecordBatch,
        datatypes::FieldRef,
        error::ArrowError,
        util::display::{ArrayFormatter, FormatOptions},
    },
};
use tracing_subscriber::{EnvFilter, fmt};

use crate::{
    cli::Global,
    failure::{Failure, Result},
};

/// Form of results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a header.
    Csv,
}

/// Alignment of a column.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of one result, as JSON values under these names.
#[derive(Debug)]
pub(crate) struct Rows {
    names: Vec<String>,
    aligned: Vec<Align>,
    rows: Vec<Vec<Value>>,
}

impl Rows {
    pub(crate) fn new<const N: usize>(columns: [(&str, Align); N]) -> Self {
        let (names, aligned) = columns.iter().map(|(name, align)| ((*name).to_owned(), *align)).unzip();
        Self { names, aligned, rows: Vec::new() }
    }

    pub(crate) fn push<const N: usize>(&mut self, row: [Value; N]) {
        debug_assert_eq!(N, self.names.len());
        self.rows.push(row.into());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// The screen, or the pipe, of a command.
#[derive(Debug)]
pub(crate) struct Output {
    format: Format,
    quiet: bool,
    verbose: u8,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Self {
        if global.no_color {
            anstream::ColorChoice::Never.write_global();
        }
        Self { format: global.format, quiet: global.quiet, verbose: global.verbose }
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// Returns whether progress is shown: on a terminal only, and not if quiet.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Sends the library's log to standard error: warnings, or more by `-v`, or as `RUST_LOG` says.
    pub(crate) fn log(&self) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => "error",
            // Retries are news only to those who look for them; what ends them is an error.
            (_, 0) => "tinderbox=warn,tinderbox::connect=error,error",
            (_, 1) => "tinderbox=info,warn",
            (_, 2) => "tinderbox=debug,info",
            _ => "trace",
        };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        let ansi = anstream::AutoStream::choice(&io::stderr()) != anstream::ColorChoice::Never;
        let layer = fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(ansi);
        layer.without_time().with_target(false).init();
    }

    /// Says something on the way, unless quiet.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            eprintln!("{}", text.as_ref());
        }
    }

    /// Prints an error and its causes.
    pub(crate) fn error(&self, error: &Error) {
        let mut text = error.to_string();
        let causes = std::iter::successors(error.source(), |cause| (*cause).source()).map(ToString::to_string);
        let mut shown = String::new();
        for cause in causes {
            if !text.contains(cause.trim()) {
                shown.push_str(&format!("\n  caused by: {}", cause.trim()));
                text.push_str(&cause);
            }
        }
        self.failed(&format!("{error}{shown}"));
    }

    /// Prints a failure.
    pub(crate) fn failed(&self, text: &str) {
        eprintln!("\x1b[1;31merror:\x1b[0m {}", text.trim());
    }

    /// Prints a line of a result.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result {
        let mut out = stdout().lock();
        writeln!(out, "{}", text.as_ref())?;
        Ok(out.flush()?)
    }

    /// Prints a result that is text for people, or an object for programs.
    pub(crate) fn object(&self, text: impl FnOnce() -> String, object: &Value) -> Result {
        match self.format {
            Format::Table => self.line(text()),
            _ => self.line(object.to_string()),
        }
    }

    /// Prints rows; `empty` in place of a table without any.
    pub(crate) fn rows(&self, rows: &Rows, empty: &str) -> Result {
        let mut out = stdout().lock();
        match self.format {
            Format::Table if rows.is_empty() => self.say(empty),
            Format::Table => {
                let cells = rows.rows.iter().map(|row| row.iter().map(text).collect::<Vec<_>>());
                writeln!(out, "{}", table(&rows.names, &rows.aligned, cells))?;
            }
            Format::Json => {
                for row in &rows.rows {
                    let object = rows.names.iter().cloned().zip(row.iter().cloned());
                    writeln!(out, "{}", Value::Object(object.collect()))?;
                }
            }
            Format::Csv => {
                writeln!(out, "{}", csv(rows.names.iter().map(String::as_str)))?;
                for row in &rows.rows {
                    writeln!(out, "{}", csv(row.iter().map(text).collect::<Vec<_>>().iter().map(String::as_str)))?;
                }
            }
        }
        Ok(out.flush()?)
    }

    /// Prints batches of one schema: a table of all, or a line a row as they come. `begin` for the first batch.
    pub(crate) fn batch(&self, batch: &RecordBatch, begin: bool) -> Result {
        let mut out = stdout().lock();
        let unreadable = |error| Failure::from(Error::Arrow { context: "a result".into(), source: Box::new(error) });
        match self.format {
            Format::Table => {
                let schema = batch.schema();
                let names: Vec<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
                let align = |field: &FieldRef| if field.data_type().is_numeric() { Align::Right } else { Align::Left };
                let aligned: Vec<_> = schema.fields().iter().map(align).collect();
                let cells = cells(batch, "NULL").map_err(unreadable)?;
                writeln!(out, "{}", table(&names, &aligned, cells.into_iter()))?;
            }
            Format::Json => {
                let mut lines = Vec::new();
                let mut writer = tinderbox::arrow::json::LineDelimitedWriter::new(&mut lines);
                writer.write(batch).and_then(|()| writer.finish()).map_err(unreadable)?;
                out.write_all(&lines)?;
            }
            Format::Csv => {
                let mut lines = Vec::new();
                let mut writer = tinderbox::arrow::csv::WriterBuilder::new().with_header(begin).build(&mut lines);
                writer.write(batch).map_err(unreadable)?;
                drop(writer);
                out.write_all(&lines)?;
            }
        }
        Ok(out.flush()?)
    }
}

/// Returns a batch's cells as text.
fn cells(batch: &RecordBatch, null: &str) -> std::result::Result<Vec<Vec<String>>, ArrowError> {
    let options = FormatOptions::default().with_null(null).with_display_error(true);
    let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
    let columns = columns.collect::<std::result::Result<Vec<_>, _>>()?;
    let row = |row| columns.iter().map(|column| column.value(row).to_string()).collect();
    Ok((0..batch.num_rows()).map(row).collect())
}

/// Returns a value as people read it.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Longest cell of a table that is shown whole.
const LONGEST: usize = 80;

/// Width below which a column cannot be read.
const NARROWEST: usize = 10;

/// Lays a table out, as wide as the terminal; a line a cell where it is too narrow for the columns.
fn table(names: &[String], aligned: &[Align], rows: impl Iterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let names: Vec<String> = names.iter().map(|name| printable(name)).collect();
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_style(TableComponent::HeaderLines, '─').set_style(TableComponent::MiddleHeaderIntersections, '─');
    if !io::stdout().is_terminal() {
        // A pipe has no width: no line is broken.
        table.set_content_arrangement(ContentArrangement::Disabled);
    } else if let Some(width) = table.width() {
        let longest = |place: usize| {
            rows.iter().map(|row| row[place].chars().count()).chain([names[place].chars().count()]).max()
        };
        let needed: usize = (0..names.len()).map(|place| longest(place).unwrap_or(0).min(NARROWEST) + 2).sum();
        if needed > usize::from(width) {
            return records(&names, &rows);
        }
    }
    table.set_header(&names);
    table.add_rows(rows);
    for (column, align) in table.column_iter_mut().zip(aligned) {
        column.set_cell_alignment(if *align == Align::Right { CellAlignment::Right } else { CellAlignment::Left });
    }
    table.trim_fmt()
}

/// Returns each row as lines of names and values, below its first cell.
fn records(names: &[String], rows: &[Vec<String>]) -> String {
    let widest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for row in rows {
        lines.push(row.first().cloned().unwrap_or_default());
        for (name, cell) in names.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty()) {
            lines.push(format!("  {name:<widest$}  {cell}"));
        }
    }
    lines.join("\n")
}

/// Returns text without what a terminal would take for a command, and no longer than a cell.
fn printable(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut shown: String = text.chars().take(LONGEST).map(clean).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

/// Returns a line of comma-separated values.
fn csv<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted = |cell: &str| match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    };
    cells.map(quoted).collect::<Vec<_>>().join(",")
}

/// Returns a duration as people read it: `42 s`, `3 min 5 s`, `2 h 10 min`.
pub(crate) fn duration(time: std::time::Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}
