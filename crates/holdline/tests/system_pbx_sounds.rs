//! What is heard of the operator's sounds and dialplans, and what is written down of what was heard: by phones that listen.

mod support;

use std::fs;
use std::path::Path;
use std::time::Duration;

use audio::wav::{self, Written};
use serde_json::Value;
use support::prompts::{Known, sound_of};
use support::sipp::{Over, Sipp};
use support::talker::hear_each_other;
use support::{Office, Says, Talker, ask, sound, text, wait_until};

const PLAN: &str = r##"
[[pbx.route]]
pattern = "600"
steps = ["echo"]

[[pbx.route]]
pattern = "602"
steps = ["menu main"]

[[pbx.route]]
pattern = "606"
steps = ["milliwatt"]

[[pbx.menu]]
name = "main"
prompt = ["demo/menu"]
timeout_s = 2
between_s = 2
tries = 1
keys = { 1 = ["play closed", "hangup"], 12 = ["play welcome", "hangup"] }
timeout = ["play sorry", "hangup"]
"##;

/// A prompt that nobody plays in these calls, as the operator's own sound.
const SPEECH: &str = "room/full";

/// An uploaded MP3 of half a second of this tone.
const MP3_HZ: f64 = 1_000.0;

fn wav_of(sound: &[i16]) -> Vec<u8> {
    let mut data = Vec::new();
    wav::push(Written::Pcm16, sound, &mut data);
    let mut file = wav::header(Written::Pcm16, 8_000, data.len() as u32).to_vec();
    file.extend(data);
    file
}

/// A folder of the operator's prompts: a sound of each format, and one that is none.
fn own_prompts() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let mp3 = Path::new(env!("CARGO_MANIFEST_DIR")).join("../audio/tests/uploads/tone.mp3");
    fs::create_dir(folder.path().join("own")).expect("made");
    fs::copy(mp3, folder.path().join("own/tone.mp3")).expect("copied");
    let speech = wav_of(&sound_of(SPEECH));
    fs::write(folder.path().join("own/speech.wav"), &speech).expect("written");
    fs::write(folder.path().join("hello.wav"), "RIFF is all of it").expect("written");
    folder
}

#[test]
fn the_operators_files_are_heard_a_broken_one_hides_none_of_ours_and_the_milliwatt_is_one() {
    let prompts = own_prompts();
    let keys = format!("prompts = {:?}", prompts.path());
    let routes = r#"
[[pbx.route]]
pattern = "640"
steps = ["play own/tone own/tone own/tone own/speech", "play file:uploads/left.wav", "play hello", "hangup"]
"#;
    let office = Office::start(&keys, &format!("{PLAN}{routes}"));
    let uploads = office.node.path().join("data/media/uploads");
    fs::create_dir_all(&uploads).expect("made");
    let left = wav_of(&sound_of("room/left"));
    fs::write(uploads.join("left.wav"), left).expect("written");
    let ann = Talker::of(&office.node, "ann");
    let call = ann.reaches("640");
    let (_, bye) = ann.is_over(call);
    assert_eq!(bye.method(), "BYE");
    let heard = ann.heard(call);
    assert!(sound::frames_with(&heard, MP3_HZ) >= 8);
    let places = [SPEECH, "room/left", "hello"].map(|name| {
        let found = Known::of(name).find(&heard);
        found.unwrap_or_else(|| panic!("{name} in {} samples", heard.len()))
    });
    assert!(places.is_sorted(), "{places:?}");
    assert_eq!(office.node.metric("holdline_pbx_prompts_left_out"), 1.0);
    assert!(office.node.log().contains("hello.wav"));

    let call = ann.reaches("606");
    let heard = ann.hears(call, "a second of the tone", |heard| {
        (heard.len() > 9_600).then(|| heard[heard.len() - 8_000..].to_vec())
    });
    assert!(sound::frames_with(&heard, 1_004.0) >= 8);
    // The loudest sine of µ-law has 3.17 dBm0 (G.711).
    let power: f64 = heard.iter().map(|&it| f64::from(it).powi(2)).sum();
    let loudest = 32_124.0_f64.powi(2) / 2.0;
    let level_dbm0 = 10.0 * (power / heard.len() as f64 / loudest).log10() + 3.17;
    assert!(level_dbm0.abs() < 0.5, "{level_dbm0} dBm0");
    ann.hangs_up(call);
    office.is_over(2);
}

