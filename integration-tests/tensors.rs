//! Tensor columns through a real table: every form, with all that a number can be.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, Float64Array, Int8Array, Int32Array, Int64Array, RecordBatch, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields, Schema as ArrowSchema},
};
use candle_core::{Device, Tensor};
use tinderbox::{
    advanced::Values,
    tensor::codec::{Dtype, TensorCodec, TensorForm, TensorType, encode, encode_ragged},
};

use crate::support::{database_at, database_for, own_server, pyspark, rows, session, session_at};

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

/// Bits of numbers, with one NaN for all: languages differ in which they make.
fn same_nan(numbers: Vec<u32>) -> Vec<u32> {
    bits(&numbers.into_iter().map(f32::from_bits).collect::<Vec<_>>())
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
    // PySpark, in a process of its own, reads its files.
    let server = own_server().start().await.unwrap();
    let spark = session_at(&server).await;
    let database = database_at(&server.remote(), "every_form_of_a_tensor_comes_back_from_a_table").await;
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

    // So does PySpark, from the files alone; Spark's own vectors it reads only with numpy at hand.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tensors").display().to_string();
    spark.table(&table).drop(["vector", "sparse"]).write().format("parquet").save(&path).await.unwrap();
    let seen: serde_json::Value = serde_json::from_str(&pyspark("tensors.py", &[&path]).await).unwrap();
    let read = |name: &str| serde_json::from_value::<Vec<Option<Vec<u32>>>>(seen[name]["bits"].clone()).unwrap();
    for (name, shape) in [("nested", "[2,3]"), ("flat", "[6]"), ("bytes", "[3,2]"), ("shaped", "[1,6]")] {
        assert_eq!(seen[name]["tensor"]["shape"].to_string(), shape, "{name}");
        let read: Vec<u32> = read(name).into_iter().flat_map(Option::unwrap).collect();
        assert_eq!(same_nan(read), bits(&numbers()), "{name}");
    }
    assert_eq!(seen["pixels"]["tensor"].to_string(), r#"{"dtype":"uint8","shape":[1]}"#);
    for name in ["steps", "step_bytes", "step_shapes"] {
        assert_eq!(seen[name]["tensor"]["shape"].to_string(), "[-1,2]", "{name}");
        let lengths: Vec<_> = read(name).iter().map(|row| row.as_ref().map(Vec::len)).collect();
        assert_eq!(lengths, [Some(6), None, Some(0), Some(2), Some(4)], "{name}");
    }

    // Another session, with nothing but the table, knows what the columns hold.
    let other = session_at(&server).await;
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

/// Numbers that look random and are the same every time (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    /// Any number of single precision at all, odd ones often.
    fn single(&mut self) -> f32 {
        let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 0.0, f32::MIN_POSITIVE / 2.0, f32::MAX];
        match self.below(4) {
            0 => odd[self.below(7) as usize],
            _ => f32::from_bits(self.below(1 << 32) as u32),
        }
    }

    /// A tensor of some type, and its numbers in single precision.
    fn tensor(&mut self, dims: &[usize], floats_only: bool) -> (Tensor, Vec<f32>) {
        let count = dims.iter().product();
        let (device, mut take) =
            (&Device::Cpu, |f: &mut dyn FnMut(&mut Self) -> f32| -> Vec<f32> { (0..count).map(|_| f(self)).collect() });
        let kind =
            take(&mut |draw| draw.below(if floats_only { 2 } else { 5 }) as f32).first().map_or(0, |k| *k as u32);
        let (tensor, singles) = match kind {
            0 => {
                let values = take(&mut Self::single);
                (Tensor::from_vec(values.clone(), dims, device), values)
            }
            1 => {
                let values = take(&mut Self::single);
                let doubles: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
                (Tensor::from_vec(doubles, dims, device), values)
            }
            2 => {
                let values = take(&mut |draw| draw.below(256) as f32);
                (Tensor::from_vec(values.iter().map(|v| *v as u8).collect::<Vec<_>>(), dims, device), values)
            }
            3 => {
                let values = take(&mut |draw| draw.below(1 << 24) as f32);
                (Tensor::from_vec(values.iter().map(|v| *v as u32).collect::<Vec<_>>(), dims, device), values)
            }
            _ => {
                let values = take(&mut |draw| draw.below(1 << 24) as f32 - 8e6);
                (Tensor::from_vec(values.iter().map(|v| *v as i64).collect::<Vec<_>>(), dims, device), values)
            }
        };
        (tensor.unwrap(), singles)
    }
}

