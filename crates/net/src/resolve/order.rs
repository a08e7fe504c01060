//! In which order records are to be tried. Nothing is asked here.

use super::Transport;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::rdata::NAPTR;

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Srv {
    /// Lower ones are tried first.
    pub priority: u16,
    /// Its share of the load among those of its priority.
    pub weight: u16,
    /// The port of the service.
    pub port: u16,
    /// The host.
    pub target: Name,
}

/// The order in which to try `records`: by priority, and within one priority at random so that each
/// is first as often as its weight says (RFC 2782, "Usage rules"). `random` gives 64 random bits.
pub fn order_srv(mut records: Vec<Srv>, random: &mut dyn FnMut() -> u64) -> Vec<Srv> {
    // Weights of zero in front, so that they have a small chance to be chosen.
    records.sort_by_key(|srv| (srv.priority, srv.weight != 0));
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(first) = records.first() {
        let priority = first.priority;
        let same = records.iter().take_while(|srv| srv.priority == priority);
        let total: u64 = same.clone().map(|srv| u64::from(srv.weight)).sum();
        // Evenly within 0..=total, by the high half of a product.
        let drawn = ((u128::from(random()) * u128::from(total + 1)) >> 64) as u64;
        let mut sum = 0;
        let chosen = same.map(|srv| u64::from(srv.weight)).position(|weight| {
            sum += weight;
            sum >= drawn
        });
        ordered.push(records.remove(chosen.unwrap_or(0)));
    }
    ordered
}

/// What a NAPTR record says about SIP (RFC 3263 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Naptr {
    order: u16,
    preference: u16,
    transport: Option<Transport>,
    service: Name,
}

impl Naptr {
    /// None for a record of another application. One for a transport unknown here counts: it says
    /// that the domain has NAPTR records.
    pub(super) fn of(record: &NAPTR) -> Option<Naptr> {
        let services = record.services.to_ascii_uppercase();
        let (protocol, carrier) = split(&services)?;
        if !matches!(protocol, b"SIP" | b"SIPS") || !record.flags.eq_ignore_ascii_case(b"s") {
            return None;
        }
        let transport = match (protocol, carrier) {
            (b"SIP", b"D2U") => Some(Transport::Udp),
            (b"SIP", b"D2T") => Some(Transport::Tcp),
            (b"SIPS", b"D2T") => Some(Transport::Tls),
            _ => None,
        };
        let service = record.replacement.clone();
        let (order, preference) = (record.order, record.preference);
        Some(Naptr {
            order,
            preference,
            transport,
            service,
        })
    }
}

fn split(services: &[u8]) -> Option<(&[u8], &[u8])> {
    let plus = services.iter().position(|byte| *byte == b'+')?;
    Some((&services[..plus], &services[plus + 1..]))
}

/// The services to try, in order: of the lowest order that has a usable record, those usable, by
/// preference (RFC 3403 section 4.1: once a record matches, those of another order are not looked at).
pub(super) fn chosen_naptr(
    mut records: Vec<Naptr>,
    spoken: impl Fn(Transport) -> bool,
) -> Vec<(Transport, Name)> {
    records.sort_by_key(|naptr| (naptr.order, naptr.preference));
    let usable = records.into_iter().filter_map(|naptr| {
        let transport = naptr.transport.filter(|transport| spoken(*transport))?;
        Some((naptr.order, transport, naptr.service))
    });
    let mut order = None;
    let matching =
        usable.take_while(|(its_order, ..)| *order.get_or_insert(*its_order) == *its_order);
    let mut services: Vec<(Transport, Name)> = Vec::new();
    for (_, transport, service) in matching {
        if !services.contains(&(transport, service.clone())) {
            services.push((transport, service));
        }
    }
    services.truncate(super::NAPTR_MAX);
    services
}

#[cfg(test)]
mod tests {
    use super::*;

    fn srv(priority: u16, weight: u16, target: &str) -> Srv {
        let target = Name::from_ascii(target).expect("a name");
        Srv {
            priority,
            weight,
            port: 5_060,
            target,
        }
    }

    /// SplitMix64: even enough for shares, and the same on each run.
    fn seeded(seed: u64) -> impl FnMut() -> u64 {
        let mut state = seed;
        move || {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = state;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        }
    }

    fn targets(records: &[Srv]) -> Vec<String> {
        records.iter().map(|srv| srv.target.to_ascii()).collect()
    }

