//! Voicemail.

use super::*;

const PLAN: &str = r#"
[[pbx.extension]]
number = "101"
phones = ["ann"]
mailbox = "101"

[[pbx.mailbox]]
number = "101"
pin = "1234"

[[pbx.mailbox]]
number = "102"
pin = false
review = false

[[pbx.mailbox]]
number = "103"

[[pbx.route]]
pattern = "81XX"
steps = ["voicemail $rest"]

[[pbx.route]]
pattern = "*1XX"
steps = ["voicemail 102"]

[[pbx.route]]
pattern = "9."
steps = ["voicemail $rest"]
"#;

fn messages(count: usize) -> Answer {
    let one = |at: usize| VoiceMessage {
        message: format!("m{at}"),
        path: format!("voicemail/101/m{at}.wav"),
        caller: Party {
            user: "555".to_owned(),
            ..Party::default()
        },
        left_unix_s: 0,
        length_ms: 3_000,
        is_heard: at > 1,
    };
    Answer::Mailbox(Mailbox {
        greeting: None,
        messages: (0..count).map(one).collect(),
    })
}

#[test]
fn a_message_is_left_listened_to_and_kept() {
    script(PLAN, |t| {
        let a = t.call("x", "9101");
        t.told(Answer::Mailbox(Mailbox {
            greeting: Some("greetings/101/mine.wav".to_owned()),
            messages: Vec::new(),
        }));
        t.expect(&[
            "answer <x>",
            "ask mailbox 101",
            "play <x>: file:greetings/101",
        ]);
        t.heard(a);
        t.expect(&["record <x> beep"]);
        t.recorded(a, 5_000, true);
        t.expect(&["play <x>: voicemail/review"]);
        t.presses(a, "2");
        t.expect(&["play <x>: file:voicemail/101"]);
        t.presses(a, "3");
        t.expect(&["ask drop voicemail/101", "record <x> beep"]);
        t.recorded(a, 6_000, true);
        t.presses(a, "1");
        t.expect(&["play <x>: voicemail/review", "ask keep 101 6000"]);
        t.told(Answer::Done);
        t.expect(&["play <x>: voicemail/saved goodbye", "ask mailbox 101"]);
        t.told(messages(3));
        t.expect(&["mailbox 101 has 2 new 1 old", "mailbox ann has 2 new 1 old"]);
        t.heard(a);
        t.expect(&["hangup <x> 200"]);
    });
}

#[test]
fn what_was_said_before_hanging_up_is_kept() {
    script(PLAN, |t| {
        let a = t.call("x", "9101");
        t.told(messages(0));
        t.heard(a);
        t.said();
        t.hangs_up(a);
        t.expect(&["ask keep 101 4000"]);
        assert!(t.cdrs.is_empty());
        t.told(Answer::Done);
        t.told(messages(1));
        t.expect(&[
            "ask mailbox 101",
            "mailbox 101 has 1 new 0 old",
            "mailbox ann has 1 new 0 old",
        ]);
        assert_eq!(t.cdrs.len(), 1);
    });
}

#[test]
fn a_store_that_is_away_is_told_to_the_caller() {
    script(PLAN, |t| {
        let a = t.call("x", "9102");
        t.wait(3_000);
        t.expect(&[
            "answer <x>",
            "ask mailbox 102",
            "play <x>: voicemail/extension '102' voicemail/unavailable",
        ]);
        t.questions.clear();
        t.presses(a, "#");
        t.recorded(a, 5_000, true);
        t.expect(&["record <x> beep", "ask keep 102 5000"]);
        t.told(Answer::Failed);
        t.expect(&["play <x>: voicemail/failed goodbye"]);
        t.heard(a);
        t.said();
        // Or the recording itself is lost, or there is no answer at all.
        let a = t.call("x", "9102");
        t.told(Answer::Failed);
        t.presses(a, "#");
        t.recorded(a, 5_000, false);
        assert_eq!(
            t.said().last().unwrap(),
            "play <x>: voicemail/failed goodbye"
        );
        t.hangs_up(a);
        let a = t.call("x", "9102");
        t.told(Answer::Failed);
        t.presses(a, "#");
        t.recorded(a, 5_000, true);
        t.wait(15_000);
        assert_eq!(
            t.said().last().unwrap(),
            "play <x>: voicemail/failed goodbye"
        );
        t.hangs_up(a);
        t.told(Answer::Failed);
    });
}

#[test]
fn what_is_too_short_is_no_message() {
    script(PLAN, |t| {
        let a = t.call("x", "9101");
        t.told(messages(0));
        t.presses(a, "#");
        t.said();
        t.recorded(a, 300, true);
        t.expect(&[
            "ask drop voicemail/101",
            "play <x>: voicemail/too-short goodbye",
        ]);
        t.heard(a);
    });
}

