use std::path::Path;

use super::*;
use crate::config::{Config, ConfigError};

fn parse(text: &str) -> FarmSettings {
    match Config::parse(text, Path::new("")) {
        Ok(config) => config.edge.farm,
        Err(mistakes) => unreachable!("{mistakes:#?}"),
    }
}

/// The first line of each mistake.
fn shown(text: &str) -> Vec<String> {
    let mistakes = Config::parse(text, Path::new("")).expect_err("the text has mistakes");
    ConfigError::Mistakes {
        file: "h.toml".into(),
        text: text.into(),
        mistakes,
    }
    .lines()
}

fn one(text: &str) -> String {
    let lines = shown(text);
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines[0].clone()
}

#[test]
fn the_example_of_the_design_is_read() {
    let farm = parse(
        "[[edge.pool]]\nname = \"pbx\"\npolicy = \"least-calls\"\n\
         targets = [{ srv = \"pbx.example.org\" }, { uri = \"sip:10.0.0.30:5060\", limit = 500 }]\n\
         [[edge.route]]\nuser = \"8*\"\ndomain = \"Example.org\"\npool = \"pbx\"\n\
         [edge.failover]\nmove_on = [500, \"502-504\", \"600\"]\n",
    );
    let pool = &farm.pools[0];
    assert_eq!(pool.policy, Policy::LeastCalls);
    assert_eq!(
        pool.targets[0].source,
        Source::Srv("sip:pbx.example.org".into())
    );
    assert_eq!(pool.targets[1].limit, Some(500));
    assert_eq!(pool.health, HealthSettings::default());
    let route = &farm.routes[0];
    assert_eq!(route.domain.as_deref(), Some("example.org"));
    assert_eq!(route.methods, [Method::Invite]);
    assert_eq!(farm.failover.move_on, [500..=500, 502..=504, 600..=600]);
}

#[test]
fn without_pools_the_defaults_are_those_of_the_machines() {
    assert_eq!(parse(""), FarmSettings::default());
    let pool = "[[edge.pool]]\nname = \"p\"\npolicy = \"load\"\ntargets = [{ uri = \"sip:a\" }]\n";
    assert_eq!(
        parse(pool).pools[0].policy,
        Policy::Load(LoadFormula::default())
    );
}

#[test]
fn a_pool_has_its_own_policy_of_media_where_there_is_a_relay() {
    let pool = "[[edge.pool]]\nname = \"pbx\"\nmedia = \"always\"\ntargets = [{ uri = \"sip:10.0.0.30\" }]\n";
    let farm = parse(&format!("[edge]\nrtp_ports = [20000, 20999]\n{pool}"));
    let always = proxy::media::Policy::Always;
    assert_eq!(farm.media, [("pbx".to_owned(), always)]);
    assert!(one(pool).contains("without rtp_ports there is no relay"));
    let never = pool.replace("always", "never");
    assert_eq!(parse(&never).media.len(), 1);
}

#[test]
fn a_service_is_one_of_the_cluster() {
    let told = one("[[edge.pool]]\nname = \"pbx\"\ntargets = [\n  { service = \"pbx1\" },\n]\n");
    assert!(told.starts_with("h.toml:4:"), "{told}");
    assert!(
        told.contains("there is no [[service]] pbx1 with role = \"pbx\""),
        "{told}"
    );
}

#[test]
fn a_service_is_where_its_address_is_and_may_be_away_for_a_while() {
    let services = "[cluster]\npeer_listen = \"10.0.0.1:7400\"\n\
        coordinator = { kind = \"sqlite\", path = \"c\" }\n\
        [[service]]\nname = \"pbx1\"\nrole = \"pbx\"\nmembers = [\"a\"]\naddress = \"10.0.0.101\"\n\
        mover = { kind = \"none\" }\n";
    let pool = "[[edge.pool]]\nname = \"pbx\"\ntargets = [{ service = \"pbx1\" }]\n";
    let farm = parse(&format!("{services}{pool}"));
    let uri = Source::Uri("sip:10.0.0.101:5070".to_owned());
    assert_eq!(farm.pools[0].targets[0].source, uri);
    assert_eq!(farm.pools[0].health.misses_out, 20);
    let written = format!("{services}{pool}probe = {{ misses = 5 }}\n");
    assert_eq!(parse(&written).pools[0].health.misses_out, 5);
    assert_eq!(farm.failover.reply_timeout_ms, 2_000);
    let written = format!("{services}{pool}[edge.failover]\nreply_timeout_ms = 700\n");
    assert_eq!(parse(&written).failover.reply_timeout_ms, 700);
    assert_eq!(parse("").failover.reply_timeout_ms, 500);
}

