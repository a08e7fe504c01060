//! Voice messages that a crash cut short: their pieces are put together, and they are kept as what they are.
//!
//! A node that dies leaves the pieces of its messages in the media store. Whichever PBX on that store looks next keeps
//! them, so it need not be the one that died. Only the caller's name is lost with it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pbx::control::Party;
use store::{Mailboxes, ObjectError, Objects, recording};

use super::outside::{Outside, RATE_HZ, message, sound};

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(60);

/// A recording to which nothing was added for so long is nobody's any more. More than all tries to save a piece take.
const ABANDONED_MS: u64 = 120_000;

/// Where messages are.
const FOLDER: &str = "voicemail";

/// Bytes of a sample.
const SAMPLE_BYTES: u64 = 2;

/// Looks at the start, and then again and again.
/// Does it while `may_act` says so: a service has one owner.
pub(crate) async fn keep(outside: Outside, may_act: impl Fn() -> bool + Send) {
    let Some(objects) = outside.objects.clone() else {
        return;
    };
    loop {
        if may_act()
            && let Err(error) = sweep(&outside, &objects).await
        {
            tracing::warn!(%error, "messages that were cut short are looked for again later");
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn sweep(outside: &Outside, objects: &Objects) -> Result<(), ObjectError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = since.map_or(0, |since| since.as_millis() as u64);
    let before = now_ms.saturating_sub(ABANDONED_MS);
    for (path, sound_bytes) in recording::unfinished(objects, FOLDER, before).await? {
        let Some((mailbox, left_unix_ms)) = names(&path) else {
            continue;
        };
        let length_ms = sound_bytes * 1_000 / SAMPLE_BYTES / u64::from(RATE_HZ);
        let length_ms = u32::try_from(length_ms).unwrap_or(u32::MAX);
        let mut message = message(&path, Party::default(), length_ms);
        message.left_unix_ms = left_unix_ms;
        Mailboxes::new(objects.clone())
            .keep(mailbox, &message)
            .await?;
        // Last, for without its pieces nobody would look for it again.
        recording::finish(objects, &path, sound(RATE_HZ)).await?;
        tracing::info!(path, length_ms, "a message that was cut short is kept");
        outside.tell(mailbox.to_owned(), message, objects.clone());
    }
    Ok(())
}

/// The mailbox of a message, and when it was begun, by the name of its file.
fn names(path: &str) -> Option<(&str, u64)> {
    let (mailbox, file) = path
        .strip_prefix(FOLDER)?
        .strip_prefix('/')?
        .split_once('/')?;
    let (began, _) = file.split_once('-')?;
    Some((mailbox, began.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_message_is_known_by_its_file() {
        let path = "voicemail/101/1795000000000-1f-2.wav";
        assert_eq!(names(path), Some(("101", 1_795_000_000_000)));
        for other in ["voicemail/101", "voicemail/101/x.wav", "recordings/1-2.wav"] {
            assert_eq!(names(other), None);
        }
    }
}
