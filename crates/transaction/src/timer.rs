//! The timers of the machines: which letter runs where, and for how long.
//!
//! RFC 3261 table 4 and RFC 6026 section 8.11 (timers L and M). A transaction has at most three
//! timers at a time, one a [`Role`]; the letter is a matter of machine and state.

use crate::error::Error;
use crate::machine::{Kind, State};
use crate::time::Time;

/// Default of T1, the estimated round-trip time (RFC 3261 17.1.1.1).
pub const T1_MS: u64 = 500;
/// Default of T2, the longest interval between retransmissions (RFC 3261 17.1.2.2).
pub const T2_MS: u64 = 4_000;
/// Default of T4, the longest a message stays in the network (RFC 3261 17.1.2.2).
pub const T4_MS: u64 = 5_000;
/// Default of timer C; it has to be more than three minutes (RFC 3261 16.6 step 11).
pub const TIMER_C_MS: u64 = 185_000;
/// Timer D lasts at least this long on unreliable transports (RFC 3261 17.1.1.2).
pub const TIMER_D_MIN_MS: u64 = 32_000;
/// An INVITE that its TU has not answered by then is answered with 100 Trying (RFC 3261 17.2.1).
///
/// The rule is applied by the layer, which knows whether the TU will be quick.
pub const TRYING_DELAY_MS: u64 = 200;

/// Largest value that [`Timers`] takes for T1, T2 or T4; with it 64*T1 is about an hour.
pub const BASE_TIMER_MAX_MS: u64 = 60_000;
/// Timer C has to be longer than this (RFC 3261 16.6 step 11).
pub const TIMER_C_MIN_MS: u64 = 180_000;
/// Largest value that [`Timers`] takes for timer C: a day.
pub const TIMER_C_MAX_MS: u64 = 86_400_000;

/// A timer's name in RFC 3261 (table 4) or RFC 6026 (L and M).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerName {
    /// INVITE request retransmission, unreliable transports only.
    A,
    /// INVITE client transaction timeout.
    B,
    /// A proxy's limit on an INVITE that has only provisional responses.
    C,
    /// Wait for retransmissions of a 3xx-6xx to an INVITE.
    D,
    /// Non-INVITE request retransmission, unreliable transports only.
    E,
    /// Non-INVITE client transaction timeout.
    F,
    /// Retransmission of a 3xx-6xx to an INVITE, unreliable transports only.
    G,
    /// Wait for the ACK.
    H,
    /// Wait for retransmissions of the ACK.
    I,
    /// Wait for retransmissions of a non-INVITE request.
    J,
    /// Wait for retransmissions of a response to a non-INVITE request.
    K,
    /// Wait for retransmissions of an INVITE that was accepted (RFC 6026).
    L,
    /// Wait for retransmissions of a 2xx, and 2xx of other branches (RFC 6026).
    M,
}

/// What a timer of a transaction is for. One of each may run at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Sends the stored message again: A, E, G.
    Retransmit,
    /// Gives up on the peer: B, C, F, H.
    Timeout,
    /// Keeps the transaction for what may still arrive: D, I, J, K, L, M.
    Linger,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Retransmit, Role::Timeout, Role::Linger];
}

/// The timer that plays `role` while a machine of `kind` is in `state`, if there is one.
///
/// Timer B has two places: in `Calling`, and as the wait for the final response to an INVITE that
/// was cancelled, which RFC 3261 9.1 bounds by the same 64*T1 (`Linger` in `Proceeding`).
pub const fn timer(kind: Kind, state: State, role: Role) -> Option<TimerName> {
    use Role::{Linger, Retransmit, Timeout};
    use State::{Accepted, Calling, Completed, Confirmed, Proceeding, Trying};
    let name = match (kind, state, role) {
        (Kind::InviteClient, Calling, Retransmit) => TimerName::A,
        (Kind::InviteClient, Calling, Timeout) => TimerName::B,
        (Kind::InviteClient, Proceeding, Timeout) => TimerName::C,
        (Kind::InviteClient, Proceeding, Linger) => TimerName::B,
        (Kind::InviteClient, Completed, Linger) => TimerName::D,
        (Kind::InviteClient, Accepted, Linger) => TimerName::M,
        (Kind::NonInviteClient, Trying | Proceeding, Retransmit) => TimerName::E,
        (Kind::NonInviteClient, Trying | Proceeding, Timeout) => TimerName::F,
        (Kind::NonInviteClient, Completed, Linger) => TimerName::K,
        (Kind::InviteServer, Completed, Retransmit) => TimerName::G,
        (Kind::InviteServer, Completed, Timeout) => TimerName::H,
        (Kind::InviteServer, Confirmed, Linger) => TimerName::I,
        (Kind::InviteServer, Accepted, Linger) => TimerName::L,
        (Kind::NonInviteServer, Completed, Linger) => TimerName::J,
        _ => return None,
    };
    Some(name)
}

