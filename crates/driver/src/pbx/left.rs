//! Voice messages that a crash cut short: their pieces are put together, and they are kept as what they are.
//!
//! A node that dies leaves the pieces of its messages in the media store. Whichever PBX on that store looks next keeps
//! them, so it need not be the one that died. Only the caller's name is lost with it. A message that was whole when its node died,
//! and was in no mailbox yet, is kept by whoever starts within minutes: later ones are those that callers threw away.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pbx::control::Party;
use store::{Listed, Mailboxes, ObjectError, Objects, recording};

use super::inbox::Item;
use super::outside::{Outside, RATE_HZ, message, sound};

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(60);

/// A recording to which nothing was added for so long is nobody's any more. More than all tries to save a piece take.
const ABANDONED_MS: u64 = 120_000;

/// So long before its start a PBX looks for whole messages that are in no mailbox.
const WHOLE_MS: u64 = 600_000;

/// The shortest of those that is kept: shorter ones are not kept by most mailboxes.
const WHOLE_LENGTH_MIN_MS: u64 = 2_000;

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
    let since_ms = now_unix_ms();
    loop {
        if may_act()
            && let Err(error) = sweep(&outside, &objects, since_ms).await
        {
            tracing::warn!(%error, "messages that were cut short are looked for again later");
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn sweep(outside: &Outside, objects: &Objects, since_ms: u64) -> Result<(), ObjectError> {
    let before = now_unix_ms().saturating_sub(ABANDONED_MS);
    if now_unix_ms() < since_ms + WHOLE_MS {
        for one in whole(&objects.list(FOLDER).await?, (since_ms, before)) {
            keep_one(outside, objects, &one.name, length_ms(one.size_bytes)).await?;
        }
    }
    for (path, sound_bytes) in recording::unfinished(objects, FOLDER, before).await? {
        if names(&path).is_none() {
            continue;
        }
        keep_one(outside, objects, &path, length_ms(sound_bytes)).await?;
        // Last, for without its pieces nobody would look for it again.
        recording::finish(objects, &path, sound(RATE_HZ)).await?;
    }
    Ok(())
}

async fn keep_one(
    outside: &Outside,
    objects: &Objects,
    path: &str,
    length_ms: u64,
) -> Result<(), ObjectError> {
    let Some((mailbox, left_unix_ms)) = names(path) else {
        return Ok(());
    };
    let length_ms = u32::try_from(length_ms).unwrap_or(u32::MAX);
    let mut message = message(path, Party::default(), length_ms);
    message.left_unix_ms = left_unix_ms;
    let mailboxes = Mailboxes::new(objects.clone());
    mailboxes.keep(mailbox, &message).await?;
    tracing::info!(path, length_ms, "a message that was cut short is kept");
    outside.tell(mailbox, &message);
    outside.inbox.push(Item::MailboxChanged(mailbox.to_owned()));
    Ok(())
}

fn length_ms(sound_bytes: u64) -> u64 {
    sound_bytes * 1_000 / SAMPLE_BYTES / u64::from(RATE_HZ)
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

/// Whole messages of which no mailbox knows, written shortly before `since_ms`, and before `before_ms`: the last of each call.
fn whole(listed: &[Listed], (since_ms, before_ms): (u64, u64)) -> Vec<&Listed> {
    // The pieces of one that is being put together have its name in theirs.
    let is_plain = |one: &&Listed| one.name.ends_with(".wav") && names(&one.name).is_some();
    let is_known = |one: &Listed| {
        let stem = one.name.strip_suffix(".wav").unwrap_or(&one.name);
        let (about, pieces) = (format!("{stem}.json"), format!("{}.parts/", one.name));
        let mut others = listed.iter();
        others.any(|other| other.name == about || other.name.starts_with(&pieces))
    };
    let is_recent = |one: &Listed| {
        let written = one.written_unix_ms;
        written < before_ms.min(since_ms) && written + WHOLE_MS >= since_ms
    };
    let is_long = |one: &Listed| length_ms(one.size_bytes) >= WHOLE_LENGTH_MIN_MS;
    let candidates = listed.iter().filter(is_plain).filter(|one| is_recent(one));
    let mut found: Vec<&Listed> = candidates
        .filter(|one| is_long(one) && !is_known(one))
        .collect();
    // A caller who spoke again threw away what was there before.
    let last: Vec<_> = found
        .iter()
        .map(|one| (call_of(&one.name), one.written_unix_ms))
        .collect();
    found.retain(|one| {
        let own = call_of(&one.name);
        !last
            .iter()
            .any(|(other, written)| *other == own && *written > one.written_unix_ms)
    });
    found
}

/// What the names of all takes of a call have in common: `1795000000000-CALL-TAKE.wav`.
fn call_of(path: &str) -> Option<(&str, &str)> {
    let (folder, file) = path.rsplit_once('/')?;
    Some((folder, file.split('-').nth(1)?))
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
    use super::{Listed, names, whole};

    #[test]
    fn a_message_is_known_by_its_file() {
        let path = "voicemail/101/1795000000000-1f-2.wav";
        assert_eq!(names(path), Some(("101", 1_795_000_000_000)));
        for other in ["voicemail/101", "voicemail/101/x.wav", "recordings/1-2.wav"] {
            assert_eq!(names(other), None);
        }
    }

    #[test]
    fn whole_messages_that_no_mailbox_knows_are_found_once_a_call() {
        let since = 1_795_000_000_000;
        let listed = |name: &str, size_bytes, ago_ms| Listed {
            name: format!("voicemail/101/{name}"),
            size_bytes,
            written_unix_ms: since - ago_ms,
        };
        let all = [
            listed("1794999000000-a-1.wav", 100_000, 130_000),
            listed("1794999000001-b-1.wav", 100_000, 130_000),
            listed("1794999000001-b-1.json", 200, 130_000),
            listed("1794999000002-c-1.wav", 100_000, 150_000),
            listed("1794999000003-c-2.wav", 100_000, 140_000),
            listed("1794999000004-d-1.wav", 3_000, 130_000),
            listed("1794999000005-e-1.wav", 100_000, 900_000),
            listed("1794999000006-f-1.wav", 100_000, 1),
            listed("1794999000007-g-1.wav", 100_000, 130_000),
            listed("1794999000007-g-1.wav.parts/00000001", 100_000, 130_000),
        ];
        let found = whole(&all, (since, since - 120_000));
        let names: Vec<_> = found.iter().map(|one| &*one.name).collect();
        assert_eq!(
            names,
            [
                "voicemail/101/1794999000000-a-1.wav",
                "voicemail/101/1794999000003-c-2.wav"
            ]
        );
    }
}
