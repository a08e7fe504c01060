use super::*;
use crate::{NtpTime, ShortNtp, Timestamp};
use proptest::prelude::*;

const A: Ssrc = Ssrc(0x0102_0304);
const B: Ssrc = Ssrc(0x1112_1314);

fn block() -> ReportBlock {
    ReportBlock {
        ssrc: B,
        fraction_lost: 25,
        lost: -3,
        highest: 0x1_0007,
        jitter: 42,
        last_report: ShortNtp(0xa0b0_c0d0),
        delay: ShortNtp(0x1_8000),
    }
}

fn info() -> SenderInfo {
    SenderInfo {
        ntp: NtpTime(0x8111_2222_3333_4444),
        timestamp: Timestamp(160_000),
        packets: 1_000,
        bytes: 160_000,
    }
}

fn compound() -> Vec<u8> {
    let mut bytes = Vec::new();
    write::push_sender_report(A, &info(), &[block(), block()], &mut bytes).expect("two blocks");
    write::push_source_description(A, b"alice@example", &mut bytes).expect("a short name");
    write::push_bye(&[A, B], b"done", &mut bytes).expect("two sources");
    bytes
}

fn parse(bytes: &[u8]) -> Result<Compound<'_>, Error> {
    Compound::parse(bytes, Form::Compound)
}

#[test]
fn what_is_written_is_read() {
    let bytes = compound();
    let compound = parse(&bytes).expect("a compound");
    let packets: Vec<Rtcp<'_>> = compound.packets().collect();
    let [
        Rtcp::SenderReport {
            ssrc,
            info: sent,
            blocks,
        },
        Rtcp::SourceDescription(mut chunks),
        Rtcp::Bye { ssrcs, reason },
    ] = packets[..]
    else {
        panic!("{packets:?}");
    };
    assert_eq!((ssrc, sent), (A, info()));
    assert!(blocks.eq([block(), block()]));
    let chunk = chunks.next().expect("a chunk");
    assert_eq!(
        (chunk.ssrc, chunk.cname()),
        (A, Some(&b"alice@example"[..]))
    );
    assert_eq!(chunks.next(), None);
    assert!(ssrcs.eq([A, B]));
    assert_eq!(reason, b"done");
    assert_eq!(compound.blocks().count(), 2);
}

#[test]
fn the_bytes_of_a_report_are_those_of_section_6_4() {
    let mut bytes = Vec::new();
    write::push_receiver_report(A, &[block()], &mut bytes).expect("one block");
    assert_eq!(
        bytes,
        b"\x81\xc9\x00\x07\x01\x02\x03\x04\
          \x11\x12\x13\x14\x19\xff\xff\xfd\x00\x01\x00\x07\x00\x00\x00\x2a\xa0\xb0\xc0\xd0\x00\x01\x80\x00"
    );
    let empty = b"\x80\xc9\x00\x01\x01\x02\x03\x04";
    assert_eq!(
        parse(empty).map(|compound| compound.packets().count()),
        Ok(1)
    );
}

#[test]
fn every_cut_is_refused() {
    let bytes = compound();
    // Between two packets a cut is a shorter compound.
    let ends: Vec<usize> = [76, 76 + 24, bytes.len()].into();
    for end in 0..=bytes.len() {
        assert_eq!(parse(&bytes[..end]).is_ok(), ends.contains(&end), "{end}");
    }
}

#[test]
fn the_checks_of_appendix_a_2_are_made() {
    let mut bytes = compound();
    bytes[76] = 0x41;
    assert_eq!(parse(&bytes), Err(Error::Version(1)));
    let mut bye = Vec::new();
    write::push_bye(&[A], b"", &mut bye).expect("one source");
    assert_eq!(parse(&bye), Err(Error::FirstPacket(203)));
    assert!(Compound::parse(&bye, Form::ReducedSize).is_ok(), "RFC 5506");
    assert_eq!(
        Compound::parse(&[], Form::ReducedSize),
        Err(Error::Short(Part::Header))
    );
    let huge = vec![0x80; PACKET_BYTES_MAX + 4];
    assert_eq!(parse(&huge), Err(Error::Huge { bytes: huge.len() }));
}

