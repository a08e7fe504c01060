//! What goes in and what comes out.

use crate::time::Time;
use core::fmt;
use std::net::IpAddr;

/// A pool. It stays the same over reloads as long as some pool has its name; after that it may come
/// to mean another, so ask [`Pools::find`](crate::Pools::find) again after each reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PoolId(pub(crate) u16);

impl PoolId {
    /// A small number, for tables beside this one.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A target: a place in the table and how often that was given anew, so that the name of a target
/// which is gone never means another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId {
    pub(crate) index: u16,
    pub(crate) generation: u32,
}

impl TargetId {
    /// A small number, for tables beside this one. It is given anew once the target is gone.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.index)
    }
}

/// A name that somebody outside looks up: an SRV name. What is found out about a name that was
/// given up meanwhile goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LookupId {
    pub(crate) index: u16,
    pub(crate) generation: u32,
}

/// What a policy may want to know of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Call<'a> {
    /// Where the request came from.
    pub source: IpAddr,
    /// Its Call-ID.
    pub call_id: &'a [u8],
    /// The user that is called.
    pub user: &'a [u8],
}

/// A target for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pick {
    /// Where the call goes.
    pub target: TargetId,
    /// The pool it is from: the one that was asked, or a fallback of it.
    pub pool: PoolId,
    /// Nothing better was left: the target is out, and tried all the same.
    pub last_resort: bool,
}

/// No target for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoTarget {
    /// What stood in the way in the pool that was asked.
    pub reason: Shortage,
    /// When it may be worth another try (Retry-After), s.
    pub retry_after_s: u32,
}

/// Why a pool has no target for a call: the most hopeful of what is true of its targets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// There are no targets at all.
    Empty,
    /// All that could take it have been tried for this call.
    Tried,
    /// They are full.
    Full,
    /// They asked to be left alone for a time (Retry-After).
    Busy,
    /// They are out.
    Out,
    /// They are being drained or disabled.
    Closed,
}

/// A call that is counted at a target. It is given back by [`Pools::end`](crate::Pools::end), once.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a slot that is not given back with `end` counts for ever"]
pub struct CallSlot {
    pub(crate) target: TargetId,
}

impl CallSlot {
    /// Where the call is counted.
    #[must_use]
    pub fn target(&self) -> TargetId {
        self.target
    }
}

/// What somebody noticed about a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// A call's request got a response: the first one, and the final one. A provisional one shows
    /// life; by the final one the call has failed or not.
    Answered {
        /// Its status.
        status: u16,
        /// From the request to the first response to it, ms.
        rtt_ms: u32,
    },
    /// A call's request got no reply at all in its time.
    Timeout,
    /// ICMP says that nobody is there, a connection was refused, or was closed with requests open.
    Unreachable,
    /// 503 with Retry-After, to a call or a probe.
    Busy {
        /// Retry-After, s.
        retry_after_s: u32,
    },
    /// A probe got a response, whatever it says.
    ProbeAnswered {
        /// [`Due::Probe::number`].
        number: u32,
    },
    /// A probe could not be sent, or ICMP answered it. One without an answer is missed by itself.
    ProbeMissed {
        /// [`Due::Probe::number`].
        number: u32,
    },
    /// An agent's figures.
    AgentLoad(AgentLoad),
}

/// A host's load as its agent tells it, in thousandths. What the agent does not know is left out of
/// the mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgentLoad {
    /// CPU in use.
    pub cpu_permille: Option<u16>,
    /// Memory in use.
    pub memory_permille: Option<u16>,
    /// Time the busiest disk was busy.
    pub disk_permille: Option<u16>,
    /// Calls as the media server counts them, which may have others than ours.
    pub calls: Option<u32>,
}

/// Something to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Send an OPTIONS, once.
    Probe {
        /// Where to.
        target: TargetId,
        /// What the answer is reported with.
        number: u32,
    },
    /// Look a name up and say what came of it.
    Lookup(LookupId),
}

