use std::collections::BTreeMap;

use super::{MOVES_PER_POP, REACH_TICKS, TICK_MS, Wheel};
use crate::error::Error;
use crate::time::Time;

const TIMERS_MAX: u32 = 1 << 20;

/// A seeded source of numbers (splitmix64), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

fn at(ms: u64) -> Time {
    Time::from_ms(ms)
}

fn wheel(now_ms: u64) -> Wheel<u64> {
    Wheel::new(at(now_ms), TIMERS_MAX)
}

fn expired(wheel: &mut Wheel<u64>, now_ms: u64) -> Vec<(u64, u64)> {
    let mut all = Vec::new();
    wheel.expire(at(now_ms), usize::MAX, |deadline, key| {
        all.push((deadline.as_ms(), key))
    });
    all
}

#[test]
fn a_timer_is_never_early_and_at_most_one_tick_late() {
    for deadline_ms in 1_000..1_000 + 3 * TICK_MS {
        let mut wheel = wheel(1_000);
        wheel.insert(at(deadline_ms), 7).expect("there is room");
        let mut now_ms = 1_000;
        while expired(&mut wheel, now_ms).is_empty() {
            now_ms += 1;
        }
        assert!(now_ms >= deadline_ms, "early: {deadline_ms} at {now_ms}");
        assert!(
            now_ms < deadline_ms + TICK_MS,
            "late: {deadline_ms} at {now_ms}"
        );
        assert!(wheel.is_empty());
    }
}

#[test]
fn a_deadline_in_the_past_comes_with_the_next_tick() {
    let mut wheel = wheel(1_000);
    assert_eq!(expired(&mut wheel, 1_000), []);
    wheel.insert(at(3), 7).expect("there is room");
    assert_eq!(expired(&mut wheel, 1_000 + TICK_MS), [(3, 7)]);
}

#[test]
fn timers_come_back_in_order_of_their_ticks() {
    let mut wheel = wheel(0);
    let mut deadlines = [64_000, 8, 500, 32_000, 3_600_000, 16, 4_000, 86_400_000];
    for deadline_ms in deadlines {
        wheel.insert(at(deadline_ms), 0).expect("there is room");
    }
    deadlines.sort_unstable();
    let came: Vec<u64> = expired(&mut wheel, 100_000_000)
        .iter()
        .map(|timer| timer.0)
        .collect();
    assert_eq!(came, deadlines);
}

#[test]
fn the_limit_holds_back_the_rest_until_the_next_call() {
    let mut wheel = wheel(0);
    for key in 0..1_000 {
        wheel.insert(at(40_000 + key), key).expect("there is room");
    }
    let now = at(50_000);
    let mut came = Vec::new();
    let mut calls = 0;
    while wheel.next(now).is_some() {
        assert_eq!(wheel.next(now), Some(now), "there is work left, so at once");
        let count = wheel.expire(now, 100, |_, key| came.push(key));
        assert!(count <= 100);
        calls += 1;
        assert!(calls <= 20, "each call gets on");
    }
    assert_eq!(came, (0..1_000).collect::<Vec<_>>());
    assert!(calls >= 10);
    assert!(wheel.is_empty());
}

#[test]
fn moving_timers_is_bounded_in_a_pop() {
    let mut wheel = wheel(0);
    let timers = 3 * MOVES_PER_POP as u64;
    for key in 0..timers {
        wheel.insert(at(60_000), key).expect("there is room");
    }
    let now = at(60_000);
    let (mut came, mut calls) = (0, 0);
    while wheel.next(now).is_some() {
        came += u64::from(wheel.pop(now).is_some());
        calls += 1;
    }
    assert_eq!(came, timers);
    assert!(calls > timers, "some calls moved timers and found none");
    assert!(wheel.is_empty());
}

#[test]
fn a_deadline_beyond_the_reach_of_the_wheel_is_kept() {
    let reach_ms = REACH_TICKS * TICK_MS;
    let mut wheel = wheel(0);
    wheel
        .insert(at(reach_ms * 3 + 8), 7)
        .expect("there is room");
    wheel.insert(Time::MAX, 9).expect("there is room");
    assert_eq!(expired(&mut wheel, reach_ms * 3), []);
    assert_eq!(
        expired(&mut wheel, reach_ms * 3 + 8),
        [(reach_ms * 3 + 8, 7)]
    );
    assert_eq!(wheel.len(), 1, "never has not come");
}

#[test]
fn a_full_wheel_says_so_and_takes_timers_again_when_one_has_gone() {
    let mut wheel = Wheel::new(at(0), 2);
    wheel.insert(at(8), 1).expect("there is room");
    wheel.insert(at(800), 2).expect("there is room");
    assert_eq!(
        wheel.insert(at(8), 3),
        Err(Error::WheelFull { timers_max: 2 })
    );
    assert_eq!(wheel.len(), 2);
    assert_eq!(wheel.pop(at(8)), Some((at(8), 1)));
    assert_eq!(wheel.insert(at(16), 3), Ok(()));
    assert_eq!(expired_keys(&mut wheel, at(800)), [3, 2]);
}

