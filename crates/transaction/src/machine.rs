//! The four transaction machines of RFC 3261 section 17, as amended by RFC 6026, as tables.
//!
//! A machine holds nothing: the caller keeps the [`Kind`], the [`State`] and whether the transport
//! is reliable, and performs the [`Action`]s of each [`Transition`]. The rows are in `table.rs`; the
//! whole matrix is a snapshot beside the tests.

mod table;

use table::TABLES;

/// Which of the four machines (RFC 3261 17.1.1, 17.1.2, 17.2.1, 17.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// INVITE client transaction (RFC 3261 17.1.1, RFC 6026 8.4).
    InviteClient,
    /// Non-INVITE client transaction (RFC 3261 17.1.2).
    NonInviteClient,
    /// INVITE server transaction (RFC 3261 17.2.1, RFC 6026 8.5).
    InviteServer,
    /// Non-INVITE server transaction (RFC 3261 17.2.2).
    NonInviteServer,
}

impl Kind {
    /// Every machine.
    pub const ALL: [Kind; 4] = [
        Kind::InviteClient,
        Kind::NonInviteClient,
        Kind::InviteServer,
        Kind::NonInviteServer,
    ];

    /// Whether the machine sends the request and receives responses.
    pub const fn is_client(self) -> bool {
        matches!(self, Kind::InviteClient | Kind::NonInviteClient)
    }

    /// Whether the machine's request is an INVITE.
    pub const fn is_invite(self) -> bool {
        matches!(self, Kind::InviteClient | Kind::InviteServer)
    }
}

/// A state of a machine. Not every machine has every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// An INVITE was sent and nothing heard.
    Calling,
    /// A non-INVITE request was sent and nothing heard, or received and not answered.
    Trying,
    /// A provisional response was received or sent; a server's INVITE starts here.
    Proceeding,
    /// A 2xx to an INVITE was received or sent (RFC 6026).
    Accepted,
    /// A final response was received or sent; to an INVITE, one other than a 2xx.
    Completed,
    /// The ACK of a 3xx-6xx was received.
    Confirmed,
    /// The transaction is over; see [`Action::Forget`].
    Terminated,
}

impl State {
    /// Every state.
    pub const ALL: [State; 7] = [
        State::Calling,
        State::Trying,
        State::Proceeding,
        State::Accepted,
        State::Completed,
        State::Confirmed,
        State::Terminated,
    ];
}

/// What happens to a machine.
///
/// The four kinds of response are *received* by a client and *sent by the TU* through a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A 100 response. Apart from 1xx since it does not prolong timer C (RFC 3261 16.7 step 2).
    Trying,
    /// A 101-199 response.
    Provisional,
    /// A 2xx response.
    Success,
    /// A 3xx-6xx response.
    Failure,
    /// A server received its request again.
    Request,
    /// An INVITE server received the ACK.
    Ack,
    /// The TU has sent a CANCEL for this client INVITE (RFC 3261 9.1), or gave it up otherwise.
    Cancel,
    /// The timer with the role `Retransmit` fired.
    RetransmitTimer,
    /// The timer with the role `Timeout` fired.
    TimeoutTimer,
    /// The timer with the role `Linger` fired.
    LingerTimer,
    /// The transport could not deliver, and no other address is left to try.
    TransportError,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 11] = [
        Event::Trying,
        Event::Provisional,
        Event::Success,
        Event::Failure,
        Event::Request,
        Event::Ack,
        Event::Cancel,
        Event::RetransmitTimer,
        Event::TimeoutTimer,
        Event::LingerTimer,
        Event::TransportError,
    ];

    /// The event that a response with this status code is; `None` outside 100-699.
    pub const fn of_status(status_code: u16) -> Option<Event> {
        match status_code {
            100 => Some(Event::Trying),
            101..=199 => Some(Event::Provisional),
            200..=299 => Some(Event::Success),
            300..=699 => Some(Event::Failure),
            _ => None,
        }
    }
}

