//! A node that is killed in the middle of its work, and the one that is started after it.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use support::message::Message;
use support::node::password_of;
use support::phone::{connect, end, unique};
use support::{Node, Phone};

/// Phones that register at the same time.
const PHONES: usize = 250;

/// Requests sent again at once: no socket buffer is too small for so many.
const PART: usize = 50;

/// When phones that hear nothing send again.
const RESEND: Duration = Duration::from_millis(500);

/// How long all phones together may take for one request each; the node knows a repetition for 32 s.
const CROWD_PATIENCE: Duration = Duration::from_secs(30);

/// Many phones behind one socket, each with one request under way. They send it again as phones do: of
/// a crowd's datagrams some are lost on a slow machine.
struct Crowd {
    link: Phone,
    /// Number of REGISTERs made so far, for CSeq.
    made: u32,
}

impl Crowd {
    fn of(node: &Node) -> Crowd {
        Crowd {
            link: Phone::udp(node, "user0"),
            made: 0,
        }
    }

    fn becomes(&mut self, at: usize) {
        let user = format!("user{at}");
        self.link.password = password_of(&user);
        self.link.user = user;
        self.made += 1;
        self.link.registration = (unique(&format!("{at}-")), self.made);
    }

    /// The challenge of each phone's REGISTER.
    fn is_challenged(&mut self) -> BTreeMap<usize, Message> {
        let mut requests = BTreeMap::new();
        for at in 0..PHONES {
            self.becomes(at);
            requests.insert(at, self.link.register_text(""));
        }
        self.answers(&requests, 401, PHONES)
    }

    /// A REGISTER of a phone with proof.
    fn proven(&mut self, at: usize, challenge: &Message, contact: &str) -> String {
        self.becomes(at);
        let credentials = self
            .link
            .credentials(challenge, "REGISTER", "sip:example.org", 1);
        self.link
            .register_text(&format!("{credentials}Contact: {contact}\r\n"))
    }

    /// Sends the phones' requests at once, and again until so many of them are answered, all with this status.
    fn answers(
        &mut self,
        requests: &BTreeMap<usize, String>,
        status: u16,
        wanted: usize,
    ) -> BTreeMap<usize, Message> {
        for request in requests.values() {
            self.link.send(request);
        }
        let mut answered = BTreeMap::new();
        let deadline = Instant::now() + CROWD_PATIENCE;
        while answered.len() < wanted {
            assert!(
                Instant::now() < deadline,
                "after {CROWD_PATIENCE:?} {} phones of {wanted} have got their {status}",
                answered.len()
            );
            if let Some((at, answer)) = self.hears(status, RESEND) {
                answered.insert(at, answer);
                continue;
            }
            let left = requests.iter().filter(|(at, _)| !answered.contains_key(at));
            for (_, request) in left.take(PART) {
                self.link.send(request);
            }
        }
        answered
    }

    /// The next answer, if one comes in time, and whose it is.
    fn hears(&mut self, status: u16, wait: Duration) -> Option<(usize, Message)> {
        let answer = self.link.receive_within(wait)?;
        assert_eq!(answer.status(), status, "{answer:?}");
        Some((phone_of(&answer), answer))
    }
}

/// Each Call-ID begins with the number of its phone.
fn phone_of(answer: &Message) -> usize {
    let (number, _) = answer.header("Call-ID").split_once('-').expect("ours");
    number.parse().expect("a number")
}

