//! Stages against Spark ML's own operators on the same rows; pipelines; the look before training.

use arrow::{array::AsArray, datatypes::Float64Type};
use spark_connect::{col, functions::expr, lit_string};
use tinderbox::{
    DataProblem, Error, Result,
    advanced::NativeStage,
    dataframe::{DataFrame, column, function, is_vector},
    ml::{
        Estimator, Pipeline, Preflight, Transformer,
        feature::{HandleInvalid, StandardScaler, StringIndexer, StringIndexerModel, StringOrderType, VectorAssembler},
    },
    session::Session,
};

use crate::support::{rows, session, spark_ml::Operator};

/// Spark ML's operators on our frames.
pub(crate) trait Reference {
    fn apply(&self, frame: &DataFrame) -> DataFrame;
    async fn fit_apply(&self, fitted_to: &DataFrame, frame: &DataFrame) -> Result<DataFrame>;
}

impl Reference for Operator {
    fn apply(&self, frame: &DataFrame) -> DataFrame {
        DataFrame::from_relation(frame, self.transform(frame.relation().clone()))
    }

    async fn fit_apply(&self, fitted_to: &DataFrame, frame: &DataFrame) -> Result<DataFrame> {
        let (fitted_to, input) = (fitted_to.relation().clone(), frame.relation().clone());
        Ok(DataFrame::from_relation(frame, self.fit_transform(frame.client(), fitted_to, input).await?))
    }
}

const WORDS: &str = "array('b', 'a', 'é', 'Z', '', '10', '9', 'x y', '\u{1f600}', '\u{ffee}')";

/// Rows at random, with ties among the words, nulls, NaN, a constant, and dotted names.
pub(crate) fn mixed(spark: &Session, seed: i64) -> DataFrame {
    let pick = format!("element_at({WORDS}, CAST(pmod(xxhash64(id, {seed}), 10) + 1 AS INT)) AS `wo.rd`");
    spark.range_with(0, 120, 1, Some(4)).select_expr([
        "id",
        &pick,
        &format!("nullif(pmod(xxhash64(id, {seed}, 1), 4), 3) AS few"),
        &format!("CASE pmod(hash(id, {seed}), 9) WHEN 0 THEN NULL WHEN 1 THEN DOUBLE('NaN') ELSE hash(id, {seed}) / 1e7 END AS real"),
        &format!("CAST(hash(id, {seed}, 2) / 3e8 AS FLOAT) AS float"),
        "CAST(id * 1.1 AS DECIMAL(10, 2)) AS dec",
        "id % 3 = 0 AS flag",
        "5.5D AS same",
    ])
}

fn array_of(name: &str) -> spark_connect::column::Column {
    function("vector_to_array", [column(name), lit_string("float64")])
}

/// Each row's array in column `name`, by id.
pub(crate) async fn vectors(frame: &DataFrame, name: &str) -> Vec<(i64, Vec<f64>)> {
    let picked = frame.select([col("id"), array_of(name).alias("v")]).order_by(["id"]);
    let mut found = Vec::new();
    for batch in picked.collect().await.unwrap() {
        let ids = batch.column(0).as_primitive::<arrow::datatypes::Int64Type>();
        let lists = batch.column(1).as_list::<i32>();
        for row in 0..batch.num_rows() {
            found.push((ids.value(row), lists.value(row).as_primitive::<Float64Type>().values().to_vec()));
        }
    }
    found
}

pub(crate) async fn metadata(frame: &DataFrame, name: &str) -> serde_json::Value {
    serde_json::to_value(&frame.schema().await.unwrap().require(name).unwrap().metadata).unwrap()
}

/// Numbers and names are equal to the last bit, up to `tolerance` of each number.
pub(crate) async fn assert_same_vectors(ours: &DataFrame, theirs: &DataFrame, name: &str, tolerance: f64) {
    let (mine, reference) = (vectors(ours, name).await, vectors(theirs, name).await);
    assert_eq!(mine.len(), reference.len());
    for ((id, a), (other, b)) in mine.iter().zip(&reference) {
        assert_eq!((id, a.len()), (other, b.len()));
        for (a, b) in a.iter().zip(b) {
            let same = a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= tolerance * b.abs();
            assert!(same, "row {id}: {a} where Spark has {b}");
        }
    }
    assert_eq!(metadata(ours, name).await, metadata(theirs, name).await);
    assert!(is_vector(&ours.schema().await.unwrap().require(name).unwrap().data_type));
}

