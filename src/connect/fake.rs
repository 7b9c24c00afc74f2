//! A Spark Connect server that follows a script, for faults that a real one does not produce on demand.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use spark_connect_proto::{self as proto, execute_plan_response::ResponseType};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::http,
    server::{ClientStreamingService, Grpc, NamedService, ServerStreamingService, UnaryService},
};
use tonic_prost::ProstCodec;

use super::{Client, ConnectOptions, RetryPolicy};

/// The request that the script expects next, and the reaction to it.
#[derive(Debug)]
pub(super) struct Turn {
    asked_by: Ask,
    responses: Vec<proto::ExecutePlanResponse>,
    end: End,
}

/// The call that opens a result stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    Execute,
    /// After this response.
    Reattach(Option<String>),
}

/// End of a result stream.
#[derive(Debug, Clone)]
pub(super) enum End {
    Close,
    Fail(Status),
    Hang,
}

/// A request to the server besides those for result streams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    ReleaseAll,
    ReleaseUntil(String),
    Interrupt,
}

pub(super) struct FakeServer {
    state: Arc<State>,
    remote: String,
}

#[derive(Debug, Default)]
struct State {
    version: String,
    script: Mutex<VecDeque<Turn>>,
    surprises: Mutex<Vec<String>>,
    calls: Mutex<Vec<Call>>,
    requests: Mutex<Vec<proto::ExecutePlanRequest>>,
    headers: Mutex<Vec<http::HeaderMap>>,
    sent: Mutex<usize>,
}

impl Turn {
    pub(super) fn execute(responses: Vec<proto::ExecutePlanResponse>, end: End) -> Self {
        Self { asked_by: Ask::Execute, responses, end }
    }

    pub(super) fn reattach(after: &str, responses: Vec<proto::ExecutePlanResponse>, end: End) -> Self {
        let after = (!after.is_empty()).then(|| after.to_owned());
        Self { asked_by: Ask::Reattach(after), responses, end }
    }
}

/// Returns a response with an id and a kind.
pub(super) fn response(id: &str, kind: ResponseType) -> proto::ExecutePlanResponse {
    proto::ExecutePlanResponse { response_id: id.into(), response_type: Some(kind), ..Default::default() }
}

/// Returns a batch of `rows` rows from `offset`; its bytes are not Arrow, which `connect` never looks into.
pub(super) fn batch(id: &str, offset: i64, rows: i64, data: &[u8]) -> proto::ExecutePlanResponse {
    response(id, ResponseType::ArrowBatch(arrow_batch(offset, rows, data)))
}

/// Returns one chunk of such a batch.
pub(super) fn chunk(
    id: &str,
    offset: i64,
    rows: i64,
    (index, of): (i64, i64),
    data: &[u8],
) -> proto::ExecutePlanResponse {
    let chunk = proto::execute_plan_response::ArrowBatch {
        chunk_index: Some(index),
        num_chunks_in_batch: Some(of),
        ..arrow_batch(offset, rows, data)
    };
    response(id, ResponseType::ArrowBatch(chunk))
}

fn arrow_batch(offset: i64, rows: i64, data: &[u8]) -> proto::execute_plan_response::ArrowBatch {
    proto::execute_plan_response::ArrowBatch {
        row_count: rows,
        start_offset: Some(offset),
        data: data.to_vec().into(),
        ..Default::default()
    }
}

/// Returns the server's word that the result is complete.
pub(super) fn complete(id: &str) -> proto::ExecutePlanResponse {
    response(id, ResponseType::ResultComplete(Default::default()))
}

impl FakeServer {
    /// Serves a script as Spark `version`.
    pub(super) async fn start(version: &str, script: Vec<Turn>) -> Self {
        Self::serve(version, script, tonic::transport::Server::builder()).await
    }

    /// Serves a script over TLS, with a PEM certificate and its key.
    pub(super) async fn start_tls(script: Vec<Turn>, certificate: &str, key: &str) -> Self {
        use tonic::transport::{Identity, Server, ServerTlsConfig};
        let tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        Self::serve("4.2.1", script, Server::builder().tls_config(tls).unwrap()).await
    }

