//! What scanners, guessers and floods come to, and what they cannot do to others.

mod rig;

use rig::{BOB, Rig, STRANGER, Sip, answer, credentials, request, tcp, udp};
use transaction::Flow;

const TO_BOB: &str = "sip:bob@example.org";
/// An address that a forger names as his.
const VICTIM: &str = "198.51.100.200:5060";

/// A sender with requests numbered from one.
struct Sender {
    flow: Flow,
    count: u32,
}

impl Sender {
    fn at(address: &str) -> Sender {
        let flow = udp(address);
        Sender { flow, count: 0 }
    }

    fn text(&mut self, method: &str, uri: &str, lines: &[&str]) -> String {
        self.count += 1;
        let cseq = format!("CSeq: {} {method}", self.count);
        let call_id = format!("Call-ID: {}-{}", self.flow.remote, self.count);
        let contact = format!("Contact: <sip:alice@{}>", self.flow.remote);
        let mut all = vec![cseq.as_str(), &call_id, &contact];
        all.extend(lines);
        let via = format!("{};branch=z9hG4bK-{}", self.flow.remote, self.count);
        request(method, uri, &via, &all)
    }

    /// Sends a request and gives the answer.
    #[track_caller]
    fn ask(&mut self, rig: &mut Rig, method: &str, uri: &str, lines: &[&str]) -> Sip {
        let text = self.text(method, uri, lines);
        rig.feed_on(self.flow, &text);
        rig.to(&self.flow.remote.to_string())
    }

    /// Registers alice with `password`: what becomes of the second request.
    #[track_caller]
    fn register(&mut self, rig: &mut Rig, password: &str) -> u16 {
        let to = "To: <sip:alice@example.org>";
        let first = self.ask(rig, "REGISTER", "sip:example.org", &[to]);
        let line = authorization(password, first.the("WWW-Authenticate"));
        let second = self.ask(rig, "REGISTER", "sip:example.org", &[to, &line]);
        second.status()
    }

    /// Guesses with a nonce that came with `challenge`.
    fn guess(&mut self, rig: &mut Rig, challenge: &str) {
        let line = authorization("guess", challenge);
        let to = "To: <sip:alice@example.org>";
        self.ask(rig, "REGISTER", "sip:example.org", &[to, &line]);
    }
}

fn authorization(password: &str, challenge: &str) -> String {
    let line = credentials("alice", password, "REGISTER", "sip:example.org", challenge);
    format!("Authorization: {line}")
}

fn is_banned(rig: &mut Rig, flow: &Flow) -> bool {
    let now = rig.now().time;
    rig.users.sources.is_banned(now, flow)
}

/// Offence, proof and length of the bans so far.
fn bans(rig: &mut Rig) -> Vec<(&'static str, bool, u64)> {
    let now = rig.now().time;
    let bans = rig.output.bans.drain(..);
    bans.map(|ban| {
        let length_s = ban.until.ms_since(now) / 1_000;
        (ban.offence.as_str(), ban.is_proved, length_s)
    })
    .collect()
}

#[test]
fn a_password_guesser_has_ten_guesses() {
    let mut rig = Rig::new();
    let mut guesser = Sender::at(STRANGER);
    for _ in 0..9 {
        assert_eq!(guesser.register(&mut rig, "guess"), 401);
    }
    assert!(!is_banned(&mut rig, &guesser.flow));
    guesser.register(&mut rig, "guess");
    assert!(is_banned(&mut rig, &guesser.flow));
    assert!(is_banned(&mut rig, &tcp(STRANGER)));
    assert_eq!(bans(&mut rig), [("password", true, 60)]);
    rig.forgets();
}

#[test]
fn an_unknown_user_counts_as_a_wrong_password() {
    let mut rig = Rig::new();
    rig.users.passwords.remove("alice");
    let mut guesser = Sender::at(STRANGER);
    for _ in 0..10 {
        assert_eq!(guesser.register(&mut rig, "a"), 401);
    }
    assert_eq!(bans(&mut rig), [("password", true, 60)]);
    rig.forgets();
}

#[test]
fn a_phone_that_registers_often_is_never_banned() {
    let mut rig = Rig::new();
    let mut phone = Sender::at(STRANGER);
    for _ in 0..2_000 {
        assert_eq!(phone.register(&mut rig, "a"), 200);
        rig.wait(100);
    }
    assert_eq!(bans(&mut rig), []);
}

#[test]
fn a_forgers_own_nonce_proves_nothing_of_his_victim() {
    let mut rig = Rig::new();
    let mut forger = Sender::at(STRANGER);
    let challenge = forger.ask(
        &mut rig,
        "REGISTER",
        "sip:example.org",
        &["To: <sip:alice@example.org>"],
    );
    let challenge = challenge.the("WWW-Authenticate").to_owned();
    let mut victim = Sender::at(VICTIM);
    assert_eq!(victim.register(&mut rig, "a"), 200);
    // In the victim's name, from a port that is not his phone's.
    let mut forged = Sender::at("198.51.100.200:6000");
    for _ in 0..1_000 {
        forged.guess(&mut rig, &challenge);
    }
    for (_, is_proved, length_s) in bans(&mut rig) {
        assert!(!is_proved && length_s == 60);
    }
    assert!(is_banned(&mut rig, &forged.flow));
    assert!(!is_banned(&mut rig, &victim.flow));
    assert!(!is_banned(&mut rig, &tcp("198.51.100.200:6001")));
    assert_eq!(victim.register(&mut rig, "a"), 200);
}

