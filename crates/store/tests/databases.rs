//! The claims of every database, on SQLite and on real servers; a database that goes away and
//! comes back; a process that is killed.

#![allow(clippy::panic, reason = "a test that cannot go on says why")]

mod claims;
mod support;

use std::time::Duration;

use claims::{commit, impatient, open, quick, refresh, row, submit, table};
use store::{
    BindingChange, BindingWriter, CommitError, DeferredChange, Store, StoreError, StoreOptions,
};
use support::{Folder, Kind, Server, servers_wanted};

/// Names each claim once: a test per claim on SQLite, and all of them in turn on a server.
macro_rules! claims {
    ($($claim:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $claim() {
                    let folder = crate::support::Folder::new();
                    crate::claims::$claim(folder.sqlite_url()).await;
                }
            )*
        }

        async fn all_claims(server: &Server) {
            $(
                eprintln!("claim: {}", stringify!($claim));
                let name = stringify!($claim);
                let url = server.database(&name[..name.len().min(60)]).await;
                claims::$claim(url).await;
            )*
        }
    };
}

claims!(
    a_record_of_a_call_is_kept_once,
    a_dialplan_is_replaced_and_removed,
    a_user_comes_back_with_the_credentials_that_were_given,
    a_user_is_added_once_and_deleted_once,
    many_users_are_added_at_once_and_those_there_are_told,
    users_pass_one_by_one_in_order_until_enough,
    a_domain_with_users_is_not_deleted,
    the_revision_rises_with_each_change_and_only_then,
    any_bytes_survive_in_a_binding,
    changes_of_a_row_keep_their_order_in_a_group,
    groups_of_every_size_are_written_whole,
    deferred_refreshes_are_merged_and_written_within_a_second,
    who_defers_hears_when_it_is_durable,
    a_deferred_refresh_comes_before_a_later_durable_change_of_its_row,
    closing_writes_what_is_queued_and_deferred,
    programs_that_start_together_migrate_once,
    a_newer_schema_is_refused_and_left_alone,
);

#[tokio::test]
async fn postgresql_does_all_that_is_claimed_and_may_go_away() {
    if servers_wanted() {
        on_server(Kind::Postgres).await;
    }
}

#[tokio::test]
async fn mariadb_does_all_that_is_claimed_and_may_go_away() {
    if servers_wanted() {
        on_server(Kind::MariaDb).await;
    }
}

async fn on_server(kind: Kind) {
    let mut server = Server::start(kind).await;
    all_claims(&server).await;
    let url = server.database("away").await;
    let store = open(&url).await;
    let writer = BindingWriter::start(&store, impatient());
    let put = |id| vec![BindingChange::Put(row(id))];
    commit(&writer, put(1)).await.expect("committed");
    server.kill();
    away(&store, &writer).await;
    store.revision().await.expect_err("the server is away");
    server.resume().await;
    back(&store, &writer).await;
    store.domain_add("example.org").await.expect("added");
}

#[tokio::test]
async fn on_sqlite_a_database_locked_by_another_may_come_back() {
    use sqlx::{Connection, Executor};
    let folder = Folder::new();
    let store = open(&folder.sqlite_url()).await;
    let writer = BindingWriter::start(&store, impatient());
    commit(&writer, vec![BindingChange::Put(row(1))])
        .await
        .expect("committed");
    let other = sqlx::SqliteConnection::connect(&folder.sqlite_url()).await;
    let mut other = other.expect("connected");
    other.execute("BEGIN EXCLUSIVE").await.expect("locked");
    away(&store, &writer).await;
    other.execute("ROLLBACK").await.expect("unlocked");
    back(&store, &writer).await;
}

/// While the database is away: durable changes fail in time, deferred ones wait.
async fn away(store: &Store, writer: &BindingWriter) {
    for cseq in 2..5 {
        let change = DeferredChange::Refresh(refresh(1, cseq));
        writer.defer(vec![change]).expect("there is room");
    }
    let began = std::time::Instant::now();
    let failed = [2, 3].map(|id| submit(writer, vec![BindingChange::Put(row(id))]));
    for receiver in failed {
        assert_eq!(receiver.await, Ok(Err(CommitError::TimedOut)));
    }
    assert!(began.elapsed() < impatient().commit_timeout * 3);
    let health = store.health();
    assert!(!health.up && health.last_error.is_some(), "{health:?}");
    assert_eq!((health.failed, health.queued, health.deferred), (2, 0, 1));
}

