use super::*;

fn row() -> Row {
    let mut row = Row::new(
        "scenario-2-test-3-node-fenced".to_owned(),
        "<established>".to_owned(),
    );
    row.runs = 2;
    row.calls = 8;
    row.user = [80, 90].map(Duration::from_millis).into_iter().collect();
    row.service = [200, 300].map(Duration::from_millis).into_iter().collect();
    row.owners_at_once_max = Some(1);
    row.published = published_contingency(2, 3, true);
    row
}

fn faults(change: impl FnOnce(&mut Row)) -> Vec<String> {
    let mut row = row();
    change(&mut row);
    row.faults(&Limits::of(1.0))
}

#[test]
fn a_row_within_its_limits_is_good() {
    assert_eq!(faults(|_| {}), Vec::<String>::new());
}

#[test]
fn each_thing_that_goes_wrong_makes_a_row_red() {
    assert_eq!(faults(|row| row.runs = 0), ["no run was made"]);
    assert_eq!(
        faults(|row| row.lost.push("stuck".to_owned())),
        ["1 of 8 calls lost"]
    );
    assert_eq!(
        faults(|row| row.user_actions = 3),
        ["users had to act 3 times"]
    );
    assert_eq!(
        faults(|row| row.never_back = 1),
        ["no service after 1 runs"]
    );
    assert_eq!(
        faults(|row| row.owners_at_once_max = Some(2)),
        ["2 owners at once"]
    );
    assert_eq!(
        faults(|row| row.service.add(Duration::from_millis(501))),
        ["no service for 501 ms (p99), limit 500 ms"]
    );
    assert_eq!(
        faults(|row| row.user.add(Duration::from_secs(4))),
        ["users waited 4000 ms (p99), limit 1000 ms"]
    );
    assert_eq!(
        faults(|row| row.media_gap.add(Duration::from_secs(2))),
        ["silence of 2000 ms (p99), limit 500 ms"]
    );
}

#[test]
fn slack_makes_limits_of_time_wider_and_no_others() {
    let mut row = row();
    row.service.add(Duration::from_millis(900));
    assert!(row.faults(&Limits::of(2.0)).is_empty());
    row.lost.push("stuck".to_owned());
    assert_eq!(row.faults(&Limits::of(2.0)).len(), 1);
}

#[test]
fn the_json_of_a_row_has_what_was_published_beside_what_was_seen() {
    let json = row().json(&Limits::of(1.0));
    assert_eq!(json["id"], "scenario-2-test-3-node-fenced");
    assert_eq!(json["user_action"], false);
    assert_eq!(json["service_ms"]["p99"], 300.0);
    assert_eq!(json["media_gap_ms"], Value::Null);
    assert_eq!(json["paper"]["service_ms"], 7_400.0);
    assert_eq!(json["passed"], true);
}

#[test]
fn what_was_not_published_is_null() {
    assert_eq!(published_contingency(3, 1, false), None);
    let mut row = row();
    row.published = None;
    assert_eq!(row.json(&Limits::of(1.0))["paper"], Value::Null);
}

fn stress() -> StressRow {
    StressRow {
        id: "stress-invite-proposed-285".to_owned(),
        count: Count {
            attempted: 1_000,
            succeeded: 1_000,
            failed: 0,
        },
        span_s: 5.0,
        retransmissions_max: Some(0),
        published: vec![("failed".to_owned(), "0 %".to_owned())],
        series: vec![Series {
            name: "pbx1".to_owned(),
            samples: (0..5)
                .map(|at| Sample {
                    at_s: f64::from(at),
                    active: 10,
                    processed: 20,
                })
                .collect(),
        }],
        ..StressRow::default()
    }
}

#[test]
fn stress_with_failures_resendings_or_a_late_generator_is_red() {
    assert!(stress().faults().is_empty());
    let mut row = stress();
    row.count.failed = 1;
    row.failures.insert("503".to_owned(), 1);
    let failed = "1 of 1000 failed (503 1), 200/s were carried";
    assert_eq!(row.faults(), [failed]);
    row.busy_percent = Some(99.0);
    assert!(row.faults()[1].contains("processors were full (99 %)"));
    row.busy_percent = Some(50.0);
    row.failed_max_permille = 1;
    assert!(row.faults().is_empty());
    row.retransmissions = 7;
    row.is_generator_late = true;
    assert_eq!(
        row.faults(),
        ["7 sent again", "the generator was the limit"]
    );
    row.count = Count::default();
    assert_eq!(row.faults()[0], "nothing was begun");
}

#[test]
fn sound_that_is_lost_silent_or_wrong_makes_its_row_red() {
    let sound = Sound {
        streams: 100,
        received: 5_000,
        sent: 5_000,
        gap_ms: [21.0, 40.0, 60.0],
        ..Sound::default()
    };
    let faults = |sound| {
        let row = StressRow {
            sound: Some(sound),
            ..stress()
        };
        row.faults().len()
    };
    assert_eq!(faults(sound), 0);
    assert_eq!(faults(Sound { silent: 1, ..sound }), 1);
    assert_eq!(
        faults(Sound {
            corrupt: 1,
            ..sound
        }),
        1
    );
    assert_eq!(faults(Sound { lost: 6, ..sound }), 1);
    assert_eq!(
        faults(Sound {
            gap_ms: [21.0, 400.0, 600.0],
            ..sound
        }),
        1
    );
    assert_eq!(faults(Sound::default()), 1);
    // Where nodes fail, sound is away meanwhile; that none failed is the row's fault then.
    let mut row = stress();
    row.node_failures = Some(0);
    assert_eq!(row.faults(), ["no node failed"]);
    row.sound = Some(Sound { lost: 60, ..sound });
    row.node_failures = Some(4);
    assert!(row.faults().is_empty());
}

fn report() -> Report {
    let mut bad = row();
    bad.id = "scenario-1-test-1-killed".to_owned();
    bad.lost.push("Dialling <x> & more".to_owned());
    Report {
        machine: vec![("processors".to_owned(), "2".to_owned())],
        rows: vec![row(), bad],
        stress: vec![stress()],
        absent: vec![(
            "scenario-1-test-1-partitioned".to_owned(),
            "loopback".to_owned(),
        )],
    }
}

#[test]
fn a_report_counts_what_failed() {
    let (report, limits) = (report(), Limits::of(1.0));
    assert_eq!(report.failed(&limits), 1);
    let json = report.json(&limits);
    assert_eq!(json["failed"], 1);
    assert_eq!(json["rows"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["rows"][2]["paper"]["failed"], "0 %");
    assert_eq!(json["machine"]["processors"], "2");
}

#[test]
fn the_page_stands_alone_and_shows_what_failed_in_red() {
    let page = page(&report(), &Limits::of(1.0));
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains("<tr class=\"bad\">"));
    assert!(page.contains("Dialling &lt;x&gt; &amp; more"), "{page}");
    assert!(page.contains("<svg"));
    for outside in ["<script", "<link", "@import", "src=", "href=\"http"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn a_report_of_nothing_is_a_page_too() {
    let page = page(&Report::default(), &Limits::of(1.0));
    assert!(page.contains("</html>"));
}
