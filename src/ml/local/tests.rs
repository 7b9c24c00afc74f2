use arrow::{
    array::{
        Array, AsArray, DictionaryArray, FixedSizeListArray, Float64Array, Int64Array, LargeStringArray, StringArray,
    },
    datatypes::{Float32Type, Float64Type, Int32Type},
};
use spark_connect::{functions, functions::expr, lit, lit_double, types::DataType};

use super::*;
use crate::{
    DataProblem,
    dataframe::{METADATA_KEY, column, function},
    ml::{
        PipelineModel, Transformer,
        feature::{Bucketizer, HandleInvalid, IndexToString, SqlTransformer, StringIndexerModel, VectorAssembler},
        rows::{Repartition, Split},
    },
};

fn one(cell: ArrayRef) -> LocalBatch {
    LocalBatch::new(&RecordBatch::try_from_iter_with_nullable([("a.b", cell, true)]).unwrap()).unwrap()
}

fn value_of(cell: impl Into<Option<f64>>, of: impl FnOnce(Column) -> Column) -> Result<Value> {
    let rows = one(Arc::new(Float64Array::from(vec![cell.into()])));
    Ok(rows.values([&of(column("a.b"))])?.remove(0).remove(0))
}

fn shown(value: Result<Value>) -> String {
    match value.unwrap() {
        Value::Text(text) => text.to_string(),
        other => format!("{other:?}"),
    }
}

#[test]
fn what_is_null_is_neither_true_nor_false() {
    let of = |a: Option<bool>, b: Option<bool>, join: fn(Column, Column) -> Column| {
        let truth = |t: Option<bool>| match t {
            Some(t) => spark_connect::lit_boolean(t),
            None => function("nullif", [spark_connect::lit_boolean(true), spark_connect::lit_boolean(true)]),
        };
        match value_of(1.0, |_| join(truth(a), truth(b))).unwrap() {
            Value::Bool(t) => Some(t),
            _ => None,
        }
    };
    let all = [Some(true), Some(false), None];
    let ands = all.map(|a| all.map(|b| of(a, b, Column::and)));
    assert_eq!(
        ands,
        [[Some(true), Some(false), None], [Some(false), Some(false), Some(false)], [None, Some(false), None]]
    );
    let ors = all.map(|a| all.map(|b| of(a, b, Column::or)));
    assert_eq!(ors, [[Some(true), Some(true), Some(true)], [Some(true), Some(false), None], [Some(true), None, None]]);
}

#[test]
fn nan_equals_itself_and_is_above_all_numbers() {
    let truth = |of: fn(Column) -> Column| format!("{:?}", value_of(f64::NAN, of).unwrap());
    assert_eq!(truth(|x| x.eq(lit_double(f64::NAN))), "Bool(true)");
    assert_eq!(truth(|x| x.gt(lit_double(f64::INFINITY))), "Bool(true)");
    assert_eq!(truth(|x| x.lt(lit(1))), "Bool(false)");
    assert_eq!(truth(|x| function("greatest", [lit_double(3.0), x])), "Double(NaN)");
    assert_eq!(format!("{:?}", value_of(-0.0, |x| x.eq(lit_double(0.0))).unwrap()), "Bool(true)");
    assert_eq!(format!("{:?}", value_of(None, |x| x.is_nan()).unwrap()), "Bool(false)");
}

#[test]
fn numbers_become_text_as_java_writes_them() {
    let text = |x: f64| shown(value_of(x, |x| x.cast_str("string")));
    let written = [-0.0, 1.0, 1e-3, 9.5e-4, 1e7, 1.0 / 3.0, f64::NEG_INFINITY, f64::NAN].map(text);
    assert_eq!(written, ["-0.0", "1.0", "0.001", "9.5E-4", "1.0E7", "0.3333333333333333", "-Infinity", "NaN"]);
    // Java 17 writes the second as 1.08122859982451853E18: nothing may be decided by it.
    assert!(text(1.0812285998245185e18).starts_with("Spelled"));
    let refused = value_of(1.0812285998245185e18, |x| {
        function("array_position", [function("array", [spark_connect::lit_string("a")]), x.cast_str("string")])
    });
    assert!(refused.unwrap_err().to_string().contains("the version of the cluster's Java"));
}