#[test]
fn only_mailboxes_of_the_dialplan_are_written_to() {
    script(PLAN, |t| {
        let a = t.call("x", "9999");
        t.expect(&["answer <x>", "play <x>: sorry"]);
        t.heard(a);
        for number in ["9../101", "9/etc/passwd", "9101/../102"] {
            t.call("x", number);
            assert_eq!(t.said().last().unwrap(), "reject <x> 404");
        }
        t.said();
    });
}

fn own_mailbox(t: &mut Desk, count: usize) -> LegId {
    let a = t.call("ann", "*97");
    t.expect(&["answer <ann>", "play <ann>: pin/enter"]);
    t.presses(a, "1234#");
    t.expect(&["ask mailbox 101"]);
    t.told(messages(count));
    a
}

#[test]
fn messages_are_heard_deleted_and_kept() {
    script(PLAN, |t| {
        let a = own_mailbox(t, 3);
        t.expect(&[
            "mailbox 101 has 2 new 1 old",
            "mailbox ann has 2 new 1 old",
            "play <ann>: mailbox/you-have 2 mailbox/new 1 mailbox/old",
        ]);
        t.heard(a);
        t.expect(&["play <ann>: mailbox/message 1 mailbox/from '555' file:voicemail/101"]);
        t.heard(a);
        t.expect(&["play <ann>: mailbox/menu"]);
        t.presses(a, "7");
        t.expect(&["ask delete 101 m0"]);
        t.told(Answer::Done);
        t.expect(&[
            "play <ann>: mailbox/message 1 mailbox/from '555' file:voicemail/101",
            "ask mailbox 101",
        ]);
        t.told(messages(2));
        t.presses(a, "9");
        t.expect(&[
            "mailbox 101 has 2 new 0 old",
            "mailbox ann has 2 new 0 old",
            "ask heard 101 m1",
        ]);
        t.told(Answer::Done);
        t.told(messages(2));
        t.expect(&[
            "play <ann>: mailbox/message 2 mailbox/from '555' file:voicemail/101",
            "ask mailbox 101",
            "mailbox 101 has 2 new 0 old",
            "mailbox ann has 2 new 0 old",
        ]);
        t.presses(a, "6");
        t.expect(&["play <ann>: mailbox/end mailbox/menu"]);
        t.presses(a, "4");
        t.presses(a, "5");
        t.said();
        t.presses(a, "#");
        t.expect(&["play <ann>: mailbox/bye goodbye"]);
        t.heard(a);
        t.expect(&["hangup <ann> 200"]);
    });
}

#[test]
fn a_greeting_is_spoken() {
    script(PLAN, |t| {
        let a = own_mailbox(t, 0);
        t.heard(a);
        t.said();
        t.presses(a, "0");
        t.expect(&["record <ann> beep"]);
        t.recorded(a, 3_000, true);
        t.expect(&["play <ann>: mailbox/greeting-review"]);
        t.presses(a, "2");
        t.said();
        t.presses(a, "3");
        t.expect(&["ask drop greetings/101", "record <ann> beep"]);
        t.recorded(a, 3_000, true);
        t.presses(a, "1");
        assert_eq!(t.said().last().unwrap(), "ask greeting 101");
        t.told(Answer::Done);
        t.expect(&["play <ann>: mailbox/greeting-kept mailbox/menu"]);
        t.hangs_up(a);
    });
}

#[test]
fn any_mailbox_is_heard_by_its_number_and_pin() {
    script(PLAN, |t| {
        let a = t.call("bob", "*98");
        t.expect(&["answer <bob>", "play <bob>: mailbox/number"]);
        t.presses(a, "999#");
        t.expect(&["play <bob>: mailbox/number"]);
        t.presses(a, "103");
        t.wait(4_000);
        t.expect(&["play <bob>: pin/enter"]);
        t.presses(a, "77#");
        t.expect(&["ask pin mailbox/103 77"]);
        t.told(Answer::Done);
        t.told(Answer::Failed);
        t.expect(&["ask mailbox 103", "play <bob>: mailbox/failed goodbye"]);
        t.heard(a);
        // Nothing keyed in.
        let a = t.call("bob", "*98");
        t.heard(a);
        t.wait(8_000);
        t.heard(a);
        t.wait(8_000);
        t.heard(a);
        t.wait(8_000);
        assert_eq!(t.said().last().unwrap(), "play <bob>: sorry goodbye");
        t.heard(a);
        // Strangers have no mailbox.
        t.call_as("ann", "*97", false);
        t.said();
    });
}
