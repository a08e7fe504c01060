//! Bad days of a pair on one machine: each is refused or survived, with words that say what to do, and never with two owners.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use net::clock::Boottime;
use net::peer::{Credentials, Lane, News, PeerOptions, Peers, Place};
use net::poll::Poller;
use support::etcd::{Etcd, expire};
use support::office::own_address;
use support::pair::Pair;
use support::phone::{connect, end};
use support::{PATIENCE, Phone, ask, text, wait_until};

fn phones(pair: &Pair) -> (Phone, Phone) {
    let mut alice = Phone::udp_to(pair.address(), "alice");
    let mut bob = Phone::udp_to(pair.address(), "bob");
    for phone in [&mut alice, &mut bob] {
        let answer = phone.registers(600);
        assert_eq!(answer.status(), 200, "{answer:?}");
    }
    (alice, bob)
}

/// The owner and the other one.
fn roles(pair: &Pair) -> (usize, usize) {
    let owner = wait_until("an owner", || pair.owner());
    (owner, 1 - owner)
}

fn name(number: usize) -> &'static str {
    ["edge1", "edge2"][number]
}

/// The epoch that a node knows, and whether it is the owner.
fn standing(pair: &Pair, number: usize) -> (u64, bool) {
    wait_until("an answer", || {
        let service = pair.service(number)?;
        Some((service["epoch"].as_u64()?, service["phase"] == "owner"))
    })
}

fn epoch(pair: &Pair, number: usize) -> u64 {
    standing(pair, number).0
}

