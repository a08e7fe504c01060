//! ACKs of 2xx responses, which have no transaction (RFC 3261 sections 13.2.2.4, 16.6, 17.1.1.3).

use std::net::SocketAddr;

use sip::{HeaderName, NameAddr, Splices};
use transaction::{Flow, Transport};

use crate::forward::{self, branch_edits, common_edits};
use crate::negotiate::{Within, take_body_out};
use crate::proxy::{
    ForwardAck, Lookup, Network, Proxy, Resolve, STORED, Surroundings, hop, is_strict,
};
use crate::target::{NextHop, Target, Targets};

/// Most look-ups there may be for one more ACK to wait for its own.
const LOOKUPS_MAX: usize = 65_536;

/// An ACK with what all hops change done, waiting for its next hop's address.
pub(crate) struct HeldAck {
    bytes: Vec<u8>,
    from: Flow,
    branch: u64,
    loop_part: u64,
    /// The first one is meant.
    targets: Targets,
}

impl Proxy {
    /// Forwards an ACK: the same branch whenever the same ACK comes again (section 16.11). Gives whether
    /// it leads anywhere.
    pub fn forward_ack<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        forward: &ForwardAck<'_>,
        targets: &Targets,
        splices: &mut Splices,
    ) -> bool {
        let Some(target) = targets.as_slice().first() else {
            return false;
        };
        // What cannot be relayed is taken out: who waits for the answer knows what to do without one.
        let within = Within {
            request: forward.request,
            envelope: forward.envelope,
            routes: forward.routes,
            from: forward.from,
        };
        if self.describe_within(s, &within, splices).is_err() {
            self.counters.descriptions_refused += 1;
            take_body_out(forward.request, splices);
        }
        let next_route = forward.routes.next_route;
        let flow = match hop(targets, target, next_route) {
            Ok(NextHop::Flow(flow)) => Some(flow),
            Ok(NextHop::Address(transport, remote)) => s.network.flow_to(transport, remote),
            Ok(NextHop::Name {
                host,
                port,
                transport,
            }) => {
                if self.lookups.len() >= LOOKUPS_MAX {
                    return false;
                }
                let ack = hold(s, forward, targets, splices);
                let token = self.lookups.insert(Lookup::Ack(Box::new(ack))).to_bits();
                s.resolves.push(Resolve {
                    token,
                    host: host.into(),
                    port,
                    transport,
                });
                return true;
            }
            Err(_) => None,
        };
        let Some(flow) = flow else { return false };
        if is_strict(next_route) {
            let ack = hold(s, forward, targets, splices);
            self.send_held(s, &ack, flow);
            return true;
        }
        common_edits(forward.request, forward.routes, splices);
        let branch = forward::Branch {
            branch: branch_of(s, forward),
            loop_part: forward.loop_part,
            uri: targets.uri(target),
            path: targets.path(target),
            from: forward.from,
            to: flow,
            next_route,
            record: None,
            max_breadth: None,
        };
        branch_edits(s.settings, forward.request, &branch, splices);
        s.outbox.send(flow, |out| {
            splices.write_range(forward.request.buffer(), forward.request.extent(), out)
        });
        self.counters.forwarded += 1;
        true
    }

    /// Sends an ACK whose next hop was resolved; one that leads nowhere is dropped, since nobody could be
    /// told.
    pub(crate) fn ack_resolved<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        ack: &HeldAck,
        addresses: &[(Transport, SocketAddr)],
    ) {
        let mut flows = addresses.iter();
        let flow = flows.find_map(|&(transport, remote)| s.network.flow_to(transport, remote));
        if let Some(flow) = flow {
            self.send_held(s, ack, flow);
        }
    }

    fn send_held<N: Network>(&mut self, s: &mut Surroundings<'_, N>, ack: &HeldAck, flow: Flow) {
        let mut index = std::mem::take(&mut self.index);
        let target: Option<&Target> = ack.targets.as_slice().first();
        if let (Ok(request), Some(target)) = (index.parse(&ack.bytes, &STORED), target) {
            let mut routes = request.values(HeaderName::Route);
            let branch = forward::Branch {
                branch: ack.branch,
                loop_part: ack.loop_part,
                uri: ack.targets.uri(target),
                path: ack.targets.path(target),
                from: ack.from,
                to: flow,
                next_route: routes.next().and_then(|value| NameAddr::parse(value.bytes)),
                record: None,
                max_breadth: None,
            };
            self.splices.clear();
            branch_edits(s.settings, &request, &branch, &mut self.splices);
            let splices = &self.splices;
            s.outbox.send(flow, |out| {
                splices.write_range(request.buffer(), request.extent(), out)
            });
            self.counters.forwarded += 1;
        }
        self.index = index;
    }
}

fn branch_of<N>(s: &Surroundings<'_, N>, forward: &ForwardAck<'_>) -> u64 {
    let via = forward.request.header(HeaderName::Via).unwrap_or_default();
    s.layer.hash(|hasher| hasher.write(via))
}

fn hold<N>(
    s: &Surroundings<'_, N>,
    forward: &ForwardAck<'_>,
    targets: &Targets,
    splices: &mut Splices,
) -> HeldAck {
    common_edits(forward.request, forward.routes, splices);
    let mut bytes = Vec::new();
    splices.write_range(
        forward.request.buffer(),
        forward.request.extent(),
        &mut bytes,
    );
    HeldAck {
        bytes,
        from: forward.from,
        branch: branch_of(s, forward),
        loop_part: forward.loop_part,
        targets: targets.clone(),
    }
}
