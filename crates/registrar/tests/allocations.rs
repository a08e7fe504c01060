//! Memory per binding and allocations per request, as a counting allocator sees them.

mod fixture;

use allocation_counter::measure;
use fixture::{NOW, Registrar, request};
use registrar::Cursor;

/// Above 7/8 of a power of two, where the hash table has just doubled: the worst case.
const AORS: usize = 114_700;

fn ordinary(number: usize, cseq: u32) -> (String, Vec<u8>) {
    let aor = format!("user{number:07}@example.org");
    let contact = format!(
        "Contact: <sip:user{number:07}@10.{}.1.17:5060;ob;transport=udp>",
        number % 256
    );
    let call_id = format!("{number:08x}-43f1-4e0a-9c55-0123456789ab@10");
    (
        aor,
        request(
            &call_id,
            cseq,
            &[&contact, "User-Agent: Phone T46U 108.86.0", "Expires: 3600"],
        ),
    )
}

#[test]
fn an_ordinary_binding_takes_less_than_300_bytes_all_in() {
    let mut registrar = Registrar::new();
    registrar.send(&ordinary(0, 1).1);
    let mut sizes = (0, 0, 0);
    let info = measure(|| {
        for number in 0..AORS {
            let (aor, bytes) = ordinary(number, 1);
            if number == 0 {
                sizes.0 = aor.len();
            }
            assert_eq!(registrar.send_for(aor.as_bytes(), &bytes).status, 200);
        }
        registrar.reply = registrar::Reply::new();
    });
    let binding = registrar
        .location
        .lookup(b"user0000000@example.org", NOW)
        .next()
        .expect("there");
    sizes.1 = binding.contact().len();
    sizes.2 = binding.call_id().len();
    let each = info.bytes_current / AORS as i64;
    println!(
        "{each} bytes each at {AORS}: aor {}, contact {}, call-id {}",
        sizes.0, sizes.1, sizes.2
    );
    assert_eq!(registrar.location.bindings(), AORS + 1);
    assert!((150..300).contains(&each), "{each}");
}

#[test]
fn a_plain_refresh_allocates_nothing() {
    let mut registrar = Registrar::new();
    registrar.commits = true;
    let requests: Vec<_> = (1..200).map(|cseq| ordinary(1, cseq)).collect();
    for (aor, bytes) in &requests[..2] {
        registrar.send_for(aor.as_bytes(), bytes);
    }
    let info = measure(|| {
        for (aor, bytes) in &requests[2..] {
            registrar.now += 1;
            let outcome = registrar.send_for(aor.as_bytes(), bytes);
            assert_eq!((outcome.status, outcome.durable), (200, false));
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn looking_up_listing_and_sweeping_allocate_nothing() {
    let mut registrar = Registrar::new();
    for number in 0..100 {
        let (aor, bytes) = ordinary(number, 1);
        registrar.send_for(aor.as_bytes(), &bytes);
    }
    let now = registrar.now;
    let mut seen = 0;
    let info = measure(|| {
        registrar::targets(&registrar.location, b"user0000001@example.org", now, |_| {
            seen += 1
        });
        registrar
            .location
            .page(now, Cursor::START, 1_000, |_, _| seen += 1);
        registrar
            .location
            .sweep(now, Cursor::START, 1_000, |_, _| seen += 1);
    });
    assert_eq!((seen, info.count_total), (101, 0));
}
