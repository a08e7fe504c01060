//! New voice messages on their way to who wants to hear of them elsewhere: by e-mail, at a webhook.
//!
//! A message that is to go one of these ways is noted in a file of the node's before it is tried for the first time, and until it went or
//! was given up: what a crash or a mail server that is away holds up goes on at the next start. No call waits for any of it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pbx::plan::Plan;
use serde_json::{Value, json};
use store::{Message, ObjectError, Objects};
use tokio::sync::Semaphore;

use super::news::News;

/// Most messages that are on their way, by each way.
const WAITING_MAX: u64 = 10_000;

/// Most that are handed over at one time.
const AT_ONCE: usize = 8;

/// How long to wait after the first failure; after each further one twice as long.
const RETRY_FIRST: Duration = Duration::from_secs(1);

/// The longest wait.
const RETRY_MAX: Duration = Duration::from_secs(300);

/// A message that is handed over.
#[derive(Debug, Clone)]
pub struct Handed {
    /// The mailbox.
    pub mailbox: String,
    /// Where its owner gets e-mail, if the dialplan says so.
    pub email: Option<String>,
    /// The message.
    pub message: Message,
    /// Its sound: a WAV file.
    pub sound: Vec<u8>,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotHanded {
    /// It may be taken later.
    Later(String),
    /// It will never be.
    Never(String),
}

/// What a hand-over comes to.
pub type HandingOver<'a> = Pin<Box<dyn Future<Output = Result<(), NotHanded>> + Send + 'a>>;

/// Who is told of new voice messages.
pub trait Notify: Send + Sync {
    /// The ways there are for a message of a mailbox whose owner gets e-mail there. One that fails is tried again without the others.
    fn ways(&self, email: Option<&str>) -> Vec<&'static str>;

    /// Hands a message over by one of them. It ends within a minute or so, and may be called again for the same message: a taker that got it and
    /// could not say so gets it twice.
    fn hand_over<'a>(&'a self, way: &'a str, handed: &'a Handed) -> HandingOver<'a>;
}

/// How voice messages are handed over.
#[derive(Clone)]
pub struct HandOverOptions {
    /// To whom.
    pub notify: Arc<dyn Notify>,
    /// Where those that wait are noted.
    pub folder: PathBuf,
    /// How long it is tried.
    pub give_up_after: Duration,
}

/// One message on one way.
#[derive(Debug, Clone)]
struct Errand {
    mailbox: String,
    message: Message,
    way: String,
    since_unix_ms: u64,
}

/// Hands messages over, again and again until they are taken. Clones share it.
#[derive(Clone)]
pub(crate) struct HandOver {
    inner: Arc<Inner>,
}

struct Inner {
    options: HandOverOptions,
    objects: Objects,
    runtime: tokio::runtime::Handle,
    plan: RwLock<Arc<Plan>>,
    slots: Semaphore,
    news: Arc<News>,
}

impl HandOver {
    /// Goes on with what was left by the run before.
    pub(crate) fn start(
        (options, objects): (HandOverOptions, Objects),
        runtime: &tokio::runtime::Handle,
        (plan, news): (Arc<Plan>, Arc<News>),
    ) -> HandOver {
        let left = read(&options.folder);
        let hand_over = HandOver {
            inner: Arc::new(Inner {
                options,
                objects,
                runtime: runtime.clone(),
                plan: RwLock::new(plan),
                slots: Semaphore::new(AT_ONCE),
                news,
            }),
        };
        if !left.is_empty() {
            let count = left.len();
            tracing::info!(
                count,
                "voice messages from before the start are handed over now"
            );
        }
        for errand in left {
            hand_over.begin(errand);
        }
        hand_over
    }

    /// From now on addresses are those of this dialplan.
    pub(crate) fn reload(&self, plan: Arc<Plan>) {
        let mut known = self
            .inner
            .plan
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *known = plan;
    }

    /// A message is safe in a mailbox: it goes all ways there are.
    pub(crate) fn message(&self, mailbox: &str, message: &Message) {
        let email = self.inner.email_of(mailbox);
        for way in self.inner.options.notify.ways(email.as_deref()) {
            let errand = Errand {
                mailbox: mailbox.to_owned(),
                message: message.clone(),
                way: way.to_owned(),
                since_unix_ms: now_unix_ms(),
            };
            let news = &self.inner.news;
            if news.kept().hand_overs_waiting >= WAITING_MAX {
                let reason = format!("{WAITING_MAX} others wait already");
                news.given_up(mailbox, &message.path, way, reason);
                continue;
            }
            self.begin(errand);
        }
    }