#[tokio::test]
async fn the_string_indexer_orders_and_names_classes_as_spark_ml_does() {
    let spark = session().await;
    let orders = [
        (StringOrderType::FrequencyDesc, "frequencyDesc"),
        (StringOrderType::FrequencyAsc, "frequencyAsc"),
        (StringOrderType::AlphabetDesc, "alphabetDesc"),
        (StringOrderType::AlphabetAsc, "alphabetAsc"),
    ];
    for (seed, (order, name)) in orders.into_iter().enumerate() {
        let frame = mixed(&spark, seed as i64).with_column_renamed("wo.rd", "word");
        for (handling, invalid) in [(HandleInvalid::Keep, "keep"), (HandleInvalid::Skip, "skip")] {
            // Fitted to a part, so that the rest has classes it does not know.
            let part = frame.filter_expr("id < 15");
            let ours = StringIndexer::multi(["word", "few", "real"], ["a", "b", "c"])
                .string_order_type(order)
                .handle_invalid(handling);
            let ours = ours.fit(&part).await.unwrap().transform(&frame).await.unwrap();
            let theirs = Operator::feature("StringIndexer")
                .texts("inputCols", &["word", "few", "real"])
                .texts("outputCols", &["a", "b", "c"])
                .text("stringOrderType", name)
                .text("handleInvalid", invalid);
            let theirs = theirs.fit_apply(&part, &frame).await.unwrap();
            let picked = |frame: &DataFrame| frame.select(["id", "a", "b", "c"]).order_by(["id"]);
            assert_eq!(rows(&picked(&ours)).await, rows(&picked(&theirs)).await, "{name}, {invalid}");
            for output in ["a", "b", "c"] {
                assert_eq!(metadata(&ours, output).await, metadata(&theirs, output).await, "{name}, {invalid}");
            }
        }
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_class_that_is_not_known_is_an_error_that_names_column_and_value() {
    let spark = session().await;
    let frame =
        spark.range(0, 3).select_expr(["element_at(array('a', 'b', NULL), CAST(id + 1 AS INT)) AS `wo.rd`", "id"]);
    let model = StringIndexerModel::from_labels("wo.rd", "label", ["a"]);
    let indexed = model.transform(&frame).await.unwrap();
    assert_eq!(rows(&indexed.filter_expr("id = 0").select(["label"])).await, ["0.0"]);
    let unseen = indexed.filter_expr("id = 1").collect().await.unwrap_err().to_string();
    assert!(unseen.contains("Unseen label in column `wo.rd`: `b`"), "{unseen}");
    let null = indexed.filter_expr("id = 2").collect().await.unwrap_err().to_string();
    assert!(null.contains("Column `wo.rd` is null"), "{null}");
    let unlabelled = model.transform(&spark.range(0, 2)).await.unwrap();
    assert_eq!(rows(&unlabelled).await, ["0", "1"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn many_classes_are_found_as_few_are() {
    let spark = session().await;
    let frame = spark.range(0, 3000).select_expr(["id", "concat('ü', id % 1500) AS word"]);
    let labels: Vec<String> = (0..1000).map(|i| format!("ü{}", (i * 7) % 1000)).collect();
    let model = StringIndexerModel::from_labels("word", "label", labels.clone()).handle_invalid(HandleInvalid::Keep);
    let with_odd = frame.union(&spark.range(0, 1).select_expr(["-1L AS id", "'' AS word"]));
    let with_odd = with_odd.union(&spark.range(0, 1).select_expr(["-2L AS id", "CAST(NULL AS STRING) AS word"]));
    let indexed = rows(&model.transform(&with_odd).await.unwrap().select(["id", "label"]).order_by(["id"])).await;
    let expected = |id: i64| match labels.iter().position(|l| id >= 0 && *l == format!("ü{}", id % 1500)) {
        Some(index) => format!("{id}|{index}.0"),
        None => format!("{id}|1000.0"),
    };
    assert_eq!(indexed, (-2..3000).map(expected).collect::<Vec<_>>());
    let skipped = model.handle_invalid(HandleInvalid::Skip).transform(&with_odd).await.unwrap();
    assert_eq!(skipped.count().await.unwrap(), 2000);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn the_vector_assembler_gives_what_spark_ml_gives() {
    let spark = session().await;
    let inner = Operator::feature("VectorAssembler").texts("inputCols", &["float", "few"]).text("outputCol", "v");
    for (seed, handling, invalid) in [(10, HandleInvalid::Keep, "keep"), (11, HandleInvalid::Skip, "skip")] {
        let frame = inner.apply(&mixed(&spark, seed).filter_expr("few IS NOT NULL"));
        let frame = frame.with_column("empty_attrs", col("same"));
        let inputs = ["real", "v", "few", "dec", "flag", "same"];
        let ours = VectorAssembler::new(inputs, "out").handle_invalid(handling).transform(&frame).await.unwrap();
        let theirs = Operator::feature("VectorAssembler")
            .texts("inputCols", &inputs)
            .text("outputCol", "out")
            .text("handleInvalid", invalid)
            .apply(&frame);
        assert_same_vectors(&ours, &theirs, "out", 0.0).await;
    }
    // The length of a vector without metadata comes from the data; a label keeps its classes.
    let values = function("array_to_vector", [spark_connect::functions::expr("array(CAST(id AS DOUBLE), 2D)")]);
    let bare = spark
        .range(0, 5)
        .with_column("v", values)
        .with_column("w", spark_connect::functions::expr("IF(id > 2, 'p', 'q')"));
    let bare = StringIndexer::new("w", "label").fit(&bare).await.unwrap().transform(&bare).await.unwrap();
    let ours = VectorAssembler::new(["label", "v"], "out").transform(&bare).await.unwrap();
    let theirs = Operator::feature("VectorAssembler").texts("inputCols", &["label", "v"]).text("outputCol", "out");
    assert_same_vectors(&ours, &theirs.apply(&bare), "out", 0.0).await;
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_value_that_cannot_be_assembled_is_an_error_that_names_its_column() {
    let spark = session().await;
    let frame = mixed(&spark, 20).select_expr(["id", "real AS `re.al`", "few", "same"]);
    let assembled = VectorAssembler::new(["same", "re.al", "few"], "v").transform(&frame).await.unwrap();
    let error = |filter| {
        let frame = assembled.filter_expr(filter);
        async move { frame.collect().await.unwrap_err().to_string() }
    };
    assert!(error("isnan(`re.al`) AND few IS NOT NULL").await.contains("Column `re.al` is NaN"));
    assert!(error("`re.al` IS NULL AND few IS NOT NULL").await.contains("Column `re.al` is null"));
    assert!(error("few IS NULL AND `re.al` > -1e9 AND NOT isnan(`re.al`)").await.contains("Column `few` is null"));
    let fine = assembled.filter_expr("`re.al` IS NOT NULL AND NOT isnan(`re.al`) AND few IS NOT NULL");
    assert!(!vectors(&fine, "v").await.is_empty());
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn the_standard_scaler_gives_what_spark_ml_gives() {
    let spark = session().await;
    let inputs = ["float", "same", "dec", "flag", "far", "tiny", "zero"];
    let hard = [("far", "100 + float"), ("tiny", "float * 1e-200"), ("zero", "0D")];
    for seed in 30..32 {
        let hard = hard.into_iter().fold(mixed(&spark, seed), |frame, (name, sql)| frame.with_column(name, expr(sql)));
        let frame = VectorAssembler::new(inputs, "raw").transform(&hard).await.unwrap();
        let one = frame.filter_expr("id = 7");
        for (with_mean, with_std) in [(false, true), (true, true), (true, false), (false, false)] {
            for fitted_to in [&frame, &one] {
                let scaler = |input| StandardScaler::new(input, "out").with_mean(with_mean).with_std(with_std);
                // In a pipeline the elements are asked for one by one, and by sums where those will do.
                let among_others = Pipeline::new().stage(VectorAssembler::new(inputs, "v"));
                let among_others = among_others.stage(scaler("v"));
                let among_others = among_others.fit(fitted_to).await.unwrap().transform(&frame).await.unwrap();
                let ours = scaler("raw").fit(fitted_to).await.unwrap().transform(&frame).await.unwrap();
                let theirs = Operator::feature("StandardScaler")
                    .text("inputCol", "raw")
                    .text("outputCol", "out")
                    .flag("withMean", with_mean)
                    .flag("withStd", with_std);
                let theirs = theirs.fit_apply(fitted_to, &frame).await.unwrap();
                // Sums run in another order; near the mean, that shows.
                assert_close(&ours, &theirs, "out").await;
                assert_close(&among_others, &theirs, "out").await;
            }
        }
    }
    spark.stop().await.unwrap();
}

pub(crate) async fn assert_close(ours: &DataFrame, theirs: &DataFrame, name: &str) {
    for ((id, a), (_, b)) in vectors(ours, name).await.iter().zip(&vectors(theirs, name).await) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() <= 1e-12 * (1.0 + b.abs()), "row {id}: {a} where Spark has {b}");
        }
    }
    assert_eq!(metadata(ours, name).await, metadata(theirs, name).await);
}

#[tokio::test]
async fn a_scaler_refuses_what_it_cannot_learn_from_or_apply() {
    let spark = session().await;
    let vector = |sql: &str| function("array_to_vector", [spark_connect::functions::expr(sql)]);
    let scaler = StandardScaler::new("raw", "out");
    let refused = |frame: DataFrame| {
        let scaler = scaler.clone();
        async move { scaler.fit(&frame).await.unwrap_err().to_string() }
    };
    let frame = spark.range(0, 4).with_column("raw", vector("array(CAST(id AS DOUBLE), 1D)"));
    assert!(refused(frame.filter_expr("id < 0")).await.contains("at least one vector"));
    let ragged = spark.range(0, 4).with_column("raw", vector("array_repeat(1D, CAST(1 + id % 2 AS INT))"));
    assert!(refused(ragged.clone()).await.contains("vectors of one length"));
    let nan = spark.range(0, 4).with_column("raw", vector("array(1D, IF(id = 2, DOUBLE('NaN'), 0D))"));
    assert!(refused(nan).await.contains("element 1 NaN or infinite"));
    assert!(refused(spark.range(0, 1).select_expr(["id AS raw"])).await.contains("a vector"));
    let model = scaler.fit(&frame).await.unwrap();
    let error = model.transform(&ragged).await.unwrap().collect().await.unwrap_err().to_string();
    assert!(error.contains("vector in column `raw` has 1 elements"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn a_pipeline_fits_checks_first_and_outlives_its_process_as_json() {
    let spark = session().await;
    let frame = mixed(&spark, 40).filter_expr("few IS NOT NULL");
    let pipeline = Pipeline::new()
        .stage(StringIndexer::new("wo.rd", "label"))
        .stage(VectorAssembler::new(["float", "dec", "few"], "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true));
    let model = pipeline.fit(&frame).await.unwrap();
    let transformed = model.transform(&frame).await.unwrap();
    let expected = pipeline.transform_schema(&frame.schema().await.unwrap()).unwrap();
    let names: Vec<_> = expected.names().map(str::to_owned).collect();
    assert_eq!(transformed.schema().await.unwrap().names().collect::<Vec<_>>(), names);
    let json = Transformer::native(&model).unwrap().to_json();
    let restored = NativeStage::from_json(&json).unwrap().into_transformer();
    let again = restored.transform(&frame).await.unwrap();
    assert_same_vectors(&again, &transformed, "features", 0.0).await;
    assert_eq!(rows(&again.select(["id", "label"])).await, rows(&transformed.select(["id", "label"])).await);

    let clash = Pipeline::new().stage(StringIndexer::new("wo.rd", "label")).stage(StringIndexer::new("few", "label"));
    assert!(clash.fit(&frame).await.unwrap_err().to_string().contains("column `label`"));
    let error = model.transform(&transformed).await.unwrap_err().to_string();
    assert!(error.contains("no column of this name yet"), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn spark_ml_reads_the_vectors_that_our_stages_make() {
    let spark = session().await;
    let frame = VectorAssembler::new(["float", "dec"], "raw").transform(&mixed(&spark, 50)).await.unwrap();
    let theirs = Operator::feature("MinMaxScaler").text("inputCol", "raw").text("outputCol", "out");
    let scaled = theirs.fit_apply(&frame, &frame).await.unwrap();
    let values = vectors(&scaled, "out").await;
    assert!(values.iter().all(|(_, v)| v.iter().all(|x| (0.0..=1.0).contains(x))) && values.len() == 120);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn two_thousand_columns_are_assembled_and_scaled() {
    let spark = session().await;
    let names: Vec<String> = (0..2000).map(|i| format!("c.{i}")).collect();
    let columns: Vec<String> = (0..2000).map(|i| format!("CAST(id * {i} % 97 AS DOUBLE) AS `c.{i}`")).collect();
    let wide =
        spark.range_with(0, 200, 1, Some(2)).select_expr(["id"].into_iter().chain(columns.iter().map(String::as_str)));
    let pipeline = Pipeline::new()
        .stage(VectorAssembler::new(names, "raw"))
        .stage(StandardScaler::new("raw", "features").with_mean(true));
    let scaled = pipeline.fit(&wide).await.unwrap().transform(&wide).await.unwrap();
    let values = vectors(&scaled, "features").await;
    assert_eq!((values.len(), values[0].1.len()), (200, 2000));
    for i in [1, 1234, 1999] {
        let column = values.iter().map(|(_, v)| v[i]);
        let (sum, squares) = column.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        assert!(sum.abs() < 1e-9 && (squares - 199.0).abs() < 1e-6, "{i}: {sum}, {squares}");
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn preflight_counts_in_one_look_what_would_spoil_training() {
    let spark = session().await;
    let frame = mixed(&spark, 60);
    let frame = frame.with_columns([
        (
            "v",
            function(
                "array_to_vector",
                [spark_connect::functions::expr(
                    "array_repeat(IF(id = 5, DOUBLE('inf'), 1D), CAST(2 + id % 2 AS INT))",
                )],
            ),
        ),
        ("y", spark_connect::functions::expr("CAST(id % 3 AS DOUBLE)")),
    ]);
    let report = Preflight::new(["real", "few", "v"]).class_label("y").run(&frame).await.unwrap();
    let counted =
        rows(&frame.select_expr(["count_if(real IS NULL)", "count_if(isnan(real))", "count_if(few IS NULL)"])).await;
    let [real, few, v] = &report.columns[..] else { panic!() };
    assert_eq!(format!("{}|{}|{}", real.nulls, real.nans, few.nulls), counted[0]);
    assert!(real.nulls > 0 && real.nans > 0 && real.lengths.is_none() && few.lengths.is_none());
    assert_eq!((v.nulls, v.nans, v.infinities, v.lengths), (0, 0, 1, Some((2, 3))));
    assert_eq!(report.rows, 120);
    assert_eq!(report.classes.iter().map(|c| (c.label, c.rows)).collect::<Vec<_>>(), [(0, 40), (1, 40), (2, 40)]);
    assert!(report.check().unwrap_err().to_string().contains("column `real`"));

    let refused = |label: &'static str| {
        let frame = frame.with_column("label", spark_connect::functions::expr(label));
        async move {
            let report = Preflight::new(["same"]).class_label("label").run(&frame).await.unwrap();
            report.check().unwrap_err().to_string()
        }
    };
    assert!(refused("IF(id = 3, 0.5D, 1D)").await.contains("not whole numbers in 1 rows (such as 0.5)"));
    assert!(refused("IF(id = 3, NULL, id % 2)").await.contains("null in 1 rows"));
    assert!(refused("id - 2").await.contains("negative in 2 rows (such as -"));
    assert!(refused("id * 1000000").await.contains("100000 or more in 119 rows"));
    assert!(refused("1").await.contains("found only 1"));
    let empty = Preflight::new(["same", "v"]).class_label("y").run(&frame.filter_expr("id < 0")).await.unwrap();
    assert!(matches!(empty.check(), Err(Error::Data { problem: DataProblem::NoRows, .. })));
    let missing = Preflight::new(["absent"]).run(&frame).await.unwrap_err().to_string();
    assert!(missing.contains("column `absent`"), "{missing}");
    assert!(Preflight::new(["wo.rd"]).run(&frame).await.is_err());
    spark.stop().await.unwrap();
}
