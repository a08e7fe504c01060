//! Voice messages, left by one phone and heard by another.

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use support::prompts::{Known, sound_of};
use support::talker::CallId;
use support::{Office, Says, Talker, sound, wait_until};

const PLAN: &str = r##"
[[pbx.route]]
pattern = "610"
steps = ["voicemail 101"]
"##;

/// What is spoken: a prompt that nobody plays in these calls.
const SPEECH: &str = "transfer/number";
const GREETING: &str = "room/full";

/// Passes over the greeting, waits for the tone and speaks.
fn speaks(phone: &Talker, call: CallId, words: &str) {
    phone.hears(call, "the beep", |heard| {
        (sound::frames_with(heard, 1_000.0) >= 1).then_some(())
    });
    phone.says(call, Says::Sound(sound_of(words)));
}

fn said(words: &str) -> Duration {
    Duration::from_millis(sound_of(words).len() as u64 / 8)
}

#[test]
fn a_message_left_by_one_phone_is_heard_by_another_kept_and_deleted() {
    let office = Office::start("", PLAN);
    let (ann, ben) = (
        Talker::of(&office.node, "ann"),
        Talker::of(&office.node, "ben"),
    );
    assert_eq!(ann.subscribes("101", "message-summary").status(), 200);
    ann.is_notified("Voice-Message: 0/0");

    let call = ben.reaches("610");
    ben.hears_prompt(call, "voicemail/unavailable");
    speaks(&ben, call, SPEECH);
    std::thread::sleep(said(SPEECH) + Duration::from_millis(300));
    ben.hangs_up(call);
    ann.is_notified("Messages-Waiting: yes");
    ann.is_notified("Voice-Message: 1/0");

    let call = ann.reaches("*97");
    ann.hears_prompt(call, "pin/enter");
    ann.presses(call, "4711#");
    ann.hears_prompt(call, "mailbox/you-have");
    ann.hears_prompt(call, SPEECH);
    ann.presses(call, "9");
    ann.hears_prompt(call, "mailbox/end");
    ann.is_notified("Voice-Message: 0/1");
    ann.presses(call, "47");
    wait_until("the message to be gone", || {
        office.stored("voicemail").is_empty().then_some(())
    });
    ann.hangs_up(call);
    let records = office.is_over(2);
    let steps = records[0]["steps"].to_string();
    assert!(steps.contains("message of "), "{steps}");
}

#[test]
fn a_greeting_of_ones_own_is_heard_by_callers_and_the_pin_guards_the_mailbox() {
    let office = Office::start("", PLAN);
    let (ann, ben) = (
        Talker::of(&office.node, "ann"),
        Talker::of(&office.node, "ben"),
    );
    // Without the PIN nobody gets in.
    let call = ben.reaches("*98");
    ben.hears_prompt(call, "mailbox/number");
    ben.presses(call, "101#");
    ben.hears_prompt(call, "pin/enter");
    ben.presses(call, "1#2#3#");
    assert!(ben.is_over(call).1.header("Reason").contains("cause=21"));

    let call = ann.reaches("*97");
    ann.hears_prompt(call, "pin/enter");
    ann.presses(call, "4711#");
    ann.hears_prompt(call, "mailbox/you-have");
    ann.forgets(call);
    ann.presses(call, "0");
    speaks(&ann, call, GREETING);
    std::thread::sleep(said(GREETING) + Duration::from_millis(300));
    ann.presses(call, "#");
    ann.hears_prompt(call, "mailbox/greeting-review");
    ann.presses(call, "1");
    ann.hears_prompt(call, "mailbox/greeting-kept");
    ann.hangs_up(call);

    let call = ben.reaches("610");
    ben.hears_prompt(call, GREETING);
    assert_eq!(
        Known::of("voicemail/unavailable").find(&ben.heard(call)),
        None
    );
    // Who says nothing has left nothing, and is no failure.
    ben.hears(call, "the beep", |heard| {
        (sound::frames_with(heard, 1_000.0) >= 1).then_some(())
    });
    ben.hangs_up(call);
    let records = office.is_over(3);
    let steps = records[2]["steps"].to_string();
    assert!(steps.contains("message too short"), "{steps}");
    assert!(!steps.contains("lost"), "{steps}");
}

#[test]
fn what_was_said_until_the_node_was_killed_is_a_message_after_its_restart() {
    let mut office = Office::start("", PLAN);
    let ben = Talker::of(&office.node, "ben");
    let call = ben.reaches("610");
    ben.presses(call, "#");
    speaks(&ben, call, SPEECH);
    wait_until(
        "two pieces to be safe, and perhaps one that is being written",
        || (office.stored("voicemail").len() >= 3).then_some(()),
    );
    let underway = office.node.path().join("data/cdr-underway.jsonl");
    wait_until("the call to be written down as in progress", || {
        underway.exists().then_some(())
    });
    office.node.kill();
    drop(ben);
    let pieces = office.stored("voicemail");
    assert!(pieces.len() >= 2, "{pieces:?}");
    // A piece that is two minutes old is nobody's any more.
    for piece in &pieces {
        let file = fs::File::options()
            .write(true)
            .open(piece)
            .expect("it is there");
        let long_ago = SystemTime::now() - Duration::from_secs(180);
        file.set_modified(long_ago).expect("it is ours");
    }
    office.node.restart();
    office.node.wait_for(|_| {
        let stored = office.stored("voicemail");
        let is_about = |path: &PathBuf| path.extension().is_some_and(|it| it == "json");
        let is_whole = |path: &PathBuf| path.extension().is_some_and(|it| it == "wav");
        stored.iter().any(is_about) && stored.iter().any(is_whole)
    });
    let is_sound = |path: &&PathBuf| path.extension().is_some_and(|it| it == "wav");
    let file = office.stored("voicemail").iter().find(is_sound).cloned();
    let file = fs::read(file.expect("its sound")).expect("readable");
    let kept = audio::upload::decode(file, audio::SampleRate::Hz8000, 600).expect("a WAV");
    assert!(
        kept.len() >= 4 * 8_000 && Known::of(SPEECH).find(&kept).is_some(),
        "{}",
        kept.len()
    );
    let ann = Talker::of(&office.node, "ann");
    let call = ann.reaches("*97");
    ann.hears_prompt(call, "pin/enter");
    ann.presses(call, "4711#");
    ann.hears_prompt(call, SPEECH);
    ann.hangs_up(call);
    // One of the call that its node's death ended, with a cause that says so.
    let records = office.is_over(2);
    assert_eq!(records[0]["q850"], 41, "{records:#?}");
}
