use super::*;
use std::future::Future;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

/// What a sink was told.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Opened(Flow),
    Message(Flow, Vec<u8>),
    FramingError(Flow, FrameError, Vec<u8>),
    Closed(Flow, CloseReason),
    ConnectFailed(ConnectionId, SocketAddr, io::ErrorKind),
}

struct Recorder {
    told: UnboundedSender<Told>,
    /// Sends an answer from within `framing_error`.
    answer: Mutex<Option<Streams>>,
}

impl Recorder {
    fn tell(&self, told: Told) {
        self.told.send(told).expect("the test listens");
    }
}

impl StreamSink for Recorder {
    fn opened(&self, flow: Flow) {
        self.tell(Told::Opened(flow));
    }
    fn message(&self, flow: Flow, bytes: Vec<u8>) {
        self.tell(Told::Message(flow, bytes));
    }
    fn framing_error(&self, flow: Flow, error: FrameError, bytes: Vec<u8>) {
        if let Some(hub) = self.answer.lock().expect("not poisoned").take() {
            hub.send(Target::Connection(flow.connection), ANSWER.to_vec())
                .expect("queued");
        }
        self.tell(Told::FramingError(flow, error, bytes));
    }
    fn closed(&self, flow: Flow, reason: CloseReason) {
        self.tell(Told::Closed(flow, reason));
    }
    fn connect_failed(&self, connection: ConnectionId, target: SocketAddr, error: io::ErrorKind) {
        self.tell(Told::ConnectFailed(connection, target, error));
    }
}

const PATIENCE: Duration = Duration::from_secs(120);
const REQUEST: &[u8] = b"OPTIONS sip:a@example.org SIP/2.0\r\nl: 4\r\n\r\nbody";
const ANSWER: &[u8] = b"SIP/2.0 200 OK\r\nl: 0\r\n\r\n";

struct Bench {
    hub: Streams,
    recorder: Arc<Recorder>,
    told: UnboundedReceiver<Told>,
}

impl Bench {
    fn new(options: StreamOptions) -> Bench {
        let (sender, told) = unbounded_channel();
        let recorder = Arc::new(Recorder {
            told: sender,
            answer: Mutex::new(None),
        });
        let hub = Streams::new(Handle::current(), options, recorder.clone());
        Bench {
            hub,
            recorder,
            told,
        }
    }

    fn listen(&self, address: &str) -> SocketAddr {
        let address = address.parse().expect("an address");
        self.hub
            .listen(address, ListenOptions::default())
            .expect("listening")
    }

    async fn next(&mut self) -> Told {
        timeout(PATIENCE, self.told.recv())
            .await
            .expect("told in time")
            .expect("a hub")
    }

    async fn opened(&mut self) -> Flow {
        match self.next().await {
            Told::Opened(flow) => flow,
            other => unreachable!("{other:?}"),
        }
    }

    async fn closed(&mut self) -> (Flow, CloseReason) {
        match self.next().await {
            Told::Closed(flow, reason) => (flow, reason),
            other => unreachable!("{other:?}"),
        }
    }

    /// Ends the hub, and looks that nothing is left in its tables.
    async fn end(mut self) {
        timeout(PATIENCE, self.hub.shutdown(Duration::from_secs(5)))
            .await
            .expect("shut down");
        assert!(self.hub.hub.table().is_empty());
        self.told.close();
        while let Some(told) = self.told.recv().await {
            assert!(
                matches!(told, Told::Closed(_, CloseReason::Shutdown)),
                "{told:?}"
            );
        }
    }
}

fn real(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(test);
}

/// With a clock that stands still and jumps to the next timer when nothing else is to be done.
fn paused(test: impl Future<Output = ()>) {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime")
        .block_on(test);
}

fn loopbacks() -> Vec<&'static str> {
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        return vec!["127.0.0.1:0", "[::1]:0"];
    }
    eprintln!("SKIPPED for IPv6: this machine has no ::1");
    vec!["127.0.0.1:0"]
}

/// A connection without a network, and its far end.
fn attached(bench: &Bench, room: usize) -> (ConnectionId, tokio::io::DuplexStream) {
    let (near, far) = tokio::io::duplex(room);
    let peer = "192.0.2.7:1234".parse().expect("an address");
    let local = "192.0.2.1:5060".parse().expect("an address");
    (
        bench.hub.attach(near, peer, local, true).expect("attached"),
        far,
    )
}

