//! Rows as Rust values, both ways.

use std::collections::BTreeMap;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use tinderbox::{DataProblem, Error, dataframe::Schema, prelude::*};

use crate::support::{own_server, session, session_at};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Place {
    city: String,
    zip: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Person {
    #[serde(rename = "größe.cm")]
    height: f32,
    name: Option<String>,
    tags: Vec<String>,
    place: Option<Place>,
    scores: BTreeMap<String, i64>,
    is_old: bool,
}

fn people() -> Vec<Person> {
    (0..1000)
        .map(|i| Person {
            height: i as f32 / 2.0,
            name: (i % 3 > 0).then(|| format!("p{i}")),
            tags: (0..i % 4).map(|tag| format!("t{tag}")).collect(),
            place: (i % 5 > 0).then(|| Place { city: "Köln".into(), zip: (i % 2 == 0).then_some(i) }),
            scores: [("a".to_owned(), i64::from(i)), ("b".to_owned(), -1)].into(),
            is_old: i % 7 == 0,
        })
        .collect()
}

#[tokio::test]
async fn values_go_to_the_cluster_and_come_back() {
    let spark = session().await;
    let frame = spark.create_dataframe_from(&people(), None).await.unwrap();
    let types: Vec<_> = frame.dtypes().await.unwrap().into_iter().map(|(_, kind)| kind).collect();
    let place = "struct<city:string,zip:int>";
    assert_eq!(types, ["float", "string", "array<string>", place, "map<string,bigint>", "boolean"]);
    let mut back: Vec<Person> = frame.collect_as().await.unwrap();
    back.sort_by(|a, b| a.height.total_cmp(&b.height));
    assert_eq!(back, people());
    let streamed: Vec<Person> = frame.stream_as().await.unwrap().try_collect().await.unwrap();
    assert_eq!(streamed.len(), 1000);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn values_of_sparks_own_types_are_read_as_text_or_numbers() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Values {
        day: String,
        moment: String,
        local: String,
        price: String,
        bytes: serde_bytes::ByteBuf,
        nothing: Option<i32>,
    }
    let spark = session().await;
    spark.conf().set("spark.sql.session.timeZone", "Asia/Tokyo").await.unwrap();
    let text = "SELECT DATE '2026-02-03' AS day, TIMESTAMP '2026-02-03 09:00:00' AS moment, \
                TIMESTAMP_NTZ '2026-02-03 09:00:00' AS local, 12.50BD AS price, X'00ff' AS bytes, \
                CAST(NULL AS INT) AS nothing, 1 AS more";
    let rows: Vec<Values> = spark.sql(text).await.unwrap().collect_as().await.unwrap();
    let expected = Values {
        day: "2026-02-03".into(),
        moment: "2026-02-03T00:00:00Z".into(),
        local: "2026-02-03T09:00:00".into(),
        price: "12.50".into(),
        bytes: serde_bytes::ByteBuf::from([0, 255]),
        nothing: None,
    };
    assert_eq!(rows, [expected]);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn schema_makes_dates_and_decimals_of_text_and_frames_of_nothing() {
    #[derive(Serialize)]
    struct Sale {
        day: &'static str,
        price: &'static str,
        note: Option<i32>,
    }
    let spark = session().await;
    let schema = Schema::from_ddl("day DATE, price DECIMAL(10,2), note INT").unwrap();
    let sales = [Sale { day: "2026-02-03", price: "12.5", note: None }];
    for (rows, count) in [(&sales[..], 1), (&[], 0)] {
        let frame = spark.create_dataframe_from(rows, Some(&schema)).await.unwrap();
        assert_eq!(frame.schema().await.unwrap().to_string(), schema.to_string());
        assert_eq!(frame.count().await.unwrap(), count);
    }
    let error = spark.create_dataframe_from::<Sale>(&[], None).await.unwrap_err();
    assert!(matches!(error, Error::Schema { .. }), "{error}");
    let error = spark.create_dataframe_from(&[1, 2], None).await.unwrap_err();
    assert!(matches!(error, Error::Schema { .. }), "{error}");
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn row_that_does_not_fit_is_named_with_its_column_and_value() {
    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only read into")]
    struct Numbered {
        id: i64,
        half: i32,
    }
    let spark = session().await;
    let frame = spark.range_with(0, 10, 1, Some(1)).select_expr(["id", "if(id = 7, NULL, CAST(id AS INT)) AS half"]);
    let error = frame.collect_as::<Numbered>().await.unwrap_err();
    let Error::Data { column, row, problem: DataProblem::Unreadable { found, .. } } = error else { panic!("{error}") };
    assert_eq!((column.as_deref(), row, &*found), (Some("half"), Some(7), "null (Int32)"));
    let error = frame.drop(["half"]).collect_as::<Numbered>().await.unwrap_err();
    let Error::Data { row, problem: DataProblem::Unreadable { reason, .. }, .. } = error else { panic!("{error}") };
    assert!(row == Some(0) && reason.ends_with("missing field `half`"), "{row:?} {reason}");
    let rows = frame.order_by([col("id")]).collect_rows().await.unwrap();
    assert_eq!(rows[7].to_string(), "{id=7, half=null}");
    assert_eq!(rows[3].get::<i32>("half").unwrap(), 3);
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn no_action_loses_a_row_when_the_server_ends_its_streams_early() {
    #[derive(Deserialize)]
    struct Wide {
        id: i64,
        text: String,
    }
    const ROWS: i64 = 200_000;
    let server =
        own_server().conf("spark.connect.execute.reattachable.senderMaxStreamSize", "1m").start().await.unwrap();
    let spark = session_at(&server).await;
    let wide = spark.range_with(0, ROWS, 1, Some(4)).select_expr(["id", "concat(repeat('x', 120), id) AS text"]);
    let sum = ROWS * (ROWS - 1) / 2;
    let checked = |rows: &[Wide]| {
        assert!(rows.iter().all(|row| row.text.ends_with(&row.id.to_string())));
        assert_eq!((rows.len() as i64, rows.iter().map(|row| row.id).sum::<i64>()), (ROWS, sum));
    };
    checked(&wide.collect_as().await.unwrap());
    checked(&wide.stream_as().await.unwrap().try_collect::<Vec<_>>().await.unwrap());
    let [few, many] = ["id < 1000", "id >= 1000"].map(|condition| wide.filter_expr(condition));
    let counts = [
        ("collect", wide.collect().await.unwrap()),
        ("collect_with_metrics", wide.collect_with_metrics().await.unwrap().0),
        ("take", wide.take(ROWS as i32).await.unwrap()),
        ("tail", wide.tail(ROWS as i32).await.unwrap()),
        ("to_json", wide.to_json().collect().await.unwrap()),
        ("union_all", few.union_all([&many]).collect().await.unwrap()),
    ];
    for (action, batches) in counts {
        assert_eq!(batches.iter().map(|batch| batch.num_rows() as i64).sum::<i64>(), ROWS, "{action}");
    }
    assert_eq!(wide.collect_rows().await.unwrap().len() as i64, ROWS);
    assert_eq!(wide.count().await.unwrap() as i64, ROWS);
    spark.stop().await.unwrap();
    server.stop().await;
}
