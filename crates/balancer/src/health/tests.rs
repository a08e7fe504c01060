use super::*;

const SETTINGS: HealthSettings = HealthSettings {
    probe_interval_ms: 250,
    probe_timeout_ms: 150,
    misses_out: 3,
    answers_back: 2,
    window_ms: 10_000,
    failures_out: 5,
    failures_permille: 500,
    exile_ms: 2_000,
    exile_max_ms: 120_000,
    forgive_ms: 60_000,
    retry_after_max_s: 300,
};

struct Peer {
    health: Health,
    random: Random,
    now: Time,
    /// Whether it answers probes, at once.
    answers: bool,
}

impl Peer {
    fn new(settings: HealthSettings) -> Self {
        let now = Time::from_ms(1_000_000);
        let mut random = Random::new(1);
        Self {
            health: Health::new(settings, now, &mut random),
            random,
            now,
            answers: true,
        }
    }

    /// Lets time pass until something changes, at most `ms`.
    fn run(&mut self, ms: u64) -> Change {
        let until = self.now.plus_ms(ms);
        loop {
            let wake = self.health.wake();
            if wake > until {
                self.now = until;
                return None;
            }
            self.now = self.now.max(wake);
            let mut change = self.health.poll(self.now);
            if change.is_none()
                && let Some(number) = self.health.probe(self.now, &mut self.random)
                && self.answers
            {
                change = self.health.probe_answered(number, self.now);
            }
            if change.is_some() {
                return change;
            }
        }
    }

    /// Dies, and answers again when it is out; how long it stayed out after that, ms.
    fn flap(&mut self) -> u64 {
        self.answers = false;
        let (action, _) = self.run(10_000).expect("it dies");
        assert_eq!(action, Action::TakeOut);
        self.answers = true;
        let from = self.now;
        let (action, _) = self.run(1_000_000).expect("it comes back");
        assert_eq!(action, Action::BringBack);
        self.now.ms_since(from)
    }
}

#[test]
fn the_table_is_as_it_was_decided() {
    use core::fmt::Write;
    let mut text = String::new();
    for stage in Stage::ALL {
        for input in Input::ALL {
            let (next, action) = stage.step(input);
            writeln!(text, "{stage:?} {input:?}: {action:?} -> {next:?}").expect("a string");
        }
    }
    assert_eq!(
        text,
        "\
In Alive: Keep -> In
In AliveEnough: Keep -> In
In Missed: Keep -> In
In MissedEnough: TakeOut -> Out
In Unreachable: Check -> Checking
In Failing: TakeOut -> Out
Checking Alive: Restore -> In
Checking AliveEnough: Restore -> In
Checking Missed: Confirm -> Out
Checking MissedEnough: Confirm -> Out
Checking Unreachable: Keep -> Checking
Checking Failing: Confirm -> Out
Out Alive: Keep -> Out
Out AliveEnough: BringBack -> In
Out Missed: Keep -> Out
Out MissedEnough: Keep -> Out
Out Unreachable: Keep -> Out
Out Failing: Keep -> Out
"
    );
}

#[test]
fn a_target_that_answers_stays_in() {
    let mut peer = Peer::new(SETTINGS);
    assert_eq!(peer.run(600_000), None);
    assert_eq!(peer.health.stage, Stage::In);
}

#[test]
fn a_dead_target_is_out_within_750_ms_of_its_last_answer() {
    for run in 0..200 {
        let mut peer = Peer::new(SETTINGS);
        assert_eq!(peer.run(10_000 + run * 7), None);
        peer.answers = false;
        let from = peer.now;
        let change = peer.run(10_000);
        let reason = Reason::NoReply { misses: 3 };
        assert_eq!(change, Some((Action::TakeOut, reason)));
        assert!(
            peer.now.ms_since(from) <= 740,
            "{}",
            peer.now.ms_since(from)
        );
    }
}