#[test]
fn casts_cut_off_round_and_refuse_as_with_ansi_rules() {
    let whole = |x: f64| value_of(x, |x| x.cast(DataType::Integer));
    assert_eq!(shown(whole(-2.9)), "Whole(-2)");
    assert_eq!(shown(whole(2147483647.9)), "Whole(2147483647)");
    assert!(whole(f64::NAN).unwrap_err().to_string().contains("NaN is beyond the range of int"));
    assert!(whole(2147483648.0).is_err());
    let decimal = |x: f64| value_of(x, |x| x.cast(DataType::Decimal { precision: 4, scale: 2 }));
    // By the digits that the number is written with, not by those of its binary form: 2.675 is a little less.
    assert_eq!(shown(decimal(-2.675)), "Decimal { digits: -268, scale: 2 }");
    assert_eq!(shown(decimal(1e-300)), "Decimal { digits: 0, scale: 2 }");
    assert_eq!(shown(decimal(f64::NAN)), "Null");
    assert!(decimal(99.995).is_err() && decimal(1e300).is_err());
}

#[test]
fn an_expression_that_is_not_known_is_refused_by_its_name() {
    let refused = |of: fn(Column) -> Column| value_of(1.0, of).unwrap_err().to_string();
    assert!(refused(|x| function("sinh", [x])).contains("`sinh` of 1 arguments"));
    assert!(refused(|_| expr("a + 1")).contains("the SQL `a + 1`"));
    assert!(refused(|_| spark_connect::col("a.b")).contains("the path `a.b`"));
    assert!(refused(|x| x.try_cast(DataType::Integer)).contains("cast of another kind"));
    assert!(refused(|x| x.add(spark_connect::lit_string("1"))).contains("`arithmetic` of a double, text"));
    assert!(refused(|_| column("other")).contains("column `other`"));
    assert!(refused(|x| x.div(lit_double(0.0))).contains("division by zero"));
}

#[test]
fn an_array_that_would_not_fit_is_refused_before_its_memory_is_taken() {
    let refused = |of: fn(Column) -> Column| {
        let error = value_of(4e18, |x| of(x.cast(DataType::Long))).unwrap_err();
        assert!(matches!(error, Error::Data { row: Some(0), problem: DataProblem::Expression { .. }, .. }), "{error}");
    };
    refused(|x| function("array_repeat", [lit_double(0.0), x]));
    refused(|x| function("sequence", [lit(1), x.clone()]));
    refused(|x| function("sequence", [x, lit(i64::MIN)]));
    let ways = |a: i64, b: i64| shown(value_of(1.0, |_| function("size", [function("sequence", [lit(a), lit(b)])])));
    assert_eq!((ways(3, 3), ways(3, -1)), ("Whole(1)".into(), "Whole(5)".into()));
    assert_eq!(shown(value_of(1.0, |_| function("array_repeat", [lit(0), lit(-2)]))), "Array([])");
}

#[test]
fn a_struct_that_is_no_vector_is_refused() {
    let odd: ArrayRef = Arc::new(StringArray::from(vec!["a"]));
    let inner = RecordBatch::try_from_iter([("type", odd.clone()), ("values", odd)]).unwrap();
    let cells = arrow::array::StructArray::from(inner);
    let split = Split::by_key(["w"], "part", [("a", 1.0), ("b", 1.0)]);
    let message = split.transform_batch(&words(Arc::new(cells))).unwrap_err().to_string();
    assert!(message.contains("column `w`: expected a vector"), "{message}");
}

#[test]
fn lambdas_see_their_own_variables() {
    let list = || function("array", [lit_double(1.0), lit_double(2.0)]);
    let nested = value_of(10.0, |a| {
        functions::transform_idx(list(), |x| {
            functions::aggregate(list(), x[0].clone().mul(a), |y| {
                y[0].clone().add(y[1].clone()).add(x[1].clone().cast(DataType::Double))
            })
        })
    });
    assert_eq!(shown(nested), "Array([Double(13.0), Double(25.0)])");
    let exists = |of: fn(Column) -> Column| {
        let nulls = || function("array", [lit_double(1.0), function("nullif", [lit_double(0.0), lit_double(0.0)])]);
        shown(value_of(1.0, move |_| functions::exists(nulls(), move |x| of(x[0].clone()))))
    };
    assert_eq!(exists(|x| x.gt(lit(5))), "Null");
    assert_eq!(exists(|x| x.eq(lit(1))), "Bool(true)");
}

fn words(cells: ArrayRef) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([("w", cells, true)]).unwrap()
}

