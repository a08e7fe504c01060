//! Sound through a node: two phones, each with a socket for RTP, and who else wants to be heard.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use serde_json::Value;

use support::message::Message;
use support::node::password_of;
use support::phone::{Dialog, connect, end};
use support::sipp::{Over, Sipp};
use support::{Node, PATIENCE, Phone, free_port, wait_until};

/// An address of loopback that no other process of tests has ports for media on.
fn media_address() -> String {
    let number = std::process::id();
    format!(
        "127.{}.{}.{}",
        64 + (number >> 16 & 63),
        number >> 8 & 255,
        (number & 255).max(1)
    )
}

/// A node with users and so many pairs of ports, which relays all calls.
fn node(pairs: u16, media: &str, users: &[&str]) -> Node {
    let edge = format!(
        "rtp_ports = [21000, {}]\n[edge.media]\npolicy = \"always\"\naddresses = [\"{}\"]\n{media}\n",
        20_999 + 2 * pairs,
        media_address()
    );
    Node::with_users(&edge, "", users)
}

/// A phone with a socket for sound.
struct Talker {
    phone: Phone,
    sound: UdpSocket,
    sequence: u16,
}

impl Talker {
    fn of(node: &Node, user: &str) -> Talker {
        Talker::at(node.address(), user)
    }

    fn at(node: SocketAddr, user: &str) -> Talker {
        let sound = UdpSocket::bind((node.ip(), 0)).expect("a free port");
        let own = sound.local_addr().expect("bound");
        let (address, port) = (own.ip(), own.port());
        let family = if own.is_ipv4() { 4 } else { 6 };
        let mut phone = Phone::udp_to(node, user);
        phone.description = format!(
            "v=0\r\no=- 1 1 IN IP{family} {address}\r\ns=-\r\nc=IN IP{family} {address}\r\nt=0 0\r\n\
             m=audio {port} RTP/AVP 8\r\n"
        );
        assert_eq!(phone.registers(600).status(), 200);
        let sequence = 0;
        Talker {
            phone,
            sound,
            sequence,
        }
    }

    /// Sends 20 ms of sound to where it was told.
    fn says(&mut self, to: SocketAddr) -> Vec<u8> {
        self.sequence += 1;
        let packet = packet(
            self.sequence,
            self.sound.local_addr().expect("bound").port(),
        );
        self.sound.send_to(&packet, to).expect("sent");
        packet
    }

    /// The next sound that comes.
    fn hears(&self, wait: Duration) -> Option<(Vec<u8>, SocketAddr)> {
        self.sound.set_read_timeout(Some(wait)).expect("an option");
        let mut room = [0; 2_048];
        let (size, from) = self.sound.recv_from(&mut room).ok()?;
        Some((room[..size].to_vec(), from))
    }
}

fn packet(sequence: u16, ssrc: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 8];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(u32::from(ssrc).to_be_bytes());
    packet.extend([0xd5; 160]);
    packet
}

/// Where a message's description wants sound.
fn told(message: &Message) -> SocketAddr {
    let value = |prefix: &str| {
        let mut lines = message.body().lines();
        let found = lines.find_map(|line| line.strip_prefix(prefix));
        assert!(found.is_some(), "no {prefix}: {message:?}");
        found.unwrap_or_default().to_owned()
    };
    let address = value("c=IN IP");
    let address: IpAddr = address[2..].parse().expect("an address");
    let port = value("m=audio ").split(' ').next().map(str::parse);
    SocketAddr::new(address, port.expect("a port").expect("a number"))
}

/// A call of two phones: its dialog, and where each was told to send sound.
fn talk(alice: &mut Talker, bob: &mut Talker) -> (Dialog, [SocketAddr; 2]) {
    let mut call = alice.phone.calls(&bob.phone.user);
    let invite = bob.phone.rings();
    alice.phone.response(180);
    bob.phone.answers(&invite);
    let answer = alice.phone.answered(&mut call);
    bob.phone.is_acknowledged(&invite);
    (call, [told(&answer), told(&invite)])
}