/// The base values from which every interval is computed, in milliseconds and within their ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timers {
    t1_ms: u64,
    t2_ms: u64,
    t4_ms: u64,
    c_ms: u64,
    linger_grid_ms: u64,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            t1_ms: T1_MS,
            t2_ms: T2_MS,
            t4_ms: T4_MS,
            c_ms: TIMER_C_MS,
            linger_grid_ms: 1,
        }
    }
}

impl Timers {
    /// Base values other than the defaults.
    ///
    /// # Errors
    /// [`Error::TimerOutOfRange`] when T1 or T4 is zero, T2 is less than T1, or any is more than
    /// [`BASE_TIMER_MAX_MS`].
    pub const fn new(t1_ms: u64, t2_ms: u64, t4_ms: u64) -> Result<Timers, Error> {
        if let Err(error) = check("T1", t1_ms, 1, BASE_TIMER_MAX_MS) {
            return Err(error);
        }
        if let Err(error) = check("T2", t2_ms, t1_ms, BASE_TIMER_MAX_MS) {
            return Err(error);
        }
        if let Err(error) = check("T4", t4_ms, 1, BASE_TIMER_MAX_MS) {
            return Err(error);
        }
        Ok(Timers {
            t1_ms,
            t2_ms,
            t4_ms,
            c_ms: TIMER_C_MS,
            linger_grid_ms: 1,
        })
    }

    /// The same values with another timer C.
    ///
    /// # Errors
    /// [`Error::TimerOutOfRange`] unless it is longer than three minutes (RFC 3261 16.6 step 11)
    /// and at most [`TIMER_C_MAX_MS`].
    pub const fn with_timer_c(self, c_ms: u64) -> Result<Timers, Error> {
        if let Err(error) = check("C", c_ms, TIMER_C_MIN_MS + 1, TIMER_C_MAX_MS) {
            return Err(error);
        }
        Ok(Timers { c_ms, ..self })
    }

    /// The same values with the ends of lingering (timers D, I, J, K, L, M) put off to the next multiple of
    /// `grid_ms`, at least 1. They are lower bounds and nobody waits for them; many that end together cost
    /// one waking.
    pub const fn with_linger_grid(self, grid_ms: u64) -> Timers {
        let linger_grid_ms = if grid_ms == 0 { 1 } else { grid_ms };
        Timers {
            linger_grid_ms,
            ..self
        }
    }

    /// When lingering that should end at `deadline` does end.
    pub const fn linger_end(&self, deadline: Time) -> Time {
        let grid_ms = self.linger_grid_ms;
        Time::from_ms(deadline.as_ms().div_ceil(grid_ms).saturating_mul(grid_ms))
    }

    /// T1: the estimated round-trip time, in milliseconds.
    pub const fn t1_ms(&self) -> u64 {
        self.t1_ms
    }

    /// T2: the longest interval between retransmissions, in milliseconds.
    pub const fn t2_ms(&self) -> u64 {
        self.t2_ms
    }

    /// T4: the longest a message stays in the network, in milliseconds.
    pub const fn t4_ms(&self) -> u64 {
        self.t4_ms
    }

    /// Timer C, in milliseconds.
    pub const fn c_ms(&self) -> u64 {
        self.c_ms
    }

