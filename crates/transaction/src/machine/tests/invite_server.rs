//! RFC 3261 17.2.1 and RFC 6026, rule by rule.

use super::super::Kind::InviteServer as Invite;
use super::super::{Action, Event, State, start};
use super::{go, ignored};
use Action::{
    Deliver, Forget, InformTimeout, InformTransportError, Resend, Send, StartLinger,
    StartRetransmit, StartTimeout, StopRetransmit, StopTimeout,
};
use Event::{
    Ack, Failure, LingerTimer, Provisional, Request, RetransmitTimer, Success, TimeoutTimer,
    TransportError,
};
use State::{Accepted, Completed, Confirmed, Proceeding, Terminated};

/// RFC 3261 17.2.1.
#[test]
fn a_new_invite_is_delivered_and_proceeding() {
    let begin = start(Invite, false);
    assert_eq!(begin.next, Proceeding);
    assert_eq!(begin.actions.into_iter().collect::<Vec<_>>(), [Deliver]);
}

/// RFC 3261 17.2.1.
#[test]
fn a_retransmitted_invite_is_answered_with_the_last_provisional_response() {
    assert_eq!(
        go(Invite, Proceeding, Request, false),
        (Proceeding, vec![Resend])
    );
}

/// RFC 3261 17.2.1.
#[test]
fn provisional_responses_are_sent() {
    for event in [Event::Trying, Provisional] {
        assert_eq!(
            go(Invite, Proceeding, event, false),
            (Proceeding, vec![Send])
        );
    }
}

/// RFC 6026 8.5: timer L, the same on every transport; the TU retransmits its 2xx.
#[test]
fn a_2xx_is_sent_and_keeps_the_transaction_for_timer_l() {
    for reliable in [false, true] {
        let expected = (Accepted, vec![Send, StartLinger]);
        assert_eq!(go(Invite, Proceeding, Success, reliable), expected);
        assert_eq!(
            go(Invite, Accepted, LingerTimer, reliable),
            (Terminated, vec![Forget])
        );
    }
}

/// RFC 6026 8.5.
#[test]
fn retransmissions_of_an_accepted_invite_are_absorbed() {
    assert_eq!(go(Invite, Accepted, Request, false), (Accepted, vec![]));
}

/// RFC 6026 8.5.
#[test]
fn every_further_2xx_of_the_tu_is_sent() {
    assert_eq!(go(Invite, Accepted, Success, false), (Accepted, vec![Send]));
}

/// RFC 6026 8.5.
#[test]
fn an_ack_to_an_accepted_invite_is_delivered() {
    assert_eq!(go(Invite, Accepted, Ack, false), (Accepted, vec![Deliver]));
}

/// RFC 6026 8.5.
#[test]
fn an_accepted_invite_cannot_be_refused_any_more() {
    assert!(ignored(Invite, Accepted, Failure));
    assert!(ignored(Invite, Accepted, Provisional));
}

/// RFC 6026 7.1.
#[test]
fn a_transport_error_leaves_the_state_and_tells_the_tu() {
    for reliable in [false, true] {
        for state in [Proceeding, Accepted, Completed] {
            let expected = (state, vec![InformTransportError]);
            assert_eq!(go(Invite, state, TransportError, reliable), expected);
        }
    }
}

/// RFC 3261 17.2.1.
#[test]
fn a_failure_is_sent_with_timers_g_and_h() {
    let expected = (Completed, vec![Send, StartRetransmit, StartTimeout]);
    assert_eq!(go(Invite, Proceeding, Failure, false), expected);
}

/// RFC 3261 17.2.1.
#[test]
fn timer_g_does_not_run_on_a_reliable_transport_but_h_does() {
    assert_eq!(
        go(Invite, Proceeding, Failure, true),
        (Completed, vec![Send, StartTimeout])
    );
}

/// RFC 3261 17.2.1.
#[test]
fn timer_g_sends_the_failure_again() {
    let expected = (Completed, vec![Resend, StartRetransmit]);
    assert_eq!(go(Invite, Completed, RetransmitTimer, false), expected);
}

/// RFC 3261 17.2.1.
#[test]
fn a_retransmitted_invite_is_answered_with_the_failure() {
    assert_eq!(
        go(Invite, Completed, Request, false),
        (Completed, vec![Resend])
    );
}

/// RFC 3261 17.2.1.
#[test]
fn timer_h_tells_the_tu_and_ends() {
    let expected = (Terminated, vec![InformTimeout, Forget]);
    assert_eq!(go(Invite, Completed, TimeoutTimer, false), expected);
}

/// RFC 3261 17.2.1.
#[test]
fn the_ack_of_a_failure_stops_its_retransmission_and_is_not_delivered() {
    let expected = (Confirmed, vec![StopRetransmit, StopTimeout, StartLinger]);
    assert_eq!(go(Invite, Completed, Ack, false), expected);
}

/// RFC 3261 17.2.1: timer I is zero.
#[test]
fn the_ack_of_a_failure_on_a_reliable_transport_ends_at_once() {
    assert_eq!(go(Invite, Completed, Ack, true), (Terminated, vec![Forget]));
}

/// RFC 3261 17.2.1.
#[test]
fn further_acks_are_absorbed_until_timer_i() {
    assert_eq!(go(Invite, Confirmed, Ack, false), (Confirmed, vec![]));
    assert_eq!(go(Invite, Confirmed, Request, false), (Confirmed, vec![]));
    assert_eq!(
        go(Invite, Confirmed, LingerTimer, false),
        (Terminated, vec![Forget])
    );
}

/// RFC 3261 17.2.1.
#[test]
fn an_ack_before_any_final_response_has_no_meaning() {
    assert!(ignored(Invite, Proceeding, Ack));
}
