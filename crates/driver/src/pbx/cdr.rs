//! Records of calls, on their way to the store: each once, and none lost.
//!
//! A record is first appended to a file of pending ones and flushed, then written to the store, whose rows
//! have the record's name as their key; when nothing is pending the file is emptied. What a crash or a
//! database that is away leaves in the file is written at the next occasion. Records also go to a file of
//! JSON lines, where the operator wants one, which all PBXs of a node append to; after a crash, or a takeover, its last lines may be there
//! twice, with the same `id`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pbx::control::{Cdr, EndedBy, Party};
use serde_json::{Value, json};
use store::{CdrRow, Store};
use tokio::sync::mpsc;

use super::inbox::{Inbox, Item};
use super::lines::{Lines, write_whole};
use super::underway::Underway;

/// Most records that wait to be written down.
pub(crate) const WAITING_MAX: usize = 65_536;

/// Most records that are written to the store together.
const GROUP_MAX: usize = 512;

/// Most records that wait in memory for a store that is away; the file has the rest.
const PENDING_MAX: usize = 65_536;

/// How long to wait before a store that failed is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Where records of calls go.
#[derive(Debug, Clone)]
pub struct CdrPlaces {
    /// What the names of records begin with: the service's name, so that two never make the same.
    pub prefix: String,
    /// The file of pending records.
    pub pending: PathBuf,
    /// A file of JSON lines for the operator.
    pub lines: Option<PathBuf>,
}

/// Starts to keep the records that are sent here; it ends, with all written that can be, when the sender is gone.
/// `asked` is told what is in the store ([`Item::Kept`]).
///
/// # Errors
/// What the file of pending records says.
pub(crate) fn start(
    runtime: &tokio::runtime::Handle,
    places: CdrPlaces,
    store: Option<Store>,
    asked: Option<Arc<Inbox>>,
) -> std::io::Result<(mpsc::Sender<Note>, tokio::task::JoinHandle<()>)> {
    let (pending, left) = Pending::open(&places.pending)?;
    let lines = places.lines.as_deref().map(Lines::open).transpose()?;
    if !left.is_empty() {
        tracing::info!(
            records = left.len(),
            "records of calls from before the start are written now"
        );
    }
    let (underway, mut cut) = Underway::open(&beside(&places.pending))?;
    // Their own records were written down before the end.
    cut.retain(|row| left.iter().all(|other| other.id != row.id));
    if !cut.is_empty() {
        tracing::warn!(
            calls = cut.len(),
            "the node was killed while calls went on: their records say 503"
        );
    }
    let mut keeper = Keeper {
        pending,
        underway,
        prefix: places.prefix,
        lines,
        waiting: left,
        store,
        asked,
    };
    if !cut.is_empty() {
        keeper.note(&mut cut);
    }
    keeper.note_underway(Some(Vec::new()), &[]);
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    Ok((sender, runtime.spawn(keeper.run(receiver))))
}

/// The file of calls in progress, beside that of pending records.
fn beside(pending: &Path) -> PathBuf {
    let name = pending.file_name().unwrap_or_default().to_string_lossy();
    pending.with_file_name(name.replace("pending", "underway"))
}

/// What the keeper of records is told.
#[derive(Debug)]
pub(crate) enum Note {
    /// A call is over.
    Over(CdrRow),
    /// These go on.
    Underway(Vec<Cdr>),
}

struct Keeper {
    pending: Pending,
    underway: Underway,
    /// What the names of records begin with.
    prefix: String,
    lines: Option<Lines>,
    /// In the file, and not in the store yet.
    waiting: Vec<CdrRow>,
    store: Option<Store>,
    asked: Option<Arc<Inbox>>,
}

impl Keeper {
    async fn run(mut self, mut receiver: mpsc::Receiver<Note>) {
        let (mut notes, mut group) = (Vec::new(), Vec::new());
        loop {
            let waits_for_store = !self.waiting.is_empty() && self.store.is_some();
            let waits_for_disk = self.lines.as_ref().is_some_and(Lines::is_waiting);
            let retry = match waits_for_store || waits_for_disk {
                true => RETRY,
                false => Duration::from_secs(3_600),
            };
            let received =
                tokio::time::timeout(retry, receiver.recv_many(&mut notes, GROUP_MAX)).await;
            let is_over = matches!(received, Ok(0));
            let mut calls = None;
            for note in notes.drain(..) {
                match note {
                    Note::Over(row) => group.push(row),
                    Note::Underway(now) => calls = Some(now),
                }
            }
            let over: Vec<String> = group.iter().map(|row| row.id.clone()).collect();
            if !group.is_empty() {
                self.note(&mut group);
            }
            self.note_underway(calls, &over);
            self.write().await;
            if let Some(Err(error)) = self.lines.as_mut().map(Lines::flush)
                && is_over
            {
                tracing::error!(%error, "records of calls are missing in the file of JSON lines");
            }
            if is_over {
                return;
            }
        }
    }

