//! Networks computed by others: as ONNX files by `onnxruntime`, and from a model table by PyTorch.

use std::{
    env,
    fs::File,
    path::Path,
    process::{Command, Stdio},
    sync::OnceLock,
};

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::{cast, concat_batches},
    datatypes::{DataType, Float64Type},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tinderbox::{
    estimator::{EncoderModel, NeuralModel},
    ml::{PipelineModel, Transformer},
    session::Session,
};

/// Networks with rows, and what is expected for those.
pub struct PeerCases {
    folder: TempDir,
    cases: Vec<Value>,
    stages: Vec<Box<dyn Transformer>>,
}

impl PeerCases {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), cases: Vec::new(), stages: Vec::new() }
    }

    /// Adds a stage of a network; `scored` are rows with its outputs.
    pub fn push(&mut self, name: &str, stage: &dyn Transformer, scored: &[RecordBatch]) {
        let path = self.folder.path().join(format!("{}.onnx", self.cases.len()));
        let any = stage.as_any();
        let (spec, columns) = if let Some(stage) = any.downcast_ref::<NeuralModel>() {
            stage.write_onnx(path).unwrap();
            (stage.model().spec(), stage.model().columns())
        } else {
            let stage = any.downcast_ref::<EncoderModel>().expect("a network");
            stage.write_onnx(path).unwrap();
            (stage.encoder().spec(), stage.encoder().columns())
        };
        let rows = concat_batches(&scored[0].schema(), scored).unwrap();
        let features: Vec<_> = match &columns.readers {
            None => columns.features.iter().map(String::as_str).collect(),
            Some(readers) => readers.columns(),
        };
        let features: Vec<_> = features.iter().map(|name| rows.column_by_name(name).unwrap()).collect();
        let row = |row| features.iter().flat_map(|column| numbers(column, row)).collect::<Vec<f64>>();
        let schema = rows.schema();
        let outputs = schema.fields().iter().zip(rows.columns()).map(|(field, column)| {
            let values: Vec<Value> = match column.data_type() {
                DataType::Utf8 => column.as_string::<i32>().iter().map(|text| json!(text)).collect(),
                _ => (0..rows.num_rows()).map(|row| json!(numbers(column, row))).collect(),
            };
            (field.name().clone(), Value::from(values))
        });
        self.cases.push(json!({
            "name": name,
            "file": format!("{}.onnx", self.cases.len()),
            "dims": spec.inputs.dims,
            "ragged": spec.inputs.ragged,
            "features": (0..rows.num_rows()).map(row).collect::<Vec<_>>(),
            "outputs": outputs.collect::<serde_json::Map<_, _>>(),
        }));
        self.stages.push(stage.duplicate());
    }

    /// Computes all of them by `onnxruntime`, and by PyTorch where `TINDERBOX_TEST_PYTORCH` names a Python with it and with
    /// PySpark, which is too large to install for a test. Holds each against what is expected.
    pub async fn run(self, spark: &Session, table: &str) {
        let folder = self.folder.path();
        serde_json::to_writer(File::create(folder.join("cases.json")).unwrap(), &self.cases).unwrap();
        let folder = folder.to_str().unwrap();
        self.hold(onnx_python(), "onnx.py", &[folder]);
        if let Ok(python) = env::var("TINDERBOX_TEST_PYTORCH") {
            for (stage, case) in self.stages.iter().zip(&self.cases) {
                let model = PipelineModel::new([stage.duplicate()]);
                model.save(spark, table, case["file"].as_str().unwrap()).await.unwrap();
            }
            self.hold(&python, "pytorch.py", &[folder, &format!("sc://{}", spark.client().address()), table]);
        }
    }

    /// Runs a script that prints the largest difference of each case.
    fn hold(&self, python: &str, script: &str, arguments: &[&str]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration-tests/support").join(script);
        let done = Command::new(python).arg(path).args(arguments).stderr(Stdio::inherit()).output().unwrap();
        let said = String::from_utf8(done.stdout).unwrap();
        let differences: Vec<f64> = said.lines().map(|line| line.parse().unwrap()).collect();
        assert_eq!(differences.len(), self.cases.len(), "{said}");
        for (case, difference) in self.cases.iter().zip(&differences) {
            println!("{} by {script}: {difference:.1e}", case["name"]);
        }
        for (case, difference) in self.cases.iter().zip(differences) {
            assert!(difference < 1e-5, "{} by {script}: {difference}", case["name"]);
        }
    }
}

/// A Python with `onnxruntime`, installed into the user's cache when first needed.
fn onnx_python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let finder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/stream/python.sh");
        let packages = ["onnxruntime==1.22.1", "numpy==2.2.6"];
        let found =
            Command::new(finder).arg("onnxruntime-1.22.1").args(packages).stderr(Stdio::inherit()).output().unwrap();
        assert!(found.status.success(), "onnxruntime cannot be installed");
        String::from_utf8(found.stdout).unwrap().trim().to_owned()
    })
}

/// A row's numbers in a column of numbers, or of lists of them.
fn numbers(column: &ArrayRef, row: usize) -> Vec<f64> {
    if let Some(list) = column.as_list_opt::<i32>() {
        let list = list.value(row);
        return (0..list.len()).flat_map(|i| numbers(&list, i)).collect();
    }
    vec![cast(column, &DataType::Float64).unwrap().as_primitive::<Float64Type>().value(row)]
}
