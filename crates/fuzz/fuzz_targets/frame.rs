//! A stream: however it is cut into pieces, the same frames come out, and each message is one to
//! the indexer too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sip::frame::{Frame, FrameError, FrameLimits, Framer};
use sip::{Index, Limits};

#[derive(Debug, PartialEq, Eq)]
enum Owned {
    Ping,
    Message(Vec<u8>),
    Error(FrameError, Vec<u8>),
}

fuzz_target!(|data: &[u8]| {
    let Some((&shape, stream)) = data.split_first() else {
        return;
    };
    // Small limits are met often.
    let limits = match shape & 1 {
        0 => FrameLimits::default(),
        _ => FrameLimits {
            header_bytes_max: 200,
            message_bytes_max: 400,
        },
    };
    let whole = frames(stream, stream.len().max(1), limits);
    assert_eq!(whole, frames(stream, 1, limits));
    assert_eq!(whole, frames(stream, usize::from(shape >> 1) + 1, limits));
    for frame in &whole {
        let Owned::Message(bytes) = frame else {
            continue;
        };
        assert!(bytes.len() <= limits.message_bytes_max);
        let mut index = Index::new();
        let Ok(message) = index.parse(bytes, &Limits::default()) else {
            continue;
        };
        if message.defect().is_none() {
            assert_eq!(
                message.extent().end as usize,
                bytes.len(),
                "both end it at one place"
            );
        }
    }
});

fn frames(stream: &[u8], piece_bytes: usize, limits: FrameLimits) -> Vec<Owned> {
    let mut framer = Framer::new(limits);
    let mut found = Vec::new();
    for piece in stream.chunks(piece_bytes) {
        framer.push(piece);
        loop {
            match framer.poll() {
                Frame::NeedMore => break,
                Frame::KeepAlivePing => found.push(Owned::Ping),
                Frame::Message(bytes) => found.push(Owned::Message(bytes.to_vec())),
                Frame::Error { error, bytes } => {
                    found.push(Owned::Error(error, bytes.to_vec()));
                    return found;
                }
            }
        }
    }
    found
}
