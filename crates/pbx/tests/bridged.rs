//! Calls of two phones.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails so")]

mod rig;

use pbx::control::{Action, Cause, Happening, LegId, PlayId, Sound};
use rig::*;

const CALLER: &str = "192.0.2.9";
const CALLEE: &str = "192.0.2.20";

fn normal() -> Cause {
    Cause {
        status: 200,
        q850: 16,
        text: String::new(),
    }
}

/// Rings one phone and joins the two.
struct Plain {
    a: Option<LegId>,
    b: Option<LegId>,
    answers_first: bool,
}

impl Plain {
    fn rule(&mut self, happening: &Happening, ids: &mut pbx::control::Ids) -> Vec<Action> {
        match happening {
            Happening::Incoming(incoming) => {
                let (a, b) = (incoming.leg, LegId(ids.issue()));
                (self.a, self.b) = (Some(a), Some(b));
                let mut actions = Vec::new();
                if self.answers_first {
                    actions.push(Action::Answer { leg: a });
                }
                actions.push(dial(b, Some(a), "200"));
                actions.push(Action::Bridge { a, b });
                actions
            }
            Happening::Ended { leg, cause } | Happening::Failed { leg, cause, .. } => {
                let other = if Some(*leg) == self.a { self.b } else { self.a };
                other
                    .map(|leg| Action::Hangup {
                        leg,
                        cause: cause.clone(),
                    })
                    .into_iter()
                    .collect()
            }
            _ => Vec::new(),
        }
    }
}

fn plain(answers_first: bool) -> World {
    let mut plain = Plain {
        a: None,
        b: None,
        answers_first,
    };
    World::new(move |happening, ids| plain.rule(happening, ids))
}

fn with_actions(world: &mut World, actions: Vec<Action>) {
    // Actions reach the PBX as an answer to a happening: here to a question that nobody asked.
    NEXT.with(|next| next.borrow_mut().extend(actions));
    world.turn(|pbx, turn| {
        pbx.told(
            turn,
            pbx::control::QuestionId(0),
            pbx::control::Answer::Done,
        )
    });
}

thread_local! {
    static NEXT: std::cell::RefCell<Vec<Action>> = const { std::cell::RefCell::new(Vec::new()) };
}

fn driven(answers_first: bool) -> World {
    let mut plain = Plain {
        a: None,
        b: None,
        answers_first,
    };
    World::new(move |happening, ids| match happening {
        Happening::Told { .. } => NEXT.with(|next| std::mem::take(&mut *next.borrow_mut())),
        happening => plain.rule(happening, ids),
    })
}

fn legs(world: &World) -> (LegId, LegId) {
    let calls = world.pbx.calls();
    let incoming = calls.iter().find(|call| call.is_incoming).unwrap().leg;
    let outgoing = calls.iter().find(|call| !call.is_incoming).unwrap().leg;
    (incoming, outgoing)
}

/// A plain call set up: the INVITE that went to the phone, and the 200 that the caller got.
fn set_up(world: &mut World) -> (String, String) {
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    world.receive(&reply(&to_phone, "180 Ringing", "bob", "", ""));
    world.the("SIP/2.0 180 ");
    world.receive(&reply(
        &to_phone,
        "200 OK",
        "bob",
        "Record-Route: <sip:192.0.2.1;lr;c=b>\r\n",
        &sdp(CALLEE, 5000, "8 101"),
    ));
    world.the("ACK ");
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    (to_phone, ok)
}