/// One thing that the caller has to do.
///
/// A start arms the timer of its role for the *new* state (see [`delay_ms`](crate::timer::delay_ms))
/// and replaces the one that ran; a timer neither started nor stopped runs on across the
/// transition. On a retransmission the count of attempts goes up; on the first start it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Action {
    /// Send the message in hand, and store it as the one to send again.
    Send,
    /// Send the stored message again; nothing if none was sent yet.
    Resend,
    /// Build the ACK for the 3xx-6xx in hand (RFC 3261 17.1.1.3) and send it.
    Acknowledge,
    /// Pass the message in hand to the TU.
    Deliver,
    /// Tell the TU that the peer did not answer in time.
    ///
    /// When the new state is not `Terminated` it was timer C: the TU sends a CANCEL (RFC 3261 16.8).
    InformTimeout,
    /// Tell the TU that the transport failed.
    InformTransportError,
    /// Stop the retransmission timer.
    StopRetransmit,
    /// Stop the timeout timer.
    StopTimeout,
    /// Start the retransmission timer anew. Never on a reliable transport.
    StartRetransmit,
    /// Start the timeout timer anew.
    StartTimeout,
    /// Start the linger timer anew.
    StartLinger,
    /// Drop the transaction with all its timers. It comes with `Terminated` and only then.
    Forget,
}

impl Action {
    /// Every action, in the order in which they are to be performed.
    pub const ALL: [Action; 12] = [
        Action::Send,
        Action::Resend,
        Action::Acknowledge,
        Action::Deliver,
        Action::InformTimeout,
        Action::InformTransportError,
        Action::StopRetransmit,
        Action::StopTimeout,
        Action::StartRetransmit,
        Action::StartTimeout,
        Action::StartLinger,
        Action::Forget,
    ];

    const fn bit(self) -> u16 {
        1 << self as u8
    }
}

/// A set of [`Action`]s. Iterating yields them in the order in which they are to be performed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(u16);

impl Actions {
    /// Nothing to do.
    pub const NONE: Actions = Actions(0);

    /// The set of these actions.
    pub const fn of(actions: &[Action]) -> Actions {
        let mut bits = 0;
        let mut i = 0;
        while i < actions.len() {
            bits |= actions[i].bit();
            i += 1;
        }
        Actions(bits)
    }

    /// Whether `action` is to be performed.
    pub const fn contains(self, action: Action) -> bool {
        self.0 & action.bit() != 0
    }

    /// Whether there is nothing to do.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl IntoIterator for Actions {
    type Item = Action;
    type IntoIter = ActionsIter;

    fn into_iter(self) -> ActionsIter {
        ActionsIter(self.0)
    }
}

/// Iterates over [`Actions`].
#[derive(Clone, Debug)]
pub struct ActionsIter(u16);

impl Iterator for ActionsIter {
    type Item = Action;

    fn next(&mut self) -> Option<Action> {
        let action = *Action::ALL.get(self.0.trailing_zeros() as usize)?;
        self.0 &= self.0 - 1;
        Some(action)
    }
}

/// Where an event leads, and what to do on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state after the event.
    pub next: State,
    /// What the caller has to do.
    pub actions: Actions,
}

/// How a machine begins: with the request in hand, sent by a client's TU or received by a server.
///
/// RFC 3261 17.1.1.2, 17.1.2.2 (clients send and arm timers), 17.2.1, 17.2.2 (servers deliver).
pub const fn start(kind: Kind, reliable: bool) -> Transition {
    use Action::{Deliver, Send, StartRetransmit, StartTimeout};
    let next = match kind {
        Kind::InviteClient => State::Calling,
        Kind::NonInviteClient | Kind::NonInviteServer => State::Trying,
        Kind::InviteServer => State::Proceeding,
    };
    let actions = match (kind.is_client(), reliable) {
        (true, false) => Actions::of(&[Send, StartRetransmit, StartTimeout]),
        (true, true) => Actions::of(&[Send, StartTimeout]),
        (false, _) => Actions::of(&[Deliver]),
    };
    Transition { next, actions }
}

/// What `event` does to a machine of `kind` in `state`.
///
/// `None`: the event has no meaning there and changes nothing; a message that brought it is not of
/// this transaction, or is dropped. `Some` without actions: the message is absorbed.
pub const fn step(kind: Kind, state: State, event: Event, reliable: bool) -> Option<Transition> {
    TABLES[kind as usize][reliable as usize][state as usize][event as usize]
}

#[cfg(test)]
mod tests;
