//! What the first look promises.

use super::*;

#[test]
fn the_call_id_is_found_in_every_form() {
    for header in [
        "Call-ID: a@b",
        "call-id:a@b",
        "I: a@b",
        "i :\ta@b  ",
        "CALL-ID:\r\n a@b",
        "Call-ID: \r\n \r\n\ta@b",
    ] {
        let text = format!("BYE sip:x SIP/2.0\r\nInfo: 1\r\nCSeq: 1 BYE\r\n{header}\r\n\r\n");
        assert_eq!(call_id(text.as_bytes()), Some(&b"a@b"[..]), "{header}");
    }
}

#[test]
fn nothing_else_is_taken_for_the_call_id() {
    for text in [
        "",
        "BYE sip:x SIP/2.0",
        "BYE sip:x SIP/2.0\r\n\r\nCall-ID: body",
        "BYE sip:x SIP/2.0\r\nSubject: x\r\n Call-ID: fold\r\n\r\n",
        "BYE sip:x SIP/2.0\r\nCall-IDs: x\r\n\r\n",
        "BYE sip:x SIP/2.0\r\nCall-ID x\r\n\r\n",
        "BYE sip:x SIP/2.0\r\nCall-ID:\r\n\r\n",
        "BYE sip:x SIP/2.0\r\nCall-ID: x",
    ] {
        assert_eq!(call_id(text.as_bytes()), None, "{text}");
    }
}

#[test]
fn datagrams_are_sorted_by_their_first_bytes() {
    for bytes in [&b""[..], b"\r\n\r\n", b"\0", b"\0\0\0\0", b"\r\n", b"  "] {
        assert_eq!(kind(bytes), Kind::KeepAlive, "{bytes:?}");
    }
    let mut stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    assert_eq!(kind(&stun), Kind::Sip, "too short");
    stun.resize(20, 7);
    assert_eq!(kind(&stun), Kind::Stun);
    for bytes in [
        &b"\r\nOPTIONS sip:a SIP/2.0\r\n\r\n"[..],
        b"SIP/2.0 200 OK\r\n",
        b"\r\n\r\n\r\n\r\n\r\n",
    ] {
        assert_eq!(kind(bytes), Kind::Sip, "{bytes:?}");
    }
}
