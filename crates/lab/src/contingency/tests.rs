use std::time::{Duration, Instant};

use super::*;
use crate::phones::Phase;

fn experiment() -> Experiment {
    Experiment {
        scenario: Scenario::Both,
        failure: Failure::Node,
        is_fenced: true,
    }
}

fn noticed(edge_ms: u64, pbx_ms: u64, is_pbx_back: bool) -> Noticed {
    Noticed {
        service_gap: Duration::from_millis(edge_ms),
        since: Instant::now(),
        is_back: true,
        media_gaps: Vec::new(),
        others: vec![(Duration::from_millis(pbx_ms), is_pbx_back)],
    }
}

fn story(test: u8, phase: Phase, waited_ms: u64, loss: Option<&str>) -> Story {
    let begun = Instant::now();
    let later = begun + Duration::from_millis(waited_ms);
    Story {
        test,
        phase,
        is_to_machine: false,
        fault_at: Some(begun),
        dialled_at: Some(begun),
        alive_at: Some(later),
        picked_up_at: Some(begun),
        talking_at: Some(later),
        invites: 1,
        answered_in_vain: false,
        is_silent: false,
        gaps: vec![Duration::from_millis(waited_ms)],
        loss: loss.map(str::to_owned),
    }
}

#[test]
fn there_are_72_rows_and_each_has_a_name_of_its_own() {
    let rows = experiments()
        .into_iter()
        .flat_map(|experiment| experiment.rows());
    let names: std::collections::BTreeSet<String> = rows.map(|row| row.id).collect();
    assert_eq!(names.len(), 72);
    assert!(names.contains("scenario-2-test-3-node-fenced"));
    assert!(names.contains("scenario-1-test-1-killed"));
}

#[test]
fn what_was_not_tried_by_others_has_no_figure_of_theirs() {
    let frozen = Experiment {
        failure: Failure::Frozen,
        ..experiment()
    };
    assert!(frozen.rows().iter().all(|row| row.published.is_none()));
    assert!(experiment().rows()[1].published.is_some());
}

#[test]
fn a_lost_call_is_one_that_the_user_dials_again_and_no_waiting_time() {
    let run = Run {
        noticed: noticed(100, 300, true),
        stories: vec![
            story(1, Phase::Dialling, 40, None),
            story(1, Phase::Dialling, 90, Some("stuck")),
            story(2, Phase::Answering, 20, None),
            story(3, Phase::Established, 250, None),
        ],
        owners: Some(1),
        was_ready: true,
    };
    let mut rows = experiment().rows();
    note(experiment(), &run, &mut rows);
    assert_eq!((rows[0].calls, rows[0].user_actions), (2, 1));
    assert_eq!(rows[0].lost, ["stuck"]);
    assert_eq!(rows[0].user.at_ms(1_000), Some(40.0));
    assert_eq!(rows[1].user.at_ms(1_000), Some(20.0));
    assert_eq!(rows[2].media_gap.at_ms(1_000), Some(250.0));
    assert!(rows[0].media_gap.is_empty());
    for row in &rows {
        assert_eq!(row.service.at_ms(1_000), Some(300.0));
        assert_eq!(row.owners_at_once_max, Some(1));
    }
}

#[test]
fn a_call_whose_sound_does_not_come_back_is_one_that_somebody_ends() {
    let silent = Story {
        is_silent: true,
        ..story(3, Phase::Established, 2_500, None)
    };
    let run = Run {
        noticed: noticed(100, 300, true),
        stories: vec![silent, story(3, Phase::Established, 100, None)],
        owners: Some(1),
        was_ready: true,
    };
    let mut rows = experiment().rows();
    note(experiment(), &run, &mut rows);
    assert_eq!((rows[2].user_actions, rows[2].lost.len()), (1, 0));
}

#[test]
fn of_both_the_one_counts_that_was_away_longer() {
    let noticed = noticed(100, 300, false);
    let of = |scenario| service(scenario, &noticed).map(|(gap, back)| (gap.as_millis(), back));
    assert_eq!(of(Scenario::Pbx), Some((300, false)));
    assert_eq!(of(Scenario::Edge), Some((100, true)));
    assert_eq!(of(Scenario::Both), Some((300, false)));
}
