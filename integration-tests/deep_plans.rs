//! Plans that are too deep for a server.

use spark_connect::{col, lit};
use tinderbox::{Error, dataframe::DataFrame};

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
