//! A bucket that speaks as much S3 as the media store needs, in memory. Signatures have to be there and are not checked.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};

/// Objects of a page of a listing: so few that there are several pages.
const PAGE: usize = 3;
/// When all objects were written, as far as a listing says.
const WRITTEN: [&str; 2] = ["2026-01-02T03:04:05.000Z", "Fri, 02 Jan 2026 03:04:05 GMT"];

/// The bucket.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    objects: Mutex<BTreeMap<String, Bytes>>,
    is_away: AtomicBool,
    refused: AtomicUsize,
}

/// A server with one bucket, `media`; it ends with the process.
pub(crate) fn serve() -> (Arc<Bucket>, SocketAddr) {
    let bucket = Arc::new(Bucket::default());
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.set_nonblocking(true).expect("an option");
    let address = listener.local_addr().expect("bound");
    let router = axum::Router::new()
        .fallback(answer)
        .with_state(bucket.clone());
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            axum::serve(listener, router).await.expect("it serves");
        });
    });
    (bucket, address)
}

impl Bucket {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().expect("alive")
    }

    /// From now on it answers nothing but 503, or is there again.
    pub(crate) fn goes_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    /// How often somebody was refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    /// What it holds, by name.
    pub(crate) fn names(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// An object.
    pub(crate) fn object(&self, name: &str) -> Option<Vec<u8>> {
        self.lock().get(name).map(|content| content.to_vec())
    }
}

async fn answer(
    State(bucket): State<Arc<Bucket>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let signed = headers.get("authorization");
    let is_signed = signed
        .and_then(|value| value.to_str().ok())
        .is_some_and(|text| text.starts_with("AWS4-HMAC-SHA256 Credential=key/"));
    if !is_signed {
        bucket.refused.fetch_add(1, Ordering::SeqCst);
        return StatusCode::FORBIDDEN.into_response();
    }
    if bucket.is_away.load(Ordering::SeqCst) {
        bucket.refused.fetch_add(1, Ordering::SeqCst);
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let Some(name) = uri.path().strip_prefix("/media") else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let name = decoded(name.trim_start_matches('/'));
    let query = uri.query().unwrap_or_default();
    match (method, name.is_empty()) {
        (Method::PUT, false) => {
            bucket.lock().insert(name, body);
            ([("etag", "\"1\"")], "").into_response()
        }
        (Method::GET, false) => match bucket.lock().get(&name) {
            Some(content) => {
                let heads = [("etag", "\"1\""), ("last-modified", WRITTEN[1])];
                (heads, content.clone()).into_response()
            }
            None => StatusCode::NOT_FOUND.into_response(),
        },
        (Method::DELETE, false) => {
            bucket.lock().remove(&name);
            StatusCode::NO_CONTENT.into_response()
        }
        (Method::GET, true) => list(&bucket.lock(), query).into_response(),
        (Method::POST, true) if query.starts_with("delete") => {
            let text = String::from_utf8_lossy(&body);
            let mut done = String::from("<DeleteResult>");
            for part in text.split("<Key>").skip(1) {
                let name = part.split("</Key>").next().unwrap_or_default();
                bucket.lock().remove(name);
                write!(done, "<Deleted><Key>{name}</Key></Deleted>").expect("memory");
            }
            (done + "</DeleteResult>").into_response()
        }
        _ => StatusCode::METHOD_NOT_ALLOWED.into_response(),
    }
}

fn list(objects: &BTreeMap<String, Bytes>, query: &str) -> String {
    let of = |key: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let mut found = pairs.filter(|(name, _)| *name == key);
        found.next().map(|(_, value)| decoded(value))
    };
    let prefix = of("prefix").unwrap_or_default();
    let after = of("continuation-token").unwrap_or_default();
    let mut found = objects
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix) && **name > after);
    let page: Vec<_> = found.by_ref().take(PAGE).collect();
    let mut out = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
    for (name, content) in &page {
        write!(
            out,
            "<Contents><Key>{name}</Key><LastModified>{}</LastModified><ETag>\"1\"</ETag><Size>{}</Size></Contents>",
            WRITTEN[0],
            content.len()
        )
        .expect("memory");
    }
    let is_more = found.next().is_some();
    if let Some((last, _)) = page.last().filter(|_| is_more) {
        write!(out, "<NextContinuationToken>{last}</NextContinuationToken>").expect("memory");
    }
    write!(
        out,
        "<IsTruncated>{is_more}</IsTruncated></ListBucketResult>"
    )
    .expect("memory");
    out
}

/// Without its `%` signs.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, others)) = rest.split_first() {
        let hex = others.get(..2).filter(|_| first == b'%');
        let byte = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { &others[2..] } else { others };
    }
    String::from_utf8(bytes).expect("a name")
}
