//! A message in a bucket that goes away in its middle.

mod support;

use std::time::Duration;

use support::prompts::{Known, sound_of};
use support::{Office, Says, Talker, bucket, sound, wait_until};

const PLAN: &str = r##"
[[pbx.route]]
pattern = "610"
steps = ["voicemail 101"]
"##;

/// What is spoken: a prompt that nobody plays in these calls.
const SPEECH: &str = "transfer/number";

#[test]
fn a_message_outlives_a_bucket_that_goes_away_in_its_middle() {
    let (bucket, address) = bucket::serve();
    let keys = format!(
        "media_store = \"s3://media/of\"\n[pbx.s3]\nendpoint = \"http://{address}\"\naccess_key = \"key\"\nsecret_key = \"secret\""
    );
    let office = Office::start(&keys, PLAN);
    let ben = Talker::of(&office.node, "ben");
    let call = ben.reaches("610");
    ben.hears(call, "the greeting", |heard| {
        (heard.len() > 4_000).then_some(())
    });
    ben.presses(call, "#");
    ben.hears(call, "the beep", |heard| {
        (sound::frames_with(heard, 1_000.0) >= 1).then_some(())
    });
    ben.says(call, Says::Sound(sound_of(SPEECH)));
    std::thread::sleep(Duration::from_millis(3_500));
    wait_until("a piece to be safe", || {
        (!bucket.names().is_empty()).then_some(())
    });
    bucket.goes_away(true);
    ben.says(call, Says::Tone(700.0));
    std::thread::sleep(Duration::from_millis(3_000));
    assert!(bucket.refused() > 0);
    bucket.goes_away(false);
    ben.hangs_up(call);
    let about = |name: &String| name.ends_with(".json");
    wait_until("the message", || {
        bucket.names().iter().any(about).then_some(())
    });
    let names = bucket.names();
    let file = names.iter().find(|name| name.ends_with(".wav"));
    let file = bucket
        .object(file.expect("its sound"))
        .expect("it is there");
    let kept = audio::upload::decode(file, audio::SampleRate::Hz8000, 600).expect("a WAV");
    assert!(Known::of(SPEECH).find(&kept).is_some());
    assert!(sound::frames_with(&kept, 700.0) >= 20, "{}", kept.len());
    assert_eq!(names.len(), 2, "{names:?}");
    // It is heard from there.
    let ann = Talker::of(&office.node, "ann");
    let call = ann.reaches("*97");
    ann.hears_prompt(call, "pin/enter");
    ann.presses(call, "4711#");
    ann.hears_prompt(call, SPEECH);
    ann.hangs_up(call);
    office.is_over(2);
}
