//! RFC 3261 17.1.2 and 17.2.2, rule by rule.

use super::super::Kind::{NonInviteClient as Client, NonInviteServer as Server};
use super::super::{Action, Event, State, start};
use super::{go, ignored};
use Action::{
    Deliver, Forget, InformTimeout, InformTransportError, Resend, Send, StartLinger,
    StartRetransmit, StartTimeout, StopRetransmit, StopTimeout,
};
use Event::{
    Ack, Cancel, Failure, LingerTimer, Provisional, Request, RetransmitTimer, Success,
    TimeoutTimer, TransportError,
};
use State::{Completed, Proceeding, Terminated, Trying};

/// RFC 3261 17.1.2.2.
#[test]
fn a_request_is_sent_with_timer_f_and_on_unreliable_transports_e() {
    let begin = start(Client, false);
    assert_eq!(begin.next, Trying);
    assert_eq!(
        begin.actions.into_iter().collect::<Vec<_>>(),
        [Send, StartRetransmit, StartTimeout]
    );
    let begin = start(Client, true);
    assert_eq!(
        begin.actions.into_iter().collect::<Vec<_>>(),
        [Send, StartTimeout]
    );
}

/// RFC 3261 17.1.2.2.
#[test]
fn timer_e_sends_the_request_again_before_and_after_a_provisional_response() {
    for state in [Trying, Proceeding] {
        let expected = (state, vec![Resend, StartRetransmit]);
        assert_eq!(go(Client, state, RetransmitTimer, false), expected);
    }
}

/// RFC 3261 17.1.2.2.
#[test]
fn timer_f_tells_the_tu_and_ends() {
    for state in [Trying, Proceeding] {
        let expected = (Terminated, vec![InformTimeout, Forget]);
        assert_eq!(go(Client, state, TimeoutTimer, false), expected);
    }
}

/// RFC 3261 17.1.2.2: neither E nor F is touched.
#[test]
fn a_provisional_response_is_delivered_and_the_timers_run_on() {
    for state in [Trying, Proceeding] {
        for event in [Event::Trying, Provisional] {
            assert_eq!(go(Client, state, event, false), (Proceeding, vec![Deliver]));
        }
    }
}

/// RFC 3261 17.1.2.2.
#[test]
fn a_final_response_is_delivered_and_timer_k_takes_up_its_retransmissions() {
    for state in [Trying, Proceeding] {
        for event in [Success, Failure] {
            let expected = vec![Deliver, StopRetransmit, StopTimeout, StartLinger];
            assert_eq!(go(Client, state, event, false), (Completed, expected));
            assert_eq!(go(Client, Completed, event, false), (Completed, vec![]));
        }
    }
    assert_eq!(
        go(Client, Completed, LingerTimer, false),
        (Terminated, vec![Forget])
    );
}

/// RFC 3261 17.1.2.2: timer K is zero.
#[test]
fn a_final_response_on_a_reliable_transport_ends_at_once() {
    for state in [Trying, Proceeding] {
        assert_eq!(
            go(Client, state, Success, true),
            (Terminated, vec![Deliver, Forget])
        );
    }
}

/// RFC 3261 17.1.4.
#[test]
fn a_request_that_cannot_be_sent_ends_the_transaction() {
    for state in [Trying, Proceeding] {
        let expected = (Terminated, vec![InformTransportError, Forget]);
        assert_eq!(go(Client, state, TransportError, false), expected);
    }
}

/// RFC 3261 9.1: only an INVITE is cancelled.
#[test]
fn a_request_other_than_invite_is_not_cancelled_and_not_acknowledged() {
    for state in State::ALL {
        assert!(ignored(Client, state, Cancel));
        assert!(ignored(Server, state, Ack));
    }
}

/// RFC 3261 17.2.2.
#[test]
fn a_new_request_is_delivered_and_its_copies_are_not() {
    let begin = start(Server, false);
    assert_eq!(begin.next, Trying);
    assert_eq!(begin.actions.into_iter().collect::<Vec<_>>(), [Deliver]);
    assert_eq!(go(Server, Trying, Request, false), (Trying, vec![]));
}

/// RFC 3261 17.2.2.
#[test]
fn a_retransmitted_request_is_answered_with_the_last_response() {
    for state in [Proceeding, Completed] {
        assert_eq!(go(Server, state, Request, false), (state, vec![Resend]));
    }
}

/// RFC 3261 17.2.2.
#[test]
fn provisional_responses_of_the_tu_are_sent() {
    for state in [Trying, Proceeding] {
        assert_eq!(
            go(Server, state, Provisional, false),
            (Proceeding, vec![Send])
        );
    }
}

/// RFC 3261 17.2.2.
#[test]
fn a_final_response_of_the_tu_is_sent_and_kept_for_timer_j() {
    for state in [Trying, Proceeding] {
        for event in [Success, Failure] {
            assert_eq!(
                go(Server, state, event, false),
                (Completed, vec![Send, StartLinger])
            );
        }
    }
    assert_eq!(
        go(Server, Completed, LingerTimer, false),
        (Terminated, vec![Forget])
    );
}

/// RFC 3261 17.2.2: timer J is zero.
#[test]
fn a_final_response_of_the_tu_on_a_reliable_transport_ends_at_once() {
    for state in [Trying, Proceeding] {
        assert_eq!(
            go(Server, state, Success, true),
            (Terminated, vec![Send, Forget])
        );
    }
}

/// RFC 3261 17.2.2.
#[test]
fn a_second_final_response_of_the_tu_is_discarded() {
    for event in [Success, Failure] {
        assert_eq!(go(Server, Completed, event, false), (Completed, vec![]));
    }
}

/// RFC 3261 17.2.4.
#[test]
fn a_response_that_cannot_be_delivered_ends_the_transaction() {
    for state in [Proceeding, Completed] {
        let expected = (Terminated, vec![InformTransportError, Forget]);
        assert_eq!(go(Server, state, TransportError, false), expected);
    }
}
