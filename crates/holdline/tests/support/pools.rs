//! What tests of pools of media servers share.

use serde_json::Value;

use super::phone::Dialog;
use super::{Message, Node, Phone};

/// Users who are called in the pool `pbx`.
pub(crate) const ROUTE: &str = "[[edge.route]]\nuser = \"8*\"\npool = \"pbx\"\n";

/// A pool of the media servers at these URIs, the first one preferred.
pub(crate) fn pool_of(name: &str, uris: &[String], more: &str) -> String {
    let target = |uri: &String| format!("{{ uri = \"{uri}\" }}");
    let targets: Vec<String> = uris.iter().map(target).collect();
    format!(
        "[[edge.pool]]\nname = \"{name}\"\npolicy = \"priority\"\nslow_start_s = 0\n\
         targets = [{}]\n{more}\n",
        targets.join(", ")
    )
}

/// The name and the state of each target of all pools.
pub(crate) fn states(node: &Node) -> Vec<(String, String)> {
    states_in(&node.verb("status"))
}

/// The same in what a node's `status` says.
pub(crate) fn states_in(status: &Value) -> Vec<(String, String)> {
    let pools = status["pools"].as_array().expect("pools");
    let targets = pools
        .iter()
        .flat_map(|pool| pool["targets"].as_array().expect("targets"));
    let word = |value: &Value| value.as_str().expect("a text").to_owned();
    targets
        .map(|target| (word(&target["target"]), word(&target["state"])))
        .collect()
}

/// Waits for a sign of life from a media server.
pub(crate) fn sign_of_life(phone: &mut Phone) -> Message {
    loop {
        let message = phone.receive();
        if message.status() != 100 {
            return message;
        }
    }
}

/// Nothing is counted any more, and it were so many calls.
pub(crate) fn is_over(node: &Node, calls: f64) {
    node.wait_for(|node| node.metric("holdline_calls") == 0.0);
    assert_eq!(node.metric("holdline_calls_started_total"), calls);
    let (_, metrics) = node.http("GET /metrics");
    let counted = metrics
        .lines()
        .filter(|line| line.starts_with("holdline_target_calls{"));
    for line in counted {
        assert!(line.ends_with(" 0"), "{line}");
    }
}
