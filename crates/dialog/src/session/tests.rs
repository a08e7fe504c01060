use sip::{Index, Limits};
use transaction::Time;

use super::*;

fn asked(headers: &str, expires_s: u32) -> Asked {
    let bytes = format!("INVITE sip:a@b SIP/2.0\r\n{headers}\r\n");
    let mut index = Index::new();
    let request = index.parse(bytes.as_bytes(), &Limits::default()).unwrap();
    answer(Time::ZERO, &request, expires_s, 120)
}

fn heard(headers: &str) -> Option<Session> {
    let bytes = format!("SIP/2.0 200 OK\r\n{headers}\r\n");
    let mut index = Index::new();
    let response = index.parse(bytes.as_bytes(), &Limits::default()).unwrap();
    answered(Time::ZERO, &response, 1_800)
}

#[test]
fn a_session_that_is_too_brief_is_refused_to_who_knows_timers() {
    assert_eq!(
        asked("Supported: timer\r\nSession-Expires: 100\r\n", 1_800),
        Asked::TooBrief
    );
    let Asked::Agreed(session) = asked("Session-Expires: 100\r\n", 1_800) else {
        panic!("refused")
    };
    assert!(session.we_refresh);
}

#[test]
fn who_asks_refreshes_unless_it_says_otherwise_or_knows_no_timers() {
    let agreed = |headers: &str| match asked(headers, 1_800) {
        Asked::Agreed(session) => session,
        other => panic!("{other:?}"),
    };
    let one = agreed("Supported: timer\r\nSession-Expires: 600\r\n");
    assert_eq!((one.expires_s, one.we_refresh), (600, false));
    assert_eq!(one.deadline, Time::from_ms(568_000));
    let other = agreed("Supported: timer\r\nSession-Expires: 600;refresher=uas\r\n");
    assert!(other.we_refresh);
    assert_eq!(other.deadline, Time::from_ms(300_000));
    assert!(agreed("").we_refresh);
    assert_eq!(
        agreed("Supported: timer\r\nSession-Expires: 7200\r\n").expires_s,
        1_800
    );
    assert_eq!(
        agreed("Supported: timer\r\nSession-Expires: 7200\r\nMin-SE: 3600\r\n").expires_s,
        3_600
    );
}

#[test]
fn without_a_wish_there_is_no_timer_unless_it_is_asked_for() {
    assert_eq!(asked("", 0), Asked::Never);
    assert!(matches!(
        asked("Supported: timer\r\nSession-Expires: 600\r\n", 0),
        Asked::Agreed(_)
    ));
}

#[test]
fn the_answer_names_who_refreshes() {
    assert_eq!(
        heard("Session-Expires: 900;refresher=uas\r\n").map(|session| session.we_refresh),
        Some(false)
    );
    assert_eq!(
        heard("Session-Expires: 900;refresher=uac\r\n").map(|session| session.we_refresh),
        Some(true)
    );
    assert_eq!(
        heard("").map(|session| (session.expires_s, session.we_refresh)),
        Some((1_800, true))
    );
}

#[test]
fn the_refresher_is_written_by_who_sends() {
    let mut out = Vec::new();
    Session::begin(Time::ZERO, 600, true).write(true, &mut out);
    Session::begin(Time::ZERO, 600, true).write(false, &mut out);
    assert_eq!(
        out,
        b"Session-Expires: 600;refresher=uac\r\nSession-Expires: 600;refresher=uas\r\n"
    );
}
