//! Faults of the protocol, played by a scripted server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use spark_connect_proto as proto;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::{
    Client, ConnectOptions, Event, ExecuteOptions, Execution, RetryPolicy, SilencePolicy, TokenProvider,
    fake::{Call, End, FakeServer, Turn, batch, chunk, complete},
};
use crate::{Error, Result};

fn execute(client: &Client) -> Execution {
    client.execute(proto::Plan::default(), ExecuteOptions::default())
}

/// Reads an execution to its end: the bytes of its batches, one after the other, and their rows.
async fn read(mut execution: Execution) -> Result<(Vec<u8>, u64)> {
    let (mut data, mut rows) = (Vec::new(), 0);
    while let Some(event) = execution.next().await {
        if let Event::Batch(payload) = event? {
            data.extend_from_slice(&payload.data);
            rows += payload.rows;
        }
    }
    Ok((data, rows))
}

async fn play(script: Vec<Turn>) -> Result<(Vec<u8>, u64)> {
    let server = FakeServer::start("4.2.1", script).await;
    let client = server.client().await;
    let outcome = read(execute(&client)).await;
    client.settle().await;
    outcome
}

#[tokio::test]
async fn a_stream_that_ends_without_the_servers_word_is_attached_again_after_its_last_response() {
    let outcome = play(vec![
        Turn::execute(vec![batch("r1", 0, 2, b"ab"), batch("r2", 2, 1, b"c")], End::Close),
        Turn::reattach("r2", vec![batch("r3", 3, 1, b"d")], End::Close),
        Turn::reattach("r3", vec![], End::Fail(Status::unavailable("moved"))),
        Turn::reattach("r3", vec![batch("r4", 4, 2, b"ef"), complete("r5")], End::Hang),
    ]);
    assert_eq!(outcome.await.unwrap(), (b"abcdef".to_vec(), 6));
}

#[tokio::test]
async fn a_batch_may_be_cut_anywhere_between_its_chunks() {
    let outcome = play(vec![
        Turn::execute(vec![chunk("r1", 0, 9, (0, 3), b"ab"), chunk("r2", 0, 9, (1, 3), b"cd")], End::Close),
        Turn::reattach("r2", vec![chunk("r3", 0, 9, (2, 3), b"e"), complete("r4")], End::Close),
    ]);
    assert_eq!(outcome.await.unwrap(), (b"abcde".to_vec(), 9));
}

#[tokio::test]
async fn an_operation_unknown_before_its_first_response_is_started_again() {
    let unknown = || End::Fail(Status::internal("[INVALID_HANDLE.OPERATION_NOT_FOUND] no such operation"));
    let outcome = play(vec![
        Turn::execute(vec![], End::Fail(Status::unavailable("refused"))),
        Turn::reattach("", vec![], unknown()),
        Turn::execute(vec![batch("r1", 0, 1, b"a"), complete("r2")], End::Close),
    ]);
    assert_eq!(outcome.await.unwrap(), (b"a".to_vec(), 1));
}

#[tokio::test]
async fn an_operation_unknown_after_rows_arrived_is_an_error_that_counts_them() {
    let error = play(vec![
        Turn::execute(vec![batch("r1", 0, 7, b"a")], End::Close),
        Turn::reattach("r1", vec![], End::Fail(Status::internal("[INVALID_HANDLE.SESSION_NOT_FOUND] gone"))),
    ]);
    let error = error.await.unwrap_err();
    assert!(matches!(error, Error::Incomplete { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("7 rows had arrived") && text.contains("SESSION_NOT_FOUND"), "{text}");
}

#[tokio::test]
async fn a_request_that_had_arrived_after_all_is_attached_to() {
    let known = Status::internal("[INVALID_HANDLE.OPERATION_ALREADY_EXISTS] twice");
    let outcome = play(vec![
        Turn::execute(vec![], End::Fail(known)),
        Turn::reattach("", vec![batch("r1", 0, 1, b"a"), complete("r2")], End::Close),
    ]);
    assert_eq!(outcome.await.unwrap(), (b"a".to_vec(), 1));
}

#[tokio::test]
async fn rows_that_are_missing_repeated_or_cut_off_are_errors() {
    let missing = play(vec![Turn::execute(vec![batch("r1", 0, 2, b"ab"), batch("r2", 3, 1, b"d")], End::Hang)]);
    assert!(missing.await.unwrap_err().to_string().contains("starts at row 3 where row 2 was due"));
    let repeated = play(vec![Turn::execute(vec![batch("r1", 0, 2, b"ab"), batch("r2", 0, 2, b"ab")], End::Hang)]);
    assert!(repeated.await.unwrap_err().to_string().contains("starts at row 0 where row 2 was due"));
    let cut_off = play(vec![Turn::execute(vec![chunk("r1", 0, 2, (0, 2), b"a"), complete("r2")], End::Hang)]);
    assert!(cut_off.await.unwrap_err().to_string().contains("after chunk 1 of 2"));
}

#[tokio::test]
async fn a_server_that_is_gone_is_an_error_with_its_address_and_the_time() {
    let lost = Client::connect(ConnectOptions {
        retry: RetryPolicy { give_up_after: Duration::from_millis(300), ..RetryPolicy::default() },
        ..ConnectOptions::new("sc://127.0.0.1:1".parse().unwrap())
    });
    let error = lost.await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { address, .. } if address == "127.0.0.1:1"), "{error}");
    assert!(error.to_string().contains("gave up after"), "{error}");
}

