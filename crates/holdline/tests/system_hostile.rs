//! Broken and hostile messages to a node that has calls to look after.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use support::message::Message;
use support::phone::{Dialog, connect, end, framed, unique};
use support::{Node, PATIENCE, Phone};

/// Where the hostile messages come from: port 5060, since most of them ask for answers there.
const HOSTILE: &str = "127.0.0.77:5060";

/// One worker keeps the order of answers. The senders are trusted, so that a message is judged for
/// what is wrong with it, and names lead nowhere.
const EDGE: &str = "workers = 1\ntrusted = [\"127.0.0.77/32\"]";
const MORE: &str =
    "[dns]\nnameservers = [\"127.0.0.1:9\"]\n[edge.timers]\nt1_ms = 10\nt2_ms = 20\nt4_ms = 50\n";

/// A message of the corpus, and what a proxy is to do with it.
struct Case {
    file: String,
    bytes: Vec<u8>,
    verdict: String,
    stream: String,
    fits_datagram: bool,
}

impl Case {
    /// The statuses that the verdict names.
    fn statuses(&self) -> Vec<u16> {
        let named = self.verdict.split_once(':').map_or("", |(_, named)| named);
        let numbers = named.split('|').filter(|number| !number.is_empty());
        numbers
            .map(|number| number.parse().expect("a status"))
            .collect()
    }

    fn is(&self, kind: &str) -> bool {
        self.verdict.split(':').next() == Some(kind)
    }

    /// Whether it is right that this status, or none, is the answer of the proxy itself.
    fn allows(&self, status: Option<u16>) -> bool {
        let is_dropped = self.is("drop") || self.is("ignore");
        let is_refused = self.is("respond") || self.is("respond_or_drop");
        match status {
            Some(status) if is_refused => self.statuses().contains(&status),
            Some(_) => !is_dropped,
            None => !self.is("respond"),
        }
    }
}

/// All messages that the proxy itself decides on, then those that it forwards.
fn corpus() -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in ["torture", "hostile"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../sip/tests")
            .join(folder);
        let manifest = fs::read_to_string(folder.join("manifest.toml")).expect("readable");
        let manifest: toml::Table = manifest.parse().expect("TOML");
        for message in manifest["message"].as_array().expect("a list") {
            let word = |key: &str| {
                message
                    .get(key)
                    .and_then(toml::Value::as_str)
                    .unwrap_or_default()
            };
            cases.push(Case {
                file: word("file").to_owned(),
                bytes: fs::read(folder.join(word("file"))).expect("readable"),
                verdict: word("proxy").to_owned(),
                stream: word("stream").to_owned(),
                fits_datagram: word("transport") != "tcp",
            });
        }
    }
    assert!(cases.len() > 200, "{}", cases.len());
    cases.sort_by_key(|case| case.verdict.starts_with("forward"));
    cases
}

/// A call that is up while the messages come, with a registration now and then.
struct Talk {
    alice: Phone,
    bob: Phone,
    dialog: Dialog,
}

impl Talk {
    fn begin(node: &Node) -> Talk {
        node.add_users(&["alice", "bob"]);
        let (mut alice, mut bob) = (Phone::udp(node, "alice"), Phone::tcp(node, "bob"));
        assert_eq!(alice.registers(600).status(), 200);
        assert_eq!(bob.registers(600).status(), 200);
        let (dialog, _) = connect(&mut alice, &mut bob);
        Talk { alice, bob, dialog }
    }

    fn goes_on(&mut self) {
        assert_eq!(self.alice.registers(600).status(), 200);
        let info = self.alice.within(&mut self.dialog, "INFO", "", "");
        self.alice.send(&info);
        let info = self.bob.request("INFO");
        self.bob.responds(&info, "200 OK", "");
        self.alice.response(200);
    }

    fn end(mut self, node: &Node) {
        self.goes_on();
        end((&mut self.alice, &mut self.dialog), &mut self.bob);
        let (mut call, _) = connect(&mut self.alice, &mut self.bob);
        end((&mut self.alice, &mut call), &mut self.bob);
        assert_eq!(node.http("GET /healthz").0, 200);
        is_empty(node);
        assert!(!node.log().contains("panicked"), "{}", node.log());
    }
}

