//! What comes out of a REGISTER besides its status. Reused from request to request.

use sip::Span;

use crate::contact::Wanted;
use crate::record::{BindingFields, BindingRow};

/// A change of the store's rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Inserts the row, or replaces the one of the same number.
    Put(Box<BindingRow>),
    /// Renews a row in which nothing else has changed.
    Refresh {
        /// The row's number.
        id: u64,
        /// When it ends now, in seconds since the Unix epoch.
        expires_at_unix_s: u64,
        /// Call-ID of the REGISTER, where that is another than before.
        call_id: Option<Box<[u8]>>,
        /// CSeq number of the REGISTER.
        cseq: u32,
    },
    /// Removes a row, if it is there.
    Delete {
        /// The row's number.
        id: u64,
    },
}

/// What happened to a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It is new.
    Registered,
    /// It was renewed, possibly with other contents.
    Refreshed,
    /// Its user removed it.
    Unregistered,
    /// It had ended before and was found now.
    Expired,
}

/// Something that an operator or a subscriber hears of. See [`Reply::contact`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// The binding's number.
    pub id: u64,
    contact: Span,
}

/// What comes out of a REGISTER besides its status.
#[derive(Default)]
pub struct Reply {
    /// Header lines for the response, each with its line end.
    pub headers: Vec<u8>,
    /// What the store has to be told, in order.
    pub changes: Vec<Change>,
    /// What happened.
    pub events: Vec<Event>,
    contacts: Vec<u8>,
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) path: Vec<u8>,
    pub(crate) record: Vec<u8>,
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reply")
            .field("changes", &self.changes)
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

impl Reply {
    /// An empty one.
    pub fn new() -> Reply {
        Reply::default()
    }

    /// The contact URI of an event.
    pub fn contact(&self, event: &Event) -> &[u8] {
        event.contact.of(&self.contacts)
    }

    pub(crate) fn clear(&mut self) {
        self.headers.clear();
        self.changes.clear();
        self.events.clear();
        self.contacts.clear();
        self.wanted.clear();
        self.path.clear();
        self.record.clear();
    }

    pub(crate) fn event(&mut self, kind: EventKind, id: u64, contact: &[u8]) {
        let start = self.contacts.len();
        self.contacts.extend_from_slice(contact);
        self.events.push(Event {
            kind,
            id,
            contact: Span::new(start, self.contacts.len()),
        });
    }

    pub(crate) fn put(&mut self, aor: &[u8], fields: &BindingFields<'_>) {
        self.changes
            .push(Change::Put(Box::new(BindingRow::new(aor, fields))));
    }
}
