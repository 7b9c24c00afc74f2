use std::sync::Arc;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float32Array, Float64Array, Int8Array,
        Int32Array, Int64Array, ListArray, StructArray, new_null_array,
    },
    buffer::{NullBuffer, OffsetBuffer},
    datatypes::{DataType, Field, Fields, Int16Type},
};
use candle_core::{Device, Tensor};
use proptest::prelude::*;

use super::{
    super::{Cells, Values},
    *,
};
use crate::tensor::cells::CellFault;

fn read(array: ArrayRef, declared: Option<TensorType>) -> Cells {
    let field = Field::new("x", array.data_type().clone(), true);
    TensorCodec::bind(&field, declared.as_ref()).unwrap().decode(&array).unwrap()
}

fn refused(array: ArrayRef, declared: Option<TensorType>) -> String {
    let field = Field::new("x", array.data_type().clone(), true);
    TensorCodec::bind(&field, declared.as_ref()).unwrap_err().to_string()
}

fn f32s(cells: &Cells) -> &[f32] {
    match &cells.values {
        Values::F32(values) => values,
        other => panic!("{other:?}"),
    }
}

fn faults(cells: &Cells) -> Vec<(usize, &str)> {
    cells.faults.iter().map(|CellFault { row, reason }| (*row, reason.as_str())).collect()
}

fn list(values: ArrayRef, lengths: &[usize], nulls: Option<Vec<bool>>) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Arc::new(ListArray::new(field, offsets, values, nulls.map(NullBuffer::from)))
}

fn floats(values: &[f32]) -> ArrayRef {
    Arc::new(Float32Array::from(values.to_vec()))
}

fn shape(dims: &[usize]) -> Option<TensorType> {
    Some(TensorType::new(Dtype::Float32, dims.iter().copied()))
}

#[test]
fn numbers_of_every_type_are_read() {
    let decimal = Decimal128Array::from(vec![Some(125), None]).with_precision_and_scale(10, 2).unwrap();
    let cells = read(Arc::new(decimal), None);
    assert_eq!((f32s(&cells), faults(&cells)), (&[1.25, 0.0][..], vec![(1, "is null")]));
    assert_eq!(f32s(&read(Arc::new(BooleanArray::from(vec![true, false])), None)), [1.0, 0.0]);
    assert_eq!(f32s(&read(Arc::new(Int64Array::from(vec![7, -3])), None)), [7.0, -3.0]);
    let odd = [f64::NAN, f64::INFINITY, -0.5];
    let cells = read(Arc::new(Float64Array::from(odd.to_vec())), None);
    assert!(f32s(&cells)[0].is_nan() && f32s(&cells)[1..] == [f32::INFINITY, -0.5] && cells.faults.is_empty());
}

#[test]
fn nested_and_flat_lists_are_read_row_major() {
    let inner = list(floats(&[1., 2., 3., 4., 5., 6., 7., 8.]), &[2, 2, 2, 2], None);
    let nested = list(inner.clone(), &[2, 2], None);
    let cells = read(nested, shape(&[2, 2]));
    assert_eq!((f32s(&cells), cells.faults.len()), (&[1., 2., 3., 4., 5., 6., 7., 8.][..], 0));
    let flat = list(floats(&[1., 2., 3., 4., 5., 6., 7., 8.]), &[4, 3, 1], None);
    let cells = read(flat, shape(&[2, 2]));
    assert_eq!(f32s(&cells)[..4], [1., 2., 3., 4.]);
    assert_eq!(faults(&cells), [(1, "has 3 values, not 4"), (2, "has 1 values, not 4")]);
    let ragged = Some(TensorType::ragged(Dtype::Float32, [2]));
    let cells = read(list(inner, &[3, 0, 1], None), ragged.clone());
    assert_eq!((cells.offsets.as_deref(), cells.values.len()), (Some(&[0, 6, 6, 8][..]), 8));
    let uneven = list(list(floats(&[1., 2., 3.]), &[2, 1], None), &[1, 1], None);
    assert_eq!(faults(&read(uneven, ragged)), [(1, "has 1 items in dimension 1, not 2")]);
}

