//! RFC 3261 section 10.3, rule by rule.

mod fixture;

use fixture::{AOR, NOW, Registrar, request};
use registrar::{Change, EventKind, Refusal};

const PHONE: &str = "Contact: <sip:alice@192.0.2.7:5060>";

#[test]
fn a_contact_is_bound_and_listed_with_what_is_left() {
    let mut registrar = Registrar::new();
    let outcome = registrar.register(1, &[PHONE, "Expires: 600"]);
    assert_eq!((outcome.status, outcome.durable), (200, true));
    assert_eq!(
        registrar.headers(),
        "Contact: <sip:alice@192.0.2.7:5060>;expires=600\r\n"
    );
    assert_eq!(
        registrar.events(),
        [(EventKind::Registered, "sip:alice@192.0.2.7:5060".to_owned())]
    );
    let [Change::Put(row)] = &registrar.reply.changes[..] else {
        panic!("one row")
    };
    assert_eq!(
        (&row.aor[..], row.id, row.expires_at_unix_s),
        (AOR, 1, NOW + 600)
    );
    registrar.now += 100;
    let outcome = registrar.register(2, &[]);
    assert_eq!((outcome.status, outcome.durable), (200, false));
    assert_eq!(
        registrar.headers(),
        "Contact: <sip:alice@192.0.2.7:5060>;expires=500\r\n"
    );
    assert!(registrar.reply.changes.is_empty() && registrar.reply.events.is_empty());
}

#[test]
fn a_binding_ends_when_its_time_is_over() {
    let mut registrar = Registrar::new();
    registrar.register(1, &[PHONE, "Expires: 600"]);
    registrar.now += 599;
    assert_eq!(registrar.contacts().len(), 1);
    registrar.now += 1;
    assert!(registrar.contacts().is_empty());
    // The same Call-ID and CSeq: what has ended is not compared with.
    let outcome = registrar.register(1, &[PHONE]);
    assert_eq!((outcome.status, outcome.durable), (200, true));
    assert!(matches!(
        registrar.reply.changes[..],
        [Change::Delete { id: 1 }, Change::Put(_)]
    ));
    assert_eq!(registrar.events()[0].0, EventKind::Expired);
    assert_eq!(registrar.location.bindings(), 1);
}

#[test]
fn a_plain_refresh_is_answered_before_it_is_durable() {
    let mut registrar = Registrar::new();
    registrar.register(1, &[PHONE, "Expires: 600"]);
    registrar.now += 300;
    let outcome = registrar.register(2, &[PHONE, "Expires: 600"]);
    assert_eq!((outcome.status, outcome.durable), (200, false));
    let expected = Change::Refresh {
        id: 1,
        expires_at_unix_s: NOW + 900,
        call_id: None,
        cseq: 2,
    };
    assert_eq!(registrar.reply.changes, [expected]);
    assert_eq!(registrar.events()[0].0, EventKind::Refreshed);
    let outcome = registrar.send(&request("call-2", 1, &[PHONE, "Expires: 700"]));
    assert!(!outcome.durable);
    let [
        Change::Refresh {
            call_id: Some(call_id),
            ..
        },
    ] = &registrar.reply.changes[..]
    else {
        panic!("one refresh")
    };
    assert_eq!(&call_id[..], b"call-2");
}

#[test]
fn a_refresh_that_the_store_might_miss_is_durable() {
    let mut registrar = Registrar::new();
    registrar.commits = false;
    assert!(registrar.register(1, &[PHONE, "Expires: 600"]).durable);
    // Not committed yet: the row is written again.
    assert!(registrar.register(2, &[PHONE, "Expires: 600"]).durable);
    assert!(matches!(registrar.reply.changes[..], [Change::Put(_)]));
    registrar.commit(AOR);
    assert!(!registrar.register(3, &[PHONE, "Expires: 600"]).durable);
    // Shortened.
    assert!(registrar.register(4, &[PHONE, "Expires: 300"]).durable);
    registrar.commit(AOR);
    // The store's end is near.
    registrar.now += 290;
    assert!(!registrar.register(5, &[PHONE, "Expires: 600"]).durable);
    registrar.now += 1;
    assert!(registrar.register(6, &[PHONE, "Expires: 600"]).durable);
    assert!(matches!(
        registrar.reply.changes[..],
        [Change::Refresh { .. }]
    ));
}

#[test]
fn an_older_commit_does_not_vouch_for_a_newer_row() {
    let mut registrar = Registrar::new();
    registrar.commits = false;
    registrar.register(1, &[PHONE, "Expires: 600"]);
    registrar.register(2, &[PHONE, "Expires: 700", "User-Agent: new"]);
    registrar.location.committed(AOR, 1, NOW + 600);
    assert!(
        registrar
            .register(3, &[PHONE, "Expires: 800", "User-Agent: new"])
            .durable
    );
    registrar.location.committed(AOR, 1, NOW + 800);
    assert!(
        !registrar
            .register(4, &[PHONE, "Expires: 800", "User-Agent: new"])
            .durable
    );
}

