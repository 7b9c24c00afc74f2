//! Answers that are not gRPC's: what a gateway says in its own words.

use std::task::{self, Poll};

use futures::future::BoxFuture;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{Service, http},
    transport::{self, Channel},
};

/// A channel whose answers are all gRPC's. A gateway that refuses a request with a page becomes the status that gRPC has for
/// it ("HTTP to gRPC Status Code Mapping"), so that what is refused, and what may be tried again, is told apart.
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
        Box::pin(async move { answer.await.map(as_grpc) })
    }
}

fn as_grpc(answer: http::Response<Body>) -> http::Response<Body> {
    let content = answer.headers().get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    if content.starts_with("application/grpc") || answer.headers().contains_key("grpc-status") {
        return answer;
    }
    let code = match answer.status().as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        413 => Code::ResourceExhausted,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    let kind = if content.is_empty() { "nothing" } else { content };
    Status::new(code, format!("something before the server answered HTTP {} with {kind}", answer.status())).into_http()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, content: Option<&str>) -> Option<Status> {
        let mut answer = http::Response::builder().status(status);
        if let Some(content) = content {
            answer = answer.header("content-type", content);
        }
        let answer = as_grpc(answer.body(Body::empty()).unwrap());
        Status::from_header_map(answer.headers())
    }

    #[test]
    fn a_page_becomes_a_status_and_grpcs_own_answers_stay() {
        assert!(told(200, Some("application/grpc+proto")).is_none());
        let refused = told(401, Some("text/html")).unwrap();
        assert_eq!(refused.code(), Code::Unauthenticated);
        assert!(refused.message().contains("HTTP 401 Unauthorized with text/html"), "{}", refused.message());
        let codes = [502, 503, 504, 429].map(|status| told(status, Some("text/html")).unwrap().code());
        assert_eq!(codes, [Code::Unavailable; 4]);
        assert_eq!(told(413, None).unwrap().code(), Code::ResourceExhausted);
        assert_eq!(told(200, Some("text/html")).unwrap().code(), Code::Unknown);
    }
}
