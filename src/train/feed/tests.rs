use arrow::array::{ArrayRef, BooleanArray, Float32Array, Int32Array};

use super::*;
use crate::{
    DataProblem,
    tensor::{ExampleDecoder, Values},
};

/// Rows whose feature is their number, every seventh marked, cut into batches of those sizes.
fn batches(sizes: &[usize]) -> Vec<RecordBatch> {
    let rows = sizes.iter().sum::<usize>() as i32;
    let x: ArrayRef = Arc::new(Float32Array::from_iter_values((0..rows).map(|i| i as f32)));
    let y: ArrayRef = Arc::new(Int32Array::from_iter_values((0..rows).map(|i| i % 3)));
    let v: ArrayRef = Arc::new(BooleanArray::from_iter((0..rows).map(|i| Some(i % 7 == 0))));
    let whole = RecordBatch::try_from_iter([("x", x), ("y", y), ("v", v)]).unwrap();
    let starts = sizes.iter().scan(0, |start, &size| Some(std::mem::replace(start, *start + size)));
    starts.zip(sizes).map(|(start, &size)| whole.slice(start, size)).collect()
}

struct Case {
    params: TrainParams,
    at_once: bool,
    expected_rows: Option<u64>,
    cut_off: bool,
}

fn case(shuffle_buffer: u64) -> Case {
    let params = TrainParams { batch_size: 10, shuffle_buffer, cache_memory: 0, ..TrainParams::default() };
    Case { params, at_once: true, expected_rows: None, cut_off: false }
}

fn feed(sizes: &[usize], case: Case) -> Vec<Result<TrainingBlock>> {
    let columns = Columns::new("x", "y").validation("v");
    let batches = batches(sizes);
    let feeder = Feeder {
        decoder: Box::new(ExampleDecoder::bind(&batches[0].schema(), &columns, case.params.on_invalid).unwrap()),
        params: case.params,
        columns,
        classes: Some(3),
        expected_rows: case.expected_rows,
        at_once: case.at_once,
        source: "a test".into(),
        observers: Vec::new(),
    };
    let (sender, arriving) = mpsc::channel(1000);
    batches.into_iter().for_each(|batch| sender.try_send(Ok(Arrived::Batch(batch))).ok().unwrap());
    if !case.cut_off {
        sender.try_send(Ok(Arrived::Complete)).ok().unwrap();
    }
    drop(sender);
    let (out, blocks) = sync_channel(1000);
    feeder.run(arriving, out);
    blocks.into_iter().collect()
}

/// The features of each block's rows, in order.
fn features(blocks: &[Result<TrainingBlock>]) -> Vec<Vec<f32>> {
    let one = |block: &Result<TrainingBlock>| {
        let TrainingBlock { rows, order, .. } = block.as_ref().ok().unwrap();
        match rows.gather(order).inputs.remove(0).values {
            Values::F32(values) => values,
            other => panic!("{other:?}"),
        }
    };
    blocks.iter().map(one).collect()
}

// A row is 9 bytes: 4 of features, 4 of label, 1 of mark. 180 bytes are two minibatches.
#[test]
fn every_row_is_learnt_from_once_and_batches_have_no_say_in_the_order() {
    let blocks = feed(&[100, 1, 0, 49], case(180));
    let learnt = features(&blocks);
    assert_eq!(learnt.iter().map(Vec::len).collect::<Vec<_>>(), [20, 20, 20, 20, 20, 20, 8]);
    for sizes in [&[150][..], &[7; 21], &[75, 75]] {
        let other = features(&feed(sizes, case(180))).concat();
        let shared = other.len().min(100);
        assert_eq!(other[..shared], learnt.concat()[..shared], "{sizes:?}");
    }
    let mut all = learnt.concat();
    assert!(!all.is_sorted() && !learnt[1].is_sorted());
    all.sort_by(f32::total_cmp);
    let expected: Vec<f32> = (0..150).filter(|i| i % 7 != 0).map(|i| i as f32).collect();
    assert_eq!(all, expected);

    let end = blocks.into_iter().last().unwrap().ok().unwrap().end.unwrap();
    assert_eq!(end.counts(), RowCounts { trained: 128, held_out: 22, skipped: 0 });
    assert_eq!((end.classes.iter().sum::<u64>(), end.labels), (128, 3));
    assert_eq!(end.rows.gather(&[149, 3]).inputs[0].values, Values::F32(vec![149.0, 3.0]));
}

#[test]
fn data_of_less_than_a_block_is_shuffled_as_a_whole_as_in_later_epochs() {
    let at_once = feed(&[50, 20], case(1 << 20));
    let waiting = feed(&[70], Case { at_once: false, ..case(180) });
    assert_eq!((at_once.len(), waiting.len()), (1, 1));
    assert_eq!(features(&at_once), features(&waiting));
    let end = at_once[0].as_ref().ok().unwrap().end.clone().unwrap();
    let params = case(0).params;
    assert_eq!(end.block(&params, 0).order, at_once[0].as_ref().ok().unwrap().order);
    assert_ne!(end.block(&params, 0).order, end.block(&params, 1).order);
    let plain = TrainParams { shuffle: false, ..params };
    assert!(end.block(&plain, 1).order.is_sorted());
}

#[test]
fn rows_that_do_not_add_up_are_an_error_at_the_end() {
    let right = feed(&[30], Case { expected_rows: Some(30), ..case(90) });
    assert!(right.iter().all(Result::is_ok));
    for expected in [29, 31] {
        let blocks = feed(&[30], Case { expected_rows: Some(expected), ..case(90) });
        let error = blocks.into_iter().last().unwrap().err().unwrap();
        assert!(
            matches!(error, Error::RowsLost { expected: counted, found: 30, .. } if counted == expected),
            "{error}"
        );
    }
}

#[test]
fn a_stream_that_is_cut_off_gives_no_last_block() {
    let blocks = feed(&[30], Case { cut_off: true, ..case(90) });
    assert_eq!(blocks.len(), 2);
    assert!(blocks.iter().all(|block| block.as_ref().is_ok_and(|block| block.end.is_none())));
}

#[test]
fn labels_without_a_name_are_refused_before_a_step() {
    let mut other = batches(&[10]);
    let y: ArrayRef = Arc::new(Int32Array::from_iter_values(0..10));
    other[0] = RecordBatch::try_from_iter([("x", other[0].column(0).clone()), ("y", y)]).unwrap();
    let columns = Columns::new("x", "y");
    let decoder = ExampleDecoder::bind(&other[0].schema(), &columns, Default::default()).unwrap();
    let feeder = Feeder {
        decoder: Box::new(decoder),
        params: TrainParams::default(),
        columns,
        classes: Some(9),
        expected_rows: None,
        at_once: true,
        source: String::new(),
        observers: Vec::new(),
    };
    let (sender, arriving) = mpsc::channel(2);
    sender.try_send(Ok(Arrived::Batch(other.remove(0)))).ok().unwrap();
    let (out, blocks) = sync_channel(2);
    feeder.run(arriving, out);
    let error = blocks.recv().unwrap().err().unwrap();
    let problem =
        DataProblem::Values { expected: "one of 9 named classes, from 0".into(), found: "9".into(), example: None };
    assert!(
        matches!(&error, Error::Data { column: Some(column), problem: found, .. } if column == "y" && *found == problem)
    );
}
