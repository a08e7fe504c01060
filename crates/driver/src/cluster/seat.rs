//! One service on this node: its machine, who acts for it, and its address.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cluster::ownership::{Cause, LossReason};
use cluster::{
    Basis, Effect, Epoch, Error, Identity, NodeId, Outcome, Output, Phase, Record, RequestId,
    Revision, Seq, Service, ServiceId, Time,
};
use net::address::lease::Strength;
use net::clock::Boottime;
use tokio::task::AbortHandle;

use super::address::{Address, Note};
use super::crew::{Crew, ToCrew};
use super::desk::{Desk, Taken, Ticket};
use super::post::{Post, name_of, names_of};
use super::settings::ServiceSettings;
use super::tenure::Tenure;
use super::view::{ServiceView, TakeoverView};

/// Least time between batches: what comes meanwhile shares the next. A batch costs the owner two turns of this thread, a frame and an
/// answer, whatever is in it: for each message of a call that would be more than the call.
const BATCH_SPACING_US: u64 = 4_000;
/// For how long the record has to name this node no member before it is said.
const OUTSIDE_US: u64 = 10_000_000;
/// How often it is said that the table is full.
const FULL_INTERVAL_US: u64 = 10_000_000;
/// Most records that a crew is told anew in a turn: a millisecond or so.
const RETOLD_MAX: usize = 2_000;
/// Commits whose times are kept.
const TIMES: usize = 64;

/// Now, by the clock that the machines of a cluster go by.
pub(super) fn time() -> Time {
    Time(Boottime::now().as_ns() / 1_000)
}

fn boottime(time: Time) -> Boottime {
    Boottime::from_ns(time.0.saturating_mul(1_000))
}

/// Changes on their way to the members.
#[derive(Debug)]
struct Flight {
    ticket: Ticket,
    seq: Seq,
    began: Time,
    waiting: u64,
}

/// What a seat is made of.
pub(super) struct Parts {
    pub(super) settings: ServiceSettings,
    pub(super) service: Service,
    pub(super) crew: Box<dyn Crew>,
    pub(super) desk: Arc<Desk>,
    pub(super) address: Address,
    /// This node.
    pub(super) own: NodeId,
}

/// One service on this node.
pub(super) struct Seat {
    /// Its place among the node's services.
    number: usize,
    id: ServiceId,
    parts: Parts,
    out: Output,
    /// Effects that were done, of those in `out`.
    done: usize,
    /// Off the desk, and not all in the stream yet: the batches from this one on.
    taken: Option<(Taken, usize)>,
    flights: VecDeque<Flight>,
    collected: Time,
    /// Whether it looks at the desk by itself, [`BATCH_SPACING_US`] after the last time.
    is_pacing: bool,
    /// When it was last said that the table is full.
    told_full: Option<Time>,
    is_paused: bool,
    /// What there is to tell of the address.
    notes: Vec<Note>,
    /// From which slot of the table on the crew has to be told what is known.
    retelling: Option<usize>,
    /// The fence agent that runs for it.
    fencing: Option<AbortHandle>,
    /// Since when the record names this node no member; told: none.
    outside_since: Option<Time>,
    /// Who the owner is that this node follows or is.
    tenure: Tenure,
    times_us: VecDeque<u64>,
    last_takeover: Option<TakeoverView>,
    takeovers: u64,
    /// Frames of others that were refused.
    pub(super) refused: u64,
}

impl Seat {
    pub(super) fn new(number: usize, id: ServiceId, parts: Parts) -> Seat {
        Seat {
            number,
            id,
            parts,
            out: Output::new(),
            done: 0,
            taken: None,
            flights: VecDeque::new(),
            collected: Time(0),
            is_pacing: false,
            told_full: None,
            is_paused: false,
            notes: Vec::new(),
            retelling: None,
            fencing: None,
            outside_since: Some(Time::NEVER),
            tenure: Tenure::new(time()),
            times_us: VecDeque::new(),
            last_takeover: None,
            takeovers: 0,
            refused: 0,
        }
    }

