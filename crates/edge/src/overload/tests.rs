use super::*;

/// A worker that handles so many messages a second, and what comes upon it.
struct Model {
    throttle: Throttle,
    limits: OverloadLimits,
    capacity_per_s: u64,
    queue: u64,
    queue_max: u64,
    now_ms: u64,
}

impl Model {
    fn new(capacity_per_s: u64, queue_max: u64) -> Model {
        Model {
            throttle: Throttle::default(),
            limits: OverloadLimits::default(),
            capacity_per_s,
            queue: 0,
            queue_max,
            now_ms: 0,
        }
    }

    /// Lets `offered_per_s` fresh requests come for a time, of which each let in costs ten units of work and each
    /// refused one; the part that was let in, in thousandths, and the longest lag in milliseconds.
    fn run(&mut self, offered_per_s: u64, for_ms: u64) -> (u64, u64) {
        let (mut offered, mut admitted, mut lag_ms_max) = (0, 0, 0);
        let mut fraction = 0;
        for _ in 0..for_ms {
            self.now_ms += 1;
            fraction += offered_per_s;
            let mut work = 0;
            while fraction >= 1_000 {
                fraction -= 1_000;
                offered += 1;
                let is_in = self.throttle.admits(Stage::Fresh);
                admitted += u64::from(is_in);
                work += if is_in { 10 } else { 1 };
            }
            self.queue += work;
            let dropped = self.queue.saturating_sub(self.queue_max);
            self.queue -= dropped;
            let handled = self.queue.min(self.capacity_per_s * 10 / 1_000);
            self.queue -= handled;
            let lag_us = self.queue * 1_000_000 / (self.capacity_per_s * 10);
            lag_ms_max = lag_ms_max.max(lag_us / 1_000);
            let now = Time::from_ms(self.now_ms);
            let load = Load {
                lag_us,
                handled,
                dropped,
            };
            self.throttle.observe(&self.limits, now, load);
        }
        (admitted * 1_000 / offered.max(1), lag_ms_max)
    }
}

#[test]
fn below_its_capacity_a_worker_refuses_nothing() {
    let mut model = Model::new(1_000, 1_000_000);
    assert_eq!(model.run(950, 60_000).0, 1_000);
    assert!(!model.throttle.is_refusing());
}

#[test]
fn at_three_times_its_capacity_a_worker_does_what_it_can_and_its_lag_stays_bounded() {
    let mut model = Model::new(1_000, 1_000_000);
    model.run(3_000, 10_000);
    let (share, lag_ms) = model.run(3_000, 60_000);
    // 1,000 of 3,000 are all that it could do if refusing cost nothing; refusing costs a tenth.
    assert!((200..=333).contains(&share), "{share}");
    assert!(lag_ms < 400, "{lag_ms}");
    // When it is over, everything gets in again within seconds.
    model.run(500, 5_000);
    assert_eq!(model.run(500, 1_000).0, 1_000);
}

#[test]
fn what_the_kernel_drops_counts_where_its_queue_is_too_short_for_a_lag() {
    let mut model = Model::new(1_000, 200);
    model.run(2_000, 10_000);
    assert!(model.throttle.is_refusing());
    let (share, _) = model.run(2_000, 60_000);
    assert!((330..=560).contains(&share), "{share}");
}

#[test]
fn one_late_round_refuses_nothing() {
    let mut throttle = Throttle::default();
    let limits = OverloadLimits::default();
    for round in 0..200u64 {
        let lag_us = if matches!(round, 50 | 150) {
            2_000_000
        } else {
            100
        };
        let load = Load {
            lag_us,
            handled: 10,
            dropped: 0,
        };
        // Busy at first, then woken now and then.
        let now_ms = if round < 100 {
            round * 20
        } else {
            round * 5_000
        };
        throttle.observe(&limits, Time::from_ms(now_ms), load);
        assert!(!throttle.is_refusing());
    }
}