    async fn serve(version: &str, script: Vec<Turn>, mut server: tonic::transport::Server) -> Self {
        let state = Arc::new(State { version: version.into(), script: Mutex::new(script.into()), ..State::default() });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let remote = format!("sc://{}", listener.local_addr().unwrap());
        let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
        let router = server.add_service(Service(state.clone()));
        tokio::spawn(router.serve_with_incoming(incoming));
        Self { state, remote }
    }

    /// Returns its connection string.
    pub(super) fn remote(&self) -> &str {
        &self.remote
    }

    /// Returns a client that gives up after a second without progress.
    pub(super) async fn client(&self) -> Client {
        self.client_with(|_| {}).await
    }

    pub(super) async fn client_with(&self, change: impl FnOnce(&mut ConnectOptions)) -> Client {
        let mut options = ConnectOptions::new(self.remote.parse().unwrap());
        options.retry = RetryPolicy { give_up_after: Duration::from_secs(1), ..RetryPolicy::default() };
        change(&mut options);
        Client::connect(options).await.unwrap()
    }

    /// Replaces the rest of the script.
    pub(super) fn replace_script(&self, script: Vec<Turn>) {
        *self.state.script.lock().unwrap() = script.into();
    }

    /// Returns the releases and interrupts so far.
    pub(super) fn calls(&self) -> Vec<Call> {
        self.state.calls.lock().unwrap().clone()
    }

    /// Returns the requests to execute a plan so far.
    pub(super) fn requests(&self) -> Vec<proto::ExecutePlanRequest> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Returns the values of a header, one for each call that carried it.
    pub(super) fn header(&self, name: &str) -> Vec<String> {
        let headers = self.state.headers.lock().unwrap();
        headers.iter().filter_map(|h| Some(h.get(name)?.to_str().unwrap().to_owned())).collect()
    }

    /// Responses that went out so far.
    pub(super) fn sent(&self) -> usize {
        *self.state.sent.lock().unwrap()
    }
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(
                *self.state.surprises.lock().unwrap(),
                Vec::<String>::new(),
                "asked for what was not in the script"
            );
            assert!(self.state.script.lock().unwrap().is_empty(), "part of the script was not played");
        }
    }
}

