//! The tests' own databases.

use crate::support::{connect, database_for, remote, run};

#[tokio::test]
async fn a_test_has_a_database_that_goes_with_it() {
    let client = connect(&remote().await).await.unwrap();
    let database = database_for("a_test_has_a_database_that_goes_with_it").await;
    let table = database.table("numbers");
    run(&client, &format!("CREATE TABLE {table} AS SELECT id FROM range(3)")).await.unwrap();

    // Found again and made anew, as after a run that was killed.
    let again = database_for("a_test_has_a_database_that_goes_with_it").await;
    run(&client, &format!("CREATE TABLE {table} AS SELECT id FROM range(3)")).await.unwrap();
    drop((database, again));
    let gone = run(&client, &format!("SHOW TABLES IN {}", table.split('.').next().unwrap())).await.unwrap_err();
    assert!(gone.server().is_some_and(|e| e.is("SCHEMA_NOT_FOUND")), "{gone}");
    client.release_session().await.unwrap();
}
