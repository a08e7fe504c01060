//! The machine: requests in, branches out, responses back.

use std::net::SocketAddr;

use ipnet::IpNet;
use sip::{Envelope, HeaderName, Index, Limits, Message, Method, NameAddr, Splices, Uri};
use transaction::layer::Id;
use transaction::{Flow, Layer, Outbox, ServerId, Slab, Time, Transport, Wheel};

use crate::ack::HeldAck;
use crate::anchor::Anchor;
use crate::calls::Calls;
use crate::context::{BranchState, Context};
use crate::cookie::Ends;
use crate::event::{CallNote, Counters, Event};
use crate::forward::{self, branch_edits, common_edits};
use crate::loops;
use crate::media::MediaPorts;
use crate::negotiate::{NO_PORTS, Refusal, Scratch, Within};
use crate::pool::Farm;
use crate::record::{Journal, Parked};
use crate::route::{self, Preprocessed};
use crate::settings::Settings;
use crate::target::{NextHop, Target, Targets};

/// What the proxy asks of the machine it runs on.
pub trait Network: MediaPorts + Farm {
    /// The flow on which a peer is reached: which of our addresses and, for streams, whether at all.
    fn flow_to(&mut self, transport: Transport, remote: SocketAddr) -> Option<Flow>;

    /// Whether a flow can be sent on as it is: always over UDP; a stream has to be open, since only the
    /// phone could open it again.
    fn is_open(&mut self, flow: &Flow) -> bool {
        let _ = flow;
        true
    }
}

/// A name to be resolved (RFC 3263); the answer comes back by [`Proxy::resolved`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolve {
    /// To be given back.
    pub token: u64,
    /// The name.
    pub host: Box<[u8]>,
    /// The port of the URI.
    pub port: Option<u16>,
    /// The transport of the URI.
    pub transport: Option<Transport>,
}

/// What the proxy works with during one input.
pub struct Surroundings<'a, N> {
    /// Now.
    pub now: Time,
    /// The operator's settings.
    pub settings: &'a Settings,
    /// Whom the operator trusts, beside the targets of pools.
    pub trusted: &'a [IpNet],
    /// This thread's transactions.
    pub layer: &'a mut Layer,
    /// What is to be sent.
    pub outbox: &'a mut Outbox,
    /// What is to be told.
    pub events: &'a mut Vec<Event>,
    /// Whether anybody listens to events.
    pub is_watched: bool,
    /// Names to be resolved.
    pub resolves: &'a mut Vec<Resolve>,
    /// The machine.
    pub network: &'a mut N,
}

/// A request that is to be forwarded.
pub struct Forward<'a> {
    /// The request.
    pub request: &'a Message<'a>,
    /// Its mandatory fields, read.
    pub envelope: &'a Envelope<'a>,
    /// Its Route headers, read.
    pub routes: &'a Preprocessed<'a>,
    /// Where it came from.
    pub from: Flow,
    /// Its server transaction.
    pub server: ServerId,
    /// Its loop part.
    pub loop_part: u64,
    /// The pool whose targets are its next hop, if it is for one.
    pub pool: Option<balancer::PoolId>,
}

/// An ACK that is to be forwarded.
pub struct ForwardAck<'a> {
    /// The request.
    pub request: &'a Message<'a>,
    /// Its mandatory fields, read.
    pub envelope: &'a Envelope<'a>,
    /// Its Route headers, read.
    pub routes: &'a Preprocessed<'a>,
    /// Where it came from.
    pub from: Flow,
    /// Its loop part.
    pub loop_part: u64,
}

/// Who waits for a name.
pub(crate) enum Lookup {
    /// A branch of a context.
    Branch(Id, usize),
    /// An ACK, which has no context.
    Ack(Box<HeldAck>),
}

/// The wheel's key for the sweep of the calls; the others are contexts that ring.
pub(crate) const SWEEP: u64 = u64::MAX;

/// How often a part of the calls is looked at, in milliseconds.
pub(crate) const SWEEP_EVERY_MS: u64 = 60_000;

/// For requests that were taken here already.
pub(crate) const STORED: Limits = Limits {
    size_bytes_max: u32::MAX,
    headers_max: u16::MAX,
};

/// Most further addresses of a name that are tried (RFC 3263 section 4.3).
const ALTERNATES_MAX: usize = 8;

