//! The location table by itself: store, sweep, pages.

mod fixture;

use fixture::{NOW, udp};
use registrar::{BindingRow, Cursor, Location, shard_of};

fn row(aor: &str, id: u64, expires_in_s: u64) -> BindingRow {
    BindingRow {
        aor: aor.as_bytes().into(),
        id,
        contact: format!("sip:{id}@192.0.2.7").into_bytes().into(),
        q_thousandths: Some(500),
        expires_at_unix_s: NOW + expires_in_s,
        refreshed_at_unix_s: NOW,
        flow: udp(),
        behind_nat: true,
        use_flow: false,
        path: b"<sip:p.example.org;lr>".as_slice().into(),
        instance: b"\"<urn:x>\"".as_slice().into(),
        reg_id: Some(7),
        call_id: b"call".as_slice().into(),
        cseq: 9,
        user_agent: b"phone".as_slice().into(),
    }
}

fn ids(location: &Location, aor: &str) -> Vec<u64> {
    location
        .lookup(aor.as_bytes(), NOW)
        .map(|binding| binding.id())
        .collect()
}

#[test]
fn a_restored_binding_is_what_the_store_had() {
    let mut location = Location::new((3, 4));
    let mut row = row("alice@example.org", 1, 60);
    row.flow.remote = "[fe80::1%3]:5060".parse().expect("an address");
    assert!(location.restore(&row));
    let binding = location.lookup(&row.aor, NOW).next().expect("a binding");
    assert_eq!(BindingRow::new(&row.aor, &binding.fields()), row);
    assert_eq!(binding.durable_expires_at_unix_s(), NOW + 60);
    assert!(location.restore(&row), "again");
    assert_eq!((location.aors(), location.bindings()), (1, 1));
}

#[test]
fn a_row_that_does_not_fit_is_refused() {
    let mut location = Location::new((3, 4));
    let long = |size: usize| vec![b'x'; size].into_boxed_slice();
    let mut rows = [(); 4].map(|()| row("alice@example.org", 1, 60));
    rows[0].aor = long(513);
    rows[1].contact = long(1_025);
    rows[2].path = long(2_049);
    rows[3].instance = long(256);
    for row in &rows {
        assert!(!location.restore(row));
    }
    let mut longest = row("a", 1, 60);
    longest.aor = long(512);
    longest.contact = long(1_024);
    longest.path = long(2_048);
    longest.instance = long(255);
    longest.call_id = long(512);
    assert!(location.restore(&longest));
    let binding = location
        .lookup(&longest.aor, NOW)
        .next()
        .expect("a binding");
    assert_eq!(BindingRow::new(&longest.aor, &binding.fields()), longest);
}

#[test]
fn slots_are_used_again_and_addresses_found_among_thousands() {
    let mut location = Location::new((3, 4));
    for id in 0..5_000 {
        location.restore(&row(&format!("u{id}"), id, 60));
    }
    for id in (0..5_000).step_by(2) {
        let mut seen = 0;
        location.remove(format!("u{id}").as_bytes(), |binding| {
            seen = binding.id() + 1
        });
        assert_eq!(seen, id + 1);
    }
    assert_eq!(location.aors(), 2_500);
    for id in 5_000..7_500 {
        location.restore(&row(&format!("u{id}"), id, 60));
    }
    for id in 0..7_500 {
        let expected = if id < 5_000 && id % 2 == 0 {
            vec![]
        } else {
            vec![id]
        };
        assert_eq!(ids(&location, &format!("u{id}")), expected);
    }
    assert!(location.remove_binding(b"u1", 1));
    assert!(!location.remove_binding(b"u1", 1));
    assert!(!location.remove_binding(b"u3", 1));
    assert_eq!((location.aors(), location.bindings()), (4_999, 4_999));
}

#[test]
fn a_sweep_takes_what_has_ended_within_its_budget() {
    let mut location = Location::new((3, 4));
    for id in 0..3_000 {
        let aor = format!("u{}", id / 2);
        location.restore(&row(&aor, id, if id % 3 == 0 { 10 } else { 100 }));
    }
    let mut gone = Vec::new();
    let mut cursor = Cursor::START;
    let mut calls = 0;
    loop {
        let before = gone.len();
        cursor = location.sweep(NOW + 10, cursor, 100, |aor, binding| {
            assert_eq!(aor, format!("u{}", binding.id() / 2).as_bytes());
            gone.push(binding.id());
        });
        calls += 1;
        assert!(gone.len() - before <= 200);
        if cursor == Cursor::START {
            break;
        }
    }
    assert_eq!(calls, 15);
    gone.sort_unstable();
    assert_eq!(gone, (0..3_000).step_by(3).collect::<Vec<_>>());
    assert_eq!((location.aors(), location.bindings()), (1_500, 2_000));
    let cursor = location.sweep(NOW + 100, Cursor::START, usize::MAX, |_, _| ());
    assert_eq!(
        (cursor, location.aors(), location.bindings()),
        (Cursor::START, 0, 0)
    );
    location.sweep(NOW + 1_000, Cursor::from_number(u32::MAX), 10, |_, _| {
        panic!("nothing")
    });
}

#[test]
fn pages_show_every_address_once() {
    let mut location = Location::new((3, 4));
    for id in 0..250 {
        location.restore(&row(
            &format!("u{}", id % 100),
            id,
            if id < 200 { 60 } else { 0 },
        ));
    }
    let (mut seen, mut pages, mut next) = (Vec::new(), 0, Some(Cursor::START));
    while let Some(cursor) = next {
        next = location.page(
            NOW,
            Cursor::from_number(cursor.to_number()),
            30,
            |_, binding| {
                seen.push(binding.id());
            },
        );
        pages += 1;
    }
    seen.sort_unstable();
    assert_eq!((pages, seen), (4, (0..200).collect::<Vec<_>>()));
    assert_eq!(
        location.page(NOW, Cursor::from_number(u32::MAX), 1, |_, _| ()),
        None
    );
}

#[test]
fn shards_share_the_addresses() {
    let mut counts = [0; 8];
    for id in 0..8_000 {
        counts[shard_of((3, 4), format!("u{id}").as_bytes(), 8)] += 1;
    }
    assert!(
        counts.iter().all(|count| (850..1_150).contains(count)),
        "{counts:?}"
    );
    assert_eq!(shard_of((3, 4), b"u", 0), 0);
}

#[test]
fn what_is_printed_shows_no_users_data() {
    let mut location = Location::new((3, 4));
    let row = row("alice@example.org", 1, 60);
    location.restore(&row);
    let binding = location.lookup(&row.aor, NOW).next().expect("a binding");
    let text = format!("{row:?} {binding:?} {:?} {location:?}", binding.fields());
    assert!(!text.contains("alice") && !text.contains("192"), "{text}");
}