/// How a target stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// Not there: before its first event, after its last.
    Absent,
    /// Takes calls.
    Up,
    /// Takes calls, a growing share of what it will (slow start).
    Warming,
    /// Takes no new calls for the time that it asked for.
    Busy,
    /// Counts as dead: calls that it has not answered move on.
    Out,
    /// Keeps its calls and gets no new ones.
    Draining,
    /// Taken out by the operator: as [`State::Out`], and not probed.
    Disabled,
}

impl State {
    /// All of them.
    pub const ALL: [State; 7] = [
        State::Absent,
        State::Up,
        State::Warming,
        State::Busy,
        State::Out,
        State::Draining,
        State::Disabled,
    ];

    /// Whether new calls may go there.
    #[must_use]
    pub fn takes_calls(self) -> bool {
        matches!(self, State::Up | State::Warming)
    }

    /// Whether what waits for an answer from there should wait no longer.
    #[must_use]
    pub fn is_dead(self) -> bool {
        matches!(self, State::Absent | State::Out | State::Disabled)
    }

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Absent => "absent",
            State::Up => "up",
            State::Warming => "warming",
            State::Busy => "busy",
            State::Out => "out",
            State::Draining => "draining",
            State::Disabled => "disabled",
        }
    }
}

/// Why a target's state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// It is new in the settings or in DNS.
    Added,
    /// This many probes and calls in a row had no reply.
    NoReply {
        /// How many.
        misses: u32,
    },
    /// ICMP or a closed connection says that nobody is there.
    Unreachable,
    /// Too many of its calls failed.
    CallsFailed {
        /// How many failed in the window.
        failed: u32,
        /// Of how many.
        of: u32,
    },
    /// It answered the probe that followed an [`Reason::Unreachable`].
    StillThere,
    /// This many probes in a row were answered.
    Answers {
        /// How many.
        answers: u32,
    },
    /// It is not probed, and its time out is over: calls will tell.
    Trial,
    /// It answers, and no other target of a pool is in service: its time out is cut short.
    Needed,
    /// It sent 503 with Retry-After.
    RetryAfter {
        /// For how long, s.
        seconds: u32,
    },
    /// That time is over.
    RetryAfterOver,
    /// Slow start is over.
    Warmed,
    /// The operator said so.
    Operator,
    /// No pool names it any more, or DNS does not.
    Vanished,
    /// It is named again before its last call ended.
    Returned,
    /// Its last call ended after it had vanished.
    LastCallEnded,
    /// Its service has no owner.
    NoOwner,
    /// Its service has an owner again, or another one.
    NewOwner,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Added => f.write_str("added"),
            Reason::NoReply { misses } => write!(f, "no reply, {misses} times in a row"),
            Reason::Unreachable => f.write_str("nobody is listening there"),
            Reason::CallsFailed { failed, of } => write!(f, "{failed} of {of} calls failed"),
            Reason::StillThere => f.write_str("answered the probe after all"),
            Reason::Answers { answers } => write!(f, "answered {answers} times in a row"),
            Reason::Trial => f.write_str("tried again after its time out"),
            Reason::Needed => f.write_str("answers, and no other target is left"),
            Reason::RetryAfter { seconds } => write!(f, "asked for {seconds} s without calls"),
            Reason::RetryAfterOver => f.write_str("the time it asked for is over"),
            Reason::Warmed => f.write_str("slow start is over"),
            Reason::Operator => f.write_str("by the operator"),
            Reason::Vanished => f.write_str("no longer named"),
            Reason::Returned => f.write_str("named again"),
            Reason::LastCallEnded => f.write_str("its last call ended"),
            Reason::NoOwner => f.write_str("its service has no owner"),
            Reason::NewOwner => f.write_str("its service has a new owner"),
        }
    }
}

/// A change of a target's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// Which target.
    pub target: TargetId,
    /// When.
    pub at: Time,
    /// What it was: what the event before said.
    pub from: State,
    /// What it is.
    pub to: State,
    /// Why.
    pub reason: Reason,
}