    /// Writes records down, flushed.
    fn note(&mut self, group: &mut Vec<CdrRow>) {
        let mut text = String::new();
        for row in group.drain(..) {
            text.push_str(&line(&row).to_string());
            text.push('\n');
            if self.store.is_some() && self.waiting.len() < PENDING_MAX {
                self.waiting.push(row);
            }
        }
        if let Some(lines) = &mut self.lines {
            lines.append(&text);
        }
        if self.store.is_some()
            && let Err(error) = self.pending.append(&text)
        {
            tracing::error!(%error, "records of calls are not flushed before they are in the store");
        }
    }

    /// Writes down which calls go on, and which do not any more because their records are safe.
    fn note_underway(&mut self, calls: Option<Vec<Cdr>>, over: &[String]) {
        let noted = calls.map_or(Ok(()), |calls| self.underway.note(&self.prefix, calls));
        let over = over.iter().map(String::as_str);
        if let Err(error) = noted.and_then(|()| self.underway.over(over)) {
            tracing::error!(%error, "the file of calls in progress is not what it should be");
        }
    }

    async fn write(&mut self) {
        let Some(store) = &self.store else {
            return;
        };
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(GROUP_MAX);
            if let Err(error) = store.add_cdrs(&self.waiting[..count]).await {
                tracing::warn!(%error, waiting = self.waiting.len(), "records of calls wait for the store");
                return;
            }
            let kept: Vec<u64> = self.waiting.drain(..count).filter_map(number).collect();
            if let Some(asked) = &self.asked {
                asked.push(Item::Kept(kept));
            }
        }
        match self.pending.rest() {
            Ok(left) => self.waiting = left,
            Err(error) => tracing::error!(%error, "the file of pending records cannot be emptied"),
        }
    }
}

/// The file of records that are not in the store yet.
struct Pending {
    file: File,
    /// How many were appended, and how many of those are known to whoever writes to the store.
    appended: usize,
    handed: usize,
}

impl Pending {
    fn open(path: &Path) -> std::io::Result<(Pending, Vec<CdrRow>)> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let mut pending = Pending {
            file,
            appended: 0,
            handed: 0,
        };
        pending.file.rewind()?;
        pending.appended = BufReader::new(&pending.file).split(b'\n').count();
        let left = pending.read()?;
        Ok((pending, left))
    }

    /// The next rows that were not handed over.
    fn read(&mut self) -> std::io::Result<Vec<CdrRow>> {
        self.file.rewind()?;
        let mut rows = Vec::new();
        for line in BufReader::new(&self.file).split(b'\n').skip(self.handed) {
            if rows.len() == PENDING_MAX {
                return Ok(rows);
            }
            let line = line?;
            self.handed += 1;
            match std::str::from_utf8(&line).ok().and_then(parse) {
                Some(row) => rows.push(row),
                // It was never told to be kept.
                None => tracing::warn!(
                    bytes = line.len(),
                    "a record of a call that a crash cut short is passed over"
                ),
            }
        }
        self.handed = self.appended;
        Ok(rows)
    }

    fn append(&mut self, text: &str) -> std::io::Result<()> {
        write_whole(&mut self.file, text.as_bytes())?;
        self.file.sync_data()?;
        let lines = text.lines().count();
        self.appended += lines;
        self.handed = (self.handed + lines).min(PENDING_MAX.max(self.handed));
        Ok(())
    }

    /// What is written and was not handed over; when there is nothing the file is emptied.
    fn rest(&mut self) -> std::io::Result<Vec<CdrRow>> {
        if self.handed < self.appended {
            return self.read();
        }
        if self.appended > 0 {
            self.file.set_len(0)?;
            (self.appended, self.handed) = (0, 0);
        }
        Ok(Vec::new())
    }
}

fn address(party: &Party) -> String {
    match party.host.is_empty() {
        true => party.user.clone(),
        false => format!("{}@{}", party.user, party.host),
    }
}

/// The number of the call that a row is about.
fn number(row: CdrRow) -> Option<u64> {
    let (_, number) = row.id.rsplit_once('-')?;
    u64::from_str_radix(number, 16).ok()
}

