//! Tensor columns through a real table: every form, with all that a number can be.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, Float64Array, Int8Array, Int32Array, Int64Array, RecordBatch, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields, Schema as ArrowSchema},
};
use candle_core::{Device, Tensor};
use tinderbox::tensor::{
    Values,
    codec::{Dtype, TensorCodec, TensorForm, TensorType, encode, encode_ragged},
};

use crate::support::{database_for, rows, session};

const ROWS: usize = 5;

/// `ROWS × 6` numbers, the odd ones among them.
fn numbers() -> Vec<f32> {
    let mut numbers: Vec<f32> = (0..ROWS * 6).map(|i| i as f32 * 0.37 - 4.0).collect();
    numbers[..6].copy_from_slice(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::MAX, f32::MIN_POSITIVE]);
    numbers
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

/// Sequences of steps of two: one null, one empty.
fn sequences() -> Vec<Option<Tensor>> {
    [Some(3), None, Some(0), Some(1), Some(2)]
        .into_iter()
        .map(|steps| {
            let steps: usize = steps?;
            let values = numbers()[..steps * 2].to_vec();
            Some(Tensor::from_vec(values, (steps, 2), &Device::Cpu).unwrap())
        })
        .collect()
}

/// A dense vector, sparse ones, an empty one of these, and a null.
fn vectors() -> (Field, ArrayRef) {
    let list = |values: ArrayRef, lengths: [usize; ROWS]| {
        let item = Arc::new(Field::new_list_field(values.data_type().clone(), false));
        Arc::new(arrow::array::ListArray::new(item, OffsetBuffer::from_lengths(lengths), values, None)) as ArrayRef
    };
    let indices = list(Arc::new(Int32Array::from(vec![0, 3, 1])), [0, 2, 1, 0, 0]);
    let values = [1.0, 2.0, f64::NAN, f64::INFINITY, 5.0, 6.0, 7.0];
    let values = list(Arc::new(Float64Array::from(values.to_vec())), [4, 2, 1, 0, 0]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int8Array::from(vec![1, 0, 0, 0, 0])),
        Arc::new(Int32Array::from(vec![None, Some(4), Some(4), Some(4), Some(4)])),
        indices,
        values,
    ];
    let names = ["type", "size", "indices", "values"];
    let fields: Fields =
        names.iter().zip(&columns).map(|(n, c)| Field::new(*n, c.data_type().clone(), *n != "type")).collect();
    let nulls = Some(vec![true, true, true, true, false].into());
    let array = Arc::new(StructArray::new(fields, columns, nulls));
    let json = serde_json::Value::Object(TensorType::new(Dtype::Float64, [4]).to_metadata()).to_string();
    let metadata = [(tinderbox::dataframe::METADATA_KEY.to_owned(), json)];
    (Field::new("sparse", array.data_type().clone(), true).with_metadata(metadata.into()), array)
}

#[tokio::test]
async fn every_form_of_a_tensor_comes_back_from_a_table() {
    let spark = session().await;
    let database = database_for("every_form_of_a_tensor_comes_back_from_a_table").await;
    let table = database.table("tensors");
    let id: ArrayRef = Arc::new(Int64Array::from_iter_values(0..ROWS as i64));
    let mut columns = vec![(Field::new("id", DataType::Int64, false), id)];
    let tensor = |dims: &[usize]| Tensor::from_vec(numbers(), dims, &Device::Cpu).unwrap();
    for (name, form, dims) in [
        ("nested", TensorForm::Array, vec![ROWS, 2, 3]),
        ("flat", TensorForm::Array, vec![ROWS, 6]),
        ("vector", TensorForm::Vector, vec![ROWS, 6]),
        ("bytes", TensorForm::Bytes, vec![ROWS, 3, 2]),
        ("shaped", TensorForm::Shaped, vec![ROWS, 1, 6]),
    ] {
        columns.push(encode(name, form, &tensor(&dims)).unwrap());
    }
    let pixels =
        Tensor::from_vec((0..ROWS as u8 * 50).step_by(50).collect::<Vec<_>>(), (ROWS, 1), &Device::Cpu).unwrap();
    columns.push(encode("pixels", TensorForm::Array, &pixels).unwrap());
    for (name, form) in
        [("steps", TensorForm::Array), ("step_bytes", TensorForm::Bytes), ("step_shapes", TensorForm::Shaped)]
    {
        columns.push(encode_ragged(name, form, &sequences()).unwrap());
    }
    columns.push(vectors());
    let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
    let batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), arrays).unwrap();
    let frame = spark.create_dataframe(&[batch]).await.unwrap();
    frame.write().format("parquet").save_as_table(&table).await.unwrap();

    // Another session, with nothing but the table, knows what the columns hold.
    let other = session().await;
    let stream = other.table(&table).order_by(["id"]).stream().await.unwrap();
    let schema = stream.schema().clone();
    let batches = stream.collect().await.unwrap();
    let batch = arrow::compute::concat_batches(&schema, &batches).unwrap();
    let decode = |name: &str| {
        let codec = TensorCodec::bind(schema.field_with_name(name).unwrap(), None).unwrap();
        let cells = codec.decode(batch.column_by_name(name).unwrap()).unwrap();
        (codec.field().shape.clone(), cells)
    };
    let single = |values: Values| match values {
        Values::F32(values) => values,
        other => panic!("{other:?}"),
    };
    for (name, dims) in
        [("nested", vec![2, 3]), ("flat", vec![6]), ("vector", vec![6]), ("bytes", vec![3, 2]), ("shaped", vec![1, 6])]
    {
        let (shape, cells) = decode(name);
        assert_eq!((shape.dims, shape.ragged), (dims, false), "{name}");
        assert!(cells.faults.is_empty(), "{name}: {:?}", cells.faults);
        assert_eq!(bits(&single(cells.values)), bits(&numbers()), "{name}");
    }
    assert_eq!(decode("pixels").1.values, Values::U8(vec![0, 50, 100, 150, 200]));
    for name in ["steps", "step_bytes", "step_shapes"] {
        let (shape, cells) = decode(name);
        assert_eq!((shape.dims, shape.ragged), (vec![2], true), "{name}");
        assert_eq!(cells.offsets, Some(vec![0, 6, 6, 6, 8, 12]), "{name}");
        assert_eq!(cells.faults.iter().map(|fault| fault.row).collect::<Vec<_>>(), [1], "{name}");
        let expected = [&numbers()[..6], &numbers()[..2], &numbers()[..4]].concat();
        assert_eq!(bits(&single(cells.values)), bits(&expected), "{name}");
    }
    let (_, cells) = decode("sparse");
    let (inf, nan, zero) = (f32::INFINITY, f32::NAN, 0.0);
    let expected = [1.0, 2.0, nan, inf, 5.0, zero, zero, 6.0, zero, 7.0, zero, zero, zero, zero, zero, zero];
    assert_eq!(bits(&single(cells.values)[..16]), bits(&expected));
    assert_eq!(cells.faults.iter().map(|fault| fault.row).collect::<Vec<_>>(), [4]);

    // Spark sees ordinary columns.
    let seen = other.table(&table).order_by(["id"]).select_expr(["id", "nested[1][2]", "flat[5]", "size(steps)"]);
    let seen = rows(&seen.filter_expr("id > 0")).await;
    assert_eq!(seen[2], format!("3|{0}|{0}|1", numbers()[3 * 6 + 5]));
    other.stop().await.unwrap();
    spark.stop().await.unwrap();
}
