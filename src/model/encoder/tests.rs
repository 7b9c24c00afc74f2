use arrow::array::{Array, AsArray};

use super::*;
use crate::nn::{Rbm, RbmSpec, RbmStack, VisibleUnits};

const WIDTH: usize = 3;

fn stack() -> RbmStack {
    let machine = |visible, hidden, units, seed| {
        let spec = RbmSpec { visible, hidden, units };
        let drawn = Rbm::init(spec, seed).unwrap();
        let weight = drawn.weight().iter().map(|w| 100.0 * w).collect();
        Rbm::new(spec, weight, vec![0.1; visible], vec![-0.2; hidden]).unwrap()
    };
    let machines = vec![machine(WIDTH, 4, VisibleUnits::Gaussian, 1), machine(4, 2, VisibleUnits::Bernoulli, 2)];
    RbmStack::new(WIDTH, machines).unwrap()
}

fn encoder() -> Encoder {
    let (spec, weights) = stack().unrolled();
    Encoder::new(spec, weights, Columns::new("x", ""), stack().depth(), History::default()).unwrap()
}

fn batch(rows: Vec<Option<[f32; WIDTH]>>) -> RecordBatch {
    let lists = rows.iter().map(|row| row.map(|values| values.map(Some)));
    let array = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(lists);
    let ids: ArrayRef = Arc::new(arrow::array::Int32Array::from_iter_values(0..rows.len() as i32));
    RecordBatch::try_from_iter_with_nullable([("id", ids, false), ("x", Arc::new(array) as ArrayRef, true)]).unwrap()
}

async fn encode(encoder: &Encoder, batch: &RecordBatch, options: &EncodeOptions) -> Result<Vec<RecordBatch>> {
    let stream = RecordStream::from_batches(batch.schema(), vec![batch.clone(), batch.slice(0, 0)]);
    encoder.encode(stream, options)?.collect().await
}

fn floats(array: &ArrayRef) -> Vec<f32> {
    array.as_list::<i32>().values().as_primitive::<arrow::datatypes::Float32Type>().values().to_vec()
}

fn all_on() -> EncodeOptions {
    let outputs = Encoded { reconstruction: "back".into(), ..Encoded::default() };
    EncodeOptions { outputs, ..EncodeOptions::default() }
}

#[tokio::test]
async fn codes_reconstructions_and_errors_are_the_machines_own() {
    let rows = [[0.5, -1.0, 2.0], [0.0, 0.3, 0.1]];
    let flat: Vec<f32> = rows.concat();
    let encoded = encode(&encoder(), &batch(rows.map(Some).into()), &all_on()).await.unwrap();
    assert_eq!((encoded.len(), encoded[1].num_rows()), (2, 0));
    let schema = encoded[0].schema();
    let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, ["id", "x", "code", "back", "reconstructionError"]);
    let stack = stack();
    let features = stack.features(&flat).unwrap();
    let close = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
    assert!(close(&floats(encoded[0].column(2)), &features));
    let back = stack.machines()[0].visible(&stack.machines()[1].visible(&features).unwrap()).unwrap();
    assert!(close(&floats(encoded[0].column(3)), &back));
    let errors = encoded[0].column(4).as_primitive::<arrow::datatypes::Float64Type>();
    for (row, error) in errors.values().iter().enumerate() {
        let squares = (0..WIDTH).map(|i| (flat[row * WIDTH + i] - back[row * WIDTH + i]).powi(2));
        assert!((error - f64::from(squares.sum::<f32>()) / WIDTH as f64).abs() < 1e-5);
    }
}

#[tokio::test]
async fn another_layer_can_be_the_code() {
    let first = encoder().with_layer_index(2).unwrap();
    assert_eq!((encoder().code_width(), first.code_width()), (2, 4));
    let outputs = Encoded { error: String::new(), ..Encoded::default() };
    let options = EncodeOptions { outputs, ..EncodeOptions::default() };
    let encoded = encode(&first, &batch(vec![Some([0.5, -1.0, 2.0])]), &options).await.unwrap();
    let want = stack().machines()[0].hidden(&[0.5, -1.0, 2.0]).unwrap();
    assert!(floats(encoded[0].column(2)).iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-5));
    assert_eq!(encoded[0].num_columns(), 3);
    let (spec, weights) = first.first_part().unwrap();
    assert_eq!((spec.outputs, weights.tensors().len()), (4, 2));
    assert!(encoder().with_layer_index(9).unwrap_err().to_string().contains("layer_index"));
}

#[tokio::test]
async fn rows_that_cannot_be_used_are_refused_skipped_or_kept() {
    let holed = batch(vec![Some([0.0; WIDTH]), None, Some([f32::NAN; WIDTH]), Some([1.0; WIDTH])]);
    let with = |on_invalid| EncodeOptions { on_invalid, ..all_on() };
    let message = encode(&encoder(), &holed, &with(OnInvalid::Error)).await.unwrap_err().to_string();
    assert!(message.contains("`x`") && message.contains("2 of 4"), "{message}");
    let skipped = encode(&encoder(), &holed, &with(OnInvalid::Skip)).await.unwrap();
    let ids = skipped[0].column(0).as_primitive::<arrow::datatypes::Int32Type>();
    assert_eq!(ids.values(), &[0, 3]);
    let kept = encode(&encoder(), &holed, &with(OnInvalid::Keep)).await.unwrap();
    for column in 2..5 {
        let nulls: Vec<bool> = (0..4).map(|row| kept[0].column(column).is_null(row)).collect();
        assert_eq!(nulls, [false, true, true, false]);
    }
}

#[tokio::test]
async fn what_does_not_fit_is_named() {
    let taken = EncodeOptions { outputs: Encoded { code: "id".into(), ..Encoded::default() }, ..all_on() };
    let message = encode(&encoder(), &batch(vec![]), &taken).await.unwrap_err().to_string();
    assert!(message.contains("`id`"), "{message}");
    let (spec, weights) = stack().encoder();
    let message = Encoder::new(spec, weights, Columns::new("x", ""), 1, History::default()).unwrap_err().to_string();
    assert!(message.contains("output") && message.contains("as many as it takes, 3"), "{message}");
}
