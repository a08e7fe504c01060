//! Messages that mean harm, and the REGISTERs of the test messages of crate `sip`.

mod fixture;

use std::path::Path;

use fixture::{AOR, Registrar, request};
use registrar::{Refusal, register};
use serde::Deserialize;
use sip::{Index, Limits, Requirement, Uri, check::check};

#[test]
fn two_hundred_contacts_are_refused_and_cost_little() {
    let mut registrar = Registrar::new();
    registrar.policy.bindings_per_aor_max = 1_000;
    let many: Vec<_> = (0..200)
        .map(|at| format!("<sip:u{at}@192.0.2.7>"))
        .collect();
    let line = format!("Contact: {}", many.join(","));
    let outcome = registrar.register(1, &[&line]);
    let contacts_max = registrar::CONTACTS_IN_REQUEST_MAX;
    assert_eq!(
        outcome.refusal,
        Some(Refusal::TooManyContacts { contacts_max })
    );
    assert_eq!((outcome.status, registrar.location.aors()), (403, 0));
    let line = format!("Contact: {}", many[..64].join(","));
    assert_eq!(registrar.register(1, &[&line]).status, 200);
    registrar.policy.bindings_per_aor_max = 10;
    let line = format!("Contact: {}", many[..65].join(","));
    assert_eq!(registrar.register(2, &[&line]).status, 403);
    assert_eq!(registrar.location.bindings(), 64);
}

#[test]
fn huge_values_are_refused_or_shortened() {
    let uri = |size: usize| format!("Contact: <sip:{}@192.0.2.7>", "u".repeat(size));
    let mut registrar = Registrar::new();
    assert_eq!(registrar.register(1, &[&uri(1_010)]).status, 200);
    assert_eq!(registrar.register(2, &[&uri(1_011)]).status, 400);
    let long = "x".repeat(20_000);
    let lines = ["Contact: <sip:a@192.0.2.7>", &format!("User-Agent: {long}")];
    assert_eq!(registrar.register(3, &lines).status, 200);
    let binding = registrar
        .location
        .lookup(AOR, registrar.now)
        .last()
        .expect("a binding");
    assert_eq!(binding.user_agent().len(), registrar::USER_AGENT_BYTES_MAX);
    let outcome = registrar.send(&request(&long, 1, &["Contact: <sip:a@192.0.2.7>"]));
    assert_eq!((outcome.status, outcome.reason), (400, "Call-ID Too Long"));
    let outcome = registrar.send_for(long.as_bytes(), &request("c", 1, &[]));
    assert_eq!(outcome.status, 400);
}

#[test]
fn commas_and_brackets_in_quotes_are_text() {
    let mut registrar = Registrar::new();
    let line = r#"Contact: "a, <sip:evil@192.0.2.66>; \"*\", b" <sip:a@192.0.2.7>;x="1,<2>;expires=7", <sip:b@192.0.2.7>"#;
    assert_eq!(registrar.register(1, &[line]).status, 200);
    assert_eq!(registrar.uris(), ["sip:a@192.0.2.7", "sip:b@192.0.2.7"]);
    let broken = [
        r#"Contact: "a <sip:a@192.0.2.7>"#,
        r#"Contact: <sip:a@192.0.2.7>;x="1, <sip:b@192.0.2.7>"#,
        "Contact: <sip:a@192.0.2.7",
        "Contact: <sip:a@192.0.2.7> trailing",
        "Contact: sip:a@192.0.2.7?x=1",
        "Contact: <sip:@192.0.2.7>",
        "Contact: <sip:a@192.0.2.7>,",
        "Contact:",
        "Contact: <>",
        "Contact: <sip:a@192.0.2.7:99999>",
        "Contact: <sip:a%zz@192.0.2.7>",
    ];
    for line in broken {
        let mut registrar = Registrar::new();
        let outcome = registrar.register(1, &["Contact: <sip:good@192.0.2.7>", line]);
        assert_eq!(
            (outcome.status, registrar.location.aors()),
            (400, 0),
            "{line}"
        );
    }
}

