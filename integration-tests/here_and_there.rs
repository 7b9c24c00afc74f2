//! Fitted stages applied to batches here, against the same stages applied by the cluster to the same rows.

use std::collections::BTreeMap;

use arrow::{
    array::{Array, ArrayRef, AsArray, RecordBatch},
    compute::concat_batches,
    datatypes::{DataType, Decimal128Type, Float32Type, Float64Type, Int32Type, Int64Type, TimestampMicrosecondType},
};
use spark_connect::functions::expr;
use tinderbox::{
    dataframe::{DataFrame, METADATA_KEY},
    ml::{
        Estimator, Pipeline, PipelineModel, Transformer,
        feature::{
            Bucketizer, HandleInvalid, Imputer, ImputerStrategy, IndexToString, MaxAbsScaler, MinMaxScaler, Normalizer,
            OneHotEncoder, QuantileDiscretizer, RobustScaler, StandardScaler, StringIndexer, VectorAssembler,
        },
        rows::{Split, TimeSplit},
    },
    prelude::{Network, NeuralClassifier},
    session::Session,
    stream::RecordStream,
};

use crate::support::{database_for, session};

/// Rows at random: nulls, NaN, infinities, both zeros, numbers of all sizes, Unicode, ties, every type of number.
fn odd(spark: &Session, seed: i64) -> DataFrame {
    let words = "array('b', 'a', 'é', 'Z', '', '10', 'x y', '\u{1f600}', '\u{ffee}', NULL)";
    let special = "array(DOUBLE('NaN'), DOUBLE('Infinity'), DOUBLE('-Infinity'), NULL, 0D, -0D, 4.9E-324D, 1.7E308D)";
    let random = |salt: i64| format!("xxhash64(id, {seed}, {salt})");
    let pick = |list: &str, of: i64, salt| format!("element_at({list}, CAST(pmod({}, {of}) + 1 AS INT))", random(salt));
    let number = |salt: i64, spread: f64| format!("{} / {spread:e}", random(salt));
    let columns = [
        "id".to_owned(),
        format!("{} AS `wo.rd`", pick(words, 10, 1)),
        format!("nullif(pmod({}, 5), 4) AS few", random(2)),
        format!("CAST(pmod({}, 4) AS DOUBLE) AS class", random(14)),
        format!("IF(pmod({}, 3) = 0, {}, {}) AS real", random(3), pick(special, 8, 4), number(5, 1e17)),
        format!("{} AS plain", number(6, 1e18)),
        format!("CAST({} AS FLOAT) AS float", number(7, 1e20)),
        format!("CAST(nullif(pmod({}, 9), 5) AS SMALLINT) AS short", random(8)),
        format!("CAST(pmod({}, 100000) / 1000 AS DECIMAL(9, 3)) AS dec", random(9)),
        format!("nullif(pmod({}, 3), 2) = 0 AS flag", random(10)),
        format!("TIMESTAMP_MICROS(pmod({}, 1000000000000)) AS time", random(11)),
        format!("array({}, {}, DOUBLE('NaN'), 0D, -0D) AS list", number(12, 1e16), number(13, 1e21)),
        format!("array(CAST({} AS FLOAT), 2, 0.1) AS floats", number(12, 1e17)),
    ];
    spark.range_with(0, 150, 1, Some(3)).select_expr(columns.iter().map(String::as_str))
}

/// What a cell holds, to the bit.
fn cell(array: &ArrayRef, row: usize) -> String {
    if array.is_null(row) {
        return "null".into();
    }
    match array.data_type() {
        DataType::Float64 => format!("{:x}", array.as_primitive::<Float64Type>().value(row).to_bits()),
        DataType::Float32 => format!("{:x}", array.as_primitive::<Float32Type>().value(row).to_bits()),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::Int64 => array.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Timestamp(..) => array.as_primitive::<TimestampMicrosecondType>().value(row).to_string(),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value(row).to_string(),
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            (0..list.len()).map(|i| cell(&list, i)).collect::<Vec<_>>().join(" ")
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(|c| cell(c, row)).collect::<Vec<_>>().join("|"),
        _ => arrow::util::display::array_value_to_string(array, row).unwrap(),
    }
}

