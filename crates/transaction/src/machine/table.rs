//! The rows of the four machines, each with the rule it follows.

use super::{Action, Actions, Event, Kind, State, Transition};
use Action::{
    Acknowledge, Deliver, Forget, InformTimeout, InformTransportError, Resend, Send, StartLinger,
    StartRetransmit, StartTimeout, StopRetransmit, StopTimeout,
};
use Event::{
    Ack, Cancel, Failure, LingerTimer, Provisional, Request, RetransmitTimer, Success,
    TimeoutTimer, TransportError,
};
use State::{Accepted, Calling, Completed, Confirmed, Proceeding, Terminated, Trying};

const STATES: usize = State::ALL.len();
const EVENTS: usize = Event::ALL.len();

/// One machine on one kind of transport: a transition for each state and event.
type Table = [[Option<Transition>; EVENTS]; STATES];

/// By machine, then by whether the transport is reliable.
pub(super) static TABLES: [[Table; 2]; Kind::ALL.len()] = [
    [build(INVITE_CLIENT, false), build(INVITE_CLIENT, true)],
    [
        build(NON_INVITE_CLIENT, false),
        build(NON_INVITE_CLIENT, true),
    ],
    [build(INVITE_SERVER, false), build(INVITE_SERVER, true)],
    [
        build(NON_INVITE_SERVER, false),
        build(NON_INVITE_SERVER, true),
    ],
];

/// A row of a machine: the same for each of its events.
struct Row {
    state: State,
    events: &'static [Event],
    unreliable: Option<Transition>,
    reliable: Option<Transition>,
}

const fn to(next: State, actions: &[Action]) -> Option<Transition> {
    Some(Transition {
        next,
        actions: Actions::of(actions),
    })
}

/// A row that is the same on every transport.
const fn row(state: State, events: &'static [Event], next: State, actions: &[Action]) -> Row {
    Row {
        state,
        events,
        unreliable: to(next, actions),
        reliable: to(next, actions),
    }
}

impl Row {
    /// On a reliable transport the row does not exist: no retransmission timer runs there.
    const fn unreliable_only(self) -> Row {
        Row {
            reliable: None,
            ..self
        }
    }

    /// On a reliable transport the row's linger timer (D, I, J or K) is zero: the machine ends at
    /// once, and does this instead.
    const fn ends_if_reliable(self, actions: &[Action]) -> Row {
        Row {
            reliable: to(Terminated, actions),
            ..self
        }
    }
}

/// Lays rows out as a table; two rows for one state and event do not compile.
const fn build(rows: &[Row], reliable: bool) -> Table {
    let mut table: Table = [[None; EVENTS]; STATES];
    let mut i = 0;
    while i < rows.len() {
        let row = &rows[i];
        let mut j = 0;
        while j < row.events.len() {
            let cell = &mut table[row.state as usize][row.events[j] as usize];
            assert!(cell.is_none(), "two rows for one state and event");
            *cell = if reliable {
                row.reliable
            } else {
                row.unreliable
            };
            j += 1;
        }
        i += 1;
    }
    table
}