/// When it is back: what waited is written, and new changes succeed.
async fn back(store: &Store, writer: &BindingWriter) {
    let began = std::time::Instant::now();
    // The first may still fall into the last pause between attempts.
    while commit(writer, vec![BindingChange::Put(row(4))])
        .await
        .is_err()
    {
        assert!(began.elapsed() < Duration::from_secs(20));
    }
    while table(store).await[&1].cseq != 4 {
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{:?}",
            store.health()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(table(store).await.contains_key(&4));
    let health = store.health();
    assert!(health.up && health.connects >= 2, "{health:?}");
    assert_eq!((health.deferred, health.deferred_dropped), (0, 0));
}

#[tokio::test]
async fn a_refused_row_fails_its_own_batch_only() {
    let folder = Folder::new();
    let store = open(&folder.sqlite_url()).await;
    let trigger = "CREATE TRIGGER refuse BEFORE INSERT ON binding WHEN NEW.id = 2
        BEGIN SELECT RAISE(ABORT, 'no'); END";
    support::run(&folder.sqlite_url(), trigger)
        .await
        .expect("made");
    let writer = BindingWriter::start(&store, quick());
    let done = [1, 2, 3].map(|id| submit(&writer, vec![BindingChange::Put(row(id))]));
    let mut results = Vec::new();
    for receiver in done {
        results.push(receiver.await.expect("answered").is_ok());
    }
    assert_eq!(results, [true, false, true]);
    assert_eq!(table(&store).await.into_keys().collect::<Vec<_>>(), [1, 3]);
    let health = store.health();
    assert_eq!((health.failed, health.queued, health.connects), (1, 0, 1));
}

#[tokio::test]
async fn a_full_queue_gives_the_batch_back() {
    use sqlx::{Connection, Executor};
    let folder = Folder::new();
    let store = open(&folder.sqlite_url()).await;
    let writer = BindingWriter::start(&store, quick());
    // Nothing is written while another has the file.
    let other = sqlx::SqliteConnection::connect(&folder.sqlite_url()).await;
    let mut other = other.expect("connected");
    other.execute("BEGIN EXCLUSIVE").await.expect("locked");
    let batch = || {
        (0..4096)
            .map(|id| BindingChange::Delete(store::BindingId(id)))
            .collect()
    };
    for _ in 0..store::WRITE_QUEUE_MAX / 4096 {
        writer
            .submit(batch(), Box::new(|_| {}))
            .expect("there is room");
    }
    let rejected = writer.submit(batch(), Box::new(|_| {})).expect_err("full");
    assert_eq!(rejected.reason, store::RejectReason::QueueFull);
    assert_eq!(rejected.changes.len(), 4096);
    assert_eq!(store.health().rejected, 1);
    let mut large = row(1);
    large.user_agent = vec![b'x'; store::ROW_BYTES_MAX];
    let rejected = writer.submit(vec![BindingChange::Put(large)], Box::new(|_| {}));
    let reason = rejected.expect_err("too large").reason;
    assert_eq!(reason, store::RejectReason::TooLarge);
    other.execute("ROLLBACK").await.expect("unlocked");
    writer.close().await;
    assert_eq!(store.health().queued, 0);
}

#[tokio::test]
async fn the_sqlite_file_is_private_and_durable() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let path = folder.0.join("new/deeper/holdline.db");
    let store = open(&format!("sqlite:{}", path.display())).await;
    store.domain_add("example.org").await.expect("added");
    for name in ["holdline.db", "holdline.db-wal", "holdline.db-shm"] {
        let meta = path.with_file_name(name).metadata().expect(name);
        assert_eq!(meta.permissions().mode() & 0o777, 0o600, "{name}");
    }
}

#[tokio::test]
async fn a_bad_url_is_refused_without_showing_its_password() {
    for url in [
        "",
        "nothing",
        "sqlite:",
        "sqlite::memory:",
        "oracle://u:secret@h/d",
    ] {
        let refused = Store::open(url, StoreOptions::default()).await;
        match refused {
            Err(error @ StoreError::Url { .. }) => assert!(!error.to_string().contains("secret")),
            other => panic!("{url}: {other:?}"),
        }
    }
    let url = "postgres://user:secret@127.0.0.1:notaport/x";
    let refused = Store::open(url, StoreOptions::default())
        .await
        .expect_err("refused");
    assert!(!format!("{refused} {refused:?}").contains("secret"));
}

const CHILD: &str = "HOLDLINE_STORE_TEST_CHILD";

/// Not a test: what the next one runs in a process of its own. Writes what was acknowledged to
/// standard output until it is killed.
#[test]
#[ignore = "the body of another test's child process"]
fn acknowledge_until_killed() {
    use std::io::Write;
    let Ok(url) = std::env::var(CHILD) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let store = open(&url).await;
        let first = store.next_binding_id().await.expect("asked").0;
        let writer = BindingWriter::start(&store, quick());
        for id in first.. {
            let completion = move |result: Result<(), CommitError>| {
                result.expect("committed");
                let line = format!("ack {id}\n");
                std::io::stdout()
                    .write_all(line.as_bytes())
                    .expect("the parent reads");
            };
            // A full queue is waited out.
            while writer.health().queued > 200 {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
            let change = vec![BindingChange::Put(row(id))];
            writer
                .submit(change, Box::new(completion))
                .expect("there is room");
        }
    });
}

#[tokio::test]
async fn every_acknowledged_binding_survives_kill_9() {
    use std::io::{BufRead, BufReader};
    let folder = Folder::new();
    let url = folder.sqlite_url();
    let mut acknowledged = Vec::new();
    for round in 1..=4 {
        let mut child = std::process::Command::new(std::env::current_exe().expect("this program"))
            .args([
                "--exact",
                "acknowledge_until_killed",
                "--ignored",
                "--nocapture",
            ])
            .env(CHILD, &url)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .expect("the child starts");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut seen = 0;
        for line in output.lines() {
            let line = line.expect("a line");
            // The test runner's own words may come before the first.
            if let Some((_, id)) = line.split_once("ack ") {
                acknowledged.push(id.parse::<i64>().expect("a number"));
                seen += 1;
                if seen == 300 * round {
                    child.kill().expect("killed");
                }
            }
        }
        child.wait().expect("gone");
        assert!(
            seen >= 300 * round,
            "the child ended by itself after {seen}"
        );
        let store = open(&url).await;
        let rows = table(&store).await;
        for id in &acknowledged {
            assert_eq!(rows.get(id), Some(&row(*id)));
        }
    }
}
