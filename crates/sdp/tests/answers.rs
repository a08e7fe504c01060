//! Answers beside their offers.

use sdp::{Error, Index, Limits, check_answer};

/// Compares descriptions with these m-lines.
fn checked(offer: &[&str], answer: &[&str]) -> Result<(), Error> {
    let text = |lines: &[&str]| {
        let head = "v=0\r\no=- 1 1 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\n";
        lines
            .iter()
            .fold(head.to_owned(), |text, line| text + line + "\r\n")
    };
    let (offer, answer) = (text(offer), text(answer));
    let (mut first, mut second) = (Index::new(), Index::new());
    let limits = Limits::default();
    let offer = first.parse(offer.as_bytes(), &limits).expect("an offer");
    let answer = second.parse(answer.as_bytes(), &limits).expect("an answer");
    check_answer(&offer, &answer)
}

const AUDIO: &str = "m=audio 4000 RTP/AVP 0 8";
const VIDEO: &str = "m=video 4002 RTP/AVP 34";
const NO_VIDEO: &str = "m=video 0 RTP/AVP 34";

#[test]
fn an_answer_takes_or_rejects_each_line() {
    assert_eq!(checked(&[AUDIO, VIDEO], &[AUDIO, VIDEO]), Ok(()));
    assert_eq!(checked(&[AUDIO, VIDEO], &[AUDIO, NO_VIDEO]), Ok(()));
    assert_eq!(checked(&[AUDIO], &["m=audio 5000 RTP/AVP 8"]), Ok(()));
    assert_eq!(checked(&[], &[]), Ok(()));
    assert_eq!(
        checked(&["m=x-ray 1 RTP/AVP 0"], &["m=X-Ray 2 RTP/AVP 0"]),
        Ok(())
    );
}

#[test]
fn an_answer_has_as_many_lines_as_its_offer() {
    let count = |offered, answered| Err(Error::MediaCount { offered, answered });
    assert_eq!(checked(&[AUDIO, VIDEO], &[AUDIO]), count(2, 1));
    assert_eq!(checked(&[AUDIO], &[AUDIO, VIDEO]), count(1, 2));
}

#[test]
fn each_line_is_of_the_kind_that_was_offered() {
    let changed = Err(Error::KindChanged { media: 0 });
    assert_eq!(checked(&[AUDIO, VIDEO], &[VIDEO, AUDIO]), changed);
    assert_eq!(checked(&[AUDIO], &[NO_VIDEO]), changed);
    assert_eq!(
        checked(&["m=x-ray 1 RTP/AVP 0"], &["m=y-ray 1 RTP/AVP 0"]),
        changed
    );
}

#[test]
fn each_line_goes_over_the_transport_that_was_offered() {
    let changed = Err(Error::TransportChanged { media: 0 });
    assert_eq!(
        checked(&["m=image 5 udptl t38"], &["m=image 5 RTP/AVP 98"]),
        changed
    );
    assert_eq!(
        checked(&["m=image 5 udptl t38"], &["m=image 5 TCP t38"]),
        changed
    );
    assert_eq!(
        checked(&["m=image 5 udptl t38"], &["m=image 0 TCP t38"]),
        Ok(())
    );
    // Within RTP ends put up with each other.
    assert_eq!(
        checked(&["m=audio 4 RTP/SAVP 0"], &["m=audio 4 RTP/AVP 0"]),
        Ok(())
    );
}

#[test]
fn a_line_that_was_offered_with_port_0_stays_so() {
    assert_eq!(checked(&[AUDIO, NO_VIDEO], &[AUDIO, NO_VIDEO]), Ok(()));
    let revived = Err(Error::Revived { media: 1 });
    assert_eq!(checked(&[AUDIO, NO_VIDEO], &[AUDIO, VIDEO]), revived);
}

#[test]
fn a_bundled_line_has_no_port_of_its_own() {
    const GROUP: &str = "a=group:BUNDLE 1 2";
    const BUNDLED: &str = "m=video 0 RTP/AVP 34\r\na=bundle-only";
    let offer = [GROUP, AUDIO, BUNDLED];
    assert_eq!(checked(&offer, &[GROUP, AUDIO, VIDEO]), Ok(()));
    assert_eq!(checked(&offer, &[AUDIO, NO_VIDEO]), Ok(()));
    let revived = Err(Error::Revived { media: 1 });
    assert_eq!(checked(&offer, &[AUDIO, VIDEO]), revived);
}
