//! Answers that are not gRPC's: what a gateway says in its own words.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{self, Poll},
    time::Duration,
};

use futures::future::BoxFuture;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Body as _, Service, http},
    transport::{self, Channel},
};

/// A channel whose answers are all gRPC's. A gateway that refuses a request with a page becomes the status that gRPC
/// has for it ("HTTP to gRPC Status Code Mapping"), so that refusals and failures that a retry may cure are
/// distinguished.
#[derive(Debug, Clone)]
pub(super) struct GrpcOnly(pub(super) Channel);

impl Service<http::Request<Body>> for GrpcOnly {
    type Response = http::Response<Body>;
    type Error = transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut task::Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if is_grpc(&answer) {
                return Ok(answer);
            }
            let (head, body) = answer.into_parts();
            Ok(status(head.status, &said(body).await).into_http())
        })
    }
}

fn is_grpc<B>(answer: &http::Response<B>) -> bool {
    let content = answer.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    content.starts_with("application/grpc") || answer.headers().contains_key("grpc-status")
}

fn status(answered: http::StatusCode, said: &str) -> Status {
    let code = match answered.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        413 => Code::ResourceExhausted,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    let said = said.trim_start_matches(answered.as_str()).trim();
    let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
    Status::new(code, format!("something before the server answered HTTP {answered}{said}"))
}

/// Bytes of a page that are read, and the time limit.
const PAGE: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns a page's title, or its first words.
async fn said(mut body: Body) -> String {
    let mut page = Vec::new();
    let reading = async {
        while page.len() < PAGE
            && let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
        {
            page.extend(frame.into_data().unwrap_or_default());
        }
    };
    // Whatever came until then.
    _ = tokio::time::timeout(PATIENCE, reading).await;
    page.truncate(PAGE);
    line(&String::from_utf8_lossy(&page))
}

fn line(page: &str) -> String {
    let title = page.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title);
    let text = title.unwrap_or(if page.trim_start().starts_with('<') { "" } else { page });
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_a_status_and_grpcs_own_answers_stay() {
        let answer = |content: &str| http::Response::builder().header("content-type", content).body(()).unwrap();
        assert!(is_grpc(&answer("application/grpc+proto")) && !is_grpc(&answer("text/html")));
        let code = |answered: u16| status(http::StatusCode::from_u16(answered).unwrap(), "").code();
        assert_eq!([502, 503, 504, 429].map(code), [Code::Unavailable; 4]);
        assert_eq!([401, 413, 200].map(code), [Code::Unauthenticated, Code::ResourceExhausted, Code::Unknown]);
    }

    #[tokio::test]
    async fn a_status_says_what_the_page_says_in_a_line() {
        let told = async |page: &str| {
            let said = said(Body::new(page.to_owned())).await;
            status(http::StatusCode::BAD_REQUEST, &said).message().to_owned()
        };
        let refused = "something before the server answered HTTP 400 Bad Request";
        let page = "<html>\n<head><title>400 No certificate\n was sent</title></head><body>…</body></html>";
        assert_eq!(told(page).await, format!("{refused} (No certificate was sent)"));
        assert_eq!(
            told("{\"error\": \"no such route\"}").await,
            format!("{refused} ({{\"error\": \"no such route\"}})")
        );
        assert_eq!(told("").await, refused);
        assert_eq!(told("<p>no title").await, refused);
        assert!(told(&"long ".repeat(10_000)).await.len() < 300);
    }
}
