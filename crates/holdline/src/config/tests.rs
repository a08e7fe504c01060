use std::path::Path;

use super::*;

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/holdline")).unwrap_or_else(|mistakes| {
        let faults: Vec<String> = mistakes.iter().map(|m| m.fault.to_string()).collect();
        unreachable!("{faults:#?}")
    })
}

/// The mistakes of a text as an operator sees them.
fn shown(text: &str) -> String {
    let mistakes = Config::parse(text, Path::new("")).expect_err("the text has mistakes");
    assert!(!mistakes.is_empty());
    ConfigError::Mistakes {
        file: "h.toml".into(),
        text: text.into(),
        mistakes,
    }
    .to_string()
}

#[test]
fn an_empty_file_is_a_configuration_of_defaults() {
    let config = parse("");
    assert_eq!(config.node.name, "holdline");
    assert_eq!(config.node.data, Path::new("/var/lib/holdline"));
    let listen: Vec<String> = config.edge.listen.iter().map(ToString::to_string).collect();
    assert_eq!(listen, ["udp:5060", "tcp:5060"]);
    assert!(config.edge.workers >= 1);
    assert!(config.edge.record_route);
    assert_eq!(config.edge.registrar.default_expires_s, 3600);
    // Phones that know MD5 only do not register when anything else is offered beside it.
    assert_eq!(config.edge.auth.algorithms, [DigestAlgorithm::Md5]);
    assert_eq!(config.store.url, "sqlite:/var/lib/holdline/holdline.db");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:8060");
}

#[test]
fn every_form_of_listener_is_read() {
    let config = parse(
        r#"
        [edge]
        listen = [
          "udp:5060", "tcp:192.0.2.1:5060", "udp:[2001:db8::1]:5070",
          { address = "tcp:0.0.0.0:5062", advertise = "sip.example.org" },
        ]
        advertise = "[2001:db8::9]"
        "#,
    );
    let listen: Vec<String> = config.edge.listen.iter().map(ToString::to_string).collect();
    assert_eq!(
        listen,
        [
            "udp:5060",
            "tcp:192.0.2.1:5060",
            "udp:[2001:db8::1]:5070",
            "tcp:0.0.0.0:5062"
        ]
    );
    let advertised = config.edge.listen[3].advertise.as_ref().expect("given");
    assert_eq!(advertised.as_str(), "sip.example.org");
    assert_eq!(
        config.edge.advertise.expect("given").as_str(),
        "[2001:db8::9]"
    );
}

#[test]
fn a_mistake_is_shown_with_file_line_column_and_a_caret() {
    let text = "[edge]\ndomains = [\"example.org\"]\nlistn = [\"udp:5060\"]\n";
    assert_eq!(
        shown(text),
        "h.toml:3:1: unknown key `edge.listn`; did you mean `edge.listen`?\n\
         \x20 3 | listn = [\"udp:5060\"]\n\
         \x20   | ^^^^^\n"
    );
}

#[test]
fn all_mistakes_are_shown_at_once_in_the_order_of_the_file() {
    let text = r#"
[node]
name = "a b"
[edge]
listen = ["udp:2001:db8::1:5060", "tls:5061", "udp:99999"]
record_route = "yes"
[edge.timers]
t1_ms = 0x2710
t1_mss = 1
[log]
level = "loud"
"#;
    let shown = shown(text);
    let places: Vec<&str> = shown
        .lines()
        .filter(|line| line.starts_with("h.toml"))
        .collect();
    let starts = ["3:8", "5:11", "5:35", "5:47", "6:16", "8:9", "9:1", "11:9"];
    assert_eq!(places.len(), starts.len(), "{shown}");
    for (place, start) in places.iter().zip(starts) {
        assert!(
            place.starts_with(&format!("h.toml:{start}: ")),
            "{place} at {start}"
        );
    }
    assert!(
        places[1].contains("in brackets: \"udp:[2001:db8::1]:5060\""),
        "{}",
        places[1]
    );
    assert!(
        places[2].contains("tls is not in this version"),
        "{}",
        places[2]
    );
    assert!(
        places[4].contains("a text; write true or false"),
        "{}",
        places[4]
    );
    assert!(
        places[6].contains("did you mean `edge.timers.t1_ms`?"),
        "{}",
        places[6]
    );
}

