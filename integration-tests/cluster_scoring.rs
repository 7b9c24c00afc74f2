//! Networks computed by the cluster's Python workers, and as ONNX files by another's runtime, held against the same
//! networks computed locally.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, AsArray, RecordBatch},
    datatypes::{Float32Type, Float64Type, Int64Type},
};
use spark_connect_proto as proto;
use tinderbox::{
    Error, ScoreOptions, Scored, Scoring,
    dataframe::{DataFrame, ExplainMode},
    ml::Transformer,
    model::{EncodeOptions, Encoder, History, Lineage, Link, Outputs, PredictOptions, Scaling, Task},
    nn::{
        Activation, Attention, Conv, ConvTranspose, Embedding, InputColumn, InputShape, Network, NetworkLayer, Pool,
        Recurrent, SequenceOutput,
    },
    prelude::*,
    tensor::{
        Columns, OnInvalid,
        reader::{Readers, TensorReader},
    },
    train::TrainParams,
};

use crate::support::{PeerCases, classes, database_for, drawn, fitted, own_server, rows, session, untrained};

/// All numbers of a row's columns from `first` on, by the row's id.
fn numbers(batches: &[RecordBatch], first: usize) -> BTreeMap<i64, Vec<f64>> {
    let mut all = BTreeMap::new();
    for batch in batches {
        let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let mut values = Vec::new();
            for column in &batch.columns()[first..] {
                push(column.as_ref(), row, &mut values);
            }
            all.insert(ids.value(row), values);
        }
    }
    all
}

fn push(column: &dyn Array, row: usize, values: &mut Vec<f64>) {
    use arrow::datatypes::DataType as T;
    match column.data_type() {
        _ if column.is_null(row) => values.push(f64::NAN),
        T::Float64 => values.push(column.as_primitive::<Float64Type>().value(row)),
        T::Float32 => values.push(column.as_primitive::<Float32Type>().value(row).into()),
        T::Utf8 => values.extend(column.as_string::<i32>().value(row).bytes().map(f64::from)),
        T::List(_) => {
            let list = column.as_list::<i32>().value(row);
            (0..list.len()).for_each(|i| push(list.as_ref(), i, values));
        }
        // A vector as it travels: its numbers.
        T::Struct(_) => push(column.as_struct().column(3).as_ref(), row, values),
        other => panic!("a column of {other}"),
    }
}

/// The largest difference between what the cluster and what this process computes.
async fn difference(stage: &dyn Transformer, local: Vec<RecordBatch>, frame: &DataFrame) -> f64 {
    let width = frame.schema().await.unwrap().fields().len();
    let lazy = stage.transform(frame).await.unwrap();
    let plan = lazy.explain(ExplainMode::Simple).await.unwrap();
    assert!(plan.contains("ArrowEvalPython"), "the cluster does not compute it: {plan}");
    let there = numbers(&lazy.collect().await.unwrap(), width);
    let here = numbers(&local, width);
    assert!(!here.is_empty() && here.keys().eq(there.keys()), "{} rows and {}", here.len(), there.len());
    let mut largest = 0f64;
    for (id, ours) in &here {
        let theirs = &there[id];
        assert_eq!(ours.len(), theirs.len(), "row {id}");
        for (a, b) in ours.iter().zip(theirs) {
            assert_eq!(a.is_nan(), b.is_nan(), "row {id}: {ours:?} and {theirs:?}");
            largest = largest.max(if a.is_nan() { 0.0 } else { (a - b).abs() });
        }
    }
    largest
}

/// Rows of so many numbers around 0, as `features`.
async fn dense(spark: &Session, width: usize) -> DataFrame {
    let text = format!(
        "SELECT id, transform(sequence(1, {width}), i -> CAST(sin(id * 1.7 + i * i * 0.9) AS FLOAT)) AS features \
         FROM range(0, 300, 1, 3)"
    );
    spark.sql(&text).await.unwrap()
}