    fn begin(&self, errand: Errand) {
        self.inner.news.hand_over_begins();
        let inner = self.inner.clone();
        self.inner.runtime.spawn(async move {
            let note = inner.note_of(&errand);
            let (place, text) = (note.clone(), errand.to_json().to_string());
            let noted = tokio::task::spawn_blocking(move || write(&place, &text)).await;
            if let Ok(Err(error)) = noted {
                // A full disk is no reason not to try.
                tracing::warn!(%error, "a hand-over would not outlive this process");
            }
            let is_handed_over = inner.carry(&errand).await;
            inner.news.hand_over_ends(is_handed_over);
            let removed = tokio::task::spawn_blocking(move || std::fs::remove_file(note)).await;
            if let Ok(Err(error)) = removed
                && error.kind() != std::io::ErrorKind::NotFound
            {
                tracing::warn!(%error, "a message that was handed over may be so again");
            }
        });
    }
}

impl Inner {
    /// Tries until it is done; gives whether the message was taken.
    async fn carry(&self, errand: &Errand) -> bool {
        let Errand {
            mailbox,
            message,
            way,
            since_unix_ms,
        } = errand;
        let mut pause = RETRY_FIRST;
        loop {
            let reason = match self.attempt(errand).await {
                Ok(is_taken) => return is_taken,
                Err(NotHanded::Never(reason)) => {
                    self.news.given_up(mailbox, &message.path, way, reason);
                    return false;
                }
                Err(NotHanded::Later(reason)) => reason,
            };
            let tried = Duration::from_millis(now_unix_ms().saturating_sub(*since_unix_ms));
            let left = self.options.give_up_after.saturating_sub(tried);
            if left.is_zero() {
                self.news.given_up(mailbox, &message.path, way, reason);
                return false;
            }
            tracing::warn!(mailbox, way, reason, "a voice message is handed over later");
            tokio::time::sleep(pause.min(left)).await;
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    /// Tries once. A message that was deleted meanwhile goes nowhere.
    async fn attempt(&self, errand: &Errand) -> Result<bool, NotHanded> {
        let Ok(_slot) = self.slots.acquire().await else {
            return Ok(false);
        };
        let sound = match self.objects.read(&errand.message.path).await {
            Ok(sound) => sound,
            Err(ObjectError::NotFound) => return Ok(false),
            Err(error) => return Err(NotHanded::Later(error.to_string())),
        };
        let handed = Handed {
            mailbox: errand.mailbox.clone(),
            email: self.email_of(&errand.mailbox),
            message: errand.message.clone(),
            sound,
        };
        let notify = &self.options.notify;
        notify.hand_over(&errand.way, &handed).await?;
        Ok(true)
    }

    fn email_of(&self, mailbox: &str) -> Option<String> {
        let plan = self.plan.read().unwrap_or_else(PoisonError::into_inner);
        plan.email_of(mailbox).map(str::to_owned)
    }

    fn note_of(&self, errand: &Errand) -> PathBuf {
        // None of these has a character that leads elsewhere: mailboxes and messages are named by the media store's rules.
        let name = format!(
            "{}.{}.{}.json",
            errand.mailbox, errand.message.name, errand.way
        );
        self.options.folder.join(name.replace('/', "_"))
    }
}

impl Errand {
    fn to_json(&self) -> Value {
        let message = &self.message;
        json!({
            "mailbox": self.mailbox,
            "way": self.way,
            "since_unix_ms": self.since_unix_ms,
            "name": message.name,
            "path": message.path,
            "caller": [message.caller_user, message.caller_host, message.caller_display],
            "left_unix_ms": message.left_unix_ms,
            "length_ms": message.length_ms,
        })
    }

    fn of_json(value: &Value) -> Option<Errand> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let caller = |at: usize| text(&value["caller"][at]);
        Some(Errand {
            mailbox: text(&value["mailbox"])?,
            way: text(&value["way"])?,
            since_unix_ms: value["since_unix_ms"].as_u64()?,
            message: Message {
                name: text(&value["name"])?,
                path: text(&value["path"])?,
                caller_user: caller(0)?,
                caller_host: caller(1)?,
                caller_display: caller(2)?,
                left_unix_ms: value["left_unix_ms"].as_u64()?,
                length_ms: u32::try_from(value["length_ms"].as_u64()?).ok()?,
                is_heard: false,
            },
        })
    }
}

/// Writes a note that is there after a crash, or is not there at all.
fn write(place: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let beside = place.with_extension("new");
    std::fs::write(&beside, text)?;
    std::fs::File::open(&beside)?.sync_all()?;
    std::fs::rename(&beside, place)
}

fn read(folder: &Path) -> Vec<Errand> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let notes = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|it| it == "json"));
    let errands = notes.filter_map(|path| {
        let text = std::fs::read(&path).ok()?;
        let errand = serde_json::from_slice(&text)
            .ok()
            .and_then(|value| Errand::of_json(&value));
        if errand.is_none() {
            tracing::warn!(path = %path.display(), "this is no note of a voice message");
        }
        errand
    });
    errands.take(WAITING_MAX as usize).collect()
}