    pub(super) fn id(&self) -> ServiceId {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.parts.settings.name
    }

    /// What is to be known of it in the node's next life.
    pub(super) fn known(&self) -> Option<(Epoch, Identity)> {
        self.parts.service.known()
    }

    /// Whether this node owns it.
    pub(super) fn owns(&self) -> bool {
        matches!(
            self.parts.service.status().phase,
            Phase::Owner | Phase::Draining | Phase::Releasing
        )
    }

    /// A frame from another node.
    pub(super) fn receive(&mut self, from: NodeId, bytes: &[u8]) {
        let now = time();
        let mut apply = ToCrew(&mut *self.parts.crew);
        match self
            .parts
            .service
            .receive(now, from, bytes, &mut apply, &mut self.out)
        {
            Ok(()) => {
                let status = self.parts.service.status();
                if status.owner == Some(from)
                    && let Some(away_ms) = self.tenure.heard(now, from, status.epoch)
                {
                    self.last_takeover = Some(TakeoverView {
                        at_unix_ms: unix_ms(),
                        epoch: status.epoch.0,
                        cause: "another node took it",
                        away_ms: Some(away_ms),
                    });
                }
            }
            Err(error) => {
                self.refused += 1;
                tracing::debug!(service = self.name(), ?from, %error, "a frame was refused");
            }
        }
    }

    pub(super) fn disconnected(&mut self, node: NodeId) {
        self.parts.service.disconnected(time(), node);
    }

    pub(super) fn answered(&mut self, request: RequestId, outcome: Outcome) {
        self.parts
            .service
            .answered(time(), request, outcome, &mut self.out);
    }

    pub(super) fn observed(&mut self, revision: Revision, record: Option<Record>) {
        self.parts
            .service
            .observe(time(), revision, record, &mut self.out);
    }

    pub(super) fn fenced(&mut self, attempt: u64, succeeded: bool) {
        let now = time();
        self.parts
            .service
            .fenced(now, attempt, succeeded, &mut self.out);
    }

    pub(super) fn configure(&mut self, preference: &[NodeId]) {
        self.parts.service.configure(preference);
    }

    pub(super) fn set_leaving(&mut self, leaving: bool) {
        self.parts
            .service
            .set_leaving(time(), leaving, &mut self.out);
    }

    pub(super) fn switchover(&mut self, to: Option<NodeId>) -> Result<(), Error> {
        self.parts.service.switchover(time(), to, &mut self.out)
    }

    /// When [`Seat::turn`] has something to do at the latest.
    pub(super) fn next(&self, now: Time) -> Time {
        if self.retelling.is_some() {
            return now;
        }
        let mut next = self.parts.service.next(now);
        let waits = || self.is_pacing || self.taken.is_some() || self.parts.desk.has_changes();
        if self.may_collect() && waits() {
            next = next.min(self.collected.after(BATCH_SPACING_US));
        }
        next.min(self.parts.address.next(now))
    }

    fn may_collect(&self) -> bool {
        !self.is_paused && self.parts.service.status().phase == Phase::Owner
    }

    /// Does what is due and what inputs have led to.
    pub(super) fn turn(&mut self, post: &mut Post<'_>) {
        let now = time();
        self.collect(now);
        self.parts.service.poll(now, &mut self.out);
        self.parts.address.poll(now, &mut self.notes);
        self.retell();
        self.perform(post);
        self.tell_of_address(post);
        self.parts.crew.flush();
        self.announce(now, post);
    }

