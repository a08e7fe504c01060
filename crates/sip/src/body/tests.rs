use super::*;
use crate::message::{Index, Limits};

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nt=0 0";

/// What is found in a message with these header lines and this body.
fn found(headers: &str, body: &str) -> Result<Option<String>, BodyError> {
    let text = format!(
        "INVITE sip:b@example.org SIP/2.0\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut index = Index::new();
    let message = index
        .parse(text.as_bytes(), &Limits::default())
        .expect("it is a message");
    let span = session_description(&message)?;
    Ok(span.map(|span| String::from_utf8_lossy(span.of(message.buffer())).into_owned()))
}

fn multipart(parts: &[&str]) -> String {
    let mut body = String::from("preamble\r\n");
    for part in parts {
        body += &format!("--cut\r\n{part}\r\n");
    }
    body + "--cut--\r\nepilogue"
}

const MIXED: &str = "Content-Type: multipart/mixed;boundary=cut\r\n";

fn sdp_part(more: &str) -> String {
    format!("Content-Type: application/sdp\r\n{more}\r\n{SDP}")
}

#[test]
fn a_body_of_that_type_is_the_description() {
    for kind in [
        "Content-Type: application/sdp\r\n",
        "c: Application/SDP ; charset=utf-8\r\n",
        "Content-Type: application / sdp\r\nContent-Disposition: session;handling=required\r\n",
        "Content-Type: application/sdp\r\nContent-Encoding: identity\r\n",
    ] {
        assert_eq!(found(kind, SDP), Ok(Some(SDP.to_owned())), "{kind}");
    }
}

#[test]
fn other_bodies_and_none_have_no_description() {
    assert_eq!(found("", ""), Ok(None));
    assert_eq!(found("", "\r\n"), Ok(None));
    assert_eq!(found("Content-Type: application/sdp\r\n", ""), Ok(None));
    for kind in [
        "Content-Type: application/dtmf-relay\r\n",
        "Content-Type: application/sdpng\r\nContent-Encoding: gzip\r\n",
        "Content-Type: application/sdp\r\nContent-Disposition: early-session\r\n",
        "Content-Type: application/sdp\r\nContent-Disposition: render\r\n",
    ] {
        assert_eq!(found(kind, SDP), Ok(None), "{kind}");
    }
}

#[test]
fn a_type_that_cannot_be_read_is_an_error() {
    for kind in [
        "",
        "Content-Type: sdp\r\n",
        "Content-Type: application/\r\n",
        "Content-Type: application/sdp charset\r\n",
        "Content-Type: text/plain\r\nContent-Type: application/sdp\r\n",
        "Content-Type: application/sdp\r\nContent-Disposition: render\r\nContent-Disposition: session\r\n",
    ] {
        assert_eq!(found(kind, SDP), Err(BodyError::ContentType), "{kind}");
    }
}

#[test]
fn an_encoded_description_is_an_error() {
    let encoded = "Content-Type: application/sdp\r\nContent-Encoding: gzip\r\n";
    assert_eq!(found(encoded, SDP), Err(BodyError::Encoding));
    for more in [
        "Content-Encoding: deflate\r\n",
        "Content-Transfer-Encoding: base64\r\n",
    ] {
        let body = multipart(&[&sdp_part(more)]);
        assert_eq!(found(MIXED, &body), Err(BodyError::Encoding), "{more}");
    }
    let body = multipart(&[&sdp_part("Content-Transfer-Encoding: 8BIT\r\n")]);
    assert_eq!(found(MIXED, &body), Ok(Some(SDP.to_owned())));
}

#[test]
fn the_part_of_that_type_is_the_description() {
    let body = multipart(&[
        "\r\nplain text of no type",
        "Content-Type: application/isup;version=itu-t92+\r\n\r\n\x01\x00--cut in the middle",
        &sdp_part("Content-Disposition:\r\n session;handling=required\r\n"),
        "Content-Type: image/png",
    ]);
    for subtype in ["mixed", "alternative", "related;type=\"a/b\"", "unheard-of"] {
        for boundary in ["cut", "\"cut\""] {
            let kind = format!("Content-Type: Multipart/{subtype};\r\n Boundary={boundary}\r\n");
            assert_eq!(found(&kind, &body), Ok(Some(SDP.to_owned())), "{kind}");
        }
    }
}

#[test]
fn lines_may_end_with_lf_alone() {
    let body = multipart(&[&sdp_part("")]).replace("\r\n", "\n");
    let expected = SDP.replace("\r\n", "\n");
    assert_eq!(found(MIXED, &body), Ok(Some(expected)));
}

#[test]
fn a_boundary_that_begins_like_another_is_told_from_it() {
    let inner = format!("--cutter\r\n{}\r\n--cutter--", sdp_part(""));
    let inner = format!("Content-Type: multipart/alternative;boundary=cutter\r\n\r\n{inner}");
    let body = multipart(&["\r\ntext", &inner]);
    assert_eq!(found(MIXED, &body), Ok(Some(SDP.to_owned())));
}

#[test]
fn an_early_session_is_not_the_session() {
    let early = sdp_part("Content-Disposition: early-session\r\n").replace("- 1 1", "- 2 2");
    let body = multipart(&[&early, &sdp_part("")]);
    assert_eq!(found(MIXED, &body), Ok(Some(SDP.to_owned())));
    let kind = format!("{MIXED}Content-Disposition: early-session\r\n");
    assert_eq!(found(&kind, &body), Ok(None));
}

#[test]
fn two_descriptions_of_the_session_are_an_error() {
    let body = multipart(&[&sdp_part(""), &sdp_part("")]);
    assert_eq!(found(MIXED, &body), Err(BodyError::Several));
}

#[test]
fn a_multipart_that_cannot_be_divided_is_an_error() {
    let whole = multipart(&[&sdp_part("")]);
    for (kind, body) in [
        ("Content-Type: multipart/mixed\r\n", whole.as_str()),
        ("Content-Type: multipart/mixed;boundary=\"\"\r\n", &whole),
        ("Content-Type: multipart/mixed;boundary=other\r\n", &whole),
        (MIXED, whole.split("--cut--").next().expect("the head")),
        (MIXED, &whole.replace("Content-Type:", "Content-Type")),
        (
            MIXED,
            &multipart(&[&sdp_part("Content-Type: text/plain\r\n")]),
        ),
    ] {
        assert_eq!(found(kind, body), Err(BodyError::Multipart), "{kind}{body}");
    }
    let long = format!(
        "Content-Type: multipart/mixed;boundary={}\r\n",
        "x".repeat(BOUNDARY_BYTES_MAX + 1)
    );
    assert_eq!(found(&long, &whole), Err(BodyError::Multipart));
}

#[test]
fn depth_and_parts_have_limits() {
    let parts = vec!["\r\ntext"; usize::from(PARTS_MAX)];
    assert_eq!(found(MIXED, &multipart(&parts)), Ok(None));
    let parts = vec!["\r\ntext"; usize::from(PARTS_MAX) + 1];
    assert_eq!(
        found(MIXED, &multipart(&parts)),
        Err(BodyError::TooManyParts)
    );

    let nest = |inner: &str, boundary: &str| {
        format!(
            "Content-Type: multipart/mixed;boundary={boundary}\r\n\r\n\
            --{boundary}\r\n{inner}\r\n--{boundary}--"
        )
    };
    let two = multipart(&[&nest(&sdp_part(""), "b")]);
    assert_eq!(found(MIXED, &two), Ok(Some(SDP.to_owned())));
    let three = multipart(&[&nest(&nest(&sdp_part(""), "c"), "b")]);
    assert_eq!(found(MIXED, &three), Err(BodyError::TooDeep));
}

#[test]
fn each_error_has_an_answer_and_a_word() {
    let errors = [
        (BodyError::ContentType, 400),
        (BodyError::Encoding, 415),
        (BodyError::Multipart, 400),
        (BodyError::TooDeep, 415),
        (BodyError::TooManyParts, 415),
        (BodyError::Several, 488),
    ];
    for (error, status) in errors {
        assert_eq!(error.status().0, status);
        assert!(!error.label().is_empty());
    }
}

#[test]
fn the_length_is_replaced_wherever_it_stands() {
    let text = b"INVITE sip:b@example.org SIP/2.0\r\nl: 4\r\nContent-Length:  4\r\n\r\nbody";
    let mut index = Index::new();
    let message = index
        .parse(text, &Limits::default())
        .expect("it is a message");
    let mut splices = Splices::new();
    replace_length(&message, 117, &mut splices);
    let mut out = Vec::new();
    splices.write_range(text, message.extent(), &mut out);
    let expected =
        b"INVITE sip:b@example.org SIP/2.0\r\nl: 117\r\nContent-Length:  117\r\n\r\nbody";
    assert_eq!(out, expected);
}