/// Both talk and hear each other.
fn hear_each_other(alice: &mut Talker, bob: &mut Talker, [to_bob, to_alice]: [SocketAddr; 2]) {
    for _ in 0..3 {
        let said = alice.says(to_bob);
        assert_eq!(bob.hears(PATIENCE), Some((said, to_alice)));
        let said = bob.says(to_alice);
        assert_eq!(alice.hears(PATIENCE), Some((said, to_bob)));
    }
}

/// Reads what the node tells until a call has ended.
fn next_end(events: &mut BufReader<TcpStream>) -> Value {
    loop {
        let mut line = String::new();
        assert!(
            events.read_line(&mut line).expect("in time") > 0,
            "it hung up"
        );
        match serde_json::from_str::<Value>(&line) {
            Ok(event) if event["event"] == "call_ended" => return event,
            _ => {}
        }
    }
}

fn events(node: &Node) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", node.admin)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let head = "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("open");
    let mut events = BufReader::new(stream);
    let mut line = String::new();
    events.read_line(&mut line).expect("an answer");
    assert!(line.contains("200"), "{line}");
    events
}

#[test]
fn two_phones_hear_each_other_through_the_node_and_nobody_else() {
    let node = node(10, "", &["alice", "bob"]);
    let mut told = events(&node);
    let (mut alice, mut bob) = (Talker::of(&node, "alice"), Talker::of(&node, "bob"));
    let (mut call, ways) = talk(&mut alice, &mut bob);
    assert!(
        ways.iter()
            .all(|way| way.ip().to_string() == media_address())
    );
    hear_each_other(&mut alice, &mut bob, ways);
    // A stranger who sends to all ports is not heard.
    let stranger = UdpSocket::bind("127.9.9.9:0").expect("a free port");
    for port in 21_000..21_020 {
        let to = (ways[0].ip(), port);
        stranger.send_to(&packet(9, 9), to).expect("sent");
    }
    wait_until("the stranger's packets are counted", || {
        let foreign = node.metric("holdline_relay_dropped_total{reason=\"foreign\"}");
        (foreign > 0.0).then_some(())
    });
    hear_each_other(&mut alice, &mut bob, ways);
    assert_eq!(alice.hears(Duration::from_millis(50)), None);

    let status = node.verb("status");
    assert_eq!(status["relay"]["sessions"], 1);
    assert_eq!(status["relay"]["ports_in_use"], 2);
    assert_eq!(status["relay"]["ports_free"], 8);
    assert_eq!(status["relay"]["packets"], 12);
    let calls = node.items("calls");
    let media = calls[0]["media"].as_array().expect("a list");
    for (leg, party) in media.iter().zip(["caller", "callee"]) {
        assert_eq!(leg["party"], party);
        assert_eq!((&leg["packets"], &leg["lost"]), (&6.into(), &0.into()));
        assert_eq!(leg["sources_learned"], 1);
        // No address of a phone unless it is asked for.
        let source = leg["source"].as_str().expect("learned");
        assert!(!source.contains("127.0.0.1"), "{source}");
    }

    end((&mut alice.phone, &mut call), &mut bob.phone);
    let ended = next_end(&mut told);
    assert_eq!(ended["media"][1]["packets"], 6, "{ended}");
    node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
    assert_eq!(node.metric("holdline_relay_ports_free"), 10.0);
    assert_eq!(node.metric("holdline_relay_sessions"), 0.0);
    assert_eq!(node.metric("holdline_relay_mos_count"), 2.0);
}

#[test]
fn a_call_for_which_there_are_no_ports_is_refused_for_now_and_others_go_on() {
    let node = node(3, "", &["alice", "bob", "carol"]);
    let (mut alice, mut bob) = (Talker::of(&node, "alice"), Talker::of(&node, "bob"));
    let mut carol = Phone::udp(&node, "carol");
    assert_eq!(carol.registers(600).status(), 200);
    let (mut call, ways) = talk(&mut alice, &mut bob);
    // One pair is left, and a call needs two.
    let second = carol.calls("bob");
    let refusal = carol.refused(&second, 503);
    assert!(!refusal.header("Retry-After").is_empty(), "{refusal:?}");
    bob.phone.hears_nothing(200);
    hear_each_other(&mut alice, &mut bob, ways);
    assert!(node.metric("holdline_relay_ports_exhausted_total") >= 1.0);
    end((&mut alice.phone, &mut call), &mut bob.phone);
    node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
    let (mut third, _) = connect(&mut carol, &mut bob.phone);
    end((&mut carol, &mut third), &mut bob.phone);
    node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
}

