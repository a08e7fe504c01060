//! Calls of two through the PBX: where their sound goes, who rings, and what becomes of a call that nobody takes.

mod support;

use std::net::IpAddr;
use std::time::Duration;

use support::office::own_address;
use support::prompts::Known;
use support::talker::hear_each_other;
use support::{Office, Says, State, Talker, sound, wait_until};

const PLAN: &str = r##"
[[pbx.extension]]
number = "110"
phones = ["nobody"]
mailbox = "101"

[[pbx.route]]
pattern = "810"
steps = ["ring 102 103", "hangup"]

[[pbx.route]]
pattern = "811"
steps = ["ring 103 104 in order for 2s", "on no answer play sorry", "hangup busy"]

[[pbx.route]]
pattern = "812"
steps = ["ring 102 103 104 least recent", "hangup busy"]

[[pbx.route]]
pattern = "813"
steps = ["queue team"]

[[pbx.queue]]
name = "team"
agents = ["103", "104", "105"]
always_in = true
order = "least-recent"
wrap_up_s = 0
"##;

/// An office whose edge relays all sound at an address of its own.
fn office() -> (Office, IpAddr) {
    let relay = own_address();
    let edge = format!(
        "rtp_ports = [21000, 21199]\n[edge.media]\npolicy = \"always\"\naddresses = [\"{relay}\"]\n"
    );
    (Office::start_edge(&edge, "", PLAN), relay)
}

#[test]
fn a_plain_call_stays_out_of_the_pbx_until_it_is_recorded() {
    let (office, relay) = office();
    let (ann, ben) = (
        Talker::of(&office.node, "ann"),
        Talker::of(&office.node, "ben"),
    );
    let call = ann.dials("102");
    ben.answers(0);
    ann.is_up(call);
    hear_each_other((&ann, call), (&ben, 0));
    assert_eq!(office.node.metric("holdline_pbx_ports_in_use"), 0.0);
    assert_eq!(
        office.node.metric("holdline_pbx_packets_received_total"),
        0.0
    );
    for from in [ann.hears_from(call), ben.hears_from(0)] {
        assert_eq!(from.map(|from| from.ip()), Some(relay));
    }
    // It steps in for a recording, which hears both, and out again.
    ann.informs(call, "*1");
    office
        .node
        .wait_for(|node| node.metric("holdline_pbx_ports_in_use") > 0.0);
    hear_each_other((&ann, call), (&ben, 0));
    std::thread::sleep(Duration::from_millis(1_500));
    ann.informs(call, "*1");
    office
        .node
        .wait_for(|node| node.metric("holdline_pbx_ports_in_use") == 0.0);
    hear_each_other((&ann, call), (&ben, 0));
    let file = wait_until("the recording", || {
        let mut stored = office.stored("recordings").into_iter();
        stored.find(|path| path.extension().is_some_and(|it| it == "wav"))
    });
    let bytes = std::fs::read(file).expect("readable");
    let recorded = audio::upload::decode(bytes, audio::SampleRate::Hz8000, 600).expect("a WAV");
    assert!(
        sound::frames_with_both(&recorded, [500.0, 900.0]) >= 5,
        "{}",
        recorded.len()
    );
    ann.hangs_up(call);
    ben.is_over(0);
    let records = office.is_over(1);
    let legs = records[0]["legs"].as_array().expect("legs");
    assert_eq!(legs.len(), 2, "{records:?}");
}

#[test]
fn all_ring_and_one_has_the_call_or_one_rings_after_the_other() {
    let (office, _) = office();
    let phones = ["ann", "ben", "cat", "dan"].map(|user| Talker::of(&office.node, user));
    let [ann, ben, cat, dan] = &phones;
    let call = ann.dials("810");
    ben.is_rung(0);
    cat.answers(0);
    ann.is_up(call);
    ben.is_over(0);
    hear_each_other((ann, call), (cat, 0));
    cat.hangs_up(0);
    ann.is_over(call);

    let call = ann.dials("811");
    cat.is_rung(1);
    assert_eq!(dan.calls(), 0);
    cat.is_over(1);
    dan.is_rung(0);
    dan.is_over(0);
    ann.hears_prompt(call, "sorry");
    ann.is_over(call);
    office.is_over(2);
}