#[test]
fn padding_is_of_the_last_packet_and_of_whole_words() {
    let padded = |count: u8, then: &[u8]| {
        let mut bytes = b"\xa0\xc9\x00\x02\x01\x02\x03\x04\x00\x00\x00\x00".to_vec();
        bytes[11] = count;
        bytes.extend_from_slice(then);
        parse(&bytes).map(|compound| compound.packets().count())
    };
    assert_eq!(padded(4, b""), Ok(1));
    for count in [0, 3, 5, 12, 255] {
        assert_eq!(padded(count, b""), Err(Error::Padding(count)));
    }
    assert_eq!(padded(8, b""), Err(Error::Short(Part::Body)));
    assert_eq!(
        padded(4, b"\x80\xc9\x00\x01\x01\x02\x03\x04"),
        Err(Error::Padding(4))
    );
}

#[test]
fn counts_that_go_beyond_the_packet_are_refused_by_part() {
    for (bytes, part) in [
        (&b"\x81\xc9\x00\x01\x01\x02\x03\x04"[..], Part::ReportBlocks),
        (
            b"\x80\xc8\x00\x02\x01\x02\x03\x04\x00\x00\x00\x00",
            Part::Header,
        ),
        (b"\x82\xcb\x00\x01\x01\x02\x03\x04", Part::Bye),
        (b"\x81\xcb\x00\x02\x01\x02\x03\x04\x04bye", Part::Bye),
        (b"\x81\xca\x00\x00", Part::Chunks),
        (b"\x80\xcc\x00\x01\x01\x02\x03\x04", Part::Body),
        (b"\x81\xcd\x00\x01\x01\x02\x03\x04", Part::Body),
    ] {
        let found = Compound::parse(bytes, Form::ReducedSize);
        assert_eq!(found, Err(Error::Short(part)), "{bytes:?}");
    }
}

#[test]
fn a_chunk_ends_with_a_zero_at_a_word() {
    let read = |chunk: &[u8]| {
        let mut bytes = vec![0x81, 202, 0, (chunk.len() / 4) as u8];
        bytes.extend_from_slice(chunk);
        Compound::parse(&bytes, Form::ReducedSize).map(|compound| compound.packets().count())
    };
    assert_eq!(read(b"\x01\x02\x03\x04\x01\x01a\x00"), Ok(1));
    assert_eq!(read(b"\x01\x02\x03\x04\x00\x00\x00\x00"), Ok(1));
    assert_eq!(
        read(b"\x01\x02\x03\x04\x01\x02ab"),
        Err(Error::Chunk),
        "no end"
    );
    assert_eq!(
        read(b"\x01\x02\x03\x04\x01\x09ab"),
        Err(Error::Chunk),
        "an item too long"
    );
    assert_eq!(
        read(b"\x01\x02\x03\x04"),
        Err(Error::Chunk),
        "no items and no end"
    );
}

#[test]
fn what_is_not_read_is_passed_over() {
    let mut bytes = Vec::new();
    write::push_receiver_report(A, &[], &mut bytes).expect("no blocks");
    bytes.extend_from_slice(b"\x82\xcc\x00\x03\x01\x02\x03\x04nameabcd");
    bytes.extend_from_slice(b"\x81\xce\x00\x02\x01\x02\x03\x04\x11\x12\x13\x14");
    bytes.extend_from_slice(b"\x80\xcf\x00\x02\x01\x02\x03\x04wxyz");
    bytes.extend_from_slice(b"\x80\xd0\x00\x00");
    let compound = parse(&bytes).expect("a compound");
    let packets: Vec<Rtcp<'_>> = compound.packets().skip(1).collect();
    assert_eq!(
        packets,
        [
            Rtcp::Application {
                subtype: 2,
                ssrc: A,
                name: *b"name",
                data: b"abcd"
            },
            Rtcp::Feedback {
                is_of_payload: true,
                format: 1,
                sender: A,
                media: B,
                data: b""
            },
            Rtcp::ExtendedReport {
                ssrc: A,
                data: b"wxyz"
            },
            Rtcp::Other {
                kind: 208,
                data: b""
            },
        ]
    );
}