#[test]
fn a_call_in_which_nobody_is_heard_any_more_ends_and_gives_its_ports_back() {
    let node = node(4, "silence_timeout_s = 5", &["alice", "bob"]);
    let mut told = events(&node);
    let (mut alice, mut bob) = (Talker::of(&node, "alice"), Talker::of(&node, "bob"));
    let (_, ways) = talk(&mut alice, &mut bob);
    hear_each_other(&mut alice, &mut bob, ways);
    // Both phones lose their power: no BYE.
    let ended = next_end(&mut told);
    assert_eq!(ended["silent"], true, "{ended}");
    assert_eq!(ended["media"][0]["packets"], 3, "{ended}");
    node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
    assert_eq!(node.metric("holdline_relay_sessions_silent_total"), 1.0);
    assert_eq!(node.metric("holdline_calls_silent_total"), 1.0);
    assert_eq!(node.metric("holdline_calls"), 0.0);
}

#[test]
fn phones_of_both_families_hear_each_other() {
    if UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("NOT TESTED: this machine has no IPv6");
        return;
    }
    // By default calls between the families are relayed. The ports are those of the listeners.
    let first = 20_000 + (std::process::id() % 1_000 * 8) as u16;
    let edge = format!("rtp_ports = [{first}, {}]", first + 7);
    let node = Node::start_on(&["127.0.0.1", "[::1]"], &edge, "");
    node.add_users(&["alice", "bob"]);
    let there = SocketAddr::new("::1".parse().expect("an address"), node.sip);
    let (mut alice, mut bob) = (Talker::of(&node, "alice"), Talker::at(there, "bob"));
    let (mut call, ways) = talk(&mut alice, &mut bob);
    assert!(ways[0].is_ipv4() && ways[1].is_ipv6(), "{ways:?}");
    hear_each_other(&mut alice, &mut bob, ways);
    end((&mut alice.phone, &mut call), &mut bob.phone);
    node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
    // Two of one family are left to themselves.
    let mut carol = Talker::of(&node, "bob");
    let (mut call, _) = talk(&mut alice, &mut carol);
    end((&mut alice.phone, &mut call), &mut carol.phone);
}

#[test]
fn phones_behind_nat_hear_each_other_when_they_have_spoken() {
    let edge = format!(
        "rtp_ports = [21000, 21007]\n[edge.media]\naddresses = [\"{}\"]\n",
        media_address()
    );
    let node = Node::with_users(&edge, "", &["alice", "bob"]);
    let [mut alice, mut bob] = ["alice", "bob"].map(|user| {
        let mut talker = Talker::of(&node, user);
        assert_eq!(talker.phone.registers(0).status(), 200);
        // What they say of themselves is true behind their NAT only.
        talker.phone.contact = format!("sip:{user}@10.9.8.7:5060");
        talker.phone.description = talker.phone.description.replace("127.0.0.1", "10.9.8.7");
        assert_eq!(talker.phone.registers(600).status(), 200);
        talker
    });
    let (mut call, ways) = talk(&mut alice, &mut bob);
    assert!(
        ways.iter()
            .all(|way| way.ip().to_string() == media_address())
    );
    // The first sound of one may find the other unknown still.
    alice.says(ways[0]);
    bob.says(ways[1]);
    node.wait_for(|node| node.metric("holdline_relay_sources_learned_total") == 2.0);
    while alice.hears(Duration::from_millis(100)).is_some() {}
    while bob.hears(Duration::from_millis(100)).is_some() {}
    hear_each_other(&mut alice, &mut bob, ways);
    end((&mut alice.phone, &mut call), &mut bob.phone);
    node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
}

