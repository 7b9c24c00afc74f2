use std::sync::Arc;

use arrow::{
    array::{ArrayRef, BooleanArray},
    compute::{concat_batches, filter_record_batch},
};

use super::*;
use crate::{
    nn::random::{Philox, Purpose},
    table::encode::tests::{small, small_rows},
};

fn rows() -> RecordBatch {
    let batches = small_rows();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

fn read(batch: &RecordBatch) -> Result<(Manifest, Weights)> {
    decode("lab.models", "iris", 3, std::slice::from_ref(batch))
}

fn refusal(batch: &RecordBatch) -> String {
    let error = read(batch).unwrap_err();
    assert!(matches!(error, Error::ModelTable { .. }));
    let message = error.to_string();
    assert!(message.contains("`lab.models`") && message.contains("`iris` version 3"), "{message}");
    message
}

/// The batch with one column replaced.
fn with(batch: &RecordBatch, name: &str, column: ArrayRef) -> RecordBatch {
    let mut columns = batch.columns().to_vec();
    columns[batch.schema().index_of(name).unwrap()] = column;
    let schema = batch.schema();
    let fields = schema.fields().iter().zip(&columns);
    let fields = fields.map(|(f, c)| f.as_ref().clone().with_data_type(c.data_type().clone()).with_nullable(true));
    RecordBatch::try_new(Arc::new(arrow::datatypes::Schema::new(fields.collect::<Vec<_>>())), columns).unwrap()
}

fn without(batch: &RecordBatch, gone: usize) -> RecordBatch {
    filter_record_batch(batch, &BooleanArray::from_iter((0..batch.num_rows()).map(|row| Some(row != gone)))).unwrap()
}

fn text(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().map(|v| v.map(str::to_owned)).collect()
}

fn bytes(batch: &RecordBatch) -> Vec<Option<Vec<u8>>> {
    batch.column_by_name("data").unwrap().as_binary::<i32>().iter().map(|v| v.map(<[u8]>::to_vec)).collect()
}

/// The batch with another manifest and the SHA-256 that goes with it.
fn with_json(batch: &RecordBatch, json: &str) -> RecordBatch {
    let (mut all, mut hashes) = (text(batch, "json"), text(batch, "sha256"));
    all[0] = Some(json.to_owned());
    hashes[0] = Some(layout::sha256(json.as_bytes()));
    let batch = with(batch, "json", Arc::new(StringArray::from(all)));
    with(&batch, "sha256", Arc::new(StringArray::from(hashes)))
}

/// The batch with other data in one row and the SHA-256 that goes with it.
fn with_data(batch: &RecordBatch, row: usize, data: Vec<u8>) -> RecordBatch {
    let (mut all, mut hashes) = (bytes(batch), text(batch, "sha256"));
    hashes[row] = Some(layout::sha256(&data));
    all[row] = Some(data);
    let batch = with(batch, "data", Arc::new(BinaryArray::from_iter(all)));
    with(&batch, "sha256", Arc::new(StringArray::from(hashes)))
}

#[test]
fn a_model_comes_back_as_it_was_in_whatever_order_its_rows_arrive() {
    let (manifest, weights) = small();
    let batch = rows();
    let (read_manifest, read_weights) = read(&batch).unwrap();
    assert_eq!(read_weights, weights);
    let Manifest { format, library, tensors, checksum, .. } = read_manifest.clone();
    assert_eq!((format, library.as_str()), (1, LIBRARY));
    assert_eq!(read_manifest, Manifest { format, library, tensors, checksum, ..manifest });

    let single: Vec<RecordBatch> = (0..batch.num_rows()).rev().map(|row| batch.slice(row, 1)).collect();
    assert_eq!(decode("lab.models", "iris", 3, &single).unwrap().1, weights);
}

#[test]
fn a_row_that_is_missing_doubled_or_foreign_is_noticed() {
    let batch = rows();
    assert!(refusal(&without(&batch, 0)).contains("no manifest"));
    for row in 1..batch.num_rows() {
        assert!(refusal(&without(&batch, row)).contains("not whole"));
    }
    for row in 0..batch.num_rows() {
        let doubled = concat_batches(&batch.schema(), &[batch.clone(), batch.slice(row, 1)]).unwrap();
        let message = refusal(&doubled);
        assert!(message.contains("two manifests") || message.contains("not whole"), "{message}");
    }
    assert!(decode("t", "iris", 4, std::slice::from_ref(&batch)).unwrap_err().to_string().contains("another model"));
    assert!(decode("t", "rose", 3, std::slice::from_ref(&batch)).unwrap_err().to_string().contains("another model"));
    assert!(decode("t", "iris", 3, &[]).unwrap_err().to_string().contains("no manifest"));
}

#[test]
fn data_that_was_changed_is_noticed() {
    let batch = rows();
    let mut data = bytes(&batch);
    data[2].as_mut().unwrap()[0] ^= 1;
    let changed = with(&batch, "data", Arc::new(BinaryArray::from_iter(data.clone())));
    assert!(refusal(&changed).contains("SHA-256"));
    // Whoever changes the row's hash too is caught by the checksum in the manifest.
    let message = refusal(&with_data(&batch, 2, data[2].clone().unwrap()));
    assert!(message.contains("checksum"), "{message}");
    let message = refusal(&with_data(&batch, 2, vec![0; 15]));
    assert!(message.contains("bytes"), "{message}");
}

#[test]
fn a_manifest_must_describe_what_is_there() {
    let batch = rows();
    let json = text(&batch, "json")[0].clone().unwrap();
    let message = refusal(&with_json(&batch, &json.replace("\"format\":1", "\"format\":2")));
    assert!(message.contains("format 2") && message.contains(LIBRARY), "{message}");
    assert!(refusal(&with_json(&batch, "{")).contains("manifest"));
    assert!(refusal(&with_json(&batch, &json.replace("\"ç\"", "\"ç\",\"d\""))).contains("4 classes"));
    let wide = json
        .replace("\"out_features\":5", "\"out_features\":50000000000")
        .replace("\"in_features\":5", "\"in_features\":50000000000");
    assert!(refusal(&with_json(&batch, &wide)).contains("at most"));
    assert!(
        refusal(&with_json(&batch, &json.replace("\"shape\":[5]", "\"shape\":[6]"))).contains("lists other tensors")
    );
    let wider =
        json.replace("\"out_features\":5", "\"out_features\":7").replace("\"in_features\":5", "\"in_features\":7");
    assert!(refusal(&with_json(&batch, &wider)).contains("lists other tensors"));
}

#[test]
fn columns_of_another_table_are_refused() {
    let batch = rows();
    let message = refusal(&batch.project(&[0, 1, 2]).unwrap());
    assert!(message.contains("no column `name`"), "{message}");
    let message = refusal(&with(&batch, "version", batch.column_by_name("chunk").unwrap().clone()));
    assert!(message.contains("`version`") && message.contains("Int32"), "{message}");
    let nulls = text(&batch, "kind").into_iter().map(|_| None::<String>);
    assert!(refusal(&with(&batch, "kind", Arc::new(StringArray::from_iter(nulls)))).contains("null"));
}

#[test]
fn no_mutation_panics_or_passes_for_the_model() {
    let batch = rows();
    let (good, weights) = read(&batch).unwrap();
    let json = text(&batch, "json")[0].clone().unwrap();
    let mut random = Philox::new(11, Purpose::Shuffle, 0, 0);
    for _ in 0..3000 {
        let row = random.below(batch.num_rows() as u32) as usize;
        let tensor_row = 1 + random.below(batch.num_rows() as u32 - 1) as usize;
        let mutated = match random.below(5) {
            0 => {
                let mut bytes = json.clone().into_bytes();
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len() as u32) as usize;
                    bytes[at] = b" \"0123456789{}[],:-e.nul"[random.below(24) as usize];
                }
                with_json(&batch, &String::from_utf8_lossy(&bytes))
            }
            1 => {
                let cut = random.below(json.len() as u32) as usize;
                with_json(&batch, &String::from_utf8_lossy(&json.as_bytes()[..cut]))
            }
            2 => {
                let length = random.below(40);
                with_data(&batch, tensor_row, (0..length).map(|_| random.next_u32() as u8).collect())
            }
            3 => {
                let name = if random.below(2) == 0 { "chunk" } else { "chunks" };
                let mut values = batch.column_by_name(name).unwrap().as_primitive::<Int32Type>().values().to_vec();
                values[tensor_row] = random.next_u32() as i32;
                with(&batch, name, Arc::new(Int32Array::from(values)))
            }
            _ => {
                let name = ["kind", "name", "dtype", "sha256"][random.below(4) as usize];
                let mut values = text(&batch, name);
                values[row] = Some(char::from_u32(random.below(0x300)).unwrap_or('x').to_string());
                with(&batch, name, Arc::new(StringArray::from(values)))
            }
        };
        // A change of white space, a class name or a setting is legal JSON; the weights must be the same then.
        if let Ok((manifest, read)) = read(&mutated) {
            assert_eq!(read, weights);
            assert_eq!(manifest.checksum, good.checksum);
            assert_eq!(manifest.tensors, good.tensors);
        }
    }
}

#[test]
fn numbers_are_read_across_the_ends_of_pieces() {
    let numbers = [1.5f32, -0.0, f32::MAX, 7.25, 1e-30];
    let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    for size in 1..=bytes.len() {
        assert_eq!(values(bytes.chunks(size), numbers.len()), numbers, "pieces of {size} bytes");
    }
    assert_eq!(values([&bytes[..3], &[], &bytes[3..]].into_iter(), 5), numbers);
    assert!(values(std::iter::empty(), 0).is_empty());
}