/// A record as a row, named after the service and the call.
pub(super) fn row(prefix: &str, cdr: &Cdr) -> CdrRow {
    let legs: Vec<Value> = cdr.legs.iter().map(leg).collect();
    let time = |unix_ms: u64| i64::try_from(unix_ms).unwrap_or(i64::MAX);
    CdrRow {
        id: format!("{prefix}-{:016x}", cdr.id),
        began_unix_ms: time(cdr.began_unix_ms),
        answered_unix_ms: cdr.answered_unix_ms.map(time),
        ended_unix_ms: time(cdr.ended_unix_ms),
        caller: address(&cdr.caller),
        called: address(&cdr.called),
        status: i64::from(cdr.cause.status),
        q850: i64::from(cdr.cause.q850),
        detail: json!({ "ended_by": ended_by(cdr.ended_by), "steps": cdr.steps, "legs": legs })
            .to_string(),
    }
}

fn ended_by(by: EndedBy) -> &'static str {
    match by {
        EndedBy::Pbx => "pbx",
        EndedBy::Caller => "caller",
        EndedBy::Callee => "callee",
    }
}

fn leg(leg: &pbx::control::LegRecord) -> Value {
    json!({
        "call_id": leg.call_id,
        "party": address(&leg.party),
        "codec": leg.codec,
        "status": leg.cause.status,
        "q850": leg.cause.q850,
        "reason": leg.cause.text,
        "mos": f64::from(leg.figures.mos_hundredths) / 100.0,
        "lost": f64::from(leg.figures.lost_per_myriad) / 10_000.0,
        "jitter_ms": leg.figures.jitter_ms,
    })
}

/// A row as a line of JSON.
pub(super) fn line(row: &CdrRow) -> Value {
    let detail: Value = serde_json::from_str(&row.detail).unwrap_or_default();
    json!({
        "id": row.id,
        "began_unix_ms": row.began_unix_ms,
        "answered_unix_ms": row.answered_unix_ms,
        "ended_unix_ms": row.ended_unix_ms,
        "caller": row.caller,
        "called": row.called,
        "status": row.status,
        "q850": row.q850,
        "ended_by": detail["ended_by"],
        "steps": detail["steps"],
        "legs": detail["legs"],
    })
}

