//! What every database must do. Each claim is given the URL of an empty database of its own.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use store::{
    BindingChange, BindingId, BindingRefresh, BindingRow, BindingWriter, CommitError, Credentials,
    DeferredChange, NewSubscriber, SCHEMA_VERSION, Store, StoreError, StoreOptions, UsersAdded,
    WriterOptions,
};
use tokio::sync::oneshot;

use crate::support::run;

pub(crate) async fn open(url: &str) -> Store {
    Store::open(url, StoreOptions::default())
        .await
        .expect("the store opens")
}

pub(crate) fn quick() -> WriterOptions {
    WriterOptions {
        commit_timeout: Duration::from_secs(20),
        commit_spacing: Duration::ZERO,
        commit_spacing_max: Duration::ZERO,
        defer: Duration::from_millis(100),
        backoff_max: Duration::from_millis(200),
        ..WriterOptions::default()
    }
}

/// For a database that is going to be away.
pub(crate) fn impatient() -> WriterOptions {
    WriterOptions {
        commit_timeout: Duration::from_millis(600),
        ..quick()
    }
}

/// Submits without waiting.
pub(crate) fn submit(
    writer: &BindingWriter,
    changes: Vec<BindingChange>,
) -> oneshot::Receiver<Result<(), CommitError>> {
    let (sender, receiver) = oneshot::channel();
    let completion = Box::new(move |result| {
        let _ = sender.send(result);
    });
    writer.submit(changes, completion).expect("there is room");
    receiver
}

pub(crate) async fn commit(
    writer: &BindingWriter,
    changes: Vec<BindingChange>,
) -> Result<(), CommitError> {
    submit(writer, changes)
        .await
        .expect("the completion is called")
}

pub(crate) async fn table(store: &Store) -> BTreeMap<i64, BindingRow> {
    let mut rows = BTreeMap::new();
    let unreadable = store.load_bindings(|row| {
        rows.insert(row.id.0, row);
    });
    assert_eq!(unreadable.await.expect("the bindings load"), 0);
    rows
}

pub(crate) fn row(id: i64) -> BindingRow {
    BindingRow {
        id: BindingId(id),
        aor: format!("sip:user{id}@example.org").into_bytes(),
        contact: format!("<sip:user{id}@192.0.2.17:5060>;expires=60").into_bytes(),
        received: b"192.0.2.17:5060".to_vec(),
        flow: b"udp".to_vec(),
        path: Vec::new(),
        instance: b"\"<urn:uuid:00000000-0000-1000-8000-000a95a0e128>\"".to_vec(),
        reg_id: Some(1),
        q_thousandths: None,
        expires_at_unix_s: 1_900_000_000,
        call_id: b"first@192.0.2.17".to_vec(),
        cseq: 1,
        user_agent: b"Test".to_vec(),
        methods: Vec::new(),
        params: Vec::new(),
    }
}

pub(crate) fn refresh(id: i64, cseq: u32) -> BindingRefresh {
    BindingRefresh {
        id: BindingId(id),
        expires_at_unix_s: 1_900_000_000 + i64::from(cseq),
        cseq,
        call_id: None,
    }
}

fn put(id: i64) -> BindingChange {
    BindingChange::Put(row(id))
}

fn credentials(byte: u8) -> Credentials {
    Credentials {
        ha1_md5: Some([byte; 16]),
        ha1_sha256: None,
        ha1_sha512_256: Some([byte ^ 0xff; 32]),
    }
}

pub(crate) async fn a_user_comes_back_with_the_credentials_that_were_given(url: String) {
    let store = open(&url).await;
    store
        .user_add("alice", "Example.ORG", &credentials(7))
        .await
        .expect("added");
    let user = store
        .user("alice", "example.org")
        .await
        .expect("found")
        .expect("there");
    assert_eq!(user.username, "alice");
    assert_eq!(user.domain, "example.org");
    assert_eq!(user.credentials, credentials(7));
    assert!(user.created_at_unix_s > 1_700_000_000);
    assert!(!format!("{user:?} {:?}", user.credentials).contains("alice"));
    let changed = store
        .user_set_credentials("alice", "example.org", &credentials(8))
        .await;
    changed.expect("changed");
    let user = store
        .user("alice", "EXAMPLE.org")
        .await
        .expect("found")
        .expect("there");
    assert_eq!(user.credentials, credentials(8));
    assert_eq!(
        store.user("Alice", "example.org").await.expect("asked"),
        None
    );
}

