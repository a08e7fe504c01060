//! The PBX by real phones that listen: prompts, tones, keys.

mod support;

use std::time::{Duration, Instant};

use support::prompts::{Known, sound_of};
use support::{Office, Says, Talker, sound};

const PLAN: &str = r##"
[[pbx.route]]
pattern = "600"
steps = ["play demo/echo", "echo"]

[[pbx.route]]
pattern = "601"
steps = ["answer", "tone busy 3s", "play goodbye", "hangup"]

[[pbx.route]]
pattern = "602"
steps = ["menu main"]

[[pbx.route]]
pattern = "603"
steps = ["pin abroad", "play hello", "hangup"]

[[pbx.route]]
pattern = "604"
steps = ["announce closed", "hangup busy"]

[[pbx.route]]
pattern = "605"
steps = ["play number:42 digits:07", "hangup"]

[[pbx.route]]
pattern = "606"
steps = ["milliwatt"]

[[pbx.pin]]
name = "abroad"
pin = "4711"

[[pbx.menu]]
name = "main"
prompt = ["demo/menu"]
timeout_s = 2
between_s = 1
tries = 2
keys = { 1 = ["play welcome", "hangup"], 2 = ["play closed", "hangup"], 23 = ["play all-busy", "hangup"] }
timeout = ["play sorry", "hangup"]
"##;

#[test]
fn the_prompt_that_is_asked_for_is_heard_and_then_the_callers_own_voice() {
    let office = Office::start("", PLAN);
    let ann = Talker::of(&office.node, "ann");
    let call = ann.reaches("600");
    ann.hears_prompt(call, "demo/echo");
    // And no other one.
    assert_eq!(Known::of("welcome").find(&ann.heard(call)), None);
    assert_eq!(Known::of("demo/menu").find(&ann.heard(call)), None);
    ann.says(call, Says::Tone(700.0));
    ann.hears_tone(call, 700.0);
    ann.hangs_up(call);
    let records = office.is_over(1);
    let legs = records[0]["legs"].as_array().expect("a list");
    assert_eq!(
        (legs.len(), &legs[0]["codec"]),
        (1, &"PCMU".into()),
        "{records:?}"
    );
}

#[test]
fn numbers_are_read_and_early_announcements_are_heard_before_an_answer() {
    let office = Office::start("", PLAN);
    let ann = Talker::of(&office.node, "ann");
    let call = ann.reaches("605");
    let (_, bye) = ann.is_over(call);
    assert_eq!(bye.method(), "BYE");
    let heard = ann.heard(call);
    let names = ["number/40", "number/2", "number/0", "number/7"];
    let places = names.map(|name| {
        Known::of(name)
            .find(&heard)
            .unwrap_or_else(|| panic!("{name}"))
    });
    assert!(places.is_sorted(), "{places:?}");
    let call = ann.dials("604");
    let (status, _) = ann.is_over(call);
    assert_eq!(status, 486);
    assert!(Known::of("closed").find(&ann.heard(call)).is_some());
    office.is_over(2);
}

#[test]
fn tones_are_those_of_the_country() {
    for (country, tones) in [("gb", [400.0, 400.0]), ("us", [480.0, 620.0])] {
        let office = Office::start(&format!("country = \"{country}\""), PLAN);
        let ann = Talker::of(&office.node, "ann");
        let call = ann.reaches("601");
        ann.hears_prompt(call, "goodbye");
        let heard = ann.heard(call);
        let frames = match tones[0] == tones[1] {
            true => sound::frames_with(&heard, tones[0]),
            false => sound::frames_with_both(&heard, tones),
        };
        // Three seconds, about half of them on.
        assert!((10..20).contains(&frames), "{country}: {frames}");
        if country == "us" {
            let call = ann.reaches("606");
            ann.hears_tone(call, 1_004.0);
            ann.hangs_up(call);
        }
    }
}

#[test]
fn keys_choose_by_events_and_by_tones_and_stop_the_prompt() {
    let office = Office::start("", PLAN);
    let ann = Talker::of(&office.node, "ann");
    let whole = Duration::from_millis(sound_of("demo/menu").len() as u64 / 8);
    let call = ann.reaches("602");
    ann.hears(call, "a second of the menu", |heard| {
        (heard.len() > 8_000).then_some(())
    });
    let began = Instant::now();
    ann.presses(call, "1");
    ann.hears_prompt(call, "welcome");
    assert!(
        began.elapsed() < whole - Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(ann.is_over(call).1.method(), "BYE");

    // The longer one of two that fit, also when the keys come at once.
    let call = ann.reaches("602");
    ann.presses(call, "23");
    ann.hears_prompt(call, "all-busy");
    assert_eq!(ann.is_over(call).1.method(), "BYE");

    ann.knows_tones_only();
    let call = ann.reaches("602");
    ann.hears(call, "a second of the menu", |heard| {
        (heard.len() > 8_000).then_some(())
    });
    ann.sings(call, "2");
    ann.hears_prompt(call, "closed");
    assert_eq!(ann.is_over(call).1.method(), "BYE");
    office.is_over(3);
}

#[test]
fn a_pin_guards_a_route_and_silence_ends_a_menu() {
    let office = Office::start("", PLAN);
    let (ann, ben) = (
        Talker::of(&office.node, "ann"),
        Talker::of(&office.node, "ben"),
    );
    let waiting = ben.reaches("602");
    let call = ann.reaches("603");
    ann.hears_prompt(call, "pin/enter");
    ann.presses(call, "1234#");
    ann.hears_prompt(call, "pin/wrong");
    ann.presses(call, "4711#");
    ann.hears_prompt(call, "hello");
    assert_eq!(ann.is_over(call).1.method(), "BYE");
    ben.hears_prompt(waiting, "sorry");
    assert_eq!(ben.is_over(waiting).1.method(), "BYE");
    office.is_over(2);
}
