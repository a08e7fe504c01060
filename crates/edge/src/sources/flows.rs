//! Flows on which right credentials came.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;
use transaction::Flow;

use super::{Bucket, WAYS};

/// How long a flow is good without right credentials: a little longer than the longest usual binding.
const GOOD_MS: u64 = 2 * 3_600_000 + 600_000;
/// Wrong passwords after which a flow is no longer good; each is forgiven after [`STRIKE_FADES_MS`].
const STRIKES_MAX: u8 = 8;
const STRIKE_FADES_MS: u64 = 60_000;

#[derive(Debug, Clone, Copy, Default)]
struct GoodFlow {
    /// Keyed hash of its address, port and transport.
    mark: u64,
    /// Zero in an empty place.
    until_ms: u64,
    struck_ms: u64,
    strikes: u8,
    bucket: Bucket,
}

/// The good flows of one shard.
#[derive(Debug)]
pub(super) struct Flows {
    seed: (u64, u64),
    table: Vec<GoodFlow>,
}

impl Flows {
    pub(super) fn new(seed: (u64, u64), flows: usize) -> Flows {
        let sets = flows.div_ceil(WAYS).max(1);
        Flows {
            seed,
            table: vec![GoodFlow::default(); sets * WAYS],
        }
    }

    /// Where a flow would be, and its mark.
    fn place(&self, flow: &Flow) -> (usize, u64) {
        let address = match flow.remote.ip().to_canonical() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let transport = u64::from(flow.transport.is_reliable());
        let mut hasher = SipHasher13::new_with_keys(!self.seed.0, self.seed.1);
        hasher.write(&address.octets());
        hasher.write_u64(u64::from(flow.remote.port()) << 1 | transport);
        let mark = hasher.finish();
        (mark as usize % (self.table.len() / WAYS) * WAYS, mark)
    }

    fn find(&mut self, now_ms: u64, flow: &Flow) -> Option<&mut GoodFlow> {
        let (set, mark) = self.place(flow);
        let mut flows = self.table[set..set + WAYS].iter_mut();
        flows.find(|flow| flow.mark == mark && flow.until_ms > now_ms)
    }

    pub(super) fn is_good(&mut self, now_ms: u64, flow: &Flow) -> bool {
        self.find(now_ms, flow).is_some()
    }

    /// The rate of a good flow.
    pub(super) fn bucket(&mut self, now_ms: u64, flow: &Flow) -> Option<&mut Bucket> {
        Some(&mut self.find(now_ms, flow)?.bucket)
    }

    /// Right credentials came on a flow; whether it was not good before.
    pub(super) fn mark(&mut self, now_ms: u64, flow: &Flow) -> bool {
        if let Some(good) = self.find(now_ms, flow) {
            good.until_ms = now_ms + GOOD_MS;
            return false;
        }
        let (set, mark) = self.place(flow);
        let flows = &mut self.table[set..set + WAYS];
        if let Some(good) = flows.iter_mut().min_by_key(|flow| flow.until_ms) {
            *good = GoodFlow {
                mark,
                until_ms: now_ms + GOOD_MS,
                ..GoodFlow::default()
            };
        }
        true
    }

    /// A wrong password came on a flow.
    pub(super) fn strike(&mut self, now_ms: u64, flow: &Flow) {
        let Some(good) = self.find(now_ms, flow) else {
            return;
        };
        let forgiven = now_ms.saturating_sub(good.struck_ms) / STRIKE_FADES_MS;
        let forgiven = u8::try_from(forgiven).unwrap_or(u8::MAX);
        good.strikes = good.strikes.saturating_sub(forgiven).saturating_add(1);
        good.struck_ms = now_ms;
        if good.strikes >= STRIKES_MAX {
            *good = GoodFlow::default();
        }
    }
}
