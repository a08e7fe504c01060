//! A session description: indexed, read through every view, put through a relay, and compared with itself.
//! The first two bytes choose the relay's address family and which m-lines get ports.
#![no_main]

use std::net::IpAddr;

use libfuzzer_sys::fuzz_target;
use sdp::{Description, Edits, Index, Limits, Ports, Rewrite, check_answer, rewrite};

fuzz_target!(|data: &[u8]| {
    let ([family, mask], body) = match data {
        [family, mask, body @ ..] if *family < 4 => ([*family, *mask], body),
        // The committed seeds are descriptions as they are.
        _ => ([0, 0xff], data),
    };
    let mut index = Index::new();
    let limits = Limits::default();
    let Ok(description) = index.parse(body, &limits) else {
        return;
    };
    views_do_not_panic(&description);
    check_answer(&description, &description).expect("it has the same lines");
    let address: IpAddr = match family & 1 {
        0 => [192, 0, 2, 1].into(),
        _ => [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into(),
    };
    let apart = u16::from(family & 2) + 1;
    let ports: Vec<Option<Ports>> = (0..description.media_count())
        .map(|number| {
            let rtp = 20_000 + 2 * number as u16;
            let rtcp = rtp + apart;
            (mask >> (number % 8) & 1 == 1).then_some(Ports { rtp, rtcp })
        })
        .collect();

    let once = relayed(&description, address, &ports);
    let mut second = Index::new();
    let limits = Limits {
        // Lines may have been added, or grown by an address.
        size_bytes_max: u32::MAX,
        lines_max: u16::MAX,
        line_bytes_max: u16::MAX,
        ..limits
    };
    let after = second
        .parse(&once, &limits)
        .expect("what was relayed is a description");
    assert_eq!(relayed(&after, address, &ports), once, "twice is once");
    says_what_was_asked_for(&description, &after, address, &ports);
});

fn views_do_not_panic(description: &Description<'_>) {
    let origin = description.origin();
    let _ = (origin.session_id, origin.version, origin.address);
    for media in description.media() {
        let _ = (
            media.rtp(),
            media.rtcp(),
            media.direction(),
            media.ptime_ms(),
        );
        assert!(media.formats().all(|format| format.payload_type < 128));
        media.format_bytes().for_each(drop);
        if media.needs_ports() {
            let address = media.address().expect("it was checked");
            assert!(!address.is_multicast());
            assert_ne!(media.port(), 0);
        }
    }
}

fn relayed(description: &Description<'_>, address: IpAddr, ports: &[Option<Ports>]) -> Vec<u8> {
    let body = description.body();
    let mut edits = Edits::new();
    rewrite(description, &Rewrite { address, ports }, &mut edits);
    let mut at = 0;
    for edit in edits.iter() {
        assert!(edit.span.start >= at && edit.span.end >= edit.span.start);
        at = edit.span.end;
    }
    assert!(at as usize <= body.len());
    let mut out = Vec::new();
    edits.write(body, &mut out);
    assert_eq!(out.len(), edits.size_after(body.len()));
    out
}

fn says_what_was_asked_for(
    before: &Description<'_>,
    after: &Description<'_>,
    address: IpAddr,
    ports: &[Option<Ports>],
) {
    assert!(!after.has_bundle());
    assert_eq!(before.media_count(), after.media_count());
    assert_eq!(after.origin().address, address.to_string().as_bytes());
    for (old, new) in before.media().zip(after.media()) {
        assert_eq!(old.direction(), new.direction());
        match ports[old.number()].filter(|_| old.needs_ports()) {
            Some(ports) => {
                assert_eq!(new.port(), ports.rtp);
                let is_held = old.is_held_by_address();
                assert!(is_held && old.address() == new.address() || new.address() == Ok(address));
            }
            None if old.port() != 0 => {
                assert_eq!(old.port(), new.port());
                // Refusals name lines, which move.
                assert_eq!(old.address().ok(), new.address().ok());
            }
            None => assert_eq!(new.port(), 0),
        }
    }
}