/// The row of a line.
pub(super) fn parse(text: &str) -> Option<CdrRow> {
    let value: Value = serde_json::from_str(text).ok()?;
    let string = |name: &str| value[name].as_str().map(str::to_owned);
    Some(CdrRow {
        id: string("id")?,
        began_unix_ms: value["began_unix_ms"].as_i64()?,
        answered_unix_ms: value["answered_unix_ms"].as_i64(),
        ended_unix_ms: value["ended_unix_ms"].as_i64()?,
        caller: string("caller")?,
        called: string("called")?,
        status: value["status"].as_i64()?,
        q850: value["q850"].as_i64()?,
        detail: json!({
            "ended_by": value["ended_by"],
            "steps": value["steps"],
            "legs": value["legs"],
        })
        .to_string(),
    })
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;

    fn cdr(id: u64) -> Cdr {
        Cdr {
            id,
            caller: Party {
                user: "alice".into(),
                host: "example.org".into(),
                display: String::new(),
            },
            began_unix_ms: 1_000 + id,
            ended_unix_ms: 2_000 + id,
            steps: vec!["ring \"101\"".into()],
            ..Cdr::default()
        }
    }

    async fn kept(store: &Store) -> Vec<String> {
        let mut found = Vec::new();
        let mut note = |row: CdrRow| {
            found.push(row.id);
            ControlFlow::Continue(())
        };
        store
            .cdrs(i64::MAX, &mut note)
            .await
            .expect("they are read");
        found.sort();
        found
    }

    fn places(folder: &Path) -> CdrPlaces {
        CdrPlaces {
            prefix: "pbx1".into(),
            pending: folder.join("cdr-pending.jsonl"),
            lines: Some(folder.join("cdr.jsonl")),
        }
    }

    async fn opened(folder: &Path) -> Store {
        let url = format!("sqlite://{}", folder.join("s.db").display());
        Store::open(&url, store::StoreOptions::default())
            .await
            .expect("the store opens")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn every_record_is_in_the_store_once_and_in_the_lines() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = opened(folder.path()).await;
        let runtime = tokio::runtime::Handle::current();
        let (sender, task) =
            start(&runtime, places(folder.path()), Some(store.clone()), None).expect("it starts");
        for id in 0..1_500 {
            sender
                .send(Note::Over(row("pbx1", &cdr(id))))
                .await
                .expect("there is room");
        }
        drop(sender);
        task.await.expect("it ends");
        assert_eq!(kept(&store).await.len(), 1_500);
        let lines = std::fs::read_to_string(folder.path().join("cdr.jsonl")).expect("it is there");
        assert_eq!(lines.lines().count(), 1_500);
        let first: Value = serde_json::from_str(lines.lines().next().expect("one")).expect("JSON");
        assert_eq!(first["id"], "pbx1-0000000000000000");
        assert_eq!(first["steps"][0], "ring \"101\"");
        let pending = std::fs::metadata(folder.path().join("cdr-pending.jsonl")).expect("there");
        assert_eq!(pending.len(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn calls_that_a_killed_node_was_busy_with_have_records_and_others_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = opened(folder.path()).await;
        let runtime = tokio::runtime::Handle::current();
        let begin = || start(&runtime, places(folder.path()), Some(store.clone()), None);
        let (sender, task) = begin().expect("it starts");
        let calls = (0..3).map(cdr).collect();
        sender.send(Note::Underway(calls)).await.expect("room");
        let over = Note::Over(row("pbx1", &cdr(1)));
        sender.send(over).await.expect("room");
        // It ends without another word, as by a signal.
        drop(sender);
        task.await.expect("it ends");
        assert_eq!(kept(&store).await, ["pbx1-0000000000000001"]);
        for _ in 0..2 {
            let (sender, task) = begin().expect("it starts");
            drop(sender);
            task.await.expect("it ends");
            assert_eq!(kept(&store).await.len(), 3);
        }
        let lines = std::fs::read_to_string(folder.path().join("cdr.jsonl")).expect("it is there");
        let statuses: Vec<Value> = lines
            .lines()
            .map(|text| serde_json::from_str::<Value>(text).expect("JSON")["status"].clone())
            .collect();
        assert_eq!(statuses, [0, 503, 503]);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_a_crash_left_pending_is_written_at_the_next_start() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = opened(folder.path()).await;
        let places = places(folder.path());
        let (mut pending, _) = Pending::open(&places.pending).expect("it opens");
        let rows: Vec<_> = (0..10).map(|id| row("pbx1", &cdr(id))).collect();
        let text: String = rows.iter().map(|row| format!("{}\n", line(row))).collect();
        pending.append(&text).expect("written");
        pending.append("{\"id\":\"cut sho").expect("written");
        // Some were in the store when the power went.
        store.add_cdrs(&rows[..4]).await.expect("kept");
        let runtime = tokio::runtime::Handle::current();
        let (sender, task) = start(&runtime, places, Some(store.clone()), None).expect("it starts");
        drop(sender);
        task.await.expect("it ends");
        assert_eq!(kept(&store).await.len(), 10);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_line_that_was_cut_short_spoils_neither_the_start_nor_the_next_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cdr-pending.jsonl");
        // Cut within a letter, and blocks that never reached the disk.
        std::fs::write(&path, b"{\"id\":\"pbx1-\xc3\n\0\0\0\0").expect("written");
        let (mut pending, left) = Pending::open(&path).expect("it opens");
        assert!(left.is_empty());
        let text = format!("{}\n", line(&row("pbx1", &cdr(7))));
        pending.append(&text).expect("written");
        let (_, left) = Pending::open(&path).expect("it opens");
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].id, "pbx1-0000000000000007");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn more_than_there_is_room_for_in_memory_are_all_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cdr-pending.jsonl");
        let record = line(&row("pbx1", &cdr(7))).to_string();
        let text = format!("{record}\n").repeat(PENDING_MAX + 5);
        std::fs::write(&path, text).expect("written");
        let (mut pending, left) = Pending::open(&path).expect("it opens");
        assert_eq!(left.len(), PENDING_MAX);
        assert_eq!(pending.rest().expect("readable").len(), 5);
        assert!(pending.rest().expect("emptied").is_empty());
        assert_eq!(std::fs::metadata(&path).expect("there").len(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_record_that_two_owners_write_is_kept_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = opened(folder.path()).await;
        let runtime = tokio::runtime::Handle::current();
        // The owner died after its standby had the record, with the record in its file; both write it, the old one at its next start.
        for node in ["one", "two", "one"] {
            let own = CdrPlaces {
                pending: folder.path().join(node),
                ..places(folder.path())
            };
            let started = start(&runtime, own, Some(store.clone()), None);
            let (sender, task) = started.expect("it starts");
            sender
                .send(Note::Over(row("pbx1", &cdr(7))))
                .await
                .expect("room");
            drop(sender);
            task.await.expect("it ends");
        }
        assert_eq!(kept(&store).await, ["pbx1-0000000000000007"]);
    }
}