#[test]
fn a_target_that_was_never_there_is_in_service_with_its_first_answer() {
    let mut peer = Peer::new(SETTINGS);
    peer.answers = false;
    let (action, _) = peer.run(10_000).expect("nobody is there");
    assert_eq!(action, Action::TakeOut);
    assert_eq!(peer.run(5_000), None);
    peer.answers = true;
    let from = peer.now;
    let change = peer.run(10_000);
    assert_eq!(
        change,
        Some((Action::BringBack, Reason::Answers { answers: 1 }))
    );
    assert!(peer.now.ms_since(from) <= 300);
    // From now on it is one that can fail.
    assert!(peer.flap() > 250);
}

#[test]
fn a_late_answer_is_a_sign_of_life() {
    let mut peer = Peer::new(SETTINGS);
    peer.answers = false;
    for _ in 0..200 {
        // Answers come after 290 ms: probes are given up, and no three in a row.
        let number = loop {
            peer.now = peer.now.max(peer.health.wake());
            assert_eq!(peer.health.poll(peer.now), None);
            if let Some(number) = peer.health.probe(peer.now, &mut peer.random) {
                break number;
            }
        };
        assert_eq!(peer.run(290), None);
        assert_eq!(peer.health.probe_answered(number, peer.now), None);
    }
    assert!(peer.health.rtt_ms >= 200);
}

#[test]
fn the_first_time_out_ends_with_two_answers_and_later_ones_grow() {
    let mut peer = Peer::new(SETTINGS);
    assert_eq!(peer.run(10_000), None);
    assert!(peer.flap() < 800);
    let mut last = 0;
    for expected in [
        2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 120_000, 120_000,
    ] {
        let took = peer.flap();
        assert!(took >= last && took.abs_diff(expected) < 400, "{took}");
        last = took;
    }
}

#[test]
fn good_time_is_forgiving() {
    let mut peer = Peer::new(SETTINGS);
    for _ in 0..4 {
        peer.flap();
    }
    assert_eq!(peer.health.flaps, 4);
    assert_eq!(peer.run(3 * 60_000), None);
    let took = peer.flap();
    assert_eq!(peer.health.flaps, 2);
    assert!(took.abs_diff(2_000) < 400, "{took}");
    assert_eq!(peer.run(3 * 60_000), None);
    assert!(peer.flap() < 800);
}

#[test]
fn traffic_proves_life_when_probes_are_missed() {
    let mut peer = Peer::new(SETTINGS);
    peer.answers = false;
    for _ in 0..1_000 {
        assert_eq!(peer.run(200), None);
        assert_eq!(peer.health.call_answered(200, 5, peer.now), None);
    }
    assert_eq!(peer.health.stage, Stage::In);
    assert!(peer.run(1_000).is_some(), "without calls the probes count");
    assert_eq!(peer.health.call_answered(200, 5, peer.now), None);
    let change = peer.health.call_answered(200, 5, peer.now);
    assert_eq!(
        change,
        Some((Action::BringBack, Reason::Answers { answers: 2 }))
    );
}

#[test]
fn calls_without_a_reply_count_as_misses() {
    let mut peer = Peer::new(SETTINGS);
    assert_eq!(peer.run(5_000), None);
    assert_eq!(peer.health.call_unanswered(peer.now), None);
    assert_eq!(peer.health.wake(), peer.now, "a probe leaves at once");
    assert_eq!(peer.health.call_unanswered(peer.now), None);
    let change = peer.health.call_unanswered(peer.now);
    assert_eq!(
        change,
        Some((Action::TakeOut, Reason::NoReply { misses: 3 }))
    );
}

