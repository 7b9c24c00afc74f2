use std::sync::Arc;

use arrow::{
    array::{
        ArrayRef, BooleanArray, Decimal128Array, FixedSizeListArray, Float32Array, Float64Array, Int8Array, Int32Array,
        LargeListArray, ListArray, StringArray, StructArray,
    },
    buffer::NullBuffer,
    datatypes::{DataType, Field, Float32Type, Float64Type, Int32Type, Int64Type},
};

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).unwrap()
}

fn read(batch: &RecordBatch, names: &[&str]) -> FeatureBlock {
    let names: Vec<String> = names.iter().map(|n| n.to_string()).collect();
    FeatureReader::bind(&batch.schema(), &names).unwrap().read(batch).unwrap()
}

fn floats(rows: &[Option<&[f32]>]) -> ArrayRef {
    let rows = rows.iter().map(|row| row.map(|row| row.iter().map(|v| Some(*v)).collect::<Vec<_>>()));
    Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(rows))
}

/// Rows of Spark ML's vector type: (kind, size, indices, values).
fn vectors(rows: &[(i8, i32, &[i32], &[f64])]) -> ArrayRef {
    let indices = rows.iter().map(|r| Some(r.2.iter().map(|v| Some(*v)).collect::<Vec<_>>()));
    let values = rows.iter().map(|r| Some(r.3.iter().map(|v| Some(*v)).collect::<Vec<_>>()));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("type", Arc::new(Int8Array::from_iter_values(rows.iter().map(|r| r.0)))),
        ("size", Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| r.1)))),
        ("indices", Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(indices))),
        ("values", Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(values))),
    ];
    Arc::new(StructArray::from(batch(columns)))
}

#[test]
fn every_form_of_number_lies_side_by_side() {
    let fixed = FixedSizeListArray::from_iter_primitive::<Int64Type, _, _>(
        [Some([Some(7), Some(8)]), Some([Some(9), Some(10)])],
        2,
    );
    let large = LargeListArray::from_iter_primitive::<Float64Type, _, _>([Some([Some(0.5)]), Some([Some(1.5)])]);
    let batch = batch(vec![
        ("int", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef),
        ("flag", Arc::new(BooleanArray::from(vec![true, false]))),
        ("decimal", Arc::new(Decimal128Array::from(vec![125, -50]).with_precision_and_scale(5, 2).unwrap())),
        ("fixed", Arc::new(fixed)),
        ("large", Arc::new(large)),
        ("vector", vectors(&[(1, 0, &[], &[3.0, 4.0, 5.0]), (0, 3, &[1], &[6.0])])),
    ]);
    let block = read(&batch, &["vector", "int", "flag", "decimal", "fixed", "large"]);
    block.require_valid().unwrap();
    assert_eq!((block.rows, block.width), (2, 9));
    assert_eq!(block.values[..9], [3.0, 4.0, 5.0, 1.0, 1.0, 1.25, 7.0, 8.0, 0.5]);
    assert_eq!(block.values[9..], [0.0, 6.0, 0.0, 2.0, 0.0, -0.5, 9.0, 10.0, 1.5]);
}

#[test]
fn slices_and_empty_batches_are_ordinary_input() {
    let whole = batch(vec![
        ("x", floats(&[Some(&[1.0, 2.0]), Some(&[3.0, 4.0]), Some(&[5.0, 6.0]), Some(&[7.0, 8.0])])),
        ("v", vectors(&[(1, 0, &[], &[1.0]), (0, 1, &[], &[]), (1, 0, &[], &[2.0]), (0, 1, &[0], &[9.0])])),
        ("d", Arc::new(Float64Array::from(vec![0.1, 0.2, 0.3, 0.4]))),
    ]);
    let part = whole.slice(1, 3);
    assert_eq!(read(&part, &["x"]).values, [3.0, 4.0, 5.0, 6.0, 7.0, 8.0]);
    assert_eq!(read(&part, &["v"]).values, [0.0, 2.0, 9.0]);
    assert_eq!(read(&part, &["d"]).values, [0.2, 0.3, 0.4]);
    assert_eq!(read(&part, &["v", "x"]).values, [0.0, 3.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 8.0]);

    let mut reader = FeatureReader::bind(&whole.schema(), &["x".into(), "v".into()]).unwrap();
    assert_eq!(reader.read(&whole.slice(0, 0)).unwrap().rows, 0);
    assert_eq!(reader.width(), None);
    assert_eq!(reader.read(&part).unwrap().width, 3);
    assert_eq!(reader.read(&whole.slice(4, 0)).unwrap().values.len(), 0);
}

