//! Changes of a session while its PBX moves to another node: after every message, in every way that messages may be lost by it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use pbx::control::{Action, Happening, Ids, LegId, PlayId, Sound};
use records::Op;
use rig::*;
use voice::Command;

/// How a move and a message meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The message comes to the next owner.
    MoveFirst,
    /// The owner took it, and what it said has left.
    TakenFirst,
    /// The owner took it; what it said was lost with it.
    SilentlyTaken,
    /// It came to nobody.
    Lost,
}

const WAYS: [Way; 4] = [
    Way::MoveFirst,
    Way::TakenFirst,
    Way::SilentlyTaken,
    Way::Lost,
];

/// A phone that answers, repeats and refuses as RFC 3261 has it.
#[derive(Default)]
struct Phone {
    user: &'static str,
    media: (&'static str, u16),
    call_id: String,
    /// From and To of its requests.
    us: String,
    them: String,
    cseq: u32,
    seen: u32,
    version: u32,
    answers: Vec<(String, String)>,
    unacked: Option<(u32, String)>,
    tries: usize,
    pending: Option<String>,
    acks: BTreeMap<u32, String>,
    /// A change that was refused for now.
    retry: Option<String>,
    oks: BTreeMap<u32, usize>,
    acks_got: BTreeMap<u32, usize>,
    /// Where it sends its sound.
    remote: String,
    is_over: bool,
}

fn place(sdp: &str) -> String {
    let address = sdp.lines().find_map(|line| line.strip_prefix("c=IN IP4 "));
    let port = sdp.lines().find_map(|line| line.strip_prefix("m=audio "));
    format!(
        "{}:{}",
        address.unwrap(),
        port.unwrap().split(' ').next().unwrap()
    )
}

fn number(text: &str) -> u32 {
    let cseq = header(text, "CSeq");
    cseq.split(' ').next().unwrap().parse().unwrap()
}

impl Phone {
    fn new(user: &'static str, media: (&'static str, u16)) -> Phone {
        Phone {
            user,
            media,
            ..Phone::default()
        }
    }

    fn place(&self) -> String {
        format!("{}:{}", self.media.0, self.media.1)
    }

    fn sdp(&mut self, direction: &str) -> String {
        self.version += 1;
        sdp(self.media.0, self.media.1, "8 101")
            .replace("o=- 1 1", &format!("o=- 1 {}", self.version))
            .replace("sendrecv", direction)
    }

    fn request(&mut self, method: &str, direction: &str) -> String {
        self.cseq += 1;
        let (user, cseq) = (self.user, self.cseq);
        let head = format!(
            "{method} sip:198.51.100.7:5070 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK{user}{method}{cseq}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{user}@192.0.2.{user}:5062>\r\n",
            self.us, self.them, self.call_id
        );
        let body = match direction {
            "" => String::new(),
            direction => self.sdp(direction),
        };
        let text = with_body(&head, &body);
        self.pending = Some(text.clone());
        text
    }

    fn ack(&self, cseq: u32, via: &str) -> String {
        let head = format!(
            "ACK sip:198.51.100.7:5070 SIP/2.0\r\nVia: {via}\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {cseq} ACK\r\n",
            self.us, self.them, self.call_id
        );
        with_body(&head, "")
    }

    fn take(&mut self, text: &str) -> Vec<String> {
        let method = text.split(' ').next().unwrap();
        match method {
            "SIP/2.0" => self.answered(text),
            "ACK" => {
                let cseq = number(text);
                *self.acks_got.entry(cseq).or_default() += 1;
                self.unacked.take_if(|(open, _)| *open == cseq);
                Vec::new()
            }
            "INVITE" => vec![self.invited(text)],
            "BYE" => {
                self.is_over = true;
                self.unacked = None;
                vec![reply(text, "200 OK", "", "", "")]
            }
            _ => vec![reply(text, "200 OK", "", "", "")],
        }
    }

