//! Who may offer and who may answer (RFC 3264, RFC 3261 section 13.2.1, RFC 3311 section 5.1, RFC 6337).

/// How far offers and answers of a dialog are. The first two of each word before the session there is none to fall back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum State {
    /// No session yet, no offer.
    #[default]
    None,
    /// We sent the first offer.
    FirstSent,
    /// The first offer came.
    FirstReceived,
    /// There is a session, and no offer.
    Stable,
    /// We offered to change the session.
    Sent,
    /// The peer offered to change it.
    Received,
}

/// What happens to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// We send an offer.
    SendOffer,
    /// An offer comes.
    ReceiveOffer,
    /// We send an answer.
    SendAnswer,
    /// An answer comes.
    ReceiveAnswer,
    /// The open offer was refused or came to nothing: what was before is in force (RFC 6337 section 3.4).
    Refuse,
}

impl State {
    /// Every state.
    pub const ALL: [State; 6] = [
        State::None,
        State::FirstSent,
        State::FirstReceived,
        State::Stable,
        State::Sent,
        State::Received,
    ];

    /// Whether an offer is open.
    pub const fn is_open(self) -> bool {
        !matches!(self, State::None | State::Stable)
    }

    /// Whether a session was agreed on.
    pub const fn has_session(self) -> bool {
        matches!(self, State::Stable | State::Sent | State::Received)
    }

    /// The number of the state in records.
    pub const fn number(self) -> u64 {
        self as u64
    }

    /// The state of a number.
    pub fn of_number(number: u64) -> Option<State> {
        State::ALL.get(usize::try_from(number).ok()?).copied()
    }
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 5] = [
        Event::SendOffer,
        Event::ReceiveOffer,
        Event::SendAnswer,
        Event::ReceiveAnswer,
        Event::Refuse,
    ];
}

/// The table. `None`: it may not be now. An offer that comes while ours is open is glare, to be answered with 491; one that comes while
/// the peer's own is open, with 500 (RFC 3261 section 14.2).
pub const fn step(state: State, event: Event) -> Option<State> {
    let next = match (state, event) {
        (State::None, Event::SendOffer) => State::FirstSent,
        (State::None, Event::ReceiveOffer) => State::FirstReceived,
        (State::FirstSent, Event::ReceiveAnswer) => State::Stable,
        (State::FirstReceived, Event::SendAnswer) => State::Stable,
        (State::FirstSent | State::FirstReceived, Event::Refuse) => State::None,
        (State::Stable, Event::SendOffer) => State::Sent,
        (State::Stable, Event::ReceiveOffer) => State::Received,
        (State::Sent, Event::ReceiveAnswer) => State::Stable,
        (State::Received, Event::SendAnswer) => State::Stable,
        (State::Sent | State::Received, Event::Refuse) => State::Stable,
        _ => return None,
    };
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole matrix, as it is meant to be: a change of the table is a change here.
    const MATRIX: &str = "\
None SendOffer FirstSent
None ReceiveOffer FirstReceived
FirstSent ReceiveAnswer Stable
FirstSent Refuse None
FirstReceived SendAnswer Stable
FirstReceived Refuse None
Stable SendOffer Sent
Stable ReceiveOffer Received
Sent ReceiveAnswer Stable
Sent Refuse Stable
Received SendAnswer Stable
Received Refuse Stable
";

    #[test]
    fn the_table_is_its_snapshot() {
        let mut written = String::new();
        for state in State::ALL {
            for event in Event::ALL {
                if let Some(next) = step(state, event) {
                    written += &format!("{state:?} {event:?} {next:?}\n");
                }
            }
        }
        assert_eq!(written, MATRIX);
    }

    #[test]
    fn an_open_offer_allows_no_other() {
        for state in State::ALL.into_iter().filter(|state| state.is_open()) {
            assert_eq!(step(state, Event::SendOffer), None);
            assert_eq!(step(state, Event::ReceiveOffer), None);
        }
    }

    #[test]
    fn a_refused_offer_leaves_the_session_as_it_was() {
        for state in State::ALL.into_iter().filter(|state| state.is_open()) {
            let after = step(state, Event::Refuse).expect("an open offer can be refused");
            assert_eq!(after.has_session(), state.has_session());
            assert!(!after.is_open());
        }
    }

    #[test]
    fn states_are_read_by_their_numbers() {
        for state in State::ALL {
            assert_eq!(State::of_number(state.number()), Some(state));
        }
        assert_eq!(State::of_number(6), None);
    }
}