impl State {
    fn results(self: &Arc<Self>, ask: Ask) -> Answer<Responses> {
        let Some(turn) = self.script.lock().unwrap().pop_front() else {
            self.surprises.lock().unwrap().push(format!("{ask:?} after the script's end"));
            return Err(Status::internal("the script is over"));
        };
        if turn.asked_by != ask {
            self.surprises.lock().unwrap().push(format!("{ask:?} where {:?} was due", turn.asked_by));
        }
        let state = self.clone();
        let responses = futures::stream::iter(turn.responses).map(move |response| {
            *state.sent.lock().unwrap() += 1;
            Ok(response)
        });
        let end = match turn.end {
            End::Close => futures::stream::empty().boxed(),
            End::Fail(status) => futures::stream::iter([Err(status)]).boxed(),
            End::Hang => futures::stream::pending().boxed(),
        };
        Ok(Response::new(Responses(responses.chain(end).boxed())))
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

/// A result stream on its way out.
struct Responses(BoxStream<'static, Result<proto::ExecutePlanResponse, Status>>);

impl Stream for Responses {
    type Item = Result<proto::ExecutePlanResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

#[derive(Clone)]
struct Service(Arc<State>);

impl NamedService for Service {
    const NAME: &'static str = "spark.connect.SparkConnectService";
}

impl tower_service::Service<http::Request<Body>> for Service {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let state = self.0.clone();
        state.headers.lock().unwrap().push(request.headers().clone());
        let method = request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
        Box::pin(async move { Ok(state.dispatch(method, request).await) })
    }
}

impl State {
    async fn dispatch(self: Arc<Self>, method: String, request: http::Request<Body>) -> http::Response<Body> {
        match method.as_str() {
            "ExecutePlan" => {
                let handler = Handler::new(move |r: proto::ExecutePlanRequest| {
                    self.requests.lock().unwrap().push(r);
                    self.results(Ask::Execute)
                });
                Grpc::new(ProstCodec::default()).server_streaming(handler, request).await
            }
            "ReattachExecute" => {
                let handler = Handler::new(move |r: proto::ReattachExecuteRequest| {
                    self.results(Ask::Reattach(r.last_response_id))
                });
                Grpc::new(ProstCodec::default()).server_streaming(handler, request).await
            }
            "ReleaseExecute" => {
                use proto::release_execute_request::Release;
                let handler = Handler::new(move |r: proto::ReleaseExecuteRequest| {
                    self.note(match r.release {
                        Some(Release::ReleaseUntil(until)) => Call::ReleaseUntil(until.response_id),
                        _ => Call::ReleaseAll,
                    });
                    Ok(Response::new(proto::ReleaseExecuteResponse::default()))
                });
                Grpc::new(ProstCodec::default()).unary(handler, request).await
            }
            "Interrupt" => {
                let handler = Handler::new(move |_: proto::InterruptRequest| {
                    self.note(Call::Interrupt);
                    Ok(Response::new(proto::InterruptResponse::default()))
                });
                Grpc::new(ProstCodec::default()).unary(handler, request).await
            }
            "AnalyzePlan" => {
                use proto::analyze_plan_response::{Result as Answer, SparkVersion};
                let handler = Handler::new(move |_: proto::AnalyzePlanRequest| {
                    let version = SparkVersion { version: self.version.clone() };
                    let result = Some(Answer::SparkVersion(version));
                    Ok(Response::new(proto::AnalyzePlanResponse { result, ..Default::default() }))
                });
                Grpc::new(ProstCodec::default()).unary(handler, request).await
            }
            "GetStatus" => {
                let handler =
                    Handler::new(|_: proto::GetStatusRequest| Ok(Response::new(proto::GetStatusResponse::default())));
                Grpc::new(ProstCodec::default()).unary(handler, request).await
            }
            "ArtifactStatus" => {
                let handler = Handler::new(|_: proto::ArtifactStatusesRequest| {
                    Ok(Response::new(proto::ArtifactStatusesResponse::default()))
                });
                Grpc::new(ProstCodec::default()).unary(handler, request).await
            }
            "AddArtifacts" => Grpc::new(ProstCodec::default()).client_streaming(DamagedUpload, request).await,
            other => Status::unimplemented(other.to_owned()).into_http(),
        }
    }
}

/// A function as the service of one call.
struct Handler<M, R>(Box<dyn FnMut(M) -> Answer<R> + Send>);

type Answer<R> = Result<Response<R>, Status>;

impl<M, R> Handler<M, R> {
    fn new(answer: impl FnMut(M) -> Answer<R> + Send + 'static) -> Self {
        Self(Box::new(answer))
    }
}

impl<M, R: Send + 'static> UnaryService<M> for Handler<M, R> {
    type Response = R;
    type Future = std::future::Ready<Answer<R>>;

    fn call(&mut self, request: Request<M>) -> Self::Future {
        std::future::ready(self.0(request.into_inner()))
    }
}

impl<M> ServerStreamingService<M> for Handler<M, Responses> {
    type Response = proto::ExecutePlanResponse;
    type ResponseStream = Responses;
    type Future = std::future::Ready<Answer<Responses>>;

    fn call(&mut self, request: Request<M>) -> Self::Future {
        std::future::ready(self.0(request.into_inner()))
    }
}

/// Takes every artifact and says that it arrived damaged.
struct DamagedUpload;

impl ClientStreamingService<proto::AddArtifactsRequest> for DamagedUpload {
    type Response = proto::AddArtifactsResponse;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Self::Response>, Status>> + Send>>;

    fn call(&mut self, request: Request<tonic::Streaming<proto::AddArtifactsRequest>>) -> Self::Future {
        Box::pin(async move {
            let mut messages = request.into_inner();
            while messages.message().await?.is_some() {}
            let summary =
                proto::add_artifacts_response::ArtifactSummary { name: "cache/x".into(), is_crc_successful: false };
            let answer = proto::AddArtifactsResponse { artifacts: vec![summary], ..Default::default() };
            Ok(Response::new(answer))
        })
    }
}
