//! Tables that no network should be trained on, and the errors that refuse them before training.

use spark_connect::functions::expr;
use tinderbox::{Error, ml::attribute::Attribute, prelude::*, tensor::reader::OneHotReader};

use crate::support::session;

/// Forty rows with nothing wrong.
async fn good(spark: &Session) -> DataFrame {
    let columns = [
        "id",
        "CAST(id % 2 AS DOUBLE) AS label",
        "id * 0.5D AS x",
        "array(1.0D, CAST(id AS DOUBLE)) AS v",
        "1 + id % 3 AS w",
        "DATE'2026-01-01' AS day",
    ];
    spark.range_with(0, 40, 1, Some(2)).select_expr(columns)
}

fn classifier(features: &str) -> NeuralClassifier {
    NeuralClassifier::new(Network::mlp([4])).epochs(1).seed(3).features_col(features).weight_col("w")
}

#[tokio::test]
async fn sixteen_kinds_of_bad_table_are_refused_in_words_that_help() {
    let spark = session().await;
    let frame = good(&spark).await;
    classifier("x").fit(&frame).await.unwrap();
    // What is wrong, the column that is replaced, by what, the features; and what the refusal says.
    let cases = [
        (
            "null in a feature",
            ("x", "IF(id % 20 = 7, NULL, id * 0.5D)"),
            "x",
            "column `x`: expected finite numbers, found null in 2 of 40 rows; \
             filter or correct such rows first; one of them: {\"x\":null,\"w\":2,\"label\":1.0}",
        ),
        (
            "NaN in a feature",
            ("x", "IF(id = 7, DOUBLE('NaN'), id * 0.5D)"),
            "x",
            "column `x`: expected finite numbers, found NaN (or an element that is NaN or null) in 1 of 40 rows; \
             filter or correct such rows first; one of them: {\"x\":\"NaN\",\"w\":2,\"label\":1.0}",
        ),
        (
            "infinity in a feature",
            ("x", "IF(id = 8, DOUBLE('-Infinity'), id * 0.5D)"),
            "x",
            "column `x`: expected finite numbers, found infinite in 1 of 40 rows; \
             filter or correct such rows first; one of them: {\"x\":\"-Infinity\",\"w\":3,\"label\":0.0}",
        ),
        (
            "null within an array",
            ("v", "array(1.0D, IF(id = 8, NULL, 2.0D))"),
            "v",
            "column `v`: expected finite numbers, found NaN (or an element that is NaN or null) in 1 of 40 rows; \
             filter or correct such rows first; one of them: {\"v\":[1.0,null],\"w\":3,\"label\":0.0}",
        ),
        (
            "arrays of several lengths",
            ("v", "array_repeat(1.0D, IF(id = 5, 1, 2))"),
            "v",
            "column `v`: expected vectors of one length, found vectors of 1 to 2 elements; \
             filter or correct such rows first; one of them: {\"v\":[1.0],\"w\":3,\"label\":1.0}",
        ),
        (
            "a label that is null",
            ("label", "IF(id = 5, NULL, CAST(id % 2 AS DOUBLE))"),
            "x",
            "column `label`: expected classes 0, 1, 2 … (a StringIndexer makes them), \
             found null in 1 rows; \
             filter or correct such rows first; one of them: {\"x\":2.5,\"w\":3,\"label\":null}",
        ),
        (
            "a label below 0",
            ("label", "CAST(id % 2 - IF(id = 4, 1, 0) AS DOUBLE)"),
            "x",
            "column `label`: expected classes 0, 1, 2 … (a StringIndexer makes them), \
             found negative in 1 rows (such as -1); \
             filter or correct such rows first; one of them: {\"x\":2.0,\"w\":2,\"label\":-1.0}",
        ),
        (
            "a label that is no whole number",
            ("label", "id % 2 + IF(id = 4, 0.5D, 0D)"),
            "x",
            "column `label`: expected classes 0, 1, 2 … (a StringIndexer makes them), \
             found not whole numbers in 1 rows (such as 0.5); \
             filter or correct such rows first; one of them: {\"x\":2.0,\"w\":2,\"label\":0.5}",
        ),
        (
            "labels that are no classes",
            ("label", "id % 2 + IF(id = 4, 1e6D, 0D)"),
            "x",
            "column `label`: expected classes 0, 1, 2 … (a StringIndexer makes them), \
             found 100000 or more in 1 rows (such as 1000000); \
             filter or correct such rows first; one of them: {\"x\":2.0,\"w\":2,\"label\":1000000.0}",
        ),
        (
            "one class only",
            ("label", "1D"),
            "x",
            "column `label`: expected at least two classes, found only 1; check the filters of the plan",
        ),
        ("no row", ("id", "id"), "x", "expected at least one row, found none; check the filters of the plan"),
        (
            "a weight that is null",
            ("w", "IF(id = 3, NULL, 1)"),
            "x",
            "column `w`: expected finite numbers, found null in 1 of 40 rows; \
             filter or correct such rows first; one of them: {\"x\":1.5,\"w\":null,\"label\":1.0}",
        ),
        (
            "a weight below 0",
            ("w", "IF(id = 3, -0.5D, 1D)"),
            "x",
            "column `w`: expected weights of at least 0, found numbers below 0 in 1 of 40 rows (such as -0.5); \
             filter or correct such rows first; one of them: {\"x\":1.5,\"w\":-0.5,\"label\":1.0}",
        ),
        (
            "weights that are all 0",
            ("w", "0"),
            "x",
            "column `w`: expected a weight above 0, found 0 in all 40 rows; filter or correct such rows first",
        ),
        ("features of another type", ("id", "id"), "day", "column `day`: expected "),
        (
            "a column that is missing",
            ("id", "id"),
            "height",
            "column `height`: expected a column of this name, found columns id, label, x, v, w, day",
        ),
    ];
    for (case, (column, sql), features, words) in cases {
        let mut bad = frame.with_column(column, expr(sql));
        if case == "no row" {
            bad = bad.filter_expr("id < 0");
        }
        let error = classifier(features).fit(&bad).await.expect_err(case);
        println!("{case}:\n    {error}");
        assert!(matches!(error, Error::Data { .. } | Error::Schema { .. }), "{case}: {error:?}");
        let whole = !words.ends_with(' ');
        let text = error.to_string();
        assert!(if whole { text == words } else { text.starts_with(words) }, "{case}: {text}\nis not {words}");
    }
    // A label beyond the classes that its column names.
    let named = Attribute::nominal("label", ["even"]).to_metadata();
    let error = classifier("x").fit(&frame.with_metadata("label", &named)).await.unwrap_err().to_string();
    println!("a label that the metadata does not name:\n    {error}");
    assert!(
        error.starts_with(
            "column `label`: expected one of the 1 classes that the column's metadata names, from 0, found 1 in 20 rows"
        ),
        "{error}"
    );
    assert!(error.contains("one of them: {\"x\":0.5,"), "{error}");
    // A wide row is shown in part.
    let wide = frame.with_column("v", expr("transform(sequence(1, 400), i -> IF(i = id, NULL, 1.5D))"));
    let error = classifier("v").fit(&wide).await.unwrap_err().to_string();
    assert!(error.ends_with(" …") && error.len() < 500, "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn what_may_not_be_meant_is_warned_of_and_trained_on() {
    let spark = session().await;
    let frame = good(&spark).await.with_column("same", expr("7.5D"));
    let report = Preflight::new(["x", "same"]).weight("w").class_label("label").run(&frame).await.unwrap();
    report.check_rows(&frame).await.unwrap();
    assert_eq!(report.columns[0].range, Some((0.0, 19.5)));
    assert_eq!(report.warnings(), ["column `same`: every number is 7.5, so it cannot help a network"]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn text_with_offsets_of_64_bits_is_read_too() {
    let spark = session().await;
    spark.conf().set("spark.sql.execution.arrow.useLargeVarTypes", true).await.unwrap();
    let words = spark.range(0, 4).select_expr(["CAST(id AS STRING) AS w"]).collect().await.unwrap();
    assert_eq!(*words[0].schema().field(0).data_type(), arrow::datatypes::DataType::Utf8);
    let bad = good(&spark).await.with_column("x", expr("IF(id % 20 = 7, NULL, id * 0.5D)"));
    let told = classifier("x").fit(&bad).await.unwrap_err().to_string();
    assert!(told.ends_with("one of them: {\"x\":null,\"w\":2,\"label\":1.0}"), "{told}");
    let named = good(&spark).await.with_column("kind", expr("element_at(array('a', 'b'), CAST(id % 2 + 1 AS INT))"));
    let reader = OneHotReader::new("kind");
    NeuralClassifier::new(Network::mlp([4])).epochs(1).input(reader).fit(&named).await.unwrap();
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn vectors_that_are_missing_are_counted_and_left_out() {
    let spark = session().await;
    let frame = VectorAssembler::new(["x", "w"], "features").transform(&good(&spark).await).await.unwrap();
    let frame = frame.with_column("features", expr("IF(id = 4, NULL, features)"));
    let told = classifier("features").fit(&frame).await.unwrap_err().to_string();
    assert!(
        told.contains("column `features`: expected finite numbers, found null in 1 of 40 rows")
            && told.contains("{\"features\":null,"),
        "{told}"
    );
    let model = classifier("features").handle_invalid(HandleInvalid::Skip).fit_frame(&frame).await.unwrap();
    let rows = &model.model().history().rows;
    assert_eq!((rows.trained, rows.skipped), (39, 1));
    assert_eq!(model.transform(&frame).await.unwrap().count().await.unwrap(), 39);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn one_odd_column_among_many_is_named_with_its_counts() {
    let spark = session().await;
    let mut columns: Vec<String> = (0..100).map(|i| format!("id * {i}D AS c{i}")).collect();
    columns.push("id % 2 AS label".into());
    let good = spark.range(0, 50).select_expr(columns.iter().map(String::as_str));
    let names: Vec<String> = (0..100).map(|i| format!("c{i}")).collect();
    let look = async |frame: &DataFrame| Preflight::new(names.clone()).class_label("label").run(frame).await.unwrap();
    let report = look(&good).await;
    assert_eq!((report.rows, report.class_counts()), (50, vec![25, 25]));
    assert!(report.columns.iter().all(|c| (c.nulls, c.nans, c.infinities) == (0, 0, 0)));
    report.check().unwrap();

    let bad = good
        .with_column("c50", expr("IF(c1 % 10 = 3, double('NaN'), c50)"))
        .with_column("c70", expr("IF(c1 = 7, NULL, IF(c1 = 8, double('-Infinity'), c70))"))
        .with_column("c90", expr("16777217 + CAST(c1 AS BIGINT)"));
    let report = look(&bad).await;
    let counts = |name: &str| {
        let found = report.columns.iter().find(|c| c.name == name).unwrap();
        (found.nulls, found.nans, found.infinities)
    };
    assert_eq!((counts("c50"), counts("c70"), counts("c49")), ((0, 5, 0), (1, 0, 1), (0, 0, 0)));
    let error = report.check_rows(&bad).await.unwrap_err().to_string();
    assert!(
        error.starts_with(
            "column `c50`: expected finite numbers, found NaN (or an element that is NaN or null) in 5 of 50 rows"
        ),
        "{error}"
    );
    assert!(report.warnings().iter().any(|w| w.contains("`c90`") && w.contains("16777216")), "{:?}", report.warnings());
    spark.stop().await.unwrap();
}
