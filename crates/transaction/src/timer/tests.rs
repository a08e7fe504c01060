use super::{
    BASE_TIMER_MAX_MS, Role, TIMER_C_MAX_MS, TIMER_C_MIN_MS, TimerName, Timers, delay_ms,
    interval_ms, timer,
};
use crate::error::Error;
use crate::machine::{Kind, State};
use crate::time::Time;

fn intervals_ms(name: TimerName, attempts: u32) -> Vec<u64> {
    let timers = Timers::default();
    (0..attempts)
        .map(|attempt| interval_ms(&timers, name, attempt, false))
        .collect()
}

/// RFC 3261 17.1.1.2.
#[test]
fn timer_a_doubles_without_a_cap() {
    let expected = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000];
    assert_eq!(intervals_ms(TimerName::A, 7), expected);
}

/// RFC 3261 17.1.2.2 (E) and 17.2.1 (G).
#[test]
fn timers_e_and_g_double_up_to_t2() {
    let expected = [500, 1_000, 2_000, 4_000, 4_000, 4_000];
    assert_eq!(intervals_ms(TimerName::E, 6), expected);
    assert_eq!(intervals_ms(TimerName::G, 6), expected);
}

/// RFC 3261 17.1.2.2.
#[test]
fn timer_e_is_t2_once_a_provisional_response_is_there() {
    let delay = |state| {
        delay_ms(
            &Timers::default(),
            Kind::NonInviteClient,
            state,
            Role::Retransmit,
            0,
            false,
        )
    };
    assert_eq!(delay(State::Trying), Some(500));
    assert_eq!(delay(State::Proceeding), Some(4_000));
    assert_eq!(delay(State::Completed), None);
}

/// RFC 3261 table 4 and RFC 6026 8.11.
#[test]
fn b_f_h_l_and_m_are_64_t1_on_every_transport() {
    for name in [
        TimerName::B,
        TimerName::F,
        TimerName::H,
        TimerName::L,
        TimerName::M,
    ] {
        for reliable in [false, true] {
            assert_eq!(interval_ms(&Timers::default(), name, 0, reliable), 32_000);
        }
    }
}

/// RFC 3261 table 4.
#[test]
fn a_reliable_transport_runs_no_a_e_g_and_waits_for_no_copies() {
    use TimerName::{A, D, E, G, I, J, K};
    for name in [A, D, E, G, I, J, K] {
        assert_eq!(interval_ms(&Timers::default(), name, 0, true), 0);
    }
}

/// RFC 3261 table 4.
#[test]
fn an_unreliable_transport_waits_for_copies() {
    let timers = Timers::default();
    let interval = |name| interval_ms(&timers, name, 0, false);
    assert_eq!(interval(TimerName::D), 32_000);
    assert_eq!(interval(TimerName::I), 5_000);
    assert_eq!(interval(TimerName::J), 32_000);
    assert_eq!(interval(TimerName::K), 5_000);
}

/// RFC 3261 17.1.1.2.
#[test]
fn timer_d_is_at_least_32_s_and_as_long_as_timer_h() {
    let short = Timers::new(100, 1_000, 1_000).expect("in range");
    assert_eq!(interval_ms(&short, TimerName::D, 0, false), 32_000);
    let long = Timers::new(1_000, 4_000, 5_000).expect("in range");
    let h_ms = interval_ms(&long, TimerName::H, 0, false);
    assert_eq!(interval_ms(&long, TimerName::D, 0, false), h_ms);
}

/// RFC 3261 16.6 step 11.
#[test]
fn timer_c_is_longer_than_three_minutes() {
    assert!(interval_ms(&Timers::default(), TimerName::C, 0, false) > 180_000);
    let timers = Timers::default();
    assert!(timers.with_timer_c(TIMER_C_MIN_MS).is_err());
    assert!(timers.with_timer_c(TIMER_C_MAX_MS + 1).is_err());
    assert_eq!(
        timers.with_timer_c(TIMER_C_MIN_MS + 1).map(|t| t.c_ms()),
        Ok(180_001)
    );
}

