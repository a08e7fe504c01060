//! Mailboxes: voice messages and greetings in the media store.
//!
//! A message is two objects: its sound, and a small JSON beside it that says who left it and when. The JSON
//! is written last and removed first, so a message that is listed has its sound. There is no index: a
//! listing is what is there, whichever node wrote it.

use serde_json::{Value, json};

use crate::objects::{ObjectError, Objects};

/// The most messages that a listing of a mailbox reads.
pub const MESSAGES_MAX: usize = 1_000;

/// Where mailboxes are.
const FOLDER: &str = "voicemail";

/// A voice message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Names it in its mailbox.
    pub name: String,
    /// Its sound in the media store.
    pub path: String,
    /// The user part of who left it.
    pub caller_user: String,
    /// The host part.
    pub caller_host: String,
    /// The display name; may be empty.
    pub caller_display: String,
    /// When, in milliseconds since 1970.
    pub left_unix_ms: u64,
    /// How long it is, in milliseconds.
    pub length_ms: u32,
    /// Whether it has been heard.
    pub is_heard: bool,
}

/// All mailboxes of a media store. Clones share it.
#[derive(Debug, Clone)]
pub struct Mailboxes {
    objects: Objects,
}

impl Mailboxes {
    /// The mailboxes in a media store.
    pub fn new(objects: Objects) -> Mailboxes {
        Mailboxes { objects }
    }

    /// The messages of a mailbox, the new ones first, each the oldest first. What cannot be read as a message is passed over.
    ///
    /// # Errors
    /// What the media store may answer.
    pub async fn messages(&self, mailbox: &str) -> Result<Vec<Message>, ObjectError> {
        let listed = self.objects.list(&folder(mailbox)?).await?;
        let about = listed.iter().filter(|one| one.name.ends_with(".json"));
        let mut messages = Vec::new();
        for one in about.take(MESSAGES_MAX) {
            let content = match self.objects.read(&one.name).await {
                // Somebody else has just deleted it.
                Err(ObjectError::NotFound) => continue,
                content => content?,
            };
            match parse(&one.name, &content) {
                Some(message) => messages.push(message),
                None => tracing::warn!(object = one.name, "this is no voice message"),
            }
        }
        messages.sort_by(|a, b| {
            (a.is_heard, a.left_unix_ms, &a.name).cmp(&(b.is_heard, b.left_unix_ms, &b.name))
        });
        Ok(messages)
    }

    /// Keeps a message whose sound is in the store already. When this returns it is safe. One that was kept before, and
    /// heard, stays heard.
    ///
    /// # Errors
    /// What the media store may answer.
    pub async fn keep(&self, mailbox: &str, message: &Message) -> Result<(), ObjectError> {
        let name = about(mailbox, &message.name)?;
        let known = match self.objects.read(&name).await {
            Err(ObjectError::NotFound) => None,
            content => parse(&name, &content?),
        };
        let message = Message {
            is_heard: message.is_heard || known.is_some_and(|known| known.is_heard),
            ..message.clone()
        };
        self.objects.put(&name, content(&message)).await
    }

    /// Marks a message as heard. That it is not there any more is no error.
    ///
    /// # Errors
    /// What the media store may answer.
    pub async fn mark_heard(&self, mailbox: &str, message: &str) -> Result<(), ObjectError> {
        let name = about(mailbox, message)?;
        let content_now = match self.objects.read(&name).await {
            Err(ObjectError::NotFound) => return Ok(()),
            content => content?,
        };
        match parse(&name, &content_now) {
            Some(known) if !known.is_heard => {
                let heard = Message {
                    is_heard: true,
                    ..known
                };
                self.objects.put(&name, content(&heard)).await
            }
            _ => Ok(()),
        }
    }

    /// Deletes a message and its sound. That it is not there any more is no error.
    ///
    /// # Errors
    /// What the media store may answer.
    pub async fn delete(&self, mailbox: &str, message: &str) -> Result<(), ObjectError> {
        let name = about(mailbox, message)?;
        let known = match self.objects.read(&name).await {
            Err(ObjectError::NotFound) => return Ok(()),
            content => parse(&name, &content?),
        };
        self.objects.remove(&name).await?;
        match known {
            Some(known) => self.objects.remove(&known.path).await,
            None => Ok(()),
        }
    }

    /// Where the greeting of a mailbox lies, if it has one.
    ///
    /// # Errors
    /// What the media store may answer.
    pub async fn greeting(&self, mailbox: &str) -> Result<Option<String>, ObjectError> {
        let name = greeting(mailbox)?;
        let listed = self.objects.list(&format!("greeting/{mailbox}")).await?;
        Ok(listed.iter().any(|one| one.name == name).then_some(name))
    }

    /// Takes a recording as the greeting of a mailbox; it is copied.
    ///
    /// # Errors
    /// What the media store may answer.
    pub async fn keep_greeting(&self, mailbox: &str, path: &str) -> Result<(), ObjectError> {
        let sound = self.objects.read(path).await?;
        self.objects.put(&greeting(mailbox)?, sound).await?;
        self.objects.remove(path).await
    }
}