#[test]
fn a_target_is_one_thing_at_a_place_that_can_be_sent_to() {
    let pool = |target: &str| {
        one(&format!(
            "[[edge.pool]]\nname = \"pbx\"\ntargets = [{target}]\n"
        ))
    };
    for (target, wanted) in [
        ("{ uri = \"sips:a\" }", "TLS is not in this version"),
        ("{ uri = \"10.0.0.1:5060\" }", "where it listens"),
        ("{ uri = \"sip:a;transport=ws\" }", "udp or tcp"),
        ("{ uri = \"sip:u@a\" }", "where it listens"),
        ("{ srv = \"sip:a:5060\" }", "without a port"),
        ("{ srv = \"sip:10.0.0.1\" }", "SRV records"),
        ("{ uri = \"sip:a\", srv = \"sip:b\" }", "one of uri, srv"),
        ("{ limit = 5 }", "one of uri, srv"),
        ("\"sip:a\"", "in braces"),
        ("{ uri = \"sip:a\", weight = 0 }", "from 1 to 65535"),
        ("{ uri = \"sip:a\" }, { uri = \"sip:a\" }", "twice"),
        ("", "no target"),
    ] {
        let told = pool(target);
        assert!(told.contains(wanted), "{target}: {told}");
    }
}

#[test]
fn pools_and_routes_agree_with_one_another() {
    let target = "targets = [{ uri = \"sip:a\" }]";
    let told = one(&format!(
        "[[edge.pool]]\nname = \"a\"\n{target}\n[[edge.pool]]\nname = \"a\"\n{target}\n"
    ));
    assert!(told.starts_with("h.toml:4:"), "{told}");
    let told = one(&format!(
        "[[edge.pool]]\nname = \"a\"\nfallback = \"b\"\n{target}\n"
    ));
    assert!(
        told.starts_with("h.toml:3:") && told.contains("no other pool"),
        "{told}"
    );
    let told = one(&format!(
        "[[edge.pool]]\nname = \"a\"\nfallback = \"b\"\n{target}\n\
         [[edge.pool]]\nname = \"b\"\nfallback = \"a\"\n{target}\n"
    ));
    assert!(told.contains("circle"), "{told}");
    let told = one(&format!(
        "[[edge.pool]]\nname = \"a\"\n{target}\n[[edge.route]]\npool = \"b\"\n"
    ));
    assert!(
        told.contains("cannot be \"b\"; write the name of a pool: a"),
        "{told}"
    );
    let told = one(&format!(
        "[[edge.pool]]\nname = \"a\"\n{target}\nload = {{ cpu = 1 }}\n"
    ));
    assert!(told.contains("policy = \"load\""), "{told}");
    assert!(one("[edge.pool]\nname = \"a\"\n").contains("[[edge.pool]]"));
    let lines = shown("[[edge.route]]\nuser = \"8@example.org\"\n");
    assert!(lines[0].contains("missing"), "{lines:?}");
    assert!(lines[1].contains("domain = \"example.org\""), "{lines:?}");
}

#[test]
fn what_speaks_of_the_caller_moves_nobody_on() {
    let told = one("[edge.failover]\nmove_on = [\"400-499\"]\n");
    assert!(told.contains("401 is for the caller"), "{told}");
    assert!(one("[edge.failover]\nmove_on = [302]\n").contains("from 400 to 699"));
    assert!(one("[edge.failover]\nmove_on = [\"504-502\"]\n").contains("no status"));
}