    /// Takes what workers left into the stream: at once after a quiet moment, else a moment after the last time.
    fn collect(&mut self, now: Time) {
        if !self.may_collect() {
            return;
        }
        let is_due = now.since(self.collected) >= BATCH_SPACING_US;
        if self.taken.is_none() {
            if !is_due {
                return;
            }
            let taken = self.parts.desk.take();
            self.is_pacing = taken.is_some();
            let Some(taken) = taken else {
                return;
            };
            self.taken = Some((taken, 0));
        }
        self.collected = now;
        let Some((taken, from)) = &mut self.taken else {
            return;
        };
        let mut last = Seq(0);
        while let Some(batch) = taken.batches.get(*from) {
            let mut appended = self.parts.service.checkpoint(now, batch);
            if appended == Err(Error::TableFull) {
                // What is there changes and ends all the same; the rest goes on without records.
                let fitting = self.parts.service.table().fitting(batch);
                appended = self.parts.service.checkpoint(now, &fitting);
                let is_news = |told: Time| now.since(told) >= FULL_INTERVAL_US;
                if self.told_full.is_none_or(is_news) {
                    self.told_full = Some(now);
                    tracing::error!(
                        service = self.parts.settings.name,
                        records_max = self.parts.settings.records_max,
                        "no room for more records: new calls and registrations are not replicated; raise [[service]] records_max on all members"
                    );
                }
            }
            match appended {
                Ok(seq) => last = seq,
                // The members catch up, or are dropped.
                Err(Error::BacklogFull) => return,
                Err(error) => {
                    tracing::error!(service = self.parts.settings.name, %error, "a change was not replicated");
                }
            }
            *from += 1;
        }
        if let Some((taken, _)) = self.taken.take() {
            self.flights.push_back(Flight {
                ticket: taken.ticket,
                seq: last,
                began: now,
                waiting: taken.waiting,
            });
            self.parts.desk.recycle(taken.batches);
        }
    }

    /// Performs effects in order, until one has to be waited for.
    fn perform(&mut self, post: &mut Post<'_>) {
        if self.parts.address.is_leaving() {
            return;
        }
        while self.done < self.out.effects.len() {
            let is_gain = matches!(self.out.effects[self.done], Effect::GainAuthority { .. });
            if is_gain && self.retelling.is_some() {
                // It begins with all that is known.
                return;
            }
            // Cloned, since it is performed with all of the seat at hand; none of them holds memory.
            let effect = self.out.effects[self.done].clone();
            self.done += 1;
            self.effect(effect, post);
            if self.parts.address.is_leaving() {
                return;
            }
        }
        self.out.clear();
        self.done = 0;
        let record = self.parts.service.status().record;
        let in_sync = record.map_or(0, |record| record.in_sync.len());
        self.note_outside(record, post);
        self.parts.desk.set_standby(self.owns() && in_sync > 1);
    }

    fn effect(&mut self, effect: Effect, post: &mut Post<'_>) {
        let effect = match effect {
            Effect::Send { to, range } => return post.send(to, &self.out.bytes[range]),
            Effect::Committed { seq } => return self.committed(seq),
            other => other,
        };
        let (seat, name) = (self.number, self.parts.settings.name.clone());
        match effect {
            Effect::Send { .. } | Effect::Committed { .. } => {}
            Effect::CoordinatorRead { request } => post.requests.read(seat, &name, request),
            Effect::CoordinatorCas {
                request,
                expected,
                record,
            } => {
                if expected.record.is_none() && !self.is_address_free(post) {
                    // It is claimed again before long.
                    self.answered(request, Outcome::Failed);
                } else if record.is_released() && self.parts.address.is_here_still() {
                    // Whoever sees it released takes the address at once.
                    self.answered(request, Outcome::Failed);
                } else {
                    post.requests.write(seat, &name, request, expected, record);
                }
            }
            Effect::GainAuthority {
                epoch,
                until,
                basis,
            } => self.gain(epoch, until, basis, post),
            Effect::ExtendAuthority { until } => self.extend(until),
            Effect::LoseAuthority { epoch, reason } => self.lose(epoch, reason, post),
            Effect::Pause { successor } => {
                self.is_paused = true;
                let to = successor.map(|node| name_of(post.places, node));
                let to = to.unwrap_or_else(|| "nobody".to_owned());
                post.tell(&name, format!("is being handed over to {to}"));
            }
            Effect::Resume => {
                self.is_paused = false;
                post.tell(
                    &name,
                    "stays: it could not be handed over in time".to_owned(),
                );
            }
            Effect::Fence { target, attempt } => {
                let node = name_of(post.places, target);
                post.tell(&name, format!("is claimed when {node} is switched off"));
                self.fencing = Some(post.requests.fence(seat, (&name, &node), attempt));
            }
            Effect::Event(event) => self.told(event, post),
        }
    }

