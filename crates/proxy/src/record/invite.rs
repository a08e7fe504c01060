//! The records of an INVITE that is being answered: as it came, as it was sent, and how far it is.

use records::Error;
use records::tlv;
use sip::build::ToTag;
use transaction::layer::ClientRecord;
use transaction::{ClientId, Flow, Layer, State};

use super::codec::{each, first, nest, push_flow, read_flow, small};
use crate::context::{Branch, BranchState, Context};
use crate::failover::Phase;
use crate::negotiate::Exchange;
use crate::target::Targets;

/// What a context has for its records.
#[derive(Debug, Default)]
pub(crate) struct Recorded {
    /// What its records are known by, over takeovers too; 0 if it has none.
    pub(crate) number: u64,
    pub(crate) call_id: Vec<u8>,
    /// Whether the journal knows that it was touched.
    pub(crate) is_noted: bool,
    /// Whether the record of what does not change is there.
    pub(crate) is_written: bool,
    /// What stands for the state that was written last.
    pub(crate) state: u64,
    pub(crate) sent: Vec<Sent>,
    /// Why its branches were cancelled last.
    pub(crate) reason: Vec<u8>,
}

/// A client transaction of a context.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) client: ClientId,
    /// Its number among those of the context.
    pub(crate) index: u32,
    /// Its branch.
    pub(crate) at: usize,
    pub(crate) is_written: bool,
    /// Whether a provisional response other than 100 came: nothing is sent again then.
    pub(crate) has_rung: bool,
}

impl Recorded {
    pub(crate) fn clear(&mut self) {
        self.number = 0;
        self.call_id.clear();
        self.is_noted = false;
        self.is_written = false;
        self.state = 0;
        self.sent.clear();
        self.reason.clear();
    }

    /// Notes a client transaction.
    pub(crate) fn sent(&mut self, client: ClientId, at: usize) {
        if self.number != 0 {
            self.sent.push(Sent {
                client,
                index: self.sent.len() as u32,
                at,
                is_written: false,
                has_rung: false,
            });
        }
    }

    /// Notes that the peer of a client transaction rings.
    pub(crate) fn rang(&mut self, client: ClientId) {
        if let Some(sent) = self.sent.iter_mut().find(|sent| sent.client == client) {
            sent.has_rung = true;
        }
    }
}

mod tag {
    pub(super) const KEY: u64 = 1;
    pub(super) const BACK: u64 = 2;
    pub(super) const HEAD: u64 = 3;
    pub(super) const TAG_AT: u64 = 4;
    pub(super) const TAG_PRESENT: u64 = 5;
    pub(super) const FROM: u64 = 6;
    pub(super) const REQUEST: u64 = 7;
    pub(super) const TARGET: u64 = 8;
    pub(super) const LOOP_PART: u64 = 9;
    pub(super) const FLAGS: u64 = 10;
    pub(super) const BREADTH: u64 = 11;
    pub(super) const CALL: u64 = 12;
    pub(super) const POOL: u64 = 13;
    pub(super) const EXCHANGE: u64 = 14;
    pub(super) const URI: u64 = 1;
    pub(super) const PATH: u64 = 2;
    pub(super) const FLOW: u64 = 3;
    pub(super) const Q: u64 = 4;
    pub(super) const PINNED: u64 = 5;
}

const RECORDS_ROUTE: u64 = 1;
const BREADTH_GIVEN: u64 = 1 << 1;
const HAS_DESCRIPTION: u64 = 1 << 2;