async fn expect_bytes(stream: &mut (impl AsyncReadExt + Unpin), expected: &[u8]) {
    let mut room = vec![0; expected.len()];
    timeout(PATIENCE, stream.read_exact(&mut room))
        .await
        .expect("in time")
        .expect("read");
    assert_eq!(room, expected);
}

async fn expect_end(stream: &mut (impl AsyncReadExt + Unpin)) {
    let mut room = [0; 64];
    let count = timeout(PATIENCE, stream.read(&mut room))
        .await
        .expect("in time");
    assert!(matches!(count, Ok(0) | Err(_)), "{count:?}");
}

#[test]
fn a_message_comes_in_and_its_answer_goes_back_on_the_same_connection() {
    real(async {
        for loopback in loopbacks() {
            let mut bench = Bench::new(StreamOptions::default());
            let address = bench.listen(loopback);
            let mut client = TcpStream::connect(address).await.expect("connected");
            let flow = bench.opened().await;
            assert!(flow.inbound);
            assert_eq!(flow.local, address);
            assert_eq!(flow.peer, client.local_addr().expect("bound"));

            client
                .write_all(&[REQUEST, b"\r\n", REQUEST].concat())
                .await
                .expect("written");
            for _ in 0..2 {
                assert_eq!(bench.next().await, Told::Message(flow, REQUEST.to_vec()));
            }
            for target in [
                Target::Connection(flow.connection),
                Target::Address(flow.peer),
            ] {
                let used = bench.hub.send(target, ANSWER.to_vec());
                assert_eq!(used, Ok(flow.connection));
                expect_bytes(&mut client, ANSWER).await;
            }
            drop(client);
            assert_eq!(bench.closed().await, (flow, CloseReason::Peer));
            assert_eq!(bench.hub.counters().connections, 0);
            let refused = bench
                .hub
                .send(Target::Connection(flow.connection), ANSWER.to_vec());
            assert_eq!(refused, Err(SendRefused::NotConnected));
            bench.end().await;
        }
    });
}

#[test]
fn a_ping_gets_a_pong() {
    real(async {
        let mut bench = Bench::new(StreamOptions::default());
        let address = bench.listen("127.0.0.1:0");
        let mut client = TcpStream::connect(address).await.expect("connected");
        bench.opened().await;
        client.write_all(b"\r\n\r\n").await.expect("written");
        expect_bytes(&mut client, b"\r\n").await;
        bench.end().await;
    });
}

#[test]
fn a_connection_is_made_once_and_messages_keep_their_order() {
    real(async {
        for loopback in loopbacks() {
            let mut bench = Bench::new(StreamOptions::default());
            let server = TcpListener::bind(loopback).await.expect("listening");
            let address = server.local_addr().expect("bound");
            let hub = bench.hub.clone();
            let sent = std::thread::spawn(move || {
                let mut connections = Vec::new();
                let mut sent = Vec::new();
                for number in 0..500 {
                    let body = format!("{number:04}");
                    let message = [&REQUEST[..REQUEST.len() - 4], body.as_bytes()].concat();
                    sent.extend_from_slice(&message);
                    connections.push(hub.send(Target::Address(address), message).expect("queued"));
                }
                connections.dedup();
                assert_eq!(connections.len(), 1);
                sent
            });
            let (mut stream, peer) = server.accept().await.expect("accepted");
            let flow = bench.opened().await;
            assert_eq!(
                (flow.peer, flow.local, flow.inbound),
                (address, peer, false)
            );
            expect_bytes(&mut stream, &sent.join().expect("no panic")).await;
            stream.write_all(REQUEST).await.expect("written");
            assert_eq!(bench.next().await, Told::Message(flow, REQUEST.to_vec()));
            assert!(bench.hub.close(flow.connection));
            assert_eq!(bench.closed().await, (flow, CloseReason::Requested));
            expect_end(&mut stream).await;
            bench.end().await;
        }
    });
}