#[test]
fn base_values_out_of_range_are_named() {
    let error = Error::TimerOutOfRange {
        name: "T2",
        value_ms: 400,
        min_ms: 500,
        max_ms: BASE_TIMER_MAX_MS,
    };
    assert_eq!(Timers::new(500, 400, 5_000), Err(error));
    assert!(Timers::new(0, 4_000, 5_000).is_err());
    assert!(Timers::new(500, BASE_TIMER_MAX_MS + 1, 5_000).is_err());
    assert!(Timers::new(500, 4_000, 0).is_err());
    assert_eq!(Timers::new(500, 4_000, 5_000), Ok(Timers::default()));
}

#[test]
fn no_number_of_attempts_overflows() {
    let slowest = Timers::new(BASE_TIMER_MAX_MS, BASE_TIMER_MAX_MS, 1).expect("in range");
    let interval = interval_ms(&slowest, TimerName::A, u32::MAX, false);
    assert!(interval > slowest.sixty_four_t1_ms(), "timer B comes first");
    assert_eq!(
        interval_ms(&slowest, TimerName::E, u32::MAX, false),
        BASE_TIMER_MAX_MS
    );
}

/// RFC 3261 17.1.1.2: seven requests in 32 s when nothing answers.
#[test]
fn an_unanswered_invite_is_sent_seven_times() {
    let sent_ms: Vec<u64> = intervals_ms(TimerName::A, 7)
        .into_iter()
        .scan(0, |at_ms, interval_ms| {
            *at_ms += interval_ms;
            Some(*at_ms)
        })
        .filter(|&at_ms| at_ms < Timers::default().sixty_four_t1_ms())
        .collect();
    assert_eq!(
        sent_ms,
        [500, 1_500, 3_500, 7_500, 15_500, 31_500],
        "and once at the start"
    );
}

/// RFC 3261 17.1.2.2: eleven requests in 32 s when nothing answers.
#[test]
fn an_unanswered_request_is_sent_eleven_times() {
    let mut at_ms = 0;
    let mut sent = 1;
    for attempt in 0.. {
        at_ms += interval_ms(&Timers::default(), TimerName::E, attempt, false);
        if at_ms >= Timers::default().sixty_four_t1_ms() {
            break;
        }
        sent += 1;
    }
    assert_eq!(sent, 11);
}

#[test]
fn every_timer_has_its_place() {
    let mut places: Vec<String> = Vec::new();
    for kind in Kind::ALL {
        for state in State::ALL {
            for role in Role::ALL {
                if let Some(name) = timer(kind, state, role) {
                    places.push(format!("{name:?} {kind:?} {state:?} {role:?}"));
                }
            }
        }
    }
    places.sort_unstable();
    let expected = [
        "A InviteClient Calling Retransmit",
        "B InviteClient Calling Timeout",
        "B InviteClient Proceeding Linger",
        "C InviteClient Proceeding Timeout",
        "D InviteClient Completed Linger",
        "E NonInviteClient Proceeding Retransmit",
        "E NonInviteClient Trying Retransmit",
        "F NonInviteClient Proceeding Timeout",
        "F NonInviteClient Trying Timeout",
        "G InviteServer Completed Retransmit",
        "H InviteServer Completed Timeout",
        "I InviteServer Confirmed Linger",
        "J NonInviteServer Completed Linger",
        "K NonInviteClient Completed Linger",
        "L InviteServer Accepted Linger",
        "M InviteClient Accepted Linger",
    ];
    assert_eq!(places, expected);
}

#[test]
fn lingering_ends_on_the_grid_and_never_early() {
    let timers = Timers::default().with_linger_grid(512);
    for (deadline, end) in [(1, 512), (512, 512), (513, 1_024)] {
        assert_eq!(
            timers.linger_end(Time::from_ms(deadline)),
            Time::from_ms(end)
        );
    }
    let exact = Timers::default();
    assert_eq!(exact.linger_end(Time::from_ms(513)), Time::from_ms(513));
}
