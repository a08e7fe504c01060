//! How long sessions last without a sign of life (RFC 4028).

use sip::{HeaderName, Message, Params, lex};
use transaction::Time;

/// The shortest that anybody may ask for, in seconds (section 4).
pub const MIN_SE_S: u32 = 90;
/// The longest that is noted, in seconds: a week. Longer ones are brought down to it.
pub const EXPIRES_S_MAX: u32 = 604_800;

/// Who refreshes, in the words of a request and its response (section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresher {
    /// Who sent the request.
    Uac,
    /// Who answers it.
    Uas,
}

/// A Session-Expires value (section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionExpires {
    /// Seconds.
    pub seconds: u32,
    /// Who refreshes, if it is said.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads the header of a message; `None` if it has none, or one that cannot be read.
    pub fn of(message: &Message<'_>) -> Option<SessionExpires> {
        let value = message.header(HeaderName::SessionExpires)?;
        let (number, params) = match memchr::memchr(b';', value) {
            Some(at) => (&value[..at], Params::new(&value[at + 1..])),
            None => (value, Params::default()),
        };
        let refresher = match params.value(b"refresher") {
            Some(word) if word.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
            Some(word) if word.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
            _ => None,
        };
        Some(SessionExpires {
            seconds: lex::number(lex::trim(number), u32::MAX)?,
            refresher,
        })
    }
}

/// What both agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session {
    /// How long it lasts without a refresh, in seconds.
    pub expires_s: u32,
    /// Whether we refresh it.
    pub we_refresh: bool,
    /// When to refresh it, or to end it.
    pub deadline: Time,
}

impl Session {
    /// A session that was agreed on, or refreshed, at `now`. Who refreshes does so after half of it; the other gives up shortly before
    /// its end (section 10).
    pub fn begin(now: Time, expires_s: u32, we_refresh: bool) -> Session {
        let expires_s = expires_s.clamp(MIN_SE_S, EXPIRES_S_MAX);
        let wait_s = match we_refresh {
            true => expires_s / 2,
            false => expires_s - (expires_s / 3).min(32),
        };
        Session {
            expires_s,
            we_refresh,
            deadline: now.plus_ms(u64::from(wait_s) * 1_000),
        }
    }

    /// Appends the Session-Expires line, in a request or in the response to one.
    pub fn write(&self, in_request: bool, out: &mut Vec<u8>) {
        out.extend_from_slice(b"Session-Expires: ");
        lex::push_number(out, u64::from(self.expires_s));
        let refresher: &[u8] = match self.we_refresh == in_request {
            true => b";refresher=uac\r\n",
            false => b";refresher=uas\r\n",
        };
        out.extend_from_slice(refresher);
    }
}

/// What becomes of a request that begins or refreshes a session, for the one who answers it (section 9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// 422 with Min-SE: what was asked for is shorter than we allow.
    TooBrief,
    /// No session timer.
    Never,
    /// A session; the response says so, and requires `timer` of a peer that refreshes.
    Agreed(Session),
}

/// Decides as the one who answers. `expires_s` is what we want (0: no timers unless asked), `min_se_s` what we allow.
pub fn answer(now: Time, request: &Message<'_>, expires_s: u32, min_se_s: u32) -> Asked {
    let peer_knows = crate::reliable::has_option(request, HeaderName::Supported, b"timer");
    let Some(asked) = SessionExpires::of(request) else {
        return match expires_s {
            0 => Asked::Never,
            // Without a word of the peer we refresh ourselves.
            _ => Asked::Agreed(Session::begin(now, expires_s, true)),
        };
    };
    if asked.seconds < min_se_s.max(MIN_SE_S) && peer_knows {
        return Asked::TooBrief;
    }
    let least_s = request
        .number(HeaderName::MinSe, u32::MAX)
        .ok()
        .flatten()
        .unwrap_or(MIN_SE_S);
    let wanted_s = if expires_s == 0 {
        asked.seconds
    } else {
        expires_s.max(least_s).max(min_se_s)
    };
    let seconds = asked.seconds.min(wanted_s);
    let we_refresh = !(peer_knows && asked.refresher != Some(Refresher::Uas));
    Asked::Agreed(Session::begin(now, seconds, we_refresh))
}

/// Reads the answer as the one who asked (section 7.2): without Session-Expires the peer has no timers, and we keep ours if we
/// wanted one.
pub fn answered(now: Time, response: &Message<'_>, expires_s: u32) -> Option<Session> {
    match SessionExpires::of(response) {
        Some(agreed) => {
            let we_refresh = agreed.refresher != Some(Refresher::Uas);
            Some(Session::begin(now, agreed.seconds, we_refresh))
        }
        None if expires_s > 0 => Some(Session::begin(now, expires_s, true)),
        None => None,
    }
}

#[cfg(test)]
mod tests;
