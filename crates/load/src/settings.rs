//! What a run is to do.

use std::net::SocketAddr;

use transaction::{Timers, Transport};

use crate::media::Sound;

/// A run of traffic: who calls whom, how often, for how long.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where messages out of a dialog go: an edge, a proxy, another phone.
    pub target: SocketAddr,
    /// What they go by.
    pub transport: Transport,
    /// The domain of the users.
    pub domain: String,
    /// Our own addresses; port 0 lets the kernel choose. Over TCP connections come from each of them and lead to each.
    pub sources: Vec<SocketAddr>,
    /// Threads for SIP, each with as many more for media as there are media.
    pub threads: usize,
    /// The population; at least one user where there are registrations or calls.
    pub users: Vec<User>,
    /// Registrations, if any.
    pub registering: Option<Registering>,
    /// Calls to be made, if any. Calls that come are always taken.
    pub calling: Option<Calling>,
    /// How calls that come are taken.
    pub answering: Answering,
    /// Calls carry RTP.
    pub has_media: bool,
    /// Most streams at one time where there are media; each has a socket.
    pub streams_max: u32,
    /// The sound of a single phone, in place of packets that are checked.
    pub sound: Option<Sound>,
    /// The run goes on when all of its own is done, to take calls.
    pub stays: bool,
    /// How long the run goes on, in milliseconds; none: until all is done.
    pub span_ms: Option<u64>,
    /// How long to wait for calls that are not over at the end, in milliseconds.
    pub grace_ms: u64,
    /// Retransmissions.
    pub timers: Timers,
    /// The machine tells of each step by [`crate::Event`]s.
    pub is_told: bool,
}

/// Somebody with a password.
#[derive(Clone, PartialEq, Eq)]
pub struct User {
    /// The user part of his address.
    pub name: Box<str>,
    /// What he answers challenges with.
    pub password: Box<str>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// How users register.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Registering {
    /// REGISTERs begun a second.
    pub per_s: f64,
    /// What is asked for, in seconds.
    pub expires_s: u32,
    /// The population is gone round and round as long as the run lasts, in place of each user refreshing in his time.
    pub is_cycling: bool,
}

/// How calls are made.
#[derive(Debug, Clone)]
pub struct Calling {
    /// Calls begun a second.
    pub per_s: f64,
    /// Most calls at one time.
    pub active_max: u32,
    /// How many calls; none: as many as the run has time for.
    pub total: Option<u64>,
    /// From the answer to the BYE, in milliseconds: the shortest.
    pub duration_ms: u64,
    /// By how much the longest is longer; calls are spread evenly between.
    pub duration_spread_ms: u64,
    /// Who is called; none: the user half the population further on.
    pub to: Option<String>,
    /// How long an INVITE that was heard may go without an answer, in milliseconds.
    pub answer_timeout_ms: u64,
    /// How many of a thousand calls are cancelled while they ring.
    pub cancel_per_mille: u32,
    /// How long after the first provisional response, in milliseconds.
    pub cancel_after_ms: u64,
    /// In how many of a thousand answered calls the caller sends an INVITE within the dialog.
    pub reinvite_per_mille: u32,
    /// How long after the answer, in milliseconds; in calls that are shorter, at their end.
    pub reinvite_after_ms: u64,
}

/// How calls that come are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answering {
    /// From the 180 to the final response, in milliseconds.
    pub ring_ms: u64,
    /// The final response: 200, or what calls are refused with.
    pub status: u16,
    /// How many of a thousand calls are refused, where `status` is a refusal; the others are answered.
    pub refuse_per_mille: u32,
    /// How many of a thousand INVITEs are passed over in silence, again and again.
    pub ignore_per_mille: u32,
    /// How many of a thousand taken calls are ended from this side. A caller of ours with the same settings expects that.
    pub hang_up_per_mille: u32,
    /// How long after the ACK, in milliseconds.
    pub hang_up_after_ms: u64,
}

impl Default for Answering {
    fn default() -> Answering {
        Answering {
            ring_ms: 0,
            status: 200,
            refuse_per_mille: 1_000,
            ignore_per_mille: 0,
            hang_up_per_mille: 0,
            hang_up_after_ms: 0,
        }
    }
}

/// A text with numbers in it, as in `user{n}` or `user{n:5}` (with zeros to five digits), and `{user}` in passwords.
#[must_use]
pub fn numbered(pattern: &str, number: u64, user: &str) -> String {
    let mut text = Vec::new();
    push_numbered(pattern, number, user, &mut text);
    // Pieces of texts, divided at ASCII.
    String::from_utf8(text).unwrap_or_default()
}

/// Appends [`numbered`] to bytes, without memory of its own.
pub(crate) fn push_numbered(pattern: &str, number: u64, user: &str, out: &mut Vec<u8>) {
    let mut rest = pattern;
    while let Some(at) = rest.find('{') {
        let (before, from) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        let field = from.find('}').map(|end| (&from[1..end], &from[end + 1..]));
        rest = match field {
            Some(("user", after)) => {
                out.extend_from_slice(user.as_bytes());
                after
            }
            Some((field, after)) if width_of(field).is_some() => {
                push_padded(number, width_of(field).unwrap_or(0), out);
                after
            }
            _ => {
                out.push(b'{');
                &from[1..]
            }
        };
    }
    out.extend_from_slice(rest.as_bytes());
}

/// To how many digits `n` or `n:5` asks for zeros.
fn width_of(field: &str) -> Option<usize> {
    match field.strip_prefix('n')? {
        "" => Some(0),
        width => Some(width.strip_prefix(':')?.parse::<usize>().ok()?.min(20)),
    }
}

fn push_padded(number: u64, width: usize, out: &mut Vec<u8>) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    out.resize(out.len() + width.saturating_sub(digits), b'0');
    sip::lex::push_number(out, number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_passwords_are_numbered() {
        assert_eq!(numbered("user{n}", 7, ""), "user7");
        assert_eq!(numbered("u{n:5}x", 42, ""), "u00042x");
        assert_eq!(numbered("secret-of-{user}", 1, "user1"), "secret-of-user1");
        assert_eq!(numbered("alice", 1, ""), "alice");
        assert_eq!(numbered("a{n:x}", 1, ""), "a{n:x}");
        assert_eq!(numbered("{x{n}{n:3}}", 1_234, ""), "{x12341234}");
        assert_eq!(numbered("{n", 0, ""), "{n");
        assert_eq!(numbered("{n:2}é{user}", 0, "u"), "00éu");
    }
}
