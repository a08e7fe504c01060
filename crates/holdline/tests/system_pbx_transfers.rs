//! Calls that change hands: transfers, parking, queues, pick-up.

mod support;

use support::talker::{CallId, hear_each_other};
use support::{Office, Says, Talker, sound};

const PLAN: &str = r##"
[pbx.parking]
number = "700"
slots = "701-703"

[[pbx.route]]
pattern = "800"
steps = ["queue sales"]

[[pbx.queue]]
name = "sales"
agents = ["102"]
welcome = "welcome"
announce_s = 5
"##;

/// An office, and ann who talks with ben.
fn talk(keys: &str) -> (Office, [Talker; 3], CallId) {
    let office = Office::start(keys, PLAN);
    let phones = ["ann", "ben", "cat"].map(|user| Talker::of(&office.node, user));
    let call = phones[0].dials("102");
    phones[1].answers(0);
    phones[0].is_up(call);
    hear_each_other((&phones[0], call), (&phones[1], 0));
    (office, phones, call)
}

#[test]
fn a_blind_transfer_leaves_the_two_others_together() {
    let (office, [ann, ben, cat], call) = talk("");
    ben.refers(0, "103", None);
    cat.answers(0);
    hear_each_other((&ann, call), (&cat, 0));
    ben.is_over(0);
    cat.hangs_up(0);
    ann.is_over(call);
    office.is_over(1);
}

#[test]
fn an_attended_transfer_joins_the_two_calls_of_who_asks_for_it() {
    let (office, [ann, ben, cat], call) = talk("");
    ben.offers(0, "sendonly");
    ann.hears_music(call);
    let second = ben.dials("103");
    cat.answers(0);
    ben.is_up(second);
    hear_each_other((&ben, second), (&cat, 0));
    ben.refers(0, "", Some(second));
    ben.is_over(0);
    ben.is_over(second);
    hear_each_other((&ann, call), (&cat, 0));
    ann.hangs_up(call);
    cat.is_over(0);
    office.is_over(2);
}

#[test]
fn codes_send_a_caller_on_at_once_or_after_asking() {
    let (office, [ann, ben, cat], call) = talk("media_by_need = false");
    ben.presses(0, "##");
    ben.forgets(0);
    ben.hears_prompt(0, "transfer/number");
    ann.hears_music(call);
    ben.presses(0, "103#");
    cat.answers(0);
    hear_each_other((&ann, call), (&cat, 0));
    ben.is_over(0);
    // Cat asks ben first, ann hears music meanwhile; then cat goes.
    ann.says(call, Says::Nothing);
    cat.presses(0, "*2102#");
    ben.answers(1);
    hear_each_other((&cat, 0), (&ben, 1));
    ann.hears_music(call);
    cat.hangs_up(0);
    hear_each_other((&ann, call), (&ben, 1));
    ben.hangs_up(1);
    ann.is_over(call);
    // What was asked before the second transfer was a call of its own.
    office.is_over(2);
}

#[test]
fn a_parked_call_is_taken_at_its_slot() {
    let (office, [ann, ben, cat], call) = talk("media_by_need = false");
    ben.forgets(0);
    ben.presses(0, "*4");
    ben.hears_prompt(0, "park/slot");
    ben.hears_prompt(0, "number/7");
    ann.hears_music(call);
    ben.is_over(0);
    let taken = cat.reaches("701");
    hear_each_other((&ann, call), (&cat, taken));
    let late = ben.reaches("701");
    ben.hears_prompt(late, "park/nothing");
    ben.is_over(late);
    ann.hangs_up(call);
    cat.is_over(taken);
    office.is_over(3);
}

#[test]
fn what_rings_in_the_group_is_picked_up() {
    let office = Office::start("", PLAN);
    let [ann, ben, cat] = ["ann", "ben", "cat"].map(|user| Talker::of(&office.node, user));
    let call = cat.dials("102");
    ben.is_rung(0);
    let picked = ann.dials("*8");
    ann.is_up(picked);
    cat.is_up(call);
    hear_each_other((&cat, call), (&ann, picked));
    ben.is_over(0);
    ann.hangs_up(picked);
    cat.is_over(call);
    office.is_over(2);
}

#[test]
fn callers_wait_with_music_and_their_position_until_an_agent_is_free() {
    let office = Office::start("", PLAN);
    let [ann, ben, cat] = ["ann", "ben", "cat"].map(|user| Talker::of(&office.node, user));
    let first = ann.reaches("800");
    ann.hears_prompt(first, "welcome");
    ann.hears_music(first);
    let second = cat.reaches("800");
    cat.hears_prompt(second, "queue/position");
    cat.hears_prompt(second, "number/2");
    let login = ben.reaches("*45");
    ben.hears_prompt(login, "agent/in");
    ben.is_over(login);
    // The agent's phone rings for who has waited longest.
    ben.answers(1);
    hear_each_other((&ann, first), (&ben, 1));
    assert_eq!(sound::frames_with(&cat.listens(second, 300), 900.0), 0);
    ann.hangs_up(first);
    ben.is_over(1);
    cat.hangs_up(second);
    office.is_over(3);
}
