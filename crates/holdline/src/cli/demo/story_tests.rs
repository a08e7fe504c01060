use super::super::layout::NODES;
use super::super::snapshot::{CallsView, Felt, NodeView, ServiceView};
use super::*;

/// A platform that does at once what is done to it.
struct Platform {
    snapshot: Snapshot,
}

impl Platform {
    fn new() -> Platform {
        let node = |name: &&str| NodeView {
            name: (*name).to_owned(),
            state: NodeState::Up,
            ..NodeView::default()
        };
        let service = |name: &str, members: [&str; 2]| ServiceView {
            name: name.to_owned(),
            owner: Some(members[0].to_owned()),
            in_sync: members.map(str::to_owned).to_vec(),
            members: members.map(str::to_owned).to_vec(),
            ..ServiceView::default()
        };
        Platform {
            snapshot: Snapshot {
                nodes: NODES.iter().map(node).collect(),
                services: vec![
                    service(EDGE_SERVICE, ["edge1", "edge2"]),
                    service("pbx1", ["pbx1", "pbx2"]),
                    service("pbx2", ["pbx2", "pbx1"]),
                ],
                calls: CallsView {
                    wanted: 36,
                    active: 36,
                    ..CallsView::default()
                },
                ..Snapshot::default()
            },
        }
    }

    fn act(&mut self, verb: Verb, whom: &str) {
        let state = match verb {
            Verb::Kill | Verb::Thaw | Verb::Heal => NodeState::Up,
            Verb::Cut => NodeState::Down,
            Verb::Freeze => NodeState::Frozen,
            Verb::Drain => NodeState::Drained,
        };
        let node = self
            .snapshot
            .nodes
            .iter_mut()
            .find(|node| node.name == whom);
        node.expect("a node").state = state;
        for service in &mut self.snapshot.services {
            if verb != Verb::Heal && service.owner.as_deref() == Some(whom) {
                let mut others = service.members.iter().filter(|member| *member != whom);
                service.owner = others.next().cloned();
            }
        }
        self.snapshot.felt = Some(Felt {
            is_back: true,
            ..Felt::default()
        });
    }
}

/// Plays the story; gives what was done, and how it ended.
fn play(
    platform: &mut Platform,
    mut meddle: impl FnMut(&mut Snapshot),
) -> (Vec<(Verb, String)>, Turn) {
    let mut story = Story::new(4_000);
    let mut acts = Vec::new();
    for _ in 0..10_000 {
        platform.snapshot.at_ms += 100;
        meddle(&mut platform.snapshot);
        match story.turn(&platform.snapshot) {
            Turn::Wait => {}
            Turn::Begin(_, act) => {
                if let Some((verb, whom)) = act {
                    platform.act(verb, &whom);
                    acts.push((verb, whom));
                }
            }
            end => return (acts, end),
        }
    }
    (acts, Turn::Wait)
}

#[test]
fn the_story_is_over_in_a_minute_and_leaves_everything_whole() {
    let mut platform = Platform::new();
    let (acts, end) = play(&mut platform, |_| {});
    assert_eq!(end, Turn::End);
    assert!(
        platform.snapshot.at_ms <= 60_000,
        "{}",
        platform.snapshot.at_ms
    );
    assert!(
        platform
            .snapshot
            .nodes
            .iter()
            .all(|node| node.state == NodeState::Up)
    );
    let verbs: Vec<Verb> = acts.iter().map(|(verb, _)| *verb).collect();
    for verb in [Verb::Kill, Verb::Cut, Verb::Freeze, Verb::Drain] {
        assert!(verbs.contains(&verb), "{verb:?}");
    }
    // Whoever is in office is killed, whatever it is called.
    assert_eq!(acts[0], (Verb::Kill, "edge1".to_owned()));
    assert_eq!(acts[1], (Verb::Heal, "edge1".to_owned()));
    assert_eq!(acts[2], (Verb::Cut, "edge2".to_owned()));
}

#[test]
fn a_service_that_nobody_takes_ends_the_story_badly() {
    let mut platform = Platform::new();
    let (acts, end) = play(&mut platform, |snapshot| {
        if snapshot.felt.is_some() {
            snapshot.services[0].owner = None;
        }
    });
    assert_eq!(acts.len(), 1);
    assert!(matches!(end, Turn::Fail(why) if why.contains("killed")));
}

#[test]
fn calls_that_do_not_come_up_end_the_story_badly() {
    let mut platform = Platform::new();
    platform.snapshot.calls.active = 35;
    let (acts, end) = play(&mut platform, |_| {});
    assert_eq!(acts, []);
    assert!(matches!(end, Turn::Fail(why) if why.contains("call")));
}

#[test]
fn what_is_there_for_a_moment_only_does_not_count() {
    let mut platform = Platform::new();
    let mut looks = 0;
    let (_, end) = play(&mut platform, |snapshot| {
        looks += 1;
        snapshot.calls.active = if looks % 10 == 0 { 36 } else { 0 };
    });
    assert!(matches!(end, Turn::Fail(_)));
}

#[test]
fn an_owner_that_is_away_for_a_moment_is_waited_for() {
    let mut platform = Platform::new();
    let (acts, end) = play(&mut platform, |snapshot| {
        let is_away = (6_000..20_000).contains(&snapshot.at_ms);
        snapshot.services[0].owner = match (is_away, snapshot.services[0].owner.take()) {
            (true, _) => None,
            (false, owner) => owner.or_else(|| Some("edge1".to_owned())),
        };
    });
    assert_eq!(end, Turn::End);
    assert_eq!(acts[0], (Verb::Kill, "edge1".to_owned()));
}

#[test]
fn a_machine_is_too_busy_when_the_heartbeats_of_two_nodes_were_late() {
    let mut snapshot = Platform::new().snapshot;
    snapshot.nodes[0].late_us = 900_000;
    assert_eq!(excuse(&snapshot, 500), None, "one node that was frozen");
    snapshot.nodes[1].late_us = 249_000;
    assert_eq!(excuse(&snapshot, 500), None);
    snapshot.nodes[1].late_us = 250_000;
    let told = excuse(&snapshot, 500).expect("two nodes");
    assert!(
        told.contains("edge1, edge2 came up to 900 ms late"),
        "{told}"
    );
    assert!(told.contains("--lease 4s"), "{told}");
}
