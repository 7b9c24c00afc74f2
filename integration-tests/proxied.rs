//! A server behind an HTTP proxy.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tinderbox::{Error, prelude::*};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

use crate::support::remote;

/// Starts a proxy that lets `CONNECT` through for those who know the word; its address, and how many it let through.
async fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let passed = Arc::new(AtomicUsize::new(0));
    let counted = passed.clone();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let head = String::from_utf8(head).unwrap();
                let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
                // "me:word", in base 64.
                if !head.to_lowercase().contains("proxy-authorization: basic bwu6d29yza==") {
                    return client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n").await;
                }
                counted.fetch_add(1, Ordering::Relaxed);
                let mut server = TcpStream::connect(target).await?;
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    (address, passed)
}

#[tokio::test]
async fn server_is_reached_through_a_proxy_that_knows_the_client() {
    let (address, passed) = proxy().await;
    let remote = remote().await;
    let through = |user: &str| Session::builder().remote(&remote).proxy(format!("http://{user}{address}"));
    let spark = through("me:word@").create().await.unwrap();
    assert_eq!(spark.range(0, 1000).count().await.unwrap(), 1000);
    assert!(passed.load(Ordering::Relaxed) > 0, "nothing went through the proxy");
    spark.stop().await.unwrap();
    let error = through("").create().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    let error = through("me:secret@").proxy(format!("https://me:secret@{address}")).create().await.unwrap_err();
    assert!(
        matches!(&error, Error::Param { name, .. } if name == "proxy") && !error.to_string().contains("secret"),
        "{error}"
    );
}