#[test]
fn what_this_version_lacks_is_said_to_be_lacking() {
    let text = "[edge]\ntls = 1\nnat = 1\n";
    let shown = shown(text);
    for key in ["edge.tls", "edge.nat"] {
        assert!(
            shown.contains(&format!("`{key}` is not in this version; remove")),
            "{shown}"
        );
    }
    assert_eq!(shown.matches("h.toml:").count(), 2, "{shown}");
}

#[test]
fn a_cluster_that_lacks_something_is_told_what() {
    let shown = shown("[cluster]\nlease_ms = 300\n[[service]]\nname = \"edge\"\n");
    for key in [
        "cluster.coordinator",
        "cluster.peer_listen",
        "service.mover.interface",
        "service.address",
        "service.members",
    ] {
        assert!(
            shown.contains(&format!("`{key}`: it is not there;")),
            "{shown}"
        );
    }
    let shown = self::shown("[[service]]\nname = \"edge\"\n");
    assert!(shown.contains("add a section [cluster]"), "{shown}");
    let shown = self::shown("[cluster]\npeer_listen = \"0.0.0.0:7400\"\nmargin_ms = 200\n");
    assert!(
        shown.contains("more than half of lease_ms (300)"),
        "{shown}"
    );
    assert!(shown.contains("add peer_advertise"), "{shown}");
}

/// A node of a cluster with a PBX and two services.
const PBXS: &str = r#"
[node]
name = "pbx1"
[pbx]
rtp_ports = [30000, 30199]
[cluster]
peer_listen = "10.0.0.31:7400"
coordinator = { kind = "sqlite", path = "cluster.db" }
[[service]]
name = "edge"
members = ["edge1"]
address = "10.0.0.100"
mover = { kind = "none" }
[[service]]
name = "pbx1"
role = "pbx"
members = ["pbx1", "pbx2"]
address = "10.0.0.101"
mover = { kind = "none" }
"#;

#[test]
fn a_pbx_that_is_a_service_listens_where_the_service_is() {
    let config = parse(PBXS);
    let pbx = config.pbx.expect("it is there");
    assert_eq!(pbx.listen.to_string(), "10.0.0.101:5070");
    assert_eq!(pbx.edge.to_string(), "10.0.0.100:5060");
    let cluster = config.cluster.expect("it is there");
    assert_eq!(cluster.pbxs_of("pbx2").count(), 1);
    assert_eq!(cluster.pbxs_of("edge1").count(), 0);
}

#[test]
fn a_pbx_and_its_services_do_not_contradict_each_other() {
    for (from, to, want) in [
        (
            "[pbx]\nrtp_ports = [30000, 30199]\n",
            "",
            "add [pbx] with a dialplan",
        ),
        (
            "rtp_ports",
            "listen = \"10.0.0.31:5070\"\nrtp_ports",
            "the service's address and port are where it listens",
        ),
        ("10.0.0.101", "10.0.0.100", "the service edge has it"),
    ] {
        let text = PBXS.replace(from, to);
        let shown = shown(&text);
        assert!(shown.contains(want), "{shown}");
        assert_eq!(shown.matches("h.toml:").count(), 1, "{shown}");
    }
}

#[test]
fn a_key_in_the_wrong_section_is_led_to_the_right_one() {
    assert!(shown("listen = []\n").contains("did you mean `edge.listen`?"));
    assert!(shown("[registrar]\n").contains("did you mean `edge.registrar`?"));
    assert!(shown("[edge.auth]\nalgorithm = []\n").contains("`edge.auth.algorithms`?"));
    assert!(shown("[zzz]\n").contains("remove it"));
}