    fn gain(&mut self, epoch: Epoch, until: Time, basis: Basis, post: &mut Post<'_>) {
        let now = time();
        self.is_paused = false;
        self.is_pacing = false;
        self.flights.clear();
        self.taken = None;
        self.parts.desk.open(epoch.0);
        self.extend(until);
        self.parts.address.go(now, true, &mut self.notes);
        self.parts
            .crew
            .take_office(epoch.0, matches!(basis, Basis::First | Basis::Unsynced));
        let since = self.tenure.begin(now, self.parts.own, epoch);
        let away_ms = since.filter(|_| !matches!(basis, Basis::First | Basis::Own));
        let cause = cause(basis);
        self.takeovers += 1;
        self.last_takeover = Some(TakeoverView {
            at_unix_ms: unix_ms(),
            epoch: epoch.0,
            cause,
            away_ms,
        });
        let away = away_ms.map_or_else(String::new, |ms| {
            format!(", {ms} ms after it was last heard")
        });
        let epoch = epoch.0;
        post.tell(
            &self.parts.settings.name,
            format!("is this node's now (epoch {epoch}): {cause}{away}"),
        );
    }

    /// Sets the kernel's deadline and that of the process.
    fn extend(&mut self, until: Time) {
        let until = boottime(until);
        self.parts.address.extend(until);
        self.parts.desk.extend(until);
    }

    fn lose(&mut self, epoch: Epoch, reason: LossReason, post: &mut Post<'_>) {
        self.parts.desk.close();
        self.parts.address.revoke();
        self.is_paused = false;
        self.flights.clear();
        self.taken = None;
        self.parts.address.go(time(), false, &mut self.notes);
        self.parts.crew.leave_office();
        self.retelling = Some(0);
        self.tenure.heard(time(), self.parts.own, epoch);
        let why = match reason {
            LossReason::Lapsed => {
                "neither the coordinator nor the other members confirmed it in time"
            }
            LossReason::Superseded => "another node has it",
            LossReason::HandedOver => "it was handed over",
        };
        let epoch = epoch.0;
        post.tell(
            &self.parts.settings.name,
            format!("is no longer this node's (epoch {epoch}): {why}"),
        );
    }

    /// Gives the crew, which has left office, a part of what is known: the whole may be millions of records, and heartbeats of other
    /// services wait meanwhile. What changes in the meantime reaches it by itself, before or after.
    fn retell(&mut self) {
        let Some(from) = self.retelling.take() else {
            return;
        };
        let mut records = self.parts.service.table().iter_from(from);
        for _ in 0..RETOLD_MAX {
            let Some((_, op)) = records.next() else {
                return;
            };
            self.parts.crew.apply(op);
        }
        self.retelling = records.next().map(|(slot, _)| slot);
    }

    /// Whether nobody is known to have the address that nobody has claimed yet; asks, where that is not known.
    fn is_address_free(&mut self, post: &Post<'_>) -> bool {
        match self.parts.address.is_free(time()) {
            Ok(()) => true,
            Err(ask_on) => {
                if let (Some(interface), Some(address)) = (ask_on, self.parts.settings.address) {
                    post.requests
                        .ask_neighbours(self.number, address, interface);
                }
                false
            }
        }
    }

