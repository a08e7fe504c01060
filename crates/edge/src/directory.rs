//! What the threads of an edge share.

use std::net::IpAddr;

use registrar::Location;
use sip::digest::{Algorithm, FreshNonce, Ha1, Replay};

use crate::overload::Gate;
use crate::sources::Sources;

/// Users, bindings and nonces as the core sees them: memory, never a database.
pub trait Directory: proxy::Network {
    /// What is stored for a user of a domain by an algorithm.
    fn credential(&mut self, user: &[u8], domain: &[u8], algorithm: Algorithm) -> Option<Ha1>;

    /// Whether there is a user with this address-of-record.
    fn has_user(&mut self, aor: &[u8]) -> bool;

    /// Works on the shard of the location table that holds `aor`; the second argument gives numbers for
    /// new bindings, rising.
    fn location<R>(
        &mut self,
        aor: &[u8],
        work: impl FnOnce(&mut Location, &mut dyn FnMut() -> u64) -> R,
    ) -> R;

    /// Takes note of the number of a binding that another member made: [`Directory::location`] gives higher ones from
    /// then on.
    fn note_binding(&mut self, id: u64) {
        let _ = id;
    }

    /// Remembers the use of a nonce.
    fn admit_nonce(&mut self, nonce: &FreshNonce, count: Option<u32>) -> Replay;

    /// A number for a new nonce, never given twice.
    fn unique(&mut self) -> u64;

    /// Works on the limits that the threads use up together. Without them there are none.
    fn gate<R>(&mut self, work: impl FnOnce(&mut Gate) -> R) -> Option<R> {
        let _ = work;
        None
    }

    /// Works on the shard of sources that has `address`. Without one nobody is limited or banned.
    fn sources<R>(&mut self, address: IpAddr, work: impl FnOnce(&mut Sources) -> R) -> Option<R> {
        let (_, _) = (address, work);
        None
    }
}
