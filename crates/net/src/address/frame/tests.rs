use super::*;

const MAC: Mac = Mac([2, 0, 0, 0xab, 0xcd, 0xef]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn v4() -> IpAddr {
    "10.0.0.100".parse().expect("an address")
}

fn v6() -> IpAddr {
    "2001:db8::12:3456".parse().expect("an address")
}

#[test]
fn arp_announces_by_request_and_by_reply() {
    let frames = announcements(v4(), MAC);
    assert_eq!(frames.len(), 2);
    for (frame, operation) in frames.iter().zip([1, 2]) {
        assert_eq!(frame.len(), 42);
        assert_eq!(frame[..6], [255; 6]);
        assert_eq!(frame[6..12], MAC.0);
        assert_eq!(frame[12..14], [8, 6]);
        assert_eq!(frame[20..22], [0, operation]);
        // Sender and target are the same address (RFC 5227 section 1.1).
        assert_eq!(frame[28..32], [10, 0, 0, 100]);
        assert_eq!(frame[38..42], [10, 0, 0, 100]);
        assert_eq!(holder(v4(), frame), Some(MAC));
    }
}

#[test]
fn an_advertisement_overrides_and_has_the_right_sum() {
    let frames = announcements(v6(), MAC);
    assert_eq!(frames.len(), 1);
    let frame = &frames[0];
    assert_eq!(frame[..6], [0x33, 0x33, 0, 0, 0, 1]);
    assert_eq!(frame[21], 255);
    assert_eq!(frame[54], 136);
    assert_eq!(frame[58], 0x20);
    assert_eq!(frame[80..86], MAC.0);
    assert_eq!(holder(v6(), frame), Some(MAC));
    // The sum over everything, itself included, is zero.
    let (IpAddr::V6(source), group) = (v6(), Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)) else {
        panic!("an IPv6 address");
    };
    assert_eq!(checksum(source, group, &frame[54..]), 0);
}

#[test]
fn a_probe_asks_without_claiming() {
    let frame = probe(v4(), MAC);
    assert_eq!(frame[28..32], [0; 4]);
    assert_eq!(frame[38..42], [10, 0, 0, 100]);
    assert_eq!(holder(v4(), &frame), None);
    let frame = probe(v6(), MAC);
    assert_eq!(frame[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    assert_eq!(frame[22..38], [0; 16]);
    assert_eq!(frame[54], 135);
    assert_eq!(holder(v6(), &frame), None);
}

#[test]
fn frames_of_others_and_broken_ones_name_no_holder() {
    let other: IpAddr = "10.0.0.7".parse().expect("an address");
    let frame = &announcements(other, OTHER)[0];
    assert_eq!(holder(v4(), frame), None);
    assert_eq!(holder(v6(), frame), None);
    let whole = &announcements(v6(), OTHER)[0];
    for end in 0..78 {
        assert_eq!(holder(v6(), &whole[..end]), None);
    }
    let mut routed = whole.clone();
    routed[21] = 64;
    assert_eq!(holder(v6(), &routed), None, "it came over a router");
}

#[test]
fn a_mac_is_written_in_hexadecimal() {
    assert_eq!(MAC.to_string(), "02:00:00:ab:cd:ef");
}
