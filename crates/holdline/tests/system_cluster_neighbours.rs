//! Bad days of a pair on hosts of its own: an address that somebody else has, clusters that are mixed up, a program that moves
//! the address and fails, and etcds that stand still while calls go on.

mod support;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use support::lan::{Lan, SERVICE};
use support::node::password_of;
use support::phone::{connect, end};
use support::pools::{ROUTE, pool_of, states_in};
use support::sipp::Sipp;
use support::{Phone, wait_until};

/// How long the etcds stand still, where `HOLDLINE_TEST_ETCD_AWAY_S` says nothing: some forty leases.
const AWAY_S: u64 = 12;
/// How long calls go on after that.
const AFTER_S: u64 = 6;
/// Calls that SIPp makes in a second.
const CALLS_PER_S: usize = 10;

#[test]
fn an_address_that_another_machine_has_is_not_claimed_and_a_mix_up_of_clusters_makes_no_second_owner()
 {
    let Some(mut lan) = Lan::prepare(1, "") else {
        return;
    };
    let stranger = lan.phones.mac("eth0");
    let take = format!("addr add {SERVICE}/32 dev eth0\n");
    let give_up = format!("addr del {SERVICE}/32 dev eth0\n");
    lan.phones.ip(&take).expect("root may");
    lan.begin(0);
    let used = |mac: &str| format!("{SERVICE} is already used by {mac} on eth0");
    lan.says(
        0,
        &[
            &used(&stranger),
            "find that machine",
            "or give the service another",
        ],
    );
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(lan.owner(), None, "{}", lan.log(0));
    lan.phones.ip(&give_up).expect("root may");
    lan.is_owned_by(0);
    // The second one looks for its cluster elsewhere, finds none, and makes one.
    let coordinator = "coordinator = { kind = \"etcd\"";
    let elsewhere = format!("{coordinator}, prefix = \"/other\"");
    lan.edit(1, |config| config.replace(coordinator, &elsewhere));
    lan.begin(1);
    lan.says(1, &[&used(&lan.host(0).mac("eth0"))]);
    std::thread::sleep(Duration::from_millis(1_500));
    let service = lan.service(1).expect("it answers");
    assert_eq!(service["phase"], "member", "{}", lan.log(1));
    lan.kill(1);
    lan.edit(1, |config| config.replace(&elsewhere, coordinator));
    lan.begin(1);
    lan.says(
        1,
        &[
            "the coordinator holds another cluster of this name",
            "delete its file cluster-id",
        ],
    );
    lan.kill(1);
    fs::remove_file(lan.path(1).join("data/cluster-id")).expect("it is there");
    lan.begin(1);
    lan.is_in_sync();
    // Where there has been an owner, an answer may be its: it is claimed, and said.
    lan.kill(1);
    lan.kill(0);
    lan.host(0).ip(&give_up).expect("a killed node leaves it");
    lan.phones.ip(&take).expect("root may");
    let begun = lan.log(0).len();
    lan.begin(0);
    wait_until("a warning", || {
        lan.log(0)[begun..].contains(&used(&stranger)).then_some(())
    });
}

#[test]
fn a_program_that_moves_the_address_is_told_how_waited_for_and_tried_again() {
    let Some(mut lan) = Lan::prepare(1, "") else {
        return;
    };
    for number in 0..2 {
        let path = lan.path(number).join("move");
        // Longer than a lease.
        let lines = "#!/bin/sh\ncd \"$(dirname \"$0\")\" || exit 1\necho \"$@\" >> told\n\
             [ \"$1\" = add ] && [ -e fail ] && { echo no quota; exit 3; }\nPATH=$PATH:/usr/sbin:/sbin\n\
             if [ \"$1\" = add ]; then sleep 0.8; ip addr replace \"$2/32\" dev \"$3\"; else ip addr del \"$2/32\" dev \"$3\" 2>&1; true; fi\n";
        fs::write(&path, lines).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        lan.edit(number, |config| {
            let program = "{ kind = \"exec\", program = \"move\", interface = \"eth0\" }";
            config.replace("{ kind = \"netlink\", interface = \"eth0\" }", program)
        });
    }
    lan.begin(0);
    lan.is_owned_by(0);
    lan.add_users(&["alice"]);
    lan.begin(1);
    lan.is_in_sync();
    let mut alice = Phone::on(lan.socket(), lan.service_address(), "alice");
    assert_eq!(alice.registers(600).status(), 200);
    let told = fs::read_to_string(lan.path(0).join("told")).expect("it ran");
    let asked: Vec<&str> = told.lines().collect();
    assert_eq!(
        asked.last().copied(),
        Some("add 10.9.0.100 eth0"),
        "{asked:?}"
    );
    assert_eq!(told.matches("add").count(), 1, "{told}\n{}", lan.log(0));
    fs::write(lan.path(1).join("fail"), "").expect("written");
    lan.verb(0, &["switchover", "edge"]);
    lan.says(
        1,
        &[
            "its address:",
            "add ended with status 3; it said: no quota",
            "it is tried again",
        ],
    );
    let told = fs::read_to_string(lan.path(0).join("told")).expect("it ran");
    assert_eq!(told.lines().last(), Some("remove 10.9.0.100 eth0"));
    // After the third time it leaves the service to the other one.
    lan.says(1, &["is being handed over to edge1"]);
    lan.is_owned_by(0);
    wait_until("an answer", || {
        let mut bell = Phone::on(lan.socket(), lan.service_address(), "alice");
        let request = bell.register_text("");
        bell.send(&request);
        bell.receive_within(Duration::from_millis(500)).map(drop)
    });
    fs::remove_file(lan.path(1).join("fail")).expect("it is there");
    lan.is_in_sync();
    lan.verb(0, &["switchover", "edge"]);
    lan.is_owned_by(1);
}