#[test]
fn text_of_every_kind_and_slice_is_indexed() {
    let model = StringIndexerModel::from_labels("w", "i", ["b", "a"]).handle_invalid(HandleInvalid::Keep);
    let cells = [Some("a"), None, Some("b"), Some("ü")];
    let kinds: [ArrayRef; 3] = [
        Arc::new(StringArray::from_iter(cells)),
        Arc::new(LargeStringArray::from_iter(cells)),
        Arc::new(cells.into_iter().collect::<DictionaryArray<Int32Type>>()),
    ];
    for cells in kinds {
        let batch = model.transform_batch(&words(cells.clone())).unwrap();
        assert_eq!(batch.column(1).as_primitive::<Float64Type>().values()[..], [1.0, 2.0, 0.0, 2.0]);
        assert_eq!(batch.column(0), &cells, "what was there passes through as it is");
        assert!(batch.schema().field(1).metadata()[METADATA_KEY].contains("__unknown"));
        let part = model.transform_batch(&words(cells.slice(1, 2))).unwrap();
        assert_eq!(part.column(1).as_primitive::<Float64Type>().values()[..], [2.0, 0.0]);
        let none = model.transform_batch(&words(cells.slice(0, 0))).unwrap();
        assert_eq!((none.num_rows(), none.num_columns()), (0, 2));
    }
    let skipping = model.clone().handle_invalid(HandleInvalid::Skip);
    let kept = skipping.transform_batch(&words(Arc::new(StringArray::from_iter(cells)))).unwrap();
    assert_eq!(kept.column(0).as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b"]);
    let refused = model.handle_invalid(HandleInvalid::Error);
    let refused = |cells: Vec<Option<&str>>| {
        refused.transform_batch(&words(Arc::new(StringArray::from(cells)))).unwrap_err().to_string()
    };
    assert!(refused(vec![Some("a"), Some("c")]).starts_with("row 1: Unseen label in column `w`: `c`"));
    assert!(refused(vec![None]).contains("Column `w` is null"));
}

#[test]
fn lists_of_one_length_are_assembled_and_an_empty_batch_needs_no_length() {
    let lists = FixedSizeListArray::from_iter_primitive::<Float32Type, _, _>(
        [None, Some(vec![Some(1.5), Some(2.0)]), Some(vec![Some(3.0), Some(4.0)])],
        2,
    );
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("l", Arc::new(lists) as ArrayRef, true),
        ("n", Arc::new(Int64Array::from(vec![1, 2, 3])) as _, true),
    ]);
    let batch = batch.unwrap();
    let stage = VectorAssembler::new(["n", "l"], "v").handle_invalid(HandleInvalid::Skip);
    let assembled = stage.transform_batch(&batch).unwrap();
    let values = assembled.column(2).as_struct().column_by_name("values").unwrap().as_list::<i32>().value(1);
    assert_eq!(values.as_primitive::<Float64Type>().values()[..], [3.0, 3.0, 4.0]);
    assert!(assembled.schema().field(2).metadata()[METADATA_KEY].contains("l_1"));
    assert_eq!(stage.transform_batch(&batch.slice(0, 0)).unwrap().num_columns(), 3);
}

#[test]
fn a_stage_of_the_cluster_says_so() {
    let batch = words(Arc::new(StringArray::from(vec!["a"])));
    let refused = |stage: &dyn Transformer| stage.transform_batch(&batch).unwrap_err().to_string();
    let sql = SqlTransformer::new("SELECT * FROM __THIS__");
    assert!(refused(&sql).contains("SqlTransformer") && refused(&sql).contains("on the cluster only"));
    assert!(refused(&Split::stratified("w", "part", [("a", 1.0), ("b", 1.0)])).contains("Split"));
    let pipeline = PipelineModel::new([
        Box::new(Repartition::evenly(3)) as Box<dyn Transformer>,
        Box::new(StringIndexerModel::from_labels("w", "i", ["a", "b"])),
        Box::new(IndexToString::new("i", "name")),
        Box::new(Bucketizer::new("i", "half", [0.0, 0.5, 1.0])),
    ]);
    let done = pipeline.transform_batch(&batch).unwrap();
    assert_eq!(
        done.schema().fields().iter().map(|f| f.name().as_str()).collect::<Vec<_>>(),
        ["w", "i", "name", "half"]
    );
    assert_eq!(done.column(2).as_string::<i32>().value(0), "a");
    let pipeline = PipelineModel::new([pipeline.stages()[0].duplicate(), Box::new(sql) as Box<dyn Transformer>]);
    assert!(refused(&pipeline).contains("SqlTransformer"));
    assert!(refused(&StringIndexerModel::from_labels("w", "W", ["a"])).contains("no column of this name yet"));
}