#[tokio::test]
async fn a_server_that_only_ever_hangs_up_is_given_up_on() {
    let server = FakeServer::start("4.2.1", vec![]).await;
    let client = server.client().await;
    let script = (0..40).map(|i| match i {
        0 => Turn::execute(vec![], End::Close),
        _ => Turn::reattach("", vec![], End::Close),
    });
    server.replace_script(script.collect());
    let error = read(execute(&client)).await.unwrap_err();
    assert!(error.to_string().contains("again and again"), "{error}");
    client.settle().await;
    server.replace_script(vec![]);
}

#[tokio::test]
async fn silent_server_is_asked_about_the_operation_and_given_up_as_the_policy_says() {
    let script = vec![Turn::execute(vec![batch("r1", 0, 2, b"ab")], End::Hang)];
    let server = FakeServer::start("4.1.0", script).await;
    let (warn_after, end) = (Duration::from_millis(50), Duration::from_millis(200));
    let client = server.client_with(|o| o.silence = SilencePolicy { warn_after, give_up_after: Some(end) }).await;
    let Err(Error::Silent { waited, state, .. }) = read(execute(&client)).await else { panic!("it is silent") };
    assert!(waited >= end, "{waited:?}");
    assert_eq!(state, "the server answers, and says that it is running, as far as it says");
    client.settle().await;
    assert_eq!(server.calls(), [Call::Interrupt, Call::ReleaseAll]);
}

