//! The tiers of the workspace (the table of `docs/architecture.md`) and what each may depend on.

/// A crate's place among the others.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: &'static str,
    /// 1 bytes and values, 2 pure machines, 3 the outside, 4 programs, 5 tools.
    pub(crate) tier: u8,
    /// Crates of its own tier that it may use.
    beside: &'static [&'static str],
    /// Crates of lower tiers that it may not use.
    never: &'static [&'static str],
}

const fn place(name: &'static str, tier: u8, beside: &'static [&'static str]) -> Place {
    Place {
        name,
        tier,
        beside,
        never: &[],
    }
}

const fn apart(name: &'static str, tier: u8, never: &'static [&'static str]) -> Place {
    Place {
        name,
        tier,
        beside: &[],
        never,
    }
}

/// Every crate there is or is planned. A new one is entered here with its tier.
const PLACES: &[Place] = &[
    place("sip", 1, &[]),
    place("sdp", 1, &[]),
    place("rtp", 1, &[]),
    place("audio", 1, &[]),
    place("records", 1, &[]),
    place("transaction", 2, &[]),
    place("dialog", 2, &["transaction"]),
    place("proxy", 2, &["transaction", "balancer", "relay"]),
    place("registrar", 2, &["transaction"]),
    place("balancer", 2, &[]),
    apart("relay", 2, &["sip"]),
    place("voice", 2, &[]),
    place("pbx", 2, &["dialog", "transaction", "voice"]),
    place(
        "edge",
        2,
        &["transaction", "proxy", "registrar", "balancer", "relay"],
    ),
    apart("cluster", 2, &["sip", "sdp", "rtp", "audio"]),
    place("net", 3, &[]),
    place("coordinator", 3, &[]),
    place("store", 3, &[]),
    place("driver", 3, &["net", "coordinator", "store"]),
    place("agent", 4, &[]),
    place("admin", 4, &["agent"]),
    place("load", 4, &[]),
    place("lab", 4, &["load"]),
    place("holdline", 4, &["admin", "agent", "load", "lab"]),
    place("sim", 5, &[]),
    place("fuzz", 5, &[]),
    place("xtask", 5, &[]),
];

/// Crates that bring the outside world with them: no pure crate depends on one.
pub(crate) const OUTSIDE: &[&str] = &[
    "async-std",
    "chrono",
    "getrandom",
    "libc",
    "mio",
    "nix",
    "parking_lot",
    "smol",
    "socket2",
    "sqlx",
    "time",
    "tokio",
    "tracing-subscriber",
];

/// The place of the crate `name`, if it has one.
pub(crate) fn find(name: &str) -> Option<&'static Place> {
    PLACES.iter().find(|place| place.name == name)
}

impl Place {
    /// Whether it is a tier without sockets, clock, files, threads, environment and randomness.
    pub(crate) fn is_pure(&self) -> bool {
        self.tier <= 2
    }

    /// Why this crate may not depend on `other`, if it may not.
    pub(crate) fn refuses(&self, other: &Place) -> Option<String> {
        if self.never.contains(&other.name) {
            return Some(format!(
                "`{}` is to know nothing of `{}`",
                self.name, other.name
            ));
        }
        if other.tier < self.tier || self.beside.contains(&other.name) {
            return None;
        }
        let direction = if other.tier == self.tier {
            "sideways"
        } else {
            "upwards"
        };
        Some(format!(
            "`{}` (tier {}) depends {direction} on `{}` (tier {}): move what is shared to a lower \
             tier, or pass it in",
            self.name, self.tier, other.name, other.tier
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(from: &str, to: &str) -> bool {
        find(from).unwrap().refuses(find(to).unwrap()).is_some()
    }

    #[test]
    fn a_dependency_goes_down_the_tiers() {
        assert!(!refused("transaction", "sip"));
        assert!(!refused("driver", "proxy"));
        assert!(!refused("xtask", "holdline"));
        assert!(refused("sip", "transaction"));
        assert!(refused("proxy", "net"));
        assert!(refused("store", "holdline"));
        assert!(refused("holdline", "sim"));
    }

    #[test]
    fn a_dependency_within_a_tier_is_one_that_the_design_names() {
        for (from, to) in [
            ("proxy", "transaction"),
            ("registrar", "transaction"),
            ("dialog", "transaction"),
            ("proxy", "balancer"),
            ("pbx", "dialog"),
            ("driver", "net"),
            ("driver", "store"),
            ("holdline", "admin"),
        ] {
            assert!(!refused(from, to), "{from} -> {to}");
            assert!(refused(to, from), "{to} -> {from}");
        }
        assert!(refused("sip", "sdp"));
        assert!(refused("registrar", "proxy"));
        assert!(refused("net", "store"));
    }

    #[test]
    fn the_relay_knows_no_sip_and_the_cluster_neither_sip_nor_rtp() {
        assert!(refused("relay", "sip"));
        assert!(!refused("relay", "rtp"));
        assert!(refused("cluster", "sip"));
        assert!(refused("cluster", "rtp"));
    }

    #[test]
    fn a_crate_without_a_place_is_not_found() {
        assert!(find("utilities").is_none());
    }
}