/// After this a call whose BYE was never seen is taken for ended, in milliseconds.
pub(crate) const CALL_AGE_MS_MAX: u64 = 12 * 3_600 * 1_000;

/// The proxy core of one thread.
pub struct Proxy {
    pub(crate) contexts: Slab<Context>,
    pub(crate) spare: Vec<Context>,
    pub(crate) wheel: Wheel<u64>,
    /// Whether the wheel holds the sweep.
    pub(crate) is_sweeping: bool,
    /// Names being resolved.
    pub(crate) lookups: Slab<Lookup>,
    pub(crate) splices: Splices,
    pub(crate) index: Index,
    /// The media of calls.
    pub(crate) anchors: Slab<Anchor>,
    pub(crate) scratch: Scratch,
    pub(crate) journal: Journal,
    pub(crate) parked: Parked,
    /// Calls in progress.
    pub calls: Calls,
    /// What was counted.
    pub counters: Counters,
}

/// Most contexts kept for use again.
pub(crate) const SPARE_MAX: usize = 4_096;

impl Proxy {
    /// An empty proxy.
    pub fn new(now: Time, secret: (u64, u64), contexts_max: u32) -> Proxy {
        Proxy {
            contexts: Slab::default(),
            spare: Vec::new(),
            wheel: Wheel::new(now, contexts_max.saturating_mul(2)),
            is_sweeping: false,
            lookups: Slab::default(),
            splices: Splices::new(),
            index: Index::new(),
            anchors: Slab::default(),
            scratch: Scratch::default(),
            journal: Journal::default(),
            parked: Parked::default(),
            calls: Calls::new(secret),
            counters: Counters::default(),
        }
    }

    /// Whether nothing is being answered.
    pub fn is_empty(&self) -> bool {
        self.contexts.is_empty()
    }

    /// Whether some request still has no final response.
    pub fn is_answering(&self) -> bool {
        self.contexts
            .iter()
            .any(|(_, context)| !context.is_final_sent)
    }

    /// How many names are being resolved.
    pub fn lookups(&self) -> usize {
        self.lookups.len()
    }

    /// How many requests are being answered or remembered.
    pub fn len(&self) -> usize {
        self.contexts.len() + self.parked.len()
    }

