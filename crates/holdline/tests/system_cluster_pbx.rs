//! Two nodes whose PBXs are services of a cluster, and what phones notice when one dies, or hands over.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use support::exchange::Exchange;
use support::prompts::{Known, sound_of};
use support::talker::hear_each_other;
use support::{Says, Talker, wait_until};

/// Users, with the extensions 101 to 112.
const USERS: [&str; 12] = [
    "ann", "ben", "cat", "dan", "eve", "fay", "gus", "hal", "ida", "joe", "kim", "lea",
];

const PLAN: &str = r##"
[[pbx.mailbox]]
number = "101"
pin = "4711"
message_min_s = 1
silence_s = 60

[[pbx.menu]]
name = "main"
prompt = ["welcome"]
timeout_s = 60
keys = { 1 = ["play goodbye", "hangup"] }

[[pbx.queue]]
name = "sales"
agents = ["111"]
join_empty = true
music = "default"

[[pbx.room]]
number = "200"
announce = false

[[pbx.route]]
pattern = "600"
steps = ["menu main"]

[[pbx.route]]
pattern = "601"
steps = ["answer", "music"]

[[pbx.route]]
pattern = "602"
steps = ["queue sales"]

[[pbx.route]]
pattern = "603"
steps = ["room 200"]

[[pbx.route]]
pattern = "604"
steps = ["voicemail 101"]
"##;

/// What is spoken into the mailbox before and after: prompts that nobody plays in these calls.
const SPEECH: [&str; 2] = ["transfer/number", "room/full"];

/// More than silence may last on a machine that is busy with other tests; the figures are the laboratory's.
const SILENCE_MAX: Duration = Duration::from_secs(4);

#[test]
fn calls_of_every_kind_go_on_when_their_pbx_is_killed_and_when_it_is_handed_over() {
    let exchange = Exchange::start(&USERS, PLAN);
    let phones = USERS.map(|user| exchange.phone(user));
    let [ann, ben, cat, dan, eve, fay, gus, hal, ida, joe, kim, lea] = &phones;
    // Somebody speaks into a mailbox.
    ida.reaches("604");
    ida.presses(0, "#");
    wait_until("the recording to begin", || {
        (!exchange.stored("voicemail").is_empty()).then_some(())
    });
    ida.says(0, Says::Sound(sound_of(SPEECH[0])));
    // Two are talking, one hears music, two are in a menu, one waits in a queue, two are in a conference.
    ann.dials("102");
    ben.answers(0);
    ann.is_up(0);
    cat.reaches("601");
    dan.reaches("600");
    lea.reaches("600");
    joe.reaches("602");
    gus.reaches("603");
    hal.reaches("603");
    hear_each_other((ann, 0), (ben, 0));
    hear_each_other((gus, 0), (hal, 0));
    cat.hears_music(0);
    joe.hears_music(0);
    dan.sees(0, "the prompt", |call| (call.packets() > 50).then_some(()));
    wait_until("pieces of the message", || {
        (exchange.stored("voicemail").len() >= 4).then_some(())
    });
    // A phone rings.
    eve.dials("106");
    fay.is_rung(0);

    exchange.kill_process(1);
    let pause = cat.silence(0);
    exchange.is_owned_by("pbx1", 2);
    eprintln!("silence of {} ms after the kill", pause.as_millis());
    assert!(pause < SILENCE_MAX, "{pause:?}");
    go_on(&phones);
    // The one that rang is answered.
    fay.answers(0);
    eve.is_up(0);
    hear_each_other((eve, 0), (fay, 0));
    // A key is acted upon: the menu says goodbye and hangs up.
    dan.presses(0, "1");
    dan.is_over(0);
    // An agent logs in, and has who waited.
    let login = kim.reaches("*45");
    kim.is_over(login);
    kim.answers(1);
    hear_each_other((joe, 0), (kim, 1));
    ida.says(0, Says::Sound(sound_of(SPEECH[1])));

    // The one that died is in sync again, and has it all back.
    exchange.is_in_sync("pbx1");
    exchange.verb(2, &["switchover", "pbx1"]);
    let pause = cat.silence(0);
    exchange.is_owned_by("pbx1", 1);
    eprintln!("silence of {} ms when handed over", pause.as_millis());
    assert!(pause < SILENCE_MAX, "{pause:?}");
    lea.presses(0, "1");
    lea.is_over(0);
    go_on(&phones);
    hear_each_other((eve, 0), (fay, 0));
    hear_each_other((joe, 0), (kim, 1));

    for (phone, other) in [(ann, Some(ben)), (fay, Some(eve)), (cat, None)] {
        phone.hangs_up(0);
        if let Some(other) = other {
            other.is_over(0);
        }
    }
    for phone in [gus, hal, ida, joe] {
        phone.hangs_up(0);
    }
    kim.is_over(1);
    wait_until("the end of all legs", || {
        let legs = [1, 2].map(|number| exchange.legs(number));
        (legs == [Some(0), Some(0)]).then_some(())
    });
    let calls = 10;
    wait_until("the records of calls", || {
        (exchange.records().len() >= calls).then_some(())
    });
    let records = exchange.records();
    let names: BTreeSet<String> = records.iter().map(|row| row["id"].to_string()).collect();
    assert_eq!((records.len(), names.len()), (calls, calls), "{records:#?}");
    message_is_whole(&exchange);
}

/// Those whose sound comes from the PBX hear it, and those who talk with each other do.
fn go_on(phones: &[Talker; 12]) {
    let [ann, ben, cat, _, _, _, gus, hal, ..] = phones;
    hear_each_other((ann, 0), (ben, 0));
    hear_each_other((gus, 0), (hal, 0));
    cat.hears_music(0);
}

/// One message, with what was said before and after.
fn message_is_whole(exchange: &Exchange) {
    let files = |extension: &str| {
        let stored = exchange.stored("voicemail").into_iter();
        let is_it = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == extension);
        stored.filter(is_it).collect::<Vec<_>>()
    };
    wait_until("the message", || {
        (files("json").len() == 1 && files("wav").len() == 1).then_some(())
    });
    let bytes = fs::read(&files("wav")[0]).expect("readable");
    let kept = audio::upload::decode(bytes, audio::SampleRate::Hz8000, 600).expect("a WAV");
    for words in SPEECH {
        let found = Known::of(words).find(&kept);
        assert!(found.is_some(), "{words} in {} ms", kept.len() / 8);
    }
}