#[test]
fn whatever_else_changes_is_durable() {
    let changes: [(&str, &[&str]); 3] = [
        ("q", &["Contact: <sip:alice@192.0.2.7:5060>;q=0.5"]),
        ("agent", &[PHONE, "User-Agent: other"]),
        (
            "path",
            &[PHONE, "Path: <sip:edge.example.org;lr>", "Supported: path"],
        ),
    ];
    for (what, lines) in changes {
        let mut registrar = Registrar::new();
        registrar.register(1, &[PHONE]);
        let outcome = registrar.register(2, lines);
        assert!(outcome.durable, "{what}");
        assert!(
            matches!(registrar.reply.changes[..], [Change::Put(_)]),
            "{what}"
        );
        assert_eq!(registrar.location.bindings(), 1, "{what}");
    }
    let mut registrar = Registrar::new();
    registrar.register(1, &[PHONE]);
    registrar.flow.remote.set_port(5070);
    assert!(
        registrar.register(2, &[PHONE]).durable,
        "where it came from"
    );
}

#[test]
fn the_interval_is_the_contacts_own_then_expires_then_the_default() {
    let table: [(&[&str], u64); 12] = [
        (
            &["Contact: <sip:a@192.0.2.7>;expires=120", "Expires: 300"],
            120,
        ),
        (&["Contact: <sip:a@192.0.2.7>", "Expires: 300"], 300),
        (&["Contact: sip:a@192.0.2.7;expires=120"], 120),
        (&["Contact: <sip:a@192.0.2.7>"], 3_600),
        // Section 10.2.1.1: what cannot be read is an hour.
        (
            &["Contact: <sip:a@192.0.2.7>;expires=soon", "Expires: 300"],
            3_600,
        ),
        (
            &["Contact: <sip:a@192.0.2.7>;expires", "Expires: 300"],
            3_600,
        ),
        (&["Contact: <sip:a@192.0.2.7>;expires=-1"], 3_600),
        (&["Contact: <sip:a@192.0.2.7>;expires=\"60\""], 3_600),
        (
            &[
                "Contact: <sip:a@192.0.2.7>",
                "Expires: Thu, 01 Dec 1994 16:00:00 GMT",
            ],
            3_600,
        ),
        // Beyond 32 bits, and shortened to the longest.
        (&["Contact: <sip:a@192.0.2.7>;expires=4294967295"], 7_200),
        (&["Contact: <sip:a@192.0.2.7>;expires=4294967296"], 7_200),
        (
            &[
                "Contact: <sip:a@192.0.2.7>",
                "Expires: 100000000000000000000000",
            ],
            7_200,
        ),
    ];
    for (lines, expected_s) in table {
        let mut registrar = Registrar::new();
        assert_eq!(registrar.register(1, lines).status, 200, "{lines:?}");
        assert_eq!(registrar.contacts()[0].1, expected_s, "{lines:?}");
    }
}

#[test]
fn a_brief_interval_is_refused_with_the_minimum() {
    let mut registrar = Registrar::new();
    let outcome = registrar.register(1, &[PHONE, "Expires: 59"]);
    assert_eq!(
        (outcome.status, outcome.reason),
        (423, "Interval Too Brief")
    );
    assert_eq!(registrar.headers(), "Min-Expires: 60\r\n");
    assert!(registrar.contacts().is_empty());
    assert_eq!(registrar.register(1, &[PHONE, "Expires: 60"]).status, 200);
    // An hour is never too brief.
    registrar.policy.expires_min_s = 10_000;
    assert_eq!(registrar.register(2, &[PHONE, "Expires: 3599"]).status, 423);
    assert_eq!(registrar.register(3, &[PHONE, "Expires: 3600"]).status, 200);
    assert_eq!(registrar.register(4, &[PHONE, "Expires: 0"]).status, 200);
    assert!(registrar.contacts().is_empty());
}

#[test]
fn a_zero_interval_removes_and_is_durable() {
    let mut registrar = Registrar::new();
    registrar.register(1, &[PHONE, "Contact: <sip:alice@192.0.2.8>"]);
    let outcome = registrar.register(2, &["Contact: <sip:ALICE@192.0.2.7:5060>;expires=0"]);
    assert_eq!(
        (outcome.status, registrar.location.bindings()),
        (200, 2),
        "users have case"
    );
    let outcome = registrar.register(3, &["Contact: <SIP:alice@192.0.2.7:5060>;expires=0"]);
    assert_eq!((outcome.status, outcome.durable), (200, true));
    assert_eq!(registrar.reply.changes, [Change::Delete { id: 1 }]);
    assert_eq!(registrar.events()[0].0, EventKind::Unregistered);
    assert_eq!(registrar.uris(), ["sip:alice@192.0.2.8"]);
    // Once more: there is nothing left to remove.
    let outcome = registrar.register(3, &["Contact: <sip:alice@192.0.2.7:5060>;expires=0"]);
    assert_eq!((outcome.status, outcome.durable), (200, false));
}

