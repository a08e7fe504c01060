//! Running out of descriptors does not end a listener.
#![allow(unsafe_code)]

use net::tcp::{
    CloseReason, ConnectionId, Flow, ListenOptions, StreamOptions, StreamSink, Streams,
};
use sip::frame::FrameError;
use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[derive(Default)]
struct Opened(AtomicUsize);

impl StreamSink for Opened {
    fn opened(&self, _: Flow) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn message(&self, _: Flow, _: Vec<u8>) {}
    fn framing_error(&self, _: Flow, _: FrameError, _: Vec<u8>) {}
    fn closed(&self, _: Flow, _: CloseReason) {}
    fn connect_failed(&self, _: ConnectionId, _: SocketAddr, _: io::ErrorKind) {}
}

/// Allows this process no more than `count` descriptors.
fn limit_descriptors(count: u64) {
    let limit = libc::rlimit {
        rlim_cur: count,
        rlim_max: count,
    };
    // SAFETY: the pointer is to a live limit, which the kernel copies.
    assert_eq!(
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) },
        0
    );
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn accepting_goes_on_when_there_are_descriptors_again() {
    limit_descriptors(128);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let sink = Arc::new(Opened::default());
    let options = StreamOptions::default();
    let hub = Streams::new(runtime.handle().clone(), options, sink.clone());
    let any = "127.0.0.1:0".parse().expect("an address");
    let address = hub
        .listen(any, ListenOptions::default())
        .expect("listening");

    let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    hoard.pop();
    // This takes the last descriptor, and the hub finds none for its side.
    let waiting = TcpStream::connect(address).expect("connected");
    until("accept fails", || hub.counters().accept_failures >= 3);
    assert_eq!(sink.0.load(Ordering::SeqCst), 0);
    drop(hoard);
    until("the connection that waited is accepted", || {
        sink.0.load(Ordering::SeqCst) == 1
    });
    let _next = TcpStream::connect(address).expect("connected");
    until("the next one is accepted", || {
        sink.0.load(Ordering::SeqCst) == 2
    });
    drop(waiting);
    runtime.block_on(hub.shutdown(Duration::from_secs(5)));
}
