//! The thread of a PBX acts for its service.

use std::sync::Arc;

use records::Op;

use super::inbox::{Inbox, Item};
use crate::cluster::Crew;

/// Bytes of records that are gathered before they are handed over.
const APPLY_BYTES: usize = 64 * 1024;

/// The thread of a PBX, as the cluster's thread sees it.
pub(super) struct PbxCrew {
    inbox: Arc<Inbox>,
    gathered: Vec<u8>,
    /// What members have to have the same: a call's sound goes on at its port.
    agreement: String,
}

impl PbxCrew {
    /// `ports`: the first and the last one for sound.
    pub(super) fn new(inbox: Arc<Inbox>, service: &str, [first, last]: [u16; 2]) -> PbxCrew {
        PbxCrew {
            inbox,
            gathered: Vec::new(),
            agreement: format!("service {service} rtp_ports = [{first}, {last}]"),
        }
    }
}

impl Crew for PbxCrew {
    fn clear(&mut self) {
        self.gathered.clear();
        self.inbox.push(Item::Forget);
    }

    fn apply(&mut self, op: Op<'_>) {
        op.write(&mut self.gathered);
        if self.gathered.len() >= APPLY_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.gathered.is_empty() {
            let records = std::mem::take(&mut self.gathered);
            self.inbox.push(Item::Apply(records));
        }
    }

    fn take_office(&mut self, epoch: u64, _is_new: bool) {
        self.flush();
        self.inbox.push(Item::TakeOffice(epoch));
    }

    fn leave_office(&mut self) {
        self.gathered.clear();
        self.inbox.push(Item::LeaveOffice);
    }

    fn wake(&self, _waiting: u64) {
        self.inbox.wake();
    }

    fn agreement(&self) -> Vec<String> {
        vec![self.agreement.clone()]
    }
}