#[test]
fn who_answers_probes_and_fails_calls_is_out_for_a_time() {
    let mut peer = Peer::new(SETTINGS);
    for n in 0..4 {
        assert_eq!(peer.run(300), None);
        assert_eq!(
            peer.health
                .call_answered(if n == 0 { 503 } else { 404 }, 5, peer.now),
            None
        );
    }
    // One of four failed; four more failures are five of eight.
    for _ in 0..3 {
        assert_eq!(peer.run(300), None);
        assert_eq!(peer.health.call_answered(500, 5, peer.now), None);
    }
    let change = peer.health.call_answered(500, 5, peer.now);
    let reason = Reason::CallsFailed { failed: 5, of: 8 };
    assert_eq!(change, Some((Action::TakeOut, reason)));
    let from = peer.now;
    assert_eq!(
        peer.run(10_000).map(|change| change.0),
        Some(Action::BringBack)
    );
    assert!(peer.now.ms_since(from) >= 2_000);
}

#[test]
fn calls_that_time_out_take_out_who_answers_probes() {
    let mut peer = Peer::new(SETTINGS);
    let mut changes = 0;
    for _ in 0..5 {
        assert_eq!(peer.run(1_000), None);
        changes += u32::from(peer.health.call_unanswered(peer.now).is_some());
    }
    assert_eq!((changes, peer.health.stage), (1, Stage::Out));
}

#[test]
fn a_provisional_response_shows_life_and_excuses_no_failure() {
    let mut peer = Peer::new(SETTINGS);
    let mut change = None;
    for n in 0..5 {
        assert_eq!((change, n <= 4), (None, true));
        assert_eq!(peer.health.call_answered(100, 5, peer.now), None);
        change = peer.health.call_answered(500, 5, peer.now);
    }
    let reason = Reason::CallsFailed { failed: 5, of: 5 };
    assert_eq!(change, Some((Action::TakeOut, reason)));
}

#[test]
fn few_failures_among_many_calls_are_borne() {
    let mut peer = Peer::new(SETTINGS);
    for n in 0..10_000 {
        assert_eq!(peer.run(10), None);
        assert_eq!(
            peer.health
                .call_answered(if n % 5 == 0 { 504 } else { 200 }, 5, peer.now),
            None
        );
    }
}

#[test]
fn nobody_there_is_checked_by_one_probe() {
    let mut peer = Peer::new(SETTINGS);
    assert_eq!(peer.run(5_000), None);
    let check = Some((Action::Check, Reason::Unreachable));
    assert_eq!(peer.health.unreachable(peer.now), check);
    assert_eq!(peer.health.unreachable(peer.now), None);
    let change = peer.run(0);
    assert_eq!(change, Some((Action::Restore, Reason::StillThere)));
    assert_eq!(peer.health.flaps, 0);
    assert_eq!(peer.health.unreachable(peer.now), check);
    peer.answers = false;
    assert_eq!(
        peer.run(1_000).map(|change| change.0),
        Some(Action::Confirm)
    );
    assert_eq!(peer.health.flaps, 1);
    assert_eq!(peer.run(60_000), None);
}

#[test]
fn an_answer_to_an_older_probe_denies_nothing() {
    let mut peer = Peer::new(SETTINGS);
    peer.now = peer.health.wake();
    let number = peer.health.probe(peer.now, &mut peer.random).expect("due");
    assert!(peer.health.unreachable(peer.now).is_some());
    assert_eq!(peer.health.probe_answered(number, peer.now), None);
    assert_eq!(peer.health.stage, Stage::Checking);
}

#[test]
fn without_probes_a_target_is_tried_again_after_its_time_out() {
    let settings = HealthSettings {
        probe_interval_ms: 0,
        ..SETTINGS
    };
    let mut peer = Peer::new(settings);
    assert_eq!(peer.health.wake(), Time::MAX);
    assert_eq!(
        peer.health.unreachable(peer.now),
        Some((Action::TakeOut, Reason::Unreachable))
    );
    let from = peer.now;
    assert_eq!(peer.run(10_000), Some((Action::BringBack, Reason::Trial)));
    assert_eq!(peer.now.ms_since(from), 2_000);
    assert!(peer.health.unreachable(peer.now).is_some());
    assert_eq!(peer.run(3_999), None);
    assert_eq!(peer.run(1), Some((Action::BringBack, Reason::Trial)));
}
