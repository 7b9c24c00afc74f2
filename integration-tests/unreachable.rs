//! A server that is not there, is none, or refuses: said soon, with the address.

use std::time::Duration;

use tinderbox::{Error, advanced::Client};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
};

use crate::support::{connect, connect_impatiently, own_server};

/// Waits for the refusal of a connection; the limit only keeps a hanging test from hanging the suite.
async fn refusal(connecting: impl Future<Output = tinderbox::Result<Client>>) -> Error {
    tokio::time::timeout(Duration::from_secs(60), connecting).await.expect("an answer").expect_err("a refusal")
}

#[tokio::test]
async fn an_address_where_nothing_listens_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = refusal(connect(&format!("sc://{free}"))).await;
    let Error::Unreachable { address, waited, .. } = &error else { panic!("{error}") };
    assert_eq!(*address, free.to_string());
    assert!(*waited <= Duration::from_secs(16), "{error}");
    assert!(error.to_string().to_lowercase().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_host_that_no_name_server_knows_is_named() {
    let error = refusal(connect_impatiently("sc://no-such-host.invalid:15002", Duration::from_secs(2))).await;
    let Error::Unreachable { address, .. } = &error else { panic!("{error}") };
    assert_eq!(address, "no-such-host.invalid:15002");
}

#[tokio::test]
async fn wait_for_server_outlasts_a_server_that_is_still_starting() {
    let spark = own_server().start().await.unwrap();
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let server = spark.address();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let listener = TcpListener::bind(free).await.unwrap();
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    let remote = format!("sc://{free}");
    let impatient = refusal(connect(&remote)).await;
    let Error::Unreachable { waited, .. } = &impatient else { panic!("{impatient}") };
    assert!(*waited < Duration::from_secs(3), "{impatient}");
    let patient = connect(&format!("{remote}/;connect_timeout=60")).await.unwrap();
    patient.release_session().await.unwrap();
    spark.stop().await;
}

#[tokio::test]
async fn wait_for_server_ends_when_its_time_is_over() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = refusal(connect(&format!("sc://{free}/;connect_timeout=1.5"))).await;
    let Error::Unreachable { waited, .. } = &error else { panic!("{error}") };
    assert!(*waited >= Duration::from_secs(1), "{error}");
}

/// Serves every connection with `greet`, whatever the client says.
async fn impostor<F: Future<Output = ()> + Send>(greet: impl Fn(TcpStream) -> F + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = format!("sc://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            greet(stream).await;
        }
    });
    remote
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_not_taken_for_spark() {
    let remote = impostor(async |mut stream: TcpStream| {
        _ = stream.write_all(b"220 mail.example ESMTP ready\r\n").await;
    });
    let remote = remote.await;
    let error = refusal(connect_impatiently(&remote, Duration::from_secs(2))).await;
    let Error::Unreachable { address, .. } = &error else { panic!("{error}") };
    assert_eq!(format!("sc://{address}"), remote);
}

#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = format!("sc://{}", listener.local_addr().unwrap());
    let error = refusal(connect_impatiently(&remote, Duration::from_secs(1))).await;
    let Error::Unreachable { address, .. } = &error else { panic!("{error}") };
    assert_eq!(format!("sc://{address}"), remote);
}

#[tokio::test]
async fn a_token_opens_the_server_and_a_wrong_one_is_refused_without_being_shown() {
    let spark = own_server().conf("spark.connect.authenticate.token", "open-sesame").start().await.unwrap();
    let client = connect(&format!("{}/;token=open-sesame", spark.remote())).await.unwrap();
    client.release_session().await.unwrap();

    for login in ["", "/;token=open-barley"] {
        let error = refusal(connect(&format!("{}{login}", spark.remote()))).await;
        let Error::Unauthenticated { address, .. } = &error else { panic!("{login}: {error}") };
        assert_eq!(*address, spark.address().to_string());
        assert!(!error.to_string().contains("barley"), "{error}");
    }
    spark.stop().await;
}