    fn invited(&mut self, text: &str) -> String {
        let (via, cseq) = (header(text, "Via"), number(text));
        if self.call_id.is_empty() {
            self.call_id = header(text, "Call-ID");
            self.us = format!("{};tag={}", header(text, "To"), self.user);
            self.them = header(text, "From");
        }
        if let Some((_, before)) = self.answers.iter().find(|(other, _)| *other == via) {
            let before = before.clone();
            if before.starts_with("SIP/2.0 200") {
                *self.oks.entry(cseq).or_default() += 1;
            }
            return before;
        }
        let is_open = self.pending.as_ref();
        let answer = if cseq <= self.seen {
            panic!("an old CSeq: {text}");
        } else if self.unacked.is_some() {
            // RFC 3261 section 14.2 would have it so.
            reply(text, "500 Busy", "", "Retry-After: 1\r\n", "")
        } else if is_open.is_some_and(|open| open.starts_with("INVITE")) {
            reply(text, "491 Request Pending", "", "", "")
        } else {
            self.remote = place(body(text));
            let direction = ["sendonly", "recvonly", "inactive", "sendrecv"]
                .into_iter()
                .find(|word| body(text).contains(&format!("a={word}")))
                .unwrap_or("sendrecv");
            let direction = match direction {
                "sendonly" => "recvonly",
                "recvonly" => "sendonly",
                other => other,
            };
            let ours = self.sdp(direction);
            let ok = reply(text, "200 OK", self.user, "", &ours);
            self.unacked = Some((cseq, ok.clone()));
            *self.oks.entry(cseq).or_default() += 1;
            ok
        };
        self.seen = cseq;
        self.answers.push((via, answer.clone()));
        answer
    }

    fn answered(&mut self, text: &str) -> Vec<String> {
        let cseq = number(text);
        let status: u16 = text.split(' ').nth(1).unwrap().parse().unwrap();
        if status < 200 || header(text, "Call-ID") != self.call_id {
            return Vec::new();
        }
        if !header(text, "CSeq").ends_with("INVITE") {
            self.pending = None;
            return Vec::new();
        }
        if status == 200 {
            self.them = header(text, "To");
            if self.pending.take().is_some() && !body(text).is_empty() {
                self.remote = place(body(text));
            }
            let via = format!(
                "SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bKack{}{cseq}",
                self.user
            );
            let ack = self.ack(cseq, &via);
            return vec![self.acks.entry(cseq).or_insert(ack).clone()];
        }
        let ack = self.ack(cseq, &header(text, "Via"));
        if let Some(request) = self.pending.take() {
            assert!(matches!(status, 491 | 500), "{text}");
            self.retry = Some(match body(&request) {
                text if text.contains("sendonly") => "sendonly".to_owned(),
                _ => "sendrecv".to_owned(),
            });
        }
        vec![ack]
    }

    /// What it sends again.
    fn again(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        self.tries += 1;
        if self.unacked.is_none() || self.tries > 8 {
            // RFC 3261 section 13.3.1.4.
            self.is_over |= self.unacked.take().is_some();
            self.tries = 0;
        }
        if let Some((cseq, ok)) = &self.unacked {
            *self.oks.entry(*cseq).or_default() += 1;
            sent.push(ok.clone());
        }
        sent.extend(self.pending.clone());
        if let Some(direction) = self.retry.take().filter(|_| self.pending.is_none()) {
            sent.push(self.request("INVITE", &direction));
        }
        sent
    }
}

type Rule = Rc<RefCell<dyn FnMut(&Happening, &mut Ids) -> Vec<Action>>>;