impl Context {
    /// Appends what of it does not change. `call` is the number of its call's record, and `exchange` that of the call
    /// that it negotiates about.
    pub(super) fn write_invite(
        &self,
        layer: &Layer,
        (call, exchange): (u64, Option<(u64, Exchange)>),
        pool: &[u8],
        out: &mut Vec<u8>,
    ) {
        let server = self.server.and_then(|server| layer.server_record(server));
        let Some(server) = server else { return };
        tlv::write_bytes(tag::KEY, &server.key.to_be_bytes(), out);
        nest(tag::BACK, out, |out| push_flow(&server.flow, out));
        tlv::write_bytes(tag::HEAD, server.head, out);
        tlv::write_number(tag::TAG_AT, u64::from(server.tag.at), out);
        tlv::write_number(tag::TAG_PRESENT, u64::from(server.tag.present), out);
        if let Some(from) = &self.from {
            nest(tag::FROM, out, |out| push_flow(from, out));
        }
        tlv::write_bytes(tag::REQUEST, &self.request, out);
        for target in self.targets.as_slice() {
            nest(tag::TARGET, out, |out| {
                tlv::write_bytes(tag::URI, self.targets.uri(target), out);
                tlv::write_bytes(tag::PATH, self.targets.path(target), out);
                if let Some(flow) = &target.flow {
                    nest(tag::FLOW, out, |out| push_flow(flow, out));
                }
                tlv::write_number(tag::Q, u64::from(target.q), out);
                tlv::write_number(tag::PINNED, u64::from(target.pinned), out);
            });
        }
        tlv::write_number(tag::LOOP_PART, self.loop_part, out);
        let flags = [
            (self.records_route, RECORDS_ROUTE),
            (self.breadth_given, BREADTH_GIVEN),
            (self.has_description, HAS_DESCRIPTION),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set);
        tlv::write_number(tag::FLAGS, flags.map(|(_, flag)| flag).sum(), out);
        tlv::write_number(tag::BREADTH, u64::from(self.breadth), out);
        if call != 0 {
            tlv::write_number(tag::CALL, call, out);
        }
        if self.pool.is_some() {
            tlv::write_bytes(tag::POOL, pool, out);
        }
        if let Some((number, exchange)) = exchange.filter(|(number, _)| *number != 0) {
            nest(tag::EXCHANGE, out, |out| exchange.write(number, out));
        }
    }
}

/// The record [`super::INVITE`], read.
#[derive(Debug)]
pub(super) struct InviteRecord<'a> {
    pub(super) key: u128,
    pub(super) back: Flow,
    pub(super) head: &'a [u8],
    pub(super) tag: ToTag,
    pub(super) from: Flow,
    pub(super) request: &'a [u8],
    pub(super) targets: Targets,
    pub(super) loop_part: u64,
    pub(super) records_route: bool,
    pub(super) breadth_given: bool,
    pub(super) has_description: bool,
    pub(super) breadth: u16,
    pub(super) call: u64,
    pub(super) pool: Option<&'a [u8]>,
    /// With the number of the call that it is about.
    pub(super) exchange: Option<(u64, &'a [u8])>,
}

impl<'a> InviteRecord<'a> {
    pub(super) fn read(value: &'a [u8]) -> Result<InviteRecord<'a>, Error> {
        let (mut key, mut back, mut from) = (None, None, None);
        let mut flags = 0;
        let mut found = InviteRecord {
            key: 0,
            back: NOWHERE,
            head: b"",
            tag: ToTag::default(),
            from: NOWHERE,
            request: b"",
            targets: Targets::new(),
            loop_part: 0,
            records_route: false,
            breadth_given: false,
            has_description: false,
            breadth: 1,
            call: 0,
            pool: None,
            exchange: None,
        };
        each(value, |tag, bytes| {
            match tag {
                tag::KEY => key = Some(u128::from_be_bytes(first(bytes)?.0)),
                tag::BACK => back = Some(read_flow(tag, bytes)?),
                tag::HEAD => found.head = bytes,
                tag::TAG_AT => found.tag.at = small(tag, bytes)?,
                tag::TAG_PRESENT => found.tag.present = tlv::number(bytes)? != 0,
                tag::FROM => from = Some(read_flow(tag, bytes)?),
                tag::REQUEST => found.request = bytes,
                tag::TARGET => read_target(bytes, &mut found.targets)?,
                tag::LOOP_PART => found.loop_part = tlv::number(bytes)?,
                tag::FLAGS => flags = tlv::number(bytes)?,
                tag::BREADTH => found.breadth = small(tag, bytes)?,
                tag::CALL => found.call = tlv::number(bytes)?,
                tag::POOL => found.pool = Some(bytes),
                tag::EXCHANGE => found.exchange = Some((Exchange::call_of(bytes)?, bytes)),
                _ => {}
            }
            Ok(())
        })?;
        let missing = |tag| Error::Missing { tag };
        found.key = key.ok_or(missing(tag::KEY))?;
        found.back = back.ok_or(missing(tag::BACK))?;
        found.from = from.ok_or(missing(tag::FROM))?;
        found.records_route = flags & RECORDS_ROUTE != 0;
        found.breadth_given = flags & BREADTH_GIVEN != 0;
        found.has_description = flags & HAS_DESCRIPTION != 0;
        Ok(found)
    }
}

/// Before a flow was read.
const NOWHERE: Flow = {
    let ip = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);
    Flow {
        transport: transaction::Transport::Udp,
        remote: std::net::SocketAddr::new(ip, 0),
        local: std::net::SocketAddr::new(ip, 0),
    }
};