fn hang_up(world: &mut World, ok: &str, cseq: u32) {
    world.receive(&within("BYE", "a", ok, cseq, "", ""));
    let bye = world.the("BYE ");
    world.receive(&reply(&bye, "200 OK", "", "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn the_media_of_a_plain_call_do_not_pass_here() {
    let mut world = plain(false);
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    assert!(to_phone.starts_with("INVITE sip:200@example.org SIP/2.0\r\n"));
    assert_eq!(header(&to_phone, "Max-Forwards"), "59");
    assert_eq!(
        header(&to_phone, "From").split(";tag=").next(),
        Some("\"Ann\" <sip:100@example.org>")
    );
    assert_eq!(
        header(&to_phone, "P-Asserted-Identity"),
        "\"Ann\" <sip:100@example.org>"
    );
    assert!(
        body(&to_phone).contains("c=IN IP4 192.0.2.9\r\n")
            && body(&to_phone).contains("m=audio 4000 RTP/AVP 0 8 101\r\n")
    );
    world.receive(&reply(&to_phone, "180 Ringing", "bob", "", ""));
    world.the("SIP/2.0 180 ");
    world.receive(&reply(
        &to_phone,
        "200 OK",
        "bob",
        "Record-Route: <sip:192.0.2.1;lr;c=b>\r\n",
        &sdp(CALLEE, 5000, "8 101"),
    ));
    let ok = world.the("SIP/2.0 200 ");
    assert!(
        body(&ok).contains("c=IN IP4 192.0.2.20\r\n")
            && body(&ok).contains("m=audio 5000 RTP/AVP 8 101\r\n")
    );
    assert_eq!(
        header(&world.the("ACK "), "Route"),
        "<sip:192.0.2.1;lr;c=b>"
    );
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    world.pass(60_000);
    assert!(world.sent.is_empty(), "{:#?}", world.sent);
    assert_eq!((world.around.taken, world.pbx.tables().ports), (0, 0));
    hang_up(&mut world, &ok, 2);
}

#[test]
fn the_phone_that_was_called_may_hang_up_too() {
    let mut world = plain(false);
    let (to_phone, _) = set_up(&mut world);
    world.receive(&from_callee("BYE", &to_phone, "bob", 1, "", ""));
    world.the("SIP/2.0 200 ");
    let bye = world.the("BYE sip:100@192.0.2.100:5062 ");
    world.receive(&reply(&bye, "200 OK", "", "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn a_copy_of_a_200_is_acknowledged_again_and_another_answer_is_ended() {
    let mut world = plain(false);
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    let answer = reply(&to_phone, "200 OK", "bob", "", &sdp(CALLEE, 5000, "8"));
    world.receive(&answer);
    let ok = world.the("SIP/2.0 200 ");
    let ack = world.the("ACK ");
    world.receive(&answer);
    assert_eq!(world.sent, [ack]);
    world.receive(&reply(
        &to_phone,
        "200 OK",
        "eve",
        "",
        &sdp(CALLEE, 5002, "8"),
    ));
    world.the("ACK ");
    let bye = world.the("BYE ");
    assert!(header(&bye, "To").ends_with(";tag=eve"));
    world.receive(&reply(&bye, "200 OK", "", "", ""));
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    hang_up(&mut world, &ok, 2);
}

#[test]
fn early_media_of_a_phone_reach_the_caller_reliably_if_it_can() {
    let mut world = plain(false);
    world.receive(&invite(
        "a",
        "200",
        "Supported: 100rel\r\n",
        &sdp(CALLER, 4000, "0 8 101"),
    ));
    let to_phone = world.the("INVITE ");
    world.receive(&reply(
        &to_phone,
        "183 Session Progress",
        "bob",
        "Require: 100rel\r\nRSeq: 5\r\n",
        &sdp(CALLEE, 5000, "8"),
    ));
    let prack = world.the("PRACK ");
    assert_eq!(header(&prack, "RAck"), "5 1 INVITE");
    let progress = world.the("SIP/2.0 183 ");
    assert!(body(&progress).contains("m=audio 5000 "));
    assert_eq!(header(&progress, "Require"), "100rel");
    world.pass(600);
    assert!(world.sent.contains(&progress));
    let rack = format!("RAck: {} 1 INVITE\r\n", header(&progress, "RSeq"));
    world.receive(&within(
        "PRACK",
        "a",
        &progress,
        2,
        "RAck: 1 1 INVITE\r\n",
        "",
    ));
    world.the("SIP/2.0 481 ");
    world.receive(&within("PRACK", "a", &progress, 3, &rack, ""));
    world.the("SIP/2.0 200 ");
    world.receive(&reply(&prack, "200 OK", "", "", ""));
    world.receive(&reply(&to_phone, "200 OK", "bob", "", ""));
    let ok = world.the("SIP/2.0 200 ");
    assert_eq!(body(&ok), "");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    hang_up(&mut world, &ok, 4);
}

#[test]
fn a_refusal_is_told_with_its_cause_and_its_contacts() {
    let mut world = plain(false);
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    let contact = "Reason: Q.850;cause=17\r\n";
    world.receive(&reply(&to_phone, "302 Moved", "bob", contact, ""));
    world.the("ACK ");
    let happenings = world.happenings();
    let failed = happenings.iter().find_map(|happening| match happening {
        Happening::Failed {
            cause, contacts, ..
        } => Some((cause.status, cause.q850, contacts.clone())),
        _ => None,
    });
    assert_eq!(failed, Some((302, 17, vec!["200@192.0.2.200".to_owned()])));
    world.is_empty_at_the_end();
}

#[test]
fn a_caller_that_gives_up_lets_the_phone_stop_ringing() {
    let mut world = plain(false);
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    world.receive(&reply(&to_phone, "180 Ringing", "bob", "", ""));
    let cancel = invite("a", "200", "", "")
        .replace("INVITE sip", "CANCEL sip")
        .replace("1 INVITE", "1 CANCEL");
    world.receive(&cancel);
    world.the("SIP/2.0 487 ");
    let cancel = world.the("CANCEL ");
    world.receive(&reply(&cancel, "200 OK", "", "", ""));
    // The phone was picked up in the same moment.
    world.receive(&reply(
        &to_phone,
        "200 OK",
        "bob",
        "",
        &sdp(CALLEE, 5000, "8"),
    ));
    world.the("ACK ");
    let bye = world.the("BYE ");
    world.receive(&reply(&bye, "200 OK", "", "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn a_phone_that_is_never_answered_fails_in_time() {
    let mut world = plain(false);
    world.settings.ring_ms_max = 20_000;
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    world.receive(&reply(&to_phone, "180 Ringing", "bob", "", ""));
    world.happenings();
    world.pass(21_000);
    assert!(!world.those("CANCEL ").is_empty());
    assert!(world.happenings().iter().any(
        |happening| matches!(happening, Happening::Failed { cause, .. } if cause.status == 408)
    ));
    world.is_empty_at_the_end();
}

#[test]
fn an_edge_that_does_not_answer_fails_the_call() {
    let mut world = plain(false);
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
    let to_phone = world.the("INVITE ");
    world.turn(|pbx, turn| pbx.undelivered(turn, to_phone.as_bytes()));
    world.the("SIP/2.0 503 ");
    world.is_empty_at_the_end();
}

#[test]
fn phones_without_a_common_codec_are_spoken_for() {
    let mut world = plain(false);
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0")));
    let to_phone = world.the("INVITE ");
    world.receive(&reply(&to_phone, "488 Not Acceptable Here", "bob", "", ""));
    let again = world.the("INVITE ");
    assert!(body(&again).contains("RTP/AVP 8 0 9 96 101 102"));
    assert_eq!(header(&again, "CSeq"), "2 INVITE");
    world.receive(&reply(&again, "200 OK", "bob", "", &sdp(CALLEE, 5000, "8")));
    let ok = world.the("SIP/2.0 200 ");
    assert!(body(&ok).contains("c=IN IP4 198.51.100.7\r\n"));
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    assert!(world.pbx.tables().ports == 2);
    world.pass(60_000);
    assert!(world.sent.is_empty(), "{:#?}", world.sent);
    hang_up(&mut world, &ok, 2);
}

/// Answers a re-INVITE of the PBX and gives it back.
fn agree_to(world: &mut World, begins: &str, address: &str, port: u16) -> String {
    let change = world.the(begins);
    world.receive(&reply(
        &change,
        "200 OK",
        "",
        "",
        &sdp(address, port, "8 101"),
    ));
    world.the("ACK ");
    change
}

#[test]
fn the_pbx_leaves_the_way_of_media_when_nothing_is_heard_and_comes_back_to_play() {
    let mut world = driven(true);
    world.receive(&invite("a", "200", "", &sdp(CALLER, 4000, "0 8 101")));
    let ok = world.the("SIP/2.0 200 ");
    let to_phone = world.the("INVITE ");
    assert!(body(&to_phone).contains("c=IN IP4 198.51.100.7\r\n"));
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    world.receive(&reply(
        &to_phone,
        "200 OK",
        "bob",
        "",
        &sdp(CALLEE, 5000, "8 101"),
    ));
    assert!(
        world
            .commands
            .iter()
            .any(|command| matches!(command, voice::Command::Connect { .. }))
    );
    // Out: one leg is offered the other's peer, then the other.
    world.pass(2_500);
    let first = agree_to(&mut world, "INVITE sip:100@", CALLER, 4000);
    assert!(body(&first).contains("c=IN IP4 192.0.2.20\r\n"), "{first}");
    let second = world
        .sent
        .iter()
        .find(|text| text.starts_with("INVITE sip:200@"))
        .cloned();
    let second = second.unwrap();
    assert!(body(&second).contains("c=IN IP4 192.0.2.9\r\n"), "{second}");
    world.receive(&reply(
        &second,
        "200 OK",
        "",
        "",
        &sdp(CALLEE, 5000, "8 101"),
    ));
    world.the("ACK ");
    assert_eq!(world.pbx.tables().ports, 0);
    assert!(world.ends.is_empty());
    // In again.
    let (_, b) = legs(&world);
    let play = Action::Play {
        leg: b,
        play: PlayId(9),
        sounds: vec![Sound::Tone("beep".into())],
        from_ms: 0,
        repeat: false,
        barge_in: false,
    };
    with_actions(&mut world, vec![play]);
    assert_eq!(world.those("INVITE ").len(), 2);
    let (one, two) = (world.the("INVITE sip:100@"), world.the("INVITE sip:200@"));
    assert!(
        body(&one).contains("c=IN IP4 198.51.100.7\r\n")
            && body(&two).contains("c=IN IP4 198.51.100.7\r\n")
    );
    world.receive(&reply(&one, "200 OK", "", "", &sdp(CALLER, 4000, "8 101")));
    world.receive(&reply(&two, "200 OK", "", "", &sdp(CALLEE, 5000, "8 101")));
    assert!(
        world
            .commands
            .iter()
            .any(|command| matches!(command, voice::Command::Play { .. }))
    );
    let end = world.commands.iter().find_map(|command| match command {
        voice::Command::Play { end, .. } => Some(*end),
        _ => None,
    });
    world.heard_event(voice::Event::Played {
        end: end.unwrap(),
        play: voice::PlayId(9),
        completed: true,
        at_ms: 200,
    });
    // And out.
    world.pass(2_500);
    agree_to(&mut world, "INVITE sip:100@", CALLER, 4000);
    hang_up(&mut world, &ok, 2);
}

#[test]
fn glare_is_tried_again_after_its_time() {
    let mut world = driven(false);
    let (_, ok) = set_up(&mut world);
    let (a, _) = legs(&world);
    with_actions(&mut world, vec![Action::DetectInBand { leg: a, on: true }]);
    let (one, two) = (world.the("INVITE sip:100@"), world.the("INVITE sip:200@"));
    world.receive(&within("INVITE", "a", &ok, 2, "", &sdp(CALLER, 4000, "8")));
    world.the("SIP/2.0 491 ");
    world.receive(&reply(&one, "491 Request Pending", "", "", ""));
    world.receive(&reply(&two, "200 OK", "", "", &sdp(CALLEE, 5000, "8")));
    world.pass(2_100);
    agree_to(&mut world, "INVITE sip:100@", CALLER, 4000);
    hang_up(&mut world, &ok, 3);
}

#[test]
fn a_change_that_comes_too_early_is_tried_again_after_its_time() {
    let mut world = driven(false);
    let (_, ok) = set_up(&mut world);
    let (a, _) = legs(&world);
    with_actions(&mut world, vec![Action::DetectInBand { leg: a, on: true }]);
    let (one, two) = (world.the("INVITE sip:100@"), world.the("INVITE sip:200@"));
    world.receive(&reply(&two, "200 OK", "", "", &sdp(CALLEE, 5000, "8")));
    world.receive(&reply(
        &one,
        "500 Server Internal Error",
        "",
        "Retry-After: 3 (busy)\r\n",
        "",
    ));
    assert!(world.those("INVITE ").is_empty(), "{:?}", world.sent);
    world.pass(2_900);
    assert!(world.those("INVITE ").is_empty(), "{:?}", world.sent);
    world.pass(200);
    agree_to(&mut world, "INVITE sip:100@", CALLER, 4000);
    hang_up(&mut world, &ok, 2);
}

#[test]
fn a_change_of_a_phone_is_passed_on_and_so_is_its_answer() {
    let mut world = plain(false);
    let (to_phone, ok) = set_up(&mut world);
    world.receive(&from_callee(
        "INVITE",
        &to_phone,
        "bob",
        1,
        "",
        &sdp("192.0.2.21", 5100, "0 8"),
    ));
    let change = world.the("INVITE sip:100@");
    assert!(body(&change).contains("c=IN IP4 192.0.2.21\r\n"));
    world.receive(&reply(&change, "200 OK", "", "", &sdp(CALLER, 4002, "0")));
    let answer = world.the("SIP/2.0 200 ");
    assert!(body(&answer).contains("m=audio 4002 RTP/AVP 0\r\n"));
    world.receive(&from_callee("ACK", &to_phone, "bob", 1, "", ""));
    // A refusal too.
    world.receive(&from_callee(
        "INVITE",
        &to_phone,
        "bob",
        2,
        "",
        &sdp("192.0.2.21", 5100, "18"),
    ));
    let change = world.the("INVITE sip:100@");
    world.receive(&reply(&change, "488 Not Acceptable Here", "", "", ""));
    world.the("SIP/2.0 488 ");
    hang_up(&mut world, &ok, 2);
}

#[test]
fn music_is_played_to_who_is_put_on_hold() {
    let mut held = None;
    let mut plain = Plain {
        a: None,
        b: None,
        answers_first: false,
    };
    let mut world = World::new(move |happening, ids| match happening {
        Happening::Hold { leg, on: true } => {
            let other = if Some(*leg) == plain.a {
                plain.b
            } else {
                plain.a
            };
            held = other;
            vec![Action::Play {
                leg: other.unwrap(),
                play: PlayId(7),
                sounds: vec![Sound::Music("default".into())],
                from_ms: 0,
                repeat: true,
                barge_in: false,
            }]
        }
        Happening::Hold { on: false, .. } => vec![Action::StopPlay {
            leg: held.unwrap(),
            play: PlayId(7),
        }],
        happening => plain.rule(happening, ids),
    });
    let (_, ok) = set_up(&mut world);
    world.receive(&within(
        "INVITE",
        "a",
        &ok,
        2,
        "",
        &sdp(CALLER, 4000, "8").replace("sendrecv", "sendonly"),
    ));
    let answer = world.the("SIP/2.0 200 ");
    assert!(
        body(&answer).contains("a=recvonly") && body(&answer).contains("198.51.100.7"),
        "{answer}"
    );
    world.receive(&within("ACK", "a", &ok, 2, "", ""));
    let change = world.pbx.calls();
    assert_eq!(change.len(), 2);
    world.pass(10);
    hang_up_held(&mut world, &ok);
}

fn hang_up_held(world: &mut World, ok: &str) {
    world.receive(&within("BYE", "a", ok, 3, "", ""));
    let bye = world.the("BYE ");
    world.receive(&reply(&bye, "200 OK", "", "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn a_session_is_refreshed_and_one_that_is_not_is_ended() {
    let mut world = plain(false);
    let (_, ok) = set_up(&mut world);
    assert_eq!(header(&ok, "Session-Expires"), "1800;refresher=uas");
    world.pass(901_000);
    let updates: Vec<String> = world
        .those("UPDATE ")
        .iter()
        .map(|text| text.to_string())
        .collect();
    assert!(updates.len() >= 2, "{:?}", world.sent);
    for update in updates {
        world.receive(&reply(
            &update,
            "200 OK",
            "",
            "Session-Expires: 1800;refresher=uas\r\n",
            "",
        ));
    }
    // From now on the phones refresh, and do not.
    world.pass(1_800_000);
    assert!(!world.those("BYE ").is_empty());
    assert!(world.happenings().iter().any(
        |happening| matches!(happening, Happening::Ended { cause, .. } if cause.status == 408)
    ));
    world.is_empty_at_the_end();
    let _ = normal();
}

#[test]
fn a_refresh_that_is_refused_is_tried_again_in_another_way() {
    let mut world = plain(false);
    let (_, ok) = set_up(&mut world);
    world.pass(901_000);
    let updates: Vec<String> = world
        .those("UPDATE ")
        .iter()
        .map(|one| one.to_string())
        .collect();
    let (mut to_caller, mut to_phone) = (None, None);
    for update in updates {
        match update.starts_with("UPDATE sip:100@") {
            true => to_caller = Some(update),
            false => to_phone = Some(update),
        }
    }
    // RFC 4028 section 7.3: longer then.
    world.receive(&reply(
        &to_caller.unwrap(),
        "422 Too Small",
        "",
        "Min-SE: 3600\r\n",
        "",
    ));
    world.pass(20);
    let longer = world
        .those("UPDATE ")
        .iter()
        .find(|text| text.starts_with("UPDATE sip:100@"))
        .unwrap()
        .to_string();
    assert_eq!(header(&longer, "Session-Expires"), "3600;refresher=uac");
    world.receive(&reply(
        &longer,
        "200 OK",
        "",
        "Session-Expires: 3600;refresher=uac\r\n",
        "",
    ));
    // It said that it knows UPDATE.
    world.receive(&reply(
        &to_phone.unwrap(),
        "405 Method Not Allowed",
        "",
        "",
        "",
    ));
    world.pass(20);
    let by_invite = world.the("INVITE ");
    // What is refused for ever ends the call before the session does.
    world.receive(&reply(&by_invite, "500 Server Error", "", "", ""));
    world.pass(10_000);
    let again = world.the("INVITE ");
    assert_eq!(
        header(&again, "CSeq"),
        format!("{} INVITE", cseq(&by_invite) + 1)
    );
    let mut pending = vec![again];
    let mut byes = 0;
    for _ in 0..110 {
        for invite in std::mem::take(&mut pending) {
            world.receive(&reply(&invite, "500 Server Error", "", "", ""));
        }
        world.pass(10_000);
        byes += world.those("BYE ").len();
        pending = world
            .those("INVITE ")
            .iter()
            .map(|one| one.to_string())
            .collect();
    }
    assert!(byes > 0);
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    world.is_empty_in_time();
}

fn cseq(text: &str) -> u32 {
    header(text, "CSeq")
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_phone_may_take_a_call_back_from_hold_by_asking_for_an_offer() {
    let mut world = plain(false);
    let (_, ok) = set_up(&mut world);
    world.happenings();
    let hold = sdp(CALLER, 4000, "8").replace("sendrecv", "inactive");
    world.receive(&within("INVITE", "a", &ok, 2, "", &hold));
    // The other phone hears of it, since nobody plays anything.
    if let Some(passed) = world.those("INVITE ").first().map(|one| one.to_string()) {
        let answer = sdp("192.0.2.20", 5000, "8").replace("sendrecv", "inactive");
        world.receive(&reply(&passed, "200 OK", "", "", &answer));
    }
    let answer = world.the("SIP/2.0 200 ");
    assert!(body(&answer).contains("a=inactive"), "{answer}");
    world.receive(&within("ACK", "a", &ok, 2, "", ""));
    assert!(matches!(
        &world.happenings()[..],
        [Happening::Hold { on: true, .. }]
    ));
    world.receive(&within("INVITE", "a", &ok, 3, "", ""));
    let offer = world.the("SIP/2.0 200 ");
    assert!(
        body(&offer).contains("a=sendrecv") && body(&offer).contains("198.51.100.7"),
        "{offer}"
    );
    world.receive(&within("ACK", "a", &ok, 3, "", &sdp(CALLER, 4000, "8")));
    assert!(matches!(
        &world.happenings()[..],
        [Happening::Hold { on: false, .. }]
    ));
    // Both are together again, and the PBX leaves the way of their media.
    for _ in 0..8 {
        for invite in world
            .those("INVITE ")
            .iter()
            .map(|one| one.to_string())
            .collect::<Vec<_>>()
        {
            let (address, port) = match invite.contains(" sip:100@") {
                true => (CALLER, 4000),
                false => ("192.0.2.20", 5000),
            };
            world.receive(&reply(&invite, "200 OK", "", "", &sdp(address, port, "8")));
        }
        world.pass(2_500);
    }
    let calls = world.pbx.calls();
    assert!(calls.iter().all(|call| call.codec.is_none()), "{calls:?}");
    world.receive(&within("BYE", "a", &ok, 4, "", ""));
    let bye = world.the("BYE ");
    world.receive(&reply(&bye, "200 OK", "", "", ""));
    world.is_empty_at_the_end();
}

fn verified(request: &str, password: &[u8]) -> bool {
    use sip::digest::{Algorithm, Credentials, Ha1, WithoutQop, verify};
    let Some(value) = rig::find_header(request, "Proxy-Authorization") else {
        return false;
    };
    let credentials = Credentials::parse(value.as_bytes()).unwrap();
    let ha1 = Ha1::compute(Algorithm::Md5, b"us", b"trunk", password);
    let mut words = request.split(' ');
    let (method, uri) = (words.next().unwrap(), words.next().unwrap());
    assert!(value.contains(&format!("uri=\"{uri}\"")), "{value}");
    verify(&credentials, &ha1, method.as_bytes(), WithoutQop::Refuse)
}

const CHALLENGE: &str =
    "Proxy-Authenticate: Digest realm=\"trunk\", nonce=\"n1\", qop=\"auth\", algorithm=MD5\r\n";

fn trunk() -> World {
    let mut plain = Plain {
        a: None,
        b: None,
        answers_first: false,
    };
    let mut world = World::new(move |happening, ids| {
        let mut actions = plain.rule(happening, ids);
        for action in &mut actions {
            if let Action::Dial { target, .. } = action {
                *target = "0171@trunk.example".to_owned();
            }
        }
        actions
    });
    world.settings.accounts.push(pbx::Account {
        host: "trunk.example".into(),
        user: "us".into(),
        password: "secret".into(),
    });
    world
}

#[test]
fn a_trunk_that_asks_for_credentials_gets_them() {
    let mut world = trunk();
    world.receive(&invite("a", "0171", "", &sdp(CALLER, 4000, "8")));
    let bare = world.the("INVITE ");
    assert!(!verified(&bare, b"secret"));
    world.receive(&reply(
        &bare,
        "407 Proxy Authentication Required",
        "t",
        CHALLENGE,
        "",
    ));
    world.the("ACK ");
    let with = world.the("INVITE ");
    assert!(verified(&with, b"secret"), "{with}");
    assert_eq!(cseq(&with), cseq(&bare) + 1);
    assert_eq!(header(&with, "Call-ID"), header(&bare, "Call-ID"));
    world.receive(&reply(
        &with,
        "200 OK",
        "bob",
        "",
        &sdp("192.0.2.20", 5000, "8"),
    ));
    let ok = world.the("SIP/2.0 200 ");
    world.receive(&within("ACK", "a", &ok, 1, "", ""));
    // And with all that follows.
    world.receive(&within("BYE", "a", &ok, 2, "", ""));
    let bye = world.the("BYE ");
    assert!(
        verified(&bye, b"secret") && bye.contains("nc=00000002"),
        "{bye}"
    );
    world.receive(&reply(&bye, "200 OK", "", "", ""));
    world.is_empty_at_the_end();
}

#[test]
fn credentials_that_are_not_taken_are_not_sent_again_and_others_get_none() {
    let mut world = trunk();
    world.receive(&invite("a", "0171", "", &sdp(CALLER, 4000, "8")));
    for _ in 0..2 {
        let invite = world.the("INVITE ");
        world.receive(&reply(
            &invite,
            "407 Proxy Authentication Required",
            "t",
            CHALLENGE,
            "",
        ));
    }
    assert!(world.those("INVITE ").is_empty());
    assert!(!world.those("SIP/2.0 4").is_empty(), "{:#?}", world.sent);
    world.is_empty_at_the_end();
    // Who challenges for ever with other nonces is not answered for ever.
    let mut world = trunk();
    world.receive(&invite("a", "0171", "", &sdp(CALLER, 4000, "8")));
    let mut asked = 0;
    while let Some(invite) = world.those("INVITE ").first().map(|one| one.to_string()) {
        asked += 1;
        let other = CHALLENGE.replace("n1", &format!("n{asked}"));
        world.receive(&reply(
            &invite,
            "407 Proxy Authentication Required",
            "t",
            &other,
            "",
        ));
    }
    assert_eq!(asked, 4);
    world.is_empty_at_the_end();
    let mut world = trunk();
    world.settings.accounts[0].host = "other.example".to_owned();
    world.receive(&invite("a", "0171", "", &sdp(CALLER, 4000, "8")));
    let invite = world.the("INVITE ");
    world.receive(&reply(
        &invite,
        "407 Proxy Authentication Required",
        "t",
        CHALLENGE,
        "",
    ));
    assert!(world.those("INVITE ").is_empty());
    world.is_empty_at_the_end();
}