/// What is done when all is quiet.
enum Step {
    Act(fn(&[LegId]) -> Vec<Action>),
    Change(usize, &'static str),
    Pass(u64),
    /// What plays is over.
    Played,
}

#[derive(Default)]
struct Ears {
    port: u32,
    remote: String,
    plays: Option<u64>,
    with: Option<u64>,
}

struct Lab {
    world: World,
    rule: Rule,
    epoch: u64,
    phones: Vec<Phone>,
    queue: VecDeque<String>,
    ends: BTreeMap<u64, Ears>,
    next: Rc<RefCell<Vec<Action>>>,
    legs: Rc<RefCell<Vec<LegId>>>,
    /// Messages left until the move.
    left: usize,
    way: Way,
    moves: usize,
    /// How many messages later there is a second move; 0 for none.
    again: usize,
}

impl Lab {
    fn world(rule: &Rule, next: &Rc<RefCell<Vec<Action>>>, epoch: u64) -> World {
        let (rule, next) = (rule.clone(), next.clone());
        World::with(
            pbx::Settings::new("example.org", flow()),
            epoch,
            move |happening, ids| match happening {
                Happening::Told { .. } => std::mem::take(&mut *next.borrow_mut()),
                happening => (rule.borrow_mut())(happening, ids),
            },
        )
    }

    /// Keeps what the media threads were told, and lets the phones hear what was said, or not.
    fn spread(&mut self, is_heard: bool) {
        for command in std::mem::take(&mut self.world.commands) {
            match command {
                Command::Open { end, port, .. } => {
                    self.ends.entry(end.0).or_default().port = port.0;
                }
                Command::Remote { end, remote } => {
                    let rtp = remote.rtp.map(|rtp| rtp.to_string());
                    self.ends.entry(end.0).or_default().remote = rtp.unwrap_or_default();
                }
                Command::Play { end, play, .. } => {
                    self.ends.entry(end.0).or_default().plays = Some(play.0);
                }
                Command::StopPlay { end, .. } => {
                    self.ends.entry(end.0).or_default().plays = None;
                }
                Command::Connect { a, b } => {
                    self.ends.entry(a.0).or_default().with = Some(b.0);
                    self.ends.entry(b.0).or_default().with = Some(a.0);
                }
                Command::Disconnect { end } => {
                    self.ends.entry(end.0).or_default().with = None;
                }
                Command::Close { end } => {
                    self.ends.remove(&end.0);
                }
                _ => {}
            }
        }
        let sent = std::mem::take(&mut self.world.sent);
        for text in sent.iter().filter(|_| is_heard) {
            let call_id = header(text, "Call-ID");
            let known = self
                .phones
                .iter()
                .position(|phone| phone.call_id == call_id);
            let called = |phone: &Phone| {
                phone.call_id.is_empty()
                    && text.contains(&format!(" sip:{}@example.org ", phone.user))
            };
            let at = known.or_else(|| self.phones.iter().position(called));
            let at = at.unwrap_or_else(|| panic!("for nobody: {text}"));
            self.queue.extend(self.phones[at].take(text));
        }
    }

    fn go_over(&mut self) {
        self.moves += 1;
        if self.moves == 1 {
            self.left = self.again;
        }
        self.epoch += 1;
        let mut world = Lab::world(&self.rule, &self.next, self.epoch);
        world.now_ms = self.world.now_ms + 200;
        for ((kind, key), value) in &self.world.records {
            world.pbx.restore(Op {
                kind: *kind,
                key,
                value: Some(value),
            });
        }
        world.records = self.world.records.clone();
        self.ends.clear();
        self.world = world;
        let epoch = self.epoch;
        self.world.turn(|pbx, turn| pbx.take_office(turn, epoch));
        assert_eq!(self.world.pbx.counts().unreadable, 0);
        self.spread(true);
    }

    fn deliver(&mut self, text: &str) {
        let is_now = self.left == 1;
        self.left = self.left.saturating_sub(1);
        if !is_now {
            self.world.receive(text);
            return self.spread(true);
        }
        match self.way {
            Way::MoveFirst => {
                self.go_over();
                self.world.receive(text);
                self.spread(true);
            }
            Way::TakenFirst | Way::SilentlyTaken => {
                self.world.receive(text);
                self.spread(self.way == Way::TakenFirst);
                self.go_over();
            }
            Way::Lost => self.go_over(),
        }
    }