/// Puts a dialplan into the store and has the node take it.
fn stores(office: &Office, plan: &str) {
    fs::write(office.node.path().join("plan.toml"), plan).expect("written");
    for verb in [&["dialplan", "set", "plan.toml"][..], &["reload"]] {
        let output = ask(office.node.path(), verb);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

fn route_to(prompt: &str) -> String {
    format!("[[pbx.route]]\npattern = \"650\"\nsteps = [\"play {prompt}\", \"hangup\"]\n")
}

#[test]
fn a_dialplan_of_the_store_is_heard_as_soon_as_it_is_reloaded_and_disturbs_no_call() {
    let office = Office::start("stored_dialplan = \"day\"", PLAN);
    let (ann, ben) = (
        Talker::of(&office.node, "ann"),
        Talker::of(&office.node, "ben"),
    );
    let going_on = ben.reaches("600");
    let call = ann.dials("650");
    assert_eq!(ann.is_over(call).0, 404);
    for prompt in ["closed", "welcome"] {
        stores(&office, &route_to(prompt));
        // What is taken is in force a moment later.
        wait_until("the new dialplan", || {
            let call = ann.dials("650");
            ann.sees(call, "an answer", |call| (call.status >= 200).then_some(()));
            ann.is_over(call);
            Known::of(prompt).find(&ann.heard(call)).map(drop)
        });
    }
    // One with a mistake is refused, and the one before stays.
    fs::write(
        office.node.path().join("bad.toml"),
        route_to("no-such-prompt"),
    )
    .expect("written");
    let output = ask(office.node.path(), &["dialplan", "set", "bad.toml"]);
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains("no-such-prompt"));
    ben.says(going_on, Says::Tone(700.0));
    ben.hears_tone(going_on, 700.0);
    ben.hangs_up(going_on);
    office.is_idle();
}

fn figures(record: &Value) -> [f64; 3] {
    let leg = &record["legs"][0];
    ["lost", "mos", "jitter_ms"].map(|name| leg[name].as_f64().expect("a figure"))
}

#[test]
fn the_record_of_a_call_says_what_was_lost_on_the_way_and_how_that_sounded() {
    let office = Office::start("", PLAN);
    let ann = Talker::of(&office.node, "ann");
    let talks = |every| {
        let call = ann.reaches("600");
        ann.loses(call, every);
        ann.says(call, Says::Tone(700.0));
        ann.hears(call, "three seconds", |heard| {
            (heard.len() > 24_000).then_some(())
        });
        ann.hangs_up(call);
    };
    talks(None);
    office.is_over(1);
    talks(Some(5));
    let records = office.is_over(2);
    let [clean, lossy] = [figures(&records[0]), figures(&records[1])];
    let [lost, mos, jitter_ms] = clean;
    assert!(lost < 0.05 && mos > 3.2, "{clean:?}");
    assert!((0.0..500.0).contains(&jitter_ms), "{clean:?}");
    let [lost, lossy_mos, _] = lossy;
    assert!((0.15..0.3).contains(&lost), "{lossy:?}");
    assert!(
        (1.0..mos - 0.3).contains(&lossy_mos),
        "{lossy:?} after {clean:?}"
    );
}

#[test]
fn sipp_presses_keys_in_a_menu_as_telephone_events() {
    let office = Office::start("", PLAN);
    let password = support::node::password_of("ann");
    let words = [("CALLEE", "602"), ("USER", "ann"), ("PASSWORD", &*password)];
    let sipp = Sipp::calls(&office.node, "caller_presses_keys", Over::Udp, &words, 1);
    if let Err(error) = sipp.end() {
        panic!("{error}");
    }
    let records = office.is_over(1);
    let steps = records[0]["steps"].to_string();
    assert!(steps.contains("play welcome"), "{steps}");
}

#[test]
fn a_message_and_a_recording_end_at_their_limits_and_the_callers_go_on() {
    let mailbox = r#"
[[pbx.mailbox]]
number = "160"
pin = false
message_max_s = 5

[[pbx.route]]
pattern = "660"
steps = ["voicemail 160"]
"#;
    let office = Office::start("recording_max_s = 10", &format!("{PLAN}{mailbox}"));
    let [ann, ben, cat] = ["ann", "ben", "cat"].map(|user| Talker::of(&office.node, user));
    let call = ann.dials("102");
    ben.answers(0);
    hear_each_other((&ann, call), (&ben, 0));
    ann.informs(call, "*1");

    // Who speaks for longer than a message may be is told what to do with it.
    let message = cat.reaches("660");
    cat.hears(message, "the greeting", |heard| {
        (heard.len() > 4_000).then_some(())
    });
    cat.presses(message, "#");
    cat.hears(message, "the beep", |heard| {
        (sound::frames_with(heard, 1_000.0) >= 1).then_some(())
    });
    cat.says(message, Says::Tone(700.0));
    cat.hears_prompt(message, "voicemail/review");
    cat.presses(message, "1");
    cat.hears_prompt(message, "voicemail/saved");
    assert_eq!(cat.is_over(message).1.method(), "BYE");

    // Nobody ends the recording.
    for (folder, seconds) in [("voicemail/160", 5.0), ("recordings", 10.0)] {
        let file = wait_until("the recording", || {
            let mut stored = office.stored(folder).into_iter();
            stored.find(|path| path.extension().is_some_and(|it| it == "wav"))
        });
        let bytes = fs::read(file).expect("readable");
        let recorded = audio::upload::decode(bytes, audio::SampleRate::Hz8000, 60).expect("a WAV");
        let long_s = recorded.len() as f64 / 8_000.0;
        assert!((long_s - seconds).abs() < 0.3, "{folder}: {long_s} s");
    }
    hear_each_other((&ann, call), (&ben, 0));
    std::thread::sleep(Duration::from_millis(200));
    ann.hangs_up(call);
    ben.is_over(0);
    office.is_over(2);
}
