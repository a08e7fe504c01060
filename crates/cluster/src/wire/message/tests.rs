use proptest::prelude::*;

use super::*;
use crate::node::{NodeId, NodeSet};
use crate::record::Tenure;

fn messages() -> Vec<Message<'static>> {
    let session = Session {
        incarnation: Incarnation(9),
        join: 3,
    };
    let (owner, stamp) = (Incarnation(77), Time(123_456_789));
    let position = Position {
        epoch: Epoch(4),
        owner,
        seq: Seq(12),
    };
    let node = NodeId::new(2).unwrap();
    let record = Record {
        owner: node,
        incarnation: owner,
        epoch: Epoch(4),
        tenure: Tenure::Released { successor: None },
        members: NodeSet::of(node),
        in_sync: NodeSet::of(node),
        renewals: 1,
    };
    let revision = Revision(8);
    let (seq, ops) = (Seq(5), b"abc".as_slice());
    vec![
        Message::Heartbeat { owner, stamp },
        Message::Acknowledged { owner, stamp },
        Message::Refused { owner },
        Message::Released { revision, record },
        Message::Join {
            session,
            position: Some(position),
        },
        Message::Join {
            session,
            position: None,
        },
        Message::Welcome {
            session,
            start: Start::Resume(seq),
        },
        Message::Welcome {
            session,
            start: Start::Snapshot(seq),
        },
        Message::Snapshot {
            session,
            frame: 1,
            ops,
        },
        Message::SnapshotEnd {
            session,
            frame: 2,
            seq,
        },
        Message::Batch {
            session,
            frame: 300,
            seq,
            ops,
        },
        Message::Applied {
            session,
            frames: 6,
            seq: None,
        },
        Message::Applied {
            session,
            frames: 6,
            seq: Some(seq),
        },
        Message::Rejoin { session },
        Message::Unknown { kind: 4711 },
    ]
}

fn frame(message: Message<'_>) -> (Frame<'_>, Vec<u8>) {
    let frame = Frame {
        service: ServiceId(3),
        epoch: Epoch(4),
        message,
    };
    let mut bytes = Vec::new();
    frame.write(&mut bytes);
    (frame, bytes)
}

/// The frame with its length set anew.
fn sized(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = (bytes.len() - LENGTH_BYTES) as u32;
    bytes[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    bytes
}

#[test]
fn a_frame_is_read_as_it_was_written() {
    for message in messages() {
        let (frame, bytes) = frame(message);
        assert_eq!(frame_length(&bytes), Ok(Some(bytes.len())));
        assert_eq!(Frame::read(&bytes), Ok(frame));
    }
}

#[test]
fn a_field_of_a_later_version_is_passed_over() {
    for message in messages() {
        let (frame, mut bytes) = frame(message);
        tlv::write_bytes(1000, b"what version 2 adds", &mut bytes);
        let bytes = sized(bytes);
        assert_eq!(Frame::read(&bytes), Ok(frame));
    }
}

#[test]
fn a_frame_cut_short_is_an_error_and_no_panic() {
    for message in messages() {
        let (_, bytes) = frame(message);
        for end in 0..bytes.len() {
            assert!(Frame::read(&bytes[..end]).is_err());
            if end > LENGTH_BYTES {
                let whole = sized(bytes[..end].to_vec());
                if let Ok(read) = Frame::read(&whole) {
                    // What is left may be a message that lacks what has a default.
                    assert_eq!(read.service, ServiceId(3));
                }
            }
        }
    }
}

#[test]
fn a_length_beyond_the_limit_is_refused_before_its_bytes_come() {
    assert_eq!(frame_length(&[0, 1]), Ok(None));
    assert!(matches!(
        frame_length(&[0xff, 0, 0, 0]),
        Err(Error::TooLarge { .. })
    ));
}

#[test]
fn another_version_is_refused() {
    let (_, mut bytes) = frame(Message::Unknown { kind: 1 << 20 });
    bytes[LENGTH_BYTES] = b'G';
    assert_eq!(Frame::read(&bytes), Err(Error::Version { found: b'G' }));
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 5..120)) {
        let _ = Frame::read(&bytes);
        bytes[LENGTH_BYTES] = VERSION;
        let _ = Frame::read(&sized(bytes));
    }
}