    /// What the neighbours say of the address: who else has it, in words.
    pub(super) fn neighbours(&mut self, used: Option<String>, post: &Post<'_>) {
        // Meanwhile a member of the service may have it.
        let used = used.filter(|_| self.owns() || self.parts.service.status().record.is_none());
        if let Some(what) = self.parts.address.answered(time(), used) {
            post.warn(&self.parts.settings.name, what);
        }
    }

    /// Says what became of the address; without it an owner leaves the service to another member, if there is one in sync.
    fn tell_of_address(&mut self, post: &Post<'_>) {
        for note in std::mem::take(&mut self.notes) {
            let name = &self.parts.settings.name;
            match note {
                Note::Failed(error) => {
                    post.warn(name, format!("its address: {error}; it is tried again"));
                }
                Note::Mended => post.tell(name, "its address was moved now".to_owned()),
                Note::Lease(Some(why)) => post.warn(
                    name,
                    format!(
                        "the kernel does not take the lease of its address, which may be dumb: {why}; it is tried again, and the service goes \
                         to a member in sync, if there is one: see who changes packet filters (`nft list ruleset`, `nft monitor`), and \
                         that this node has CAP_NET_ADMIN"
                    ),
                ),
                Note::Lease(None) => {
                    post.tell(name, "the kernel takes the lease of its address again".to_owned());
                }
                Note::Strength(strength @ Strength::Absolute) => {
                    post.tell(name, format!("the kernel keeps the lease of its address: {strength}"));
                }
                Note::Strength(strength) => post.warn(
                    name,
                    format!("the kernel keeps the lease of its address less well now: {strength}; see who removes filters (`tc filter`, `nft list ruleset`)"),
                ),
                // Nobody to have it: the owner goes on trying.
                Note::HandOver => drop(self.switchover(None)),
            }
        }
    }

    /// Says it when the record names this node no member, though its configuration does: once, after a while.
    fn note_outside(&mut self, record: Option<Record>, post: &Post<'_>) {
        let now = time();
        let Some(record) = record.filter(|record| !record.members.contains(self.parts.own)) else {
            self.outside_since = Some(Time::NEVER);
            return;
        };
        match self.outside_since {
            Some(Time::NEVER) => self.outside_since = Some(now),
            Some(since) if now.since(since) >= OUTSIDE_US => {
                self.outside_since = None;
                let members = names_of(post.places, record.members).join(", ");
                let what = format!(
                    "this node is none of its members by its owner's word ({members}) and claims nothing: make [[service]] members the \
                     same on all nodes"
                );
                post.warn(&self.parts.settings.name, what);
            }
            _ => {}
        }
    }

    fn announce(&mut self, now: Time, post: &Post<'_>) {
        let may_act = self.parts.desk.may_act();
        if let Err(error) = self.parts.address.announce(now, may_act) {
            post.tell(&self.parts.settings.name, format!("its address: {error}"));
        }
        if let Some(interface) = self.parts.address.conflict_due(now)
            && let Some(address) = self.parts.settings.address
        {
            post.requests
                .ask_neighbours(self.number, address, interface);
        }
    }

    fn committed(&mut self, seq: Seq) {
        let now = time();
        let (mut last, mut waiting) = (None, 0);
        while let Some(flight) = self.flights.front()
            && flight.seq <= seq
        {
            if self.times_us.len() == TIMES {
                self.times_us.pop_front();
            }
            self.times_us.push_back(now.since(flight.began));
            last = Some(flight.ticket);
            waiting |= flight.waiting;
            self.flights.pop_front();
        }
        if let Some(ticket) = last {
            self.parts.desk.commit(ticket);
            self.parts.crew.wake(waiting);
        }
    }

    /// Nobody is to be switched off any more: the owner was heard, or somebody else has claimed.
    fn withdraw_fencing(&mut self, post: &Post<'_>) {
        if let Some(run) = self.fencing.take()
            && !run.is_finished()
        {
            run.abort();
            post.tell(
                self.name(),
                "is not claimed after all: the fence agent is stopped".to_owned(),
            );
        }
    }

