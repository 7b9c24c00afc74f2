//! The gateway: tokens, certificates, limits.

use std::{
    env,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use arrow::array::{ArrayRef, BinaryArray, RecordBatch};
use tinderbox::{
    Error, Result,
    advanced::Client,
    connect::{ConnectOptions, RetryPolicy, TokenProvider},
    dataframe::Strategy,
    prelude::*,
    session::SessionBuilder,
};

use crate::{
    docker::{compose, container, docker, healthy},
    work::{expected, once, read, source, table},
};

fn certificates() -> PathBuf {
    env::var("TINDERBOX_CERTIFICATES").expect("`make test-cluster` says where they are").into()
}

pub fn token() -> String {
    env::var("TINDERBOX_GATEWAY_TOKEN").expect("`make test-cluster` says which")
}

fn address(port: &str) -> String {
    compose(&["port", "gateway", port]).replace("0.0.0.0", "127.0.0.1")
}

fn builder(remote: String) -> SessionBuilder {
    let retry = RetryPolicy { give_up_after: Duration::from_secs(150), ..RetryPolicy::default() };
    Session::builder().remote(remote).retry(retry).ca_file(certificates().join("ca.pem"))
}

/// A session through the gateway with the right token.
pub async fn through(change: impl FnOnce(SessionBuilder) -> SessionBuilder) -> Result<Session> {
    let remote = format!("sc://{}/;use_ssl=true;token={}", address("15443"), token());
    change(builder(remote)).create().await
}

#[tokio::test]
async fn tokens_and_certificates_are_demanded_and_refusals_say_why() {
    healthy("gateway").await;
    let [plain, mutual] = ["15443", "15444"].map(address);
    let told = |case: &str, error: &dyn std::fmt::Display| println!("| {case} | {error} |");

    let spark = through(|builder| builder).await.unwrap();
    assert_eq!(spark.range(0, 10).count().await.unwrap(), 10);
    spark.stop().await.unwrap();
    for (case, remote) in [
        ("a wrong token", format!("sc://{plain}/;use_ssl=true;token=wrong")),
        ("no token", format!("sc://{plain}/;use_ssl=true")),
    ] {
        let error = builder(remote).create().await.unwrap_err();
        told(case, &error);
        assert!(matches!(error, Error::Unauthenticated { .. }), "{case}: {error}");
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    let quick = |builder: SessionBuilder| builder.connect_timeout(Duration::from_secs(5));
    let remote = || format!("sc://{plain}/;use_ssl=true;token={}", token());
    let error = quick(Session::builder().remote(remote())).create().await.unwrap_err();
    told("an authority that is not known", &error);
    assert!(error.to_string().contains("certificate"), "{error}");
    let options = ConnectOptions {
        ca_file: Some(certificates().join("ca.pem")),
        tls_domain: Some("elsewhere.example".into()),
        connect_timeout: Duration::from_secs(5),
        ..ConnectOptions::new(remote().parse().unwrap())
    };
    let error = Client::connect(options).await.unwrap_err();
    told("a certificate of another name", &error);
    assert!(error.to_string().contains("elsewhere.example"), "{error}");
    let error = quick(builder(format!("sc://{mutual}/;use_ssl=true"))).create().await.unwrap_err();
    told("a client's certificate demanded, none given", &error);
    let known = builder(format!("sc://{mutual}/;use_ssl=true"));
    let known = known.client_identity(certificates().join("client.pem"), certificates().join("client.key"));
    let spark = known.create().await.unwrap();
    assert_eq!(spark.range(0, 10).count().await.unwrap(), 10);
    spark.stop().await.unwrap();
}

/// Makes the gateway demand another token from now on.
pub fn demand(token: &str) {
    let change = format!(
        "sed -i 's/\"Bearer .*\" 1;/\"Bearer {token}\" 1;/' /tmp/nginx.conf && nginx -c /tmp/nginx.conf -s reload"
    );
    docker(&["exec", &container("gateway"), "sh", "-c", &change]);
}

#[tokio::test]
async fn a_token_that_expires_while_rows_stream_is_renewed_or_told_of() {
    healthy("gateway").await;
    demand("first");
    let asked = Arc::new(AtomicU32::new(0));
    let counter = asked.clone();
    let provider = TokenProvider::new(move || {
        let token = if counter.fetch_add(1, Ordering::SeqCst) == 0 { "first" } else { "second" };
        async move { Ok::<_, Error>(token.to_owned()) }
    });
    let remote = format!("sc://{}/;use_ssl=true", address("15443"));
    let spark = builder(remote.clone()).token_provider(provider).create().await.unwrap();
    let frame = table(&spark).await;
    let sums = read(&source(&frame, Strategy::Files), once(50_000, || demand("second"))).await.unwrap();
    assert_eq!(sums, expected());
    println!(
        "| a token that expires, with a provider | {} rows; asked {} times |",
        sums.0,
        asked.load(Ordering::SeqCst)
    );
    assert!(asked.load(Ordering::SeqCst) >= 2);
    spark.stop().await.unwrap();

    let spark = builder(format!("{remote};token=second")).create().await.unwrap();
    let frame = table(&spark).await;
    let error = read(&source(&frame, Strategy::Files), once(50_000, || demand(&token()))).await.unwrap_err();
    println!("| a token that expires, without | {error} |");
    assert!(error.to_string().contains("run out"), "{error}");
}

#[tokio::test]
async fn limits_of_a_gateway_are_survived_or_explained() {
    let limited = |idle: &str, message: &str| {
        let change = format!(
            "sed -i -e 's/client_max_body_size .*;/client_max_body_size {message};/' \
             -e 's/\\(grpc_read_timeout\\|grpc_send_timeout\\|keepalive_timeout\\) .*;/\\1 {idle};/' /tmp/nginx.conf \
             && nginx -c /tmp/nginx.conf -s reload"
        );
        docker(&["exec", &container("gateway"), "sh", "-c", &change]);
    };
    limited("5s", "4m");
    let spark = through(|builder| builder).await.unwrap();
    // Nothing is said for twelve seconds, which is longer than the gateway waits.
    let slow = "SELECT id, reflect('java.lang.Thread', 'sleep', 1000L) AS slept FROM range(0, 12, 1, 1)";
    let began = Instant::now();
    let rows: usize = spark.sql(slow).await.unwrap().collect().await.unwrap().iter().map(RecordBatch::num_rows).sum();
    println!("| 5 s without a byte | {rows} rows after {:.1} s |", began.elapsed().as_secs_f64());
    assert_eq!(rows, 12);
    let large = BinaryArray::from_iter_values((0..64).map(|i: u8| vec![i; 1 << 20]));
    let batch = RecordBatch::try_from_iter([("b", Arc::new(large) as ArrayRef)]).unwrap();
    let sent = async { spark.create_dataframe(&[batch]).await?.count().await };
    let error = sent.await.unwrap_err().to_string();
    println!("| requests of at most 4 MiB, 64 MiB sent | {error} |");
    assert!(error.contains("413"), "{error}");
    limited("3600s", "0");
    spark.stop().await.unwrap();
}
