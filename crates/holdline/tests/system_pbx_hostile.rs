//! What phones, operators and disks do wrong to the PBX: each gets a clear answer, and other calls go on.

mod support;

use std::fs;

use support::talker::hear_each_other;
use support::{Codec, Office, Phone, Says, State, Talker, ask, sound, text, wait_until};

const PLAN: &str = r##"
[[pbx.route]]
pattern = "600"
steps = ["echo"]

[[pbx.route]]
pattern = "610"
steps = ["voicemail 101"]

[[pbx.route]]
pattern = "82X"
steps = ["goto $number"]
"##;

/// Whether a call still has its echo.
fn goes_on(phone: &Talker, call: usize) {
    phone.says(call, Says::Tone(700.0));
    phone.hears_tone(call, 700.0);
}

#[test]
fn descriptions_that_nobody_can_follow_are_refused_and_other_calls_go_on() {
    let office = Office::start("", PLAN);
    let ann = Talker::of(&office.node, "ann");
    let call = ann.reaches("600");
    let head = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
    let cases = [
        (
            "m=audio 40000 RTP/AVP 97\r\na=rtpmap:97 foo/8000\r\n".to_owned(),
            [488, 488],
        ),
        ("m=video 40000 RTP/AVP 31\r\n".to_owned(), [488, 488]),
        ("m=audio 99999999 RTP/AVP 0\r\n".to_owned(), [400, 488]),
        (
            format!("m=audio 40000 RTP/AVP{}\r\n", " 0".repeat(9_000)),
            [400, 488],
        ),
        ("x".repeat(4_000), [400, 488]),
    ];
    for (lines, statuses) in cases {
        let mut phone = Phone::udp(&office.node, "ben");
        phone.description = format!("{head}{lines}");
        let dialog = phone.calls("600");
        let answer = phone.receive();
        let answer = if answer.status() == 100 {
            phone.receive()
        } else {
            answer
        };
        phone.acknowledges_refusal(&dialog, &answer);
        assert!(statuses.contains(&answer.status()), "{answer:?}");
    }
    goes_on(&ann, call);
    ann.hangs_up(call);
    // What was refused before anybody looked at the dialplan has a record, too.
    office.is_idle();
    wait_until("the record", || {
        let records = office.records();
        records
            .iter()
            .any(|record| record["caller"] == "ann@example.org")
            .then_some(())
    });
}

#[test]
fn a_phone_that_lies_about_its_codec_and_one_that_floods_keys_disturb_nobody() {
    let office = Office::start("", PLAN);
    let [ann, ben, cat] = ["ann", "ben", "cat"].map(|user| Talker::of(&office.node, user));
    let call = ann.reaches("600");
    let lies = ben.reaches("600");
    ben.lies(lies, Codec::G722);
    ben.says(lies, Says::Tone(700.0));
    let floods = cat.reaches("600");
    cat.floods(floods, 20_000);
    goes_on(&ann, call);
    // The liar and the flooder have done no harm to their own calls, either.
    ben.lies(lies, Codec::Pcmu);
    goes_on(&ben, lies);
    goes_on(&cat, floods);
    for (phone, call) in [(&ann, call), (&ben, lies), (&cat, floods)] {
        phone.hangs_up(call);
    }
    office.is_over(3);
}

#[test]
fn a_loop_ends_and_calls_beyond_the_limit_are_told_when_to_come_again() {
    let office = Office::start("calls_max = 1", PLAN);
    let (ann, ben) = (
        Talker::of(&office.node, "ann"),
        Talker::of(&office.node, "ben"),
    );
    let call = ann.dials("821");
    assert_eq!(ann.is_over(call).0, 482);
    office.is_over(1);
    let call = ann.reaches("600");
    let second = ben.dials("600");
    let (status, refusal) = ben.is_over(second);
    assert_eq!(status, 503, "{refusal:?}");
    assert!(!refusal.header("Retry-After").is_empty(), "{refusal:?}");
    goes_on(&ann, call);
    ann.hangs_up(call);
    office.is_idle();
    // The edge leaves the PBX alone for as long as it was told to.
    let third = wait_until("room for a call", || {
        let call = ben.dials("600");
        ben.sees(call, "an answer", |call| (call.status >= 200).then_some(()));
        (ben.state(call) == State::Up).then_some(call)
    });
    ben.hangs_up(third);
}

#[test]
fn callers_are_told_that_their_message_is_lost_with_the_media_store_and_others_talk_on() {
    let office = Office::start("", PLAN);
    let [ann, ben, cat] = ["ann", "ben", "cat"].map(|user| Talker::of(&office.node, user));
    let call = ann.dials("103");
    cat.answers(0);
    hear_each_other((&ann, call), (&cat, 0));
    let message = ben.reaches("610");
    ben.presses(message, "#");
    ben.hears(message, "the beep", |heard| {
        (sound::frames_with(heard, 1_000.0) >= 1).then_some(())
    });
    let folder = office.node.path().join("data/media");
    fs::remove_dir_all(&folder).expect("it was there");
    fs::write(&folder, "no folder").expect("written");
    ben.says(message, Says::Tone(700.0));
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    ben.presses(message, "#");
    ben.hears_prompt(message, "voicemail/failed");
    ben.is_over(message);
    hear_each_other((&ann, call), (&cat, 0));
    ann.hangs_up(call);
    let records = office.is_over(2);
    let steps = records[0]["steps"].to_string();
    assert!(steps.contains("message lost"), "{steps}");
}

#[test]
fn a_mistake_in_the_dialplan_is_named_by_its_line_and_the_one_before_stays_in_force() {
    let office = Office::start("", PLAN);
    let ann = Talker::of(&office.node, "ann");
    let call = ann.reaches("600");
    let good = "steps = [\"voicemail 101\"]";
    office.edits(good, "steps = [\"voicemial 101\"]");
    let file = fs::read_to_string(office.node.path().join("holdline.toml")).expect("readable");
    let line = file
        .lines()
        .position(|line| line.contains("voicemial"))
        .expect("it is there")
        + 1;
    for verb in ["check", "reload"] {
        let output = ask(office.node.path(), &[verb]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!output.status.success(), "{said}");
        assert!(
            said.contains(&format!("{line}")) && said.contains("voicemial"),
            "{verb}: {said}"
        );
    }
    let old = ann.reaches("610");
    ann.hangs_up(old);
    // A better one holds for the next call, and leaves those that are up alone.
    office.edits(
        "steps = [\"voicemial 101\"]",
        "steps = [\"play hello\", \"hangup\"]",
    );
    office.node.verb("reload");
    let new = ann.reaches("610");
    ann.hears_prompt(new, "hello");
    ann.is_over(new);
    goes_on(&ann, call);
    ann.hangs_up(call);
    office.is_over(3);
}