/// RFC 3261 17.1.1 as amended by RFC 6026 8.4.
const INVITE_CLIENT: &[Row] = &[
    // RFC 3261 17.1.1.2: timer A sends the INVITE again and is set to twice its interval.
    row(
        Calling,
        &[RetransmitTimer],
        Calling,
        &[Resend, StartRetransmit],
    )
    .unreliable_only(),
    // RFC 3261 17.1.1.2: timer B ends it, and the TU hears of the timeout.
    row(
        Calling,
        &[TimeoutTimer],
        Terminated,
        &[InformTimeout, Forget],
    ),
    // RFC 3261 17.1.4: a transport failure ends it, and the TU hears of it.
    row(
        Calling,
        &[TransportError],
        Terminated,
        &[InformTransportError, Forget],
    ),
    // RFC 3261 17.1.1.2: a 1xx goes to the TU and stops retransmission; 16.6 step 11: C takes over.
    row(
        Calling,
        &[Event::Trying, Provisional],
        Proceeding,
        &[Deliver, StopRetransmit, StartTimeout],
    ),
    // RFC 6026 8.4: a 2xx goes to the TU, which acknowledges it; timer M starts.
    row(
        Calling,
        &[Success],
        Accepted,
        &[Deliver, StopRetransmit, StopTimeout, StartLinger],
    ),
    // RFC 3261 17.1.1.2: a 3xx-6xx goes to the TU, the ACK is sent; D starts, or is zero.
    row(
        Calling,
        &[Failure],
        Completed,
        &[
            Deliver,
            Acknowledge,
            StopRetransmit,
            StopTimeout,
            StartLinger,
        ],
    )
    .ends_if_reliable(&[Deliver, Acknowledge, Forget]),
    // RFC 3261 17.1.1.2: further provisional responses go to the TU; 16.7 step 2: a 100 leaves C be.
    row(Proceeding, &[Event::Trying], Proceeding, &[Deliver]),
    // RFC 3261 16.7 step 2: a 101-199 sets timer C anew.
    row(
        Proceeding,
        &[Provisional],
        Proceeding,
        &[Deliver, StartTimeout],
    ),
    // RFC 6026 8.4: as in Calling.
    row(
        Proceeding,
        &[Success],
        Accepted,
        &[Deliver, StopTimeout, StartLinger],
    ),
    // RFC 3261 17.1.1.2: as in Calling.
    row(
        Proceeding,
        &[Failure],
        Completed,
        &[Deliver, Acknowledge, StopTimeout, StartLinger],
    )
    .ends_if_reliable(&[Deliver, Acknowledge, Forget]),
    // RFC 3261 9.1: a cancelled INVITE waits 64*T1 for its final response, and no longer.
    row(
        Proceeding,
        &[Cancel],
        Proceeding,
        &[StopTimeout, StartLinger],
    ),
    // RFC 3261 16.8: when C fires after a provisional response the TU cancels; then 9.1 as above.
    row(
        Proceeding,
        &[TimeoutTimer],
        Proceeding,
        &[InformTimeout, StartLinger],
    ),
    // RFC 3261 9.1: no final response 64*T1 after the CANCEL: the transaction is destroyed.
    row(
        Proceeding,
        &[LingerTimer],
        Terminated,
        &[InformTimeout, Forget],
    ),
    // RFC 3261 18.2.2: a reply may still come on another connection; the TU decides (figure 5 has no row).
    row(
        Proceeding,
        &[TransportError],
        Proceeding,
        &[InformTransportError],
    ),
    // RFC 6026 8.4: every further 2xx, retransmitted or of another branch, goes to the TU.
    row(Accepted, &[Success], Accepted, &[Deliver]),
    // RFC 6026 7.2: once accepted, nothing but a 2xx has an effect.
    row(
        Accepted,
        &[Event::Trying, Provisional, Failure],
        Accepted,
        &[],
    ),
    // RFC 6026 8.4: timer M ends it.
    row(Accepted, &[LingerTimer], Terminated, &[Forget]),
    // RFC 3261 17.1.1.2: the final response again is acknowledged again and not passed on.
    row(Completed, &[Failure], Completed, &[Acknowledge]),
    // RFC 3261 16.7 step 5: a 2xx may follow a 3xx-6xx of the same branch; the TU ends that call.
    row(Completed, &[Success], Completed, &[Deliver]),
    // RFC 3261 17.1.1.2: what was provisional is past.
    row(Completed, &[Event::Trying, Provisional], Completed, &[]),
    // RFC 3261 17.1.1.2: timer D ends it.
    row(Completed, &[LingerTimer], Terminated, &[Forget]),
    // RFC 3261 17.1.1.2, figure 5: the ACK could not be sent; the TU hears of it and it ends.
    row(
        Completed,
        &[TransportError],
        Terminated,
        &[InformTransportError, Forget],
    ),
];

