//! Voice messages that are handed over by e-mail and to a webhook, also when nobody takes them for a while.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use support::prompts::{Known, sound_of};
use support::{Node, Office, PATIENCE, Says, Talker, free_port, sinks, sound};

const PLAN: &str = r##"
[[pbx.mailbox]]
number = "150"
pin = false
message_min_s = 1
email = "ann@mail.example"

[[pbx.route]]
pattern = "650"
steps = ["voicemail 150"]

[[pbx.route]]
pattern = "600"
steps = ["echo"]
"##;

/// What is spoken: a prompt that nobody plays in these calls.
const SPEECH: &str = "transfer/number";

/// Leaves a message, and waits until it is in its mailbox.
fn leaves_a_message(office: &Office, phone: &Talker) {
    let call = phone.reaches("650");
    phone.hears(call, "the greeting", |heard| {
        (heard.len() > 4_000).then_some(())
    });
    phone.presses(call, "#");
    phone.hears(call, "the beep", |heard| {
        (sound::frames_with(heard, 1_000.0) >= 1).then_some(())
    });
    phone.says(call, Says::Sound(sound_of(SPEECH)));
    std::thread::sleep(Duration::from_millis(3_500));
    phone.hangs_up(call);
    office.node.wait_for(|_| {
        let stored = office.stored("voicemail/150");
        stored
            .iter()
            .any(|path| path.extension().is_some_and(|it| it == "json"))
    });
}

fn is_the_speech(file: Vec<u8>) {
    let sound = audio::upload::decode(file, audio::SampleRate::Hz8000, 600).expect("a WAV");
    assert!(Known::of(SPEECH).find(&sound).is_some(), "{}", sound.len());
}

/// The attachment of a letter.
fn attached(letter: &str) -> Vec<u8> {
    let (_, rest) = letter.split_once("filename=").expect("an attachment");
    let (_, rest) = rest.split_once("\n\n").expect("its content");
    let (content, _) = rest.split_once("--").expect("its end");
    STANDARD.decode(content.replace('\n', "")).expect("base64")
}

#[test]
fn a_message_reaches_mail_and_webhook_though_both_were_away_and_the_node_was_killed() {
    let (hook, mail) = (free_port(), free_port());
    let keys = format!(
        "message_webhook = \"http://127.0.0.1:{hook}/taken\"\n\
         [pbx.mail]\nserver = \"smtp://127.0.0.1:{mail}\"\nfrom = \"pbx@example.org\""
    );
    let mut office = Office::start(&keys, PLAN);
    let ben = Talker::of(&office.node, "ben");
    leaves_a_message(&office, &ben);
    let waiting = |node: &Node| node.metric("holdline_pbx_hand_overs_waiting");
    office.node.wait_for(|node| waiting(node) == 2.0);
    // Nobody waits for it.
    let call = ben.reaches("600");
    ben.says(call, Says::Tone(700.0));
    ben.hears_tone(call, 700.0);
    ben.hangs_up(call);
    office.is_over(2);
    assert_eq!(waiting(&office.node), 2.0);
    office.node.kill();
    drop(ben);
    let (posts, letters) = (sinks::webhook(hook, 1), sinks::mail_server(mail, 1));
    office.node.restart();

    let post: Value = posts.recv_timeout(PATIENCE).expect("a post");
    assert_eq!(
        (&post["mailbox"], &post["caller"]["user"]),
        (&"150".into(), &"ben".into())
    );
    let sound = post["sound"]["base64"].as_str().expect("a file");
    is_the_speech(STANDARD.decode(sound).expect("base64"));
    let letter = letters.recv_timeout(PATIENCE).expect("a letter");
    assert!(letter.from.contains("<pbx@example.org>"), "{}", letter.from);
    assert!(letter.to.contains("<ann@mail.example>"), "{}", letter.to);
    assert!(
        letter.text.contains("Subject: Voice message from ben\n"),
        "{}",
        letter.text
    );
    is_the_speech(attached(&letter.text));
    office.node.wait_for(|node| waiting(node) == 0.0);
    assert_eq!(
        office
            .node
            .metric("holdline_pbx_messages_handed_over_total"),
        2.0
    );
    // Each once: nothing is left to be handed over.
    office.node.wait_for(|node| {
        let left = std::fs::read_dir(node.path().join("data/hand-over/t"));
        left.is_ok_and(|left| left.count() == 0)
    });
    assert!(posts.try_recv().is_err() && letters.try_recv().is_err());
}

#[test]
fn what_nobody_takes_is_given_up_and_told_and_stays_in_its_mailbox() {
    let keys = format!(
        "message_webhook = \"http://127.0.0.1:{}/nobody\"\nmessage_give_up_s = 2",
        free_port()
    );
    let office = Office::start(&keys, PLAN);
    let stream = TcpStream::connect(("127.0.0.1", office.node.admin)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut events = BufReader::new(stream);
    events
        .get_mut()
        .write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("open");
    let ben = Talker::of(&office.node, "ben");
    leaves_a_message(&office, &ben);
    let told = loop {
        let mut line = String::new();
        assert!(
            events.read_line(&mut line).expect("in time") > 0,
            "no event"
        );
        if line.contains("message_not_handed_over") {
            break line;
        }
    };
    assert!(
        told.contains("\"webhook\"") && told.contains("voicemail/150/"),
        "{told}"
    );
    assert_eq!(
        office.node.metric("holdline_pbx_hand_overs_given_up_total"),
        1.0
    );
    assert_eq!(office.stored("voicemail/150").len(), 2);
    office.is_over(1);
}