    /// 64*T1, after which a transaction gives up, in milliseconds.
    pub const fn sixty_four_t1_ms(&self) -> u64 {
        self.t1_ms * 64
    }
}

const fn check(name: &'static str, value_ms: u64, min_ms: u64, max_ms: u64) -> Result<(), Error> {
    if value_ms < min_ms || value_ms > max_ms {
        return Err(Error::TimerOutOfRange {
            name,
            value_ms,
            min_ms,
            max_ms,
        });
    }
    Ok(())
}

/// How long `name` runs, in milliseconds.
///
/// `attempt` counts the retransmissions already made and matters to A, E and G alone: 0 when the
/// timer is started with the first sending, 1 after it fired once. Zero means that the timer does
/// not run: A, E and G have nothing to do on a reliable transport, and D, I, J and K nothing to wait
/// for. Timer E's other rule, T2 in `Proceeding`, needs the state: see [`delay_ms`].
pub const fn interval_ms(timers: &Timers, name: TimerName, attempt: u32, reliable: bool) -> u64 {
    match name {
        // RFC 3261 17.1.1.2: starts at T1 and doubles with each retransmission, without a cap.
        TimerName::A => unless(reliable, doubled(timers.t1_ms, attempt)),
        // RFC 3261 17.1.2.2 (E), 17.2.1 (G): starts at T1 and doubles up to T2.
        TimerName::E | TimerName::G => {
            let interval_ms = doubled(timers.t1_ms, attempt);
            let capped_ms = if interval_ms < timers.t2_ms {
                interval_ms
            } else {
                timers.t2_ms
            };
            unless(reliable, capped_ms)
        }
        // RFC 3261 17.1.1.2, 17.1.2.2, 17.2.1; RFC 6026 8.11: 64*T1 whatever the transport.
        TimerName::B | TimerName::F | TimerName::H | TimerName::L | TimerName::M => {
            timers.sixty_four_t1_ms()
        }
        // RFC 3261 16.6 step 11: more than three minutes.
        TimerName::C => timers.c_ms,
        // RFC 3261 17.1.1.2: at least 32 s, and as long as the server may retransmit (timer H).
        TimerName::D => {
            let sixty_four_t1_ms = timers.sixty_four_t1_ms();
            let interval_ms = if sixty_four_t1_ms > TIMER_D_MIN_MS {
                sixty_four_t1_ms
            } else {
                TIMER_D_MIN_MS
            };
            unless(reliable, interval_ms)
        }
        // RFC 3261 17.2.2: 64*T1 on unreliable transports.
        TimerName::J => unless(reliable, timers.sixty_four_t1_ms()),
        // RFC 3261 17.2.1 (I), 17.1.2.2 (K): T4 on unreliable transports.
        TimerName::I | TimerName::K => unless(reliable, timers.t4_ms),
    }
}

/// How long the timer that plays `role` in this machine and state runs, in milliseconds; `None`
/// where there is none. Otherwise as [`interval_ms`].
pub const fn delay_ms(
    timers: &Timers,
    kind: Kind,
    state: State,
    role: Role,
    attempt: u32,
    reliable: bool,
) -> Option<u64> {
    match timer(kind, state, role) {
        None => None,
        // RFC 3261 17.1.2.2: once a provisional response is there, every next interval is T2.
        Some(TimerName::E) if matches!(state, State::Proceeding) => {
            Some(unless(reliable, timers.t2_ms))
        }
        Some(name) => Some(interval_ms(timers, name, attempt, reliable)),
    }
}

const fn unless(reliable: bool, interval_ms: u64) -> u64 {
    if reliable { 0 } else { interval_ms }
}

/// `base_ms * 2^attempt`, bounded so that it cannot overflow; timers B, F and H end it long before.
const fn doubled(base_ms: u64, attempt: u32) -> u64 {
    const DOUBLINGS_MAX: u32 = 16;
    let doublings = if attempt < DOUBLINGS_MAX {
        attempt
    } else {
        DOUBLINGS_MAX
    };
    base_ms << doublings
}

#[cfg(test)]
mod tests;
