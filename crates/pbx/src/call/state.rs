//! How far a leg is.

/// How far a leg is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// An INVITE came; the caller was told to wait.
    Invited,
    /// It was answered with 200, whose ACK is awaited.
    Answered,
    /// Our INVITE has no final answer.
    Calling,
    /// The phone rings, or speaks already.
    Ringing,
    /// There is a dialog, and both sides know it.
    Confirmed,
    /// It was answered and is to end; its BYE waits for the ACK (RFC 3261 section 15).
    Leaving,
    /// It is over; the figures of its media are awaited.
    Over,
}

/// What happens to a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Event {
    /// A provisional response that says that the phone rings.
    Provisional,
    /// A 2xx to our INVITE came.
    Success,
    /// We answer with 200.
    Answer,
    /// The ACK came.
    Ack,
    /// The other side ends it: a failure, a BYE, a CANCEL; or nobody answers.
    End,
    /// We end it.
    Hangup,
}

impl State {
    /// Every state.
    pub(crate) const ALL: [State; 7] = [
        State::Invited,
        State::Answered,
        State::Calling,
        State::Ringing,
        State::Confirmed,
        State::Leaving,
        State::Over,
    ];

    /// The state of a number in a record.
    pub(crate) fn of_number(number: u64) -> Option<State> {
        State::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether applications may do something with a leg.
    pub(crate) const fn is_alive(self) -> bool {
        !matches!(self, State::Leaving | State::Over)
    }

    /// Whether a final answer is still to come.
    pub(crate) const fn is_early(self) -> bool {
        matches!(self, State::Invited | State::Calling | State::Ringing)
    }
}

/// The table. `None`: it means nothing now.
pub(crate) const fn step(state: State, event: Event) -> Option<State> {
    let next = match (state, event) {
        (State::Invited, Event::Answer) => State::Answered,
        (State::Answered, Event::Ack) => State::Confirmed,
        (State::Answered, Event::Hangup) => State::Leaving,
        (State::Calling | State::Ringing, Event::Provisional) => State::Ringing,
        (State::Calling | State::Ringing, Event::Success) => State::Confirmed,
        (State::Leaving, Event::Ack | Event::End) => State::Over,
        (
            State::Invited | State::Answered | State::Calling | State::Ringing | State::Confirmed,
            Event::End,
        ) => State::Over,
        (State::Invited | State::Calling | State::Ringing | State::Confirmed, Event::Hangup) => {
            State::Over
        }
        _ => return None,
    };
    Some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MATRIX: &str = "\
Invited Answer Answered
Invited End Over
Invited Hangup Over
Answered Ack Confirmed
Answered End Over
Answered Hangup Leaving
Calling Provisional Ringing
Calling Success Confirmed
Calling End Over
Calling Hangup Over
Ringing Provisional Ringing
Ringing Success Confirmed
Ringing End Over
Ringing Hangup Over
Confirmed End Over
Confirmed Hangup Over
Leaving Ack Over
Leaving End Over
";

    #[test]
    fn the_table_is_its_snapshot() {
        let events = [
            Event::Provisional,
            Event::Success,
            Event::Answer,
            Event::Ack,
            Event::End,
            Event::Hangup,
        ];
        let mut written = String::new();
        for state in State::ALL {
            for event in events {
                if let Some(next) = step(state, event) {
                    written += &format!("{state:?} {event:?} {next:?}\n");
                }
            }
        }
        assert_eq!(written, MATRIX);
    }
}