#[test]
fn unusable_rows_are_zeroed_counted_and_the_first_is_named() {
    let says = |array: ArrayRef, bad: &[bool], words: &[&str]| {
        let block = read(
            &batch(vec![("first", floats(&vec![Some([0.5].as_slice()); array.len()])), ("x", array)]),
            &["first", "x"],
        );
        let valid: Vec<bool> = (0..block.rows).map(|row| !block.is_valid(row)).collect();
        assert_eq!(valid, bad);
        let message = block.require_valid().unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
        for row in (0..block.rows).filter(|&row| bad[row]) {
            assert!(block.values[row * block.width..(row + 1) * block.width].iter().all(|v| *v == 0.0));
        }
    };
    let nan = [f32::NAN, 1.0];
    says(floats(&[Some(&[1.0, 2.0]), None, Some(&nan)]), &[false, true, true], &["`x`", "2 of 3", "row 1", "is null"]);
    says(floats(&[Some(&[1.0, 2.0]), Some(&[f32::INFINITY, 0.0])]), &[false, true], &["1 of 2", "row 1", "infinity"]);
    says(
        floats(&[Some(&[1.0, 2.0]), Some(&[1.0]), Some(&[])]),
        &[false, true, true],
        &["row 1", "has 1 values, not 2"],
    );
    says(Arc::new(Float64Array::from(vec![Some(1.0), None])), &[false, true], &["row 1", "is null"]);
    says(Arc::new(Float64Array::from(vec![1e300, 2.0])), &[true, false], &["row 0", "single precision"]);
    says(Arc::new(Float32Array::from(vec![1.0, f32::NAN])), &[false, true], &["row 1", "NaN"]);
    let holes =
        ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(1), Some(2)]), Some(vec![Some(1), None])]);
    says(Arc::new(holes), &[false, true], &["row 1", "null element"]);
    says(vectors(&[(1, 0, &[], &[1.0, 2.0]), (0, 3, &[0], &[1.0])]), &[false, true], &["row 1", "has 3 values, not 2"]);
    says(vectors(&[(1, 0, &[], &[1.0, 2.0]), (0, 2, &[2], &[1.0])]), &[false, true], &["row 1", "sparse"]);
    says(vectors(&[(1, 0, &[], &[1.0, 2.0]), (0, 2, &[-1], &[1.0])]), &[false, true], &["row 1", "sparse"]);
    says(vectors(&[(1, 0, &[], &[1.0, 2.0]), (0, 2, &[1], &[])]), &[false, true], &["row 1", "sparse"]);
}

#[test]
fn a_null_vector_is_a_null_whatever_lies_beneath() {
    let whole = vectors(&[(1, 0, &[], &[1.0, 2.0]), (0, 0, &[], &[])]);
    let (fields, columns, _) = arrow::array::AsArray::as_struct(&whole).clone().into_parts();
    let with_null = StructArray::new(fields, columns, Some(NullBuffer::from(vec![true, false])));
    let block = read(&batch(vec![("v", Arc::new(with_null))]), &["v"]);
    assert!(block.is_valid(0) && !block.is_valid(1));
}

#[test]
fn a_column_that_shows_no_width_yet_makes_its_rows_unusable() {
    let nothing = batch(vec![("x", floats(&[None, None]))]);
    let mut reader = FeatureReader::bind(&nothing.schema(), &["x".into()]).unwrap();
    let block = reader.read(&nothing).unwrap();
    assert_eq!((block.width, block.values.len()), (0, 0));
    let message = block.require_valid().unwrap_err().to_string();
    assert!(message.contains("2 of 2") && message.contains("row 0"), "{message}");
    let later = batch(vec![("x", floats(&[Some(&[f32::NAN])]))]);
    assert!(reader.read(&later).unwrap().require_valid().unwrap_err().to_string().contains("row 2"));
}

#[test]
fn a_width_demanded_in_advance_is_held_to() {
    let batch = batch(vec![("x", floats(&[Some(&[1.0, 2.0])]))]);
    let mut reader = FeatureReader::bind(&batch.schema(), &["x".into()]).unwrap().with_width(3).unwrap();
    let message = reader.read(&batch).unwrap().require_valid().unwrap_err().to_string();
    assert!(message.contains("has 2 values, not 3"), "{message}");
}

#[test]
fn columns_that_are_missing_doubled_or_of_another_type_are_refused() {
    let text: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let schema = batch(vec![("x", text.clone()), ("y", floats(&[Some(&[1.0])]))]).schema();
    let refusal = |schema: &Schema, name: &str| FeatureReader::bind(schema, &[name.into()]).unwrap_err().to_string();
    let message = refusal(&schema, "x");
    assert!(message.contains("`x`") && message.contains("Utf8") && message.contains("array of numbers"), "{message}");
    let message = refusal(&schema, "z");
    assert!(message.contains("`z`") && message.contains("x, y"), "{message}");
    let twice = Schema::new(vec![Field::new("x", DataType::Float64, true), Field::new("x", DataType::Float64, true)]);
    assert!(refusal(&twice, "x").contains("several"));
    assert!(FeatureReader::bind(&schema, &[]).unwrap_err().to_string().contains("featuresCol"));
}
