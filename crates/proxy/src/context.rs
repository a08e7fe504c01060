//! The response context of one request (RFC 3261 section 16.7) and the choice of the best response.

use balancer::{PoolId, TargetId};
use transaction::layer::Id;
use transaction::{ClientId, Flow, ServerId, Time};

use crate::failover::Try;
use crate::negotiate::{Exchange, Refusal};
use crate::pool::Chosen;
use crate::record::Recorded;
use crate::target::{Target, Targets};

/// How far one branch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BranchState {
    /// It was not sent yet.
    Starting,
    /// Its next hop is a name that is being resolved.
    Resolving,
    /// It waits for a final response.
    Pending,
    /// It has its final response, or none will come.
    Done,
}

/// One branch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Branch {
    pub(crate) client: Option<ClientId>,
    pub(crate) state: BranchState,
    /// What it is reached by after resolution.
    pub(crate) target: usize,
}

/// What belongs to one request while it is being answered. Reused, with its memory.
#[derive(Debug, Default)]
pub(crate) struct Context {
    pub(crate) server: Option<ServerId>,
    pub(crate) from: Option<Flow>,
    pub(crate) is_invite: bool,
    /// Nothing but 2xx may follow upstream.
    pub(crate) is_final_sent: bool,
    pub(crate) is_cancelled: bool,
    pub(crate) branches: Vec<Branch>,
    /// All targets; those from `next_target` on were not tried yet.
    pub(crate) targets: Targets,
    pub(crate) next_target: usize,
    /// Max-Breadth of each branch of the group that was opened last.
    pub(crate) share: u16,
    /// When the next group is tried although nobody of this one refused.
    pub(crate) rings_until: Time,
    /// The request with what all branches share done, kept while targets or look-ups remain.
    pub(crate) request: Vec<u8>,
    pub(crate) loop_part: u64,
    pub(crate) records_route: bool,
    /// Max-Breadth to be shared among branches (RFC 5393 section 5.3.3).
    pub(crate) breadth: u16,
    /// Whether the request brought its own Max-Breadth.
    pub(crate) breadth_given: bool,
    /// The best final response so far, our Via off, and its status.
    pub(crate) best: Vec<u8>,
    pub(crate) best_status: u16,
    /// Challenges of the other 401 and 407 responses, as header lines (section 16.7 step 7).
    pub(crate) challenges: Vec<u8>,
    /// Further addresses of branches whose next hop was a name (RFC 3263 section 4.3).
    pub(crate) alternates: Vec<(usize, Flow)>,
    pub(crate) clients_live: u16,
    /// The call that an INVITE begins or a BYE ends.
    pub(crate) call: Option<Id>,
    /// The media of the call that an INVITE begins, and the sides that its branches have there.
    pub(crate) anchor: Option<Id>,
    pub(crate) sides: Vec<(ClientId, u8)>,
    /// Whether that INVITE brought an offer.
    pub(crate) has_description: bool,
    /// What a request within an anchored dialog negotiates.
    pub(crate) exchange: Option<Exchange>,
    /// What stands for the callee's tag in the dialog that a BYE ends.
    pub(crate) callee: Option<u64>,
    /// The call that was taken up for this request, as one from before a restart.
    pub(crate) adopted: Option<Id>,
    /// The pool that the request goes to, the targets it was sent to, and how far it is there.
    pub(crate) pool: Option<PoolId>,
    pub(crate) tried: Vec<TargetId>,
    pub(crate) tries: Vec<Try>,
    /// The target of the try that is about to begin.
    pub(crate) chosen: Option<Chosen>,
    /// Why we refuse the request ourselves.
    pub(crate) refusal: Option<Refusal>,
    /// What there is of it in records.
    pub(crate) recorded: Recorded,
}

