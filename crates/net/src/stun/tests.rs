use super::*;

/// Bytes from hexadecimal, blanks between.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |byte: u8| (byte as char).to_digit(16).expect("a digit") as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

/// The transaction identifier of the vectors in RFC 5769.
const TRANSACTION: &str = "b7e7a701 bc34d686 fa87dfae";

fn request(attributes: &str) -> Vec<u8> {
    let attributes = hex(attributes);
    let mut bytes = hex("0001 0000 2112a442");
    bytes.extend(hex(TRANSACTION));
    bytes.extend_from_slice(&attributes);
    bytes[3] = attributes.len() as u8;
    bytes
}

fn answer(request: &[u8], source: &str) -> Option<Vec<u8>> {
    let mut out = b"before".to_vec();
    let source = source.parse().expect("an address");
    let answered = binding_response(request, source, &mut out);
    assert_eq!(&out[..6], b"before");
    assert_eq!(out.len() > 6, answered);
    answered.then(|| out.split_off(6))
}

#[test]
fn the_ipv4_address_is_masked_as_in_rfc_5769() {
    let expected = hex(&format!(
        "0101 000c 2112a442 {TRANSACTION} 0020 0008 0001a147 e112a643"
    ));
    assert_eq!(
        answer(&request(""), "192.0.2.1:32853"),
        Some(expected.clone())
    );
    assert_eq!(
        answer(&request(""), "[::ffff:192.0.2.1]:32853"),
        Some(expected)
    );
}

#[test]
fn the_ipv6_address_is_masked_as_in_rfc_5769() {
    let address = "0113a9fa a5d3f179 bc25f4b5 bed2b9d9";
    let expected = hex(&format!(
        "0101 0018 2112a442 {TRANSACTION} 0020 0014 0002a147 {address}"
    ));
    let source = "[2001:db8:1234:5678:11:2233:4455:6677]:32853";
    assert_eq!(answer(&request(""), source), Some(expected));
}

/// RFC 5769 section 2.1.
const SAMPLE_REQUEST: &str = "
    0001 0058 2112a442 b7e7a701 bc34d686 fa87dfae
    8022 0010 5354554e 20746573 7420636c 69656e74
    0024 0004 6e0001ff
    8029 0008 932ff9b1 51263b36
    0006 0009 6576746a 3a683676 59202020
    0008 0014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
    8028 0004 e57a3bcf";

#[test]
fn what_must_be_understood_and_is_not_is_named_in_an_error() {
    let answered = answer(&hex(SAMPLE_REQUEST), "192.0.2.1:32853").expect("answered");
    assert_eq!(answered[..2], hex("0111")[..]);
    assert_eq!(
        usize::from(be16(&answered, 2).expect("a length")) + 20,
        answered.len()
    );
    let unknown = hex("000a 0002 0024 0000");
    assert!(
        answered
            .windows(unknown.len())
            .any(|window| window == unknown)
    );
    let (body, fingerprint) = answered.split_at(answered.len() - 8);
    assert_eq!(fingerprint[..4], hex("8028 0004")[..]);
    assert_eq!(
        fingerprint[4..],
        (crc32(body) ^ FINGERPRINT_XOR).to_be_bytes()
    );
}

#[test]
fn a_wrong_fingerprint_is_not_answered() {
    let mut request = hex(SAMPLE_REQUEST);
    *request.last_mut().expect("not empty") ^= 1;
    assert_eq!(answer(&request, "192.0.2.1:32853"), None);
}

#[test]
fn software_and_credentials_do_not_stand_in_the_way() {
    let request = request("8022 0004 74657374 0006 0004 75736572");
    let answered = answer(&request, "192.0.2.1:32853").expect("answered");
    assert_eq!(answered[..2], hex("0101")[..]);
}

#[test]
fn only_binding_requests_are_answered() {
    for (what, bytes) in [
        ("SIP", b"OPTIONS sip:a@b SIP/2.0\r\n\r\n".to_vec()),
        ("nothing", Vec::new()),
        (
            "a response",
            hex(&format!("0101 0000 2112a442 {TRANSACTION}")),
        ),
        (
            "an indication",
            hex(&format!("0011 0000 2112a442 {TRANSACTION}")),
        ),
        (
            "another method",
            hex(&format!("0003 0000 2112a442 {TRANSACTION}")),
        ),
        (
            "no magic cookie",
            hex(&format!("0001 0000 00000000 {TRANSACTION}")),
        ),
        (
            "a wrong length",
            hex(&format!("0001 0004 2112a442 {TRANSACTION}")),
        ),
        ("a short attribute", request("8022 0008 74657374")),
        ("an odd length", request("8022 0003 747374")),
        ("half a header", request("8022")),
        ("too much", request(&"8022 0004 74657374".repeat(0x8000))),
    ] {
        assert_eq!(answer(&bytes, "192.0.2.1:32853"), None, "{what}");
    }
}