/// Waits until both nodes say of the coordinator that it answers, or does not.
fn is_answered(lan: &Lan, does: bool) {
    wait_until("the coordinator's silence, or its end", || {
        let answers = |number| {
            let status = lan.status(number)?;
            status["cluster"]["coordinator_answers"].as_bool()
        };
        ([0, 1].map(answers) == [Some(does); 2]).then_some(())
    });
}

#[test]
fn no_call_fails_while_all_etcds_stand_still_nor_when_an_edge_is_killed_after_that() {
    let said = std::env::var("HOLDLINE_TEST_ETCD_AWAY_S").ok();
    let away_s = said.map_or(AWAY_S, |said| said.parse().expect("seconds"));
    let server = SocketAddr::from((Lan::PHONES, 5_062));
    let pool = pool_of("pbx", &[format!("sip:{server}")], "");
    let Some(lan) = Lan::build(&format!("{pool}{ROUTE}"), &["alice", "bob"]) else {
        return;
    };
    let _server = lan
        .phones
        .within(|| Sipp::answers(lan.folder(), server, 4_000));
    let owner = lan.owner().expect("an owner");
    wait_until("the media server", || {
        let states = states_in(&lan.status(owner)?);
        (states[0].1 == "up").then_some(())
    });
    let phone = |user: &str| Phone::on(lan.socket(), lan.service_address(), user);
    let [mut alice, mut bob] = ["alice", "bob"].map(phone);
    for phone in [&mut alice, &mut bob] {
        assert_eq!(phone.registers(600).status(), 200);
    }
    let (mut call, _) = connect(&mut alice, &mut bob);
    let words = [("CALLEE", "8000"), ("PASSWORD", &password_of("alice")[..])];
    let between = (
        SocketAddr::from((Lan::PHONES, 5_064)),
        lan.service_address(),
    );
    let seconds = away_s + AFTER_S;
    let load = (CALLS_PER_S, seconds as usize);
    let calls = lan
        .phones
        .within(|| Sipp::loads_at(lan.folder(), "caller_patient", between, &words, load));
    let epoch = |lan: &Lan, number| {
        let service = lan.service(number).expect("it answers");
        service["epoch"].as_u64().expect("a number")
    };
    let before = epoch(&lan, owner);
    let begun = Instant::now();
    lan.freezes_etcds(true);
    is_answered(&lan, false);
    while begun.elapsed() < Duration::from_secs(away_s) {
        std::thread::sleep(Duration::from_millis(700));
        assert_eq!(lan.owner(), Some(owner), "{}", lan.log(owner));
        for phone in [&mut alice, &mut bob] {
            assert_eq!(phone.registers(600).status(), 200);
        }
        let (mut second, _) = connect(&mut bob, &mut alice);
        end((&mut bob, &mut second), &mut alice);
    }
    lan.freezes_etcds(false);
    is_answered(&lan, true);
    lan.is_in_sync();
    assert_eq!(
        (lan.owner(), epoch(&lan, owner)),
        (Some(owner), before),
        "{}",
        lan.log(owner)
    );
    lan.kill_process(owner);
    lan.is_owned_by(1 - owner);
    end((&mut alice, &mut call), &mut bob);
    let ended = calls.end_within(Duration::from_secs(seconds + 15));
    let error = ended.err().unwrap_or_default();
    assert!(error.is_empty(), "{error}\n{}\n{}", lan.log(0), lan.log(1));
    wait_until("the end of all calls", || {
        lan.items(1 - owner, "calls").is_empty().then_some(())
    });
}