/// A mailbox's name is one folder's: it leads nowhere else.
fn checked(mailbox: &str) -> Result<&str, ObjectError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '@');
    let fits = !mailbox.is_empty() && mailbox.len() <= 128 && mailbox.chars().all(is_plain);
    match fits && !mailbox.starts_with('.') {
        true => Ok(mailbox),
        false => Err(ObjectError::Name),
    }
}

fn folder(mailbox: &str) -> Result<String, ObjectError> {
    Ok(format!("{FOLDER}/{}", checked(mailbox)?))
}

fn about(mailbox: &str, message: &str) -> Result<String, ObjectError> {
    Ok(format!("{}/{}.json", folder(mailbox)?, checked(message)?))
}

fn greeting(mailbox: &str) -> Result<String, ObjectError> {
    Ok(format!("greeting/{}/greeting.wav", checked(mailbox)?))
}

fn content(message: &Message) -> Vec<u8> {
    let value = json!({
        "path": message.path,
        "caller": {
            "user": message.caller_user,
            "host": message.caller_host,
            "display": message.caller_display,
        },
        "left_unix_ms": message.left_unix_ms,
        "length_ms": message.length_ms,
        "heard": message.is_heard,
    });
    value.to_string().into_bytes()
}

fn parse(object: &str, content: &[u8]) -> Option<Message> {
    let value: Value = serde_json::from_slice(content).ok()?;
    let name = object.rsplit('/').next()?.strip_suffix(".json")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let caller = &value["caller"];
    Some(Message {
        name: name.to_owned(),
        path: value["path"].as_str()?.to_owned(),
        caller_user: text(&caller["user"]),
        caller_host: text(&caller["host"]),
        caller_display: text(&caller["display"]),
        left_unix_ms: value["left_unix_ms"].as_u64()?,
        length_ms: u32::try_from(value["length_ms"].as_u64()?).ok()?,
        is_heard: value["heard"].as_bool().unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::objects::Place;

    fn opened() -> (tempfile::TempDir, Objects, Mailboxes) {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::Folder(folder.path().into());
        let objects = Objects::open(&place, Duration::from_secs(5)).unwrap();
        (folder, objects.clone(), Mailboxes::new(objects))
    }

    fn message(name: &str, left_unix_ms: u64) -> Message {
        Message {
            name: name.into(),
            path: format!("voicemail/100/{name}.wav"),
            caller_user: "alice".into(),
            caller_host: "example.org".into(),
            caller_display: "Alice \"A\"".into(),
            left_unix_ms,
            length_ms: 1_500,
            is_heard: false,
        }
    }

    #[tokio::test]
    async fn a_message_that_is_kept_again_stays_heard() {
        let (_folder, objects, mailboxes) = opened();
        let message = message("a", 1);
        objects.put(&message.path, vec![0; 10]).await.unwrap();
        mailboxes.keep("100", &message).await.unwrap();
        mailboxes.mark_heard("100", "a").await.unwrap();
        // As by who looks for what a crash cut short.
        mailboxes.keep("100", &message).await.unwrap();
        let found = mailboxes.messages("100").await.unwrap();
        assert!(found[0].is_heard);
    }

    #[tokio::test]
    async fn messages_are_kept_heard_and_deleted() {
        let (_folder, objects, mailboxes) = opened();
        assert!(mailboxes.messages("100").await.unwrap().is_empty());
        for (name, left) in [("b", 2), ("a", 3), ("c", 1)] {
            let message = message(name, left);
            objects.put(&message.path, vec![0; 10]).await.unwrap();
            mailboxes.keep("100", &message).await.unwrap();
        }
        mailboxes.mark_heard("100", "c").await.unwrap();
        mailboxes.mark_heard("100", "gone").await.unwrap();
        let found = mailboxes.messages("100").await.unwrap();
        let names: Vec<_> = found.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["b", "a", "c"]);
        assert_eq!(found[0], message("b", 2));
        mailboxes.delete("100", "b").await.unwrap();
        mailboxes.delete("100", "b").await.unwrap();
        assert_eq!(mailboxes.messages("100").await.unwrap().len(), 2);
        let sound = objects.read("voicemail/100/b.wav").await;
        assert!(matches!(sound, Err(ObjectError::NotFound)));
        assert!(mailboxes.messages("10").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_greeting_is_taken_over() {
        let (_folder, objects, mailboxes) = opened();
        assert_eq!(mailboxes.greeting("100").await.unwrap(), None);
        objects.put("recording/1.wav", vec![1, 2]).await.unwrap();
        mailboxes
            .keep_greeting("100", "recording/1.wav")
            .await
            .unwrap();
        let greeting = mailboxes.greeting("100").await.unwrap().unwrap();
        assert_eq!(objects.read(&greeting).await.unwrap(), [1, 2]);
        assert!(objects.read("recording/1.wav").await.is_err());
    }

    #[tokio::test]
    async fn a_mailbox_does_not_lead_elsewhere() {
        let (_folder, objects, mailboxes) = opened();
        objects
            .put("voicemail/100/x.json", b"not json".to_vec())
            .await
            .unwrap();
        assert!(mailboxes.messages("100").await.unwrap().is_empty());
        for name in ["", "..", "../x", "a/b", ".hidden", "a b", "ü"] {
            assert!(
                matches!(mailboxes.messages(name).await, Err(ObjectError::Name)),
                "{name}"
            );
            assert!(mailboxes.delete("100", name).await.is_err(), "{name}");
        }
    }
}