#[test]
fn a_refused_connection_is_reported_with_its_target() {
    real(async {
        let mut bench = Bench::new(StreamOptions::default());
        let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = closed.local_addr().expect("bound");
        drop(closed);
        let id = bench
            .hub
            .send(Target::Address(address), REQUEST.to_vec())
            .expect("queued");
        let expected = Told::ConnectFailed(id, address, io::ErrorKind::ConnectionRefused);
        assert_eq!(bench.next().await, expected);
        bench.end().await;
    });
}

#[test]
fn a_connection_that_is_not_answered_times_out() {
    real(async {
        let connect_timeout = Duration::from_millis(50);
        let mut bench = Bench::new(StreamOptions {
            connect_timeout,
            ..StreamOptions::default()
        });
        // A listener whose backlog is full leaves a SYN unanswered.
        let any = "127.0.0.1:0".parse().expect("an address");
        let full = Socket::open(Kind::Stream, any).expect("a socket");
        full.bind(any).expect("bound");
        full.listen(0).expect("listening");
        let address = full.local_address().expect("bound");
        let _first = TcpStream::connect(address).await.expect("connected");
        let id = bench
            .hub
            .send(Target::Address(address), REQUEST.to_vec())
            .expect("queued");
        let expected = Told::ConnectFailed(id, address, io::ErrorKind::TimedOut);
        assert_eq!(bench.next().await, expected);
        bench.end().await;
    });
}

#[test]
fn outbound_connections_leave_from_the_configured_address() {
    real(async {
        let source = Ipv4Addr::new(127, 0, 0, 33);
        let mut bench = Bench::new(StreamOptions {
            source_v4: Some(source),
            ..StreamOptions::default()
        });
        let server = TcpListener::bind("127.0.0.1:0").await.expect("listening");
        let address = server.local_addr().expect("bound");
        bench
            .hub
            .send(Target::Address(address), REQUEST.to_vec())
            .expect("queued");
        let (_stream, peer) = server.accept().await.expect("accepted");
        assert_eq!(peer.ip(), source);
        assert_eq!(bench.opened().await.local, peer);
        bench.end().await;
    });
}

#[test]
fn a_framing_error_is_answered_before_the_connection_is_closed() {
    paused(async {
        let mut bench = Bench::new(StreamOptions::default());
        *bench.recorder.answer.lock().expect("not poisoned") = Some(bench.hub.clone());
        let (_, mut far) = attached(&bench, 4_096);
        let flow = bench.opened().await;
        let bad = b"OPTIONS sip:a SIP/2.0\r\nl: x\r\n\r\n";
        far.write_all(&[&bad[..], REQUEST].concat())
            .await
            .expect("written");
        let error = FrameError::BadContentLength;
        assert_eq!(
            bench.next().await,
            Told::FramingError(flow, error, bad.to_vec())
        );
        expect_bytes(&mut far, ANSWER).await;
        assert_eq!(bench.closed().await, (flow, CloseReason::Framing(error)));
        expect_end(&mut far).await;
        bench.end().await;
    });
}

#[test]
fn what_is_not_sip_is_closed_at_once() {
    paused(async {
        let mut bench = Bench::new(StreamOptions::default());
        let (_, mut far) = attached(&bench, 4_096);
        let flow = bench.opened().await;
        let began = Instant::now();
        far.write_all(b"GET / HTTP/1.1\r\n").await.expect("written");
        let error = FrameError::NotSip;
        assert_eq!(
            bench.next().await,
            Told::FramingError(flow, error, Vec::new())
        );
        assert_eq!(bench.closed().await, (flow, CloseReason::Framing(error)));
        assert_eq!(began.elapsed(), Duration::ZERO);
        bench.end().await;
    });
}