/// A throttle that was brought down to about `permille`.
fn brought_down(permille: u32) -> Throttle {
    let mut throttle = Throttle::default();
    let limits = OverloadLimits::default();
    let mut now_ms = 0;
    while throttle.share_permille() > permille {
        now_ms += INTERVAL_MS / 2;
        let load = Load {
            lag_us: 52_000,
            handled: 10,
            dropped: 0,
        };
        throttle.observe(&limits, Time::from_ms(now_ms), load);
    }
    throttle
}

fn admitted(throttle: &mut Throttle, stage: Stage) -> usize {
    (0..1_000).filter(|_| throttle.admits(stage)).count()
}

#[test]
fn who_answers_a_challenge_gets_in_before_who_has_not_begun() {
    let mut throttle = brought_down(750);
    assert_eq!(admitted(&mut throttle, Stage::Challenged), 1_000);
    let fresh = admitted(&mut throttle, Stage::Fresh);
    assert!((650..=750).contains(&fresh), "{fresh}");
    let mut throttle = brought_down(250);
    let challenged = admitted(&mut throttle, Stage::Challenged);
    assert!((430..=500).contains(&challenged), "{challenged}");
    let fresh = admitted(&mut throttle, Stage::Fresh);
    assert!((210..=250).contains(&fresh), "{fresh}");
}

#[test]
fn refusals_are_dealt_out_evenly() {
    let mut throttle = brought_down(750);
    let mut refused = 0;
    for _ in 0..100 {
        refused = match throttle.admits(Stage::Fresh) {
            true => 0,
            false => refused + 1,
        };
        assert!(refused < 2);
    }
}

#[test]
fn the_share_never_falls_to_nothing_and_rises_when_the_control_is_turned_off() {
    let mut throttle = brought_down(16);
    let limits = OverloadLimits::default();
    let worst = Load {
        lag_us: 60_000_000,
        handled: 1,
        dropped: 1_000,
    };
    for step in 0..100 {
        throttle.observe(
            &limits,
            Time::from_ms(1_000_000 + step * INTERVAL_MS),
            worst,
        );
    }
    assert!(admitted(&mut throttle, Stage::Fresh) > 0);
    let off = OverloadLimits {
        lag_ms: 0,
        ..limits
    };
    let rounds = (0..10).map(|round| Time::from_ms(2_000_000 + round * INTERVAL_MS));
    let changes = rounds.filter(|now| throttle.observe(&off, *now, worst));
    assert_eq!(changes.count(), 1);
    assert_eq!(admitted(&mut throttle, Stage::Fresh), 1_000);
}

#[test]
fn calls_and_registrations_a_second_are_counted_apart() {
    let mut gate = Gate::new(1);
    let limits = OverloadLimits {
        calls_per_s: 10,
        registrations_per_s: 3,
        ..OverloadLimits::default()
    };
    let now = Time::from_ms(5_000);
    assert_eq!(
        (0..50).filter(|_| gate.admits_call(&limits, now)).count(),
        10
    );
    let registrations = (0..50).filter(|_| gate.admits_registration(&limits, now));
    assert_eq!(registrations.count(), 3);
    let later = Time::from_ms(5_500);
    assert_eq!(
        (0..50).filter(|_| gate.admits_call(&limits, later)).count(),
        5
    );
    let none = OverloadLimits::default();
    assert_eq!(
        (0..50).filter(|_| gate.admits_call(&none, later)).count(),
        50
    );
}

#[test]
fn calls_of_all_threads_are_added_up() {
    let mut gate = Gate::new(3);
    gate.note_calls(0, 10);
    gate.note_calls(2, 5);
    assert_eq!(gate.note_calls(0, 7), 12);
    assert_eq!(gate.note_calls(200, 7), 12);
}

#[test]
fn after_a_rest_nothing_is_refused() {
    let mut throttle = brought_down(200);
    let since_ms = throttle.since_ms;
    assert!(throttle.is_refusing_at(Time::from_ms(since_ms + 1_000)));
    assert!(!throttle.is_refusing_at(Time::from_ms(since_ms + REST_MS + 1)));
    assert_eq!(admitted(&mut throttle, Stage::Fresh), 1_000);
}