#[tokio::test]
async fn every_layer_gives_on_the_cluster_what_it_gives_here() {
    let spark = session().await;
    let conv = |kernel| Conv { padding: 1, ..Conv::new(6, kernel) };
    let image = || Network::new().conv2d(conv(3));
    let dilated = Conv { stride: 2, dilation: 2, groups: 2, padding: 2, ..Conv::new(4, 3) };
    let grown = ConvTranspose { stride: 2, padding: 1, output_padding: 1, ..ConvTranspose::new(3, 3) };
    let pool = Pool { stride: Some(2), padding: 1, ..Pool::new(3) };
    let mut networks: Vec<(String, Network, InputShape)> = vec![
        ("linear".into(), Network::new(), 12.into()),
        ("conv1d".into(), Network::new().conv1d(Conv { groups: 2, ..conv(3) }), [2, 9].into()),
        ("conv2d".into(), image(), [2, 5, 6].into()),
        ("conv2d, dilated, in groups".into(), Network::new().conv2d(dilated), [2, 7, 6].into()),
        ("conv_transpose2d".into(), Network::new().conv_transpose2d(grown), [2, 4, 3].into()),
        ("max_pool1d".into(), Network::new().max_pool1d(pool), [2, 9].into()),
        ("max_pool2d".into(), image().max_pool2d(pool), [2, 6, 5].into()),
        ("avg_pool1d".into(), Network::new().avg_pool1d(pool), [2, 9].into()),
        ("avg_pool2d".into(), image().avg_pool2d(pool), [2, 6, 5].into()),
        ("global_max_pool".into(), image().global_max_pool(), [2, 6, 5].into()),
        ("global_avg_pool".into(), image().global_avg_pool(), [2, 6, 5].into()),
        ("batch_norm".into(), Network::new().linear(8).batch_norm(), 12.into()),
        ("batch_norm over channels".into(), image().batch_norm(), [2, 5, 6].into()),
        ("layer_norm".into(), image().layer_norm(), [2, 5, 6].into()),
        ("residual".into(), Network::new().residual(Network::mlp([7]).batch_norm()), 12.into()),
        ("residual over channels".into(), Network::new().residual(image().batch_norm()), [2, 5, 6].into()),
        ("dropout".into(), Network::mlp([16]).with_dropout(0.5), 12.into()),
    ];
    for function in [
        Activation::Relu,
        Activation::LeakyRelu,
        Activation::Elu,
        Activation::Gelu,
        Activation::Silu,
        Activation::Tanh,
        Activation::Sigmoid,
        Activation::Softplus,
    ] {
        networks.push((format!("{function:?}"), Network::mlp([16]).with_activation(function), 12.into()));
    }
    for readout in [SequenceOutput::Last, SequenceOutput::Mean, SequenceOutput::Max, SequenceOutput::All] {
        let settings = Recurrent { num_layers: 2, bidirectional: true, output: readout, ..Recurrent::new(5) };
        networks.push((format!("lstm, {readout:?}"), Network::new().lstm_layer(settings), [6, 3].into()));
        networks.push((format!("gru, {readout:?}"), Network::new().gru_layer(settings), [6, 3].into()));
        networks.push((format!("rnn, {readout:?}"), Network::new().rnn_layer(settings), [6, 3].into()));
        let settings =
            Attention { width: Some(8), positions: true, feed_forward: Some(6), output: readout, ..Attention::new(2) };
        networks.push((format!("attention, {readout:?}"), Network::new().attention(settings), [6, 3].into()));
    }
    let relu = NetworkLayer::RnnRelu(Recurrent::new(5));
    networks.push(("rnn_relu".into(), Network::new().layer(relu), [6, 3].into()));
    let tied = Network::new().conv2d(conv(3)).max_pool2d(Pool::new(2)).with_activation(Activation::Tanh).mirror(true);
    networks.push(("mirror of convolutions, tied".into(), tied.linear(5), [2, 6, 4].into()));
    let tied = Network::new().linear(7).activation(Activation::Tanh).mirror(true);
    networks.push(("mirror of linear layers, tied".into(), tied.linear(5), 12.into()));
    networks.push((
        "unflatten".into(),
        Network::new().layer(NetworkLayer::Unflatten { dims: vec![2, 2, 3] }).conv2d(conv(3)),
        12.into(),
    ));
    let mut peers = PeerCases::new();
    for (name, network, shape) in networks {
        let frame = dense(&spark, shape.count()).await;
        let stage = untrained(network, shape, Columns::new("features", ""), classes());
        let local = stage.score(&frame).await.unwrap().collect().await.unwrap();
        peers.push(&name, &stage, &local);
        let difference = difference(&stage, local, &frame).await;
        println!("{name}: {difference:.1e}");
        assert!(difference < 1e-5, "{name}: {difference}");
    }
    peers.run(&spark, &database_for("every_layer_gives_on_the_cluster_what_it_gives_here").await.table("models")).await;
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn sequences_of_any_length_and_ids_are_computed_on_the_cluster() {
    let spark = session().await;
    let text = "SELECT id, transform(sequence(1, 1 + CAST(id % 9 AS INT)), s -> transform(sequence(1, 3), i -> \
                sin(id * 0.7 + s * 1.3 + i))) AS steps, transform(sequence(1, 1 + CAST(id % 5 AS INT)), s -> \
                CAST((id + s * 3) % 11 AS INT)) AS words, id % 11 AS city, id % 4 AS plan, sin(id) AS x \
                FROM range(0, 300, 1, 3)";
    let frame = spark.sql(text).await.unwrap();
    let steps = || Columns::new("steps", "").read_by(Readers::new().input(TensorReader::sequence("steps", [3])));
    let words = || Columns::new("words", "").read_by(Readers::new().input(TensorReader::sequence("words", [1])));
    let last = |network: Network| network.gru_layer(Recurrent::new(4));
    let attention = Attention { positions: true, feed_forward: Some(6), width: Some(8), ..Attention::new(2) };
    let mut networks = vec![
        ("layer_norm of steps", last(Network::new().layer_norm().activation(Activation::Tanh)), steps()),
        ("attention, then gru", last(Network::new().attention(attention)), steps()),
        ("embedding of steps", last(Network::new().embedding(Embedding::new(11, 5))), words()),
    ];
    for output in [SequenceOutput::Last, SequenceOutput::Mean, SequenceOutput::Max] {
        let lstm = Recurrent { num_layers: 2, bidirectional: true, output, ..Recurrent::new(5) };
        networks.push(("lstm", Network::new().lstm_layer(lstm), steps()));
        networks.push(("attention", Network::new().attention(Attention { output, ..attention }), steps()));
    }
    let mut peers = PeerCases::new();
    for (name, network, columns) in networks {
        let ragged = InputShape::sequence([if columns.features == ["words"] { 1 } else { 3 }]);
        let stage = untrained(network, ragged, columns, classes());
        let local = stage.score(&frame).await.unwrap().collect().await.unwrap();
        peers.push(name, &stage, &local);
        let difference = difference(&stage, local, &frame).await;
        println!("{name}: {difference:.1e}");
        assert!(difference < 1e-5, "{name}: {difference}");
    }
    let columns = Columns::side_by_side(["city", "plan", "x"], "");
    let network = Network::new().categories([Embedding::new(11, 3), Embedding::new(4, 2)]).linear(6);
    let stage = untrained(network, 3, columns, classes());
    let local = stage.score(&frame).await.unwrap().collect().await.unwrap();
    peers.push("categories", &stage, &local);
    assert!(difference(&stage, local, &frame).await < 1e-5);
    // Branches of columns, each through layers of its own.
    let known = [InputColumn::category("city", 0, 11), InputColumn::category("plan", 1, 4)];
    let rest = InputColumn { name: "x".into(), begin: 2, dims: Vec::new(), categories: None };
    let network = Network::tabular(["city", "plan"], [8]);
    let spec = network.resolve_columns(&[&known[..], &[rest]].concat(), 3, 3).unwrap();
    let columns = Columns::side_by_side(["city", "plan", "x"], "");
    let joined = fitted(spec, columns, classes());
    let local = joined.score(&frame).await.unwrap().collect().await.unwrap();
    peers.push("join", &joined, &local);
    peers
        .run(&spark, &database_for("sequences_of_any_length_and_ids_are_computed_on_the_cluster").await.table("models"))
        .await;
    assert!(difference(&joined, local, &frame).await < 1e-5);
    // A category that the network does not know is an error there as here.
    let unknown = frame.with_column("plan", tinderbox::dataframe::column("id"));
    let error = stage.transform(&unknown).await.unwrap().collect().await.unwrap_err();
    assert!(error.to_string().contains("expected a category from 0 to 3"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn outputs_of_every_task_are_those_computed_here() {
    let spark = session().await;
    let frame = dense(&spark, 6).await;
    let names = |count: usize| (0..count).map(|i| format!("n{i}")).collect::<Vec<_>>();
    let scaling = |count: usize| Some(Scaling { mean: vec![1e6; count], std: vec![10.0; count] });
    let values = |count, link| Task::Values { names: names(count), scaling: scaling(count), link };
    let tasks = [
        (Task::Labels { names: names(4) }, Outputs::default(), Some(vec![0.5, 0.2, 0.7, 0.5])),
        (classes(), Outputs::default(), Some(vec![0.2, 0.0, 1.5])),
        (values(1, Link::Identity), Outputs::values(), None),
        (values(3, Link::Exp), Outputs::values(), None),
        (values(2, Link::Sigmoid), Outputs::values(), None),
    ];
    let mut peers = PeerCases::new();
    for (task, outputs, thresholds) in tasks {
        let stage = untrained(Network::mlp([8]), 6, Columns::new("features", ""), task.clone());
        let options = PredictOptions { outputs, thresholds, ..PredictOptions::default() };
        let stage = stage.with_prediction(options).unwrap();
        let local = stage.score(&frame).await.unwrap().collect().await.unwrap();
        let name = format!("{task:?}");
        peers.push(&name, &stage, &local);
        let difference = difference(&stage, local, &frame).await;
        assert!(difference < 1e-4, "{name}: {difference}");
    }
    let spec = Network::autoencoder([5], 2).resolve(6, 6).unwrap();
    let drawn = drawn(&spec, 3);
    let encoder = Encoder::new(spec, drawn, Columns::unlabelled("features"), 3, History::default()).unwrap();
    let mut options = EncodeOptions::default();
    options.outputs.reconstruction = "again".into();
    let lineage = Lineage { source: "a test".into(), rows: 0, plan_hash: None };
    let stage = EncoderModel::new(encoder, TrainParams::default(), options, lineage);
    let local = stage.encode(&frame).await.unwrap().collect().await.unwrap();
    peers.push("encoder", &stage, &local);
    peers.run(&spark, &database_for("outputs_of_every_task_are_those_computed_here").await.table("models")).await;
    assert!(difference(&stage, local, &frame).await < 1e-5);
    spark.stop().await.unwrap();
}

/// Rows of which some cannot be used.
const ODD: &str = "SELECT id, CASE id % 10 WHEN 3 THEN NULL WHEN 5 THEN array(1D, 2D) WHEN 7 THEN array(1D, NULL, 3D) \
                   WHEN 8 THEN array(1D, double('NaN'), 2D) WHEN 9 THEN array(1e300D, 1D, 2D) \
                   ELSE array(sin(id), cos(id), 1D) END AS `fea.tures` FROM range(0, 100, 1, 2)";

#[tokio::test]
async fn rows_that_cannot_be_used_are_refused_skipped_or_kept_on_the_cluster() {
    let spark = session().await;
    let database = database_for("rows_that_cannot_be_used_are_refused_skipped_or_kept_on_the_cluster").await;
    let frame = spark.sql(ODD).await.unwrap();
    let stage = untrained(Network::mlp([4]), 3, Columns::new("fea.tures", ""), classes());
    let with =
        |on_invalid| stage.clone().with_prediction(PredictOptions { on_invalid, ..PredictOptions::default() }).unwrap();
    for policy in [OnInvalid::Skip, OnInvalid::Keep] {
        let stage = with(policy);
        let local = stage.score(&frame).await.unwrap().collect().await.unwrap();
        assert!(difference(&stage, local, &frame).await < 1e-5, "{policy:?}");
    }
    let error = with(OnInvalid::Error).transform(&frame).await.unwrap().collect().await.unwrap_err();
    assert!(
        error.to_string().contains("column `fea.tures`") && error.to_string().contains("cannot be used"),
        "{error}"
    );

    let table = database.table("scored");
    for (policy, scoring, counts) in [
        (OnInvalid::Skip, Scoring::OnCluster, (50, 50, 0)),
        (OnInvalid::Skip, Scoring::Local, (50, 50, 0)),
        (OnInvalid::Keep, Scoring::OnCluster, (100, 0, 50)),
        (OnInvalid::Keep, Scoring::Local, (100, 0, 50)),
    ] {
        let model = PipelineModel::new([Box::new(with(policy)) as Box<dyn Transformer>]);
        let options = ScoreOptions::new().mode(SaveMode::Overwrite).scoring(scoring);
        let Scored { rows, skipped, without_prediction, scoring: way, .. } =
            model.predict_into_with(&frame, &table, options).await.unwrap();
        assert_eq!(((rows, skipped, without_prediction), way), (counts, scoring), "{policy:?}");
        assert_eq!(spark.table(&table).count().await.unwrap(), rows);
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn rows_that_cannot_be_used_go_to_quarantine_each_with_its_reason() {
    let spark = session().await;
    let database = database_for("rows_that_cannot_be_used_go_to_quarantine_each_with_its_reason").await;
    let frame = spark.sql(ODD).await.unwrap();
    let stage = untrained(Network::mlp([4]), 3, Columns::new("fea.tures", ""), classes());
    let model = PipelineModel::new([Box::new(stage) as Box<dyn Transformer>]);
    let [table, bad] = ["scored", "bad"].map(|name| database.table(name));
    for scoring in [Scoring::OnCluster, Scoring::Local] {
        let options = ScoreOptions::new().mode(SaveMode::Overwrite).scoring(scoring).quarantine(&bad);
        let done = model.predict_into_with(&frame, &table, options).await.unwrap();
        let counts = (done.rows, done.quarantined, done.skipped, done.without_prediction);
        assert_eq!((counts, done.scoring), ((50, 50, 0, 0), scoring));
        let text = format!(
            "SELECT count(*), count(DISTINCT s.id), count(s.prediction), count(b.id) FROM {table} s \
             FULL JOIN {bad} b ON s.id = b.id"
        );
        assert_eq!(rows(&spark.sql(&text).await.unwrap()).await, ["100|50|50|50"], "{scoring}");
        let text = format!("SELECT id % 10 AS i, invalid_reason, count(*) FROM {bad} GROUP BY ALL ORDER BY i");
        let reasons = rows(&spark.sql(&text).await.unwrap()).await;
        println!("{reasons:#?}");
        let begins =
            ["3|column `fea.tures` is null", "5|column `fea.tures` has 2 values", "7|column `fea.tures` holds a null"];
        let odd = ["8|column `fea.tures` holds a NaN", "9|column `fea.tures` holds a"];
        for (reason, begin) in reasons.iter().zip(begins.into_iter().chain(odd)) {
            assert!(reason.starts_with(begin) && reason.ends_with("|10"), "{scoring}: {reason}, not {begin}");
        }
        assert_eq!(reasons.len(), 5, "{scoring}");
        let names: Vec<_> = spark.table(&bad).schema().await.unwrap().names().map(str::to_owned).collect();
        assert_eq!(names, ["id", "fea.tures", "invalid_reason"]);
        let names: Vec<_> = spark.table(&table).schema().await.unwrap().names().map(str::to_owned).collect();
        assert_eq!(names, ["id", "fea.tures", "rawPrediction", "probability", "prediction", "predictedLabel"]);
    }
    let left = spark.sql(&format!("SHOW TABLES IN {database}")).await.unwrap();
    assert_eq!(rows(&left).await.len(), 2, "nothing is left of staging");
    // What cannot work is refused before anything is written.
    for (options, name) in [
        (ScoreOptions::new().mode(SaveMode::Append).quarantine(&table), "quarantine"),
        (ScoreOptions::new().quarantine(&bad), "table"),
    ] {
        let error = model.predict_into_with(&frame, &table, options).await.unwrap_err();
        assert!(matches!(&error, Error::Param { name: found, .. } if found == name), "{error}");
    }
    let options = ScoreOptions::new().quarantine(&bad);
    let error = model.predict_into_with(&frame, &database.table("other"), options).await.unwrap_err();
    assert!(matches!(&error, Error::Param { name, .. } if name == "quarantine"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_run_is_appended_once_however_often_it_is_repeated() {
    let spark = session().await;
    let database = database_for("a_run_is_appended_once_however_often_it_is_repeated").await;
    let frame = spark.sql(ODD).await.unwrap();
    let stage = untrained(Network::mlp([4]), 3, Columns::new("fea.tures", ""), classes());
    let model = PipelineModel::new([Box::new(stage) as Box<dyn Transformer>]);
    let [table, bad] = ["scored", "bad"].map(|name| database.table(name));
    let options = |run: &str| ScoreOptions::new().mode(SaveMode::Append).quarantine(&bad).run_id(run);
    for (run, scoring) in [("mon", Scoring::Local), ("tue's", Scoring::OnCluster)] {
        for _ in 0..2 {
            let done = model.predict_into_with(&frame, &table, options(run).scoring(scoring)).await.unwrap();
            assert_eq!(done.rows, 50);
        }
    }
    // As after a client that was killed between both tables.
    spark.sql(&format!("CREATE TABLE {database}.copy AS SELECT * FROM {table} WHERE run_id = 'mon'")).await.unwrap();
    for scoring in [Scoring::Local, Scoring::OnCluster] {
        spark.sql(&format!("INSERT OVERWRITE {table} SELECT * FROM {database}.copy")).await.unwrap();
        model.predict_into_with(&frame, &table, options("tue's").scoring(scoring)).await.unwrap();
        for table in [&table, &bad] {
            let counts = format!("SELECT run_id, count(*), count(DISTINCT id) FROM {table} GROUP BY 1 ORDER BY 1");
            let counts = spark.sql(&counts).await.unwrap();
            assert_eq!(rows(&counts).await, ["mon|50|50", "tue's|50|50"], "{scoring}");
        }
    }
    // Another's rows of the same run.
    spark.sql(&format!("INSERT INTO {bad} SELECT * FROM {bad} WHERE run_id = 'mon' LIMIT 1")).await.unwrap();
    spark.sql(&format!("DROP TABLE {table}")).await.unwrap();
    let error = model.predict_into_with(&frame, &table, options("mon")).await.unwrap_err();
    assert!(matches!(&error, Error::RowsLost { step, expected: 50, found: 51 } if step.contains("`mon`")), "{error}");
    let plain = ScoreOptions::new().run_id("x");
    let error = model.predict_into_with(&frame, &table, plain).await.unwrap_err();
    assert!(matches!(&error, Error::Param { name, .. } if name == "run_id"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_scored_frame_is_lazy_and_works_in_views_joins_and_sql() {
    let spark = session().await;
    let frame = dense(&spark, 12).await;
    // More weights than travel within the plan.
    let stage = untrained(Network::mlp([400, 400]), 12, Columns::new("features", ""), classes());
    let lazy = stage.transform(&frame).await.unwrap();
    lazy.create_temp_view("scored").await.unwrap();
    let text = "SELECT count(*), count(DISTINCT s.id), min(predictedLabel IN ('a', 'größe', 'c''')) FROM scored s \
                JOIN range(100) r ON s.id = r.id WHERE prediction >= 0";
    assert_eq!(rows(&spark.sql(text).await.unwrap()).await, ["100|100|true"]);
    let local = stage.score(&frame).await.unwrap().collect().await.unwrap();
    assert!(difference(&stage, local, &frame).await < 1e-5);
    let schema = lazy.schema().await.unwrap();
    assert_eq!(schema.get("prediction").unwrap().metadata["ml_attr"]["vals"][1], "größe");
    // Read in groups, in a session of the reader's own, which needs the weights too.
    let groups = lazy.source().cap(64 << 10).stream().await.unwrap().collect().await.unwrap();
    assert_eq!(groups.iter().map(RecordBatch::num_rows).sum::<usize>(), 300);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_scored_frame_is_a_streaming_query_when_its_rows_are() {
    use proto::{
        command::CommandType, execute_plan_response::ResponseType, relation::RelType, streaming_query_command as query,
        write_stream_operation_start::Trigger,
    };
    let spark = session().await;
    let database = database_for("a_scored_frame_is_a_streaming_query_when_its_rows_are").await;
    let incoming = database.table("incoming");
    let rows_from = async |begin: i64| {
        let text = format!("SELECT id, array(sin(id), cos(id), 1D) AS features FROM range({begin}, {begin} + 300)");
        spark.sql(&text).await.unwrap()
    };
    rows_from(0).await.write().save_as_table(&incoming).await.unwrap();
    let table = |name: &str, is_streaming| {
        let named = proto::read::NamedTable { unparsed_identifier: name.into(), ..Default::default() };
        let read_type = Some(proto::read::ReadType::NamedTable(named));
        let read = RelType::Read(proto::Read { is_streaming, read_type });
        Some(proto::Relation { rel_type: Some(read), ..Default::default() })
    };
    let command = async |command: CommandType| {
        let command = proto::Command { command_type: Some(command) };
        let plan = proto::Plan { op_type: Some(proto::plan::OpType::Command(command)) };
        spark.client().execute(plan, Default::default()).responses().await.unwrap()
    };
    let view = proto::CreateDataFrameViewCommand {
        input: table(&incoming, true),
        name: "incoming".into(),
        is_global: false,
        replace: true,
    };
    command(CommandType::CreateDataframeView(view)).await;
    let stage = untrained(Network::mlp([8]), 3, Columns::new("features", ""), classes());
    stage.transform(&spark.table("incoming")).await.unwrap().create_temp_view("outgoing").await.unwrap();
    let start = proto::WriteStreamOperationStart {
        input: table("outgoing", false),
        format: "memory".into(),
        output_mode: "append".into(),
        query_name: "kept".into(),
        trigger: Some(Trigger::ProcessingTimeInterval("0 seconds".into())),
        ..Default::default()
    };
    let answers = command(CommandType::WriteStreamOperationStart(start)).await;
    let started = answers.into_iter().find_map(|answer| match answer {
        ResponseType::WriteStreamOperationStartResult(started) => started.query_id,
        _ => None,
    });
    let tell = async |what: query::Command| {
        let tell = proto::StreamingQueryCommand { query_id: started.clone(), command: Some(what) };
        command(CommandType::StreamingQueryCommand(tell)).await
    };
    for (batch, expected) in [(0, "300|300|300"), (300, "600|600|600")] {
        if batch > 0 {
            rows_from(batch).await.write().mode(SaveMode::Append).save_as_table(&incoming).await.unwrap();
        }
        tell(query::Command::ProcessAllAvailable(true)).await;
        let counts = spark.sql("SELECT count(*), count(DISTINCT id), count(prediction) FROM kept").await.unwrap();
        assert_eq!(rows(&counts).await, [expected]);
    }
    tell(query::Command::Stop(true)).await;
    let frame = spark.table(&incoming);
    let local = stage.score(&frame).await.unwrap().collect().await.unwrap();
    let streamed = spark.table("kept").collect().await.unwrap();
    let (here, there) = (numbers(&local, 2), numbers(&streamed, 2));
    assert!(here.keys().eq(there.keys()));
    for (id, ours) in &here {
        assert!(ours.iter().zip(&there[id]).all(|(a, b)| (a - b).abs() < 1e-5), "row {id}");
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn workers_without_numpy_are_named_and_the_rows_scored_here() {
    let server = own_server().start().await.unwrap();
    let spark = Session::builder().remote(server.remote()).create().await.unwrap();
    let frame = dense(&spark, 6).await;
    let stage = untrained(Network::mlp([8]), 6, Columns::new("features", ""), classes());
    let model = PipelineModel::new([Box::new(stage) as Box<dyn Transformer>]);
    let options = ScoreOptions::new().scoring(Scoring::OnCluster);
    let error = model.predict_into_with(&frame, "scored", options).await.unwrap_err();
    println!("{error}");
    assert!(matches!(&error, Error::Param { name, .. } if name == "scoring"), "{error}");
    assert!(error.to_string().contains("pyarrow") || error.to_string().contains("numpy"), "{error}");
    let scored = model.predict_into(&frame, "scored").await.unwrap();
    assert_eq!((scored.rows, scored.scoring), (300, Scoring::Local));
    spark.stop().await.unwrap();
    server.stop().await;
}
