use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, Float64Array, Int64Array, StringArray};

use super::{
    super::{Decoder, ElementType, OnInvalid, Values},
    *,
};
use crate::{
    DataProblem, Error,
    tensor::{cells::CellFault, codec::Dtype},
};

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn texts(cells: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(cells.to_vec()))
}

fn faults(cells: &Cells) -> Vec<(usize, &str)> {
    cells.faults.iter().map(|CellFault { row, reason }| (*row, reason.as_str())).collect()
}

#[test]
fn words_become_ids_cut_and_filled() {
    let batch = batch(vec![("t", texts(&[Some("Größe, der GRÖSSE!"), Some(""), None, Some("a b_1 c der")]))]);
    let reader = TextReader::new("t", 3).vocabulary(["der", "größe"]);
    let cells = reader.read(&batch).unwrap();
    assert_eq!(cells.values, Values::U32(vec![3, 2, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1]));
    assert_eq!(faults(&cells), [(2, "is null")]);
    let cells = reader.ragged().read(&batch).unwrap();
    assert_eq!((cells.values, cells.offsets), (Values::U32(vec![3, 2, 1, 1, 1, 1]), Some(vec![0, 3, 3, 3, 6])));
    let unfitted = TextReader::new("t", 3).bind("t", batch.schema_ref()).unwrap_err().to_string();
    assert!(unfitted.contains("vocabulary"), "{unfitted}");
}

#[test]
fn categories_become_vectors() {
    let batch = batch(vec![("n", Arc::new(Int64Array::from(vec![Some(7), Some(9), None])) as _)]);
    let reader = OneHotReader::new("n").categories(["7", "8"]);
    let cells = reader.read(&batch).unwrap();
    assert_eq!(cells.values, Values::F32(vec![1.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
    assert_eq!(faults(&cells), [(1, "is `9`, which is none of the categories"), (2, "is null")]);
    assert!(reader.zeros_for_unknown().read(&batch).unwrap().faults.is_empty());
}

#[test]
fn paths_name_classes() {
    let paths =
        [Some("file:/d/cats/1.png"), Some("file:/d/dogs/2.png"), Some("file:/d/cows/3.png"), Some("4.png"), None];
    let batch = batch(vec![("path", texts(&paths))]);
    let cells = PathLabel::parent("path").classes(["cats", "dogs"]).read(&batch).unwrap();
    assert_eq!(cells.values, Values::U32(vec![0, 1, 0, 0, 0]));
    let rows: Vec<usize> = cells.faults.iter().map(|fault| fault.row).collect();
    assert_eq!(rows, [2, 3, 4]);
    assert!(cells.faults[0].reason.contains("`cows`"), "{:?}", cells.faults);
    let cells = PathLabel::pattern("path", r"(\d)\.png$").classes(["1", "2", "3", "4"]).read(&batch).unwrap();
    assert_eq!(cells.values, Values::U32(vec![0, 1, 2, 3, 0]));
    for pattern in ["(", "no group", "(two)(groups)"] {
        assert!(PathLabel::pattern("path", pattern).regex().is_err(), "{pattern}");
    }
}

fn mixed() -> (RecordBatch, Readers) {
    let cells: Vec<&[u8]> = vec![&[1, 2], &[3], &[5, 6]];
    let batch = batch(vec![
        ("raw", Arc::new(BinaryArray::from_vec(cells)) as _),
        ("x", Arc::new(Float64Array::from(vec![Some(0.5), Some(1.0), Some(f64::NAN)])) as _),
        ("path", texts(&[Some("a/1"), Some("b/2"), Some("a/3")])),
    ]);
    let readers = Readers::new()
        .input(TensorReader::bytes("raw", Dtype::Uint8, [2]).element(ElementType::F32))
        .input(TensorReader::number("x"))
        .label(PathLabel::parent("path").classes(["a", "b"]));
    (batch, readers)
}

#[test]
fn rows_are_composed_of_readers_and_bad_ones_told_with_their_path() {
    let (batch, readers) = mixed();
    assert_eq!(readers.columns(), ["raw", "x", "path"]);
    assert_eq!(readers.input_columns(), ["raw", "x"]);
    let reader = RecordReader::examples(batch.schema_ref(), &readers, readers.label.clone(), None, None).unwrap();
    let names: Vec<&str> = reader.fields().iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["raw", "x", "label"]);
    let error = RecordDecoder::new(reader.clone(), OnInvalid::Error).unwrap().decode(&batch).unwrap_err();
    let problem = DataProblem::Unusable { rows: 2, of: None, reason: "(b/2) has 1 values, not 2".into() };
    assert!(
        matches!(&error, Error::Data { column: Some(column), row: Some(1), problem: found } if column == "raw" && *found == problem),
        "{error}"
    );
    let mut decoder = RecordDecoder::new(reader, OnInvalid::Skip).unwrap();
    let decoded = decoder.decode(&batch).unwrap();
    assert_eq!((decoded.batch.num_rows(), decoded.skipped), (1, 2));
    let fields: Vec<_> = decoded.batch.schema().fields().iter().map(|f| TensorField::from_arrow(f).unwrap()).collect();
    assert_eq!(fields, decoder.fields());
    let again = decoder.decode(&batch.slice(0, 0)).unwrap();
    assert_eq!((again.batch.num_rows(), again.skipped), (0, 0));
}

#[test]
fn readers_are_written_as_data() {
    let (_, readers) = mixed();
    let readers = readers.input(ImageReader::new("content", 28, 28).grey().fit(ImageFit::Cover).as_bytes());
    let readers =
        readers.input(TextReader::new("t", 5).vocabulary(["a"])).input(OneHotReader::new("o").categories(["b"]));
    let json = serde_json::to_string(&readers).unwrap();
    assert!(json.contains(r#""reader":"image","column":"content","height":28"#), "{json}");
    assert_eq!(serde_json::from_str::<Readers>(&json).unwrap(), readers);
}

#[test]
fn inputs_need_names_of_their_own() {
    let (batch, readers) = mixed();
    let twice = readers.clone().input(TensorReader::number("x"));
    assert!(RecordReader::inputs(batch.schema_ref(), &twice).unwrap_err().to_string().contains("`x`"));
    assert!(RecordReader::inputs(batch.schema_ref(), &Readers::new()).is_err());
    assert!(RecordReader::inputs(batch.schema_ref(), &Readers::new().input(TensorReader::number("y"))).is_err());
}
