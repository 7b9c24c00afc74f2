//! A gate before a real server: calls pass on, but for those that it refuses.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures::future::BoxFuture;
use http_body_util::{BodyExt, Full};
use prost::Message;
use spark_connect_proto as proto;
use tonic::{
    Code, Status,
    body::Body,
    codegen::http,
    server::NamedService,
    transport::{Channel, Endpoint, Server},
};
use tonic_types::{ErrorDetails, StatusExt};
use tower_service::Service;

/// The way to a server, with calls that do not pass.
pub struct Gate {
    address: SocketAddr,
    refused: Arc<AtomicUsize>,
    commands: Arc<Mutex<Vec<proto::Command>>>,
    server: tokio::task::JoinHandle<()>,
}

impl Gate {
    /// Opens before the server of a connection string; refuses settings, copies of sessions and kept rows.
    pub async fn before(remote: &str) -> Gate {
        Self::open(remote, Refused::BySettings).await
    }

    /// Opens before the server of a connection string; refuses every execution, and keeps its command.
    pub async fn recording(remote: &str) -> Gate {
        Self::open(remote, Refused::Executions).await
    }

    async fn open(remote: &str, refuses: Refused) -> Gate {
        let upstream = remote.trim_start_matches("sc://").split('/').next().unwrap_or_default();
        let channel = Endpoint::from_shared(format!("http://{upstream}")).unwrap().connect().await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let refused = Arc::new(AtomicUsize::new(0));
        let commands = Arc::new(Mutex::default());
        let keeper = Keeper { channel, refuses, refused: refused.clone(), commands: commands.clone() };
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let server = tokio::spawn(async move {
            Server::builder().add_service(keeper).serve_with_incoming(incoming).await.unwrap();
        });
        Gate { address, refused, commands, server }
    }

    /// The connection string of the gate.
    pub fn remote(&self) -> String {
        format!("sc://{}", self.address)
    }

    /// The last command that it refused, once.
    pub fn command(&self) -> Option<proto::Command> {
        self.commands.lock().unwrap().pop()
    }

    /// How many calls it refused.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Refused {
    BySettings,
    Executions,
}

#[derive(Clone)]
struct Keeper {
    channel: Channel,
    refuses: Refused,
    refused: Arc<AtomicUsize>,
    commands: Arc<Mutex<Vec<proto::Command>>>,
}

impl NamedService for Keeper {
    const NAME: &'static str = "spark.connect.SparkConnectService";
}

impl Keeper {
    async fn pass(mut self, request: http::Request<Body>) -> http::Response<Body> {
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        let (head, body) = request.into_parts();
        let body = match method.as_str() {
            "ExecutePlan" if self.refuses == Refused::Executions => {
                let bytes = body.collect().await.unwrap().to_bytes();
                let asked = proto::ExecutePlanRequest::decode(&bytes[5..]).unwrap().plan.and_then(|plan| plan.op_type);
                if let Some(proto::plan::OpType::Command(command)) = asked {
                    self.commands.lock().unwrap().push(command);
                }
                return self.refuse(forbidden("executions"));
            }
            _ if self.refuses == Refused::Executions => body,
            "Config" => return self.refuse(forbidden("settings")),
            "CloneSession" => return self.refuse(Status::unimplemented("copies of sessions")),
            "AnalyzePlan" => {
                let bytes = body.collect().await.unwrap().to_bytes();
                // A message of gRPC has five bytes before it.
                let asked = proto::AnalyzePlanRequest::decode(&bytes[5..]).unwrap().analyze;
                if matches!(asked, Some(proto::analyze_plan_request::Analyze::Persist(_))) {
                    return self.refuse(forbidden("kept rows"));
                }
                Body::new(Full::new(bytes))
            }
            _ => body,
        };
        futures::future::poll_fn(|cx| self.channel.poll_ready(cx)).await.unwrap();
        let answer = self.channel.call(http::Request::from_parts(head, body)).await;
        answer.unwrap_or_else(|error| Status::unavailable(error.to_string()).into_http())
    }

    fn refuse(&self, status: Status) -> http::Response<Body> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        status.into_http()
    }
}

/// What a server of Spark's says, with an error class.
fn forbidden(what: &str) -> Status {
    let class = HashMap::from([("errorClass".to_owned(), "NOT_ALLOWED_HERE".to_owned())]);
    let details = ErrorDetails::with_error_info("org.apache.spark.SparkException", "org.apache.spark", class);
    Status::with_error_details(Code::Internal, format!("[NOT_ALLOWED_HERE] {what} are not allowed"), details)
}

impl Service<http::Request<Body>> for Keeper {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let keeper = self.clone();
        Box::pin(async move { Ok(keeper.pass(request).await) })
    }
}
