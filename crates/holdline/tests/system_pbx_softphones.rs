//! The PBX by baresip, a softphone of others: its services, calls that are held and sent on, a conference.

mod support;

use std::time::Duration;

use support::baresip::Baresip;
use support::{Office, Says, Talker, sound, wait_until};

const PLAN: &str = r##"
[[pbx.route]]
pattern = "600"
steps = ["play demo/echo", "echo"]

[[pbx.route]]
pattern = "602"
steps = ["menu main"]

[[pbx.menu]]
name = "main"
prompt = ["demo/menu"]
keys = { 1 = ["play welcome", "hangup"] }

[[pbx.route]]
pattern = "610"
steps = ["voicemail 101"]

[[pbx.room]]
number = "200"
announce = false

[[pbx.route]]
pattern = "200"
steps = ["room 200"]
"##;

/// What the softphone plays into its calls.
const TONE_HZ: f64 = 500.0;

#[test]
fn a_softphone_hears_the_echo_keys_in_a_menu_leaves_a_message_and_hears_it() {
    let office = Office::start("", PLAN);
    let mut ann = Baresip::of(&office.node, "ann", TONE_HZ);
    ann.says("Messages-Waiting: no");
    ann.reaches("600");
    ann.hears_prompt("demo/echo");
    ann.hears_tone(TONE_HZ);
    ann.hangs_up();

    ann.reaches("602");
    ann.hears("a second of the menu", |heard| {
        (heard.len() > 8_000).then_some(())
    });
    ann.presses("1");
    ann.hears_prompt("welcome");
    ann.sees("CALL_CLOSED");

    ann.reaches("610");
    ann.hears("the greeting", |heard| (heard.len() > 4_000).then_some(()));
    ann.presses("#");
    ann.hears("the beep", |heard| {
        (sound::frames_with(heard, 1_000.0) >= 1).then_some(())
    });
    std::thread::sleep(Duration::from_millis(2_500));
    ann.hangs_up();
    ann.says("Messages-Waiting: yes");

    ann.reaches("*97");
    ann.hears_prompt("pin/enter");
    ann.presses("4711#");
    ann.hears_prompt("mailbox/you-have");
    // What it said.
    ann.hears_tone(TONE_HZ);
    ann.hangs_up();
    office.is_over(4);
}

#[test]
fn a_softphone_holds_a_call_takes_it_again_records_it_and_sends_it_on() {
    let office = Office::start("media_by_need = false", PLAN);
    let mut ann = Baresip::of(&office.node, "ann", TONE_HZ);
    let [ben, cat] = ["ben", "cat"].map(|user| Talker::of(&office.node, user));
    let call = cat.reaches("101");
    cat.says(call, Says::Tone(900.0));
    ann.hears_tone(900.0);
    cat.hears_tone(call, TONE_HZ);
    ann.presses("*1");
    std::thread::sleep(Duration::from_millis(2_000));
    ann.presses("*1");
    let file = wait_until("the recording", || {
        let mut stored = office.stored("recordings").into_iter();
        stored.find(|path| path.extension().is_some_and(|it| it == "wav"))
    });
    let bytes = std::fs::read(file).expect("readable");
    let recorded = audio::upload::decode(bytes, audio::SampleRate::Hz8000, 600).expect("a WAV");
    assert!(sound::frames_with_both(&recorded, [TONE_HZ, 900.0]) >= 5);

    cat.says(call, Says::Nothing);
    ann.command("hold", "");
    cat.hears_music(call);
    ann.command("resume", "");
    cat.hears_tone(call, TONE_HZ);
    ann.command("transfer", "102");
    ben.answers(0);
    ann.sees("CALL_CLOSED");
    support::talker::hear_each_other((&cat, call), (&ben, 0));
    ben.hangs_up(0);
    cat.is_over(call);
    office.is_over(1);
}

#[test]
fn two_softphones_and_a_phone_hear_each_other_in_a_conference() {
    let office = Office::start("", PLAN);
    let cat = Talker::of(&office.node, "cat");
    let call = cat.reaches("200");
    let mut ann = Baresip::of(&office.node, "ann", TONE_HZ);
    let mut ben = Baresip::of(&office.node, "ben", 900.0);
    ann.reaches("200");
    ben.reaches("200");
    cat.forgets(call);
    cat.hears(call, "both", |heard| {
        (sound::frames_with_both(heard, [TONE_HZ, 900.0]) >= 4).then_some(())
    });
    ann.hears_tone(900.0);
    ben.hears_tone(TONE_HZ);
    ann.hangs_up();
    ben.hangs_up();
    cat.hangs_up(call);
    office.is_over(3);
}
