//! Partition groups: plans that together give all rows, each once, and none more bytes than a cap.

use arrow::{
    array::{Array, ArrayRef, AsArray},
    datatypes::{self as types, DataType as ArrowType, TimeUnit},
};
use spark_connect::{
    column::Column,
    lit, lit_boolean, lit_double, lit_string,
    types::{DataType, StructField},
};

use super::measure::{RowTally, sum};
use crate::{
    DataProblem, Error, Result,
    dataframe::{DataFrame, column, function},
};

/// One plan, and what it is to give.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) frame: DataFrame,
    /// Its rows by the server's count; `None` when they were not counted.
    pub(super) rows: Option<u64>,
    /// Its rows as they were measured.
    pub(super) tally: RowTally,
    /// The files that its rows are in, where the group is one of files.
    #[cfg_attr(not(feature = "files"), expect(dead_code, reason = "only exports to files resume in another process"))]
    pub(super) files: Vec<String>,
}

/// Runs of neighbours, each of at most `cap` bytes if no single one has more.
pub(super) fn pack(tallies: &[RowTally], cap: u64) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, tally) in tallies.iter().enumerate() {
        if i > start && bytes + tally.bytes > cap {
            runs.push(start..i);
            (start, bytes) = (i, 0);
        }
        bytes += tally.bytes;
    }
    if start < tallies.len() {
        runs.push(start..tallies.len());
    }
    runs
}

/// Returns the number of random groups of which none exceeds `cap`, but for a probability of one in ten thousand.
///
/// The bytes of a group of mean m vary by at most √(m · largest row); the mean lies four of those below the cap.
pub(super) fn deal(tally: &RowTally, cap: u64) -> usize {
    let (cap, largest) = (cap as f64, tally.largest.max(1) as f64);
    let root = (largest.sqrt().mul_add(-4.0, (16.0 * largest + 4.0 * cap).sqrt())) / 2.0;
    let mean = (root * root).max(cap / 16.0);
    ((tally.bytes as f64 / mean).ceil() as usize).clamp(1, tally.rows.max(1) as usize)
}

/// Groups of the files whose paths are in `path`, a column that the groups do without.
pub(super) fn of_files(frame: &DataFrame, path: &str, files: &[(ArrayRef, usize, RowTally)], cap: u64) -> Vec<Group> {
    let tallies: Vec<_> = files.iter().map(|(_, _, tally)| *tally).collect();
    let name = |(paths, row, _): &(ArrayRef, usize, RowTally)| {
        paths.as_string_opt::<i32>().map_or("", |paths| paths.value(*row)).to_owned()
    };
    let group = |run: std::ops::Range<usize>| {
        let files: Vec<_> = files[run.clone()].iter().map(name).collect();
        let within = column(path).isin(files.iter().map(|name| lit_string(name)));
        Group { files, ..group(frame.filter(within).drop([path]), &tallies[run]) }
    };
    pack(&tallies, cap).into_iter().map(group).collect()
}

/// Groups of neighbouring values of a column.
pub(super) fn of_values(
    frame: &DataFrame,
    field: &StructField,
    values: &[(ArrayRef, usize, RowTally)],
    cap: u64,
) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    let (nulls, values): (Vec<_>, Vec<_>) = values.iter().partition(|(values, row, _)| values.is_null(*row));
    let key = || column(&field.name);
    if let [(_, _, tally)] = nulls[..] {
        groups.push(group(frame.filter(key().is_null()), &[*tally]));
    }
    let tallies: Vec<_> = values.iter().map(|(_, _, tally)| *tally).collect();
    for run in pack(&tallies, cap) {
        let literal = |at: usize| literal(&values[at].0, values[at].1, field);
        let within = key().ge(literal(run.start)?).and(key().le(literal(run.end - 1)?));
        groups.push(group(frame.filter(within), &tallies[run]));
    }
    match groups.iter().find(|group| group.tally.bytes > cap && group.rows != Some(1)) {
        Some(large) => Err(Error::data(
            &field.name,
            DataProblem::TooLarge {
                what: "bytes of rows with one value".into(),
                size: large.tally.bytes,
                limit: cap,
                remedy: "name a column of more values, or choose another strategy",
            },
        )),
        None => Ok(groups),
    }
}