impl Context {
    pub(crate) fn reset(&mut self) {
        self.server = None;
        self.from = None;
        self.is_invite = false;
        self.is_final_sent = false;
        self.is_cancelled = false;
        self.branches.clear();
        self.targets.clear();
        self.next_target = 0;
        self.share = 0;
        self.rings_until = Time::ZERO;
        self.request.clear();
        self.loop_part = 0;
        self.records_route = false;
        self.breadth = 0;
        self.breadth_given = false;
        self.best.clear();
        self.best_status = 0;
        self.challenges.clear();
        self.alternates.clear();
        self.clients_live = 0;
        self.call = None;
        self.anchor = None;
        self.sides.clear();
        self.has_description = false;
        self.exchange = None;
        self.callee = None;
        self.adopted = None;
        self.refusal = None;
        self.recorded.clear();
        self.pool = None;
        self.tried.clear();
        debug_assert!(self.tries.iter().all(|one| one.slot.is_none()));
        self.tries.clear();
        self.chosen = None;
    }

    /// The request at the target of a client transaction.
    pub(crate) fn try_of(&mut self, client: ClientId) -> Option<&mut Try> {
        self.tries.iter_mut().find(|one| one.client == Some(client))
    }

    /// The side of the media that a client transaction's peer is.
    pub(crate) fn side_of(&self, client: ClientId) -> Option<u8> {
        let mut sides = self.sides.iter();
        sides.find(|(of, _)| *of == client).map(|(_, side)| *side)
    }

    /// Opens a branch for each of the next targets that have the same q, as many at once as Max-Breadth
    /// allows (RFC 5393 section 5.3.3): the others wait for their turn. Gives how many.
    pub(crate) fn open_group(&mut self) -> usize {
        let first = self.next_target;
        let group = first_group(&self.targets.as_slice()[first..]);
        let count = group.min(usize::from(self.breadth).max(1));
        self.share = self.breadth / count.max(1) as u16;
        self.next_target = first + count;
        self.branches
            .extend((first..first + count).map(|target| Branch {
                client: None,
                state: BranchState::Starting,
                target,
            }));
        count
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.branches
            .iter()
            .any(|branch| branch.state != BranchState::Done)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.server.is_none() && self.clients_live == 0 && !self.is_waiting()
    }

    pub(crate) fn branch_of(&mut self, client: ClientId) -> Option<&mut Branch> {
        self.branches
            .iter_mut()
            .find(|branch| branch.client == Some(client))
    }

    /// Whether a response with `status` is better than the best so far (section 16.7 step 6): any 6xx
    /// wins; else the lowest class, and in 4xx those that tell the caller what to do differently first.
    pub(crate) fn is_better(&self, status: u16) -> bool {
        self.best_status == 0 || rank(status) < rank(self.best_status)
    }
}

/// How many of the first targets have the highest q.
fn first_group(targets: &[Target]) -> usize {
    targets
        .iter()
        .take_while(|target| target.q == targets[0].q)
        .count()
}

fn rank(status: u16) -> u16 {
    match status {
        600..=699 => 0,
        401 | 407 => 400,
        415 | 420 | 484 => 401,
        // What only says that one branch led nowhere is worth less than what a callee said.
        408 | 487 => 499,
        300..=499 => status / 100 * 100 + 10,
        // A 503 speaks of one server, not of the callee (section 16.7 step 6).
        503 => 599,
        _ => 510,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(statuses: &[u16]) -> u16 {
        let mut context = Context::default();
        for &status in statuses {
            if context.is_better(status) {
                context.best_status = status;
            }
        }
        context.best_status
    }

    #[test]
    fn a_6xx_wins_over_everything() {
        assert_eq!(best(&[404, 603, 302]), 603);
    }

    #[test]
    fn the_lowest_class_wins() {
        assert_eq!(best(&[503, 486, 302]), 302);
        assert_eq!(best(&[500, 486]), 486);
    }

    #[test]
    fn within_4xx_what_can_be_mended_wins() {
        assert_eq!(best(&[486, 407]), 407);
        assert_eq!(best(&[408, 486]), 486);
        assert_eq!(best(&[486, 404]), 486);
    }
}