fn expired_keys(wheel: &mut Wheel<i32>, now: Time) -> Vec<i32> {
    let mut keys = Vec::new();
    while let Some((_, key)) = wheel.pop(now) {
        keys.push(key);
    }
    keys
}

#[test]
fn a_time_before_the_last_one_changes_nothing() {
    let mut wheel = wheel(0);
    assert_eq!(expired(&mut wheel, 5_000), []);
    assert_eq!(expired(&mut wheel, 1_000), []);
    wheel.insert(at(2_000), 7).expect("there is room");
    assert_eq!(expired(&mut wheel, 5_000), [], "the tick of 5,000 is done");
    assert_eq!(expired(&mut wheel, 5_000 + TICK_MS), [(2_000, 7)]);
}

#[test]
fn an_empty_wheel_asks_for_no_call() {
    assert_eq!(wheel(5).next(at(5)), None);
}

#[test]
fn reserved_room_is_room_for_more_than_what_is_there() {
    let mut wheel = wheel(0);
    wheel.insert(at(8), 1).expect("there is room");
    wheel.reserve(100);
    let capacity = wheel.entries.capacity();
    for key in 0..100 {
        wheel.insert(at(8), key).expect("there is room");
    }
    assert_eq!(wheel.entries.capacity(), capacity);
}

/// The wheel as it is meant: timers by tick, in the order of insertion when ticks are equal.
#[derive(Default)]
struct Model {
    timers: BTreeMap<(u64, u64), u64>,
}

impl Model {
    fn due(&mut self, now_ms: u64) -> Vec<(u64, u64)> {
        let later = self.timers.split_off(&(now_ms / TICK_MS + 1, 0));
        let due = std::mem::replace(&mut self.timers, later);
        due.into_iter()
            .map(|((tick, key), _)| (tick, key))
            .collect()
    }

    fn first_tick(&self) -> Option<u64> {
        self.timers.keys().next().map(|&(tick, _)| tick)
    }
}

/// How far ahead deadlines lie and how far time jumps, in milliseconds.
const SPANS_MS: [u64; 7] = [
    20,
    520,
    4_200,
    33_000,
    2_200_000,
    140_000_000,
    9_000_000_000,
];

fn wheel_does_as_the_model(seed: u64) {
    let mut random = Random(seed);
    let mut now_ms = random.below(1 << 40);
    let mut wheel = wheel(now_ms);
    let mut model = Model::default();
    let mut key = 0;
    let mut done_tick = 0;
    for _ in 0..400 {
        for _ in 0..random.below(6) {
            let span_ms = SPANS_MS[random.below(SPANS_MS.len() as u64) as usize];
            let deadline_ms = now_ms + random.below(span_ms);
            wheel.insert(at(deadline_ms), key).expect("there is room");
            let tick = deadline_ms.div_ceil(TICK_MS).max(done_tick);
            model.timers.insert((tick, key), deadline_ms);
            key += 1;
        }
        let asked = wheel.next(at(now_ms)).map(|time| time.as_ms() / TICK_MS);
        match (asked, model.first_tick()) {
            (Some(asked), Some(first)) => assert!(asked <= first.max(now_ms / TICK_MS)),
            (asked, first) => assert_eq!(asked, first),
        }
        let span_ms = SPANS_MS[random.below(SPANS_MS.len() as u64) as usize];
        now_ms += random.below(span_ms);
        let limit = 1 + random.below(64) as usize;
        let mut came = Vec::new();
        while wheel.next(at(now_ms)) == Some(at(now_ms)) {
            let before = came.len();
            wheel.expire(at(now_ms), limit, |deadline, key| {
                came.push((deadline, key))
            });
            assert!(came.len() - before <= limit);
        }
        wheel.expire(at(now_ms), limit, |_, _| unreachable!("nothing is due"));
        assert!(
            came.iter().all(|&(deadline, _)| deadline <= at(now_ms)),
            "early"
        );
        let mut ticks: Vec<(u64, u64)> = Vec::new();
        for &(deadline, key) in &came {
            let tick = model
                .timers
                .keys()
                .find(|timer| timer.1 == key)
                .expect("known")
                .0;
            assert!(tick >= deadline.as_ms() / TICK_MS);
            ticks.push((tick, key));
        }
        assert!(ticks.is_sorted_by_key(|timer| timer.0), "out of order");
        ticks.sort_unstable();
        assert_eq!(ticks, model.due(now_ms), "seed {seed}");
        assert_eq!(wheel.len(), model.timers.len());
        done_tick = now_ms / TICK_MS + 1;
    }
    expired(&mut wheel, now_ms + 10_000_000_000);
    assert!(wheel.is_empty());
}

#[test]
fn the_wheel_does_as_a_sorted_map() {
    for seed in 0..60 {
        wheel_does_as_the_model(seed);
    }
}
