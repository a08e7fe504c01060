//! Codes that phones key in.

/// Codes during a call, and numbers of services. An empty one is switched off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Features {
    /// Begins and ends a recording.
    pub record: String,
    /// Sends the other party to a number without a word.
    pub blind: Vec<String>,
    /// Asks somebody else before the other party is sent there.
    pub attended: String,
    /// Parks the other party.
    pub park: String,
    /// Mutes or unmutes in a conference.
    pub mute: String,
    /// Plays the caller's own mailbox.
    pub own_mailbox: String,
    /// Plays any mailbox.
    pub any_mailbox: String,
    /// Answers what rings in the group; with a number after it, what rings there.
    pub pickup: String,
    /// An agent comes.
    pub login: String,
    /// An agent goes.
    pub logout: String,
    /// How long after a key the next one of a code may come, in milliseconds.
    pub between_ms: u32,
    /// How long a phone is rung whose blind transfer came to nothing, in seconds; 0: not at all.
    pub recall_s: u32,
}

impl Default for Features {
    fn default() -> Features {
        Features {
            record: "*1".to_owned(),
            blind: vec!["##".to_owned(), "*3".to_owned()],
            attended: "*2".to_owned(),
            park: "*4".to_owned(),
            mute: "*6".to_owned(),
            own_mailbox: "*97".to_owned(),
            any_mailbox: "*98".to_owned(),
            pickup: "*8".to_owned(),
            login: "*45".to_owned(),
            logout: "*46".to_owned(),
            between_ms: 1_500,
            recall_s: 30,
        }
    }
}

/// What a code during a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    Record,
    Blind,
    Attended,
    Park,
}

/// What keys in a call are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A code.
    Code(Code),
    /// The beginning of one.
    Begun,
    /// Nothing that concerns us.
    Nothing,
}

impl Features {
    pub(crate) fn hear(&self, keys: &str) -> Heard {
        let blind = self.blind.iter().map(|code| (code, Code::Blind));
        let all = [
            (&self.record, Code::Record),
            (&self.attended, Code::Attended),
            (&self.park, Code::Park),
        ];
        let mut heard = Heard::Nothing;
        for (code, what) in all.into_iter().chain(blind) {
            if code.is_empty() {
                continue;
            }
            if code == keys {
                return Heard::Code(what);
            }
            if code.starts_with(keys) {
                heard = Heard::Begun;
            }
        }
        heard
    }
}

/// Where calls are parked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parking {
    /// The number that parks a call that is sent there; empty: none.
    pub number: String,
    /// The first slot.
    pub first: u32,
    /// The last one.
    pub last: u32,
    /// How long a call is parked before it goes back.
    pub timeout_ms: u32,
    /// What is heard meanwhile.
    pub music: String,
}

impl Default for Parking {
    fn default() -> Parking {
        Parking {
            number: "700".to_owned(),
            first: 701,
            last: 720,
            timeout_ms: 60_000,
            music: "default".to_owned(),
        }
    }
}