#[test]
fn values_that_contradict_each_other_are_mistakes() {
    for (text, want) in [
        (
            "[edge]\nlisten = [\"udp:5060\", \"udp:127.0.0.1:5060\"]",
            "the same socket",
        ),
        ("[edge]\nlisten = []", "no listener"),
        (
            "[edge.registrar]\nmax_expires_s = 600",
            "let min <= default <= max",
        ),
        ("[edge.timers]\nt1_ms = 4001", "let t1_ms <= t2_ms"),
        ("[edge.auth]\nalgorithms = [\"md5\", \"MD5\"]", "MD5 twice"),
        (
            "[admin]\nlisten = \"0.0.0.0:8060\"",
            "add `token = \"...\"` to [admin]",
        ),
        (
            "[edge]\ntrusted = [\"10.0.0.1/8\"]",
            "\"10.0.0.0/8\" for that network",
        ),
        ("[edge]\nlisten = [{ advertise = \"a\" }]", "missing"),
    ] {
        let shown = shown(text);
        assert!(shown.contains(want), "{text}: {shown}");
        assert_eq!(shown.matches("h.toml:").count(), 1, "{shown}");
    }
}

#[test]
fn the_relay_is_read_with_what_it_may_do_for_which_domain() {
    let config = parse(
        "[edge]\nrtp_ports = [20000, 20003]\n[edge.media]\naddresses = [\"::1\"]\n\
         [edge.media.domains]\n\"Example.ORG\" = \"never\"\n",
    );
    let (first, last) = (20_000, 20_003);
    assert_eq!(config.edge.rtp_ports, Some(PortRange { first, last }));
    let media = config.edge.media;
    assert_eq!(media.policy, MediaPolicy::Nat);
    assert_eq!(media.domains.len(), 1);
    assert_eq!(media.domains[0].0.as_str(), "example.org");
    assert_eq!(media.domains[0].1, MediaPolicy::Never);
    assert!(media.relay_threads >= 1);
    assert_eq!(parse("").edge.rtp_ports, None);
}

#[test]
fn what_is_wrong_with_the_relays_ports_is_said_with_what_would_be_right() {
    const LISTEN: &str = "[edge]\nlisten = [\"udp:127.0.0.1:5060\"]\n";
    for (text, want) in [
        ("rtp_ports = [20001, 29999]", "write [20000, 29999]"),
        ("rtp_ports = [20000, 29998]", "write [20000, 29999]"),
        (
            "rtp_ports = [29999, 20000]",
            "the lower one first: [20000, 29999]",
        ),
        ("rtp_ports = [20000]", "1 numbers; write two numbers"),
        ("rtp_ports = [20, 30]", "numbers from 1024 to 65535"),
        ("rtp_ports = [20000, \"x\"]", "numbers from 1024 to 65535"),
        ("rtp_ports = [20000, 70001]", "numbers from 1024 to 65535"),
        ("rtp_ports = 20000", "a whole number; write two numbers"),
        (
            "rtp_ports = [5000, 5999]",
            "udp:127.0.0.1:5060 is one of 5000 to 5999",
        ),
        ("media.policy = \"nat\"", "add `rtp_ports = [20000, 29999]`"),
        (
            "media.policy = \"allways\"",
            "\"nat\" or \"always\" or \"never\"",
        ),
        ("media.domains.\"a.org\" = \"always\"", "add `rtp_ports"),
        ("media.domains.a.org = \"never\"", "the name in quotes"),
        (
            "media.addresses = [\"0.0.0.0\"]",
            "or nothing, for all that are listened on",
        ),
        ("media.addresses = [\"::1\", \"::1\"]", "::1 twice"),
        (
            "media.hold_timeout_s = 30",
            "let silence_timeout_s <= hold_timeout_s",
        ),
        (
            "media.relay_thread = 3",
            "did you mean `edge.media.relay_threads`?",
        ),
    ] {
        let shown = shown(&format!("{LISTEN}{text}\n"));
        assert!(shown.contains(want), "{text}: {shown}");
        assert!(shown.contains("h.toml:3:"), "{text}: {shown}");
        assert_eq!(shown.matches("h.toml:").count(), 1, "{shown}");
    }
    parse(
        "[edge]\nlisten = [\"udp:127.0.0.1:5060\"]\nrtp_ports = [5000, 5999]\nmedia.addresses = [\"::1\"]",
    );
    parse("[edge.media]\npolicy = \"never\"\n");
}

#[test]
fn a_text_that_is_not_toml_is_shown_with_its_line() {
    let shown = shown("[node]\nname = \"a\nx = [1,\n");
    assert!(shown.starts_with("h.toml:2:"), "{shown}");
    assert!(shown.contains("not TOML"), "{shown}");
}

