//! Two nodes whose PBXs are services of a cluster, and what phones notice when one dies, or hands over.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use support::exchange::Exchange;
use support::office::{call_ids, rows_in};
use support::prompts::{Known, sound_of};
use support::talker::hear_each_other;
use support::{Says, Talker, bucket, sound, wait_until};

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

[[pbx.route]]
pattern = "605"
steps = ["mailbox 101"]
"##;

/// What is spoken into the mailbox before and after: prompts that nobody plays in these calls.
const SPEECH: [&str; 2] = ["transfer/number", "room/full"];

/// What is sung into a mailbox before and after.
const TONES_HZ: [f64; 2] = [600.0, 900.0];

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
    exchange.comes_to("pbx1", 2);
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
    exchange.has_standby("pbx1");
    exchange.verb(2, &["switchover", "pbx1"]);
    let pause = cat.silence(0);
    exchange.comes_to("pbx1", 1);
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

#[test]
fn a_message_is_whole_and_there_once_in_a_bucket_though_its_pbx_was_killed_in_its_middle() {
    let (bucket, address) = bucket::serve();
    let media = format!(
        "media_store = \"s3://media/of\"\n[pbx.s3]\nendpoint = \"http://{address}\"\naccess_key = \"key\"\nsecret_key = \"secret\"\n"
    );
    let exchange = Exchange::start_on(&media, &["ann"], PLAN);
    let ann = exchange.phone("ann");
    let call = ann.reaches("604");
    ann.presses(call, "#");
    ann.hears(call, "the beep", |heard| {
        (sound::frames_with(heard, 1_000.0) >= 1).then_some(())
    });
    ann.says(call, Says::Tone(TONES_HZ[0]));
    let pieces = |count: usize| {
        wait_until("pieces of the message", || {
            (bucket.names().len() >= count).then_some(())
        });
    };
    pieces(2);
    exchange.kill_process(1);
    ann.silence(call);
    exchange.comes_to("pbx1", 2);
    ann.says(call, Says::Tone(TONES_HZ[1]));
    // Of two seconds each; one may have been under way.
    pieces(bucket.names().len() + 2);
    ann.hangs_up(call);
    let ends = |end: &str| {
        let names = bucket.names().into_iter();
        names.filter(|name| name.ends_with(end)).collect::<Vec<_>>()
    };
    wait_until("the message", || {
        (ends(".json").len() == 1 && bucket.names().len() == 2).then_some(())
    });
    let file = bucket.object(&ends(".wav")[0]).expect("it is there");
    let kept = audio::upload::decode(file, audio::SampleRate::Hz8000, 600).expect("a WAV");
    for tone_hz in TONES_HZ {
        let tenths = sound::frames_with(&kept, tone_hz);
        assert!(
            tenths >= 10,
            "{tone_hz} Hz: {tenths} in {} ms",
            kept.len() / 8
        );
    }
    // The mailbox has one message, with both.
    let listens = ann.reaches("605");
    ann.sees(listens, "the prompt", |call| {
        (call.packets() > 50).then_some(())
    });
    ann.presses(listens, "4711#");
    for tone_hz in TONES_HZ {
        ann.hears_tone(listens, tone_hz);
    }
    ann.hangs_up(listens);
    assert_eq!(bucket.names().len(), 2, "{:?}", bucket.names());
}

#[test]
fn calls_that_end_as_their_pbx_dies_have_one_record_each() {
    let users = &USERS[..8];
    let exchange = Exchange::start(users, PLAN);
    let phones: Vec<Talker> = users.iter().map(|user| exchange.phone(user)).collect();
    for phone in &phones {
        phone.reaches("601");
    }
    let mut expected = Vec::new();
    // Each half ends with an owner of its own, which dies a moment later: before, while and after it writes them down.
    for (phones, owner, pause_ms) in [(&phones[..4], 1, 2), (&phones[4..], 2, 40)] {
        std::thread::scope(|scope| {
            for (phone, pause) in phones.iter().zip([0, 5, 10, 15]) {
                scope.spawn(move || {
                    std::thread::sleep(Duration::from_millis(pause));
                    phone.hangs_up(0);
                });
            }
            std::thread::sleep(Duration::from_millis(pause_ms));
            exchange.kill_process(owner);
        });
        let call_id = |phone: &Talker| {
            let last = phone.is_over(0).1;
            last.header("Call-ID").to_owned()
        };
        expected.extend(phones.iter().map(call_id));
        exchange.comes_to("pbx1", 3 - owner);
        exchange.has_standby("pbx1");
    }
    wait_until("the end of all legs", || {
        let legs = [1, 2].map(|number| exchange.legs(number));
        (legs == [Some(0), Some(0)]).then_some(())
    });
    let rows = || rows_in(&exchange.folder().join("users.db"));
    wait_until("the records of calls", || {
        (rows().len() >= expected.len()).then_some(())
    });
    let mut found = call_ids(&rows());
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    // The lines may have one twice, by the same name.
    let lines: BTreeSet<String> = exchange
        .records()
        .iter()
        .map(|line| line["id"].to_string())
        .collect();
    assert_eq!(lines.len(), expected.len(), "{:#?}", exchange.records());
}
