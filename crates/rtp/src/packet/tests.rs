use super::*;
use proptest::prelude::*;

fn header() -> Header {
    Header {
        marker: true,
        payload_type: PayloadType::new(8).expect("a type"),
        sequence: Sequence(0x1234),
        timestamp: Timestamp(0x5678_9abc),
        ssrc: Ssrc(0xdead_beef),
    }
}

fn packet(payload: &[u8]) -> Vec<u8> {
    let mut bytes = header().to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn the_fields_are_where_section_5_1_has_them() {
    let bytes = packet(b"sound");
    assert_eq!(
        bytes[..12],
        *b"\x80\x88\x12\x34\x56\x78\x9a\xbc\xde\xad\xbe\xef"
    );
    let packet = Packet::parse(&bytes).expect("a packet");
    assert!(packet.marker());
    assert_eq!(packet.payload_type().number(), 8);
    assert_eq!(packet.sequence(), Sequence(0x1234));
    assert_eq!(packet.timestamp(), Timestamp(0x5678_9abc));
    assert_eq!(packet.ssrc(), Ssrc(0xdead_beef));
    assert_eq!(packet.payload(), b"sound");
    assert_eq!(packet.csrcs().len(), 0);
    assert_eq!(packet.extension(), None);
}

#[test]
fn contributing_sources_and_an_extension_come_before_the_payload() {
    let mut bytes = Vec::new();
    header().push_mixed(&[Ssrc(1), Ssrc(2)], &mut bytes);
    bytes[0] |= 0x10;
    bytes.extend_from_slice(b"\xbe\xde\x00\x01abcdsound");
    let packet = Packet::parse(&bytes).expect("a packet");
    assert!(packet.csrcs().eq([Ssrc(1), Ssrc(2)]));
    let extension = packet.extension().expect("it is there");
    assert_eq!((extension.profile, extension.data), (0xbede, &b"abcd"[..]));
    assert_eq!(packet.payload(), b"sound");
    for end in 12..bytes.len() - 5 {
        let part = if end < 20 {
            Part::Csrcs
        } else {
            Part::Extension
        };
        assert_eq!(
            Packet::parse(&bytes[..end]),
            Err(Error::Short(part)),
            "{end}"
        );
    }
}

#[test]
fn an_empty_extension_is_one() {
    let mut bytes = packet(b"\x00\x07\x00\x00sound");
    bytes[0] |= 0x10;
    let packet = Packet::parse(&bytes).expect("a packet");
    assert_eq!(
        packet.extension().map(|extension| extension.profile),
        Some(7)
    );
    assert_eq!(packet.payload(), b"sound");
}

#[test]
fn a_mixer_of_many_names_fifteen() {
    let mut bytes = Vec::new();
    header().push_mixed(&[Ssrc(7); 20], &mut bytes);
    let packet = Packet::parse(&bytes).expect("a packet");
    assert_eq!((packet.csrcs().len(), packet.payload().len()), (15, 0));
}

#[test]
fn padding_is_taken_off_and_has_to_fit() {
    let mut bytes = packet(b"sound\x00\x00\x03");
    bytes[0] |= 0x20;
    assert_eq!(
        Packet::parse(&bytes).map(|packet| packet.payload()),
        Ok(&b"sound"[..])
    );
    for (count, result) in [
        (8, Ok(&b""[..])),
        (0, Err(Error::Padding(0))),
        (9, Err(Error::Padding(9))),
        (255, Err(Error::Padding(255))),
    ] {
        *bytes.last_mut().expect("a byte") = count;
        assert_eq!(Packet::parse(&bytes).map(|packet| packet.payload()), result);
    }
    bytes.truncate(12);
    assert_eq!(Packet::parse(&bytes), Err(Error::Padding(0xef)));
}

#[test]
fn the_padding_of_srtp_is_not_looked_at() {
    let mut bytes = packet(b"ciphertext\xff");
    bytes[0] |= 0x20;
    assert_eq!(Packet::parse(&bytes), Err(Error::Padding(0xff)));
    let packet = Packet::parse_secure(&bytes).expect("a packet");
    assert_eq!(packet.payload(), b"ciphertext\xff");
}

#[test]
fn what_is_no_packet_is_refused_with_its_reason() {
    let bytes = packet(b"");
    for end in 0..12 {
        assert_eq!(
            Packet::parse(&bytes[..end]),
            Err(Error::Short(Part::Header))
        );
    }
    for version in [0, 1, 3] {
        let mut bytes = packet(b"");
        bytes[0] = version << 6;
        assert_eq!(Packet::parse(&bytes), Err(Error::Version(version)));
    }
    let mut bytes = packet(&[0; PACKET_BYTES_MAX - HEADER_BYTES]);
    assert!(Packet::parse(&bytes).is_ok());
    bytes.push(0);
    assert_eq!(
        Packet::parse(&bytes),
        Err(Error::Huge {
            bytes: PACKET_BYTES_MAX + 1
        })
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(marker: bool, number in 0_u8..128, sequence: u16, timestamp: u32, ssrc: u32,
                               csrcs in prop::collection::vec(any::<u32>(), 0..16), payload: Vec<u8>) {
        let header = Header {
            marker,
            payload_type: PayloadType::new(number).expect("below 128"),
            sequence: Sequence(sequence),
            timestamp: Timestamp(timestamp),
            ssrc: Ssrc(ssrc),
        };
        let csrcs: Vec<Ssrc> = csrcs.into_iter().map(Ssrc).collect();
        let mut bytes = Vec::new();
        header.push_mixed(&csrcs, &mut bytes);
        bytes.extend_from_slice(&payload);
        let packet = Packet::parse(&bytes).expect("a packet");
        let read = Header {
            marker: packet.marker(),
            payload_type: packet.payload_type(),
            sequence: packet.sequence(),
            timestamp: packet.timestamp(),
            ssrc: packet.ssrc(),
        };
        prop_assert_eq!(read, header);
        prop_assert!(packet.csrcs().eq(csrcs));
        prop_assert_eq!(packet.payload(), &payload[..]);
    }

    #[test]
    fn the_parts_of_whatever_is_taken_fill_the_packet(bytes: Vec<u8>, first in 128_u8..192) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.first_mut() {
            *byte = first;
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            let extension = packet.extension().map_or(0, |extension| 4 + extension.data.len());
            let range = packet.payload_range();
            prop_assert_eq!(range.start, HEADER_BYTES + 4 * packet.csrcs().len() + extension);
            prop_assert!(range.start <= range.end && range.end <= bytes.len());
        }
    }
}