pub(crate) async fn a_user_is_added_once_and_deleted_once(url: String) {
    let store = open(&url).await;
    // Names that differ in case, accents or trailing spaces are different users.
    let names = [
        "al",
        "Al",
        "al ",
        "ál",
        "a\\l",
        "a'l\"; --",
        "a\0l",
        "%",
        "_",
        "al\u{1F4DE}",
    ];
    for name in names {
        store
            .user_add(name, "example.org", &credentials(1))
            .await
            .expect(name);
        let again = store.user_add(name, "example.org", &credentials(2)).await;
        assert!(
            matches!(again, Err(StoreError::UserExists)),
            "{name}: {again:?}"
        );
    }
    for name in names {
        let user = store
            .user(name, "example.org")
            .await
            .expect(name)
            .expect(name);
        assert_eq!(
            (user.username.as_str(), user.credentials),
            (name, credentials(1))
        );
        store.user_delete(name, "example.org").await.expect(name);
        let again = store.user_delete(name, "example.org").await;
        assert!(matches!(again, Err(StoreError::NoSuchUser)), "{name}");
    }
    let absent = store
        .user_set_credentials("al", "example.org", &credentials(1))
        .await;
    assert!(matches!(absent, Err(StoreError::NoSuchUser)));
    for name in ["", &"x".repeat(256)] {
        let refused = store.user_add(name, "example.org", &credentials(1)).await;
        assert!(matches!(refused, Err(StoreError::NameLength { .. })));
    }
    store
        .user_add(&"é".repeat(255), &"d".repeat(255), &credentials(1))
        .await
        .expect("fits");
}

pub(crate) async fn many_users_are_added_at_once_and_those_there_are_told(url: String) {
    let store = open(&url).await;
    let user = |number: usize, byte| NewSubscriber {
        username: format!("user{number}"),
        domain: "example.org".to_owned(),
        credentials: Credentials {
            ha1_md5: Some([byte; 16]),
            ..Credentials::default()
        },
    };
    let added = |added, replaced, there| UsersAdded {
        added,
        replaced,
        there,
    };
    let first: Vec<_> = (0..600).map(|number| user(number, 1)).collect();
    let done = store.users_add(&first, false).await.expect("added");
    assert_eq!(done, added(600, 0, 0));
    let revision = store.revision().await.expect("read");
    // Half of them are there; one comes twice.
    let mut second: Vec<_> = (300..900).map(|number| user(number, 2)).collect();
    second.push(user(899, 3));
    let done = store.users_add(&second, false).await.expect("added");
    assert_eq!(done, added(300, 0, 301));
    let again = store.users_add(&second, false).await.expect("none");
    assert_eq!(again, added(0, 0, 601));
    assert_eq!(store.revision().await.expect("read"), revision + 1);
    let md5 = async |name: &str| {
        let user = store.user(name, "example.org").await.expect("asked");
        user.expect("there").credentials.ha1_md5
    };
    assert_eq!(md5("user300").await, Some([1; 16]));
    assert_eq!(md5("user899").await, Some([2; 16]));
    let done = store.users_add(&second, true).await.expect("replaced");
    assert_eq!(done, added(0, 601, 0));
    assert_eq!(md5("user300").await, Some([2; 16]));
    assert_eq!(md5("user899").await, Some([3; 16]));
    // One that cannot be stored: none is.
    let bad = NewSubscriber {
        username: String::new(),
        ..user(0, 1)
    };
    let refused = store.users_add(&[user(1000, 1), bad], true).await;
    assert!(matches!(refused, Err(StoreError::NameLength { .. })));
    assert!(
        store
            .user("user1000", "example.org")
            .await
            .expect("asked")
            .is_none()
    );
}

