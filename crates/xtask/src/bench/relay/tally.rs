//! What arrived, and how late.

use super::packet::Packet;
use super::wire::Arrival;
use serde_json::{Value, json};
use std::net::SocketAddrV4;

/// Both ends' count of what the calls' streams carried.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Where each stream's packets have to come from.
    sources: Vec<SocketAddrV4>,
    /// What the packets were written with.
    salt: u32,
    /// One bit a packet, `words` words a stream.
    seen: Vec<u64>,
    words: usize,
    /// The highest number that arrived, plus 1.
    next: Vec<u32>,
    /// Packets of a stream before this one warm up.
    first: u32,
    /// Packets of a stream.
    packets: u32,
    delays_ns: Vec<u32>,
    duplicates: u64,
    out_of_order: u64,
    corrupt: u64,
    warm_up_arrived: u64,
}

impl Tally {
    /// Streams of `packets` packets each, of which the first `first` warm up.
    pub(crate) fn new(sources: Vec<SocketAddrV4>, salt: u32, first: u32, packets: u32) -> Self {
        let words = packets.div_ceil(u64::BITS) as usize;
        Self {
            seen: vec![0; words * sources.len()],
            next: vec![0; sources.len()],
            delays_ns: Vec::with_capacity((packets - first) as usize * sources.len()),
            words,
            sources,
            salt,
            first,
            packets,
            duplicates: 0,
            out_of_order: 0,
            corrupt: 0,
            warm_up_arrived: 0,
        }
    }

    /// Counts a packet that arrived at the end that `is_expected` knows the streams of.
    pub(crate) fn arrived(&mut self, arrival: &Arrival<'_>, is_expected: impl Fn(u32) -> bool) {
        let packet = Packet::read(self.salt, arrival.bytes).filter(|packet| {
            let source = self.sources.get(packet.stream as usize);
            source == Some(&arrival.source)
                && packet.number < self.packets
                && is_expected(packet.stream)
        });
        let Some(packet) = packet else {
            self.corrupt += 1;
            return;
        };
        let stream = packet.stream as usize;
        let word = &mut self.seen[stream * self.words + (packet.number / u64::BITS) as usize];
        let bit = 1 << (packet.number % u64::BITS);
        if *word & bit != 0 {
            self.duplicates += 1;
            return;
        }
        *word |= bit;
        if packet.number < self.next[stream] {
            self.out_of_order += 1;
        }
        self.next[stream] = self.next[stream].max(packet.number + 1);
        if packet.number < self.first {
            self.warm_up_arrived += 1;
            return;
        }
        let delay_ns = arrival.at_ns.saturating_sub(packet.sent_ns);
        self.delays_ns
            .push(u32::try_from(delay_ns).unwrap_or(u32::MAX));
    }

    /// Whether every packet is here.
    pub(crate) fn is_complete(&self) -> bool {
        let all = u64::from(self.packets) * self.sources.len() as u64;
        self.warm_up_arrived + self.delays_ns.len() as u64 == all
    }

    /// All of it, for the run's report. Delays in microseconds.
    pub(crate) fn into_json(mut self) -> Value {
        let streams = self.sources.len() as u64;
        let sent = u64::from(self.packets - self.first) * streams;
        let arrived = self.delays_ns.len() as u64;
        self.delays_ns.sort_unstable();
        json!({
            "sent": sent,
            "arrived": arrived,
            "lost": sent - arrived,
            "warm_up_lost": u64::from(self.first) * streams - self.warm_up_arrived,
            "duplicates": self.duplicates,
            "out_of_order": self.out_of_order,
            "corrupt": self.corrupt,
            "delay_p50_us": at_us(&self.delays_ns, 500),
            "delay_p99_us": at_us(&self.delays_ns, 990),
            "delay_p999_us": at_us(&self.delays_ns, 999),
            "delay_max_us": at_us(&self.delays_ns, 1_000),
        })
    }
}

/// The value that `per_mille` of the sorted values do not exceed, in microseconds.
pub(crate) fn at_us(sorted_ns: &[u32], per_mille: usize) -> f64 {
    let rank = (sorted_ns.len() * per_mille).div_ceil(1_000);
    let value_ns = sorted_ns.get(rank.saturating_sub(1)).copied();
    value_ns.map_or(0.0, |ns| f64::from(ns) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::super::packet::PACKET_BYTES;
    use super::*;
    use std::net::Ipv4Addr;

    const SOURCE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 20_000);

    fn arrive(tally: &mut Tally, number: u32, source: SocketAddrV4) {
        let mut bytes = [0; PACKET_BYTES];
        let packet = Packet {
            stream: 0,
            number,
            sent_ns: 1_000,
        };
        packet.write(5, &mut bytes);
        let arrival = Arrival {
            bytes: &bytes,
            source,
            at_ns: 3_000,
        };
        tally.arrived(&arrival, |stream| stream == 0);
    }

    #[test]
    fn lost_doubled_and_strange_packets_are_told_apart() {
        let mut tally = Tally::new(vec![SOURCE], 5, 1, 5);
        for number in [0, 2, 1, 2] {
            arrive(&mut tally, number, SOURCE);
        }
        let other = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 20_002);
        arrive(&mut tally, 4, other);
        assert!(!tally.is_complete());
        let json = tally.into_json();
        assert_eq!(json["sent"], json!(4));
        assert_eq!(json["lost"], json!(2));
        assert_eq!(json["warm_up_lost"], json!(0));
        assert_eq!(json["duplicates"], json!(1));
        assert_eq!(json["out_of_order"], json!(1));
        assert_eq!(json["corrupt"], json!(1));
        assert_eq!(json["delay_max_us"], json!(2.0));
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<u32> = (1..=1_000).map(|number| number * 1_000).collect();
        let near = |per_mille, us: f64| (at_us(&values, per_mille) - us).abs() < 1e-9;
        assert!(near(500, 500.0) && near(990, 990.0) && near(1_000, 1_000.0));
        assert!(at_us(&[], 500).abs() < 1e-9);
    }
}