#[test]
fn a_scan_for_extensions_is_banned_though_it_never_answers_a_challenge() {
    let mut rig = Rig::new();
    let mut scanner = Sender::at(STRANGER);
    let mut extensions = 100..1_000;
    while !is_banned(&mut rig, &scanner.flow) {
        let extension = extensions.next().expect("banned before the end");
        let to = format!("To: <sip:{extension}@example.org>");
        let refusal = scanner.ask(&mut rig, "REGISTER", "sip:example.org", &[&to]);
        assert_eq!(refusal.status(), 401);
    }
    assert!(extensions.start <= 201, "{extensions:?}");
    assert_eq!(bans(&mut rig), [("challenged", false, 60)]);
    rig.forgets();
}

#[test]
fn an_options_scan_is_banned_and_a_ping_every_few_seconds_is_not() {
    let mut rig = Rig::new();
    let mut pinger = Sender::at("198.51.100.9:5060");
    for _ in 0..1_000 {
        pinger.ask(&mut rig, "OPTIONS", "sip:example.org", &[]);
        rig.wait(3_000);
    }
    assert_eq!(bans(&mut rig), []);
    let mut scanner = Sender::at(STRANGER);
    for _ in 0..201 {
        scanner.ask(&mut rig, "OPTIONS", "sip:example.org", &[]);
    }
    assert_eq!(bans(&mut rig), [("options", false, 60)]);
    rig.forgets();
}

#[test]
fn who_sends_rubbish_or_wants_a_relay_is_banned() {
    let mut rig = Rig::new();
    for _ in 0..21 {
        rig.feed(STRANGER, "\u{1}\u{2}rubbish\r\n\r\n");
    }
    assert_eq!(bans(&mut rig), [("malformed", false, 60)]);
    let mut dialler = Sender::at(VICTIM);
    for _ in 0..21 {
        let from = "From: <sip:x@elsewhere.example>;tag=x";
        let refusal = dialler.ask(&mut rig, "INVITE", "sip:0044@elsewhere.example", &[from]);
        assert_eq!(refusal.status(), 403);
    }
    assert_eq!(bans(&mut rig), [("relaying", false, 60)]);
    rig.forgets();
}

#[test]
fn keep_alives_are_no_offence() {
    let mut rig = Rig::new();
    for _ in 0..1_000 {
        rig.feed(STRANGER, "\r\n\r\n");
    }
    assert_eq!(bans(&mut rig), []);
}

#[test]
fn trusted_sources_and_those_that_are_allowed_are_neither_limited_nor_banned() {
    let mut rig = Rig::with_bob();
    rig.settings.sources.requests_per_s = 1;
    rig.settings.sources.requests_burst = 1;
    rig.settings.sources.allow = vec!["198.51.100.0/24".parse().expect("a net")];
    for address in ["192.0.2.77:5060", STRANGER] {
        for _ in 0..300 {
            let asked = Sender::at(address).ask(&mut rig, "OPTIONS", "sip:example.org", &[]);
            assert_eq!(asked.status(), 200);
        }
    }
    for _ in 0..100 {
        rig.feed(STRANGER, "\u{1}rubbish\r\n\r\n");
    }
    assert_eq!(bans(&mut rig), []);
    assert!(rig.users.sources.is_empty());
}

#[test]
fn requests_over_the_rate_of_their_source_get_503_and_those_of_a_dialog_do_not() {
    let mut rig = Rig::with_bob();
    rig.settings.sources.requests_per_s = 5;
    rig.settings.sources.requests_burst = 20;
    let mut caller = Sender::at(STRANGER);
    let challenge = caller.ask(&mut rig, "INVITE", TO_BOB, &[]);
    let line = credentials(
        "alice",
        "a",
        "INVITE",
        TO_BOB,
        challenge.the("Proxy-Authenticate"),
    );
    let invite = caller.text("INVITE", TO_BOB, &[&format!("Proxy-Authorization: {line}")]);
    rig.feed(STRANGER, &invite);
    let forwarded = rig.to(BOB);
    rig.to(STRANGER);
    let contact = "Contact: <sip:bob@192.0.2.20:5060>";
    rig.feed(BOB, &answer(&forwarded, 200, "b", &[contact]));
    let ok = rig.to(STRANGER);
    let mut refused = 0;
    for _ in 0..100 {
        let asked = caller.ask(&mut rig, "OPTIONS", "sip:example.org", &[]);
        if asked.status() == 503 {
            assert_eq!(asked.the("Retry-After"), "5");
            refused += 1;
        }
    }
    assert_eq!(refused, 80);
    let (route, to) = (
        format!("Route: {}", ok.the("Record-Route")),
        format!("To: {}", ok.the("To")),
    );
    let call_id = format!("Call-ID: {}", ok.the("Call-ID"));
    for method in ["ACK", "INFO", "BYE"] {
        let lines = [route.as_str(), &to, &call_id];
        let cseq = format!("CSeq: 900 {method}");
        let via = format!("{STRANGER};branch=z9hG4bK-in-{method}");
        let lines = [&lines[..], &[&cseq]].concat();
        rig.feed(
            STRANGER,
            &request(method, "sip:bob@192.0.2.20:5060", &via, &lines),
        );
        assert_eq!(rig.to(BOB).method(), method);
    }
}
