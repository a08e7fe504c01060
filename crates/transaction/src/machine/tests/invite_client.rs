//! RFC 3261 17.1.1 and RFC 6026, rule by rule.

use super::super::Kind::InviteClient as Invite;
use super::super::{Action, Event, State, start, step};
use super::{go, ignored};
use Action::{
    Acknowledge, Deliver, Forget, InformTimeout, InformTransportError, Resend, Send, StartLinger,
    StartRetransmit, StartTimeout, StopRetransmit, StopTimeout,
};
use Event::{
    Cancel, Failure, LingerTimer, Provisional, RetransmitTimer, Success, TimeoutTimer,
    TransportError,
};
use State::{Accepted, Calling, Completed, Proceeding, Terminated};

/// RFC 3261 17.1.1.2.
#[test]
fn an_invite_is_sent_with_timers_a_and_b() {
    let begin = start(Invite, false);
    assert_eq!(begin.next, Calling);
    assert_eq!(
        begin.actions.into_iter().collect::<Vec<_>>(),
        [Send, StartRetransmit, StartTimeout]
    );
}

/// RFC 3261 17.1.1.2.
#[test]
fn timer_a_does_not_run_on_a_reliable_transport() {
    let begin = start(Invite, true);
    assert_eq!(
        begin.actions.into_iter().collect::<Vec<_>>(),
        [Send, StartTimeout]
    );
}

/// RFC 3261 17.1.1.2.
#[test]
fn timer_a_sends_the_invite_again_while_calling_only() {
    let (next, actions) = go(Invite, Calling, RetransmitTimer, false);
    assert_eq!((next, actions), (Calling, vec![Resend, StartRetransmit]));
    assert!(ignored(Invite, Proceeding, RetransmitTimer));
}

/// RFC 3261 17.1.1.2.
#[test]
fn timer_b_tells_the_tu_and_ends() {
    assert_eq!(
        go(Invite, Calling, TimeoutTimer, false),
        (Terminated, vec![InformTimeout, Forget])
    );
}

/// RFC 3261 17.1.1.2 and 16.6 step 11.
#[test]
fn a_provisional_response_stops_retransmission_and_puts_c_in_place_of_b() {
    for event in [Event::Trying, Provisional] {
        let expected = (Proceeding, vec![Deliver, StopRetransmit, StartTimeout]);
        assert_eq!(go(Invite, Calling, event, false), expected);
    }
}

/// RFC 3261 16.7 step 2.
#[test]
fn timer_c_is_set_anew_by_101_to_199_and_not_by_100() {
    let expected = (Proceeding, vec![Deliver, StartTimeout]);
    assert_eq!(go(Invite, Proceeding, Provisional, false), expected);
    assert_eq!(
        go(Invite, Proceeding, Event::Trying, false),
        (Proceeding, vec![Deliver])
    );
}

/// RFC 3261 17.1.1.2 and 17.1.1.3.
#[test]
fn a_failure_is_delivered_and_acknowledged() {
    for state in [Calling, Proceeding] {
        let (next, actions) = go(Invite, state, Failure, false);
        assert_eq!(next, Completed);
        assert!(actions.contains(&Acknowledge) && actions.contains(&Deliver));
        assert!(actions.contains(&StartLinger) && actions.contains(&StopTimeout));
    }
}

/// RFC 3261 17.1.1.2: timer D is zero.
#[test]
fn a_failure_on_a_reliable_transport_ends_at_once_after_its_ack() {
    for state in [Calling, Proceeding] {
        let expected = (Terminated, vec![Acknowledge, Deliver, Forget]);
        assert_eq!(go(Invite, state, Failure, true), expected);
    }
}

/// RFC 3261 17.1.1.2.
#[test]
fn a_retransmitted_failure_is_acknowledged_again_and_not_delivered() {
    assert_eq!(
        go(Invite, Completed, Failure, false),
        (Completed, vec![Acknowledge])
    );
}

