//! Guessers as they are (sipvicious) against a node with phones.

mod support;

use std::process::{Command, Stdio};

use support::{Node, Phone, ask, program};

#[test]
fn a_password_guesser_is_banned_and_a_phone_beside_him_is_not_touched() {
    let limits = "[edge.sources]\nban_s = 600\n";
    let node = Node::with_users("workers = 2\n", limits, &["alice", "bob"]);
    // Guessers name the domain by its address.
    assert!(
        ask(node.path(), &["domain", "add", "127.0.0.1"])
            .status
            .success()
    );
    // A phone behind the same address has registered before the guesser comes.
    let mut phone = Phone::udp(&node, "bob");
    phone.registers_at("<sip:bob@127.0.0.1:5062>");
    let mut guesser = Command::new(program("svcrack", "sipvicious"))
        .args(["-u", "alice", "-r1000-9999", "-p"])
        .arg(node.sip.to_string())
        .arg("127.0.0.1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("svcrack starts");
    node.wait_for(|node| node.metric("holdline_bans") == 1.0);
    node.wait_for(|node| node.metric("holdline_banned_messages_total") > 100.0);
    guesser.kill().expect("it runs");
    guesser.wait().expect("it ended");
    // Its flow is good: it is answered as before.
    phone.registers_at("<sip:bob@127.0.0.1:5062>");
    let bans = node.verb("bans");
    assert_eq!(bans[0]["reason"], "password", "{bans}");
    assert_eq!(bans[0]["proved"], true, "{bans}");
    assert_eq!(bans[0]["source"], "127.0.0.1", "{bans}");
    assert!(ask(node.path(), &["unban", "127.0.0.1"]).status.success());
    assert_eq!(node.metric("holdline_bans"), 0.0);
}