    /// Until all is quiet, with what has to be sent again in between.
    fn settle(&mut self) {
        for _ in 0..12 {
            while let Some(text) = self.queue.pop_front() {
                self.deliver(&text);
            }
            self.world.pass(600);
            self.spread(true);
            if self.queue.is_empty() {
                for at in 0..self.phones.len() {
                    let again = self.phones[at].again();
                    self.queue.extend(again);
                }
            }
            if self.queue.is_empty() {
                return;
            }
        }
        let open = |phone: &Phone| (phone.user, phone.unacked.clone(), phone.pending.clone());
        panic!("{:#?}", self.phones.iter().map(open).collect::<Vec<_>>());
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Act(actions) => {
                let actions = actions(&self.legs.borrow());
                self.next.borrow_mut().extend(actions);
                self.world.turn(|pbx, turn| {
                    pbx.told(
                        turn,
                        pbx::control::QuestionId(0),
                        pbx::control::Answer::Done,
                    )
                });
                self.spread(true);
            }
            Step::Change(at, direction) => {
                let text = self.phones[*at].request("INVITE", direction);
                self.queue.push_back(text);
            }
            Step::Pass(ms) => {
                self.world.pass(*ms);
                self.spread(true);
            }
            Step::Played => {
                let playing = self
                    .ends
                    .iter()
                    .find_map(|(end, ears)| Some((*end, ears.plays?)));
                let (end, play) = playing.expect("something plays");
                self.world.heard_event(voice::Event::Played {
                    end: voice::EndId(end),
                    play: voice::PlayId(play),
                    completed: true,
                    at_ms: 0,
                });
                self.ends.get_mut(&end).unwrap().plays = None;
                self.spread(true);
            }
        }
        self.settle();
    }

    fn end_of(&self, phone: &Phone) -> Option<(u64, &Ears)> {
        let here = |ears: &Ears| {
            ears.remote == phone.place() && phone.remote == format!("198.51.100.7:{}", ears.port)
        };
        let found = self.ends.iter().find(|(_, ears)| here(ears));
        found.map(|(end, ears)| (*end, ears))
    }

    #[track_caller]
    fn they_talk(&self, one: usize, other: usize) {
        let (one, other) = (&self.phones[one], &self.phones[other]);
        if one.remote == other.place() && other.remote == one.place() {
            return;
        }
        let (a, b) = (self.end_of(one), self.end_of(other));
        let is_joined = match (a, b) {
            (Some((a, ears)), Some((b, others))) => ears.with == Some(b) && others.with == Some(a),
            _ => false,
        };
        assert!(is_joined, "{} and {}", one.remote, other.remote);
    }

    fn finish(mut self) -> usize {
        for phone in self.phones.iter().filter(|phone| !phone.is_over) {
            for (cseq, oks) in &phone.oks {
                let acks = phone.acks_got.get(cseq).copied().unwrap_or(0);
                assert!(acks >= 1 && acks <= *oks, "{cseq}: {acks} of {oks}");
                if matches!(self.way, Way::MoveFirst | Way::TakenFirst) {
                    assert_eq!(acks, *oks, "{cseq}");
                }
            }
            assert!(phone.unacked.is_none() && phone.pending.is_none());
        }
        let left = 1_000 - self.left;
        self.left = 0;
        for at in 0..self.phones.len() {
            if !self.phones[at].is_over && !self.phones[at].call_id.is_empty() {
                let bye = self.phones[at].request("BYE", "");
                self.queue.push_back(bye);
                self.settle();
            }
        }
        self.world.is_empty_at_the_end();
        left
    }
}

type Case = (
    fn(Rc<RefCell<Vec<LegId>>>) -> Rule,
    &'static [Step],
    &'static [(usize, usize)],
);