/// Waits until the node has forgotten everything that was in progress.
fn is_empty(node: &Node) {
    node.wait_for(|node| {
        let sides = ["client", "server"];
        let open = sides.map(|side| format!("holdline_transactions{{side=\"{side}\"}}"));
        node.metric("holdline_calls") == 0.0 && open.iter().all(|name| node.metric(name) == 0.0)
    });
}

fn options(from: SocketAddr, transport: &str, call_id: &str) -> String {
    format!(
        "OPTIONS sip:example.org SIP/2.0\r\nVia: SIP/2.0/{transport} {from};rport;branch={}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:x@example.net>;tag=x\r\nTo: <sip:example.org>\r\n\
         Call-ID: {call_id}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n",
        unique("z9hG4bK")
    )
}

/// When a question that is not answered is sent again: behind many datagrams it may be lost.
const RESEND: Duration = Duration::from_millis(500);

/// Sends a datagram and then a question that is answered at once; gives the final response to the
/// datagram, if there was one.
fn judged(socket: &UdpSocket, node: SocketAddr, bytes: &[u8]) -> Option<u16> {
    let (call_id, local) = (unique("ask"), socket.local_addr().expect("bound"));
    socket.send_to(bytes, node).expect("sent");
    let ask = options(local, "UDP", &call_id);
    socket.set_read_timeout(Some(RESEND)).expect("an option");
    let mut status = None;
    let mut buffer = vec![0; 65_536];
    let deadline = Instant::now() + PATIENCE;
    socket.send_to(ask.as_bytes(), node).expect("sent");
    loop {
        let Ok(size) = socket.recv(&mut buffer) else {
            assert!(Instant::now() < deadline, "the node answers no question");
            socket.send_to(ask.as_bytes(), node).expect("sent");
            continue;
        };
        let answer = Message::new(&buffer[..size]);
        if answer.header("Call-ID") == call_id {
            return status;
        }
        // A former question may have been answered twice.
        if answer.status() >= 200 && !answer.header("Call-ID").starts_with("ask") {
            status = status.or(Some(answer.status()));
        }
    }
}

