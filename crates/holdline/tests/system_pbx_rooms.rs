//! A conference of three: who hears whom.

mod support;

use support::prompts::Known;
use support::{Office, Says, Talker, sound};

const PLAN: &str = r##"
[[pbx.room]]
number = "200"
pin = "1234"
members_max = 3
music = "default"

[[pbx.route]]
pattern = "200"
steps = ["room 200"]
"##;

const TONES_HZ: [f64; 3] = [500.0, 900.0, 1_300.0];

#[test]
fn each_of_three_hears_the_two_others_and_not_itself() {
    let office = Office::start("", PLAN);
    let phones = ["ann", "ben", "cat"].map(|user| Talker::of(&office.node, user));
    for (at, phone) in phones.iter().enumerate() {
        let call = phone.reaches("200");
        phone.hears_prompt(call, "pin/enter");
        if at == 0 {
            phone.presses(call, "9999#");
            phone.hears_prompt(call, "pin/wrong");
        }
        phone.presses(call, "1234#");
        if at == 0 {
            phone.hears_prompt(call, "room/alone");
            phone.hears_music(call);
        } else {
            phones[0].forgets(0);
            phones[0].hears_prompt(0, "room/joined");
        }
    }
    for (phone, tone_hz) in phones.iter().zip(TONES_HZ) {
        phone.says(0, Says::Tone(tone_hz));
    }
    for (at, phone) in phones.iter().enumerate() {
        let others: Vec<f64> = (0..3)
            .filter(|&it| it != at)
            .map(|it| TONES_HZ[it])
            .collect();
        phone.forgets(0);
        let heard = phone.hears(0, "the two others", |heard| {
            let both = sound::frames_with_both(heard, [others[0], others[1]]);
            (both >= 4).then(|| heard.to_vec())
        });
        let last = &heard[heard.len() - 1_600..];
        assert!(sound::largest_share(last, TONES_HZ[at]) < 0.05, "{at}");
    }
    // Who is muted hears on, and is not heard.
    let [ann, ben, cat] = &phones;
    ann.presses(0, "*6");
    ben.hears_tone(0, TONES_HZ[2]);
    ann.forgets(0);
    ann.hears(0, "the two others", |heard| {
        (sound::frames_with_both(heard, [TONES_HZ[1], TONES_HZ[2]]) >= 4).then_some(())
    });
    ann.says(0, Says::Tone(TONES_HZ[0]));
    ann.presses(0, "*6");
    ben.forgets(0);
    ben.hears(0, "ann again", |heard| {
        (sound::frames_with_both(heard, [TONES_HZ[0], TONES_HZ[2]]) >= 4).then_some(())
    });
    // There is room for three.
    let dan = Talker::of(&office.node, "dan");
    let late = dan.reaches("200");
    dan.hears_prompt(late, "pin/enter");
    dan.presses(late, "1234#");
    dan.hears_prompt(late, "room/full");
    dan.is_over(late);
    // Those who go are told, and take nothing along.
    cat.hangs_up(0);
    ann.says(0, Says::Nothing);
    ben.says(0, Says::Nothing);
    let left = Known::of("room/left");
    ann.forgets(0);
    ann.hears(0, "room/left", |heard| left.find(heard));
    ann.hangs_up(0);
    ben.hangs_up(0);
    office.is_over(4);
}