/// Calls of alice by SIPp, 100 at once.
fn sipp_calls(node: &Node, callee: &str, scenarios: [&str; 2]) -> [Sipp; 2] {
    let password = password_of("alice");
    let words = [
        ("CALLEE", callee),
        ("PASSWORD", &password),
        ("STATUS", "486"),
    ];
    let port = free_port();
    Phone::udp(node, callee).registers_at(&format!("<sip:{callee}@127.0.0.1:{port}>"));
    let callee = Sipp::waits(node, scenarios[1], (Over::Udp, port), &words, 100);
    [
        Sipp::calls(node, scenarios[0], Over::UdpEach, &words, 100),
        callee,
    ]
}

#[test]
fn ports_come_back_from_calls_of_every_ending_on_several_workers_and_relay_threads() {
    let edge = format!(
        "workers = 3\nrtp_ports = [21000, 22999]\n[edge.media]\npolicy = \"always\"\n\
         relay_threads = 2\naddresses = [\"{}\"]\n[edge.timers]\nt1_ms = 30\nt2_ms = 60\nt4_ms = 60\n",
        media_address()
    );
    let node = Node::with_users(&edge, "", &["alice", "bob", "carol", "dave"]);
    let sides = [
        sipp_calls(&node, "bob", ["caller", "callee"]),
        sipp_calls(&node, "carol", ["caller_cancels", "callee_cancelled"]),
        sipp_calls(&node, "dave", ["caller_refused", "callee_refuses"]),
    ];
    for side in sides.into_iter().flatten() {
        let ended = side.end();
        assert!(ended.is_ok(), "{}", ended.unwrap_or_else(|error| error));
    }
    node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
    assert_eq!(node.metric("holdline_relay_ports_free"), 1_000.0);
    assert_eq!(node.metric("holdline_relay_sessions_opened_total"), 300.0);
    assert_eq!(node.metric("holdline_relay_sessions"), 0.0);
    assert_eq!(node.metric("holdline_relay_threads"), 2.0);
    assert_eq!(node.metric("holdline_relay_ports_exhausted_total"), 0.0);
}

#[test]
fn a_node_that_drains_waits_for_the_calls_that_it_relays() {
    let node = node(4, "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Talker::of(&node, "alice"), Talker::of(&node, "bob"));
    let (mut call, ways) = talk(&mut alice, &mut bob);
    node.signal("-TERM");
    node.wait_for(|node| node.http("GET /healthz").0 == 503);
    std::thread::sleep(Duration::from_millis(300));
    hear_each_other(&mut alice, &mut bob, ways);
    end((&mut alice.phone, &mut call), &mut bob.phone);
    assert_eq!(node.end(), Some(0));
}

#[test]
fn a_reload_changes_who_is_relayed_and_names_what_it_cannot_change() {
    let node = node(4, "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Talker::of(&node, "alice"), Talker::of(&node, "bob"));
    let (mut call, ways) = talk(&mut alice, &mut bob);
    let file = node.path().join("holdline.toml");
    let text = fs::read_to_string(&file).expect("readable");
    let text = text.replace("\"always\"", "\"never\"");
    let text = text
        .replace("21007]", "21009]")
        .replace("addresses", "relay_threads = 3\naddresses");
    fs::write(&file, text).expect("written");
    let done = node.verb("reload");
    let keys: Vec<&str> = done["needs_restart"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert_eq!(keys, ["edge.rtp_ports", "edge.media"]);
    // The call that is up is not disturbed; the next one goes from phone to phone.
    hear_each_other(&mut alice, &mut bob, ways);
    end((&mut alice.phone, &mut call), &mut bob.phone);
    let (mut call, ways) = talk(&mut alice, &mut bob);
    let own = |talker: &Talker| talker.sound.local_addr().expect("bound");
    assert_eq!(ways, [own(&bob), own(&alice)]);
    end((&mut alice.phone, &mut call), &mut bob.phone);
    node.wait_for(|node| node.metric("holdline_relay_ports_in_use") == 0.0);
    assert_eq!(node.metric("holdline_relay_ports_free"), 4.0);
}
