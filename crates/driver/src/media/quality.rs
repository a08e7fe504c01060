//! How calls sounded, as a distribution.

use relay::Report;

/// Upper bounds of the buckets of [`MosHistogram`], as estimates of MOS.
pub const MOS_BOUNDS: [f32; 8] = [1.5, 2.0, 2.5, 3.0, 3.5, 3.8, 4.0, 4.3];

/// Estimates of MOS (ITU-T G.107) of calls that have ended: one for each way that carried speech.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct MosHistogram {
    /// How many were at most the bound of this bucket and above that of the one before; the last bucket has
    /// no bound.
    pub counts: [u64; MOS_BOUNDS.len() + 1],
    /// Their sum.
    pub sum: f64,
}

impl MosHistogram {
    /// Adds the ways of a call that has ended.
    pub(super) fn add(&mut self, report: &Report) {
        for mos in report.legs.iter().filter_map(|leg| leg.mos) {
            let bucket = MOS_BOUNDS.iter().position(|bound| mos <= *bound);
            self.counts[bucket.unwrap_or(MOS_BOUNDS.len())] += 1;
            self.sum += f64::from(mos);
        }
    }

    /// Adds another one.
    pub(super) fn merge(&mut self, other: &MosHistogram) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.sum += other.sum;
    }
}
