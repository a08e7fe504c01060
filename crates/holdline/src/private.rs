//! Users' data in log lines.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

static SHOWN: AtomicBool = AtomicBool::new(false);

/// Lets [`Private`] show all (`[log] private = "show"`), or not.
pub fn show_private(shown: bool) {
    SHOWN.store(shown, Ordering::Relaxed);
}

/// A user's address or other data on its way to a log line.
///
/// It prints as its first character and a short code. The code is the same
/// for the same text as long as the process runs, so that lines about one
/// user can be told to belong together, and says nothing to somebody who
/// guesses names, because its key is random.
#[derive(Clone, Copy)]
pub struct Private<T>(pub T);

impl<T: AsRef<str>> fmt::Display for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        static KEY: OnceLock<RandomState> = OnceLock::new();
        let text = self.0.as_ref();
        if SHOWN.load(Ordering::Relaxed) {
            return f.write_str(text);
        }
        let first: String = text
            .chars()
            .take(1)
            .filter(|c| c.is_alphanumeric())
            .collect();
        let code = KEY.get_or_init(RandomState::new).hash_one(text) as u32;
        write!(f, "{first}~{code:08x}")
    }
}

impl<T: AsRef<str>> fmt::Debug for Private<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_address_is_told_apart_and_not_named_unless_asked_for() {
        let alice = Private("alice@example.org").to_string();
        assert!(
            alice.starts_with("a~") && !alice.contains("lice"),
            "{alice}"
        );
        assert_eq!(
            alice,
            format!("{:?}", Private("alice@example.org".to_owned()))
        );
        assert_ne!(alice, Private("alina@example.org").to_string());
        show_private(true);
        assert_eq!(
            Private("alice@example.org").to_string(),
            "alice@example.org"
        );
        show_private(false);
    }
}
