//! The cookie in Record-Route and the number in a branch: ours come back whole, others not at all.
#![no_main]

use std::net::{IpAddr, SocketAddr};

use libfuzzer_sys::fuzz_target;
use proxy::cookie::{self, Direction, Ends};
use proxy::loops;
use transaction::{Flow, Transport};

const SECRET: (u64, u64) = (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210);

fuzz_target!(|data: &[u8]| {
    assert_eq!(
        cookie::read(SECRET, b"call", b"from", b"to", data),
        None,
        "nobody can sign but we"
    );
    if let Some((branch, loop_part)) = loops::read_branch(data) {
        let mut out = Vec::new();
        loops::push_branch(branch, loop_part, &mut out);
        assert!(out.eq_ignore_ascii_case(data));
    }
    let Some((shape, rest)) = data.split_first_chunk::<38>() else {
        return;
    };
    let ends = Ends {
        caller_by_flow: shape[0] & 8 != 0,
        caller: flow(shape[0], &shape[2..20]),
        callee: flow(shape[1], &shape[20..]),
    };
    let mut text = Vec::new();
    cookie::write(SECRET, b"call", b"caller", &ends, &mut text);
    let read = |from: &[u8], to: &[u8], text: &[u8]| cookie::read(SECRET, b"call", from, to, text);
    assert_eq!(
        read(b"caller", b"x", &text),
        Some((ends, Direction::ToCallee))
    );
    assert_eq!(
        read(b"x", b"caller", &text),
        Some((ends, Direction::ToCaller))
    );
    assert_eq!(read(b"x", b"y", &text), None);
    let mut changed = text.clone();
    for (byte, change) in changed.iter_mut().zip(rest) {
        *byte ^= change;
    }
    // Other digits may stand for the same bytes; nothing else may be read from them.
    if let Some(read) = read(b"caller", b"x", &changed) {
        assert_eq!(read, (ends, Direction::ToCallee));
    }
});

fn flow(kind: u8, bytes: &[u8]) -> Option<Flow> {
    let address = |bytes: &[u8]| -> SocketAddr {
        let port = u16::from_be_bytes([bytes[4], bytes[5]]);
        match kind & 4 {
            0 => (IpAddr::from([bytes[0], bytes[1], bytes[2], bytes[3]]), port).into(),
            _ => (
                IpAddr::from([0x2001_u16, 0xdb8, 0, 0, 0, 0, 0, u16::from(bytes[0])]),
                port,
            )
                .into(),
        }
    };
    let transport = if kind & 2 == 0 {
        Transport::Udp
    } else {
        Transport::Tcp
    };
    (kind & 1 != 0).then(|| Flow {
        transport,
        remote: address(bytes),
        local: address(&bytes[8..]),
    })
}