#[test]
fn the_star_removes_all_and_stands_alone() {
    let mut registrar = Registrar::new();
    registrar.register(1, &[PHONE, "Contact: <sip:alice@192.0.2.8>"]);
    let refused: [&[&str]; 6] = [
        &["Contact: *"],
        &["Contact: *", "Expires: 3600"],
        &["Contact: *", "Expires: nothing"],
        &["Contact: *, <sip:alice@192.0.2.9>", "Expires: 0"],
        &["Contact: *", "Contact: *", "Expires: 0"],
        &["Contact: <sip:alice@192.0.2.9>", "Contact: *", "Expires: 0"],
    ];
    for lines in refused {
        let outcome = registrar.register(2, lines);
        assert_eq!(
            (outcome.status, outcome.refusal),
            (400, Some(Refusal::Wildcard)),
            "{lines:?}"
        );
        assert_eq!(registrar.location.bindings(), 2);
    }
    assert_eq!(
        registrar.register(1, &["Contact: *", "Expires: 0"]).status,
        500,
        "same CSeq"
    );
    let outcome = registrar.register(2, &["Contact: *", "Expires: 0"]);
    assert_eq!((outcome.status, outcome.durable), (200, true));
    assert_eq!(registrar.reply.changes.len(), 2);
    assert_eq!(
        (registrar.location.bindings(), registrar.location.aors()),
        (0, 0)
    );
    assert_eq!(registrar.headers(), "");
    let outcome = registrar.register(2, &["Contact: *", "Expires: 0"]);
    assert_eq!(
        (outcome.status, outcome.durable),
        (200, false),
        "a repetition"
    );
}

#[test]
fn a_cseq_that_is_not_higher_changes_nothing() {
    let mut registrar = Registrar::new();
    registrar.register(5, &[PHONE]);
    for (cseq, lines) in [(4, "Expires: 3600"), (5, "Expires: 600"), (5, "Expires: 0")] {
        // A new contact beside the late one: all or nothing.
        let lines = [PHONE, "Contact: <sip:alice@192.0.2.9>", lines];
        let outcome = registrar.register(cseq, &lines);
        assert_eq!(
            (outcome.status, outcome.refusal),
            (500, Some(Refusal::OutOfOrder))
        );
        assert_eq!(
            registrar.contacts(),
            [("sip:alice@192.0.2.7:5060".to_owned(), 3_600)]
        );
        assert!(registrar.reply.changes.is_empty());
    }
    // Another Call-ID: another series of numbers.
    assert_eq!(registrar.send(&request("other", 1, &[PHONE])).status, 200);
}

#[test]
fn a_repetition_is_answered_again_and_changes_nothing() {
    let mut registrar = Registrar::new();
    let lines = [PHONE, "Contact: <sip:alice@192.0.2.8>;q=0.25"];
    registrar.register(1, &lines);
    registrar.now += 40;
    let outcome = registrar.register(1, &lines);
    assert_eq!((outcome.status, outcome.durable), (200, false));
    assert!(registrar.reply.changes.is_empty() && registrar.reply.events.is_empty());
    assert_eq!(
        registrar.headers(),
        "Contact: <sip:alice@192.0.2.7:5060>;expires=3560\r\n\
         Contact: <sip:alice@192.0.2.8>;expires=3560;q=0.25\r\n"
    );
}

#[test]
fn a_repetition_after_a_restart_is_answered_too() {
    let mut registrar = Registrar::new();
    let lines = [PHONE, "Expires: 600"];
    registrar.register(1, &lines);
    let [Change::Put(row)] = &registrar.reply.changes[..] else {
        panic!("one row")
    };
    let mut row = (**row).clone();
    row.refreshed_at_unix_s = 0;
    let mut restarted = Registrar::new();
    assert!(restarted.location.restore(&row));
    restarted.now += 5;
    let outcome = restarted.register(1, &lines);
    assert_eq!((outcome.status, outcome.durable), (200, false));
    assert_eq!(restarted.contacts()[0].1, 595);
}