fn now_unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use store::Place;

    use super::*;
    use crate::pbx::news::PbxEvent;

    /// Two ways: one fails so often, the other one always works.
    struct Taker {
        failures: Mutex<u32>,
        taken: Mutex<Vec<(String, String, usize)>>,
    }

    impl Notify for Taker {
        fn ways(&self, _: Option<&str>) -> Vec<&'static str> {
            vec!["slow", "quick"]
        }

        fn hand_over<'a>(&'a self, way: &'a str, handed: &'a Handed) -> HandingOver<'a> {
            Box::pin(async move {
                let mut failures = self.failures.lock().expect("alive");
                if way == "slow" && *failures > 0 {
                    *failures -= 1;
                    return Err(NotHanded::Later("not yet".into()));
                }
                let taken = (way.to_owned(), handed.mailbox.clone(), handed.sound.len());
                self.taken.lock().expect("alive").push(taken);
                Ok(())
            })
        }
    }

    struct Scene {
        folder: tempfile::TempDir,
        objects: Objects,
        taker: Arc<Taker>,
        news: Arc<News>,
        told: Arc<Mutex<Vec<PbxEvent>>>,
    }

    impl Scene {
        async fn new(failures: u32) -> Scene {
            let folder = tempfile::tempdir().expect("a folder");
            let place = Place::Folder(folder.path().join("media"));
            let objects = Objects::open(&place, Duration::from_secs(5)).expect("it opens");
            objects
                .put("voicemail/101/1.wav", vec![7; 44])
                .await
                .expect("kept");
            let told = Arc::new(Mutex::new(Vec::new()));
            let noted = told.clone();
            let listener: crate::pbx::PbxListener =
                Arc::new(move |event| noted.lock().expect("alive").push(event));
            Scene {
                folder,
                objects,
                taker: Arc::new(Taker {
                    failures: Mutex::new(failures),
                    taken: Mutex::default(),
                }),
                news: Arc::new(News::new(Some(listener))),
                told,
            }
        }

        fn start(&self, give_up_after: Duration) -> HandOver {
            let options = HandOverOptions {
                notify: self.taker.clone(),
                folder: self.folder.path().join("hand-over"),
                give_up_after,
            };
            let runtime = tokio::runtime::Handle::current();
            let rest = (Arc::new(Plan::default()), self.news.clone());
            HandOver::start((options, self.objects.clone()), &runtime, rest)
        }

        async fn is_done(&self) {
            let began = Instant::now();
            let notes = || {
                std::fs::read_dir(self.folder.path().join("hand-over")).map_or(0, Iterator::count)
            };
            while self.news.kept().hand_overs_waiting > 0 || notes() > 0 {
                assert!(began.elapsed() < Duration::from_secs(20));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn message(name: &str) -> Message {
        Message {
            name: name.into(),
            path: format!("voicemail/101/{name}.wav"),
            caller_user: "ann".into(),
            caller_host: "example.org".into(),
            caller_display: String::new(),
            left_unix_ms: 1,
            length_ms: 2,
            is_heard: false,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_way_that_fails_is_tried_again_and_the_other_one_once() {
        let scene = Scene::new(1).await;
        let hand_over = scene.start(Duration::from_secs(60));
        hand_over.message("101", &message("1"));
        // One that was deleted before anybody was told.
        hand_over.message("101", &message("gone"));
        scene.is_done().await;
        let mut taken = scene.taker.taken.lock().expect("alive").clone();
        taken.sort();
        let expected = ["quick", "slow"].map(|way| (way.to_owned(), "101".to_owned(), 44));
        assert_eq!(taken, expected);
        assert_eq!(scene.news.kept().handed_over, 2);
        assert!(scene.told.lock().expect("alive").is_empty());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_never_taken_is_given_up_and_told() {
        let scene = Scene::new(u32::MAX).await;
        let hand_over = scene.start(Duration::from_millis(300));
        hand_over.message("101", &message("1"));
        scene.is_done().await;
        let told = scene.told.lock().expect("alive").clone();
        let expected = PbxEvent::NotHandedOver {
            mailbox: "101".into(),
            path: "voicemail/101/1.wav".into(),
            way: "slow".into(),
            reason: "not yet".into(),
        };
        assert_eq!(told, [expected]);
        assert_eq!(scene.news.kept().hand_overs_given_up, 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_crash_left_goes_on_at_the_next_start() {
        let scene = Scene::new(0).await;
        let folder = scene.folder.path().join("hand-over");
        let errand = Errand {
            mailbox: "101".into(),
            message: message("1"),
            way: "slow".into(),
            since_unix_ms: now_unix_ms(),
        };
        let note = "101.1.slow.json";
        write(&folder.join(note), &errand.to_json().to_string()).expect("written");
        let _hand_over = scene.start(Duration::from_secs(60));
        scene.is_done().await;
        let taken = scene.taker.taken.lock().expect("alive").clone();
        assert_eq!(taken, [("slow".to_owned(), "101".to_owned(), 44)]);
    }
}