#[test]
fn a_message_trickled_too_slowly_ends_the_connection_in_time() {
    paused(async {
        let mut bench = Bench::new(StreamOptions::default());
        let (_, mut far) = attached(&bench, 4_096);
        let flow = bench.opened().await;
        far.write_all(REQUEST).await.expect("written");
        assert!(matches!(bench.next().await, Told::Message(..)));
        tokio::time::sleep(Duration::from_secs(60)).await;
        let began = Instant::now();
        for byte in REQUEST.iter().take(10) {
            far.write_all(&[*byte]).await.expect("written");
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(bench.closed().await, (flow, CloseReason::PartialMessage));
        assert_eq!(began.elapsed().as_secs(), 30);
        bench.end().await;
    });
}

#[test]
fn many_messages_in_a_row_are_not_a_partial_one() {
    paused(async {
        let mut bench = Bench::new(StreamOptions::default());
        let (_, mut far) = attached(&bench, 4_096);
        let flow = bench.opened().await;
        // Each write ends one message and begins the next, for longer than one may take.
        let (head, tail) = REQUEST.split_at(20);
        far.write_all(head).await.expect("written");
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_secs(10)).await;
            far.write_all(&[tail, head].concat())
                .await
                .expect("written");
            assert_eq!(bench.next().await, Told::Message(flow, REQUEST.to_vec()));
        }
        far.write_all(tail).await.expect("written");
        assert_eq!(bench.next().await, Told::Message(flow, REQUEST.to_vec()));
        bench.end().await;
    });
}

#[test]
fn an_idle_connection_is_closed_and_traffic_keeps_it() {
    paused(async {
        let mut bench = Bench::new(StreamOptions::default());
        let (id, mut far) = attached(&bench, 4_096);
        let flow = bench.opened().await;
        assert!(bench.hub.set_idle_timeout(id, Duration::from_secs(100)));
        far.write_all(REQUEST).await.expect("written");
        assert!(matches!(bench.next().await, Told::Message(..)));
        let began = Instant::now();
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_secs(90)).await;
            far.write_all(b"\r\n\r\n").await.expect("written");
            expect_bytes(&mut far, b"\r\n").await;
        }
        assert_eq!(bench.closed().await, (flow, CloseReason::Idle));
        assert_eq!(began.elapsed().as_secs(), 5 * 90 + 100);
        assert!(!bench.hub.set_idle_timeout(id, Duration::from_secs(1)));
        bench.end().await;
    });
}

#[test]
fn a_connection_that_brings_no_message_is_closed_whatever_keep_alives_come() {
    paused(async {
        let mut bench = Bench::new(StreamOptions {
            first_message_timeout: Duration::from_secs(10),
            ..StreamOptions::default()
        });
        let (_, _silent) = attached(&bench, 4_096);
        let silent = bench.opened().await;
        let began = Instant::now();
        assert_eq!(bench.closed().await, (silent, CloseReason::Silent));
        assert_eq!(began.elapsed().as_secs(), 10);

        let (_, mut far) = attached(&bench, 4_096);
        let pinging = bench.opened().await;
        let began = Instant::now();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(3)).await;
            far.write_all(b"\r\n\r\n").await.expect("written");
            expect_bytes(&mut far, b"\r\n").await;
        }
        // The beginning of a message is none.
        far.write_all(&REQUEST[..20]).await.expect("written");
        assert_eq!(bench.closed().await, (pinging, CloseReason::Silent));
        assert_eq!(began.elapsed().as_secs(), 10);
        expect_end(&mut far).await;
        bench.end().await;
    });
}

#[test]
fn a_connection_may_be_silent_after_its_first_message_or_when_it_was_opened_from_here() {
    paused(async {
        let mut bench = Bench::new(StreamOptions {
            idle_timeout: Duration::from_secs(100),
            ..StreamOptions::default()
        });
        let (_, mut far) = attached(&bench, 4_096);
        let spoke = bench.opened().await;
        tokio::time::sleep(Duration::from_secs(29)).await;
        far.write_all(REQUEST).await.expect("written");
        assert_eq!(bench.next().await, Told::Message(spoke, REQUEST.to_vec()));

        tokio::time::sleep(Duration::from_secs(1)).await;
        let (near, _far) = tokio::io::duplex(4_096);
        let there = "192.0.2.8:5060".parse().expect("an address");
        bench
            .hub
            .attach(near, there, there, false)
            .expect("attached");
        let opened_here = bench.opened().await;
        let began = Instant::now();
        assert_eq!(bench.closed().await, (spoke, CloseReason::Idle));
        assert_eq!(began.elapsed().as_secs(), 99);
        assert_eq!(bench.closed().await, (opened_here, CloseReason::Idle));
        bench.end().await;
    });
}