/// RFC 3261 17.1.2.
const NON_INVITE_CLIENT: &[Row] = &[
    // RFC 3261 17.1.2.2: timer E sends the request again and is set to twice its interval, up to T2.
    row(
        Trying,
        &[RetransmitTimer],
        Trying,
        &[Resend, StartRetransmit],
    )
    .unreliable_only(),
    // RFC 3261 17.1.2.2: timer F ends it, and the TU hears of the timeout.
    row(
        Trying,
        &[TimeoutTimer],
        Terminated,
        &[InformTimeout, Forget],
    ),
    // RFC 3261 17.1.4: a transport failure ends it, and the TU hears of it.
    row(
        Trying,
        &[TransportError],
        Terminated,
        &[InformTransportError, Forget],
    ),
    // RFC 3261 17.1.2.2: a 1xx goes to the TU; timers E and F run on.
    row(
        Trying,
        &[Event::Trying, Provisional],
        Proceeding,
        &[Deliver],
    ),
    // RFC 3261 17.1.2.2: a final response goes to the TU; K starts, or is zero.
    row(
        Trying,
        &[Success, Failure],
        Completed,
        &[Deliver, StopRetransmit, StopTimeout, StartLinger],
    )
    .ends_if_reliable(&[Deliver, Forget]),
    // RFC 3261 17.1.2.2: the request goes on being sent, every T2.
    row(
        Proceeding,
        &[RetransmitTimer],
        Proceeding,
        &[Resend, StartRetransmit],
    )
    .unreliable_only(),
    // RFC 3261 17.1.2.2: timer F ends it here too.
    row(
        Proceeding,
        &[TimeoutTimer],
        Terminated,
        &[InformTimeout, Forget],
    ),
    // RFC 3261 17.1.2.2, figure 6: a transport failure ends it here too.
    row(
        Proceeding,
        &[TransportError],
        Terminated,
        &[InformTransportError, Forget],
    ),
    // RFC 3261 17.1.2.2, figure 6: further provisional responses go to the TU.
    row(
        Proceeding,
        &[Event::Trying, Provisional],
        Proceeding,
        &[Deliver],
    ),
    // RFC 3261 17.1.2.2: as in Trying.
    row(
        Proceeding,
        &[Success, Failure],
        Completed,
        &[Deliver, StopRetransmit, StopTimeout, StartLinger],
    )
    .ends_if_reliable(&[Deliver, Forget]),
    // RFC 3261 17.1.2.2: Completed is there to take up response retransmissions.
    row(
        Completed,
        &[Event::Trying, Provisional, Success, Failure],
        Completed,
        &[],
    ),
    // RFC 3261 17.1.2.2: timer K ends it.
    row(Completed, &[LingerTimer], Terminated, &[Forget]),
];

