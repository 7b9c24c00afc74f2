use arrow::{
    array::{Decimal128Array, Float64Array, Int64Array, StringArray},
    datatypes::{Float32Type, UInt8Type, UInt32Type},
};

use super::*;

type Rows = Vec<(&'static str, ArrayRef)>;

fn columns() -> Rows {
    vec![
        ("x", Arc::new(Float32Array::from(vec![Some(1.0), None, Some(3.0), Some(4.0)])) as ArrayRef),
        ("y", Arc::new(Int64Array::from(vec![0, 1, 2, 1]))),
        ("w", Arc::new(Float64Array::from(vec![1.0, 2.0, 0.0, 0.5]))),
        ("v", Arc::new(BooleanArray::from(vec![Some(false), Some(true), None, Some(true)]))),
    ]
}

/// What came of rows: features, labels, weights, marks, and how many were skipped.
type Read = (Vec<f32>, Vec<u32>, Vec<f32>, Vec<u8>, u64);

fn read(rows: Rows, columns: &Columns, on_invalid: OnInvalid) -> Result<Read> {
    let batch = RecordBatch::try_from_iter(rows).unwrap();
    let mut decoder = ExampleDecoder::bind(&batch.schema(), columns, on_invalid)?;
    let mut read = Read::default();
    for part in [batch.slice(0, 1), batch.slice(0, 0), batch.slice(1, batch.num_rows() - 1)] {
        let Decoded { batch, skipped } = decoder.decode(&part)?;
        read.4 += skipped;
        for (field, column) in decoder.fields().iter().zip(batch.columns()) {
            match field.name.as_str() {
                LABEL => read.1.extend(column.as_primitive::<UInt32Type>().values()),
                WEIGHT => read.2.extend(column.as_primitive::<Float32Type>().values()),
                HELD_OUT => read.3.extend(column.as_primitive::<UInt8Type>().values()),
                _ => read.0.extend(column.as_fixed_size_list().values().as_primitive::<Float32Type>().values()),
            }
        }
    }
    decoder.finish()?;
    Ok(read)
}

#[test]
fn unusable_rows_are_skipped_and_counted_on_request() {
    let columns_used = Columns::new("x", "y").weight("w").validation("v");
    let read = read(columns(), &columns_used, OnInvalid::Skip).unwrap();
    assert_eq!(read, (vec![1.0, 4.0], vec![0, 1], vec![1.0, 0.5], vec![0, 1], 2));
}

#[test]
fn unusable_rows_are_refused_with_their_count_and_the_first() {
    let message = read(columns(), &Columns::new("x", "y"), OnInvalid::Error).unwrap_err().to_string();
    assert!(message.contains("`x`") && message.contains("1 of 4") && message.contains("row 1"), "{message}");
    let message = read(columns(), &Columns::new("w", "y").validation("v"), OnInvalid::Error).unwrap_err().to_string();
    assert!(message.contains("`v`") && message.contains("row 2") && message.contains("is null"), "{message}");
}

#[test]
fn labels_are_whole_numbers_from_zero_of_any_type() {
    for label in [
        Arc::new(Float64Array::from(vec![0.0, 1.0, 2.0, 1.0])) as ArrayRef,
        Arc::new(Decimal128Array::from(vec![0, 100, 200, 100]).with_precision_and_scale(5, 2).unwrap()),
    ] {
        let mut rows = columns();
        rows[1].1 = label;
        assert_eq!(read(rows, &Columns::new("w", "y"), OnInvalid::Error).unwrap().1, [0, 1, 2, 1]);
    }
    for (value, shown) in [(-1.0, "-1"), (0.5, "0.5"), (f64::NAN, "NaN"), (1e30, "1000000"), (f64::INFINITY, "inf")] {
        let mut rows = columns();
        rows[1].1 = Arc::new(Float64Array::from(vec![0.0, 1.0, value, value]));
        let message = read(rows, &Columns::new("w", "y"), OnInvalid::Skip).unwrap_err().to_string();
        assert!(message.contains("`y`") && message.contains("2 of 4") && message.contains("row 2"), "{message}");
        assert!(message.contains(shown), "{message}");
    }
}

#[test]
fn weights_must_be_finite_and_not_negative() {
    for value in [-0.5, f64::NAN, f64::INFINITY] {
        let mut rows = columns();
        rows[2].1 = Arc::new(Float64Array::from(vec![1.0, 1.0, 1.0, value]));
        let message = read(rows, &Columns::new("y", "y").weight("w"), OnInvalid::Error).unwrap_err().to_string();
        assert!(message.contains("`w`") && message.contains("row 3"), "{message}");
    }
}

#[test]
fn nothing_to_learn_from_is_said_before_training() {
    let batch = RecordBatch::try_from_iter(columns()).unwrap();
    let decoder = |on| ExampleDecoder::bind(&batch.schema(), &Columns::new("x", "y"), on).unwrap();
    assert!(matches!(decoder(OnInvalid::Error).finish(), Err(Error::Data { problem: DataProblem::NoRows, .. })));
    let mut skipping = decoder(OnInvalid::Skip);
    skipping.decode(&batch.slice(1, 1)).unwrap();
    assert!(skipping.finish().unwrap_err().to_string().contains("all 1 rows were skipped"));
    let keep = ExampleDecoder::bind(&batch.schema(), &Columns::new("x", "y"), OnInvalid::Keep).unwrap_err().to_string();
    assert!(keep.contains("handleInvalid"), "{keep}");
}

#[test]
fn types_that_do_not_fit_are_refused() {
    let mut rows = columns();
    rows[1].1 = Arc::new(StringArray::from(vec!["a", "b", "c", "d"]));
    let schema = RecordBatch::try_from_iter(rows).unwrap().schema();
    for (columns, name) in [
        (Columns::new("x", "y"), "`y`"),
        (Columns::new("x", "w").weight("y"), "`y`"),
        (Columns::new("x", "w").validation("x"), "`x`"),
        (Columns::new("x", "nowhere"), "`nowhere`"),
    ] {
        let message = ExampleDecoder::bind(&schema, &columns, OnInvalid::Error).unwrap_err().to_string();
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn batches_are_canonical_and_keep_their_order() {
    let batch = RecordBatch::try_from_iter(columns()).unwrap();
    let used = Columns::side_by_side(["x", "y"], "y").weight("w").validation("v");
    let mut decoder = ExampleDecoder::bind(&batch.schema(), &used, OnInvalid::Skip).unwrap();
    // Row 1 lacks a feature and row 2 its mark: nothing shows the width until row 3 comes.
    assert_eq!(decoder.decode(&batch.slice(1, 1)).unwrap().skipped, 1);
    assert!(decoder.fields().is_empty());
    let decoded = decoder.decode(&batch.slice(2, 2)).unwrap();
    assert_eq!((decoded.skipped, decoded.batch.num_rows()), (1, 1));
    let fields =
        decoded.batch.schema().fields().iter().map(|f| TensorField::from_arrow(f).unwrap()).collect::<Vec<_>>();
    assert_eq!(fields, decoder.fields());
    let names: Vec<&str> = fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["features", "label", "weight", "held_out"]);
    assert_eq!(fields[0].shape, RowShape::fixed([2]));
    assert_eq!(
        decoded.batch.column(0).as_fixed_size_list().values().as_primitive::<Float32Type>().values(),
        &[4.0, 1.0]
    );
    decoder.finish().unwrap();
}
