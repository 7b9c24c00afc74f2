//! What Spark says of a failure arrives whole.

use tinderbox::{
    Error, ServerError,
    advanced::{Client, ExecuteOptions},
};

use crate::support::{self, connect, query};

/// The account of the failure of a query that must fail.
async fn failure(client: &Client, text: &str) -> ServerError {
    match client.execute(query(text), ExecuteOptions::default()).responses().await {
        Err(Error::Server(error)) => *error,
        other => panic!("{text}: {other:?}"),
    }
}

#[tokio::test]
async fn an_error_has_class_state_parameters_and_the_place_in_the_text() {
    let client = connect(&support::remote().await).await.unwrap();

    let missing = failure(&client, "SELECT *\nFROM nowhere").await;
    assert!(missing.is("TABLE_OR_VIEW_NOT_FOUND"), "{missing:?}");
    assert_eq!(missing.sql_state, "42P01");
    assert!(missing.parameters["relationName"].contains("nowhere"));
    assert!(
        missing.contexts.iter().any(|c| c.fragment == "nowhere") || missing.message.contains("line 2"),
        "{missing:?}"
    );
    assert!(missing.exception.ends_with("AnalysisException"), "{}", missing.exception);

    let division = failure(&client, "SELECT id / (id - 5) FROM range(10)").await;
    assert!(division.is("DIVIDE_BY_ZERO"), "{division:?}");
    assert_eq!(division.sql_state, "22012");
    assert!(division.to_string().contains("line 1"), "{division}");

    let nonsense = failure(&client, "SELEKT 1").await;
    assert!(nonsense.is("PARSE_SYNTAX_ERROR"), "{nonsense:?}");
    assert_eq!(nonsense.to_string().matches("42601").count(), 1, "{nonsense}");
    client.release_session().await.unwrap();
}

#[tokio::test]
async fn a_session_that_was_ended_elsewhere_is_an_error_and_not_a_new_session() {
    let remote = support::remote().await;
    let client = connect(&remote).await.unwrap();
    let same = connect(&format!("{remote}/;session_id={}", client.session_id())).await.unwrap();
    same.release_session().await.unwrap();
    let error = failure(&client, "SELECT 1").await;
    assert!(error.is("INVALID_HANDLE"), "{error:?}");
}
