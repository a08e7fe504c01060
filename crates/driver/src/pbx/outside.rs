//! The world outside of calls: mailboxes, recordings, files that are played. On tokio; no call waits for it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use audio::SampleRate;
use audio::wav::Written;
use pbx::control::{Answer, Mailbox, Party, Question, QuestionId, RecordingId, VoiceMessage};
use store::recording::{Recording, Sound};
use store::{Mailboxes, Message, ObjectError, Objects};
use tokio::sync::mpsc;

use super::hand_over::HandOver;
use super::inbox::{Inbox, Item};
use super::news::News;

/// Most pieces of a recording that wait to be saved.
const PIECES_MAX: usize = 64;

/// How much of a recording is saved at once, in seconds.
const PIECE_S: u32 = 2;

/// How often, and how long apart, the saving of a piece is tried.
const TRIES: u32 = 6;
const RETRY: Duration = Duration::from_millis(500);

/// The longest file that is played, in seconds.
const FILE_S_MAX: u32 = 4 * 3_600;

/// How long a question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(10);

/// Samples a second of all recordings.
pub(crate) const RATE_HZ: u32 = 8_000;

/// How recordings are written down: 16 bits a sample, one channel.
pub(crate) fn sound(rate_hz: u32) -> Sound {
    Sound {
        header: |hz, bytes| audio::wav::header(Written::Pcm16, hz, bytes).to_vec(),
        rate_hz,
    }
}

/// What a recording is told.
pub(crate) enum Piece {
    /// What was said since the last piece.
    Sound(Vec<u8>),
    /// It is over.
    End {
        /// How long it is.
        length_ms: u32,
        /// Whether all of it was passed on.
        is_whole: bool,
    },
}

/// A recording in progress, as the pbx thread knows it.
pub(crate) struct Saver {
    pieces: mpsc::Sender<Piece>,
    gathered: Vec<u8>,
    gather_bytes: usize,
    is_whole: bool,
}

impl Saver {
    /// Passes sound on, a few seconds at a time. What the media store cannot take in time is lost, and told as such at the end.
    pub(crate) fn sound(&mut self, chunk: &[u8]) {
        self.gathered.extend_from_slice(chunk);
        if self.gathered.len() >= self.gather_bytes {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.gathered.is_empty() {
            let piece = Piece::Sound(std::mem::take(&mut self.gathered));
            // The last place is for its end.
            if self.pieces.capacity() <= 1 || self.pieces.try_send(piece).is_err() {
                self.is_whole = false;
                tracing::error!(
                    "a piece of a recording is lost: the media store is too slow or away"
                );
            }
        }
    }

    /// Says that it is over.
    pub(crate) fn end(mut self, length_ms: u32) {
        self.flush();
        let is_whole = self.is_whole;
        let end = Piece::End {
            length_ms,
            is_whole,
        };
        if self.pieces.try_send(end).is_err() {
            tracing::error!("the end of a recording could not be told to the media store");
        }
    }
}

/// What answers questions and keeps files.
#[derive(Clone)]
pub(crate) struct Outside {
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) objects: Option<Objects>,
    pub(crate) inbox: Arc<Inbox>,
    /// Where voice messages are told of, beside the mailbox: e-mail, a webhook.
    pub(crate) hand_over: Option<HandOver>,
    pub(crate) news: Arc<News>,
}

impl Outside {
    /// Answers a question by [`Item::Told`].
    pub(crate) fn ask(&self, question: QuestionId, what: Question) {
        let outside = self.clone();
        self.runtime.spawn(async move {
            let answered = tokio::time::timeout(ASK_TIMEOUT, outside.answer(what)).await;
            let answer = match answered {
                Ok(Ok(answer)) => answer,
                Ok(Err(ObjectError::Name | ObjectError::NotFound)) => Answer::No,
                Ok(Err(error)) => {
                    tracing::error!(%error, "a mailbox cannot be reached");
                    Answer::Failed
                }
                Err(_) => Answer::Failed,
            };
            outside.inbox.push(Item::Told(question, answer));
        });
    }

    async fn answer(&self, what: Question) -> Result<Answer, ObjectError> {
        let Some(objects) = &self.objects else {
            return Ok(Answer::Failed);
        };
        let mailboxes = Mailboxes::new(objects.clone());
        match what {
            Question::Mailbox { mailbox } => {
                let greeting = mailboxes.greeting(&mailbox).await?;
                let messages = mailboxes.messages(&mailbox).await?;
                return Ok(Answer::Mailbox(Mailbox {
                    greeting,
                    messages: messages.into_iter().map(voice_message).collect(),
                }));
            }
            Question::KeepMessage {
                mailbox,
                path,
                caller,
                length_ms,
            } => {
                let message = message(&path, caller, length_ms);
                mailboxes.keep(&mailbox, &message).await?;
                self.tell(&mailbox, &message);
            }
            Question::MarkHeard { mailbox, message } => {
                mailboxes.mark_heard(&mailbox, &message).await?;
            }
            Question::DeleteMessage { mailbox, message } => {
                mailboxes.delete(&mailbox, &message).await?;
            }
            Question::DeleteRecording { path } => objects.remove(&path).await?,
            Question::KeepGreeting { mailbox, path } => {
                mailboxes.keep_greeting(&mailbox, &path).await?;
            }
            // The dialplan knows all PINs.
            _ => return Ok(Answer::No),
        }
        Ok(Answer::Done)
    }