fn read_target(value: &[u8], targets: &mut Targets) -> Result<(), Error> {
    let (mut uri, mut path, mut flow) = (&b""[..], &b""[..], None);
    let (mut q, mut is_pinned) = (1_000, false);
    each(value, |tag, bytes| {
        match tag {
            tag::URI => uri = bytes,
            tag::PATH => path = bytes,
            tag::FLOW => flow = Some(read_flow(tag, bytes)?),
            tag::Q => q = small(tag, bytes)?,
            tag::PINNED => is_pinned = tlv::number(bytes)? != 0,
            _ => {}
        }
        Ok(())
    })?;
    match flow.filter(|_| is_pinned) {
        Some(flow) => targets.push_pinned(uri, flow),
        None => targets.push(uri, path, flow, q),
    }
    Ok(())
}

mod branch_tag {
    pub(super) const NUMBER: u64 = 1;
    pub(super) const FLOW: u64 = 2;
    pub(super) const REQUEST: u64 = 3;
    pub(super) const AT: u64 = 4;
}

impl Context {
    /// Appends a branch as it was sent.
    pub(super) fn write_branch(&self, layer: &Layer, place: usize, out: &mut Vec<u8>) {
        let sent = &self.recorded.sent[place];
        // One that is gone already needs no record of its own, but keeps its number.
        let Some(client) = layer.client_record(sent.client) else {
            return;
        };
        tlv::write_number(branch_tag::NUMBER, client.branch, out);
        nest(branch_tag::FLOW, out, |out| push_flow(&client.flow, out));
        tlv::write_bytes(branch_tag::REQUEST, client.request, out);
        tlv::write_number(branch_tag::AT, sent.at as u64, out);
    }
}

/// The record [`super::BRANCH`], read.
#[derive(Debug, Clone, Copy)]
pub(super) struct BranchRecord<'a> {
    pub(super) number: u64,
    pub(super) flow: Flow,
    pub(super) request: &'a [u8],
    pub(super) at: usize,
}

impl<'a> BranchRecord<'a> {
    /// `None` for one that was gone when it was written.
    pub(super) fn read(value: &'a [u8]) -> Result<Option<BranchRecord<'a>>, Error> {
        let (mut number, mut flow, mut request, mut at) = (None, None, &b""[..], 0);
        each(value, |tag, bytes| {
            match tag {
                branch_tag::NUMBER => number = Some(tlv::number(bytes)?),
                branch_tag::FLOW => flow = Some(read_flow(tag, bytes)?),
                branch_tag::REQUEST => request = bytes,
                branch_tag::AT => at = usize::from(small::<u16>(tag, bytes)?),
                _ => {}
            }
            Ok(())
        })?;
        let (Some(number), Some(flow)) = (number, flow) else {
            return Ok(None);
        };
        Ok(Some(BranchRecord {
            number,
            flow,
            request,
            at,
        }))
    }
}

mod state_tag {
    pub(super) const FLAGS: u64 = 1;
    pub(super) const NEXT_TARGET: u64 = 2;
    pub(super) const SHARE: u64 = 3;
    pub(super) const BEST_STATUS: u64 = 4;
    pub(super) const BEST: u64 = 5;
    pub(super) const CHALLENGES: u64 = 6;
    pub(super) const BRANCH: u64 = 7;
    pub(super) const CLIENT: u64 = 8;
    pub(super) const SERVER: u64 = 9;
    pub(super) const STORED: u64 = 10;
    pub(super) const REASON: u64 = 11;
    pub(super) const ALTERNATE: u64 = 12;
}

const FINAL_SENT: u64 = 1;
const CANCELLED: u64 = 1 << 1;
const HAS_CALL: u64 = 1 << 2;

const IS_CANCELLED: u8 = 1;
const HAS_SLOT: u8 = 1 << 1;
const NO_SIDE: u8 = u8::MAX;
const NO_PHASE: u8 = u8::MAX;

impl Context {
    /// Appends how far it is. What a peer would not notice (that a 100 came) is left out, so that it needs no record.
    pub(super) fn write_state(&self, layer: &Layer, out: &mut Vec<u8>) {
        let flags = [
            (self.is_final_sent, FINAL_SENT),
            (self.is_cancelled, CANCELLED),
            (self.call.is_some(), HAS_CALL),
        ];
        let flags = flags.iter().filter(|(is_set, _)| *is_set);
        tlv::write_number(state_tag::FLAGS, flags.map(|(_, flag)| flag).sum(), out);
        tlv::write_number(state_tag::NEXT_TARGET, self.next_target as u64, out);
        tlv::write_number(state_tag::SHARE, u64::from(self.share), out);
        if self.best_status != 0 && !self.is_final_sent {
            tlv::write_number(state_tag::BEST_STATUS, u64::from(self.best_status), out);
            tlv::write_bytes(state_tag::BEST, &self.best, out);
            tlv::write_bytes(state_tag::CHALLENGES, &self.challenges, out);
        }
        for branch in &self.branches {
            let [high, low] = (branch.target as u16).to_be_bytes();
            let state = match branch.state {
                BranchState::Starting | BranchState::Resolving => 0,
                BranchState::Pending => 1,
                BranchState::Done => 2,
            };
            tlv::write_bytes(state_tag::BRANCH, &[state, high, low], out);
        }
        for sent in &self.recorded.sent {
            if let Some(client) = layer.client_record(sent.client) {
                self.write_client(sent, &client, out);
            }
        }
        if !self.recorded.reason.is_empty() {
            tlv::write_bytes(state_tag::REASON, &self.recorded.reason, out);
        }
        for (at, flow) in &self.alternates {
            nest(state_tag::ALTERNATE, out, |out| {
                out.extend_from_slice(&(*at as u16).to_be_bytes());
                push_flow(flow, out);
            });
        }
        let server = self.server.and_then(|server| layer.server_record(server));
        let Some(server) = server else { return };
        tlv::write_number(state_tag::SERVER, number_of(server.state), out);
        if !is_trying(server.stored) && server.state != State::Confirmed {
            tlv::write_bytes(state_tag::STORED, server.stored, out);
        }
    }