    /// Forwards a request to `targets`, sorted by falling q: all of the highest q at once, the others
    /// when those failed (section 16.6). `splices` holds what is changed already (the topmost Via
    /// stamped, consumed credentials off).
    pub fn forward<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        forward: &Forward<'_>,
        targets: &Targets,
        splices: &mut Splices,
    ) {
        let request = forward.request;
        let mut context = self.spare.pop().unwrap_or_default();
        context.reset();
        context.server = Some(forward.server);
        context.from = Some(forward.from);
        context.is_invite = request.method() == Some(Method::Invite);
        context.loop_part = forward.loop_part;
        context.pool = forward.pool;
        let breadth = request
            .number(HeaderName::MaxBreadth, u32::from(u16::MAX))
            .ok()
            .flatten();
        context.breadth_given = breadth.is_some();
        // RFC 5393 section 5.3.3: more than we would allow ourselves is cut down to that.
        let breadth_max = s.settings.max_breadth;
        context.breadth = breadth.map_or(breadth_max, |breadth| breadth_max.min(breadth as u16));
        self.record_invite(s, &mut context, forward.envelope.call_id);
        let to_tag = forward.envelope.to_tag;
        let forms_dialog = matches!(
            request.method(),
            Some(Method::Invite | Method::Subscribe | Method::Refer | Method::Notify)
        );
        context.records_route = s.settings.record_route && forms_dialog && to_tag.is_none();
        match to_tag {
            None if context.is_invite => self.enter(s, forward, targets, &mut context),
            _ => {
                (context.call, context.callee) = self.call_of_bye(forward.envelope).unzip();
                context.adopted = self.adopt(s, forward, targets);
                match self.describe_within(s, &Within::of(forward), splices) {
                    Ok(exchange) => context.exchange = exchange,
                    Err(refusal) => context.refusal = Some(refusal),
                }
            }
        }
        common_edits(request, forward.routes, splices);
        if context.refusal.is_none() {
            context.targets.copy(targets);
        }
        let group = context.open_group();
        let is_strict = is_strict(forward.routes.next_route);
        let is_pooled = context.pool.is_some();
        if is_strict || is_pooled || group < targets.as_slice().len() {
            splices.write_range(request.buffer(), request.extent(), &mut context.request);
        }
        let id = self.contexts.insert(context);
        s.layer.set_server_user(forward.server, id.to_bits());
        self.touch(id);
        if group == 0 {
            return self.finish(s, id);
        }
        self.arm_ring(s, id);
        for at in 0..group {
            if is_strict {
                self.send_stored(s, (id, at), None);
                continue;
            }
            if at + 1 == group {
                std::mem::swap(&mut self.splices, splices);
            } else {
                self.splices.clone_from(splices);
            }
            let next_route = forward.routes.next_route;
            if let Err(status) = self.start_branch(s, (id, at), request, next_route) {
                self.branch_done(s, (id, at), status);
            }
        }
    }

    /// Takes an INVITE that begins a call: among the calls, and its media if the operator wants it.
    fn enter<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        forward: &Forward<'_>,
        targets: &Targets,
        context: &mut Context,
    ) {
        if is_spiral(s.layer, forward.request) {
            return;
        }
        context.call = self.begin_call(s, forward.envelope);
        let Some(call) = context.call else {
            // Without a place among the calls nothing would tell when its ports are free.
            if self.is_anchor_wanted(&s.settings.media, forward, targets) {
                context.refusal = Some(NO_PORTS);
            }
            return;
        };
        context.anchor = self.anchor_call(s, call, forward, targets);
        let description = || sip::body::session_description(forward.request);
        context.has_description = context.anchor.is_some() && matches!(description(), Ok(Some(_)));
    }

    fn begin_call<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        envelope: &Envelope<'_>,
    ) -> Option<Id> {
        let id = self.calls.start(
            s.now,
            envelope.call_id,
            envelope.from_tag.unwrap_or_default(),
            envelope.from.uri,
            envelope.to.uri,
        )?;
        self.counters.calls_started += 1;
        self.record_call(s, id, envelope.call_id);
        self.note_call(s, id, CallNote::Started);
        Some(id)
    }

    pub(crate) fn note_call<N: Network>(
        &self,
        s: &mut Surroundings<'_, N>,
        id: Id,
        note: CallNote,
    ) {
        if s.is_watched
            && let Some(call) = self.calls.get(id)
        {
            s.events.push(Event::Call {
                call: Box::new(call.clone()),
                note,
            });
        }
    }

    /// Starts the branch at `at` of a context: to its flow, or to be resolved first. `self.splices` holds
    /// the changes that all branches share, over `request`. One that leads nowhere gives the status that
    /// stands for its response.
    fn start_branch<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        (id, at): (Id, usize),
        request: &Message<'_>,
        next_route: Option<NameAddr<'_>>,
    ) -> Result<(), u16> {
        let Some(context) = self.contexts.get_mut(id) else {
            return Ok(());
        };
        if context.pool.is_some() {
            return self.start_try(s, (id, at), request, next_route);
        }
        let target = context.targets.as_slice()[context.branches[at].target];
        let flow = match hop(&context.targets, &target, next_route) {
            Ok(NextHop::Flow(flow)) => Some(flow),
            Ok(NextHop::Address(transport, remote)) => s.network.flow_to(transport, remote),
            Ok(NextHop::Name {
                host,
                port,
                transport,
            }) => {
                let token = self.lookups.insert(Lookup::Branch(id, at)).to_bits();
                context.branches[at].state = BranchState::Resolving;
                if context.request.is_empty() {
                    let splices = &self.splices;
                    splices.write_range(request.buffer(), request.extent(), &mut context.request);
                }
                s.resolves.push(Resolve {
                    token,
                    host: host.into(),
                    port,
                    transport,
                });
                return Ok(());
            }
            Err(_) => None,
        };
        self.send_branch(s, (id, at), flow.ok_or(502u16)?, request, next_route)
    }

    pub(crate) fn send_branch<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        (id, at): (Id, usize),
        flow: Flow,
        request: &Message<'_>,
        next_route: Option<NameAddr<'_>>,
    ) -> Result<(), u16> {
        let Some(context) = self.contexts.get_mut(id) else {
            return Ok(());
        };
        let Some(from) = context.from else {
            return Ok(());
        };
        if context.share == 0 {
            return Err(440);
        }
        let side = match context.anchor {
            None => None,
            Some(anchor) => match self.describe_to_branch(s, anchor, flow, request) {
                Ok(side) => Some(side),
                Err(refusal) => return Err(self.refuse_branch(id, refusal)),
            },
        };
        let Some(context) = self.contexts.get_mut(id) else {
            return Ok(());
        };
        let target = context.targets.as_slice()[context.branches[at].target];
        let number = match self.journal.is_on && !context.is_invite {
            true => repeatable_branch(s.layer, request, (at, context.alternates.len())),
            false => s.layer.new_branch(),
        };
        let branch = forward::Branch {
            branch: number,
            loop_part: context.loop_part,
            uri: context.targets.uri(&target),
            path: context.targets.path(&target),
            from,
            to: flow,
            next_route,
            record: context.records_route.then(|| Ends {
                caller: Some(from),
                caller_by_flow: needs_flow(request, &from),
                callee: target.flow,
            }),
            max_breadth: (context.breadth_given || context.branches.len() > 1)
                .then_some(context.share),
        };
        branch_edits(s.settings, request, &branch, &mut self.splices);
        s.keep_identity(request, &flow, &mut self.splices);
        let splices = &self.splices;
        let write =
            |out: &mut Vec<u8>| splices.write_range(request.buffer(), request.extent(), out);
        let client = s.layer.begin_client(
            s.now,
            context.is_invite,
            (number, id.to_bits()),
            flow,
            s.outbox,
            write,
        );
        context.clients_live += 1;
        context.sides.extend(side.map(|side| (client, side)));
        context.branches[at].client = Some(client);
        context.branches[at].state = BranchState::Pending;
        context.recorded.sent(client, at);
        self.counters.forwarded += 1;
        Ok(())
    }

    /// Notes that a branch cannot be sent for its media; gives the status that stands for its response.
    fn refuse_branch(&mut self, id: Id, refusal: Refusal) -> u16 {
        if let Some(context) = self.contexts.get_mut(id) {
            context.refusal.get_or_insert(refusal);
        }
        refusal.status
    }

    /// Takes the answer to a [`Resolve`]: addresses in the order in which they are to be tried, none if
    /// the name leads nowhere.
    pub fn resolved<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        token: u64,
        addresses: &[(Transport, SocketAddr)],
    ) {
        let (id, at) = match self.lookups.remove(Id::from_bits(token)) {
            Some(Lookup::Branch(id, at)) => (id, at),
            Some(Lookup::Ack(ack)) => return self.ack_resolved(s, &ack, addresses),
            None => return,
        };
        self.touch(id);
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if context.branches[at].state != BranchState::Resolving {
            return;
        }
        let mut flows = addresses
            .iter()
            .filter_map(|&(transport, remote)| s.network.flow_to(transport, remote));
        let Some(first) = flows.next() else {
            return self.branch_done(s, (id, at), 502);
        };
        context
            .alternates
            .extend(flows.take(ALTERNATES_MAX).map(|flow| (at, flow)));
        self.send_stored(s, (id, at), Some(first));
    }

    /// Starts a branch of a context from the request that it kept, on `flow` if that is known.
    pub(crate) fn send_stored<N: Network>(
        &mut self,
        s: &mut Surroundings<'_, N>,
        place: (Id, usize),
        flow: Option<Flow>,
    ) {
        let Some(context) = self.contexts.get_mut(place.0) else {
            return;
        };
        let stored = std::mem::take(&mut context.request);
        let mut index = std::mem::take(&mut self.index);
        let started = match index.parse(&stored, &STORED) {
            Ok(request) => {
                let next_route = request
                    .values(HeaderName::Route)
                    .next()
                    .and_then(|value| NameAddr::parse(value.bytes));
                self.splices.clear();
                match flow {
                    Some(flow) => self.send_branch(s, place, flow, &request, next_route),
                    None => self.start_branch(s, place, &request, next_route),
                }
            }
            Err(_) => Err(500),
        };
        self.index = index;
        if let Some(context) = self.contexts.get_mut(place.0) {
            context.request = stored;
        }
        // Not before the request is back: the next group needs it.
        if let Err(status) = started {
            self.branch_done(s, place, status);
        }
    }

    /// Sets the time after which the next group of targets is tried although nobody refused.
    pub(crate) fn arm_ring<N: Network>(&mut self, s: &mut Surroundings<'_, N>, id: Id) {
        let Some(context) = self.contexts.get_mut(id) else {
            return;
        };
        if context.is_invite && context.next_target < context.targets.as_slice().len() {
            context.rings_until = s.now.plus_ms(s.settings.serial_ring_ms);
            // A full wheel leaves the group ringing until it answers, as a single target would.
            let _ = self.wheel.insert(context.rings_until, id.to_bits());
        }
    }
}

