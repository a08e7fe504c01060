//! A packet filter (nftables) that drops what goes from and to the address while a set is empty, and an element of
//! that set with a timeout. As `nft list ruleset` shows it:
//!
//! ```text
//! table inet holdline-10.0.0.100 {
//!     set alive { type ipv4_addr; flags timeout; elements = { 10.0.0.100 timeout 300ms } }
//!     chain out { type filter hook output priority raw; ip saddr 10.0.0.100 ip saddr != @alive drop }
//!     chain in { type filter hook input priority raw; ip daddr 10.0.0.100 ip daddr != @alive drop }
//! }
//! table arp holdline-10.0.0.100 { set alive, chain out by the sender's address }
//! ```
//!
//! For IPv6, chain out has a rule for neighbour advertisements. The tables stay when this process ends.

use super::super::netlink::{Channel, Messages};
use crate::sys::Protocol;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

// Messages of nf_tables, and those around a batch.
const SUBSYSTEM: u16 = 10 << 8;
const NEWTABLE: u16 = SUBSYSTEM;
const DELTABLE: u16 = SUBSYSTEM | 2;
const NEWCHAIN: u16 = SUBSYSTEM | 3;
const NEWRULE: u16 = SUBSYSTEM | 6;
const NEWSET: u16 = SUBSYSTEM | 9;
const NEWSETELEM: u16 = SUBSYSTEM | 12;
const DELSETELEM: u16 = SUBSYSTEM | 14;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

// Families, and the hooks of each that are used.
const INET: u8 = 1;
const ARP: u8 = 3;
const HOOK_INPUT: u32 = 1;
const HOOK_OUTPUT: u32 = 3;
const HOOK_ARP_OUTPUT: u32 = 1;
/// Before anything else looks at a packet (`raw`).
const PRIORITY: i32 = -300;

// Attributes that several kinds of message have with the same number.
const TABLE: u16 = 1;
const NAME: u16 = 1;
const DATA: u16 = 2;
const LIST_ELEMENT: u16 = 1;
// Attributes of chains.
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_TYPE: u16 = 7;
// Attributes of sets, and of their elements.
const SET_NAME: u16 = 2;
const SET_FLAGS: u16 = 3;
const SET_KEY_TYPE: u16 = 4;
const SET_KEY_BYTES: u16 = 5;
const SET_ID: u16 = 10;
const SET_HAS_TIMEOUTS: u32 = 0x10;
const ELEMENTS: u16 = 3;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
// Attributes of rules.
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;
/// What nft(8) calls the types of the sets' keys.
const TYPE_IPV4: u32 = 7;
const TYPE_IPV6: u32 = 8;

// Of expressions: where data are, and which.
const REGISTER: u32 = 1;
const NETWORK_HEADER: u32 = 1;
const TRANSPORT_HEADER: u32 = 2;
const META_FAMILY: u32 = 15;
const META_PROTOCOL: u32 = 16;
const NOT_IN_SET: u32 = 1;
const FAMILY_IPV4: u8 = 2;
const FAMILY_IPV6: u8 = 10;
const ICMPV6: u8 = 58;
const ADVERTISEMENT: u8 = 136;

const SET: &str = "alive";

/// The tables of one address.
#[derive(Debug)]
pub(super) struct Table {
    channel: Channel,
    name: String,
    key: Vec<u8>,
    families: &'static [u8],
    batch: Messages,
}

/// A part of a packet: header, offset, bytes.
#[derive(Clone, Copy)]
struct Part(u32, u32, u32);

impl Table {
    /// Makes the tables, in place of those that an earlier life of the process left, with no moment between; packets
    /// pass for so long from now, for less than a millisecond none.
    pub(super) fn make(address: IpAddr, span: Duration) -> io::Result<Table> {
        let mut table = Table::of(address)?;
        let (name, ms) = (table.name.clone(), milliseconds(span));
        table.transact(|table, batch| {
            for family in table.families {
                // Removing what is not there is an error, so it is made first.
                for kind in [NEWTABLE, DELTABLE, NEWTABLE] {
                    change(batch, kind, *family).text(NAME, &name);
                }
                table.make_set(batch, *family);
                if ms > 0 {
                    table.element(batch, NEWSETELEM, *family, ms);
                }
            }
            match address {
                IpAddr::V4(_) => table.make_ipv4(batch),
                IpAddr::V6(_) => table.make_ipv6(batch),
            }
        })?;
        Ok(table)
    }