    #[test]
    fn a_lower_priority_comes_first_whatever_its_weight() {
        let mut random = seeded(1);
        for _ in 0..100 {
            let records = vec![srv(20, 65_535, "c"), srv(10, 0, "b"), srv(0, 1, "a")];
            assert_eq!(targets(&order_srv(records, &mut random)), ["a", "b", "c"]);
        }
    }

    #[test]
    fn the_first_place_is_shared_by_weight() {
        const DRAWS: usize = 40_000;
        let mut random = seeded(7);
        let mut firsts = [0usize; 4];
        let mut seconds_after_heaviest = [0usize; 4];
        for _ in 0..DRAWS {
            let records = ["a", "b", "c", "d"].iter().zip([60, 30, 10, 0]);
            let records = records
                .map(|(target, weight)| srv(1, weight, target))
                .collect();
            let ordered = order_srv(records, &mut random);
            assert_eq!(ordered.len(), 4);
            let place = |srv: &Srv| usize::from(srv.target.to_ascii().as_bytes()[0] - b'a');
            firsts[place(&ordered[0])] += 1;
            if place(&ordered[0]) == 0 {
                seconds_after_heaviest[place(&ordered[1])] += 1;
            }
        }
        // Draws are from 0..=100: 0 for the weight of zero, the weight's number for the others.
        for (count, share) in firsts.iter().zip([60.0, 30.0, 10.0, 1.0]) {
            let expected = DRAWS as f64 * share / 101.0;
            let deviation = (*count as f64 - expected).abs();
            assert!(deviation < 5.0 * expected.sqrt(), "{firsts:?}");
        }
        let ratio = seconds_after_heaviest[1] as f64 / seconds_after_heaviest[2] as f64;
        assert!((2.7..3.3).contains(&ratio), "{seconds_after_heaviest:?}");
    }

    #[test]
    fn weights_of_zero_only_are_each_tried_once() {
        let records = vec![srv(1, 0, "a"), srv(1, 0, "b")];
        let mut ordered = targets(&order_srv(records, &mut seeded(3)));
        ordered.sort();
        assert_eq!(ordered, ["a", "b"]);
    }

    #[test]
    fn extreme_draws_choose_the_first_and_the_last() {
        let records = || vec![srv(1, 65_535, "a"), srv(1, 65_535, "b"), srv(1, 0, "z")];
        assert_eq!(targets(&order_srv(records(), &mut || 0)), ["z", "a", "b"]);
        assert_eq!(
            targets(&order_srv(records(), &mut || u64::MAX)),
            ["b", "a", "z"]
        );
    }

    fn naptr(order: u16, preference: u16, flags: &str, services: &str, target: &str) -> NAPTR {
        let boxed = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
        let target = Name::from_ascii(target).expect("a name");
        NAPTR::new(
            order,
            preference,
            boxed(flags),
            boxed(services),
            boxed(""),
            target,
        )
    }

    fn chosen(records: &[NAPTR], spoken: &[Transport]) -> Vec<(Transport, String)> {
        let records = records.iter().filter_map(Naptr::of).collect();
        let chosen = chosen_naptr(records, |transport| spoken.contains(&transport));
        chosen
            .into_iter()
            .map(|(transport, name)| (transport, name.to_ascii()))
            .collect()
    }

    #[test]
    fn naptr_records_are_taken_by_order_preference_and_transports_spoken() {
        use Transport::*;
        // The example of RFC 3263 section 4.1, with records of other applications and transports.
        let records = [
            naptr(50, 50, "s", "SIPS+D2T", "_sips._tcp.example.com."),
            naptr(90, 50, "s", "SIP+D2T", "_sip._tcp.example.com."),
            naptr(90, 40, "S", "sip+d2u", "_sip._udp.example.com."),
            naptr(10, 10, "s", "SIP+D2S", "_sip._sctp.example.com."),
            naptr(10, 10, "u", "E2U+sip", "."),
        ];
        let tls = (Tls, "_sips._tcp.example.com.".to_owned());
        let tcp = (Tcp, "_sip._tcp.example.com.".to_owned());
        let udp = (Udp, "_sip._udp.example.com.".to_owned());
        assert_eq!(chosen(&records, &[Udp, Tcp, Tls]), [tls]);
        assert_eq!(chosen(&records, &[Udp, Tcp]), [udp, tcp.clone()]);
        assert_eq!(chosen(&records, &[Tcp]), [tcp]);
        assert_eq!(chosen(&records[3..], &[Udp, Tcp, Tls]), []);
    }
}
