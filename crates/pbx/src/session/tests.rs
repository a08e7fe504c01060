use proptest::prelude::*;
use sdp::{Index, Limits};

use super::*;

const OFFER: &str = "v=0\r\no=ann 1 1 IN IP4 192.0.2.9\r\ns=call\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
m=audio 4000 RTP/AVP 9 0 8 111 101 13\r\na=rtpmap:111 opus/48000/2\r\na=fmtp:111 maxaveragebitrate=20000;useinbandfec=1\r\n\
a=rtpmap:101 telephone-event/8000\r\n\
m=video 4002 RTP/AVP 97\r\na=rtpmap:97 H264/90000\r\n";

fn read(body: &str) -> Peer {
    Peer::read(body.as_bytes(), &mut Index::new(), &Limits::default()).unwrap()
}

fn own<'a>(peer: Option<(&'a [u8], &'a Peer)>, agreed: Option<Negotiated>) -> String {
    let own = Own {
        origin: (7, 1),
        address: "198.51.100.7:20000".parse().unwrap(),
        codecs: &[Codec::Pcma, Codec::Opus],
        agreed,
        direction: Direction::SendRecv,
        peer,
    };
    let mut out = Vec::new();
    write_own(&own, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn an_offer_is_read() {
    let peer = read(OFFER);
    assert_eq!(
        (peer.media, peer.audio, peer.rtp),
        (2, Some(0), Some("192.0.2.9:4000".parse().unwrap()))
    );
    let codecs: Vec<_> = peer
        .formats
        .iter()
        .flatten()
        .map(|format| (format.codec, format.payload_type))
        .collect();
    assert_eq!(
        codecs,
        [
            (Codec::G722, 9),
            (Codec::Pcmu, 0),
            (Codec::Pcma, 8),
            (Codec::Opus, 111)
        ]
    );
    assert_eq!(
        (peer.events, peer.noise, peer.opus.bit_rate),
        (Some(101), Some(13), 20_000)
    );
}

#[test]
fn an_answer_has_the_codec_that_we_prefer_and_refuses_other_media() {
    let peer = read(OFFER);
    let agreed = agree(&peer, &[Codec::Pcma, Codec::Pcmu], false).unwrap();
    let answer = own(Some((OFFER.as_bytes(), &peer)), Some(agreed));
    assert!(
        answer.contains("m=audio 20000 RTP/AVP 8 101 13\r\n"),
        "{answer}"
    );
    assert!(answer.contains("m=video 0 RTP/AVP 97\r\n"));
    let (mut one, mut two) = (Index::new(), Index::new());
    let offer = one.parse(OFFER.as_bytes(), &Limits::default()).unwrap();
    let answer = two.parse(answer.as_bytes(), &Limits::default()).unwrap();
    sdp::check_answer(&offer, &answer).unwrap();
}

#[test]
fn an_offer_of_ours_keeps_the_numbers_that_the_peer_named() {
    let peer = read(OFFER);
    assert!(own(None, None).contains("m=audio 20000 RTP/AVP 8 96 101 102\r\n"));
    let again = own(Some((OFFER.as_bytes(), &peer)), None);
    assert!(
        again.contains("m=audio 20000 RTP/AVP 8 111 101 102\r\n"),
        "{again}"
    );
}

#[test]
fn without_a_common_codec_there_is_no_agreement() {
    assert_eq!(agree(&read(OFFER), &[], false), None);
    let secure = OFFER.replace("RTP/AVP 9", "RTP/SAVP 9");
    assert_eq!(agree(&read(&secure), &[Codec::Pcma], false), None);
}

#[test]
fn hold_is_read_in_all_its_forms() {
    for (change, direction) in [
        ("a=sendonly", Direction::SendOnly),
        ("a=inactive", Direction::Inactive),
        ("a=recvonly", Direction::RecvOnly),
    ] {
        let text = OFFER.replace("m=video", &format!("{change}\r\nm=video"));
        assert_eq!(read(&text).direction, direction);
    }
    let old = read(&OFFER.replace("c=IN IP4 192.0.2.9", "c=IN IP4 0.0.0.0"));
    assert!(old.holds() && old.rtp.is_none());
}

#[test]
fn codecs_are_compared_by_name_and_clock_known_or_not() {
    let with = |formats: &str| {
        read(&format!(
            "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 4000 RTP/AVP {formats}\r\na=rtpmap:98 G729/8000\r\na=rtpmap:101 telephone-event/8000\r\n"
        ))
    };
    assert!(with("0 101").shares_coding_with(&with("8 0")));
    assert!(with("18").shares_coding_with(&with("98")));
    assert!(!with("0 101").shares_coding_with(&with("8 101")));
}

fn through(body: &str, own: Option<&str>) -> String {
    let from = read(body);
    let peer = own.map(read);
    let through = Through {
        origin: (9, 3),
        address: "198.51.100.7".parse().unwrap(),
        body: body.as_bytes(),
        from: &from,
        peer: own.map(str::as_bytes).zip(peer.as_ref()),
    };
    let mut out = Vec::new();
    write_through(&through, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn what_is_passed_on_changes_its_origin_only() {
    let expected = OFFER.replace("o=ann 1 1 IN IP4 192.0.2.9", "o=- 9 3 IN IP4 198.51.100.7");
    assert_eq!(through(OFFER, None), expected);
    assert_eq!(through(OFFER, Some(OFFER)), expected);
}

#[test]
fn what_does_not_fit_is_passed_on_in_its_sound() {
    let plain = "v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\nm=audio 5000 RTP/AVP 8\r\na=sendrecv\r\n";
    let text = through(plain, Some(OFFER));
    let peer = read(&text);
    assert_eq!(
        (peer.media, peer.rtp),
        (2, Some("192.0.2.5:5000".parse().unwrap()))
    );
    assert!(text.ends_with("m=video 0 RTP/AVP 97\r\n"), "{text}");
}

proptest! {
    #[test]
    fn no_description_makes_us_panic_and_what_we_write_can_be_read(
        lines in proptest::collection::vec(
            prop_oneof![
                "m=(audio|video|image) [0-9]{1,5} (RTP/AVP|RTP/SAVP|udptl) ([0-9]{1,3} ?){1,6}",
                "a=rtpmap:[0-9]{1,3} (opus|PCMU|telephone-event|x)/(8000|48000)",
                "a=(sendonly|inactive|fmtp:[0-9]{1,3} [a-z=0-9;]{0,20})",
                "c=IN IP4 (0.0.0.0|192.0.2.1)",
                "a=[ -~]{0,30}",
            ],
            0..12,
        ),
    ) {
        let text = format!("v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n{}\r\n", lines.join("\r\n"));
        let mut index = Index::new();
        if let Ok(peer) = Peer::read(text.as_bytes(), &mut index, &Limits::default()) {
            let codecs = [Codec::Pcma, Codec::Pcmu, Codec::G722, Codec::Opus];
            let written = own(Some((text.as_bytes(), &peer)), agree(&peer, &codecs, false));
            prop_assert!(Peer::read(written.as_bytes(), &mut index, &Limits::default()).is_ok(), "{}", written);
            if peer.audio.is_some() {
                let passed = through(OFFER, Some(&text));
                prop_assert!(Peer::read(passed.as_bytes(), &mut index, &Limits::default()).is_ok(), "{}", passed);
            }
        }
    }
}
