use super::super::snapshot::{
    CallsView, Felt, Join, NodeState, NodeView, ServiceView, Snapshot, TargetView,
};
use super::*;

const COLUMNS: usize = 80;
const ROWS: usize = 24;

fn node(name: &str, state: NodeState) -> NodeView {
    NodeView {
        name: name.to_owned(),
        state,
        process: Some(4_194_303),
        uptime_s: Some(3_599),
        calls: 36,
        late_us: 0,
        packets_per_s: Some(3_600),
    }
}

fn service(name: &str, owner: Option<&str>, members: [&str; 2]) -> ServiceView {
    ServiceView {
        name: name.to_owned(),
        owner: owner.map(str::to_owned),
        epoch: 12,
        members: members.map(str::to_owned).to_vec(),
        in_sync: members.map(str::to_owned).to_vec(),
        records: 1_240,
        commit_us: 10_412,
    }
}

fn target(service: &str, state: &str) -> TargetView {
    TargetView {
        pool: "pbx".to_owned(),
        target: service.to_owned(),
        state: state.to_owned(),
        calls: 12,
    }
}

/// A platform in the middle of something, with as many characters in each place as there are in an hour's demo.
fn busy() -> Snapshot {
    Snapshot {
        at_ms: 62_000,
        join: Join {
            at: "127.0.0.1:5060".to_owned(),
            users: vec![
                ("alice".to_owned(), "hzcsm84c".to_owned()),
                ("bob".to_owned(), "pred69te".to_owned()),
            ],
            here: Vec::new(),
        },
        nodes: vec![
            node("edge1", NodeState::Starting),
            node("edge2", NodeState::Up),
            node("pbx1", NodeState::Frozen),
            node("pbx2", NodeState::Down),
        ],
        services: vec![
            ServiceView {
                in_sync: vec!["edge2".to_owned()],
                ..service("edge", Some("edge2"), ["edge1", "edge2"])
            },
            service("pbx1", None, ["pbx1", "pbx2"]),
            service("pbx2", Some("pbx2"), ["pbx2", "pbx1"]),
        ],
        targets: vec![target("pbx1", "out"), target("pbx2", "up")],
        calls: CallsView {
            wanted: 36,
            active: 36,
            begun: 1_240,
            completed: 1_204,
            lost: 0,
            failures: String::new(),
            phones: 50,
            set_up_us: (212_000, 240_000),
            mos: Some((4.41, 4.38)),
            gap_us: (20_000, 60_000),
            silent_us: 0,
        },
        felt: Some(Felt {
            at_ms: 61_000,
            what: "edge1 killed".to_owned(),
            away_ms: Some(45),
            is_back: true,
            gap_us: 59_700,
            lost: 0,
            of: 36,
        }),
        events: (0..60)
            .map(|at| (at * 1_000, format!("the event number {at} of the demo")))
            .collect(),
    }
}

fn texts(lines: &[Line]) -> Vec<String> {
    lines.iter().map(Line::text).collect()
}

#[test]
fn a_frame_fits_its_terminal_and_cuts_nothing_off_that_matters() {
    for size in [(COLUMNS, ROWS), (120, 40)] {
        let lines = texts(&frame(&busy(), 0, size));
        assert_eq!(lines.len(), size.1);
        for line in &lines {
            assert!(line.chars().count() <= size.0, "{line}");
        }
        let all = lines.join("\n");
        for piece in [
            "register at 127.0.0.1:5060",
            "bob pred69te",
            "owner of edge",
            "nobody",
            "pbx1 out 12 calls  pbx2 up 12 calls",
            "not in sync: edge",
            "owner of pbx2; standby of pbx1",
            "36 active, 1240 begun, 1204 done, 0 lost; set-up 212 ms (p99 240)",
            "MOS 4.4 (worst 4.4); gap p50 20 ms, max 60 ms; 50 phones registered",
            "edge1 killed 1 s ago",
            "service back after 45 ms, longest gap 60 ms, calls lost 0 of 36",
            "the event number 59",
            " q quit",
        ] {
            assert!(
                all.contains(piece),
                "{piece} is missing at {size:?}:\n{all}"
            );
        }
    }
}

#[test]
fn a_larger_terminal_shows_more_events() {
    let count = |size| {
        let lines = texts(&frame(&busy(), 0, size));
        lines
            .iter()
            .filter(|line| line.contains("event number"))
            .count()
    };
    assert!(count((COLUMNS, ROWS)) >= 2);
    assert_eq!(count((120, 40)), count((COLUMNS, ROWS)) + 16);
}

#[test]
fn a_terminal_that_is_too_small_gets_what_has_room() {
    for size in [(0, 0), (1, 1), (20, 5), (80, 12)] {
        let lines = texts(&frame(&busy(), 3, size));
        assert_eq!(lines.len(), size.1);
        assert!(lines.iter().all(|line| line.chars().count() <= size.0));
    }
    let nothing = frame(&Snapshot::default(), 0, (COLUMNS, ROWS));
    assert_eq!(nothing.len(), ROWS);
}

#[test]
fn what_was_lost_is_red() {
    let mut snapshot = busy();
    snapshot.calls.lost = 1;
    let bad = |lines: &[Line]| {
        let spans = lines.iter().flat_map(|line| &line.0);
        let bad = spans.filter(|(style, _)| *style == Style::Bad);
        bad.map(|(_, text)| text.clone())
            .collect::<Vec<_>>()
            .join("|")
    };
    let lines = frame(&snapshot, 0, (COLUMNS, ROWS));
    assert!(bad(&lines).contains("1 calls lost"), "{}", bad(&lines));
    let before = frame(&busy(), 0, (COLUMNS, ROWS));
    assert!(!bad(&before).contains("lost"));
}

#[test]
fn the_selected_node_is_marked() {
    for selected in 0..4 {
        let lines = texts(&frame(&busy(), selected, (COLUMNS, ROWS)));
        let marked: Vec<&String> = lines.iter().filter(|line| line.starts_with("> ")).collect();
        assert_eq!(marked.len(), 1);
        assert!(marked[0].contains(["edge1", "edge2", "pbx1", "pbx2"][selected]));
    }
}

#[test]
fn a_silence_that_goes_on_is_shown_in_place_of_pauses() {
    let mut snapshot = busy();
    snapshot.calls.silent_us = 1_500_000;
    let all = texts(&frame(&snapshot, 0, (COLUMNS, ROWS))).join("\n");
    assert!(all.contains("silent for 1500 ms"), "{all}");
}