fn done(folder: &Path, arguments: &[&str]) {
    let output = ask(folder, arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn script(path: &Path, lines: &str) {
    fs::write(path, format!("#!/bin/sh\n{lines}")).expect("written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
}

#[test]
fn a_machine_that_is_not_known_to_be_off_keeps_its_service_until_it_is() {
    let mut pair = Pair::prepare("");
    let agent = pair.folder().join("fence_test");
    let file = |name: &str| pair.folder().join(name);
    script(
        &agent,
        &format!(
            "cd {}\ncat > heard.new; mv heard.new heard; echo >> runs\n[ -e hang ] && sleep 60\n\
             [ -e ok ] || {{ echo no power here >&2; exit 1; }}\n",
            pair.folder().display()
        ),
    );
    let (heard, runs, hang, ok) = (file("heard"), file("runs"), file("hang"), file("ok"));
    for number in 0..2 {
        pair.edit(number, |config| {
            let fence = |node: &str| {
                format!(
                    "[[cluster.fence]]\nnode = \"{node}\"\nprogram = \"{}\"\ntimeout_ms = 1000\n\
                     options = {{ ip = \"10.0.1.1\", password = \"a b=c\", plug = \"{node}\" }}\n",
                    agent.display()
                )
            };
            format!("{config}{}{}", fence("edge1"), fence("edge2"))
        });
    }
    pair.launch(&[]);
    // The one that watches it says that it acts no more: nobody has to be switched off.
    let (owner, other) = roles(&pair);
    pair.kill_process(owner);
    pair.is_owned_by(other);
    pair.is_in_sync();
    assert!(!heard.exists(), "{}", pair.log(other));
    let (owner, other) = roles(&pair);
    pair.kill(owner);
    let put_off = "was not switched off, and the claim is put off";
    pair.says(other, &[put_off, "exit status 1: no power here"]);
    std::thread::sleep(Duration::from_millis(2_500));
    assert_eq!(pair.owner(), None, "{}", pair.log(other));
    let tries = fs::read_to_string(&runs).expect("it ran").lines().count();
    assert!((1..=3).contains(&tries), "{tries} in some three seconds");
    fs::write(&hang, "").expect("written");
    pair.says(other, &[put_off, "not done within 1s, killed"]);
    assert_eq!(pair.owner(), None, "{}", pair.log(other));
    fs::write(&ok, "").expect("written");
    fs::remove_file(&hang).expect("it is there");
    pair.is_owned_by(other);
    let told = fs::read_to_string(&heard).expect("it ran");
    let mut lines: Vec<&str> = told.lines().collect();
    lines.sort_unstable();
    let plug = format!("plug={}", name(owner));
    assert_eq!(
        lines,
        ["action=off", "ip=10.0.1.1", "password=a b=c", &plug]
    );
    pair.says(other, &[&format!("{} was switched off", name(owner))]);
    assert!(!pair.log(other).contains("a b=c"));
}

#[test]
fn a_renewed_certificate_is_taken_while_the_node_runs_and_one_that_has_ended_is_named() {
    let mut pair = Pair::start("", &[]);
    let ca = pair.folder().join("ca");
    let ends = |pair: &Pair, number: usize| {
        let status = pair.status(number).expect("it answers");
        status["cluster"]["certificate_ends_s"]
            .as_u64()
            .expect("a number")
    };
    let renew = |days: &str| {
        done(
            ca.parent().expect("a folder"),
            &["certs", "renew", "edge2", "--ca", "ca", "--days", days],
        );
    };
    let before = ends(&pair, 1);
    renew("20");
    pair.verb(1, &["reload"]);
    wait_until("the new certificate", || {
        (ends(&pair, 1) < before).then_some(())
    });
    pair.says(1, &["certificate ends in", "holdline certs renew edge2"]);
    // A new link is made with it.
    pair.kill(0);
    pair.is_owned_by(1);
    pair.begin(0);
    pair.is_in_sync();
    expire(&ca, "edge2");
    pair.verb(1, &["reload"]);
    let ended = ["node.pem ended on 2020-01-02", "holdline certs renew edge2"];
    pair.says(1, &["those in force stay", ended[0], ended[1]]);
    pair.is_in_sync();
    pair.kill(1);
    pair.is_owned_by(0);
    pair.begin(1);
    pair.says(
        1,
        &[
            "no link is made until this is put right",
            ended[0],
            ended[1],
        ],
    );
    pair.says(
        0,
        &[
            "no link",
            "its certificate ended on 2020-01-02",
            "holdline certs renew",
        ],
    );
    assert_eq!(pair.owner(), Some(0));
    renew("300");
    pair.verb(1, &["reload"]);
    pair.is_in_sync();
}

#[test]
fn a_member_that_is_configured_otherwise_is_told_what_and_owns_nothing() {
    let mut pair = Pair::prepare("");
    pair.edit(0, |config| {
        config.replace("[\"edge1\", \"edge2\"]", "[\"edge1\"]")
    });
    pair.begin(0);
    wait_until("an owner", || pair.owner());
    let lease = |from: &str, to: &str| {
        let (from, to) = (format!("[cluster]\n{from}"), format!("[cluster]\n{to}"));
        pair.edit(1, |config| config.replace(&from, &to));
    };
    lease("", "lease_ms = 500\n");
    pair.begin(1);
    pair.says(
        1,
        &["the cluster has lease_ms = 300, this node 500: all members need the same"],
    );
    pair.kill(1);
    pair.edit(1, |config| {
        config
            .replace("[cluster]\nlease_ms = 500\n", "[cluster]\n")
            .replace("address = \"127.0.0.1\"", "address = \"127.0.0.2\"")
    });
    pair.begin(1);
    let address = |end: u8| format!("`service edge address = 127.0.0.{end}`");
    let differs = format!("it has {}, this node {}", address(2), address(1));
    pair.says(
        0,
        &[
            "it is configured differently",
            &differs,
            "make them the same on all nodes",
        ],
    );
    pair.says(
        1,
        &[
            "none of its members by its owner's word (edge1)",
            "[[service]] members",
        ],
    );
    assert_eq!(pair.owner(), Some(0));
}

#[test]
fn a_member_with_the_files_of_another_cluster_gets_no_link() {
    let mut pair = Pair::prepare("");
    pair.begin(0);
    wait_until("an owner", || pair.owner());
    done(
        pair.folder(),
        &["certs", "init", "other", "--cluster", "lab"],
    );
    done(pair.folder(), &["certs", "node", "edge2", "--ca", "other"]);
    let moves = |pair: &Pair, from: &str, to: &str| {
        pair.edit(1, |config| config.replace(from, to));
    };
    moves(&pair, "../ca/edge2", "../other/edge2");
    pair.begin(1);
    for number in [0, 1] {
        let mixed_up = "certificate is of another cluster's authority";
        pair.says(number, &["no link", mixed_up]);
    }
    assert_eq!(pair.owner(), Some(0));
    pair.kill(1);
    moves(&pair, "../other/edge2", "../ca/edge2");
    pair.begin(1);
    pair.is_in_sync();
}

#[test]
fn members_whose_ports_for_media_differ_get_no_link_and_both_say_which() {
    let pbx = format!(
        "[pbx]\nrtp_ports = [22000, 22019]\n\
         [[service]]\nname = \"pbx1\"\nrole = \"pbx\"\nmembers = [\"edge1\", \"edge2\"]\naddress = \"{}\"\n\
         mover = {{ kind = \"none\" }}\n",
        own_address()
    );
    let media = "rtp_ports = [21000, 21019]\n[edge.media]\nrelay_threads = 1\n";
    let mut pair = Pair::prepare(media);
    for number in 0..2 {
        pair.edit(number, |config| format!("{config}{pbx}"));
    }
    pair.begin(0);
    wait_until("an owner", || pair.owner());
    let edge = "edge.rtp_ports = [21000, 21019]";
    for (from, to, theirs, ours) in [
        (
            "[21000, 21019]",
            "[21000, 21039]",
            "edge.rtp_ports = [21000, 21039]",
            edge,
        ),
        (media, "", "edge.rtp_ports = none", edge),
        (
            "relay_threads = 1",
            "relay_threads = 2",
            "edge.media.relay_threads = 2",
            "edge.media.relay_threads = 1",
        ),
        (
            "[22000, 22019]",
            "[22020, 22039]",
            "service pbx1 rtp_ports = [22020, 22039]",
            "service pbx1 rtp_ports = [22000, 22019]",
        ),
    ] {
        pair.edit(1, |config| {
            assert!(config.contains(from), "{config}");
            config.replace(from, to)
        });
        pair.begin(1);
        let differs = |one: &str, other: &str| {
            format!("no link: it is configured differently: it has `{one}`, this node `{other}`")
        };
        pair.says(0, &[&differs(theirs, ours)]);
        pair.says(1, &[&differs(ours, theirs)]);
        let in_sync = |status: serde_json::Value| status["in_sync"].as_array().map(Vec::len);
        assert_eq!(pair.service(0).and_then(in_sync), Some(1));
        pair.kill(1);
        if to.is_empty() {
            pair.edit(1, |config| {
                config.replace("[edge.sources]", &format!("{media}[edge.sources]"))
            });
        } else {
            pair.edit(1, |config| config.replace(to, from));
        }
    }
    pair.begin(1);
    pair.is_in_sync();
    pair.has_standby("pbx1");
}

/// Numbers that look random, and are the same each time.
fn noise(seed: &mut u64) -> u64 {
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    *seed
}

#[test]
fn garbage_at_the_port_of_the_peers_and_from_a_member_disturbs_no_call() {
    let mut pair = Pair::start("", &["alice", "bob"]);
    let (mut alice, mut bob) = phones(&pair);
    let (mut call, _) = connect(&mut alice, &mut bob);
    let (owner, other) = roles(&pair);
    assert_eq!(owner, 0);
    let at = |number: usize| -> SocketAddr {
        let config = fs::read_to_string(pair.path(number).join("holdline.toml")).expect("there");
        let line = config
            .lines()
            .find_map(|line| line.strip_prefix("peer_listen = "));
        line.expect("a line")
            .trim_matches('"')
            .parse()
            .expect("an address")
    };
    let (port, mut seed) = (at(0), 0x9e37_79b9_7f4a_7c15);
    for turn in 0..200 {
        let Ok(mut stranger) = TcpStream::connect(port) else {
            continue;
        };
        let length = noise(&mut seed) % 2_000;
        let mut bytes: Vec<u8> = (0..length).map(|_| noise(&mut seed) as u8).collect();
        if turn % 2 == 0 {
            // A record of a TLS handshake, by its head.
            bytes.splice(0..0, [0x16, 3, 1, (length >> 8) as u8, length as u8, 1]);
        }
        let _ = stranger.write_all(&bytes);
        if turn % 10 == 0 {
            let wait = Some(Duration::from_millis(20));
            stranger.set_read_timeout(wait).expect("an option");
            let _ = stranger.read(&mut [0; 64]);
        }
    }
    pair.says(0, &["no link", "it does not speak TLS"]);
    let lines = pair.log(0).matches("no link").count();
    assert!(lines < 50, "{lines} lines about one stranger");
    // One with the certificate of a member whose frames are noise.
    let listen = at(1);
    pair.kill(other);
    let frames = speak_noise(&pair.folder().join("ca/edge2"), listen, &mut seed);
    assert!(frames > 0, "it was never linked:\n{}", pair.log(0));
    pair.says(0, &["it sends what cannot be read"]);
    assert_eq!(pair.owner(), Some(0));
    end((&mut alice, &mut call), &mut bob);
    pair.begin(other);
    pair.is_in_sync();
}

/// Is linked as edge2 and sends noise for a second; how many frames that were.
fn speak_noise(files: &Path, listen: SocketAddr, seed: &mut u64) -> usize {
    let mut poller = Poller::new().expect("a poller");
    let options = PeerOptions {
        cluster: "lab".to_owned(),
        name: "edge2".to_owned(),
        number: 1,
        agreement: "lease_us = 300000\nmargin_us = 30000\nsomething newer = 1\n".to_owned(),
    };
    // The killed node's sockets are closed in a moment.
    let mut peers = wait_until("the port", || {
        let credentials = Credentials::load(files, "edge2").expect("its files");
        Peers::start(options.clone(), listen, credentials, poller.waker(), 1).ok()
    });
    peers.set_places(vec![Place {
        number: 0,
        name: "edge1".to_owned(),
        address: listen,
    }]);
    let (mut news, mut frames) = (Vec::new(), 0);
    let deadline = Instant::now() + Duration::from_secs(10);
    let mut until = deadline;
    while Instant::now() < until {
        let ready = poller
            .wait(Some(Duration::from_millis(5)))
            .expect("it waits")
            .to_vec();
        let now = Boottime::now();
        for event in ready {
            peers.receive(now, &event, &poller, |_, _| {}, &mut news);
        }
        peers.settle(now, &poller, &mut news);
        if until == deadline && news.iter().any(|news| matches!(news, News::Up { .. })) {
            until = Instant::now() + Duration::from_secs(1);
        }
        if peers.is_linked(0) {
            let length = noise(seed) as usize % 300;
            let mut frame = (length as u32).to_be_bytes().to_vec();
            frame.extend((0..length).map(|_| noise(seed) as u8));
            peers.send(0, Lane::Bulk, &frame, &poller, &mut news);
            frames += 1;
        }
        peers.flush(now, &poller, &mut news);
    }
    frames
}

#[test]
fn a_node_whose_watching_process_is_killed_hands_over_and_ends() {
    let mut pair = Pair::start("", &["alice", "bob"]);
    let (mut alice, mut bob) = phones(&pair);
    let (mut call, _) = connect(&mut alice, &mut bob);
    let (owner, other) = roles(&pair);
    let node = pair.node(owner);
    pair.kill_watcher(owner);
    pair.is_owned_by(other);
    pair.says(
        owner,
        &[
            "the process that watches this one was killed",
            "hands over and ends",
        ],
    );
    wait_until("its end", || {
        (!Path::new(&format!("/proc/{node}")).exists()).then_some(())
    });
    pair.says(other, &["is this node's now", "the owner released it"]);
    end((&mut alice, &mut call), &mut bob);
    pair.begin(owner);
    pair.is_in_sync();
}

#[test]
fn a_pair_is_upgraded_one_node_at_a_time_and_no_call_ends() {
    let mut pair = Pair::start("", &["alice", "bob"]);
    let (mut alice, mut bob) = phones(&pair);
    let (mut call, _) = connect(&mut alice, &mut bob);
    // The same program in another file: what a package puts in the place of the old one.
    let new = pair.folder().join("holdline-next");
    let old = Path::new(env!("CARGO_BIN_EXE_holdline"));
    if fs::hard_link(old, &new).is_err() {
        fs::copy(old, &new).expect("copied");
    }
    for number in [1, 0] {
        pair.verb(number, &["leave"]);
        pair.is_owned_by(1 - number);
        pair.kill(number);
        let mut command = Command::new(&new);
        command.arg("run");
        pair.begin_by(number, command);
        pair.is_in_sync();
        // Both versions: a call that is there, and one that begins.
        let mut carol = Phone::udp_to(pair.address(), "alice");
        carol.registers(600);
        let bye = alice.within(&mut call, "INFO", "", "");
        alice.send(&bye);
        let info = bob.request("INFO");
        bob.responds(&info, "200 OK", "");
        alice.response(200);
    }
    end((&mut alice, &mut call), &mut bob);
}

#[test]
fn a_clock_that_jumps_moves_nothing() {
    let mut pair = Pair::prepare("");
    let Some(library) = clock_library(pair.folder()) else {
        return;
    };
    let offset = pair.folder().join("offset");
    fs::write(&offset, "0").expect("written");
    for number in 0..2 {
        let lease = |config: String| config.replace("[cluster]\n", "[cluster]\nlease_ms = 1000\n");
        pair.edit(number, lease);
    }
    let command = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdline"));
        command.arg("run").env("LD_PRELOAD", &library);
        command.env("CLOCK_OFFSET", &offset);
        command
    };
    pair.begin_by(0, command());
    wait_until("an owner", || pair.owner());
    pair.add_users(&["alice", "bob"]);
    pair.begin_by(1, command());
    pair.is_in_sync();
    let (mut alice, mut bob) = phones(&pair);
    let (mut call, _) = connect(&mut alice, &mut bob);
    let (owner, _) = roles(&pair);
    let before = epoch(&pair, owner);
    for jump_s in ["300", "-86400", "0"] {
        fs::write(&offset, jump_s).expect("written");
        std::thread::sleep(Duration::from_millis(1_000));
        assert_eq!(
            standing(&pair, owner),
            (before, true),
            "{}",
            pair.log(owner)
        );
        assert_eq!(pair.items(owner, "registrations").len(), 2, "{jump_s}");
        pair.is_in_sync();
    }
    end((&mut alice, &mut call), &mut bob);
}

/// A library that moves the wall clock of a process by the seconds that a file has, and no other clock; none without a C
/// compiler.
fn clock_library(folder: &Path) -> Option<PathBuf> {
    const SOURCE: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static long offset(void) {
    char text[32] = {0};
    const char *path = getenv("CLOCK_OFFSET");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    long length = read(file, text, sizeof text - 1);
    close(file);
    return length > 0 ? atol(text) : 0;
}
int clock_gettime(clockid_t id, struct timespec *at) {
    long failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE)) at->tv_sec += offset();
    return (int)failed;
}
"#;
    let (source, library) = (folder.join("clock.c"), folder.join("clock.so"));
    fs::write(&source, SOURCE).expect("written");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    if built.is_ok_and(|status| status.success()) {
        return Some(library);
    }
    eprintln!("\n**** NOT TESTED: there is no C compiler ****\n");
    None
}