#[test]
fn a_scorer_takes_rows_of_its_schema_alone_and_goes_on_after_a_row_that_fails() {
    let model = StringIndexerModel::from_labels("w", "i", ["b", "a"]).handle_invalid(HandleInvalid::Error);
    let cells = |cells: &[&str]| words(Arc::new(StringArray::from(cells.to_vec())));
    let mut scorer = model.row_scorer(cells(&[]).schema_ref()).unwrap();
    let names: Vec<_> = scorer.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["w", "i"]);
    let message = scorer.score_rows(&cells(&["a", "?"])).unwrap_err().to_string();
    assert!(message.starts_with("row 1: Unseen label"), "{message}");
    let scored = scorer.score_rows(&cells(&["a"])).unwrap();
    assert_eq!(scored.column(1).as_primitive::<Float64Type>().values()[..], [1.0]);
    let other = words(Arc::new(LargeStringArray::from(vec!["a"])));
    let message = scorer.score_rows(&other).unwrap_err().to_string();
    assert!(message.contains("`w`") && message.contains("Utf8") && message.contains("LargeUtf8"), "{message}");
    assert!(scorer.score_rows(&scored).unwrap_err().to_string().contains("2 columns"));
    assert!(model.row_scorer(scored.schema_ref()).unwrap_err().to_string().contains("`i`"));
}

#[test]
fn what_is_computed_for_all_rows_at_once_is_what_each_row_gives() {
    let names = ["a", "b", "f", "n"];
    let arrays: [ArrayRef; 4] = [
        Arc::new(Float64Array::from(vec![0.1, -0.0, 7.5, 1e300])),
        Arc::new(Float64Array::from(vec![3.0, 4.0, 0.5, -2.0])),
        Arc::new(arrow::array::Float32Array::from(vec![0.1, 0.2, 0.3, 1e-30])),
        Arc::new(Int64Array::from(vec![1, -2, 3, 1 << 53])),
    ];
    let batch = RecordBatch::try_from_iter(names.into_iter().zip(arrays)).unwrap();
    let lists = function("array", names.map(|name| column(name).cast(DataType::Double)));
    let scaled = functions::transform_idx(lists.clone(), |x| {
        let at = |values: [f64; 4]| function("get", [function("array", values.map(lit_double)), x[1].clone()]);
        x[0].clone().sub(at([1.0, 2.0, 3.0, 4.0])).mul(at([0.5, 0.1, 0.3, 2.0]))
    });
    let checked = functions::when(function("size", [lists.clone()]).eq(lit(4_i64)), scaled).otherwise(lists.clone());
    let halves = functions::when(column("a").gt(column("b")), column("a").div(lit_double(2.0))).otherwise(column("b"));
    let vector = |list: Column| function("array_to_vector", [list]);
    let double = || (DataType::Double, true);
    let cases = [
        (vector(checked), (crate::dataframe::vector_type(), true)),
        (vector(function("concat", [lists.clone(), lists])), (crate::dataframe::vector_type(), true)),
        (halves, double()),
        (function("sqrt", [function("abs", [column("a").mul(column("b"))])]), double()),
        // Left to the rows: a division by what may be zero, a null.
        (
            functions::when(column("a").eq(lit_double(0.0)), lit_double(1.0))
                .otherwise(lit_double(1.0).div(column("a"))),
            (DataType::Double, false),
        ),
        (function("nullif", [column("a"), column("a")]), (DataType::Double, false)),
    ];
    let layout = lay_out(&batch.schema(), None).unwrap();
    for (i, (expression, (data_type, at_once))) in cases.into_iter().enumerate() {
        let field = spark_connect::types::StructField {
            name: "out".into(),
            data_type,
            nullable: true,
            metadata: Default::default(),
        };
        let expressions = Expressions::new([&expression], &layout).unwrap();
        let rows = write::array(&field, &expressions.values(&batch).unwrap()[0]).unwrap();
        let compiled = expression::Compiled::new(&expression.to_proto(), &layout.spark).unwrap();
        let columns: Vec<_> = batch.columns().iter().cloned().map(Some).collect();
        let lanes = columnar::evaluate(compiled.node(), &columns, batch.num_rows());
        assert_eq!(lanes.is_some(), at_once, "case {i}");
        if let Some(lanes) = lanes {
            assert_eq!(write::lanes(&field, lanes).unwrap().unwrap().to_data(), rows.to_data(), "case {i}");
        }
        let step = Step::with_column("out", expression);
        let after = layout.spark.with(field).unwrap();
        let applied = LocalBatch::new(&batch).unwrap().apply(&[step], &after).unwrap();
        assert_eq!(applied.column(4).to_data(), rows.to_data(), "case {i}");
    }
}