    /// The tables without making them.
    fn of(address: IpAddr) -> io::Result<Table> {
        let (key, families): (_, &[u8]) = match address {
            IpAddr::V4(ip) => (ip.octets().to_vec(), &[INET, ARP]),
            IpAddr::V6(ip) => (ip.octets().to_vec(), &[INET]),
        };
        Ok(Table {
            channel: Channel::open(Protocol::Netfilter)?,
            // A colon is none of nft's names.
            name: format!("holdline-{address}").replace(':', "_"),
            key,
            families,
            batch: Messages::default(),
        })
    }

    /// Lets packets pass for so long from now; for less than a millisecond, none.
    pub(super) fn extend(&mut self, span: Duration) -> io::Result<()> {
        let ms = milliseconds(span);
        self.transact(|table, batch| {
            for family in table.families {
                // An element that is there would keep its time; one that is not could not be removed.
                table.element(batch, NEWSETELEM, *family, ms.max(1));
                table.element(batch, DELSETELEM, *family, 0);
                if ms > 0 {
                    table.element(batch, NEWSETELEM, *family, ms);
                }
            }
        })
    }

    /// Removes the tables of an address, if they are there.
    pub(super) fn remove(address: IpAddr) -> io::Result<()> {
        let mut table = Table::of(address)?;
        let name = table.name.clone();
        table.transact(|table, batch| {
            for family in table.families {
                for kind in [NEWTABLE, DELTABLE] {
                    change(batch, kind, *family).text(NAME, &name);
                }
            }
        })
    }

    /// All or nothing of what `fill` puts into a batch.
    fn transact(&mut self, fill: impl FnOnce(&Table, &mut Messages)) -> io::Result<()> {
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        let mut around = generic(0);
        around[2..].copy_from_slice(&10u16.to_be_bytes());
        batch.message(BATCH_BEGIN, 0, &around);
        fill(self, &mut batch);
        batch.message(BATCH_END, 0, &around);
        let done = self.channel.request(&batch);
        self.batch = batch;
        done
    }

    fn element(&self, batch: &mut Messages, kind: u16, family: u8, ms: u64) {
        change(batch, kind, family)
            .text(TABLE, &self.name)
            .text(SET_NAME, SET)
            .nest(ELEMENTS, |list| {
                list.nest(LIST_ELEMENT, |element| {
                    element.nest(ELEMENT_KEY, |key| {
                        key.attribute(LIST_ELEMENT, &self.key);
                    });
                    if ms > 0 {
                        element.attribute(ELEMENT_TIMEOUT, &ms.to_be_bytes());
                    }
                });
            });
    }

    fn make_set(&self, batch: &mut Messages, family: u8) {
        let key_type = if self.key.len() == 4 {
            TYPE_IPV4
        } else {
            TYPE_IPV6
        };
        let set = change(batch, NEWSET, family);
        set.text(TABLE, &self.name).text(SET_NAME, SET);
        number(set, SET_FLAGS, SET_HAS_TIMEOUTS);
        number(set, SET_KEY_TYPE, key_type);
        number(set, SET_KEY_BYTES, self.key.len() as u32);
        number(set, SET_ID, 1);
    }

    fn make_ipv4(&self, batch: &mut Messages) {
        for (chain, hook, offset) in [("out", HOOK_OUTPUT, 12), ("in", HOOK_INPUT, 16)] {
            self.make_chain(batch, INET, chain, hook);
            self.make_rule(batch, INET, chain, |rule| {
                meta_is(rule, META_FAMILY, FAMILY_IPV4);
                self.drop_unless_alive(rule, Part(NETWORK_HEADER, offset, 4));
            });
        }
        self.make_chain(batch, ARP, "out", HOOK_ARP_OUTPUT);
        self.make_rule(batch, ARP, "out", |rule| {
            self.drop_unless_alive(rule, Part(NETWORK_HEADER, 14, 4));
        });
    }