#[test]
fn contacts_are_compared_as_uris() {
    let same = [
        ("<sip:alice@192.0.2.7:5060>", "<sip:%61lice@192.0.2.7:5060>"),
        (
            "<sip:alice@Phone.example.org>",
            "<sip:alice@phone.EXAMPLE.org;unknown=1>",
        ),
        ("sip:alice@192.0.2.7", "\"A, B\" <sip:alice@192.0.2.7>"),
        (
            "<sip:alice@192.0.2.7;transport=TCP>",
            "<sip:alice@192.0.2.7;transport=tcp>",
        ),
    ];
    for (one, two) in same {
        let mut registrar = Registrar::new();
        registrar.register(1, &[&format!("Contact: {one}")]);
        assert_eq!(
            registrar.register(2, &[&format!("Contact: {two}")]).status,
            200
        );
        assert_eq!(registrar.location.bindings(), 1, "{one} {two}");
    }
    let different = [
        ("<sip:alice@192.0.2.7>", "<sip:alice@192.0.2.7:5060>"),
        (
            "<sip:alice@192.0.2.7>",
            "<sip:alice@192.0.2.7;transport=udp>",
        ),
        ("<sip:alice@192.0.2.7>", "<sips:alice@192.0.2.7>"),
        ("<sip:alice@192.0.2.7>", "<tel:+15551234>"),
    ];
    for (one, two) in different {
        let mut registrar = Registrar::new();
        registrar.register(1, &[&format!("Contact: {one}")]);
        registrar.register(2, &[&format!("Contact: {two}")]);
        assert_eq!(registrar.location.bindings(), 2, "{one} {two}");
    }
}

#[test]
fn of_two_contacts_that_are_the_same_the_later_counts() {
    let mut registrar = Registrar::new();
    let lines = [
        "Contact: <sip:a@192.0.2.7>;expires=100, <sip:b@192.0.2.7>",
        "Contact: <sip:a@192.0.2.7>;expires=200",
    ];
    assert_eq!(registrar.register(1, &lines).status, 200);
    assert_eq!(
        registrar.contacts(),
        [
            ("sip:a@192.0.2.7".to_owned(), 200),
            ("sip:b@192.0.2.7".to_owned(), 3_600)
        ]
    );
}

#[test]
fn one_binding_too_many_is_refused_whole() {
    let mut registrar = Registrar::new();
    registrar.policy.bindings_per_aor_max = 2;
    registrar.register(1, &["Contact: <sip:a@192.0.2.7>, <sip:b@192.0.2.7>"]);
    let outcome = registrar.register(2, &["Contact: <sip:c@192.0.2.7>, <sip:a@192.0.2.7>"]);
    assert_eq!((outcome.status, outcome.reason), (403, "Too Many Contacts"));
    assert_eq!(registrar.uris(), ["sip:a@192.0.2.7", "sip:b@192.0.2.7"]);
    let swap = ["Contact: <sip:c@192.0.2.7>, <sip:a@192.0.2.7>;expires=0"];
    assert_eq!(registrar.register(2, &swap).status, 200);
    assert_eq!(registrar.uris(), ["sip:b@192.0.2.7", "sip:c@192.0.2.7"]);
    // A limit that was lowered does not lock out who is there.
    registrar.policy.bindings_per_aor_max = 1;
    assert_eq!(
        registrar
            .register(3, &["Contact: <sip:b@192.0.2.7>"])
            .status,
        200
    );
}

#[test]
fn options_that_are_not_understood_are_named() {
    let mut registrar = Registrar::new();
    let lines = [PHONE, "Require: path, foo", "Require: Outbound,bar"];
    let outcome = registrar.register(1, &lines);
    assert_eq!((outcome.status, outcome.reason), (420, "Bad Extension"));
    assert_eq!(
        registrar.headers(),
        "Unsupported: foo\r\nUnsupported: bar\r\n"
    );
    assert_eq!(registrar.register(1, &[PHONE, "Require: path"]).status, 200);
}

#[test]
fn q_is_kept_and_sent_back() {
    let table = [
        ("1", ";q=1"),
        ("1.000", ";q=1"),
        ("0.5", ";q=0.5"),
        ("0.125", ";q=0.125"),
        ("0.050", ";q=0.05"),
        ("0", ";q=0"),
    ];
    for (sent, back) in table {
        let mut registrar = Registrar::new();
        registrar.register(1, &[&format!("Contact: <sip:a@192.0.2.7>;q={sent}")]);
        let expected = format!("Contact: <sip:a@192.0.2.7>;expires=3600{back}\r\n");
        assert_eq!(registrar.headers(), expected);
    }
    for bad in ["1.1", "2", "0.1234", "-0.5", "", "x", "."] {
        let mut registrar = Registrar::new();
        let outcome = registrar.register(1, &[&format!("Contact: <sip:a@192.0.2.7>;q={bad}")]);
        assert_eq!(outcome.status, 400, "{bad}");
    }
}