pub(crate) async fn users_pass_one_by_one_in_order_until_enough(url: String) {
    let store = open(&url).await;
    for n in (0..40).rev() {
        let domain = format!("d{}.example", n % 2);
        store
            .user_add(&format!("u{n:02}"), &domain, &credentials(1))
            .await
            .expect("added");
    }
    let mut seen = Vec::new();
    let unreadable = store
        .users(None, |user| {
            seen.push(format!("{}@{}", user.username, user.domain));
            ControlFlow::Continue(())
        })
        .await;
    assert_eq!(unreadable.expect("listed"), 0);
    assert_eq!(seen.len(), 40);
    assert_eq!(
        (seen[0].as_str(), seen[39].as_str()),
        ("u00@d0.example", "u39@d1.example")
    );
    let mut count = 0;
    let listed = store.users(Some("D1.example"), |user| {
        assert_eq!(user.domain, "d1.example");
        count += 1;
        if count == 5 {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    listed.await.expect("listed");
    assert_eq!(count, 5);
    run(
        &url,
        "UPDATE subscriber SET ha1_md5 = 'not hex' WHERE username = 'u00'",
    )
    .await
    .expect("spoiled");
    let mut count = 0;
    let listed = store.users(None, |_| {
        count += 1;
        ControlFlow::Continue(())
    });
    assert_eq!((listed.await.expect("listed"), count), (1, 39));
}

pub(crate) async fn a_domain_with_users_is_not_deleted(url: String) {
    let store = open(&url).await;
    store.domain_add("Example.org").await.expect("added");
    store.domain_add("example.net").await.expect("added");
    let again = store.domain_add("example.ORG").await;
    assert!(matches!(again, Err(StoreError::DomainExists)));
    let mut names = Vec::new();
    store
        .domains(|name| names.push(name))
        .await
        .expect("listed");
    assert_eq!(names, ["example.net", "example.org"]);
    store
        .user_add("alice", "example.org", &credentials(1))
        .await
        .expect("added");
    let refused = store.domain_delete("example.org").await;
    assert!(
        matches!(refused, Err(StoreError::DomainInUse { users: 1 })),
        "{refused:?}"
    );
    store
        .user_delete("alice", "example.org")
        .await
        .expect("deleted");
    store.domain_delete("EXAMPLE.org").await.expect("deleted");
    let again = store.domain_delete("example.org").await;
    assert!(matches!(again, Err(StoreError::NoSuchDomain)));
}

pub(crate) async fn the_revision_rises_with_each_change_and_only_then(url: String) {
    let store = open(&url).await;
    let other = open(&url).await;
    let mut last = other.revision().await.expect("read");
    store.domain_add("example.org").await.expect("added");
    let mut risen = async |changed: bool| {
        let now = other.revision().await.expect("read");
        assert_eq!(now > last, changed, "{last} to {now}");
        last = now;
    };
    risen(true).await;
    store
        .domain_add("example.org")
        .await
        .expect_err("there already");
    risen(false).await;
    store
        .user_add("alice", "example.org", &credentials(1))
        .await
        .expect("added");
    risen(true).await;
    store
        .user_add("alice", "example.org", &credentials(1))
        .await
        .expect_err("there already");
    store
        .user_delete("bob", "example.org")
        .await
        .expect_err("not there");
    risen(false).await;
    store
        .user_set_credentials("alice", "example.org", &credentials(2))
        .await
        .expect("changed");
    risen(true).await;
    store
        .user_delete("alice", "example.org")
        .await
        .expect("deleted");
    risen(true).await;
    assert!(store.health().up);
}

pub(crate) async fn any_bytes_survive_in_a_binding(url: String) {
    let store = open(&url).await;
    let writer = BindingWriter::start(&store, quick());
    let every: Vec<u8> = (0..=255).collect();
    let mut hostile = row(1);
    hostile.aor = b"sip:o'brien\"\\%00@example.org'); DROP TABLE binding; --".to_vec();
    hostile.contact = every.clone();
    hostile.received = b"\xff\xfe\0".to_vec();
    hostile.flow = b"trailing  ".to_vec();
    hostile.path = "<sip:ü\u{1F4DE}@[2001:db8::1]>".as_bytes().to_vec();
    hostile.instance = b"\\x41\\\\$1?:name".to_vec();
    hostile.call_id = every.repeat(10);
    hostile.reg_id = Some(u32::MAX);
    hostile.q_thousandths = Some(700);
    hostile.cseq = u32::MAX;
    let mut empty = row(i64::MAX);
    for text in [
        &mut empty.aor,
        &mut empty.contact,
        &mut empty.call_id,
        &mut empty.received,
    ] {
        text.clear();
    }
    empty.reg_id = None;
    empty.expires_at_unix_s = i64::MIN;
    let changes = [&hostile, &empty].map(|row| BindingChange::Put(row.clone()));
    commit(&writer, changes.to_vec()).await.expect("committed");
    let expected = BTreeMap::from([(1, hostile.clone()), (i64::MAX, empty)]);
    assert_eq!(table(&store).await, expected);
    let renewed = BindingRefresh {
        call_id: Some(every.clone().into()),
        ..refresh(1, 5)
    };
    commit(&writer, vec![BindingChange::Refresh(renewed)])
        .await
        .expect("committed");
    assert_eq!(table(&store).await[&1].call_id, every);
}

pub(crate) async fn changes_of_a_row_keep_their_order_in_a_group(url: String) {
    let store = open(&url).await;
    assert_eq!(store.next_binding_id().await.expect("asked"), BindingId(1));
    let options = WriterOptions {
        commit_spacing: Duration::from_millis(500),
        ..quick()
    };
    let writer = BindingWriter::start(&store, options);
    commit(&writer, vec![BindingChange::Delete(BindingId(1))])
        .await
        .expect("committed");
    let delete = |id| BindingChange::Delete(BindingId(id));
    let renew = |id, cseq| BindingChange::Refresh(refresh(id, cseq));
    let mut other = row(4);
    other.contact = b"sip:elsewhere@192.0.2.9".to_vec();
    // Handed over in the pause after a commit, so all of these share a group.
    let done = [
        submit(&writer, vec![put(1), put(2), put(3), put(4)]),
        submit(&writer, vec![delete(1), renew(2, 7)]),
        submit(&writer, vec![delete(3), put(3), renew(3, 9), renew(99, 1)]),
        submit(
            &writer,
            vec![renew(4, 3), BindingChange::Put(other.clone()), delete(98)],
        ),
    ];
    for receiver in done {
        assert_eq!(receiver.await, Ok(Ok(())));
    }
    let rows = table(&store).await;
    assert_eq!(rows.keys().copied().collect::<Vec<_>>(), [2, 3, 4]);
    assert_eq!(
        (rows[&2].cseq, rows[&2].expires_at_unix_s),
        (7, 1_900_000_007)
    );
    assert_eq!(
        (rows[&2].call_id.clone(), rows[&3].cseq),
        (row(2).call_id, 9)
    );
    assert_eq!(rows[&4], other);
    assert_eq!(store.health().commits, 2);
    assert_eq!(store.next_binding_id().await.expect("asked"), BindingId(5));
}

pub(crate) async fn groups_of_every_size_are_written_whole(url: String) {
    let store = open(&url).await;
    let writer = BindingWriter::start(&store, quick());
    let mut first = 1;
    for size in [1, 2, 3, 5, 31, 64, 65, 100, 257, 700, 4096] {
        let ids = first..first + size;
        first += size;
        commit(&writer, ids.clone().map(put).collect())
            .await
            .expect("put");
        let renewed = ids.clone().map(|id| BindingChange::Refresh(refresh(id, 2)));
        commit(&writer, renewed.collect()).await.expect("refreshed");
        let odd = ids.filter(|id| id % 2 == 1);
        let deleted = odd.map(|id| BindingChange::Delete(BindingId(id)));
        commit(&writer, deleted.collect()).await.expect("deleted");
    }
    let rows = table(&store).await;
    assert_eq!(rows.len() as i64, (first - 1) / 2);
    assert!(rows.values().all(|row| row.id.0 % 2 == 0 && row.cseq == 2));
    commit(&writer, Vec::new())
        .await
        .expect("an empty batch is answered too");
    assert_eq!(store.health().queued, 0);
}

pub(crate) async fn deferred_refreshes_are_merged_and_written_within_a_second(url: String) {
    let store = open(&url).await;
    let writer = BindingWriter::start(&store, quick());
    commit(&writer, (1..=50).map(put).collect())
        .await
        .expect("put");
    let before = store.health();
    for cseq in 2..=20 {
        let changes = (1..=50).map(|id| DeferredChange::Refresh(refresh(id, cseq)));
        writer.defer(changes.collect()).expect("there is room");
    }
    writer
        .defer(vec![DeferredChange::Delete(BindingId(50))])
        .expect("there is room");
    let began = Instant::now();
    while store.health().rows < before.rows + 50 {
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            store.health()
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rows = table(&store).await;
    assert_eq!(rows.len(), 49);
    assert!(rows.values().all(|row| row.cseq == 20));
    let after = store.health();
    assert_eq!(
        (after.commits - before.commits, after.rows - before.rows),
        (1, 50)
    );
    assert_eq!((after.queued, after.deferred), (0, 0));
}

pub(crate) async fn who_defers_hears_when_it_is_durable(url: String) {
    let store = open(&url).await;
    let writer = BindingWriter::start(&store, quick());
    // More than fit a group, so that a flush takes several.
    const ROWS: i64 = 9_000;
    for first in (1..=ROWS).step_by(3_000) {
        let rows = (first..first + 3_000).map(put).collect();
        commit(&writer, rows).await.expect("put");
    }
    let mut done = Vec::new();
    for cseq in 2..=4 {
        for first in (1..=ROWS).step_by(3_000) {
            let changes = (first..first + 3_000)
                .map(|id| DeferredChange::Refresh(refresh(id, cseq)))
                .collect();
            let (sender, receiver) = tokio::sync::oneshot::channel();
            let completion = Box::new(move |result| drop(sender.send(result)));
            writer
                .defer_with(changes, completion)
                .expect("there is room");
            done.push((first, cseq, receiver));
        }
    }
    for (first, cseq, receiver) in done {
        assert_eq!(receiver.await, Ok(Ok(())));
        let rows = table(&store).await;
        let written = (first..first + 3_000).all(|id| rows[&id].cseq >= cseq);
        assert!(written, "{first} {cseq}");
    }
    // Taken along by a durable change: told all the same.
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let completion = Box::new(move |result| drop(sender.send(result)));
    let change = DeferredChange::Refresh(refresh(1, 9));
    writer
        .defer_with(vec![change], completion)
        .expect("there is room");
    commit(&writer, vec![BindingChange::Delete(BindingId(1))])
        .await
        .expect("deleted");
    writer.close().await;
    assert_eq!(receiver.await, Ok(Ok(())));
}

pub(crate) async fn a_deferred_refresh_comes_before_a_later_durable_change_of_its_row(url: String) {
    let store = open(&url).await;
    let writer = BindingWriter::start(&store, quick());
    commit(&writer, vec![put(1), put(2)]).await.expect("put");
    let late = vec![
        DeferredChange::Refresh(refresh(1, 5)),
        DeferredChange::Refresh(refresh(2, 5)),
    ];
    writer.defer(late).expect("there is room");
    let mut moved = row(1);
    moved.cseq = 6;
    let changes = vec![
        BindingChange::Put(moved.clone()),
        BindingChange::Delete(BindingId(2)),
    ];
    let done = submit(&writer, changes);
    writer
        .defer(vec![DeferredChange::Refresh(refresh(2, 9))])
        .expect("there is room");
    assert_eq!(done.await, Ok(Ok(())));
    writer.close().await;
    assert_eq!(table(&store).await, BTreeMap::from([(1, moved)]));
}

pub(crate) async fn closing_writes_what_is_queued_and_deferred(url: String) {
    let store = open(&url).await;
    let options = WriterOptions {
        defer: Duration::from_secs(60),
        ..quick()
    };
    let writer = BindingWriter::start(&store, options);
    commit(&writer, vec![put(1)]).await.expect("put");
    writer
        .defer(vec![DeferredChange::Refresh(refresh(1, 4))])
        .expect("there is room");
    let done = submit(&writer, vec![put(2)]);
    let other = writer.clone();
    writer.close().await;
    assert_eq!(done.await, Ok(Ok(())));
    let rows = table(&store).await;
    assert_eq!((rows.len(), rows[&1].cseq), (2, 4));
    assert!(other.submit(vec![put(3)], Box::new(|_| {})).is_err());
    assert!(other.defer(Vec::new()).is_err());
}

pub(crate) async fn programs_that_start_together_migrate_once(url: String) {
    let starts: Vec<_> = (0..6)
        .map(|_| {
            let url = url.clone();
            tokio::spawn(async move { Store::open(&url, StoreOptions::default()).await.map(drop) })
        })
        .collect();
    for start in starts {
        start.await.expect("no panic").expect("the store opens");
    }
    let store = open(&url).await;
    store.domain_add("example.org").await.expect("added");
    drop(store);
    let store = open(&url).await;
    assert_eq!(store.revision().await.expect("read"), 1);
}

pub(crate) async fn a_newer_schema_is_refused_and_left_alone(url: String) {
    drop(open(&url).await);
    let newer = SCHEMA_VERSION + 1;
    run(
        &url,
        &format!("INSERT INTO schema_version (version, applied_at) VALUES ({newer}, 0)"),
    )
    .await
    .expect("written");
    let refused = Store::open(&url, StoreOptions::default()).await;
    match refused {
        Err(StoreError::SchemaNewer { found, known }) => {
            assert_eq!((found, known), (newer, SCHEMA_VERSION));
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_record_of_a_call_is_kept_once(url: String) {
    let store = open(&url).await;
    let row = |number: i64| store::CdrRow {
        id: format!("{number:016x}"),
        began_unix_ms: number,
        answered_unix_ms: (number % 2 == 0).then_some(number + 1),
        ended_unix_ms: number + 2,
        caller: "\\a\u{0} @b".into(),
        called: "200@b".into(),
        status: 200,
        q850: 16,
        detail: r#"{"steps":["ring \"x\""]}"#.into(),
    };
    let rows: Vec<_> = (0..150).map(row).collect();
    let before = store.revision().await.expect("it answers");
    assert_eq!(store.add_cdrs(&rows[..100]).await.expect("kept"), 100);
    assert_eq!(store.add_cdrs(&rows).await.expect("kept"), 50);
    assert_eq!(store.add_cdrs(&[]).await.expect("nothing"), 0);
    assert_eq!(store.revision().await.expect("it answers"), before);
    let mut found = Vec::new();
    store
        .cdrs(100, &mut |row| {
            found.push(row);
            match found.len() {
                30 => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        })
        .await
        .expect("they are read");
    let expected: Vec<_> = (70..100).rev().map(row).collect();
    assert_eq!(found, expected);
}

pub(crate) async fn a_dialplan_is_replaced_and_removed(url: String) {
    let store = open(&url).await;
    let text = "long \u{e4} \\ 'quoted'\n".repeat(10_000);
    let before = store.revision().await.expect("it answers");
    assert!(store.dialplan("default").await.expect("read").is_none());
    for content in ["first", &text] {
        let put = store.set_dialplan("default", Some(content)).await;
        put.expect("it is put there");
        let found = store.dialplan("default").await.expect("read");
        assert_eq!(found.expect("it is there").0, content);
    }
    assert!(store.revision().await.expect("it answers") >= before + 2);
    store.set_dialplan("default", None).await.expect("removed");
    assert!(store.dialplan("default").await.expect("read").is_none());
    let large = "x".repeat(store::DIALPLAN_BYTES_MAX + 1);
    assert!(store.set_dialplan("default", Some(&large)).await.is_err());
}
