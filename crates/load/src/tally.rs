//! What was counted.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::histogram::Histogram;

/// Why something failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// A final response said so.
    Status(u16),
    /// No final response to an INVITE came within 64*T1, or none at all within the time to answer.
    InviteTimeout,
    /// The INVITE was heard, and nobody answered in time.
    NoAnswer,
    /// An INVITE within the call was refused.
    ReinviteStatus(u16),
    /// No final response to an INVITE within the call came.
    ReinviteTimeout,
    /// A BYE was refused.
    ByeStatus(u16),
    /// No response to a BYE came.
    ByeTimeout,
    /// No final response to a cancelled INVITE came.
    CancelTimeout,
    /// No response to a REGISTER came.
    RegisterTimeout,
    /// A 2xx was never acknowledged.
    NoAck,
    /// The other side ended the call before its time.
    EndedEarly,
    /// The call was not over when the run's grace was.
    Unfinished,
    /// A 2xx lacks what a dialog needs, or a challenge cannot be answered.
    Unusable,
}

impl Reason {
    /// How it is called in reports.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Reason::Status(status) => status.to_string(),
            Reason::InviteTimeout => "invite-timeout".to_owned(),
            Reason::NoAnswer => "no-answer".to_owned(),
            Reason::ReinviteStatus(status) => format!("reinvite-{status}"),
            Reason::ReinviteTimeout => "reinvite-timeout".to_owned(),
            Reason::ByeStatus(status) => format!("bye-{status}"),
            Reason::ByeTimeout => "bye-timeout".to_owned(),
            Reason::CancelTimeout => "cancel-timeout".to_owned(),
            Reason::RegisterTimeout => "register-timeout".to_owned(),
            Reason::NoAck => "no-ack".to_owned(),
            Reason::EndedEarly => "ended-early".to_owned(),
            Reason::Unfinished => "unfinished".to_owned(),
            Reason::Unusable => "unusable".to_owned(),
        }
    }
}

/// Failures by their reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures(BTreeMap<Reason, u64>);

impl Failures {
    pub(crate) fn add(&mut self, reason: Reason) {
        *self.0.entry(reason).or_default() += 1;
    }

