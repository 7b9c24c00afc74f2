//! Problems of data.

use std::fmt;

/// A reason why data cannot be used, with its facts.
///
/// `Display` gives the text that follows the column and the row.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq)]
pub enum DataProblem {
    /// Without rows there is nothing to compute.
    NoRows,
    /// Every row was skipped as unusable.
    AllSkipped {
        /// Number of rows.
        rows: u64,
    },
    /// No row has a value of this kind.
    NoValues {
        /// The kind of value, such as "word".
        what: &'static str,
    },
    /// Some rows cannot be used.
    Unusable {
        /// Number of such rows.
        rows: u64,
        /// Number of rows that were read; `None` when the reader stopped at the first problem.
        of: Option<u64>,
        /// The problem of the first of them, such as "is null".
        reason: String,
    },
    /// Some values are not legal.
    Values {
        /// Form of legal values.
        expected: String,
        /// The other ones, with counts and examples.
        found: String,
        /// A row that has one, if it was looked up: its columns as JSON.
        example: Option<String>,
    },
    /// All rows are of one class.
    OneClass {
        /// The class, if it is known.
        class: Option<String>,
    },
    /// A number is not a category that the network knows.
    UnknownCategory {
        /// The number.
        value: f32,
        /// Number of categories; they count from 0.
        categories: usize,
        /// Position among the row's values; `None` when the column tells it.
        place: Option<usize>,
    },
    /// Rows have another number of values than needed.
    Length {
        /// Number of values needed.
        expected: usize,
        /// Number of values found.
        found: usize,
    },
    /// No row tells the shape of the values.
    UnknownShape {
        /// The reason.
        reason: String,
    },
    /// Something is too large.
    TooLarge {
        /// The thing and its unit, such as "bytes of one group".
        what: String,
        /// Its size.
        size: u64,
        /// The largest legal size.
        limit: u64,
        /// The way out.
        remedy: &'static str,
    },
    /// A split leaves one side empty.
    EmptySplit {
        /// Number of rows.
        rows: u64,
        /// Number of those in the part that the split takes out.
        taken: u64,
        /// The part, such as "held out".
        part: String,
    },
    /// No candidate has a metric that is a number.
    NoMetric {
        /// Number of candidates.
        candidates: usize,
    },
    /// An expression fails on a row, as on the cluster.
    Expression {
        /// The failure.
        message: String,
    },
    /// A row is not a value of a Rust type.
    Unreadable {
        /// The Rust type.
        target: String,
        /// The value and its Arrow type, or the whole row.
        found: String,
        /// The reason.
        reason: String,
    },
    /// A batch breaks the form that its schema declares.
    Malformed {
        /// The violation.
        reason: String,
    },
}

impl DataProblem {
    /// More numbers than one Arrow batch, or this machine's memory, can hold.
    pub(crate) fn too_many_numbers(size: usize) -> Self {
        let (what, limit) = ("numbers in one batch".into(), i32::MAX as u64);
        Self::TooLarge { what, size: size as u64, limit, remedy: "read smaller batches" }
    }

    /// Creates a row without values, or with more than Arrow can hold.
    pub(crate) fn width(width: usize) -> Self {
        let (what, limit) = ("values a row".into(), i32::MAX as u64);
        match width {
            0 => Self::NoValues { what: "value a row" },
            _ => Self::TooLarge { what, size: width as u64, limit, remedy: "select fewer columns" },
        }
    }
}

impl fmt::Display for DataProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRows => f.write_str("expected at least one row, found none; check the filters of the plan"),
            Self::AllSkipped { rows } => {
                write!(
                    f,
                    "expected at least one usable row, found none: all {rows} rows were skipped; correct them first"
                )
            }
            Self::NoValues { what } => write!(f, "expected at least one {what}, found none; fill the column first"),
            Self::Unusable { rows, of, reason } => {
                write!(f, "{reason}")?;
                match of {
                    Some(of) => write!(f, "; {rows} of {of} rows cannot be used")?,
                    None if *rows > 1 => write!(f, "; {rows} rows cannot be used")?,
                    None => {}
                }
                f.write_str("; fill or drop such rows, or set handleInvalid to skip")
            }
            Self::Values { expected, found, example } => {
                write!(f, "expected {expected}, found {found}; filter or correct such rows first")?;
                example.iter().try_for_each(|row| write!(f, "; one of them: {row}"))
            }
            Self::OneClass { class: Some(class) } => {
                write!(f, "expected at least two classes, found only {class}; check the filters of the plan")
            }
            Self::OneClass { class: None } => f.write_str("expected at least two classes, found one"),
            Self::UnknownCategory { value, categories, place } => {
                write!(f, "expected a category from 0 to {}, found {value}", categories.saturating_sub(1))?;
                place.iter().try_for_each(|place| write!(f, " as value {place}"))?;
                f.write_str("; fit the index again, or declare more categories")
            }
            Self::Length { expected, found } => write!(f, "expected {expected} values a row, found {found}"),
            Self::UnknownShape { reason } => write!(f, "the shape is unknown: {reason}; declare it"),
            Self::TooLarge { what, size, limit, remedy } => {
                write!(f, "expected at most {limit} {what}, found {size}; {remedy}")
            }
            Self::EmptySplit { rows, taken, part } => {
                write!(f, "expected two parts with rows, found {taken} of {rows} rows {part}; change the split")
            }
            Self::NoMetric { candidates } => {
                write!(f, "expected a metric that is a number, found none among {candidates} candidates")
            }
            Self::Expression { message } => f.write_str(message),
            Self::Unreadable { target, found, reason } => {
                write!(
                    f,
                    "expected a value for `{target}`, found {found}: {reason}; change the type, or cast the column"
                )
            }
            Self::Malformed { reason } => f.write_str(reason),
        }
    }
}
