//! The HTTP side: routes, limits, and the forms of the answers.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Path, Query as UrlQuery, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post, put};
use axum::serve::Listener;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use crate::cluster::ClusterOrder;
use crate::guard::{AGENT_PATH, Access};
use crate::metrics;
use crate::model::{Credential, Event, Health, NewUser, Query, Stamped, UserImport};
use crate::platform::{Platform, Refusal};
use crate::pool::{TargetOrder, TargetVerb};

/// The most connections at once; further ones wait to be accepted.
pub const CONNECTIONS_MAX: usize = 128;
/// The largest request body, in bytes.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The most readers of `/api/events` at once.
pub const EVENT_STREAMS_MAX: usize = 32;
/// How many items a page has when the client does not say.
pub const PAGE_ITEMS_DEFAULT: usize = 100;
/// How many items a page has at most.
pub const PAGE_ITEMS_MAX: usize = 1000;

#[derive(Clone)]
struct Api {
    platform: Arc<dyn Platform>,
    access: Arc<Access>,
    streams: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

/// Answers requests on `listener` until `stop` resolves, then ends event
/// streams and finishes the answers under way.
///
/// # Errors
/// What the socket says.
pub async fn serve(
    listener: TcpListener,
    platform: Arc<dyn Platform>,
    access: Access,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (stopped, stopping) = watch::channel(false);
    let api = Api {
        platform,
        access: Arc::new(access),
        streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
        stopping,
    };
    let listener = Bounded {
        listener,
        permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
    };
    axum::serve(listener, router(api))
        .with_graceful_shutdown(async move {
            stop.await;
            // Streams that have no reader left are gone already.
            let _ = stopped.send(true);
        })
        .await
}

fn router(api: Api) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(metrics_text))
        .route("/api/status", get(status))
        .route("/api/registrations", get(registrations))
        .route("/api/calls", get(calls))
        .route("/api/pools", get(pools))
        .route("/api/targets/{target}/{verb}", post(order_target))
        .route(AGENT_PATH, post(report_load))
        .route("/api/bans", get(bans))
        .route("/api/bans/{address}", delete(unban))
        .route("/api/users", get(users).post(add_user))
        .route("/api/users/import", post(import_users))
        .route("/api/users/{aor}", delete(delete_user))
        .route("/api/users/{aor}/password", put(set_credential))
        .route("/api/domains", get(domains).post(add_domain))
        .route("/api/domains/{domain}", delete(delete_domain))
        .route("/api/reload", post(reload))
        .route("/api/services/{service}/switchover", post(switchover))
        .route("/api/cluster/leave", post(leave))
        .route("/api/cluster/join", post(join))
        .route("/api/drain", post(drain))
        .route("/api/events", get(events))
        .fallback(async || {
            error(
                StatusCode::NOT_FOUND,
                "not_found",
                "no such path; see docs/operation.md",
            )
        })
        .method_not_allowed_fallback(async || {
            let message = "the path does not take this method; see docs/operation.md";
            error(StatusCode::METHOD_NOT_ALLOWED, "method", message)
        })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(api.clone(), admit))
        .with_state(api)
}

async fn admit(State(api): State<Api>, request: Request, next: Next) -> Response {
    let uri = request.uri();
    let authority = uri.authority().map(|authority| authority.as_str());
    match api
        .access
        .judge(request.method(), uri.path(), authority, request.headers())
    {
        Ok(()) => next.run(request).await,
        Err(denied) => {
            let mut response = error(denied.status(), "denied", denied.message());
            if denied.status() == StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer");
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, bearer);
            }
            response
        }
    }
}

