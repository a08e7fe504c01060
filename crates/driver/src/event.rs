//! What those who look are told.

use proxy::{Call, CallNote};
use registrar::EventKind;
use transaction::Time;

/// Something that happened. Texts are as phones sent them, made printable.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A phone registered.
    Registered {
        /// Whose.
        aor: String,
        /// Where it is reached.
        contact: String,
    },
    /// A phone went away.
    Unregistered {
        /// Whose.
        aor: String,
        /// Where it was reached.
        contact: String,
    },
    /// A phone did not renew its registration.
    Expired {
        /// Whose.
        aor: String,
        /// Where it was reached.
        contact: String,
    },
    /// A call went a step.
    Call {
        /// Its Call-ID.
        call_id: String,
        /// Who calls.
        from: String,
        /// Who is called.
        to: String,
        /// The step.
        note: CallNote,
        /// Milliseconds since its answer, for one that ended.
        talked_ms: Option<u64>,
        /// What became of its media, for one that ended and was relayed.
        media: Option<Box<relay::Report>>,
    },
    /// A source is banned from now on.
    Banned {
        /// Its address, or its /64.
        source: String,
        /// The offence that was one too many.
        offence: &'static str,
        /// Whether only the holder of the address can have done it.
        is_proved: bool,
        /// For how long, in seconds.
        duration_s: u64,
    },
    /// A worker has begun, or ceased, to turn new calls and registrations away since it had too much to do.
    Overload {
        /// Whether it has begun.
        is_refusing: bool,
        /// How long a message waits, in milliseconds.
        lag_ms: u64,
    },
    /// A service of the cluster changed hands, or whoever is in sync with it did.
    Cluster {
        /// Its name.
        service: String,
        /// What happened, in words.
        what: String,
    },
    /// A media server of a pool stands otherwise than before.
    Target {
        /// Its URI or service name.
        target: String,
        /// How it stood.
        from: &'static str,
        /// How it stands.
        to: &'static str,
        /// Why, in words.
        reason: String,
    },
}

impl Event {
    pub(crate) fn of_binding(note: &edge::BindingNote) -> Option<Event> {
        let (aor, contact) = (printable(&note.aor), printable(&note.contact));
        match note.kind {
            EventKind::Registered => Some(Event::Registered { aor, contact }),
            EventKind::Unregistered => Some(Event::Unregistered { aor, contact }),
            EventKind::Expired => Some(Event::Expired { aor, contact }),
            EventKind::Refreshed => None,
        }
    }

    pub(crate) fn of_call(call: &Call, note: CallNote, now: Time) -> Event {
        Event::Call {
            call_id: printable(&call.call_id),
            from: printable(&call.from),
            to: printable(&call.to),
            note,
            talked_ms: call
                .answered
                .filter(|_| matches!(note, CallNote::Ended | CallNote::Silent))
                .map(|answered| now.ms_since(answered)),
            media: None,
        }
    }
}

/// Bytes of a message as text.
pub(crate) fn printable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}