#[test]
fn nulls_are_faults_or_filled() {
    let values: ArrayRef = Arc::new(Float32Array::from(vec![Some(1.0), None, Some(3.0), Some(4.0)]));
    let array = list(values, &[2, 2, 0], Some(vec![true, true, false]));
    let cells = read(array.clone(), shape(&[2]));
    assert_eq!(faults(&cells), [(0, "holds a null element"), (2, "is null")]);
    let field = Field::new("x", array.data_type().clone(), true);
    let codec = TensorCodec::bind(&field, shape(&[2]).as_ref()).unwrap().fill_nulls(Some(-1.0));
    assert_eq!(f32s(&codec.decode(&array).unwrap()), [1.0, -1.0, 3.0, 4.0, -1.0, -1.0]);
    let cells = read(new_null_array(array.data_type(), 2), shape(&[2]));
    assert_eq!(faults(&cells), [(0, "is null"), (1, "is null")]);
}

#[test]
fn numbers_that_the_element_cannot_hold_are_faults() {
    let field = Field::new("x", DataType::Int32, true);
    let codec = TensorCodec::bind(&field, None).unwrap().element(ElementType::U8);
    let array: ArrayRef = Arc::new(Int32Array::from(vec![255, 256, -1]));
    let cells = codec.decode(&array).unwrap();
    assert_eq!(cells.values, Values::U8(vec![255, 0, 0]));
    assert_eq!(cells.faults.len(), 2);
    let codec = TensorCodec::bind(&Field::new("x", DataType::Float64, true), None).unwrap().element(ElementType::U32);
    let array: ArrayRef = Arc::new(Float64Array::from(vec![4e9, 1.5, f64::NAN, -1.0]));
    let cells = codec.decode(&array).unwrap();
    assert_eq!(cells.values, Values::U32(vec![4_000_000_000, 0, 0, 0]));
    assert_eq!(cells.faults.len(), 3);
}

#[test]
fn steps_of_structs_are_interleaved() {
    let fields = Fields::from(vec![Field::new("a", DataType::Float32, true), Field::new("b", DataType::Int32, true)]);
    let columns: Vec<ArrayRef> =
        vec![floats(&[1., 2., 3.]), Arc::new(Int32Array::from(vec![Some(10), Some(20), None]))];
    let steps: ArrayRef = Arc::new(StructArray::new(fields, columns, None));
    let cells = read(list(steps, &[2, 0, 1], None), None);
    assert_eq!((f32s(&cells), cells.offsets.as_deref()), (&[1., 10., 2., 20.][..], Some(&[0, 4, 4, 4][..])));
    assert_eq!(faults(&cells), [(2, "holds a null element")]);
}

fn vectors(kinds: &[i8], sizes: &[i32], indices: ArrayRef, values: ArrayRef) -> ArrayRef {
    let kind = |name: &str, array: &ArrayRef| Field::new(name, array.data_type().clone(), true);
    let columns: Vec<ArrayRef> =
        vec![Arc::new(Int8Array::from(kinds.to_vec())), Arc::new(Int32Array::from(sizes.to_vec())), indices, values];
    let fields =
        ["type", "size", "indices", "values"].iter().zip(&columns).map(|(n, a)| kind(n, a)).collect::<Fields>();
    Arc::new(StructArray::new(fields, columns, None))
}

#[test]
fn vectors_are_read_dense_and_sparse_and_bad_ones_told() {
    let indices: ArrayRef = Arc::new(Int32Array::from(vec![0, 2, 5, 0]));
    let values: ArrayRef = Arc::new(Float64Array::from(vec![1., 2., 3., 4., 5., 6., 7., 8.]));
    let array = vectors(
        &[1, 0, 0, 0, 0],
        &[0, 3, 3, i32::MAX, -1],
        list(indices, &[0, 2, 1, 1, 0], None),
        list(values, &[3, 2, 1, 1, 1], None),
    );
    let cells = read(array.clone(), shape(&[3]));
    assert_eq!(f32s(&cells)[..6], [1., 2., 3., 4., 0., 5.]);
    assert_eq!(cells.faults.iter().map(|f| f.row).collect::<Vec<_>>(), [2, 3, 4], "{:?}", cells.faults);
    assert!(refused(array.clone(), None).contains("declared shape"));
    let json = r#"{"ml_attr":{"num_attrs":3}}"#;
    let field = Field::new("x", array.data_type().clone(), true)
        .with_metadata([("SPARK::metadata::json".to_owned(), json.to_owned())].into());
    assert_eq!(TensorCodec::bind(&field, None).unwrap().field().shape.dims, [3]);
}