pub(super) fn group(frame: DataFrame, tallies: &[RowTally]) -> Group {
    let tally = sum(tallies.iter().copied());
    Group { frame, rows: Some(tally.rows), tally, files: Vec::new() }
}

pub(super) fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// Returns a value as a literal of the column's type.
pub(super) fn literal(values: &ArrayRef, row: usize, field: &StructField) -> Result<Column> {
    let cast = |value: Column| value.cast(field.data_type.clone());
    let refused = || {
        let expected = "a column of numbers, text, dates, timestamps or booleans to form groups by";
        Error::schema(&field.name, expected, field.data_type.simple_string())
    };
    macro_rules! number {
        ($type:ty) => {
            values.as_primitive::<$type>().value(row)
        };
    }
    Ok(match values.data_type() {
        ArrowType::Boolean => lit_boolean(values.as_boolean().value(row)),
        ArrowType::Int8 => cast(lit(number!(types::Int8Type).into())),
        ArrowType::Int16 => cast(lit(number!(types::Int16Type).into())),
        ArrowType::Int32 => cast(lit(number!(types::Int32Type).into())),
        ArrowType::Int64 => cast(lit(number!(types::Int64Type))),
        ArrowType::Float32 => cast(lit_double(number!(types::Float32Type).into())),
        ArrowType::Float64 => cast(lit_double(number!(types::Float64Type))),
        ArrowType::Date32 => {
            function("date_from_unix_date", [lit(number!(types::Date32Type).into()).cast(DataType::Integer)])
        }
        ArrowType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
            let micros = number!(types::TimestampMicrosecondType);
            function("timestamp_micros", [lit(micros).cast(DataType::Long)])
        }
        // By its text, which says the same in every time zone.
        ArrowType::Timestamp(TimeUnit::Microsecond, None) => {
            let values = values.as_primitive::<types::TimestampMicrosecondType>();
            let text = values.value_as_datetime(row).map(|time| time.to_string());
            cast(lit_string(&text.ok_or_else(refused)?))
        }
        ArrowType::Utf8 => lit_string(values.as_string::<i32>().value(row)),
        ArrowType::Decimal128(_, _) => {
            cast(lit_string(&values.as_primitive::<types::Decimal128Type>().value_as_string(row)))
        }
        _ => return Err(refused()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u64]) -> Vec<RowTally> {
        bytes.iter().map(|&bytes| RowTally { rows: 1, bytes, largest: bytes, ..RowTally::default() }).collect()
    }

    #[test]
    fn neighbours_are_packed_up_to_the_cap_and_none_is_left_out() {
        assert_eq!(pack(&of(&[4, 4, 4, 9, 20, 1, 1]), 10), [0..2, 2..3, 3..4, 4..5, 5..7]);
        assert_eq!(pack(&of(&[10, 1]), 10), [0..1, 1..2]);
        assert!(pack(&[], 10).is_empty());
    }

    #[test]
    fn rows_are_dealt_to_more_groups_the_more_their_sizes_may_vary() {
        let mib = 1 << 20;
        let even = RowTally { rows: 1 << 20, bytes: 1 << 30, largest: 1 << 10, ..RowTally::default() };
        assert_eq!(deal(&even, 128 * mib), 9);
        let uneven = RowTally { largest: 8 * mib, ..even };
        assert!((20..40).contains(&deal(&uneven, 128 * mib)), "{}", deal(&uneven, 128 * mib));
        let huge = RowTally { rows: 5, bytes: 5 << 30, largest: 1 << 30, ..RowTally::default() };
        assert_eq!(deal(&huge, 128 * mib), 5, "no more groups than rows");
        assert_eq!(deal(&RowTally::default(), 128 * mib), 1);
    }
}