/// Who is rung by a call, and takes it; nobody else is.
fn is_taken_by(office: &Office, caller: &Talker, number: &str, phones: &[&Talker]) -> String {
    let before: Vec<_> = phones.iter().map(|phone| phone.calls()).collect();
    let call = caller.dials(number);
    let rung = || {
        let mut both = phones.iter().zip(&before);
        both.position(|(phone, before)| phone.calls() > *before)
    };
    let at = wait_until("somebody to be rung", rung);
    let phone = phones[at];
    phone.answers(before[at]);
    caller.is_up(call);
    hear_each_other((caller, call), (phone, before[at]));
    let others = phones
        .iter()
        .zip(&before)
        .filter(|(other, _)| other.user != phone.user);
    for (other, before) in others {
        assert_eq!(other.calls(), *before, "{} was rung too", other.user);
    }
    caller.hangs_up(call);
    phone.is_over(before[at]);
    office.is_idle();
    phone.user.clone()
}

#[test]
fn the_phone_that_was_called_longest_ago_rings_first_also_in_a_queue() {
    let (office, _) = office();
    let phones = ["ann", "ben", "cat", "dan", "eve"].map(|user| Talker::of(&office.node, user));
    let [ann, ben, cat, dan, eve] = &phones;
    let three = [ben, cat, dan];
    let taken = |number, phones: &[&Talker]| is_taken_by(&office, ann, number, phones);
    let first: Vec<_> = (0..4).map(|_| taken("812", &three)).collect();
    assert_eq!(first, ["ben", "cat", "dan", "ben"]);
    // A queue minds its own calls.
    let agents: Vec<_> = (0..4).map(|_| taken("813", &[cat, dan, eve])).collect();
    assert_eq!(agents, ["cat", "dan", "eve", "cat"]);
    office.is_over(8);
}

fn hears_the_mailbox(phone: &Talker, call: usize) {
    phone.is_up(call);
    phone.hears_prompt(call, "voicemail/extension");
}

#[test]
fn who_is_busy_does_not_answer_or_is_not_there_has_a_mailbox() {
    let (office, _) = office();
    let (ann, ben) = (
        Talker::of(&office.node, "ann"),
        Talker::of(&office.node, "ben"),
    );
    let busy = ann.dials("102");
    ben.refuses(0, "486 Busy Here");
    hears_the_mailbox(&ann, busy);
    let late = ann.dials("102");
    ben.is_rung(1);
    assert_eq!(ann.state(late), State::Calling);
    hears_the_mailbox(&ann, late);
    let away = ann.dials("110");
    hears_the_mailbox(&ann, away);
    ben.is_over(1);
    for call in [busy, late, away] {
        ann.hangs_up(call);
    }
    office.is_over(3);
}

#[test]
fn a_phone_on_hold_hears_music_and_goes_on_talking_afterwards() {
    let (office, _) = office();
    let (ann, ben) = (
        Talker::of(&office.node, "ann"),
        Talker::of(&office.node, "ben"),
    );
    let call = ann.dials("102");
    ben.answers(0);
    ann.is_up(call);
    hear_each_other((&ann, call), (&ben, 0));
    ben.says(0, Says::Nothing);
    ben.offers(0, "sendonly");
    ann.hears_music(call);
    ben.offers(0, "sendrecv");
    hear_each_other((&ann, call), (&ben, 0));
    let heard = ann.listens(call, 600);
    assert_eq!(Known::of("music/default").find(&heard), None);
    ann.hangs_up(call);
    ben.is_over(0);
    office.is_over(1);
}