    fn make_ipv6(&self, batch: &mut Messages) {
        for (chain, hook, offset) in [("out", HOOK_OUTPUT, 8), ("in", HOOK_INPUT, 24)] {
            self.make_chain(batch, INET, chain, hook);
            self.make_rule(batch, INET, chain, |rule| {
                meta_is(rule, META_FAMILY, FAMILY_IPV6);
                self.drop_unless_alive(rule, Part(NETWORK_HEADER, offset, 16));
            });
        }
        self.make_rule(batch, INET, "out", |rule| {
            meta_is(rule, META_FAMILY, FAMILY_IPV6);
            meta_is(rule, META_PROTOCOL, ICMPV6);
            load(rule, Part(TRANSPORT_HEADER, 0, 1));
            compare(rule, &[ADVERTISEMENT]);
            self.drop_unless_alive(rule, Part(TRANSPORT_HEADER, 8, 16));
        });
    }

    fn make_chain(&self, batch: &mut Messages, family: u8, chain: &str, hook: u32) {
        change(batch, NEWCHAIN, family)
            .text(TABLE, &self.name)
            .text(CHAIN_NAME, chain)
            .nest(CHAIN_HOOK, |place| {
                number(place, 1, hook);
                number(place, 2, PRIORITY as u32);
            })
            .text(CHAIN_TYPE, "filter");
    }

    fn make_rule(
        &self,
        batch: &mut Messages,
        family: u8,
        chain: &str,
        fill: impl FnOnce(&mut Messages),
    ) {
        change(batch, NEWRULE, family)
            .text(TABLE, &self.name)
            .text(RULE_CHAIN, chain)
            .nest(RULE_EXPRESSIONS, fill);
    }

    /// If a part of the packet is the address, and that is not in the set, the packet is dropped.
    fn drop_unless_alive(&self, rule: &mut Messages, part: Part) {
        load(rule, part);
        compare(rule, &self.key);
        expression(rule, "lookup", |lookup| {
            lookup.text(1, SET);
            number(lookup, 2, REGISTER);
            number(lookup, 5, NOT_IN_SET);
        });
        expression(rule, "immediate", |verdict| {
            number(verdict, 1, 0);
            verdict.nest(2, |data| {
                data.nest(2, |code| number(code, 1, libc::NF_DROP as u32));
            });
        });
    }
}

fn milliseconds(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// A change of nf_tables, for a family.
fn change(batch: &mut Messages, kind: u16, family: u8) -> &mut Messages {
    let makes = matches!(kind, NEWTABLE | NEWCHAIN | NEWRULE | NEWSET | NEWSETELEM);
    let flags = match (makes, kind) {
        (true, NEWRULE) => libc::NLM_F_CREATE | libc::NLM_F_APPEND,
        (true, _) => libc::NLM_F_CREATE,
        (false, _) => 0,
    };
    batch.message(kind, flags, &generic(family))
}

/// `struct nfgenmsg`.
fn generic(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

/// A number, of which nf_tables wants the most significant byte first.
fn number(messages: &mut Messages, kind: u16, value: u32) {
    messages.attribute(kind, &value.to_be_bytes());
}

fn expression(rule: &mut Messages, name: &str, fill: impl FnOnce(&mut Messages)) {
    rule.nest(LIST_ELEMENT, |element| {
        element.text(NAME, name).nest(DATA, fill);
    });
}

/// The rule goes on if a property of the packet is this.
fn meta_is(rule: &mut Messages, what: u32, value: u8) {
    expression(rule, "meta", |meta| {
        number(meta, 1, REGISTER);
        number(meta, 2, what);
    });
    compare(rule, &[value]);
}

fn load(rule: &mut Messages, part: Part) {
    expression(rule, "payload", |payload| {
        number(payload, 1, REGISTER);
        number(payload, 2, part.0);
        number(payload, 3, part.1);
        number(payload, 4, part.2);
    });
}

/// The rule goes on if what was loaded last is this.
fn compare(rule: &mut Messages, value: &[u8]) {
    expression(rule, "cmp", |compare| {
        number(compare, 1, REGISTER);
        number(compare, 2, 0);
        compare.nest(3, |data| {
            data.attribute(1, value);
        });
    });
}