#[test]
fn bytes_are_read_little_endian_with_their_dtype() {
    let bytes = |cells: &[&[u8]]| Arc::new(BinaryArray::from_vec(cells.to_vec())) as ArrayRef;
    let cells = read(bytes(&[&[1, 255], &[3], &[]]), Some(TensorType::new(Dtype::Uint8, [2])));
    assert_eq!(cells.values, Values::U8(vec![1, 255, 0, 0, 0, 0]));
    assert_eq!(faults(&cells), [(1, "has 1 values, not 2"), (2, "has 0 values, not 2")]);
    for (dtype, cell, expected) in [
        (Dtype::Int8, vec![0xff], -1.0),
        (Dtype::Int16, vec![0x00, 0x80], -32768.0),
        (Dtype::Int32, vec![2, 1, 0, 0], 258.0),
        (Dtype::Int64, (-5i64).to_le_bytes().to_vec(), -5.0),
        (Dtype::Float16, vec![0x00, 0x3e], 1.5),
        (Dtype::Float32, (-0.25f32).to_le_bytes().to_vec(), -0.25),
        (Dtype::Float64, 2.5f64.to_le_bytes().to_vec(), 2.5),
    ] {
        let cells = read(bytes(&[&cell, &cell[1..]]), Some(TensorType::new(dtype, [1])));
        assert_eq!((f32s(&cells)[0], cells.faults.len()), (expected, 1), "{dtype:?}");
    }
    assert!(refused(bytes(&[]), None).contains("dtype"));
}

#[test]
fn shapes_that_cannot_be_are_refused() {
    let array = list(floats(&[1.0]), &[1], None);
    let odd = TensorType { dtype: Dtype::Float32, shape: vec![Some(2), None] };
    for declared in [odd, TensorType::new(Dtype::Float32, [0]), TensorType::new(Dtype::Float32, [usize::MAX, 2])] {
        assert!(refused(array.clone(), Some(declared)).contains("dimensions"));
    }
    assert!(refused(array.clone(), shape(&[])).contains("shape []"));
    assert!(refused(list(array, &[1], None), shape(&[1, 1, 1])).contains("shape [1, 1, 1]"));
    let texts: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a"]));
    assert!(refused(texts, None).contains("Utf8"));
}