#[test]
fn a_peer_that_takes_nothing_is_cut_off() {
    paused(async {
        let mut bench = Bench::new(StreamOptions::default());
        let (id, _far) = attached(&bench, 16);
        let flow = bench.opened().await;
        bench
            .hub
            .send(Target::Connection(id), REQUEST.to_vec())
            .expect("queued");
        assert_eq!(bench.closed().await, (flow, CloseReason::WriteStalled));
        bench.end().await;
    });
}

#[test]
fn a_full_queue_closes_the_connection_and_is_counted() {
    paused(async {
        let mut bench = Bench::new(StreamOptions::default());
        let (id, _far) = attached(&bench, 16);
        let flow = bench.opened().await;
        let message = vec![b'x'; 60_000];
        let mut queued = 0;
        let refused = loop {
            match bench.hub.send(Target::Connection(id), message.clone()) {
                Ok(_) => queued += 1,
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused, SendRefused::QueueFull);
        assert_eq!(queued, STREAM_QUEUE_MAX_BYTES / 60_000);
        let after = bench.hub.send(Target::Connection(id), message);
        assert_eq!(after, Err(SendRefused::NotConnected));
        assert_eq!(bench.closed().await, (flow, CloseReason::QueueFull));
        assert_eq!(bench.hub.counters().queue_overflows, 1);
        bench.end().await;
    });
}

#[test]
fn connections_beyond_a_limit_are_turned_away_and_counted() {
    real(async {
        for (connections_max, connections_per_source_max) in [(3, 100), (100, 3)] {
            let mut bench = Bench::new(StreamOptions {
                connections_max,
                connections_per_source_max,
                ..StreamOptions::default()
            });
            let address = bench.listen("127.0.0.1:0");
            let mut clients = Vec::new();
            for _ in 0..3 {
                clients.push(TcpStream::connect(address).await.expect("connected"));
                bench.opened().await;
            }
            let mut refused = TcpStream::connect(address).await.expect("connected");
            expect_end(&mut refused).await;
            let counters = bench.hub.counters();
            let by_total = u64::from(connections_max == 3);
            assert_eq!(
                (counters.refused_total, counters.refused_source),
                (by_total, 1 - by_total)
            );
            drop(clients.pop());
            bench.closed().await;
            let _next = TcpStream::connect(address).await.expect("connected");
            bench.opened().await;
            bench.end().await;
        }
    });
}

#[test]
fn shutdown_sends_what_is_queued_and_takes_nothing_more() {
    real(async {
        let mut bench = Bench::new(StreamOptions::default());
        let address = bench.listen("127.0.0.1:0");
        let mut client = TcpStream::connect(address).await.expect("connected");
        let flow = bench.opened().await;
        for _ in 0..100 {
            bench
                .hub
                .send(Target::Connection(flow.connection), ANSWER.to_vec())
                .expect("queued");
        }
        let hub = bench.hub.clone();
        bench.end().await;
        expect_bytes(&mut client, &ANSWER.repeat(100)).await;
        expect_end(&mut client).await;
        let refused = hub.send(Target::Address(address), ANSWER.to_vec());
        assert_eq!(refused, Err(SendRefused::ShuttingDown));
        TcpStream::connect(address)
            .await
            .expect_err("nobody listens");
        hub.listen(address, ListenOptions::default())
            .expect_err("shut down");
    });
}

#[test]
fn shutdown_does_not_wait_longer_than_its_grace() {
    paused(async {
        let mut bench = Bench::new(StreamOptions::default());
        let (id, _far) = attached(&bench, 16);
        bench.opened().await;
        bench
            .hub
            .send(Target::Connection(id), REQUEST.to_vec())
            .expect("queued");
        let began = Instant::now();
        bench.hub.shutdown(Duration::from_secs(3)).await;
        assert_eq!(began.elapsed().as_secs(), 3);
        bench.end().await;
    });
}

#[test]
fn an_address_that_is_no_longer_listened_on_keeps_its_connections() {
    real(async {
        let mut bench = Bench::new(StreamOptions::default());
        let address = bench.listen("127.0.0.1:0");
        let mut client = TcpStream::connect(address).await.expect("connected");
        let flow = bench.opened().await;
        assert!(bench.hub.unlisten(address));
        assert!(!bench.hub.unlisten(address));
        client.write_all(REQUEST).await.expect("written");
        assert_eq!(bench.next().await, Told::Message(flow, REQUEST.to_vec()));
        bench.end().await;
    });
}