fn error(status: StatusCode, kind: &str, message: &str) -> Response {
    #[derive(Serialize)]
    struct Error<'a> {
        error: &'a str,
        message: &'a str,
    }
    json(
        status,
        &Error {
            error: kind,
            message,
        },
    )
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response {
    let (status, mut text) = match serde_json::to_vec(value) {
        Ok(text) => (status, text),
        Err(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            b"{\"error\":\"failed\"}".to_vec(),
        ),
    };
    text.push(b'\n');
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

fn refused(refusal: &Refusal) -> Response {
    let (status, kind) = match refusal {
        Refusal::NotFound { .. } => (StatusCode::NOT_FOUND, "not_found"),
        Refusal::Exists { .. } => (StatusCode::CONFLICT, "exists"),
        Refusal::Invalid { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
        Refusal::BadConfig { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad_config"),
        Refusal::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Refusal::Failed { .. } => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
    };
    error(status, kind, &refusal.to_string())
}

fn answered<T: Serialize>(answer: Result<T, Refusal>) -> Response {
    match answer {
        Ok(value) => json(StatusCode::OK, &value),
        Err(refusal) => refused(&refusal),
    }
}

fn done(answer: Result<(), Refusal>, status: StatusCode) -> Response {
    match answer {
        Ok(()) => json(status, &serde_json::json!({ "ok": true })),
        Err(refusal) => refused(&refusal),
    }
}

/// A body that is not what the path takes. The parser's words are not passed
/// on: they may quote a password.
struct BadBody {
    want: &'static str,
}

impl IntoResponse for BadBody {
    fn into_response(self) -> Response {
        let message = format!("the body must be {}", self.want);
        error(StatusCode::BAD_REQUEST, "body", &message)
    }
}

fn read<T: DeserializeOwned>(body: &Bytes, want: &'static str) -> Result<T, BadBody> {
    serde_json::from_slice(body).map_err(|_| BadBody { want })
}

async fn healthz(State(api): State<Api>) -> Response {
    match api.platform.health() {
        Health::Ready => (StatusCode::OK, "ready\n").into_response(),
        Health::Unready { reason } => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
        }
    }
}

async fn metrics_text(State(api): State<Api>) -> Response {
    match api.platform.metrics().await {
        Ok(families) => {
            let text = metrics::encode(&families);
            ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
        }
        Err(refusal) => refused(&refusal),
    }
}

async fn status(State(api): State<Api>) -> Response {
    answered(api.platform.status().await)
}

/// The part of the URL behind the question mark.
#[derive(Deserialize)]
struct Paging {
    aor: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

impl From<Paging> for Query {
    fn from(paging: Paging) -> Self {
        let limit = paging
            .limit
            .unwrap_or(PAGE_ITEMS_DEFAULT)
            .clamp(1, PAGE_ITEMS_MAX);
        Query {
            aor: paging.aor,
            after: paging.after,
            limit,
        }
    }
}

async fn registrations(State(api): State<Api>, UrlQuery(paging): UrlQuery<Paging>) -> Response {
    answered(api.platform.registrations(paging.into()).await)
}

async fn calls(State(api): State<Api>, UrlQuery(paging): UrlQuery<Paging>) -> Response {
    answered(api.platform.calls(paging.into()).await)
}

async fn pools(State(api): State<Api>) -> Response {
    answered(api.platform.pools().await)
}

async fn bans(State(api): State<Api>) -> Response {
    answered(api.platform.bans().await)
}

async fn unban(State(api): State<Api>, Path(address): Path<String>) -> Response {
    // An IPv6 source is shown as a network.
    let written = address.strip_suffix("/64").unwrap_or(&address);
    match written.parse() {
        Ok(address) => done(api.platform.unban(address).await, StatusCode::OK),
        Err(_) => refused(&Refusal::Invalid {
            what: format!("{address} is no address"),
            want: "write one as `holdline bans` shows it".to_owned(),
        }),
    }
}

/// The part of the URL of an order behind the question mark.
#[derive(Deserialize)]
struct OfPool {
    pool: Option<String>,
}

async fn order_target(
    State(api): State<Api>,
    Path((target, verb)): Path<(String, String)>,
    UrlQuery(of): UrlQuery<OfPool>,
) -> Response {
    let found = TargetVerb::ALL
        .into_iter()
        .find(|one| one.to_string() == verb);
    let Some(verb) = found else {
        return refused(&Refusal::Invalid {
            what: format!("there is no verb {verb} for a target"),
            want: "write drain, undrain, disable or enable".to_owned(),
        });
    };
    let order = TargetOrder {
        verb,
        target,
        pool: of.pool,
    };
    answered(api.platform.order_target(order).await)
}

async fn report_load(State(api): State<Api>, body: Bytes) -> Response {
    match agent::Report::parse(&body) {
        Ok(report) => done(api.platform.report_load(report).await, StatusCode::OK),
        Err(fault) => error(StatusCode::BAD_REQUEST, "body", &fault.to_string()),
    }
}

async fn users(State(api): State<Api>, UrlQuery(paging): UrlQuery<Paging>) -> Response {
    answered(api.platform.users(paging.into()).await)
}

async fn add_user(State(api): State<Api>, body: Bytes) -> Result<Response, BadBody> {
    let want =
        r#"{"aor": "USER@DOMAIN", "password": "..."} or {"aor": ..., "ha1": {"MD5": "..."}}"#;
    let user = read::<NewUser>(&body, want)?;
    Ok(done(api.platform.add_user(user).await, StatusCode::CREATED))
}

async fn import_users(State(api): State<Api>, body: Bytes) -> Result<Response, BadBody> {
    let want = r#"{"users": [{"aor": "USER@DOMAIN", "password": "..."}, ...], "replace": false}"#;
    let import = read::<UserImport>(&body, want)?;
    Ok(answered(api.platform.import_users(import).await))
}

async fn delete_user(State(api): State<Api>, Path(aor): Path<String>) -> Response {
    done(api.platform.delete_user(aor).await, StatusCode::OK)
}

async fn set_credential(
    State(api): State<Api>,
    Path(aor): Path<String>,
    body: Bytes,
) -> Result<Response, BadBody> {
    let want = r#"{"password": "..."} or {"ha1": {"MD5": "..."}}"#;
    let credential = read::<Credential>(&body, want)?;
    Ok(done(
        api.platform.set_credential(aor, credential).await,
        StatusCode::OK,
    ))
}

async fn domains(State(api): State<Api>) -> Response {
    answered(api.platform.domains().await)
}

async fn add_domain(State(api): State<Api>, body: Bytes) -> Result<Response, BadBody> {
    #[derive(Deserialize)]
    struct NewDomain {
        domain: String,
    }
    let new = read::<NewDomain>(&body, r#"{"domain": "..."}"#)?;
    Ok(done(
        api.platform.add_domain(new.domain).await,
        StatusCode::CREATED,
    ))
}

async fn delete_domain(State(api): State<Api>, Path(domain): Path<String>) -> Response {
    done(api.platform.delete_domain(domain).await, StatusCode::OK)
}

async fn reload(State(api): State<Api>) -> Response {
    answered(api.platform.reload().await)
}

async fn drain(State(api): State<Api>) -> Response {
    done(api.platform.drain().await, StatusCode::ACCEPTED)
}

/// The part of the URL of a switchover behind the question mark.
#[derive(Deserialize)]
struct ToNode {
    node: Option<String>,
}

async fn switchover(
    State(api): State<Api>,
    Path(service): Path<String>,
    UrlQuery(to): UrlQuery<ToNode>,
) -> Response {
    let node = to.node;
    order_cluster(api, ClusterOrder::Switchover { service, node }).await
}

async fn leave(State(api): State<Api>) -> Response {
    order_cluster(api, ClusterOrder::Leave).await
}

async fn join(State(api): State<Api>) -> Response {
    order_cluster(api, ClusterOrder::Join).await
}

async fn order_cluster(api: Api, order: ClusterOrder) -> Response {
    done(api.platform.order_cluster(order).await, StatusCode::OK)
}

/// One JSON object a line, from now on, until either side ends it.
async fn events(State(api): State<Api>) -> Response {
    let Ok(permit) = api.streams.clone().try_acquire_owned() else {
        let message = format!("{EVENT_STREAMS_MAX} event streams are open already; close one");
        return error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message);
    };
    let source = (api.platform.events(), api.stopping.clone(), permit);
    let lines = futures_util::stream::unfold(source, |(mut events, mut stopping, permit)| async {
        let event = tokio::select! {
            event = events.recv() => event,
            _ = stopping.wait_for(|stopping| *stopping) => return None,
        };
        let stamped = match event {
            Ok(stamped) => stamped,
            Err(broadcast::error::RecvError::Lagged(count)) => Stamped {
                at_ms: now_ms(),
                event: Event::Missed { count },
            },
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        let mut line = serde_json::to_vec(&stamped).unwrap_or_default();
        line.push(b'\n');
        Some((Ok::<_, Infallible>(line), (events, stopping, permit)))
    });
    let body = Body::from_stream(lines);
    ([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response()
}

fn now_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A listener that accepts no more than its permits.
struct Bounded {
    listener: TcpListener,
    permits: Arc<Semaphore>,
}

impl Listener for Bounded {
    type Io = Held;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Held, SocketAddr) {
        loop {
            // The semaphore is never closed.
            let Ok(permit) = self.permits.clone().acquire_owned().await else {
                std::future::pending::<()>().await;
                continue;
            };
            // The inner listener waits and tries again on errors.
            let (stream, address) = Listener::accept(&mut self.listener).await;
            return (
                Held {
                    stream,
                    _permit: permit,
                },
                address,
            );
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection with its permit.
struct Held {
    stream: TcpStream,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Held {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Held {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
