//! A node that is killed in the middle of its work, and the one that is started after it.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use support::message::Message;
use support::node::password_of;
use support::phone::{connect, end, unique};
use support::{Node, Phone};

/// Phones that register at the same time.
const PHONES: usize = 250;

/// Many phones behind one socket.
struct Crowd {
    link: Phone,
    /// Number of REGISTERs sent so far, for CSeq.
    sent: u32,
}

impl Crowd {
    fn of(node: &Node) -> Crowd {
        Crowd {
            link: Phone::udp(node, "user0"),
            sent: 0,
        }
    }

    fn becomes(&mut self, at: usize) {
        let user = format!("user{at}");
        self.link.password = password_of(&user);
        self.link.user = user;
        self.sent += 1;
        self.link.registration = (unique(&format!("{at}-")), self.sent);
    }

    /// Sends a REGISTER for each phone and waits for each challenge.
    fn is_challenged(&mut self) -> BTreeMap<usize, Message> {
        let mut challenges = BTreeMap::new();
        while challenges.len() < PHONES {
            // In parts that no buffer is too small for.
            let rest: Vec<usize> = (0..PHONES)
                .filter(|at| !challenges.contains_key(at))
                .collect();
            for &at in rest.iter().take(50) {
                self.becomes(at);
                let request = self.link.register_text("");
                self.link.send(&request);
            }
            for _ in 0..rest.len().min(50) {
                let Some(answer) = self.link.receive_within(Duration::from_secs(2)) else {
                    break;
                };
                assert_eq!(answer.status(), 401, "{answer:?}");
                challenges.insert(phone_of(&answer), answer);
            }
        }
        challenges
    }

    /// Sends a REGISTER with proof for a phone.
    fn registers(&mut self, at: usize, challenge: &Message, contact: &str) {
        self.becomes(at);
        let credentials = self
            .link
            .credentials(challenge, "REGISTER", "sip:example.org", 1);
        let request = self
            .link
            .register_text(&format!("{credentials}Contact: {contact}\r\n"));
        self.link.send(&request);
    }

    /// The phone whose REGISTER was granted, if an answer comes in time.
    fn is_granted(&mut self, wait: Duration) -> Option<usize> {
        let answer = self.link.receive_within(wait)?;
        assert_eq!(answer.status(), 200, "{answer:?}");
        Some(phone_of(&answer))
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
        for (&at, challenge) in &challenges {
            let wanted = if is_leaving(at) {
                format!("<{}>;expires=0", contact(at, round - 1))
            } else {
                format!("<{}>;expires=600", contact(at, round))
            };
            crowd.registers(at, challenge, &wanted);
        }
        let mut granted = Vec::new();
        while granted.len() < answers {
            granted.extend(crowd.is_granted(Duration::from_secs(8)));
        }
        node.kill();
        while let Some(at) = crowd.is_granted(Duration::from_millis(50)) {
            granted.push(at);
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