/// Rows in order of their ids, each column's cells in text.
fn sorted(batch: &RecordBatch) -> BTreeMap<i64, Vec<String>> {
    let ids = batch.column(0).as_primitive::<Int64Type>();
    let row = |i| batch.columns().iter().map(|column| cell(column, i)).collect();
    (0..batch.num_rows()).map(|i| (ids.value(i), row(i))).collect()
}

async fn collected(frame: &DataFrame) -> RecordBatch {
    let batches = frame.collect().await.unwrap();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// The rows of a frame transformed there and here are the same: names, types, metadata, every bit. How many cells were
/// compared, or what differs first.
async fn compared(stage: &dyn Transformer, frame: &DataFrame) -> Result<usize, String> {
    let there = collected(&stage.transform(frame).await.map_err(|e| format!("there: {e}"))?).await;
    let rows = collected(frame).await;
    let here = stage.transform_batch(&rows).map_err(|e| format!("here: {e}"))?;
    let (mine, theirs) = (here.schema(), there.schema());
    for (mine, theirs) in mine.fields().iter().zip(theirs.fields()) {
        let told = |field: &arrow::datatypes::Field| {
            let json = field.metadata().get(METADATA_KEY).map_or("{}", |json| json.as_str());
            let metadata: serde_json::Value = serde_json::from_str(json).unwrap();
            format!("{} {} {metadata}", field.name(), field.data_type())
        };
        if told(mine) != told(theirs) {
            return Err(format!("column {} where the cluster has {}", told(mine), told(theirs)));
        }
    }
    let (mine, theirs) = (sorted(&here), sorted(&there));
    if mine.keys().ne(theirs.keys()) {
        return Err(format!("rows {:?} where the cluster has {:?}", mine.keys(), theirs.keys()));
    }
    if let Some((id, theirs)) = theirs.iter().find(|(id, theirs)| mine[id] != **theirs) {
        return Err(format!("row {id} is {:?} where the cluster has {theirs:?}", mine[id]));
    }
    // Parts of the rows, and none, are transformed alike.
    let part = stage.transform_batch(&rows.slice(40, 25)).map_err(|e| format!("a slice: {e}"))?;
    if sorted(&part).iter().any(|(id, row)| mine[id] != *row) {
        return Err("a slice differs".into());
    }
    // As by a scorer that is made once.
    let mut scorer = stage.row_scorer(&rows.schema()).map_err(|e| format!("a scorer: {e}"))?;
    for (from, count) in [(0, rows.num_rows()), (40, 25), (0, 0)] {
        let part = scorer.score_rows(&rows.slice(from, count)).map_err(|e| format!("scored rows: {e}"))?;
        assert_eq!(part.schema_ref(), scorer.schema());
        let by_batch = stage.transform_batch(&rows.slice(from, count)).map_err(|e| e.to_string())?;
        if part.columns() != by_batch.columns() {
            return Err(format!("scored rows {from} to {} differ", from + count));
        }
    }
    let none = stage.transform_batch(&rows.slice(0, 0)).map_err(|e| format!("no row: {e}"))?;
    assert_eq!(none.schema().fields().len(), here.schema().fields().len());
    Ok(there.num_rows() * (there.num_columns() - rows.num_columns()))
}

async fn assert_same(stage: &dyn Transformer, frame: &DataFrame, case: &str) {
    if let Err(difference) = compared(stage, frame).await {
        panic!("{case}: {difference}");
    }
}

/// What the cluster says of the row that fails, and what this process says.
async fn assert_same_refusal(stage: &dyn Transformer, frame: &DataFrame, case: &str) {
    let there = stage.transform(frame).await.unwrap().collect().await.unwrap_err().to_string();
    let here = stage.transform_batch(&collected(frame).await).unwrap_err().to_string();
    let (_, reason) = here.split_once(": ").unwrap_or_else(|| panic!("{case}: {here}"));
    assert!(there.contains(reason), "{case}: `{here}` where the cluster says `{there}`");
}

#[tokio::test]
async fn every_native_stage_gives_here_what_it_gives_on_the_cluster() {
    let spark = session().await;
    let (mut cases, mut cells, mut wrong) = (0, 0, Vec::new());
    for seed in 0..3 {
        let frame = odd(&spark, seed);
        let part = frame.filter_expr("id < 60");
        let mut stages: Vec<(String, Box<dyn Transformer>, DataFrame)> = Vec::new();
        macro_rules! fitted {
            ($case:expr, $stage:expr, $to:expr, $frame:expr) => {
                let model = $stage.fit($to).await.unwrap().into_transformer();
                stages.push((format!("{}, seed {seed}", $case), model, $frame.clone()))
            };
        }
        for handling in [HandleInvalid::Keep, HandleInvalid::Skip] {
            // Fitted to a part, so that there are classes that it does not know.
            let indexed = ["wo.rd", "few", "plain", "float", "dec", "flag"];
            let outputs = ["a", "b", "c", "d", "e", "f"];
            let stage = StringIndexer::multi(indexed, outputs).handle_invalid(handling);
            fitted!(format!("StringIndexer {handling:?}"), stage, &part, frame);
            let assembler = VectorAssembler::new(["real", "few", "list", "dec", "flag", "floats", "short"], "v");
            // The length of an array that may be missing must be known.
            if handling == HandleInvalid::Skip {
                let assembler = assembler.handle_invalid(handling);
                stages.push((format!("VectorAssembler {handling:?}"), Box::new(assembler), frame.clone()));
            }
            let assembler = VectorAssembler::new(["real", "few", "dec", "flag", "short"], "v").handle_invalid(handling);
            stages.push((format!("VectorAssembler of numbers {handling:?}"), Box::new(assembler), frame.clone()));
            let borders = [f64::NEG_INFINITY, -1e3, -0.5, 0.0, 12.25, f64::INFINITY];
            let bucketizer = Bucketizer::new("real", "bucket", borders).handle_invalid(handling);
            stages.push((format!("Bucketizer {handling:?}"), Box::new(bucketizer), frame.clone()));
        }
        let discretizer = QuantileDiscretizer::multi(["real", "few"], ["x", "y"]).num_buckets(4);
        fitted!("QuantileDiscretizer", discretizer.handle_invalid(HandleInvalid::Keep), &frame, frame);
        for strategy in [ImputerStrategy::Mean, ImputerStrategy::Median, ImputerStrategy::Mode] {
            let finite = frame.with_column("real", expr("IF(abs(real) > 1e100, 1D, real)"));
            let imputer = Imputer::new(["real", "few", "float", "short", "dec"], ["p", "q", "r", "s", "t"]);
            fitted!(format!("Imputer {strategy:?}"), imputer.strategy(strategy), &finite, finite);
        }
        for (drop_last, handling) in
            [(true, HandleInvalid::Error), (false, HandleInvalid::Keep), (true, HandleInvalid::Keep)]
        {
            let fitted_to =
                frame.filter_expr(if handling == HandleInvalid::Keep { "class < 2 AND few < 2" } else { "true" });
            let encoder = OneHotEncoder::new(["class", "few"], ["x", "y"]).drop_last(drop_last);
            let case = format!("OneHotEncoder {drop_last} {handling:?}");
            fitted!(case, encoder.handle_invalid(handling), &fitted_to, frame);
        }
        let keep = VectorAssembler::new(["plain", "real", "dec", "class"], "raw").handle_invalid(HandleInvalid::Keep);
        let raw = keep.transform(&frame).await.unwrap();
        let finite = VectorAssembler::new(["plain", "float", "dec", "class"], "raw").transform(&frame).await.unwrap();
        fitted!("MinMaxScaler", MinMaxScaler::new("raw", "out").min(-2.0).max(3.0), &raw, raw);
        fitted!("MaxAbsScaler", MaxAbsScaler::new("raw", "out"), &raw, raw);
        fitted!("RobustScaler", RobustScaler::new("raw", "out").with_centering(true), &raw, raw);
        for (mean, std) in [(true, true), (false, true), (true, false), (false, false)] {
            let scaler = StandardScaler::new("raw", "out").with_mean(mean).with_std(std);
            fitted!(format!("StandardScaler {mean} {std}"), scaler, &finite, finite);
        }
        for p in [1.0, 2.0, 2.5, 7.0, f64::INFINITY] {
            stages.push((format!("Normalizer {p}"), Box::new(Normalizer::new("raw", "out").p(p)), finite.clone()));
            stages.push((format!("Normalizer {p} of NaN"), Box::new(Normalizer::new("raw", "out").p(p)), raw.clone()));
            stages.push((
                format!("Normalizer {p} of arrays"),
                Box::new(Normalizer::new("floats", "out").p(p)),
                frame.clone(),
            ));
        }
        let named = IndexToString::new("class", "name").labels(["zero", "ü", "", "drei"]);
        stages.push((format!("IndexToString, seed {seed}"), Box::new(named), frame.clone()));
        let parts = [("train", 3.0), ("test", 1.0)];
        fitted!("TimeSplit", TimeSplit::new("time", "part", parts), &frame, frame);
        fitted!("TimeSplit of numbers", TimeSplit::new("plain", "part", parts).indicator_of("test"), &frame, frame);
        let by_key = Split::by_key(["wo.rd", "few", "short"], "part", parts).seed(seed);
        stages.push((format!("Split by key, seed {seed}"), Box::new(by_key), frame.clone()));
        stages.push((format!("Split, seed {seed}"), Box::new(Split::random("part", parts).seed(seed)), frame.clone()));
        for (case, stage, frame) in &stages {
            match compared(&**stage, frame).await {
                Ok(found) => cells += found,
                Err(difference) => wrong.push(format!("{case}: {difference}")),
            }
            cases += 1;
        }
    }
    println!("{cases} cases, {cells} cells");
    assert!(wrong.is_empty(), "{} of {cases} cases:\n{}", wrong.len(), wrong.join("\n"));
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_row_that_fails_there_fails_here_with_the_same_words() {
    let spark = session().await;
    let frame = odd(&spark, 9);
    let one = |filter: &str| frame.filter_expr(filter).limit(1);
    let indexer = StringIndexer::new("wo.rd", "label").fit(&frame.filter_expr("`wo.rd` = 'a'")).await.unwrap();
    assert_same_refusal(indexer.as_ref(), &one("`wo.rd` = 'é'"), "unseen").await;
    assert_same_refusal(indexer.as_ref(), &one("`wo.rd` IS NULL"), "null").await;
    let assembler = VectorAssembler::new(["plain", "real", "few"], "v");
    assert_same_refusal(&assembler, &one("isnan(real)"), "NaN").await;
    assert_same_refusal(&assembler, &one("few IS NULL AND abs(real) < 100"), "null").await;
    let bucketizer = Bucketizer::new("real", "b", [-1.0, 0.0, 1.0]);
    assert_same_refusal(&bucketizer, &one("isnan(real)"), "no bucket").await;
    assert_same_refusal(&bucketizer, &one("real > 1e300 AND NOT isnan(real)"), "outside").await;
    assert_same_refusal(&bucketizer, &one("real < -1 AND real > -1e10"), "outside").await;
    let encoder = OneHotEncoder::new(["class"], ["v"]).fit(&frame.filter_expr("class < 2")).await.unwrap();
    assert_same_refusal(encoder.as_ref(), &one("class = 3"), "unseen index").await;
    let named = IndexToString::new("few", "name").labels(["zero"]);
    assert_same_refusal(&named, &one("few = 2"), "no name").await;
    let scaler = MaxAbsScaler::new("floats", "out").fit(&frame).await.unwrap();
    let longer = frame.with_column("floats", expr("array_repeat(1F, 4)")).limit(1);
    assert_same_refusal(scaler.as_ref(), &longer, "length").await;
    let missing = frame.with_column("floats", expr("CAST(NULL AS ARRAY<FLOAT>)")).limit(1);
    assert_same_refusal(scaler.as_ref(), &missing, "no vector").await;
    let split = TimeSplit::new("real", "part", [("a", 1.0), ("b", 1.0)]).fit(&frame).await.unwrap();
    assert_same_refusal(split.as_ref(), &one("real IS NULL"), "no time").await;
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_pipeline_fitted_there_is_applied_here() {
    let spark = session().await;
    let frame = odd(&spark, 21).filter_expr("`wo.rd` IS NOT NULL");
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("wo.rd", "label"))
        .stage(OneHotEncoder::new(["label"], ["hot"]))
        .stage(Imputer::new(["few", "plain"], ["filled", "whole"]))
        .stage(VectorAssembler::new(["hot", "filled", "whole", "floats"], "raw"))
        .stage(StandardScaler::new("raw", "scaled").with_mean(true))
        .stage(Normalizer::new("scaled", "features"));
    let model: PipelineModel = pipeline.fit(&frame).await.unwrap();
    assert_same(&model, &frame, "pipeline").await;
    // A vector that is missing is a row of NaN where it is kept, there and here.
    let hot = model.stages()[0].transform(&frame).await.unwrap();
    let hot = model.stages()[1].transform(&hot).await.unwrap();
    let some = hot.with_column("hot", expr("IF(id % 3 = 0, NULL, hot)"));
    let metadata = hot.schema().await.unwrap().require("hot").unwrap().metadata.clone().into_iter().collect();
    let some = some.with_metadata("hot", &metadata);
    let kept = VectorAssembler::new(["hot", "few"], "kept").handle_invalid(HandleInvalid::Keep);
    assert_same(&kept, &some, "vectors that are missing").await;
    let skipped = VectorAssembler::new(["hot", "few"], "kept").handle_invalid(HandleInvalid::Skip);
    assert_same(&skipped, &some, "vectors that are left out").await;
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_saved_pipeline_with_its_network_predicts_without_a_server() {
    let spark = session().await;
    let database = database_for("a_saved_pipeline_with_its_network_predicts_without_a_server").await;
    let text = "SELECT id, element_at(array('größe', 'b.c', 'o''hara'), 1 + CAST(id % 3 AS INT)) AS species, \
                id % 3 + pmod(hash(id), 100) / 250.0D AS x, IF(id % 50 = 7, NULL, id % 3) AS y, \
                named_struct('a', id, 'b', array(id)) AS nested FROM range(0, 300, 1, 2)";
    let frame = spark.sql(text).await.unwrap();
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("species", "label"))
        .stage(Imputer::new(["y"], ["filled"]))
        .stage(VectorAssembler::new(["x", "filled"], "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true))
        .stage(NeuralClassifier::new(Network::mlp([8])).epochs(30).learning_rate(0.02).seed(7));
    let table = database.table("models");
    pipeline.fit(&frame).await.unwrap().save(&spark, &table, "flowers").await.unwrap();
    let loaded = PipelineModel::load(&spark, &table, "flowers", None).await.unwrap();
    let there = loaded.predict(&frame).await.unwrap().collect().await.unwrap();
    let there = concat_batches(&there[0].schema(), &there).unwrap();
    let batch = collected(&frame).await;
    drop(database);
    spark.stop().await.unwrap();

    // Labels are not needed for predictions, and text may come in any form.
    let unlabelled = batch.project(&[0, 2, 3, 4]).unwrap();
    let streamed = RecordStream::from_batches(batch.schema(), vec![batch.slice(0, 100), batch.slice(100, 200)]);
    let streamed = loaded.predict_rows(streamed).unwrap().collect().await.unwrap();
    let streamed = concat_batches(&streamed[0].schema(), &streamed).unwrap();
    for here in [loaded.transform_batch(&batch).unwrap(), streamed] {
        assert_eq!(here.schema().fields().len(), there.schema().fields().len());
        assert_eq!(sorted(&here), sorted(&there));
    }
    let here = loaded.transform_batch(&unlabelled).unwrap();
    let names = |batch: &RecordBatch| batch.column_by_name("predictedLabel").unwrap().as_string::<i32>().clone();
    let right = names(&here).iter().zip(batch.column(1).as_string::<i32>()).filter(|(a, b)| a == b).count();
    assert!(right >= 290, "{right}");
    assert_eq!(loaded.transform_batch(&batch.slice(0, 0)).unwrap().num_rows(), 0);
    let mut scorer = loaded.row_scorer(&unlabelled.schema()).unwrap();
    for row in 0..unlabelled.num_rows() {
        assert_eq!(scorer.score_rows(&unlabelled.slice(row, 1)).unwrap().columns(), here.slice(row, 1).columns());
    }
}
