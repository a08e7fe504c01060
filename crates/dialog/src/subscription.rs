//! The notifier's half of a subscription (RFC 6665 section 4.2).

use sip::lex;
use transaction::Time;

/// How far a subscription is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It is granted.
    Active,
    /// The last NOTIFY is on its way.
    Terminated(Reason),
}

/// Why a subscription is over (section 4.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// It was not refreshed, or the subscriber wanted no more.
    Timeout,
    /// What was watched is no more: a transfer that has come to its end.
    NoResource,
    /// The notifier goes; the subscriber may subscribe anew at once.
    Deactivated,
}

impl Reason {
    const fn word(self) -> &'static str {
        match self {
            Reason::Timeout => "timeout",
            Reason::NoResource => "noresource",
            Reason::Deactivated => "deactivated",
        }
    }
}

/// One subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// How far it is.
    pub state: State,
    /// When it ends without a refresh.
    pub expires_at: Time,
    /// The number of the next document (RFC 4235 section 4.1).
    pub version: u32,
    /// Whether a NOTIFY has no answer yet: the next one waits for it, with what is true by then (section 4.2.2).
    pub is_notifying: bool,
    /// Whether something changed since the last NOTIFY.
    pub is_stale: bool,
}

impl Subscription {
    /// A subscription granted at `now` for `seconds`.
    pub fn grant(now: Time, seconds: u32) -> Subscription {
        Subscription {
            state: State::Active,
            expires_at: now.plus_ms(u64::from(seconds) * 1_000),
            version: 0,
            is_notifying: false,
            is_stale: false,
        }
    }

    /// Grants it anew; 0 seconds end it (section 4.2.1.4).
    pub fn refresh(&mut self, now: Time, seconds: u32) {
        self.expires_at = now.plus_ms(u64::from(seconds) * 1_000);
        if seconds == 0 {
            self.end(Reason::Timeout);
        }
    }

    /// Ends it; one more NOTIFY says so.
    pub fn end(&mut self, reason: Reason) {
        if self.state == State::Active {
            self.state = State::Terminated(reason);
        }
    }

    /// Whether it is to go on.
    pub fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// Notes that what is watched changed; whether a NOTIFY is to leave now.
    pub fn changed(&mut self) -> bool {
        self.is_stale = self.is_notifying;
        !self.is_notifying
    }

    /// A NOTIFY leaves: the number of its document.
    pub fn notifying(&mut self) -> u32 {
        let version = self.version;
        self.version = self.version.wrapping_add(1);
        self.is_notifying = true;
        self.is_stale = false;
        version
    }

    /// A NOTIFY was answered; whether the next is to leave.
    pub fn notified(&mut self) -> bool {
        self.is_notifying = false;
        self.is_stale
    }

    /// Appends the Subscription-State line.
    pub fn write(&self, now: Time, out: &mut Vec<u8>) {
        match self.state {
            State::Active => {
                out.extend_from_slice(b"Subscription-State: active;expires=");
                lex::push_number(out, self.expires_at.ms_since(now) / 1_000);
            }
            State::Terminated(reason) => {
                out.extend_from_slice(b"Subscription-State: terminated;reason=");
                out.extend_from_slice(reason.word().as_bytes());
            }
        }
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(subscription: &Subscription, now: Time) -> String {
        let mut out = Vec::new();
        subscription.write(now, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_change_waits_while_a_notify_has_no_answer() {
        let mut subscription = Subscription::grant(Time::ZERO, 60);
        assert!(subscription.changed());
        assert_eq!(subscription.notifying(), 0);
        assert!(!subscription.changed());
        assert!(!subscription.changed());
        assert!(subscription.notified());
        assert_eq!(subscription.notifying(), 1);
        assert!(!subscription.notified());
    }

    #[test]
    fn its_state_is_said_with_the_time_left_or_the_reason() {
        let mut subscription = Subscription::grant(Time::from_ms(1_000), 60);
        assert_eq!(
            written(&subscription, Time::from_ms(11_000)),
            "Subscription-State: active;expires=50\r\n"
        );
        subscription.refresh(Time::from_ms(11_000), 0);
        assert_eq!(
            written(&subscription, Time::from_ms(11_000)),
            "Subscription-State: terminated;reason=timeout\r\n"
        );
        subscription.end(Reason::NoResource);
        assert_eq!(subscription.state, State::Terminated(Reason::Timeout));
        assert!(!subscription.is_active());
    }
}