fn run(case: &Case, left: usize, way: Way, again: usize) -> usize {
    let legs = Rc::new(RefCell::new(Vec::new()));
    let (rule, next) = ((case.0)(legs.clone()), Rc::new(RefCell::new(Vec::new())));
    let mut caller = Phone::new("100", ("192.0.2.9", 4_000));
    caller.cseq = 1;
    caller.call_id = "a".to_owned();
    caller.us = "\"Ann\" <sip:100@example.org>;tag=ann".to_owned();
    caller.them = "<sip:200@example.org>".to_owned();
    let first = invite("a", "200", "", &caller.sdp("sendrecv"));
    caller.pending = Some(first.clone());
    let mut lab = Lab {
        world: Lab::world(&rule, &next, 1),
        rule,
        epoch: 1,
        phones: vec![
            caller,
            Phone::new("200", ("192.0.2.20", 5_000)),
            Phone::new("300", ("192.0.2.30", 6_000)),
        ],
        queue: VecDeque::from([first]),
        ends: BTreeMap::new(),
        next,
        legs,
        left: if left == 0 { 1_000 } else { left },
        way,
        moves: 0,
        again,
    };
    lab.settle();
    for step in case.1 {
        lab.step(step);
    }
    // Whatever was refused meanwhile has been tried again.
    lab.step(&Step::Pass(12_000));
    for (one, other) in case.2 {
        lab.they_talk(*one, *other);
    }
    assert!(left == 0 || lab.moves >= 1);
    lab.finish()
}

/// The case without a move, and then with one at each of its messages, and a second one soon after.
fn everywhere(case: &Case) {
    let messages = run(case, 0, Way::MoveFirst, 0);
    assert!(messages > 6, "{messages}");
    for left in 1..=messages {
        for way in WAYS {
            for again in 0..4 {
                let told = std::panic::catch_unwind(|| run(case, left, way, again));
                if let Err(error) = told {
                    eprintln!("with a move at message {left} of {messages}, {way:?}, and {again}");
                    std::panic::resume_unwind(error);
                }
            }
        }
    }
}

/// Rings 200 for who calls, and ends one with the other.
fn ring(
    legs: &RefCell<Vec<LegId>>,
    happening: &Happening,
    ids: &mut Ids,
    first: bool,
) -> Vec<Action> {
    match happening {
        Happening::Incoming(incoming) => {
            let (a, b) = (incoming.leg, LegId(ids.issue()));
            legs.borrow_mut().extend([a, b]);
            let mut actions = vec![dial(b, Some(a), "200"), Action::Bridge { a, b }];
            if first {
                actions.insert(0, Action::Answer { leg: a });
            }
            actions
        }
        Happening::Ended { leg, cause } | Happening::Failed { leg, cause, .. } => {
            let legs = legs.borrow();
            let others = legs.iter().filter(|other| *other != leg);
            let end = |leg: &LegId| Action::Hangup {
                leg: *leg,
                cause: cause.clone(),
            };
            others.map(end).collect()
        }
        _ => Vec::new(),
    }
}

fn music(leg: LegId) -> Action {
    Action::Play {
        leg,
        play: PlayId(7),
        sounds: vec![Sound::Music("default".into())],
        from_ms: 0,
        repeat: true,
        barge_in: false,
    }
}

fn plain(legs: Rc<RefCell<Vec<LegId>>>) -> Rule {
    Rc::new(RefCell::new(move |happening: &Happening, ids: &mut Ids| {
        ring(&legs, happening, ids, false)
    }))
}

fn answered_first(legs: Rc<RefCell<Vec<LegId>>>) -> Rule {
    Rc::new(RefCell::new(move |happening: &Happening, ids: &mut Ids| {
        ring(&legs, happening, ids, true)
    }))
}

#[test]
fn a_hold_that_is_passed_on_and_its_end_survive_every_move() {
    everywhere(&(
        plain,
        &[Step::Change(0, "sendonly"), Step::Change(0, "sendrecv")],
        &[(0, 1)],
    ));
}

