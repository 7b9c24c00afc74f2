//! Plans that are too deep for a server.

use tinderbox::{Error, prelude::*};

use crate::support::session;

#[tokio::test]
async fn plan_of_many_transformations_is_read_or_refused_by_its_depth() {
    let spark = session().await;
    let mut frame = spark.range(0, 100);
    let deeper = |mut frame: DataFrame, times: i64| {
        for i in 0..times {
            frame = frame.filter(col("id").gt(lit(i % 7)));
        }
        frame
    };
    frame = deeper(frame, 80);
    assert_eq!(frame.count().await.unwrap(), 93);
    // Spark's analysis ends after 100 rounds unless it is set otherwise, and says so.
    let error = deeper(frame.clone(), 300).count().await.unwrap_err();
    assert!(error.server().is_some(), "{error}");
    // Neither memory nor stack grows with what will be refused.
    frame = deeper(frame, 100_000);
    for error in [frame.count().await.unwrap_err(), frame.write().save_as_table("too_deep").await.unwrap_err()] {
        match error {
            Error::Param { name, value, .. } => {
                assert_eq!(name, "plan");
                assert!(value.starts_with("10008"), "{value}");
            }
            other => panic!("{other}"),
        }
    }
    spark.stop().await.unwrap();
}

#[tokio::test]
async fn long_and_wide_plans_are_built_and_run() {
    let spark = session().await;
    // Each step would copy 5,000 expressions if a plan were copied with every step.
    let wide = spark.range(0, 3).select((0..5000).map(|i| (col("id") + lit(i)).alias(&format!("c{i}"))));
    let mut deep = wide.clone();
    for i in 0..390 {
        deep = deep.with_column("c0", lit(i));
    }
    assert_eq!(wide.columns().await.unwrap().len(), 5000);
    for i in 0..1000 {
        deep = deep.with_column("c0", lit(i));
    }
    assert!(matches!(deep.count().await.unwrap_err(), Error::Param { name, .. } if name == "plan"));

    let parts: Vec<DataFrame> = (0..500).map(|i| spark.range(i, i + 1)).collect();
    let all = parts[0].union_all(&parts[1..]);
    assert_eq!(all.count().await.unwrap(), 500);
    let mut chain = parts[0].clone();
    for part in &parts[1..] {
        chain = chain.union(part);
    }
    let error = chain.count().await.unwrap_err().to_string();
    assert!(error.contains("`union_all`"), "{error}");
    let mut doubled = spark.range(0, 1);
    for _ in 0..40 {
        doubled = doubled.union(&doubled);
    }
    let error = doubled.count().await.unwrap_err().to_string();
    assert!(error.contains("nodes"), "{error}");
    spark.stop().await.unwrap();
}