/// A branch of a request other than INVITE in a cluster. Its client sends it again until it is answered, to the next owner
/// if need be, which sends it on with the same branch: who has answered it already knows it again, and gives the same
/// answer (RFC 3261 section 17.2.3). So such requests need no records.
fn repeatable_branch(
    layer: &mut Layer,
    request: &Message<'_>,
    (at, alternates): (usize, usize),
) -> u64 {
    let via = request.header(HeaderName::Via).unwrap_or_default();
    let number = layer.hash(|hasher| {
        hasher.write(request.method_bytes());
        hasher.write(via);
        hasher.write_usize(at);
        hasher.write_usize(alternates);
    });
    let method = request.method().unwrap_or(Method::Options);
    match layer.find_client(number, method) {
        None => number,
        Some(_) => layer.new_branch(),
    }
}

/// Whether an INVITE comes round: one of those that it went through is a transaction of ours.
fn is_spiral(layer: &Layer, request: &Message<'_>) -> bool {
    request.values(HeaderName::Via).any(|value| {
        let via = sip::Via::parse(value.bytes);
        let branch = via.and_then(|via| loops::read_branch(via.branch()?));
        branch.is_some_and(|(number, _)| layer.find_client(number, Method::Invite).is_some())
    })
}

/// Whether the next hop routes strictly (section 16.6 step 6): it gets a request whose Route headers are
/// changed twice, so that the second change has to see what the first one made.
pub(crate) fn is_strict(next_route: Option<NameAddr<'_>>) -> bool {
    next_route.is_some_and(|route| route.parse_uri().is_ok_and(|uri| !uri.params.has(b"lr")))
}