/// What a column is to give: its name, its numbers, the lengths of its rows where they vary.
type Drawn = (String, Vec<f32>, Option<Vec<Option<usize>>>);

#[tokio::test]
async fn tensors_of_random_shapes_types_and_numbers_come_back_from_tables() {
    let spark = session().await;
    let database = database_for("tensors_of_random_shapes_types_and_numbers").await;
    let forms = [TensorForm::Array, TensorForm::Vector, TensorForm::Bytes, TensorForm::Shaped];
    let mut compared = 0;
    for seed in 0..6 {
        let mut draw = Draw(seed);
        let rows = 1 + draw.below(60) as usize;
        let id: ArrayRef = Arc::new(Int64Array::from_iter_values(0..rows as i64));
        let mut columns = vec![(Field::new("id", DataType::Int64, false), id)];
        let mut drawn: Vec<Drawn> = Vec::new();
        for (at, form) in forms.into_iter().cycle().take(12).enumerate() {
            let flat = form == TensorForm::Vector;
            let rank = if flat { 1 } else { 1 + draw.below(3) };
            let dims: Vec<usize> = (0..rank).map(|_| 1 + draw.below(4) as usize).collect();
            let name = format!("fixed.{at} {form:?} {dims:?}");
            let (tensor, values) = draw.tensor(&[&[rows], &dims[..]].concat(), flat);
            columns.push(encode(&name, form, &tensor).unwrap());
            drawn.push((name, values, None));
            if flat {
                continue;
            }
            let (name, step) = (format!("ragged.{at} {form:?}"), 1 + draw.below(3) as usize);
            let (mut values, mut lengths, mut cells) = (Vec::new(), Vec::new(), Vec::new());
            for row in 0..rows {
                // The first row shows the type; later ones may be null or empty.
                let length = if row == 0 { Some(1) } else { draw.below(6).checked_sub(1).map(|steps| steps as usize) };
                lengths.push(length);
                cells.push(length.map(|steps| {
                    let numbers: Vec<f32> = (0..steps * step).map(|_| draw.single()).collect();
                    values.extend_from_slice(&numbers);
                    Tensor::from_vec(numbers, (steps, step), &Device::Cpu).unwrap()
                }));
            }
            columns.push(encode_ragged(&name, form, &cells).unwrap());
            drawn.push((name, values, Some(lengths.iter().map(|length| length.map(|steps| steps * step)).collect())));
        }
        let (fields, arrays): (Vec<_>, Vec<_>) = columns.into_iter().unzip();
        let batch = RecordBatch::try_new(Arc::new(ArrowSchema::new(fields)), arrays).unwrap();
        let table = database.table(&format!("tensors_{seed}"));
        spark.create_dataframe(&[batch]).await.unwrap().write().save_as_table(&table).await.unwrap();
        let stream = spark.table(&table).order_by(["id"]).stream().await.unwrap();
        let schema = stream.schema().clone();
        let batch = arrow::compute::concat_batches(&schema, &stream.collect().await.unwrap()).unwrap();
        for (name, expected, lengths) in drawn {
            let codec = TensorCodec::bind(schema.field_with_name(&name).unwrap(), None).unwrap();
            let cells = codec.decode(batch.column_by_name(&name).unwrap()).unwrap();
            let found = cells.values.into_single();
            assert_eq!(bits(&found), bits(&expected), "seed {seed}, {name}");
            let nulls = cells.faults.iter().map(|fault| fault.row).collect::<Vec<_>>();
            let lengths = lengths.unwrap_or_default();
            let expected: Vec<usize> = (0..lengths.len()).filter(|row| lengths[*row].is_none()).collect();
            assert_eq!(nulls, expected, "seed {seed}, {name}");
            if let Some(offsets) = cells.offsets {
                let found: Vec<usize> = offsets.windows(2).map(|pair| (pair[1] - pair[0]) as usize).collect();
                assert_eq!(found, lengths.iter().map(|length| length.unwrap_or(0)).collect::<Vec<_>>(), "{name}");
            }
            compared += 1;
        }
    }
    println!("{compared} columns of 6 tables compared");
    spark.stop().await.unwrap();
}