#[test]
fn every_registration_that_was_acknowledged_is_there_after_kill_9() {
    let users: Vec<String> = (0..PHONES).map(|at| format!("user{at}")).collect();
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    let mut node = Node::with_users("", "", &users);
    // What is known to be there, and what is known to be gone.
    let (mut bound, mut gone) = (BTreeSet::new(), BTreeSet::new());
    for (round, answers) in [20, 120, 3, 200].into_iter().enumerate() {
        let mut crowd = Crowd::of(&node);
        let challenges = crowd.is_challenged();
        let contact = |at: usize, round: usize| format!("sip:user{at}@127.0.0.1:{}", 7_000 + round);
        // Every third phone takes its former contact back; the others add one.
        let is_leaving = |at: usize| round > 0 && at % 3 == round % 3;
        let mut requests = BTreeMap::new();
        for (&at, challenge) in &challenges {
            let wanted = if is_leaving(at) {
                format!("<{}>;expires=0", contact(at, round - 1))
            } else {
                format!("<{}>;expires=600", contact(at, round))
            };
            requests.insert(at, crowd.proven(at, challenge, &wanted));
        }
        let mut granted: BTreeSet<usize> =
            crowd.answers(&requests, 200, answers).into_keys().collect();
        node.kill();
        while let Some((at, _)) = crowd.hears(200, Duration::from_millis(50)) {
            granted.insert(at);
        }
        for at in granted {
            if is_leaving(at) {
                bound.remove(&contact(at, round - 1));
                gone.insert(contact(at, round - 1));
            } else {
                bound.insert(contact(at, round));
            }
        }
        // A removal that nobody acknowledged may have been made or not.
        for at in (0..PHONES).filter(|&at| is_leaving(at)) {
            bound.remove(&contact(at, round - 1));
        }
        node.restart();
        let found = registered(&node);
        let lost: Vec<_> = bound.difference(&found).collect();
        assert!(lost.is_empty(), "round {round}: lost {lost:?}");
        let back: Vec<_> = gone.intersection(&found).collect();
        assert!(back.is_empty(), "round {round}: came back {back:?}");
    }
    assert!(bound.len() > 100, "{}", bound.len());
}

/// The contacts of all pages.
fn registered(node: &Node) -> BTreeSet<String> {
    let items = node.items("registrations");
    let contact = |item: &serde_json::Value| item["contact"].as_str().expect("text").to_owned();
    items.iter().map(contact).collect()
}

#[test]
fn a_phone_whose_answer_was_lost_is_not_asked_for_its_password_again() {
    let mut node = Node::with_users("", "", &["alice"]);
    let mut alice = Phone::udp(&node, "alice");
    let request = alice.register_text("");
    alice.send(&request);
    let challenge = alice.response(401);
    node.kill();
    node.restart();
    let credentials = alice.credentials(&challenge, "REGISTER", "sip:example.org", 1);
    let request = alice.register_text(&format!("{credentials}Contact: <{}>\r\n", alice.contact));
    alice.send(&request);
    let answer = alice.receive();
    // Either the nonce holds, or it is called old; never is the password called wrong.
    if answer.status() != 200 {
        assert_eq!(answer.status(), 401, "{answer:?}");
        assert!(
            answer.header("WWW-Authenticate").contains("stale=TRUE"),
            "{answer:?}"
        );
    }
    assert_eq!(alice.registers(600).status(), 200);
}

#[test]
fn a_call_that_was_up_before_kill_9_is_ended_after_it() {
    let mut node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::udp(&node, "bob"));
    for phone in [&mut alice, &mut bob] {
        // Behind NAT: where they are stands in the cookie alone.
        phone.contact = format!("sip:{}@10.9.8.7:5060", phone.user);
        assert_eq!(phone.registers(600).status(), 200);
    }
    let (mut first, mut first_at_bob) = connect(&mut alice, &mut bob);
    let (mut second, _) = connect(&mut alice, &mut bob);
    node.kill();
    node.restart();
    let info = bob.within(&mut first_at_bob, "INFO", "", "");
    bob.send(&info);
    let info = alice.request("INFO");
    alice.responds(&info, "200 OK", "");
    bob.response(200);
    end((&mut bob, &mut first_at_bob), &mut alice);
    end((&mut alice, &mut second), &mut bob);
    // Who ends it a second time is told by the other side, not by the proxy.
    let bye = alice.within(&mut first, "BYE", "", "");
    alice.send(&bye);
    let bye = bob.request("BYE");
    bob.responds(&bye, "481 Call/Transaction Does Not Exist", "");
    alice.response(481);
    // And both can call as before, without having registered again.
    let (mut third, _) = connect(&mut alice, &mut bob);
    end((&mut alice, &mut third), &mut bob);
}

#[test]
fn a_call_over_tcp_goes_on_when_the_phones_have_connected_again() {
    let mut node = Node::with_users("", "", &["alice", "bob"]);
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::tcp(&node, "bob"));
    for phone in [&mut alice, &mut bob] {
        assert_eq!(phone.registers(600).status(), 200);
    }
    let (_, mut at_bob) = connect(&mut alice, &mut bob);
    node.kill();
    node.restart();
    let mut bob = Phone::tcp(&node, "bob");
    assert_eq!(bob.registers(600).status(), 200);
    end((&mut bob, &mut at_bob), &mut alice);
}
