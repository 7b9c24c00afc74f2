use std::sync::Arc;

use arrow::{
    array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array, ListArray, UInt8Array, UInt32Array},
    datatypes::{Field, Schema},
};

use super::*;
use crate::tensor::RowShape;

/// Five rows in three batches, one of them empty and two of them slices: an image, a sequence, and every role.
fn batches() -> Vec<RecordBatch> {
    let fields = [
        TensorField::new("image", ElementType::U8, RowShape::fixed([1, 2])),
        TensorField::new("sequence", ElementType::F32, RowShape::ragged([2])),
        TensorField::new(LABEL, ElementType::U32, RowShape::scalar()),
        TensorField::new(WEIGHT, ElementType::F32, RowShape::scalar()),
        TensorField::new(HELD_OUT, ElementType::U8, RowShape::scalar()),
    ];
    let schema = Arc::new(Schema::new(fields.iter().map(TensorField::to_arrow).collect::<Vec<_>>()));
    let item = |data_type| Arc::new(Field::new_list_field(data_type, false));
    let images = UInt8Array::from_iter_values(0..10);
    let steps = Float32Array::from_iter_values((0..14).map(|i| i as f32));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(FixedSizeListArray::new(item(DataType::UInt8), 2, Arc::new(images), None)),
        // 1, 0, 3, 1 and 2 steps.
        Arc::new(ListArray::new(
            item(DataType::Float32),
            OffsetBuffer::from_lengths([2, 0, 6, 2, 4]),
            Arc::new(steps),
            None,
        )),
        Arc::new(UInt32Array::from(vec![7, 1, 2, 3, 4])),
        Arc::new(Float32Array::from(vec![1.0, 0.5, 2.0, 3.0, 0.0])),
        Arc::new(UInt8Array::from(vec![0, 1, 0, 0, 1])),
    ];
    let batch = RecordBatch::try_new(schema, columns).unwrap();
    vec![batch.slice(0, 2), batch.slice(2, 0), batch.slice(2, 3)]
}

#[test]
fn rows_are_gathered_in_the_order_asked_for_and_sequences_padded() {
    let rows = Rows::new(&batches(), 100).unwrap();
    assert_eq!(rows.count(), 5);
    let minibatch = rows.gather(&[103, 100, 104]);
    assert_eq!(minibatch.rows(), 3);
    let [image, sequence] = minibatch.inputs.as_slice() else { panic!("{minibatch:?}") };
    assert_eq!((image.name.as_str(), image.shape.as_slice(), &image.lengths), ("image", &[1, 2][..], &None));
    assert_eq!(image.values, Values::U8(vec![6, 7, 0, 1, 8, 9]));
    assert_eq!((sequence.shape.as_slice(), &sequence.lengths), (&[2, 2][..], &Some(vec![1, 1, 2])));
    let padded = [8.0, 9.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 10.0, 11.0, 12.0, 13.0];
    assert_eq!(sequence.values, Values::F32(padded.to_vec()));
    assert_eq!(minibatch.classes(), [3, 7, 4]);
    assert_eq!(minibatch.weights, [3.0, 1.0, 0.0]);
    let empty = rows.gather(&[101]);
    assert_eq!((empty.inputs[1].shape.as_slice(), &empty.inputs[1].values), (&[0, 2][..], &Values::F32(vec![])));
}

#[test]
fn targets_are_numbers_when_the_label_is_and_rows_weigh_one_without_weights() {
    let arrays: [(ElementType, ArrayRef); 2] = [
        (ElementType::F32, Arc::new(Float32Array::from(vec![0.5, -1.0]))),
        (ElementType::F64, Arc::new(Float64Array::from(vec![0.5, -1.0]))),
    ];
    for (element, array) in arrays {
        let label = TensorField::new(LABEL, element, RowShape::scalar());
        let schema = Arc::new(Schema::new(vec![label.to_arrow()]));
        let batch = RecordBatch::try_new(schema, vec![array]).unwrap();
        let minibatch = Rows::new(&[batch], 0).unwrap().gather(&[1, 0]);
        assert_eq!(minibatch.targets, Targets::Numbers { values: vec![-1.0, 0.5], width: 1 });
        assert_eq!(minibatch.weights, [1.0, 1.0]);
        assert!(minibatch.classes().is_empty());
    }
}

#[test]
fn what_is_not_canonical_is_refused_with_the_column() {
    let with = |name: &str, array: ArrayRef| RecordBatch::try_from_iter([(name, array)]).unwrap();
    let ragged = batches()[0].schema().field(1).clone();
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([3]), Arc::new(Float32Array::from(vec![0.0; 3])), None);
    let uneven = RecordBatch::try_new(Arc::new(Schema::new(vec![ragged])), vec![Arc::new(lists)]).unwrap();
    for (batch, words) in [
        (with("x", Arc::new(Float32Array::from(vec![Some(1.0), None]))), ["`x`", "no null"]),
        (with("label", Arc::new(UInt8Array::from(vec![1]))), ["`label`", "UInt8"]),
        (with("weight", Arc::new(UInt32Array::from(vec![1]))), ["`weight`", "UInt32"]),
        (with("held_out", Arc::new(Float32Array::from(vec![1.0]))), ["`held_out`", "Float32"]),
        (uneven, ["`sequence`", "steps of 2 values, found a row of 3"]),
    ] {
        let message = Rows::new(&[batch], 0).unwrap_err().to_string();
        assert!(words.iter().all(|w| message.contains(w)), "{message}");
    }
    let numbered_out = Rows::new(&batches(), u32::MAX - 1).unwrap_err();
    assert!(matches!(numbered_out, Error::Data { problem: DataProblem::TooLarge { .. }, .. }), "{numbered_out}");
}