    fn write_client(&self, sent: &Sent, client: &ClientRecord<'_>, out: &mut Vec<u8>) {
        let state = match client.state {
            // A branch that may not have been heard of is sent again.
            State::Calling | State::Proceeding if !sent.has_rung => State::Calling,
            state => state,
        };
        let mut tries = self.tries.iter();
        let one = tries.find(|one| one.client == Some(sent.client));
        let has_slot = one.is_some_and(|one| one.slot.is_some());
        let flags = [(client.is_cancelled, IS_CANCELLED), (has_slot, HAS_SLOT)];
        let flags = flags.iter().filter(|(is_set, _)| *is_set);
        let flags: u8 = flags.map(|(_, flag)| flag).sum();
        let phase = one.map_or(NO_PHASE, |one| phase_number(one.phase));
        let side = self.side_of(sent.client).unwrap_or(NO_SIDE);
        nest(state_tag::CLIENT, out, |out| {
            out.extend_from_slice(&sent.index.to_be_bytes());
            out.extend_from_slice(&[number_of(state) as u8, flags, phase, side]);
        });
    }
}

/// Whether a response is a 100, which is made anew.
fn is_trying(response: &[u8]) -> bool {
    response.get(8..11) == Some(b"100")
}

fn number_of(state: State) -> u64 {
    match state {
        State::Calling => 0,
        State::Trying => 1,
        State::Proceeding => 2,
        State::Accepted => 3,
        State::Completed => 4,
        State::Confirmed => 5,
        State::Terminated => 6,
    }
}

fn state_of(tag: u64, number: u64) -> Result<State, Error> {
    let mut states = State::ALL.into_iter();
    let found = states.find(|state| number_of(*state) == number);
    found.ok_or(Error::Field { tag })
}

fn phase_number(phase: Phase) -> u8 {
    match phase {
        // That a 100 came needs no record: it comes again when the INVITE does.
        Phase::Sent | Phase::Trying => 0,
        Phase::Ringing => 2,
        Phase::Over => 3,
        Phase::GivenUp => 4,
    }
}

fn phase_of(number: u8) -> Option<Phase> {
    Some(match number {
        0 | 1 => Phase::Sent,
        2 => Phase::Ringing,
        3 => Phase::Over,
        4 => Phase::GivenUp,
        _ => return None,
    })
}

/// A client transaction in the record [`super::INVITE_STATE`].
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientState {
    pub(super) index: u32,
    pub(super) state: State,
    pub(super) is_cancelled: bool,
    pub(super) has_slot: bool,
    pub(super) phase: Option<Phase>,
    pub(super) side: Option<u8>,
}

/// The record [`super::INVITE_STATE`], read.
#[derive(Debug, Default)]
pub(super) struct StateRecord<'a> {
    pub(super) is_final_sent: bool,
    pub(super) is_cancelled: bool,
    pub(super) has_call: bool,
    pub(super) next_target: usize,
    pub(super) share: u16,
    pub(super) best_status: u16,
    pub(super) best: &'a [u8],
    pub(super) challenges: &'a [u8],
    pub(super) branches: Vec<Branch>,
    pub(super) clients: Vec<ClientState>,
    pub(super) server: Option<State>,
    pub(super) stored: &'a [u8],
    pub(super) reason: &'a [u8],
    pub(super) alternates: Vec<(usize, Flow)>,
}

