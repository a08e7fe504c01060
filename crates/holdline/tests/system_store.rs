//! A node whose database goes away and comes back.

#[path = "../../store/tests/support/mod.rs"]
#[allow(
    dead_code,
    clippy::panic,
    reason = "the store's own servers, of which one is used here"
)]
mod servers;
mod support;

use std::time::Duration;

use servers::{Kind, Server, servers_wanted};
use support::phone::{connect, end};
use support::{Node, Phone, wait_until};

#[test]
fn calls_and_refreshes_go_on_while_the_database_is_away() {
    if !servers_wanted() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let (mut server, url) = runtime.block_on(async {
        let server = Server::start(Kind::Postgres).await;
        let url = server.database("holdline").await;
        (server, url)
    });
    let mut node = Node::with_users(
        "",
        &format!("[store]\nurl = \"{url}\"\n"),
        &["alice", "bob"],
    );
    let (mut alice, mut bob) = (Phone::udp(&node, "alice"), Phone::tcp(&node, "bob"));
    assert_eq!(bob.registers(600).status(), 200);
    let (_, mut at_bob) = connect(&mut alice, &mut bob);

    server.kill();
    end((&mut bob, &mut at_bob), &mut alice);
    let (mut call, _) = connect(&mut alice, &mut bob);
    end((&mut alice, &mut call), &mut bob);
    assert_eq!(bob.registers(600).status(), 200, "a plain refresh");
    // What would have to be durable is not promised.
    let refusal = alice.registers(600);
    assert_eq!(refusal.status(), 503, "{refusal:?}");
    assert!(!refusal.header("Retry-After").is_empty());
    node.wait_for(|node| node.metric("holdline_store_up") == 0.0);

    runtime.block_on(server.resume());
    wait_until("the store is back", || {
        let answer = alice.registers(900);
        std::thread::sleep(Duration::from_millis(100));
        (answer.status() == 200).then_some(())
    });
    node.wait_for(|node| node.metric("holdline_store_up") == 1.0);
    // The refresh made meanwhile is written by and by.
    node.wait_for(|node| node.metric("holdline_store_queued") == 0.0);
    node.kill();
    node.restart();
    let bound = node.items("registrations");
    assert_eq!(bound.len(), 2, "{bound:?}");
}