#[tokio::test]
async fn a_spark_error_arrives_with_class_state_and_parameters() {
    let facts = [("errorClass", "DIVIDE_BY_ZERO"), ("sqlState", "22012"), ("messageParameters", r#"{"k":"v"}"#)];
    let facts = facts.map(|(k, v)| (k.to_owned(), v.to_owned()));
    let details = ErrorDetails::with_error_info("java.lang.ArithmeticException", "org.apache.spark", facts);
    let status = Status::with_error_details(Code::Internal, "[DIVIDE_BY_ZERO] Division by zero.", details);
    let error = play(vec![Turn::execute(vec![batch("r1", 0, 1, b"a")], End::Fail(status))]).await.unwrap_err();
    let server = error.server().unwrap();
    assert!(server.is("DIVIDE_BY_ZERO"));
    assert_eq!((server.sql_state.as_str(), server.parameters["k"].as_str()), ("22012", "v"));
    assert_eq!(server.exception, "java.lang.ArithmeticException");
}

#[tokio::test]
async fn a_finished_execution_is_released_and_a_dropped_one_interrupted_first() {
    let turn = |end| Turn::execute(vec![batch("r1", 0, 1, b"a"), complete("r2")], end);
    let server = FakeServer::start("4.2.1", vec![turn(End::Close)]).await;
    let client = server.client().await;
    read(execute(&client)).await.unwrap();
    client.settle().await;
    assert_eq!(server.calls(), [Call::ReleaseAll]);

    let server = FakeServer::start("4.2.1", vec![Turn::execute(vec![batch("r1", 0, 1, b"a")], End::Hang)]).await;
    let client = server.client().await;
    let mut execution = execute(&client);
    assert!(matches!(execution.next().await, Some(Ok(Event::Batch(_)))));
    drop(execution);
    client.settle().await;
    assert_eq!(server.calls(), [Call::Interrupt, Call::ReleaseAll]);

    let server = FakeServer::start("4.2.1", vec![]).await;
    let client = server.client().await;
    drop(execute(&client));
    client.settle().await;
    assert_eq!(server.calls(), [], "what was never polled was never started");
}

#[tokio::test]
async fn received_responses_are_released_as_they_come() {
    let megabyte = vec![7; 1 << 20];
    let mut responses: Vec<_> = (0..12).map(|i| batch(&format!("r{i}"), i, 1, &megabyte)).collect();
    responses.push(complete("end"));
    let server = FakeServer::start("4.2.1", vec![Turn::execute(responses, End::Close)]).await;
    let client = server.client().await;
    read(execute(&client)).await.unwrap();
    client.settle().await;
    let calls = server.calls();
    assert_eq!(calls.last(), Some(&Call::ReleaseAll));
    assert!(calls.iter().any(|call| matches!(call, Call::ReleaseUntil(_))), "{calls:?}");
}

#[tokio::test]
async fn a_reader_that_rests_holds_the_server_back_and_stays_attached() {
    const BATCHES: i64 = 64;
    let megabyte = vec![7; 1 << 20];
    let mut responses: Vec<_> = (0..BATCHES).map(|i| batch(&format!("r{i}"), i, 1, &megabyte)).collect();
    let server = FakeServer::start("4.2.1", vec![Turn::execute(responses.clone(), End::Hang)]).await;
    let client = server.client().await;
    let options = ExecuteOptions { prefetch_bytes: 4 << 20, ..ExecuteOptions::default() };
    let mut execution = client.execute(proto::Plan::default(), options);
    assert!(matches!(execution.next().await, Some(Ok(Event::Batch(_)))));
    tokio::time::sleep(Duration::from_millis(150)).await;
    let sent = server.sent();
    // prefetch, the stream's window, and what lies in the two ends' send and receive buffers
    assert!(sent < 4 + 8 + 8, "{sent} MiB were sent to a reader that rests");

    // The reader rests for longer than an operation may be left alone: the client attaches again on its own, once or,
    // on a slow machine, more often. One batch was taken, four lie in the queue, one waits for room.
    let mut rest = responses.split_off(6);
    rest.push(complete("end"));
    server.replace_script((0..20).map(|_| Turn::reattach("r5", rest.clone(), End::Close)).collect());
    tokio::time::sleep(super::attach::STAY_ATTACHED + Duration::from_millis(100)).await;
    server.replace_script(vec![]);
    let mut rows = 1;
    let reading = async {
        while let Some(event) = execution.next().await {
            if let Event::Batch(payload) = event.unwrap() {
                rows += payload.rows;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("the rest arrives");
    assert_eq!(rows, BATCHES as u64);
    client.settle().await;
}

#[tokio::test]
async fn only_servers_that_can_cut_batches_are_asked_to() {
    for (version, options) in [("4.0.1", 1), ("4.1.0", 2)] {
        let server = FakeServer::start(version, vec![Turn::execute(vec![complete("r1")], End::Close)]).await;
        let client = server.client().await;
        read(execute(&client)).await.unwrap();
        assert_eq!(server.requests()[0].request_options.len(), options, "{version}");
        client.settle().await;
    }
}

#[tokio::test]
async fn token_and_headers_go_with_every_call_and_are_shown_nowhere() {
    let server = FakeServer::start("4.2.1", vec![Turn::execute(vec![complete("r1")], End::Close)]).await;
    let url = format!("{}/;token=hush;x-team=fire", server.remote());
    let client = Client::connect(ConnectOptions::new(url.parse().unwrap())).await.unwrap();
    read(execute(&client)).await.unwrap();
    client.settle().await;
    assert_eq!(server.header("authorization"), ["Bearer hush"; 3]);
    assert_eq!(server.header("x-team"), ["fire"; 3]);
    assert!(!format!("{client:?}").contains("hush"));
}

#[tokio::test]
async fn an_old_server_is_refused_by_its_version() {
    let server = FakeServer::start("3.4.3", vec![]).await;
    let refused = Client::connect(ConnectOptions::new(server.remote().parse().unwrap())).await.unwrap_err();
    assert_eq!(refused.to_string(), "tinderbox needs Spark 3.5 or later; the server runs 3.4.3");
}

#[tokio::test]
async fn a_damaged_upload_is_an_error() {
    let server = FakeServer::start("4.2.1", vec![]).await;
    let client = server.client().await;
    let error = client.upload(vec!["data".into()]).await.unwrap_err();
    assert!(error.to_string().contains("arrived damaged"), "{error}");
}

#[tokio::test]
async fn bad_tags_are_refused_before_anything_is_sent() {
    let server = FakeServer::start("4.2.1", vec![]).await;
    let client = server.client().await;
    for tag in ["", "a,b"] {
        let options = ExecuteOptions { tags: vec![tag.into()], ..ExecuteOptions::default() };
        let error = read(client.execute(proto::Plan::default(), options)).await.unwrap_err();
        assert!(matches!(error, Error::Param { .. }), "{error}");
    }
}

#[tokio::test]
async fn tls_trusts_the_given_authority_and_no_other() {
    let (certificate, key) = (include_str!("testdata/localhost.pem"), include_str!("testdata/localhost.key"));
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, certificate).unwrap();
    let script = vec![Turn::execute(vec![complete("r1")], End::Close)];
    let server = FakeServer::start_tls(script, certificate, key).await;
    let port = server.remote().rsplit(':').next().unwrap().to_owned();
    let options = |ca_file| ConnectOptions {
        ca_file,
        connect_timeout: Duration::from_secs(5),
        ..ConnectOptions::new(format!("sc://localhost:{port}/;use_ssl=true;token=hush").parse().unwrap())
    };

    let client = Client::connect(options(Some(ca_file))).await.unwrap();
    read(execute(&client)).await.unwrap();
    client.settle().await;
    assert_eq!(server.header("authorization")[0], "Bearer hush");

    let error = Client::connect(options(None)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("localhost:{port}")) && error.contains("certificate"), "{error}");
    assert!(!error.contains("hush"));

    let nowhere = folder.path().join("none.pem");
    let error = Client::connect(options(Some(nowhere))).await.unwrap_err();
    assert!(matches!(&error, Error::Io { path, .. } if path.ends_with("none.pem")), "{error}");
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "no certificate").unwrap();
    let error = Client::connect(options(Some(empty))).await.unwrap_err();
    assert!(matches!(&error, Error::Param { name, .. } if name == "ca_file"), "{error}");
}

/// A provider that counts up, and how often it was asked.
fn counting() -> (TokenProvider, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let provider = TokenProvider::new(move || {
        let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Ok::<_, std::io::Error>(format!(" token-{number}\n")) }
    });
    (provider, asked)
}

#[tokio::test]
async fn a_token_that_ran_out_is_renewed_and_the_stream_goes_on() {
    let refused = || End::Fail(Status::unauthenticated("expired"));
    let server = FakeServer::start(
        "4.2.1",
        vec![
            Turn::execute(vec![], refused()),
            Turn::execute(vec![batch("r1", 0, 2, b"ab")], refused()),
            Turn::reattach("r1", vec![batch("r2", 2, 1, b"c"), complete("r3")], End::Close),
        ],
    )
    .await;
    let (token_provider, asked) = counting();
    let token_provider = Some(token_provider);
    let options = ConnectOptions { token_provider, ..ConnectOptions::new(server.remote().parse().unwrap()) };
    let client = Client::connect(options).await.unwrap();
    assert_eq!(read(execute(&client)).await.unwrap(), (b"abc".to_vec(), 3));
    client.settle().await;
    // One to begin with, one for each refusal.
    assert_eq!(asked.load(Ordering::SeqCst), 3);
    let sent = server.header("authorization");
    assert_eq!((sent[0].as_str(), sent.last().unwrap().as_str()), ("Bearer token-1", "Bearer token-3"));
}

#[tokio::test]
async fn a_new_token_that_is_refused_and_one_that_nobody_renews_are_errors() {
    let refused = || End::Fail(Status::unauthenticated("expired"));
    let turns = || vec![Turn::execute(vec![], refused())];
    let server = FakeServer::start("4.2.1", turns().into_iter().chain(turns()).collect()).await;
    let (token_provider, asked) = counting();
    let options = ConnectOptions::new(server.remote().parse().unwrap());
    let with = ConnectOptions { token_provider: Some(token_provider), ..options.clone() };
    let error = read(execute(&Client::connect(with).await.unwrap())).await.unwrap_err();
    assert!(matches!(error, Error::Unauthenticated { .. }), "{error}");
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    let server = FakeServer::start("4.2.1", turns()).await;
    let options = ConnectOptions::new(server.remote().parse().unwrap());
    let error = read(execute(&Client::connect(options.clone()).await.unwrap())).await.unwrap_err().to_string();
    assert!(error.contains("refused the credentials: expired") && error.contains("run out"), "{error}");

    let token_provider = Some(TokenProvider::new(|| async { Err::<String, _>("the vault is sealed") }));
    let error = Client::connect(ConnectOptions { token_provider, ..options }).await.unwrap_err().to_string();
    assert!(error.contains("the vault is sealed"), "{error}");
}