#[test]
fn more_than_a_header_can_count_is_not_written() {
    let mut out = Vec::new();
    let blocks = [block(); 32];
    let result = write::push_receiver_report(A, &blocks, &mut out);
    assert_eq!(result, Err(Error::TooMany(Part::ReportBlocks)));
    assert_eq!(
        write::push_bye(&[A; 32], b"", &mut out),
        Err(Error::TooMany(Part::Bye))
    );
    assert_eq!(
        write::push_bye(&[A], &[b'x'; 256], &mut out),
        Err(Error::TooMany(Part::Bye))
    );
    let result = write::push_source_description(A, &[b'x'; 256], &mut out);
    assert_eq!(result, Err(Error::TooMany(Part::Chunks)));
    assert!(out.is_empty(), "nothing was begun");
    write::push_receiver_report(A, &blocks[..31], &mut out).expect("31 fit");
    assert_eq!(
        parse(&out).map(|compound| compound.blocks().count()),
        Ok(31)
    );
}

proptest! {
    #[test]
    fn blocks_and_names_come_back(
        fields in prop::collection::vec((any::<[u32; 5]>(), any::<u8>(), ReportBlock::LOST_MIN..=ReportBlock::LOST_MAX), 0..32),
        cname in prop::collection::vec(any::<u8>(), 0..256),
        reason in prop::collection::vec(any::<u8>(), 0..256),
    ) {
        let blocks: Vec<ReportBlock> = fields.into_iter().map(|(words, fraction_lost, lost)| ReportBlock {
            ssrc: Ssrc(words[0]),
            fraction_lost,
            lost,
            highest: words[1],
            jitter: words[2],
            last_report: ShortNtp(words[3]),
            delay: ShortNtp(words[4]),
        }).collect();
        let mut bytes = Vec::new();
        write::push_receiver_report(A, &blocks, &mut bytes).expect("at most 31");
        write::push_source_description(A, &cname, &mut bytes).expect("255 at most");
        write::push_bye(&[B], &reason, &mut bytes).expect("255 at most");
        let compound = parse(&bytes).expect("a compound");
        prop_assert!(compound.blocks().eq(blocks));
        for packet in compound.packets() {
            match packet {
                Rtcp::SourceDescription(mut chunks) => {
                    prop_assert_eq!(chunks.next().and_then(|chunk| chunk.cname()), Some(&cname[..]));
                }
                Rtcp::Bye { reason: read, .. } => prop_assert_eq!(read, &reason[..]),
                _ => {}
            }
        }
    }

    #[test]
    fn all_packets_of_what_is_taken_can_be_read(kinds in prop::collection::vec((200_u8..209, 0_u8..64, prop::collection::vec(any::<[u8; 4]>(), 0..12)), 1..4)) {
        let mut bytes = Vec::new();
        for (kind, low, words) in &kinds {
            bytes.extend_from_slice(&[0x80 | low & 0x23, *kind, 0, words.len() as u8]);
            bytes.extend(words.iter().flatten());
        }
        if let Ok(compound) = Compound::parse(&bytes, Form::ReducedSize) {
            prop_assert_eq!(compound.packets().count(), kinds.len());
            for packet in compound.packets() {
                if let Rtcp::SourceDescription(chunks) = packet {
                    prop_assert!(chunks.flat_map(|chunk| chunk.items()).count() < 64);
                }
            }
        }
    }
}
