//! Nothing is allocated in steady running, as a counting allocator sees it.

use allocation_counter::measure;
use transaction::{Event, Kind, Role, State, Time, Timers, Wheel, start, step, timer::delay_ms};

/// Runs `rounds` of 10 ms with `timers` new timers each, spread over the delays of a transaction.
fn run(wheel: &mut Wheel<u64>, now_ms: &mut u64, rounds: u64, timers: u64) -> usize {
    let mut expired = 0;
    for _ in 0..rounds {
        *now_ms += 10;
        let now = Time::from_ms(*now_ms);
        for key in 0..timers {
            let delay_ms = [500, 1_000, 4_000, 5_000, 32_000][key as usize % 5];
            wheel
                .insert(now.plus_ms(delay_ms), key)
                .expect("there is room");
        }
        assert!(wheel.next(now).is_some());
        expired += wheel.expire(now, usize::MAX, |deadline, _| assert!(deadline <= now));
    }
    expired
}

#[test]
fn a_warm_wheel_allocates_nothing() {
    let mut wheel = Wheel::new(Time::ZERO, 1 << 20);
    let mut now_ms = 0;
    run(&mut wheel, &mut now_ms, 4_000, 10);
    let len = wheel.len();
    let mut expired = 0;
    let info = measure(|| expired = run(&mut wheel, &mut now_ms, 10_000, 10));
    assert_eq!(info.count_total, 0);
    assert!(wheel.len().abs_diff(len) < 100, "as many come as go");
    assert!(expired > 99_000);
}

#[test]
fn a_reserved_wheel_allocates_nothing_from_the_first_timer() {
    let mut wheel = Wheel::new(Time::ZERO, 1 << 20);
    wheel.reserve(10_000);
    let info = measure(|| {
        for key in 0..10_000 {
            wheel
                .insert(Time::from_ms(key * 7), key)
                .expect("there is room");
        }
        while wheel.pop(Time::from_ms(1_000_000)).is_some() {}
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn stepping_a_machine_allocates_nothing() {
    let timers = Timers::default();
    let mut actions = 0;
    let info = measure(|| {
        for kind in Kind::ALL {
            actions += start(kind, false).actions.into_iter().count();
            for state in State::ALL {
                for event in Event::ALL {
                    if let Some(transition) = step(kind, state, event, false) {
                        actions += transition.actions.into_iter().count();
                    }
                }
                for role in Role::ALL {
                    actions +=
                        usize::from(delay_ms(&timers, kind, state, role, 0, false).is_some());
                }
            }
        }
    });
    assert_eq!(info.count_total, 0);
    assert!(actions > 100);
}