#[test]
fn arrows_own_tensors_are_understood() {
    let item = Arc::new(Field::new_list_field(DataType::Float32, false));
    let field = |metadata: &str| {
        let metadata = [
            ("ARROW:extension:name".to_owned(), "arrow.fixed_shape_tensor".to_owned()),
            ("ARROW:extension:metadata".to_owned(), metadata.to_owned()),
        ];
        Field::new("x", DataType::FixedSizeList(item.clone(), 6), true).with_metadata(metadata.into())
    };
    let bound = TensorCodec::bind(&field(r#"{"shape":[2,3],"permutation":[0,1]}"#), None).unwrap();
    assert_eq!(bound.field().shape, RowShape { dims: vec![2, 3], ragged: false });
    assert!(TensorCodec::bind(&field(r#"{"shape":[2,3],"permutation":[1,0]}"#), None).is_err());
}

#[test]
fn metadata_says_what_a_column_holds() {
    let tensor = TensorType::ragged(Dtype::Uint8, [3]);
    let metadata = tensor.to_metadata();
    assert_eq!(Value::Object(metadata.clone()).to_string(), r#"{"tensor":{"dtype":"uint8","shape":[-1,3]}}"#);
    assert_eq!(TensorType::from_metadata("x", &metadata).unwrap(), Some(tensor));
    assert_eq!(TensorType::from_metadata("x", &Map::new()).unwrap(), None);
    let below = serde_json::json!({"tensor": {"dtype": "uint8", "shape": [1, -2]}});
    assert!(TensorType::from_metadata("x", below.as_object().unwrap()).unwrap_err().to_string().contains("-2"));
    let odd = serde_json::json!({"tensor": {"dtype": "complex", "shape": [1]}});
    assert!(TensorType::from_metadata("x", odd.as_object().unwrap()).unwrap_err().to_string().contains("complex"));
}

#[test]
fn unsigned_bytes_become_what_spark_has() {
    let batch = Tensor::from_vec(vec![0u8, 255, 7, 8], (2, 2), &Device::Cpu).unwrap();
    let (_, array) = encode("x", TensorForm::Array, &batch).unwrap();
    assert_eq!(array.as_list::<i32>().values().as_primitive::<Int16Type>().values()[1], 255);
    assert!(encode("x", TensorForm::Number, &batch).unwrap_err().to_string().contains("[]"));
    assert!(encode("x", TensorForm::Array, &Tensor::new(1f32, &Device::Cpu).unwrap()).is_err());
    assert!(encode_ragged("x", TensorForm::Array, &[None]).is_err());
}

/// Any bits, so NaN, infinities and subnormal numbers too.
fn any_bits() -> impl Strategy<Value = f32> {
    prop_oneof![any::<f32>(), Just(f32::NAN), Just(f32::INFINITY), Just(-0.0), any::<u32>().prop_map(f32::from_bits)]
}

fn bits(values: &[f32]) -> Vec<u32> {
    // A NaN that goes through double precision keeps being one, not its payload.
    values.iter().map(|v| if v.is_nan() { f32::NAN.to_bits() } else { v.to_bits() }).collect()
}

proptest! {
    #[test]
    fn tensors_of_one_shape_come_back_from_every_form(
        (rows, a, b, values) in (0usize..4, 1usize..4, 1usize..4)
            .prop_flat_map(|(r, a, b)| (Just(r), Just(a), Just(b), prop::collection::vec(any_bits(), r * a * b))),
    ) {
        for (form, dims) in [
            (TensorForm::Array, vec![rows, a, b]),
            (TensorForm::Array, vec![rows, a * b]),
            (TensorForm::Vector, vec![rows, a * b]),
            (TensorForm::Bytes, vec![rows, a, b]),
            (TensorForm::Shaped, vec![rows, a, b]),
            (TensorForm::Number, vec![rows * a * b]),
        ] {
            let tensor = Tensor::from_vec(values.clone(), dims.as_slice(), &Device::Cpu).unwrap();
            let (field, array) = encode("x", form, &tensor).unwrap();
            let codec = TensorCodec::bind(&field, None).unwrap();
            let cells = codec.decode(&array).unwrap();
            prop_assert_eq!(&codec.field().shape.dims, &dims[1..]);
            prop_assert_eq!(bits(f32s(&cells)), bits(&values), "{:?}", form);
            prop_assert!(cells.faults.is_empty());
        }
    }

    #[test]
    fn sequences_come_back_from_every_form(
        rows in prop::collection::vec(prop::option::of(prop::collection::vec([any_bits(), any_bits()], 0..5)), 1..6),
    ) {
        prop_assume!(rows.iter().any(Option::is_some));
        let tensors: Vec<Option<Tensor>> = rows
            .iter()
            .map(|row| row.as_ref().map(|r| Tensor::from_vec(r.concat(), (r.len(), 2), &Device::Cpu).unwrap()))
            .collect();
        for form in [TensorForm::Array, TensorForm::Bytes, TensorForm::Shaped] {
            let (field, array) = encode_ragged("x", form, &tensors).unwrap();
            let codec = TensorCodec::bind(&field, None).unwrap();
            let cells = codec.decode(&array).unwrap();
            prop_assert!(codec.field().shape.ragged);
            prop_assert_eq!(bits(f32s(&cells)), bits(&rows.iter().flatten().flatten().flatten().copied().collect::<Vec<_>>()));
            let nulls: Vec<usize> = rows.iter().enumerate().filter(|(_, r)| r.is_none()).map(|(i, _)| i).collect();
            prop_assert_eq!(cells.faults.iter().map(|f| f.row).collect::<Vec<_>>(), nulls);
            let ends = rows.iter().scan(0, |end, r| { *end += r.as_ref().map_or(0, Vec::len) as i32 * 2; Some(*end) });
            prop_assert_eq!(&cells.offsets.unwrap()[1..], ends.collect::<Vec<_>>());
        }
    }
}