#[test]
fn each_message_of_the_corpus_gets_what_its_manifest_says_over_udp() {
    let node = Node::start_edge(EDGE, MORE);
    let mut talk = Talk::begin(&node);
    let socket = UdpSocket::bind(HOSTILE).expect("nobody else has this address");
    let (refused, received) = (
        node.refused(),
        node.metric("holdline_messages_received_total"),
    );
    let mut wrong = BTreeMap::new();
    for (count, case) in corpus()
        .into_iter()
        .filter(|case| case.fits_datagram)
        .enumerate()
    {
        let status = judged(&socket, node.address(), &case.bytes);
        // A Via with a port of its own may send the answer there.
        let via = Message::new(&case.bytes);
        let is_elsewhere = status.is_none() && via.header("Via").contains(':');
        if !is_elsewhere && !case.allows(status) {
            wrong.insert(case.file, (case.verdict, status));
        }
        if count % 25 == 0 {
            talk.goes_on();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        node.refused() >= refused + 50.0,
        "{}",
        node.refused() - refused
    );
    assert!(node.metric("holdline_messages_received_total") > received + 200.0);
    talk.end(&node);
}

/// Sends a message on a connection of its own, and a question after it where the stream still has
/// its frames; gives the final response to the message, if there was one.
fn judged_on_stream(node: SocketAddr, case: &Case) -> Option<u16> {
    let mut stream = TcpStream::connect(node).expect("the node listens");
    let wait = Some(Duration::from_secs(5));
    stream.set_read_timeout(wait).expect("an option");
    let (call_id, local) = (unique("ask"), stream.local_addr().expect("bound"));
    // The node may have hung up before it has seen everything.
    let mut written = stream.write_all(&case.bytes);
    if case.stream == "message" {
        let ask = options(local, "TCP", &call_id);
        written = written.and_then(|()| stream.write_all(ask.as_bytes()));
    } else {
        written = written.and_then(|()| stream.shutdown(Shutdown::Write));
    }
    let (mut status, mut buffer) = (None, Vec::new());
    let mut bytes = [0; 4096];
    loop {
        while let Some(message) = framed(&mut buffer) {
            let answer = Message::new(&message);
            if answer.header("Call-ID") == call_id {
                return status;
            }
            if answer.status() >= 200 {
                status = status.or(Some(answer.status()));
            }
        }
        match stream.read(&mut bytes) {
            Ok(size) if size > 0 => buffer.extend_from_slice(&bytes[..size]),
            ended => {
                assert!(
                    ended.is_ok() || written.is_err(),
                    "{}: {ended:?}",
                    case.file
                );
                return status;
            }
        }
    }
}

#[test]
fn each_message_of_the_corpus_gets_what_its_manifest_says_over_tcp() {
    let node = Node::start_edge("workers = 1", MORE);
    let mut talk = Talk::begin(&node);
    let mut wrong = BTreeMap::new();
    for (count, case) in corpus().into_iter().enumerate() {
        let status = judged_on_stream(node.address(), &case);
        // Where framing is lost there may be nobody to answer any more.
        let is_lost = status.is_none() && case.stream != "message";
        // What says to be longer than anything may be is refused for that.
        let is_too_long = status == Some(413) && case.stream != "message";
        // Nobody is trusted here: that may be said before the fault.
        if !is_lost && !is_too_long && status != Some(403) && !case.allows(status) {
            wrong.insert(case.file, (case.verdict, case.stream, status));
        }
        if count % 25 == 0 {
            talk.goes_on();
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(node.metric("holdline_tcp_framing_errors_total") >= 5.0);
    assert!(node.refused() >= 50.0, "{}", node.refused());
    talk.end(&node);
    node.wait_for(|node| node.metric("holdline_tcp_connections") <= 1.0);
}

/// What mutilated messages are strewn with.
const SEPARATORS: &[u8] = b"\r\n\0\";:<>@% ,=";

/// A source of numbers that is the same in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}

#[test]
fn mutilated_messages_and_noise_leave_the_node_as_it_was() {
    let node = Node::start_edge(EDGE, MORE);
    let mut talk = Talk::begin(&node);
    let socket = UdpSocket::bind("127.0.0.77:0").expect("a free port");
    let (mut dice, corpus) = (Dice(1), corpus());
    for count in 0..1_500 {
        let mut bytes = corpus[dice.below(corpus.len())].bytes.clone();
        bytes.truncate(2_000);
        for _ in 0..=dice.below(8) {
            let at = dice.below(bytes.len().max(1));
            match dice.below(4) {
                _ if bytes.is_empty() => bytes.push(0),
                0 => bytes[at] = dice.below(256) as u8,
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, SEPARATORS[dice.below(SEPARATORS.len())]),
                _ => bytes.extend_from_within(at..),
            }
        }
        socket.send_to(&bytes, node.address()).expect("sent");
        if count % 100 == 0 {
            judged(&socket, node.address(), b"\r\n\r\n");
            talk.goes_on();
            let mut stream = TcpStream::connect(node.address()).expect("the node listens");
            drop(stream.write_all(&bytes));
        }
    }
    assert!(node.refused() > 500.0, "{}", node.refused());
    talk.end(&node);
}

#[test]
fn a_source_that_opens_connections_without_end_is_cut_off_and_others_are_not() {
    let limits = "[edge.limits]\ntcp_connections_max = 40\ntcp_connections_per_source_max = 30\n";
    let node = Node::start_edge("", &format!("{MORE}{limits}"));
    let mut talk = Talk::begin(&node);
    let opened: Vec<_> = (0..60)
        .filter_map(|_| TcpStream::connect(node.address()).ok())
        .collect();
    node.wait_for(|node| node.metric("holdline_tcp_refused_source_total") >= 20.0);
    talk.goes_on();
    drop(opened);
    node.wait_for(|node| node.metric("holdline_tcp_connections") <= 1.0);
    talk.end(&node);
}
