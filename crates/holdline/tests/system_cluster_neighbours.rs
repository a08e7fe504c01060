//! Bad days of a pair on hosts of its own: an address that somebody else has, clusters that are mixed up, and a program that moves
//! the address and fails.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use support::street::{SERVICE, Street};
use support::{Phone, wait_until};

#[test]
fn an_address_that_another_machine_has_is_not_claimed_and_a_mix_up_of_clusters_makes_no_second_owner()
 {
    let Some(mut street) = Street::build() else {
        return;
    };
    let stranger = street.phones.mac("eth0");
    let take = format!("addr add {SERVICE}/32 dev eth0\n");
    let give_up = format!("addr del {SERVICE}/32 dev eth0\n");
    street.phones.ip(&take).expect("root may");
    street.begin(0);
    let used = |mac: &str| format!("{SERVICE} is already used by {mac} on eth0");
    street.says(
        0,
        &[
            &used(&stranger),
            "find that machine",
            "or give the service another",
        ],
    );
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(street.owner(), None, "{}", street.log(0));
    street.phones.ip(&give_up).expect("root may");
    street.is_owned_by(0);
    // The second one looks for its cluster elsewhere, finds none, and makes one.
    let coordinator = "coordinator = { kind = \"etcd\"";
    let elsewhere = format!("{coordinator}, prefix = \"/other\"");
    street.edit(1, |config| config.replace(coordinator, &elsewhere));
    street.begin(1);
    street.says(1, &[&used(&street.edges[0].mac("eth0"))]);
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(
        street.phase(1).as_deref(),
        Some("member"),
        "{}",
        street.log(1)
    );
    street.kill(1);
    street.edit(1, |config| config.replace(&elsewhere, coordinator));
    street.begin(1);
    street.says(
        1,
        &[
            "the coordinator holds another cluster of this name",
            "delete its file cluster-id",
        ],
    );
    street.kill(1);
    fs::remove_file(street.path(1).join("data/cluster-id")).expect("it is there");
    street.begin(1);
    street.is_in_sync();
    // Where there has been an owner, an answer may be its: it is claimed, and said.
    street.kill(1);
    street.kill(0);
    street.edges[0]
        .ip(&give_up)
        .expect("a killed node leaves it");
    street.phones.ip(&take).expect("root may");
    let begun = street.log(0).len();
    street.begin(0);
    wait_until("a warning", || {
        street.log(0)[begun..]
            .contains(&used(&stranger))
            .then_some(())
    });
}

#[test]
fn a_program_that_moves_the_address_is_told_how_waited_for_and_tried_again() {
    let Some(mut street) = Street::build() else {
        return;
    };
    for number in 0..2 {
        let path = street.path(number).join("move");
        // Longer than a lease.
        let lines = "#!/bin/sh\ncd \"$(dirname \"$0\")\" || exit 1\necho \"$@\" >> told\n\
             [ \"$1\" = add ] && [ -e fail ] && { echo no quota; exit 3; }\nPATH=$PATH:/usr/sbin:/sbin\n\
             if [ \"$1\" = add ]; then sleep 0.8; ip addr replace \"$2/32\" dev \"$3\"; else ip addr del \"$2/32\" dev \"$3\" 2>&1; true; fi\n";
        fs::write(&path, lines).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
        street.edit(number, |config| {
            let program = "{ kind = \"exec\", program = \"move\", interface = \"eth0\" }";
            config.replace("{ kind = \"netlink\", interface = \"eth0\" }", program)
        });
    }
    street.begin(0);
    street.is_owned_by(0);
    street.add_users(0, &["alice"]);
    street.begin(1);
    street.is_in_sync();
    let mut alice = Phone::on(street.socket(), street.service(), "alice");
    assert_eq!(alice.registers(600).status(), 200);
    let told = fs::read_to_string(street.path(0).join("told")).expect("it ran");
    let asked: Vec<&str> = told.lines().collect();
    assert_eq!(
        asked.last().copied(),
        Some("add 10.9.0.100 eth0"),
        "{asked:?}"
    );
    assert_eq!(told.matches("add").count(), 1, "{told}\n{}", street.log(0));
    fs::write(street.path(1).join("fail"), "").expect("written");
    street.verb(0, &["switchover", "edge"]);
    street.says(
        1,
        &[
            "its address:",
            "add ended with status 3; it said: no quota",
            "it is tried again",
        ],
    );
    let told = fs::read_to_string(street.path(0).join("told")).expect("it ran");
    assert_eq!(told.lines().last(), Some("remove 10.9.0.100 eth0"));
    // After the third time it leaves the service to the other one.
    street.says(1, &["is being handed over to edge1"]);
    street.is_owned_by(0);
    wait_until("an answer", || {
        let mut bell = Phone::on(street.socket(), street.service(), "alice");
        let request = bell.register_text("");
        bell.send(&request);
        bell.receive_within(Duration::from_millis(500)).map(drop)
    });
    fs::remove_file(street.path(1).join("fail")).expect("it is there");
    street.is_in_sync();
    street.verb(0, &["switchover", "edge"]);
    street.is_owned_by(1);
}