impl<'a> StateRecord<'a> {
    pub(super) fn read(value: &'a [u8]) -> Result<StateRecord<'a>, Error> {
        let mut found = StateRecord::default();
        each(value, |tag, bytes| {
            match tag {
                state_tag::FLAGS => {
                    let flags = tlv::number(bytes)?;
                    found.is_final_sent = flags & FINAL_SENT != 0;
                    found.is_cancelled = flags & CANCELLED != 0;
                    found.has_call = flags & HAS_CALL != 0;
                }
                state_tag::NEXT_TARGET => {
                    found.next_target = usize::from(small::<u16>(tag, bytes)?)
                }
                state_tag::SHARE => found.share = small(tag, bytes)?,
                state_tag::BEST_STATUS => found.best_status = small(tag, bytes)?,
                state_tag::BEST => found.best = bytes,
                state_tag::CHALLENGES => found.challenges = bytes,
                state_tag::BRANCH => {
                    let ([state, high, low], _) = first(bytes)?;
                    found.branches.push(Branch {
                        client: None,
                        state: match state {
                            0 => BranchState::Starting,
                            1 => BranchState::Pending,
                            _ => BranchState::Done,
                        },
                        target: usize::from(u16::from_be_bytes([high, low])),
                    });
                }
                state_tag::CLIENT => found.clients.push(read_client(tag, bytes)?),
                state_tag::SERVER => found.server = Some(state_of(tag, tlv::number(bytes)?)?),
                state_tag::STORED => found.stored = bytes,
                state_tag::REASON => found.reason = bytes,
                state_tag::ALTERNATE => {
                    let (at, rest) = first(bytes)?;
                    let at = usize::from(u16::from_be_bytes(at));
                    found.alternates.push((at, read_flow(tag, rest)?));
                }
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }
}

fn read_client(tag: u64, bytes: &[u8]) -> Result<ClientState, Error> {
    let (index, rest) = first(bytes)?;
    let ([state, flags, phase, side], _) = first(rest)?;
    Ok(ClientState {
        index: u32::from_be_bytes(index),
        state: state_of(tag, u64::from(state))?,
        is_cancelled: flags & IS_CANCELLED != 0,
        has_slot: flags & HAS_SLOT != 0,
        phase: phase_of(phase),
        side: Some(side).filter(|side| *side != NO_SIDE),
    })
}

const EXCHANGE_CALL: u64 = 1;
const EXCHANGE_SENDER: u64 = 2;
const EXCHANGE_RECEIVER: u64 = 3;
const EXCHANGE_TAG: u64 = 4;
const EXCHANGE_DESCRIBED: u64 = 5;
const EXCHANGE_OFFER: u64 = 6;

impl Exchange {
    fn write(&self, call: u64, out: &mut Vec<u8>) {
        tlv::write_number(EXCHANGE_CALL, call, out);
        tlv::write_number(EXCHANGE_SENDER, u64::from(self.sender), out);
        tlv::write_number(EXCHANGE_RECEIVER, u64::from(self.receiver), out);
        tlv::write_number(EXCHANGE_TAG, self.tag, out);
        tlv::write_number(EXCHANGE_DESCRIBED, u64::from(self.has_description), out);
        if let Some(offer) = self.offer {
            tlv::write_number(EXCHANGE_OFFER, u64::from(offer), out);
        }
    }

    /// The number of the call's record that an exchange is about.
    fn call_of(value: &[u8]) -> Result<u64, Error> {
        let mut call = None;
        each(value, |tag, bytes| {
            if tag == EXCHANGE_CALL {
                call = Some(tlv::number(bytes)?);
            }
            Ok(())
        })?;
        call.ok_or(Error::Missing { tag: EXCHANGE_CALL })
    }

    /// Reads an exchange about the media `anchor`.
    pub(super) fn read(anchor: transaction::layer::Id, value: &[u8]) -> Result<Exchange, Error> {
        let mut found = Exchange {
            anchor,
            sender: 0,
            receiver: 0,
            tag: 0,
            has_description: false,
            offer: None,
        };
        each(value, |tag, bytes| {
            match tag {
                EXCHANGE_SENDER => found.sender = small(tag, bytes)?,
                EXCHANGE_RECEIVER => found.receiver = small(tag, bytes)?,
                EXCHANGE_TAG => found.tag = tlv::number(bytes)?,
                EXCHANGE_DESCRIBED => found.has_description = tlv::number(bytes)? != 0,
                EXCHANGE_OFFER => found.offer = Some(small(tag, bytes)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(found)
    }
}
