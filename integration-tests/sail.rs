//! Sail, a server of Spark Connect that is not Spark: what it lacks is gone without, or done another way.

use std::process::{Child, Command, Stdio};

use arrow::array::AsArray;
use tinderbox::{dataframe::is_vector, model::Task, prelude::*};

/// A server, until this is dropped.
struct Sail {
    process: Child,
    remote: String,
    /// Its tables lie below the folder that it runs in.
    _folder: tempfile::TempDir,
}

impl Sail {
    fn start() -> Sail {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/integration-tests/support/sail.sh");
        let found = Command::new(script).stderr(Stdio::inherit()).output().unwrap();
        assert!(found.status.success(), "Sail cannot be installed");
        let program = String::from_utf8(found.stdout).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(program.trim());
        command.current_dir(&folder);
        command.args(["spark", "server", "--ip", "127.0.0.1", "--port", &free.port().to_string()]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Sail { process, remote: format!("sc://{free}/;connect_timeout=60"), _folder: folder }
    }
}

impl Drop for Sail {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// Iris as its file has it.
async fn iris(spark: &Session) -> DataFrame {
    let text = include_str!("../examples/data/iris.csv");
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    let rows = rows.map(|row| format!("({}, '{}')", row[..4].join(", "), row[4])).collect::<Vec<_>>().join(", ");
    let names = "sepal_length, sepal_width, petal_length, petal_width, species";
    let frame = spark.sql(&format!("SELECT * FROM VALUES {rows} AS t({names})")).await.unwrap();
    let doubles = names.split(", ").take(4).map(|name| format!("CAST({name} AS DOUBLE) AS {name}"));
    let columns: Vec<String> = doubles.chain(["species".to_owned()]).collect();
    frame.select_expr(columns.iter().map(String::as_str)).write().save_as_table("iris").await.unwrap();
    spark.table("iris")
}

#[tokio::test]
async fn iris_goes_from_table_to_scored_table_and_saved_model_on_sail() {
    let sail = Sail::start();
    let spark = Session::builder().remote(&sail.remote).create().await.unwrap();
    let iris = iris(&spark).await;
    assert_eq!(iris.count().await.unwrap(), 150);
    let classifier = NeuralClassifier::new(Network::mlp([16])).epochs(60).learning_rate(0.01).seed(7);
    let names = ["sepal_length", "sepal_width", "petal_length", "petal_width"];
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("species", "label"))
        .stage(VectorAssembler::new(names, "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true))
        .stage(classifier);
    let model = pipeline.fit(&iris).await.unwrap();
    let network = model.network().unwrap();
    let Task::Classes { names } = network.model().task() else { panic!("a task of classes") };
    assert_eq!(names, &["setosa", "versicolor", "virginica"]);

    model.predict_into(&iris, "scored").await.unwrap();
    let scored = spark.table("scored");
    let right = scored.filter_expr("species = predictedLabel").count().await.unwrap();
    assert!(right >= 140, "{right} of 150");
    // Sail has no vectors: what would be one is an array.
    let schema = scored.schema().await.unwrap();
    for name in ["features", "probability"] {
        let data_type = &schema.require(name).unwrap().data_type;
        assert!(!is_vector(data_type), "{name}: {}", data_type.simple_string());
    }

    model.save(&spark, "models", "iris").await.unwrap();
    let loaded = PipelineModel::load(&spark, "models", "iris", None).await.unwrap();
    let labels = async |model: &PipelineModel| {
        let batches = model.predict(&iris).await.unwrap().collect().await.unwrap();
        let column = |batch: &arrow::array::RecordBatch| {
            let labels = batch.column_by_name("predictedLabel").unwrap().as_string::<i32>();
            labels.iter().map(|label| label.unwrap().to_owned()).collect::<Vec<_>>()
        };
        batches.iter().flat_map(column).collect::<Vec<_>>()
    };
    assert_eq!(labels(&loaded).await, labels(&model).await);
}