    fn told(&mut self, event: cluster::Event, post: &Post<'_>) {
        let name = &self.parts.settings.name;
        match event {
            cluster::Event::Step { from, cause, to } => {
                tracing::debug!(service = name, ?from, ?cause, ?to, "a step");
                if cause == Cause::Withdrawn {
                    self.withdraw_fencing(post);
                }
            }
            cluster::Event::InSync { members } => {
                let names = names_of(post.places, members).join(", ");
                post.tell(name, format!("is held in sync by {names}"));
            }
            cluster::Event::CoordinatorWentBack { found, known } => post.tell(
                name,
                format!(
                    "the coordinator shows epoch {} where {} is known: it was restored from an old copy, or lost \
                     writes; the service goes on",
                    found.0, known.0
                ),
            ),
            cluster::Event::ClaimedUnsynced { epoch } => post.tell(
                name,
                format!(
                    "was taken without what the last owner had committed (epoch {}): no member in sync was left",
                    epoch.0
                ),
            ),
        }
    }

    /// What an operator is shown.
    pub(super) fn view(&self, places: &[net::peer::Place]) -> ServiceView {
        let status = self.parts.service.status();
        let now = time();
        let mut times: Vec<u64> = self.times_us.iter().copied().collect();
        times.sort_unstable();
        let last = status.position.map_or(0, |position| position.seq.0);
        ServiceView {
            name: self.parts.settings.name.clone(),
            phase: phase(status.phase),
            owner: match status.phase {
                Phase::Owner | Phase::Draining => None,
                _ => status.owner,
            }
            .map(|node| name_of(places, node))
            .or_else(|| self.owns().then(|| self.own_name(places))),
            epoch: status.epoch.0,
            owner_silent_ms: self.tenure.silent_ms(now, status.owner),
            members: status
                .record
                .map_or_else(Vec::new, |record| names_of(places, record.members)),
            in_sync: status
                .record
                .map_or_else(Vec::new, |record| names_of(places, record.in_sync)),
            records: status.records as u64,
            is_whole: status.position.is_some(),
            backlog_bytes: status.backlog_bytes as u64,
            lag_batches: status
                .committed
                .map_or(0, |committed| last.saturating_sub(committed.0)),
            commit_us: times.get(times.len() / 2).copied().unwrap_or(0),
            lease_kept_by: match self.parts.address.strength() {
                Some(Strength::Absolute) => "kernel (absolute)",
                Some(Strength::Relative) => "kernel (relative)",
                Some(Strength::None) | None => "process",
            },
            authority_left_ms: status.until.map(|until| until.since(now) / 1_000),
            last_takeover: self.last_takeover.clone(),
            takeovers: self.takeovers,
        }
    }

    /// Who is to be asked what only the owner does, in words.
    pub(super) fn whom_to_ask(&self, places: &[net::peer::Place]) -> String {
        match self.parts.service.status().owner {
            Some(owner) => format!("its owner is {}: ask there", name_of(places, owner)),
            None => "nobody does now".to_owned(),
        }
    }

    fn own_name(&self, places: &[net::peer::Place]) -> String {
        let owner = self.parts.service.status().owner;
        owner.map_or_else(String::new, |node| name_of(places, node))
    }
}

fn cause(basis: Basis) -> &'static str {
    match basis {
        Basis::First => "the service begins",
        Basis::InSync => "the owner was not heard for a lease",
        Basis::Released => "the owner released it",
        Basis::Own => "its own lease had run out, and nobody else has claimed it",
        Basis::Unsynced => "no member in sync has claimed it",
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Member => "member",
        Phase::Fencing => "fencing",
        Phase::Claiming => "claiming",
        Phase::Owner => "owner",
        Phase::Draining => "draining",
        Phase::Releasing => "releasing",
    }
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