/// Where a target leads: Path before Route before its flow before its URI.
pub(crate) fn hop<'a>(
    targets: &'a Targets,
    target: &Target,
    next_route: Option<NameAddr<'a>>,
) -> Result<NextHop<'a>, route::Unroutable> {
    if let Some(flow) = target.flow.filter(|_| target.pinned) {
        return Ok(NextHop::Flow(flow));
    }
    let path = targets.path(target);
    let uri = if !path.is_empty() {
        let first = sip::lex::find_byte_outside(path, b',').unwrap_or(None);
        NameAddr::parse(&path[..first.unwrap_or(path.len())])
            .ok_or(route::Unroutable::Syntax)?
            .uri
    } else if let Some(route) = next_route {
        route.uri
    } else if let Some(flow) = target.flow {
        return Ok(NextHop::Flow(flow));
    } else {
        targets.uri(target)
    };
    route::next_hop(&Uri::parse(uri).map_err(|_| route::Unroutable::Syntax)?)
}

/// Whether the sender of a request is not where its Contact says: behind NAT, or on a stream.
fn needs_flow(request: &Message<'_>, from: &Flow) -> bool {
    if from.transport.is_reliable() {
        return true;
    }
    let contact = request
        .values(HeaderName::Contact)
        .next()
        .and_then(|value| NameAddr::parse(value.bytes));
    let uri = contact.and_then(|contact| contact.parse_uri().ok());
    // One that sends from another port than it thinks is behind a NAT that changes ports; one that knows
    // its port may receive elsewhere than it sends from.
    let knows_its_port = |via: sip::Via<'_>| via.port.unwrap_or(5060) == from.remote.port();
    uri.is_none_or(|uri| match uri.host.address {
        Some(address) => {
            address != from.remote.ip()
                || uri.port_or_default() != from.remote.port()
                    && !request.via().is_ok_and(knows_its_port)
        }
        None => false,
    })
}