/// RFC 3261 16.7 step 5: a proxy downstream forwards every 2xx, even after a final response.
#[test]
fn a_late_2xx_after_a_failure_reaches_the_tu() {
    assert_eq!(
        go(Invite, Completed, Success, false),
        (Completed, vec![Deliver])
    );
}

/// RFC 3261 17.1.1.2.
#[test]
fn timer_d_ends_a_completed_invite() {
    assert_eq!(
        go(Invite, Completed, LingerTimer, false),
        (Terminated, vec![Forget])
    );
}

/// RFC 3261 figure 5.
#[test]
fn an_ack_that_cannot_be_sent_ends_the_transaction() {
    let expected = (Terminated, vec![InformTransportError, Forget]);
    assert_eq!(go(Invite, Completed, TransportError, false), expected);
}

/// RFC 3261 17.1.4.
#[test]
fn an_invite_that_cannot_be_sent_ends_the_transaction() {
    for reliable in [false, true] {
        let expected = (Terminated, vec![InformTransportError, Forget]);
        assert_eq!(go(Invite, Calling, TransportError, reliable), expected);
    }
}

/// RFC 3261 18.2.2: the response may come on another connection, so that the TU has to cancel.
#[test]
fn a_transport_error_after_a_provisional_response_leaves_the_choice_to_the_tu() {
    let expected = (Proceeding, vec![InformTransportError]);
    assert_eq!(go(Invite, Proceeding, TransportError, true), expected);
}

/// RFC 6026 8.4: timer M, the same on every transport.
#[test]
fn a_2xx_is_delivered_and_keeps_the_transaction_for_timer_m() {
    for reliable in [false, true] {
        for state in [Calling, Proceeding] {
            let (next, actions) = go(Invite, state, Success, reliable);
            assert_eq!(next, Accepted);
            assert!(actions.contains(&Deliver) && actions.contains(&StartLinger));
            assert!(!actions.contains(&Acknowledge), "the TU acknowledges a 2xx");
        }
        assert_eq!(
            go(Invite, Accepted, LingerTimer, reliable),
            (Terminated, vec![Forget])
        );
    }
}

/// RFC 6026 8.4.
#[test]
fn every_further_2xx_is_delivered() {
    assert_eq!(
        go(Invite, Accepted, Success, false),
        (Accepted, vec![Deliver])
    );
}

/// RFC 6026 7.2.
#[test]
fn what_is_not_a_2xx_is_absorbed_once_accepted() {
    for event in [Event::Trying, Provisional, Failure] {
        assert_eq!(go(Invite, Accepted, event, false), (Accepted, vec![]));
    }
}

/// RFC 3261 9.1: a CANCEL is not sent before a provisional response.
#[test]
fn a_cancel_has_no_meaning_while_calling() {
    assert!(ignored(Invite, Calling, Cancel));
}

/// RFC 3261 9.1.
#[test]
fn a_cancelled_invite_waits_64_t1_for_its_final_response() {
    let expected = (Proceeding, vec![StopTimeout, StartLinger]);
    assert_eq!(go(Invite, Proceeding, Cancel, false), expected);
    let expected = (Terminated, vec![InformTimeout, Forget]);
    assert_eq!(go(Invite, Proceeding, LingerTimer, false), expected);
}

/// RFC 3261 16.8.
#[test]
fn timer_c_asks_the_tu_to_cancel_and_bounds_the_wait() {
    let expected = (Proceeding, vec![InformTimeout, StartLinger]);
    assert_eq!(go(Invite, Proceeding, TimeoutTimer, false), expected);
}

/// RFC 6026 8.4 and RFC 3261 9.1: a 2xx that crossed the CANCEL.
#[test]
fn a_2xx_to_a_cancelled_invite_is_delivered_and_m_takes_over() {
    let transition = step(Invite, Proceeding, Success, false).expect("a 2xx has a meaning");
    assert_eq!(transition.next, Accepted);
    assert!(
        transition.actions.contains(StartLinger),
        "M replaces the wait after the CANCEL"
    );
}
