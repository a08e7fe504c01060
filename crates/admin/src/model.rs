//! What the API speaks of, in the form it has as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cluster::ClusterStatus;
use crate::media::{MediaLeg, RelayStatus};
use crate::pool::PoolStatus;

/// Whether the node takes work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It does.
    Ready,
    /// It does not, and why: starting, draining, the store away.
    Unready {
        /// In words.
        reason: String,
    },
}

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Not yet taking work.
    Starting,
    /// Taking work.
    Ready,
    /// Ending what was accepted, taking nothing new.
    Draining,
    /// Up, and something it needs is not.
    Degraded,
}

/// The node in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub node: String,
    /// The program's version.
    pub version: String,
    /// Where it is in its life.
    pub state: State,
    /// Why it is not ready, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Seconds since it started.
    pub uptime_s: u64,
    /// The sockets it listens on, with the ports they really have.
    pub listeners: Vec<String>,
    /// The domains it answers for.
    pub domains: Vec<String>,
    /// The store's URL without its password.
    pub store: String,
    /// Users in the store.
    pub users: u64,
    /// Bindings in force.
    pub bindings: u64,
    /// Calls in progress.
    pub calls: u64,
    /// Transactions in progress.
    pub transactions: u64,
    /// The relay of media, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relay: Option<RelayStatus>,
    /// The PBX, where there is one; of several, their sum.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pbx: Option<PbxStatus>,
    /// Each PBX by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pbxs: Vec<PbxStatus>,
    /// The pools of media servers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<PoolStatus>,
    /// The cluster, where the node is in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterStatus>,
}

/// How a PBX is doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PbxStatus {
    /// The cluster's service that it is, or the node.
    #[serde(default)]
    pub name: String,
    /// Where it listens.
    pub listener: String,
    /// Legs in progress: most calls have two.
    pub legs: u64,
    /// Calls that came in since the start.
    pub incoming: u64,
    /// Calls that it made.
    pub outgoing: u64,
    /// Calls refused because there were as many as may be.
    pub refused: u64,
    /// Subscriptions in force.
    pub subscriptions: u64,
    /// Pairs of ports for sound that are in use.
    pub ports_in_use: u64,
    /// Pairs that are free.
    pub ports_free: u64,
    /// Packets of sound that came in.
    pub packets_received: u64,
    /// Packets of sound that left.
    pub packets_sent: u64,
    /// Packets that left more than a frame (20 ms) late.
    pub packets_late: u64,
    /// 99 of 100 packets left at most so late, in microseconds, rounded up to a bound that is counted by.
    #[serde(default)]
    pub packets_late_p99_us: u64,
    /// The longest that its thread was busy at a time, in the last minute or two, in microseconds.
    #[serde(default)]
    pub turn_longest_us: u64,
    /// Recordings and voice messages that are safe in the media store.
    #[serde(default)]
    pub recordings: u64,
    /// Those of which the media store did not take all.
    #[serde(default)]
    pub recordings_lost: u64,
    /// Records of calls that there was no room for before they could be written.
    #[serde(default)]
    pub cdrs_lost: u64,
    /// Voice messages that a webhook, a mail program or a mail server took.
    #[serde(default)]
    pub messages_handed_over: u64,
    /// Those that are still to be taken by one of them.
    #[serde(default)]
    pub hand_overs_waiting: u64,
    /// Those that none of them took in time.
    #[serde(default)]
    pub hand_overs_given_up: u64,
    /// Files of the operator's prompts that could not be used when they were read last.
    #[serde(default)]
    pub prompts_left_out: u64,
}

/// One binding of an address of record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    /// The address of record, `user@domain`.
    pub aor: String,
    /// The contact URI.
    pub contact: String,
    /// Seconds until it ends.
    pub expires_in_s: u64,
    /// Its preference, from 0 to 1.
    pub q: f32,
    /// The transport it was registered over.
    pub transport: String,
    /// The address it was registered from.
    pub source: String,
    /// The Path it is reached by (RFC 3327).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<String>,
    /// `+sip.instance` (RFC 5626).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// `reg-id` (RFC 5626).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reg_id: Option<u32>,
    /// What the phone calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// The INVITE is out.
    Calling,
    /// Somebody's phone rings.
    Ringing,
    /// Answered.
    Answered,
}

impl fmt::Display for CallState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CallState::Calling => "calling",
            CallState::Ringing => "ringing",
            CallState::Answered => "answered",
        })
    }
}

/// A call in progress.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// Its Call-ID.
    pub call_id: String,
    /// Who calls.
    pub from: String,
    /// Who is called.
    pub to: String,
    /// Where it is.
    pub state: CallState,
    /// Seconds since the INVITE.
    pub age_s: u64,
    /// Seconds since the answer, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_s: Option<u64>,
    /// The ways of its media, where they are relayed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub media: Vec<MediaLeg>,
}

/// A user, without credentials.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The address of record, `user@domain`.
    pub aor: String,
    /// The algorithms there are credentials for.
    pub algorithms: Vec<String>,
}

/// A domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domain {
    /// Its name.
    pub domain: String,
    /// Whether the configuration file names it; such a one is not deleted
    /// here.
    pub configured: bool,
}

/// A password on its way to becoming HA1. It is neither printed nor written.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    /// Takes a password.
    #[must_use]
    pub fn new(text: String) -> Self {
        Password(text)
    }

    /// The password itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(***)")
    }
}