#[test]
fn secrets_are_not_repeated_in_mistakes_or_debug_output() {
    assert!(
        !shown("[admin]\ntoken = \"hunter2\"")
            .lines()
            .next()
            .expect("a line")
            .contains("hunter2")
    );
    let config = parse(
        "[admin]\ntoken = \"0123456789abcdef\"\n[store]\nurl = \"postgres://h:pass@db/holdline\"",
    );
    let debug = format!("{config:?}");
    assert!(
        !debug.contains("0123456789abcdef") && !debug.contains(":pass@"),
        "{debug}"
    );
    assert!(config.store.shown() == "postgres://h:***@db/holdline");
}

#[test]
fn paths_start_from_the_folder_of_the_file() {
    let config = parse("[node]\ndata = \"state\"");
    assert_eq!(config.store.url, "sqlite:/etc/holdline/state/holdline.db");
    let config = parse("[store]\nurl = \"sqlite:users.db\"");
    assert_eq!(config.store.url, "sqlite:/etc/holdline/users.db");
}

#[test]
fn what_a_reload_cannot_change_is_named() {
    let old = parse("");
    let new = parse("[node]\ndata = \"x\"\n[edge]\ntrusted = [\"::1\"]\nworkers = 77");
    assert_eq!(
        old.needs_restart(&new),
        ["node.data", "edge.workers", "store.url"]
    );
    assert!(old.needs_restart(&old).is_empty());
    let with = |media| {
        parse(&format!(
            "[edge]\nrtp_ports = [20000, 29999]\n[edge.media]\n{media}"
        ))
    };
    let (old, live) = (with(""), with("policy = \"always\"\n"));
    assert!(old.needs_restart(&live).is_empty());
    assert_eq!(
        old.needs_restart(&with("relay_threads = 9")),
        ["edge.media"]
    );
    assert_eq!(old.needs_restart(&parse("")), ["edge.rtp_ports"]);
}

#[test]
fn every_mistake_in_a_large_file_keeps_its_place_and_nothing_panics() {
    // Every prefix of a file with all kinds of values, cut anywhere.
    let text = include_str!("everything.toml");
    parse(text);
    for (end, _) in text.char_indices() {
        if let Err(mistakes) = Config::parse(&text[..end], Path::new("")) {
            let text = text[..end].to_owned();
            let error = ConfigError::Mistakes {
                file: "h".into(),
                text,
                mistakes,
            };
            assert!(!error.to_string().is_empty());
            assert!(!error.lines().is_empty());
        }
    }
}

#[test]
fn every_key_is_documented_with_its_default_and_its_allowed_values() {
    let document = include_str!("../../../../docs/configuration.md");
    let (result, known) = read::document(include_str!("everything.toml"), Path::new(""));
    result.expect("everything.toml is valid");
    assert!(known.len() > 30);
    let mut missing = Vec::new();
    for key in &known {
        let default = if key.default.is_empty() {
            "none".to_owned()
        } else {
            format!("`{}`", key.default)
        };
        let row = document
            .lines()
            .find(|line| line.starts_with(&format!("| `{}` |", key.path)));
        let ranged = key
            .allowed
            .replace(" to ", "")
            .bytes()
            .all(|b| b.is_ascii_digit())
            && !key.allowed.is_empty();
        match row {
            Some(row) if row.contains(&default) && (!ranged || row.contains(&key.allowed)) => {}
            _ => missing.push(format!("| `{}` | {default} | {} |", key.path, key.allowed)),
        }
    }
    assert!(
        missing.is_empty(),
        "docs/configuration.md lacks or misstates:\n{}",
        missing.join("\n")
    );
    for line in document.lines().filter(|line| line.starts_with("| `")) {
        let path = line.split('`').nth(1).expect("a row begins with its key");
        assert!(
            known.iter().any(|key| key.path == path),
            "documented but not read: {path}"
        );
    }
}

#[test]
fn the_example_in_the_documents_is_valid() {
    let document = include_str!("../../../../docs/configuration.md");
    let examples: Vec<&str> = document
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!examples.is_empty());
    for example in examples {
        parse(example);
    }
}