    fn merge(&mut self, other: &Failures) {
        for (reason, count) in &other.0 {
            *self.0.entry(*reason).or_default() += count;
        }
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// Those of one reason.
    #[must_use]
    pub fn of(&self, reason: Reason) -> u64 {
        self.0.get(&reason).copied().unwrap_or(0)
    }

    fn to_json(&self) -> Value {
        let rows = self.0.iter();
        Value::Object(
            rows.map(|(reason, count)| (reason.name(), json!(count)))
                .collect(),
        )
    }
}

/// Defines the counters of a tally with their sums and their JSON.
macro_rules! counters {
    ($(#[$about:meta])* $name:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name {
            $($(#[$doc])* pub $field: u64,)*
        }

        impl $name {
            fn merge(&mut self, other: &$name) {
                $(self.$field += other.$field;)*
            }

            fn to_json(self) -> Value {
                json!({ $(stringify!($field): self.$field,)* })
            }
        }
    };
}

counters! {
    /// Calls that were made.
    Calls {
        /// INVITEs begun.
        attempted,
        /// Of these, heard by somebody: a 18x came.
        rang,
        /// Of these, answered with a 2xx.
        answered,
        /// Of these, ended by a BYE that was answered, from either side.
        completed,
        /// Of these, ended by the other side, as it was to.
        ended_by_peer,
        /// INVITEs within calls that were answered with a 2xx.
        reinvited,
        /// Given up by a CANCEL on purpose, and ended by 487.
        cancelled,
        /// Begun and not ended.
        active,
        /// The most that were active at one time (the sum over the threads).
        active_max,
        /// Times that a call was due and had to wait since as many as may be were active.
        held_back,
    }
}

counters! {
    /// Calls that were taken.
    Answers {
        /// INVITEs that came.
        invited,
        /// Of these, answered.
        answered,
        /// Of these, acknowledged.
        acknowledged,
        /// Of these, ended by the caller's BYE.
        ended,
        /// Of these, ended from this side by a BYE that was answered.
        hung_up,
        /// INVITEs within calls that were answered and acknowledged.
        reinvited,
        /// Refused on purpose.
        refused,
        /// Passed over on purpose.
        ignored,
        /// INVITEs that found no room and got 503, each time they came.
        turned_away,
        /// Cancelled by the caller.
        cancelled,
        /// Begun and not ended.
        active,
    }
}

counters! {
    /// Registrations.
    Registrations {
        /// REGISTERs begun; one that is challenged is one.
        attempted,
        /// Answered with a 2xx.
        succeeded,
        /// Of all, those of users who were registered already.
        refreshes,
        /// Times that one was due, and the one before of this user was not done.
        skipped,
    }
}

counters! {
    /// Messages, retransmissions among them.
    Messages {
        /// Handed to the kernel.
        sent,
        /// Received.
        received,
        /// Requests and responses sent again.
        retransmissions_sent,
        /// Requests and responses that came again.
        retransmissions_received,
        /// Responses 401 and 407 that were answered.
        challenges,
        /// Responses for calls that are over.
        late,
        /// Messages that no call, answer or registration of ours waits for.
        unexpected,
        /// What is no SIP.
        unreadable,
        /// Told by ICMP or refused by the kernel.
        unreachable,
        /// Connections that could not be made or broke.
        connections_lost,
        /// Datagrams that the kernel dropped for want of room here: the generator was too slow.
        dropped_here,
    }
}

counters! {
    /// Packets of RTP.
    Packets {
        /// Streams begun: two a call within the process.
        streams,
        /// Streams that heard nothing.
        silent,
        /// Packets sent.
        sent,
        /// Packets received that belong to their stream.
        received,
        /// Of those that the other side sent, missing.
        lost,
        /// Packets that came twice.
        duplicates,
        /// Packets that came after one that was sent later.
        out_of_order,
        /// Packets whose content is not as it was sent.
        corrupt,
        /// Packets of another call: somebody hears what is not for him.
        wrong_party,
        /// Packets of ours that came back: the other side is an echo.
        echoed,
        /// Packets of somebody who is no generator of this run.
        foreign,
        /// Packets that the kernel would not take.
        unsent,
        /// Packets that the kernel dropped for want of room here: the generator was too slow.
        dropped_here,
    }
}

/// What one thread, or all together, counted.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Calls made.
    pub calls: Calls,
    /// Why calls failed; one call fails once.
    pub call_failures: Failures,
    /// Calls taken.
    pub answers: Answers,
    /// Why taken calls failed.
    pub answer_failures: Failures,
    /// Registrations.
    pub registrations: Registrations,
    /// Why registrations failed.
    pub registration_failures: Failures,
    /// Messages.
    pub messages: Messages,
    /// Packets.
    pub packets: Packets,
    /// From the first INVITE to the 18x.
    pub ring: Histogram,
    /// From the first INVITE to the 2xx, the challenge and the ringing included.
    pub set_up: Histogram,
    /// From the BYE to its 2xx.
    pub end: Histogram,
    /// From the first REGISTER to the 2xx, the challenge included.
    pub register: Histogram,
    /// How late calls and registrations were begun: the generator's own fault.
    pub behind: Histogram,
    /// The longest silence of each stream.
    pub gap: Histogram,
    /// From each packet of sound to the next one of its stream, of those that are not over, too: for who looks on.
    pub pause: Histogram,
    /// How long that stream has heard nothing that has waited longest, in microseconds.
    pub silent_us_max: u64,
    /// The way of each packet from one end to the other; there and back where the other side is an echo.
    pub delay: Histogram,
    /// The jitter of each stream (RFC 3550 section 6.4.1).
    pub jitter: Histogram,
    /// How late packets were sent: the generator's own fault.
    pub packets_behind: Histogram,
}

impl Tally {
    /// Adds what another has counted.
    pub fn merge(&mut self, other: &Tally) {
        self.calls.merge(&other.calls);
        self.call_failures.merge(&other.call_failures);
        self.answers.merge(&other.answers);
        self.answer_failures.merge(&other.answer_failures);
        self.registrations.merge(&other.registrations);
        self.registration_failures
            .merge(&other.registration_failures);
        self.messages.merge(&other.messages);
        self.packets.merge(&other.packets);
        for (mine, theirs) in [
            (&mut self.ring, &other.ring),
            (&mut self.set_up, &other.set_up),
            (&mut self.end, &other.end),
            (&mut self.register, &other.register),
            (&mut self.behind, &other.behind),
            (&mut self.gap, &other.gap),
            (&mut self.pause, &other.pause),
            (&mut self.delay, &other.delay),
            (&mut self.jitter, &other.jitter),
            (&mut self.packets_behind, &other.packets_behind),
        ] {
            mine.merge(theirs);
        }
        self.silent_us_max = self.silent_us_max.max(other.silent_us_max);
    }

    /// Everything that failed: calls made and taken, registrations.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.call_failures.total()
            + self.answer_failures.total()
            + self.registration_failures.total()
    }

    /// What was wrong with the sound: streams that heard nothing, packets that were damaged or for somebody else.
    #[must_use]
    pub fn unheard(&self) -> u64 {
        self.packets.silent + self.packets.corrupt + self.packets.wrong_party
    }

    /// The report of docs/load.md. Durations in milliseconds.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let with = |counts: Value, more: Value| {
            let (Value::Object(mut counts), Value::Object(more)) = (counts, more) else {
                return Value::Null;
            };
            counts.extend(more);
            Value::Object(counts)
        };
        json!({
            "calls": with(self.calls.to_json(), json!({
                "failed": self.call_failures.total(),
                "failures": self.call_failures.to_json(),
                "ring_ms": self.ring.to_json(),
                "set_up_ms": self.set_up.to_json(),
                "end_ms": self.end.to_json(),
            })),
            "answers": with(self.answers.to_json(), json!({
                "failed": self.answer_failures.total(),
                "failures": self.answer_failures.to_json(),
            })),
            "registrations": with(self.registrations.to_json(), json!({
                "failed": self.registration_failures.total(),
                "failures": self.registration_failures.to_json(),
                "register_ms": self.register.to_json(),
            })),
            "messages": self.messages.to_json(),
            "media": with(self.packets.to_json(), json!({
                "gap_ms": self.gap.to_json(),
                "delay_ms": self.delay.to_json(),
                "jitter_ms": self.jitter.to_json(),
                "behind_ms": self.packets_behind.to_json(),
            })),
            "behind_ms": self.behind.to_json(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_threads_make_one_report() {
        let (mut left, mut right) = (Tally::default(), Tally::default());
        left.calls.attempted = 2;
        left.call_failures.add(Reason::Status(503));
        right.calls.attempted = 1;
        right.call_failures.add(Reason::Status(503));
        right.registration_failures.add(Reason::RegisterTimeout);
        left.merge(&right);
        let report = left.to_json();
        assert_eq!(report["calls"]["attempted"], 3);
        assert_eq!(report["calls"]["failures"]["503"], 2);
        assert_eq!(report["calls"]["failed"], 2);
        assert_eq!(report["registrations"]["failures"]["register-timeout"], 1);
        assert_eq!(left.failed(), 3);
        assert_eq!(left.call_failures.of(Reason::Status(503)), 2);
    }
}