/// What a new user proves himself with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Credential {
    /// A password.
    Password(Password),
    /// HA1 in hexadecimal by algorithm name, as another registrar keeps it,
    /// with the domain as realm.
    Ha1(BTreeMap<String, Password>),
}

/// A user to add.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NewUser {
    /// The address of record, `user@domain`.
    pub aor: String,
    /// `"password": "..."` or `"ha1": { "MD5": "..." }`.
    #[serde(flatten)]
    pub credential: Credential,
    /// Lets the node learn of the user within seconds instead of at once,
    /// which spares it a look at all users for each of many.
    #[serde(default)]
    pub later: bool,
}

/// Many users to add.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct UserImport {
    /// The users.
    pub users: Vec<NewUser>,
    /// Gives those that are there already the new credentials.
    #[serde(default)]
    pub replace: bool,
}

/// What became of many users.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Imported {
    /// How many are new.
    pub added: u64,
    /// How many were there and have new credentials.
    pub replaced: u64,
    /// How many were there and were left alone.
    pub there: u64,
    /// Those that are not valid; they were passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mistakes: Vec<ImportMistake>,
}

/// A user that was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportMistake {
    /// Which one of [`UserImport::users`], from 0.
    pub index: usize,
    /// What is wrong, and what would be right.
    pub what: String,
}

/// Which items of a list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Only those of this address of record.
    pub aor: Option<String>,
    /// Only those after this cursor, a [`Page::next`].
    pub after: Option<String>,
    /// At most so many.
    pub limit: usize,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items, in an order that pages agree on.
    pub items: Vec<T>,
    /// What to ask `after` for the rest; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What a reload did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Keys whose new values hold from the next start.
    pub needs_restart: Vec<String>,
}

/// Something that happened, with its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stamped {
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// A phone registered that was not registered before.
    Registered {
        /// `user@domain`.
        aor: String,
        /// Where it is reached.
        contact: String,
        /// Over which transport.
        transport: String,
        /// From which address.
        source: String,
        /// For how many seconds.
        expires_s: u64,
    },
    /// A phone took its binding back.
    Unregistered {
        /// `user@domain`.
        aor: String,
        /// Where it was reached.
        contact: String,
    },
    /// A binding was not refreshed in time.
    Expired {
        /// `user@domain`.
        aor: String,
        /// Where it was reached.
        contact: String,
    },
    /// Somebody calls.
    CallStarted {
        /// The Call-ID.
        call_id: String,
        /// Who.
        from: String,
        /// Whom.
        to: String,
    },
    /// The other side rings.
    CallRinging {
        /// The Call-ID.
        call_id: String,
        /// Who.
        from: String,
        /// Whom.
        to: String,
    },
    /// The call's target was left for the next one of its pool.
    CallMoved {
        /// The Call-ID.
        call_id: String,
        /// Who.
        from: String,
        /// Whom.
        to: String,
    },
    /// A media server of a pool stands otherwise than before.
    TargetChanged {
        /// Its URI.
        target: String,
        /// The service of the cluster that is there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<String>,
        /// How it stood: `up`, `warming`, `busy`, `out`, `draining`, `disabled`, `absent`.
        from: String,
        /// How it stands.
        to: String,
        /// Why, in words.
        reason: String,
    },
    /// A source is banned from now on.
    SourceBanned {
        /// Its address, or its IPv6 network of 64 bits.
        source: String,
        /// What was one too many, as in [`crate::Ban`].
        reason: String,
        /// Whether only the holder of the address can have done it.
        proved: bool,
        /// For how long, in seconds.
        duration_s: u64,
    },
    /// A voice message is in its mailbox, and who wants to hear of it elsewhere was not told in time.
    MessageNotHandedOver {
        /// The mailbox that it is in.
        mailbox: String,
        /// Its sound in the media store.
        path: String,
        /// `webhook`, `command` or `mail`.
        way: String,
        /// Why.
        reason: String,
    },
    /// The media store did not take a recording or a voice message, or not all of it.
    RecordingNotSaved {
        /// Its name in the media store.
        path: String,
        /// Why.
        reason: String,
    },
    /// A service of the cluster changed hands, or whoever is in sync with it did.
    ServiceChanged {
        /// The service.
        service: String,
        /// What happened, in words.
        what: String,
    },
    /// The node has begun, or ceased, to turn new calls and registrations away since it has too much to do.
    Overload {
        /// Whether it has begun.
        refusing: bool,
        /// How long a message waits, in milliseconds.
        lag_ms: u64,
    },
    /// The other side answered.
    CallAnswered {
        /// The Call-ID.
        call_id: String,
        /// Who.
        from: String,
        /// Whom.
        to: String,
    },
    /// The call did not come about.
    CallFailed {
        /// The Call-ID.
        call_id: String,
        /// Who.
        from: String,
        /// Whom.
        to: String,
        /// The final response; 487 when the caller gave up.
        status: u16,
    },
    /// An answered call ended.
    CallEnded {
        /// The Call-ID.
        call_id: String,
        /// Who.
        from: String,
        /// Whom.
        to: String,
        /// From answer to end, in milliseconds.
        duration_ms: u64,
        /// Nobody hung up, but nobody was heard any more for too long.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        silent: bool,
        /// The ways of its media, where they were relayed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        media: Vec<MediaLeg>,
    },
    /// The reader was too slow and missed some.
    Missed {
        /// How many.
        count: u64,
    },
}