#[test]
fn headers_that_contradict_are_refused() {
    let mut registrar = Registrar::new();
    let contact = "Contact: <sip:a@192.0.2.7>";
    assert_eq!(
        registrar
            .register(1, &[contact, "Expires: 60", "Expires: 600"])
            .status,
        400
    );
    assert_eq!(
        registrar.register(1, &[contact, "CSeq: 2 REGISTER"]).status,
        400
    );
    assert_eq!(
        registrar.register(1, &[contact, "Call-ID: other"]).status,
        400
    );
    assert_eq!(registrar.location.aors(), 0);
}

#[test]
fn an_answer_has_no_lines_but_its_own() {
    let mut registrar = Registrar::new();
    let lines = [
        "Contact: <sip:a@192.0.2.7>",
        "Path: <sip:p.example.org;lr>\r\n\t;x=\"\r\n Evil: 1\"",
        "Require: x\r\n Evil: 1",
        "Supported: path",
    ];
    assert_eq!(registrar.register(1, &lines).status, 420);
    assert_eq!(
        registrar.headers(),
        "",
        "a tag that is no token is not sent back"
    );
    assert_eq!(
        registrar
            .register(1, &[lines[0], lines[1], lines[3]])
            .status,
        200
    );
    assert!(!registrar.headers().contains("\r\n Evil"));
    assert_eq!(registrar.headers().lines().count(), 3);
}

#[derive(Deserialize)]
struct Manifest {
    message: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    file: String,
    registrar: Option<String>,
}

/// The answer to a test message: what the checks of crate `sip` say, else what the registrar says.
fn answer(bytes: &[u8]) -> (u16, usize) {
    let mut index = Index::new();
    let Ok(message) = index.parse(bytes, &Limits::default()) else {
        return (0, 0);
    };
    if let Err(defect) = check(&message, Requirement::Element) {
        return (defect.status().0, 0);
    }
    let mut aor = Vec::new();
    let to = message.to().expect("it was checked");
    match to
        .parse_uri()
        .map(|uri: Uri<'_>| (uri.is_sip(), uri.push_aor(&mut aor)))
    {
        Ok((true, ())) => {}
        // Section 10.3 step 5: only an address of our domain is registered; the edge says so.
        _ => return (400, 0),
    }
    let mut registrar = Registrar::new();
    let mut id = 0;
    let mut ids = || {
        id += 1;
        id
    };
    let (location, reply) = (&mut registrar.location, &mut registrar.reply);
    let outcome = register(
        location,
        &message,
        &aor,
        &fixture::udp(),
        fixture::NOW,
        &registrar.policy,
        &mut ids,
        reply,
    );
    assert!(
        outcome.status == 200 || location.aors() == 0,
        "all or nothing"
    );
    (outcome.status, location.lookup(&aor, fixture::NOW).count())
}

#[test]
fn the_test_messages_are_answered_as_their_manifests_say() {
    let mut tried = 0;
    for folder in ["torture", "hostile"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../sip/tests")
            .join(folder);
        let text = std::fs::read_to_string(folder.join("manifest.toml")).expect("a manifest");
        let manifest: Manifest = toml::from_str(&text).expect("a manifest");
        for entry in manifest.message {
            let Some(expected) = entry.registrar else {
                continue;
            };
            // Who may register is not decided here.
            if expected.contains("401") {
                continue;
            }
            let bytes = std::fs::read(folder.join(&entry.file)).expect("a message");
            let (status, bindings) = answer(&bytes);
            let is_right = match expected.as_str() {
                "register" => status == 200,
                "register_or_respond:400" => status == 200 || status == 400,
                "drop" | "ignore" => status == 0,
                expected => expected.contains(&status.to_string()),
            };
            assert!(
                is_right,
                "{}: {status} with {bindings} bindings, not {expected}",
                entry.file
            );
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}

#[test]
fn contacts_of_the_test_messages_are_bound_as_they_are() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sip/tests/torture");
    let table = [
        ("escnull.dat", 2),
        ("cparam01.dat", 1),
        ("cparam02.dat", 1),
        ("regescrt.dat", 1),
        ("regbadct.dat", 0),
        ("ipv6-good.dat", 1),
    ];
    for (file, bindings) in table {
        let bytes = std::fs::read(folder.join(file)).expect("a message");
        assert_eq!(answer(&bytes).1, bindings, "{file}");
    }
}