/// RFC 3261 17.2.1 as amended by RFC 6026 8.5 to 8.7.
const INVITE_SERVER: &[Row] = &[
    // RFC 3261 17.2.1: a retransmitted INVITE is answered with the last provisional response.
    row(Proceeding, &[Request], Proceeding, &[Resend]),
    // RFC 3261 17.2.1: provisional responses of the TU are sent.
    row(
        Proceeding,
        &[Event::Trying, Provisional],
        Proceeding,
        &[Send],
    ),
    // RFC 6026 8.5: a 2xx is sent, never retransmitted from here; timer L starts.
    row(Proceeding, &[Success], Accepted, &[Send, StartLinger]),
    // RFC 3261 17.2.1: a 3xx-6xx is sent; H starts, and G where the transport may lose it.
    Row {
        reliable: to(Completed, &[Send, StartTimeout]),
        ..row(
            Proceeding,
            &[Failure],
            Completed,
            &[Send, StartRetransmit, StartTimeout],
        )
    },
    // RFC 6026 7.1: a transport error never discards the state; the TU hears of it.
    row(
        Proceeding,
        &[TransportError],
        Proceeding,
        &[InformTransportError],
    ),
    // RFC 6026 8.5: retransmissions of an accepted INVITE are absorbed without a response.
    row(Accepted, &[Request], Accepted, &[]),
    // RFC 6026 8.5: every further 2xx of the TU is sent.
    row(Accepted, &[Success], Accepted, &[Send]),
    // RFC 6026 8.5: an ACK goes to the TU.
    row(Accepted, &[Ack], Accepted, &[Deliver]),
    // RFC 6026 7.1: as in Proceeding.
    row(
        Accepted,
        &[TransportError],
        Accepted,
        &[InformTransportError],
    ),
    // RFC 6026 8.5: timer L ends it.
    row(Accepted, &[LingerTimer], Terminated, &[Forget]),
    // RFC 3261 17.2.1: a retransmitted INVITE is answered with the final response.
    row(Completed, &[Request], Completed, &[Resend]),
    // RFC 3261 17.2.1: timer G sends the response again and is set to twice its interval, up to T2.
    row(
        Completed,
        &[RetransmitTimer],
        Completed,
        &[Resend, StartRetransmit],
    )
    .unreliable_only(),
    // RFC 3261 17.2.1: the ACK stops G and H and is not passed on; I starts, or is zero.
    row(
        Completed,
        &[Ack],
        Confirmed,
        &[StopRetransmit, StopTimeout, StartLinger],
    )
    .ends_if_reliable(&[Forget]),
    // RFC 3261 17.2.1: timer H: the ACK never came; the TU hears of it.
    row(
        Completed,
        &[TimeoutTimer],
        Terminated,
        &[InformTimeout, Forget],
    ),
    // RFC 6026 7.1: as in Proceeding.
    row(
        Completed,
        &[TransportError],
        Completed,
        &[InformTransportError],
    ),
    // RFC 3261 17.2.1: Confirmed is there to absorb further ACKs, and late copies of the INVITE.
    row(Confirmed, &[Ack, Request], Confirmed, &[]),
    // RFC 3261 17.2.1: timer I ends it.
    row(Confirmed, &[LingerTimer], Terminated, &[Forget]),
];

/// RFC 3261 17.2.2.
const NON_INVITE_SERVER: &[Row] = &[
    // RFC 3261 17.2.2: before any response, retransmissions of the request are discarded.
    row(Trying, &[Request], Trying, &[]),
    // RFC 3261 17.2.2: a provisional response is sent.
    row(Trying, &[Event::Trying, Provisional], Proceeding, &[Send]),
    // RFC 3261 17.2.2: a final response is sent; J starts, or is zero.
    row(Trying, &[Success, Failure], Completed, &[Send, StartLinger])
        .ends_if_reliable(&[Send, Forget]),
    // RFC 3261 17.2.2: a retransmitted request is answered with the last provisional response.
    row(Proceeding, &[Request], Proceeding, &[Resend]),
    // RFC 3261 17.2.2: further provisional responses are sent.
    row(
        Proceeding,
        &[Event::Trying, Provisional],
        Proceeding,
        &[Send],
    ),
    // RFC 3261 17.2.2: as in Trying.
    row(
        Proceeding,
        &[Success, Failure],
        Completed,
        &[Send, StartLinger],
    )
    .ends_if_reliable(&[Send, Forget]),
    // RFC 3261 17.2.4: a response that cannot be delivered ends it, and the TU hears of it.
    row(
        Proceeding,
        &[TransportError],
        Terminated,
        &[InformTransportError, Forget],
    ),
    // RFC 3261 17.2.2: a retransmitted request is answered with the final response.
    row(Completed, &[Request], Completed, &[Resend]),
    // RFC 3261 17.2.2: further final responses of the TU are discarded.
    row(Completed, &[Success, Failure], Completed, &[]),
    // RFC 3261 17.2.4: as in Proceeding.
    row(
        Completed,
        &[TransportError],
        Terminated,
        &[InformTransportError, Forget],
    ),
    // RFC 3261 17.2.2: timer J ends it.
    row(Completed, &[LingerTimer], Terminated, &[Forget]),
];
