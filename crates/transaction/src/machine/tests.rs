use std::collections::{BTreeSet, VecDeque};

use super::{Action, Actions, Event, Kind, State, Transition, start, step};
use crate::timer::{Role, Timers, delay_ms};

fn go(kind: Kind, state: State, event: Event, reliable: bool) -> (State, Vec<Action>) {
    let Transition { next, actions } =
        step(kind, state, event, reliable).expect("the event has a meaning in this state");
    (next, actions.into_iter().collect())
}

fn ignored(kind: Kind, state: State, event: Event) -> bool {
    step(kind, state, event, false).is_none() && step(kind, state, event, true).is_none()
}

/// A transaction as a caller keeps it: the state and which timers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Transaction {
    state: u8,
    running: [bool; 3],
}

fn role_of(event: Event) -> Option<Role> {
    match event {
        Event::RetransmitTimer => Some(Role::Retransmit),
        Event::TimeoutTimer => Some(Role::Timeout),
        Event::LingerTimer => Some(Role::Linger),
        _ => None,
    }
}

impl Transaction {
    fn state(self) -> State {
        State::ALL[usize::from(self.state)]
    }

    fn runs(self, role: Role) -> bool {
        self.running[role as usize]
    }

    fn started(kind: Kind, reliable: bool) -> Transaction {
        let new = Transaction {
            state: 0,
            running: [false; 3],
        };
        new.performed(kind, start(kind, reliable), reliable)
    }

    /// The transaction after an event; a timer's event comes only from a timer that runs.
    fn after(mut self, kind: Kind, event: Event, reliable: bool) -> Option<Transaction> {
        if let Some(role) = role_of(event) {
            if !self.runs(role) {
                return None;
            }
            self.running[role as usize] = false;
        }
        match step(kind, self.state(), event, reliable) {
            Some(transition) => Some(self.performed(kind, transition, reliable)),
            None => {
                assert!(
                    role_of(event).is_none(),
                    "{kind:?} {self:?} ignores {event:?}"
                );
                Some(self)
            }
        }
    }

    fn performed(mut self, kind: Kind, transition: Transition, reliable: bool) -> Transaction {
        let Transition { next, actions } = transition;
        self.state = next as u8;
        for action in actions {
            match action {
                Action::StartRetransmit => self.running[Role::Retransmit as usize] = true,
                Action::StartTimeout => self.running[Role::Timeout as usize] = true,
                Action::StartLinger => self.running[Role::Linger as usize] = true,
                Action::StopRetransmit => self.running[Role::Retransmit as usize] = false,
                Action::StopTimeout => self.running[Role::Timeout as usize] = false,
                Action::Forget => self.running = [false; 3],
                _ => {}
            }
        }
        for role in Role::ALL {
            let delay_ms = delay_ms(&Timers::default(), kind, next, role, 0, reliable);
            assert!(
                !self.runs(role) || delay_ms.is_some_and(|ms| ms > 0),
                "{kind:?} {next:?}: a timer runs that has no name or no length"
            );
        }
        self
    }

    /// Only the TU can get a server on that has not answered finally.
    fn awaits_tu(self, kind: Kind) -> bool {
        !kind.is_client() && matches!(self.state(), State::Trying | State::Proceeding)
    }
}

/// Every situation that any sequence of events leads to: the tables are small enough to visit all.
fn reachable(kind: Kind, reliable: bool) -> BTreeSet<Transaction> {
    let first = Transaction::started(kind, reliable);
    let mut seen = BTreeSet::from([first]);
    let mut queue = VecDeque::from([first]);
    while let Some(transaction) = queue.pop_front() {
        for event in Event::ALL {
            if let Some(next) = transaction.after(kind, event, reliable)
                && seen.insert(next)
            {
                queue.push_back(next);
            }
        }
    }
    seen
}

fn all_machines() -> impl Iterator<Item = (Kind, bool)> {
    Kind::ALL
        .into_iter()
        .flat_map(|kind| [(kind, false), (kind, true)])
}