#[test]
fn music_on_hold_and_its_end_survive_every_move() {
    let rule = |legs: Rc<RefCell<Vec<LegId>>>| -> Rule {
        Rc::new(RefCell::new(move |happening: &Happening, ids: &mut Ids| {
            let caller = legs.borrow().first().copied();
            match happening {
                Happening::Hold { leg, on } if Some(*leg) != caller => match (caller, on) {
                    (Some(caller), true) => vec![music(caller)],
                    (Some(leg), false) => vec![Action::StopPlay {
                        leg,
                        play: PlayId(7),
                    }],
                    _ => Vec::new(),
                },
                happening => ring(&legs, happening, ids, false),
            }
        }))
    };
    everywhere(&(
        rule,
        &[
            Step::Change(1, "sendonly"),
            Step::Pass(3_000),
            Step::Change(1, "sendrecv"),
            Step::Pass(3_000),
        ],
        &[(0, 1)],
    ));
}

#[test]
fn media_leave_the_pbx_and_come_back_across_every_move() {
    everywhere(&(
        answered_first,
        &[
            Step::Pass(3_000),
            Step::Act(|legs| {
                vec![Action::Play {
                    leg: legs[1],
                    play: PlayId(9),
                    sounds: vec![Sound::Tone("beep".into())],
                    from_ms: 0,
                    repeat: false,
                    barge_in: false,
                }]
            }),
            Step::Played,
            Step::Pass(3_000),
        ],
        &[(0, 1)],
    ));
}

#[test]
fn a_caller_of_a_queue_and_its_agent_hear_each_other_whatever_moves() {
    let rule = |legs: Rc<RefCell<Vec<LegId>>>| -> Rule {
        Rc::new(RefCell::new(
            move |happening: &Happening, ids: &mut Ids| match happening {
                Happening::Incoming(incoming) => {
                    let (a, b) = (incoming.leg, LegId(ids.issue()));
                    legs.borrow_mut().extend([a, b]);
                    vec![Action::Answer { leg: a }, music(a), dial(b, None, "200")]
                }
                Happening::Answered { leg } if legs.borrow().get(1) == Some(leg) => {
                    let (a, b) = (legs.borrow()[0], *leg);
                    let play = PlayId(7);
                    vec![Action::StopPlay { leg: a, play }, Action::Bridge { a, b }]
                }
                happening => ring(&legs, happening, ids, true),
            },
        ))
    };
    everywhere(&(rule, &[Step::Pass(3_000)], &[(0, 1)]));
}

#[test]
fn who_is_transferred_and_the_target_hear_each_other_whatever_moves() {
    let rule = |legs: Rc<RefCell<Vec<LegId>>>| -> Rule {
        Rc::new(RefCell::new(move |happening: &Happening, ids: &mut Ids| {
            let known = legs.borrow().clone();
            match happening {
                Happening::Incoming(_) => {
                    let actions = ring(&legs, happening, ids, false);
                    legs.borrow_mut().push(LegId(ids.issue()));
                    actions
                }
                Happening::Answered { leg } if known.get(2) == Some(leg) => {
                    let cause = pbx::control::Cause {
                        status: 200,
                        q850: 16,
                        text: String::new(),
                    };
                    let (a, b, play) = (known[0], *leg, PlayId(7));
                    vec![
                        Action::StopPlay { leg: a, play },
                        Action::Unbridge { leg: a },
                        Action::Bridge { a, b },
                        Action::Hangup {
                            leg: known[1],
                            cause,
                        },
                    ]
                }
                // Who transfers goes.
                Happening::Ended { leg, .. } if known.get(1) == Some(leg) => Vec::new(),
                happening => ring(&legs, happening, ids, false),
            }
        }))
    };
    everywhere(&(
        rule,
        &[
            Step::Act(|legs| vec![music(legs[0]), dial(legs[2], None, "300")]),
            Step::Pass(3_000),
        ],
        &[(0, 2)],
    ));
}