    /// A message is safe in a mailbox: those who want to hear of it elsewhere do.
    pub(crate) fn tell(&self, mailbox: &str, message: &Message) {
        if let Some(hand_over) = &self.hand_over {
            hand_over.message(mailbox, message);
        }
    }

    /// Begins to save a recording; [`Item::Recorded`] tells when it is safe.
    pub(crate) fn record(&self, begun: &pbx::Recording) -> Saver {
        let (pieces, waiting) = mpsc::channel(PIECES_MAX + 1);
        let rate_hz = begun.rate_hz;
        let saved = Saved {
            inbox: self.inbox.clone(),
            recording: begun.recording,
            path: begun.path.clone(),
            goes_on: begun.from_ms > 0,
            sound: sound(rate_hz),
            news: self.news.clone(),
        };
        let objects = self.objects.clone();
        self.runtime.spawn(saved.run(objects, waiting));
        Saver {
            pieces,
            gathered: Vec::new(),
            gather_bytes: (rate_hz * PIECE_S * 2) as usize,
            is_whole: true,
        }
    }

    /// Loads a file that is to be played; `done` gets its samples, or nothing.
    pub(crate) fn load(&self, path: String, done: impl FnOnce(Option<Vec<i16>>) + Send + 'static) {
        let objects = self.objects.clone();
        self.runtime.spawn(async move {
            let file = match &objects {
                Some(objects) => objects.read(&path).await,
                None => Err(ObjectError::NotFound),
            };
            let decoded = match file {
                Ok(file) => tokio::task::spawn_blocking(move || {
                    audio::upload::decode(file, SampleRate::Hz16000, FILE_S_MAX).ok()
                })
                .await
                .ok()
                .flatten(),
                Err(error) => {
                    tracing::error!(%error, path, "a file cannot be played");
                    None
                }
            };
            done(decoded);
        });
    }
}

/// What saves one recording.
struct Saved {
    inbox: Arc<Inbox>,
    recording: RecordingId,
    path: String,
    goes_on: bool,
    sound: Sound,
    news: Arc<News>,
}

impl Saved {
    async fn run(self, objects: Option<Objects>, mut pieces: mpsc::Receiver<Piece>) {
        let mut length = None;
        let saved = match objects {
            Some(objects) => self.save(objects, &mut pieces, &mut length).await,
            None => Err(ObjectError::Place {
                reason: "none is configured (pbx.media_store)".to_owned(),
            }),
        };
        match &saved {
            Ok(true) => self.news.saved(),
            // Nothing was said.
            Ok(false) => {}
            Err(error) => self.news.not_saved(&self.path, error),
        }
        if saved.is_err() {
            // Its end is still to be waited for.
            while let Some(piece) = pieces.recv().await {
                if let Piece::End { length_ms, .. } = piece {
                    length = Some(length_ms);
                    break;
                }
            }
        }
        // Without an end another node goes on with it.
        let Some(length_ms) = length else {
            return;
        };
        self.inbox.push(Item::Recorded {
            recording: self.recording,
            length_ms,
            is_saved: saved.is_ok(),
        });
    }

    /// Saves it, and gives whether there was anything to save.
    async fn save(
        &self,
        objects: Objects,
        pieces: &mut mpsc::Receiver<Piece>,
        length: &mut Option<u32>,
    ) -> Result<bool, ObjectError> {
        let begun = Recording::begin(objects, self.path.clone(), self.sound, self.goes_on);
        let mut recording = begun.await?;
        let mut is_all_there = true;
        while let Some(piece) = pieces.recv().await {
            match piece {
                Piece::Sound(piece) => append(&mut recording, piece).await?,
                Piece::End {
                    length_ms,
                    is_whole,
                } => {
                    *length = Some(length_ms);
                    is_all_there = is_whole;
                    break;
                }
            }
        }
        if length.is_none() {
            return Ok(false);
        }
        if recording.bytes() == 0 && !self.goes_on {
            // Nothing was said. That is no failure of the media store, and there is nothing to put together.
            return Ok(false);
        }
        recording.finish().await?;
        match is_all_there {
            true => Ok(true),
            false => Err(ObjectError::TimedOut),
        }
    }
}

async fn append(recording: &mut Recording, piece: Vec<u8>) -> Result<(), ObjectError> {
    let mut tries = 1;
    loop {
        match recording.append(piece.clone()).await {
            Err(error) if tries < TRIES => {
                tracing::warn!(%error, "a piece of a recording is tried again");
                tries += 1;
                tokio::time::sleep(RETRY).await;
            }
            done => return done,
        }
    }
}

fn voice_message(message: Message) -> VoiceMessage {
    VoiceMessage {
        message: message.name,
        path: message.path,
        caller: Party {
            user: message.caller_user,
            host: message.caller_host,
            display: message.caller_display,
        },
        left_unix_s: message.left_unix_ms / 1_000,
        length_ms: message.length_ms,
        is_heard: message.is_heard,
    }
}

/// A message whose sound lies at `path`; it is named as its file is.
pub(crate) fn message(path: &str, caller: Party, length_ms: u32) -> Message {
    let file = path.rsplit('/').next().unwrap_or(path);
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Message {
        name: file.strip_suffix(".wav").unwrap_or(file).to_owned(),
        path: path.to_owned(),
        caller_user: caller.user,
        caller_host: caller.host,
        caller_display: caller.display,
        left_unix_ms: since.map_or(0, |since| since.as_millis() as u64),
        length_ms,
        is_heard: false,
    }
}