#[test]
fn etcd_may_be_away_for_long_and_come_back_as_an_old_copy() {
    let mut pair = Pair::prepare("");
    let mut etcd = Etcd::start(pair.folder());
    for number in 0..2 {
        pair.edit(number, |config| {
            let sqlite = "{ kind = \"sqlite\", path = \"../cluster.db\" }";
            assert!(config.contains(sqlite));
            // A machine that is busy with other tests is to disturb nothing either.
            let config = config.replace("[cluster]\n", "[cluster]\nlease_ms = 1000\n");
            config.replace(sqlite, &etcd.coordinator())
        });
    }
    pair.launch(&["alice", "bob"]);
    etcd.stop();
    etcd.copy("data", "copy");
    etcd.begin();
    let (owner, other) = roles(&pair);
    let answers = |pair: &Pair, number: usize, does: bool| {
        let deadline = Instant::now() + PATIENCE;
        let answers = |status: serde_json::Value| status["cluster"]["coordinator_answers"] == does;
        while !pair.status(number).is_some_and(answers) {
            assert!(Instant::now() < deadline, "{does}:\n{}", pair.log(number));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    answers(&pair, owner, true);
    for to in [other, owner] {
        pair.verb(1 - to, &["switchover", "edge", name(to)]);
        pair.is_owned_by(to);
        pair.is_in_sync();
    }
    let (mut alice, mut bob) = phones(&pair);
    let (mut call, _) = connect(&mut alice, &mut bob);
    let before = epoch(&pair, owner);
    etcd.stop();
    answers(&pair, owner, false);
    for _ in 0..3 {
        // Some leases each.
        std::thread::sleep(Duration::from_millis(1_000));
        assert_eq!(
            standing(&pair, owner),
            (before, true),
            "{}",
            pair.log(owner)
        );
        let (mut second, _) = connect(&mut bob, &mut alice);
        end((&mut bob, &mut second), &mut alice);
    }
    etcd.copy("copy", "data");
    etcd.begin();
    answers(&pair, owner, true);
    std::thread::sleep(Duration::from_millis(1_000));
    assert_eq!(
        standing(&pair, owner),
        (before, true),
        "{}",
        pair.log(owner)
    );
    end((&mut alice, &mut call), &mut bob);
    pair.is_in_sync();
    pair.kill_process(owner);
    pair.is_owned_by(other);
    assert!(epoch(&pair, other) > before, "{}", pair.log(other));
}

#[test]
fn no_epoch_is_given_twice_when_all_were_stopped_and_the_coordinator_is_an_old_copy() {
    let mut pair = Pair::start("", &[]);
    for number in [0, 1] {
        pair.kill(number);
    }
    let files = ["cluster.db", "cluster.db-wal"];
    let copy = |pair: &Pair, from: &str, to: &str| {
        for file in files {
            let (from, to) = (format!("{from}{file}"), format!("{to}{file}"));
            let _ = fs::remove_file(pair.folder().join(&to));
            // There may be no log beside the file.
            let _ = fs::copy(pair.folder().join(from), pair.folder().join(to));
        }
        let _ = fs::remove_file(pair.folder().join("cluster.db-shm"));
    };
    copy(&pair, "", "old-");
    pair.begin(0);
    pair.begin(1);
    wait_until("an owner", || pair.owner());
    pair.is_in_sync();
    for _ in 0..2 {
        let (owner, other) = roles(&pair);
        pair.verb(owner, &["switchover", "edge"]);
        pair.is_owned_by(other);
        pair.is_in_sync();
    }
    let before = epoch(&pair, 0);
    pair.kill(0);
    pair.kill(1);
    copy(&pair, "old-", "");
    pair.begin(0);
    pair.begin(1);
    let owner = wait_until("an owner", || pair.owner());
    assert!(epoch(&pair, owner) > before, "{}", pair.log(owner));
    pair.says(
        owner,
        &[
            "the coordinator shows epoch",
            "it was restored from an old copy",
        ],
    );
}

#[test]
fn calls_and_takeovers_go_on_while_the_disk_is_full() {
    let mut pair = Pair::prepare("");
    let disk = pair.folder().join("disk");
    fs::create_dir(&disk).expect("made");
    if let Err(reason) = small_disk(&disk) {
        eprintln!("\n**** NOT TESTED: no disk of a test's own: {reason} ****\n");
        return;
    }
    for number in 0..2 {
        pair.edit(number, |config| {
            config
                .replace(
                    "data = \"data\"",
                    &format!("data = \"../disk/{}\"", name(number)),
                )
                .replace("sqlite:../users.db", "sqlite:../disk/users.db")
        });
    }
    pair.launch(&["alice", "bob"]);
    let (mut alice, mut bob) = phones(&pair);
    let (mut call, _) = connect(&mut alice, &mut bob);
    let fill = disk.join("fill");
    let mut file = fs::File::create(&fill).expect("made");
    while file.write_all(&[0; 4_096]).is_ok() {}
    drop(file);
    let (owner, other) = roles(&pair);
    for phone in [&mut alice, &mut bob] {
        assert_eq!(phone.registers(900).status(), 200, "{}", pair.log(owner));
    }
    let (mut second, _) = connect(&mut bob, &mut alice);
    end((&mut bob, &mut second), &mut alice);
    pair.kill_process(owner);
    pair.is_owned_by(other);
    end((&mut alice, &mut call), &mut bob);
    pair.says(owner, &["epochs are not kept", "No space left on device"]);
    fs::remove_file(&fill).expect("it is there");
    pair.is_in_sync();
    assert_eq!(pair.items(other, "registrations").len(), 2);
}

/// Mounts a disk of few bytes for this thread and what it starts.
fn small_disk(at: &Path) -> Result<(), String> {
    use nix::sched::{CloneFlags, unshare};
    let both = CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS;
    unshare(both).map_err(|error| error.to_string())?;
    let at = at.display().to_string();
    for arguments in [
        &["--make-rprivate", "/"][..],
        &["-t", "tmpfs", "-o", "size=2m", "none", &at],
    ] {
        let output = Command::new("mount").args(arguments).output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(text(&output.stderr));
        }
    }
    Ok(())
}