#[test]
fn whatever_happened_a_machine_ends_once_its_timers_have_fired() {
    for (kind, reliable) in all_machines() {
        for mut transaction in reachable(kind, reliable) {
            if transaction.awaits_tu(kind) {
                transaction = transaction
                    .after(kind, Event::Failure, reliable)
                    .expect("no timer");
            }
            let mut fired = 0;
            while transaction.state() != State::Terminated {
                let event = [Event::TimeoutTimer, Event::LingerTimer]
                    .into_iter()
                    .find(|&event| role_of(event).is_some_and(|role| transaction.runs(role)))
                    .expect("a live machine has a timer that ends it");
                transaction = transaction
                    .after(kind, event, reliable)
                    .expect("the timer runs");
                fired += 1;
                assert!(fired <= 3, "{kind:?} does not end");
            }
            assert_eq!(transaction.running, [false; 3]);
        }
    }
}

#[test]
fn only_a_server_that_has_not_answered_lives_without_a_timer() {
    for (kind, reliable) in all_machines() {
        for transaction in reachable(kind, reliable) {
            let ends = transaction.runs(Role::Timeout) || transaction.runs(Role::Linger);
            let over = transaction.state() == State::Terminated;
            assert!(
                ends || over || transaction.awaits_tu(kind),
                "{kind:?} {transaction:?}"
            );
        }
    }
}

#[test]
fn a_reliable_transport_never_sees_a_timed_retransmission() {
    for kind in Kind::ALL {
        for transaction in reachable(kind, true) {
            assert!(!transaction.runs(Role::Retransmit));
        }
        for state in State::ALL {
            assert!(step(kind, state, Event::RetransmitTimer, true).is_none());
            for event in Event::ALL
                .into_iter()
                .filter(|&event| event != Event::Request)
            {
                let actions = step(kind, state, event, true).map_or(Actions::NONE, |t| t.actions);
                assert!(!actions.contains(Action::Resend));
                assert!(!actions.contains(Action::StartRetransmit));
            }
        }
    }
}

#[test]
fn forgetting_comes_with_termination_and_only_then() {
    for (kind, reliable) in all_machines() {
        for state in State::ALL {
            for event in Event::ALL {
                let Some(Transition { next, actions }) = step(kind, state, event, reliable) else {
                    continue;
                };
                assert_eq!(actions.contains(Action::Forget), next == State::Terminated);
            }
        }
    }
}

#[test]
fn nothing_has_a_meaning_once_terminated() {
    for kind in Kind::ALL {
        for event in Event::ALL {
            assert!(ignored(kind, State::Terminated, event));
        }
    }
}

#[test]
fn every_state_with_a_row_is_reached() {
    for (kind, reliable) in all_machines() {
        let reached = reachable(kind, reliable);
        for state in State::ALL {
            let live = Event::ALL
                .iter()
                .any(|&event| step(kind, state, event, reliable).is_some());
            // On a reliable transport the states that D, I, J and K end are passed over.
            let passed_over = reliable && matches!(state, State::Completed | State::Confirmed);
            let is_reached = reached
                .iter()
                .any(|transaction| transaction.state() == state);
            assert!(!live || is_reached || passed_over, "{kind:?} {state:?}");
        }
    }
}

#[test]
fn a_set_of_actions_yields_them_in_order() {
    use Action::{Deliver, Forget, Send};
    let actions = Actions::of(&[Forget, Deliver, Send]);
    assert_eq!(
        actions.into_iter().collect::<Vec<_>>(),
        [Send, Deliver, Forget]
    );
    assert!(actions.contains(Deliver) && !actions.contains(Action::Resend));
    assert_eq!(Actions::NONE.into_iter().next(), None);
    let all = Actions::of(&Action::ALL);
    assert_eq!(all.into_iter().collect::<Vec<_>>(), Action::ALL);
}

#[test]
fn a_status_code_is_an_event() {
    assert_eq!(Event::of_status(99), None);
    assert_eq!(Event::of_status(100), Some(Event::Trying));
    assert_eq!(Event::of_status(180), Some(Event::Provisional));
    assert_eq!(Event::of_status(200), Some(Event::Success));
    assert_eq!(Event::of_status(302), Some(Event::Failure));
    assert_eq!(Event::of_status(699), Some(Event::Failure));
    assert_eq!(Event::of_status(700), None);
}

mod invite_client;
mod invite_server;
mod non_invite;
