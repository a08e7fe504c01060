//! One service on this node: its machine, who acts for it, and its address.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cluster::ownership::LossReason;
use cluster::{
    Basis, Effect, Epoch, Error, NodeId, Outcome, Output, Phase, Record, RequestId, Revision, Seq,
    Service, ServiceId, Time,
};
use net::address::lease::{Lease, Strength};
use net::address::{ANNOUNCE_AFTER_MS, Mover, Progress};
use net::clock::Boottime;
use records::Op;

use super::crew::{Crew, ToCrew};
use super::desk::{Desk, Taken, Ticket};
use super::post::{Post, name_of, names_of};
use super::settings::ServiceSettings;
use super::view::{ServiceView, TakeoverView};

/// Least time between batches while one is on its way: what comes meanwhile shares the next.
const BATCH_SPACING_US: u64 = 1_000;
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
    pub(super) mover: Mover,
    /// What keeps the address dumb after this node's time, whatever the process does.
    pub(super) lease: Option<Lease>,
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
    is_paused: bool,
    /// The address's mover is at work: nothing goes on before it has ended.
    is_moving: bool,
    /// When the address was taken, and how often it was announced.
    announcing: Option<(Time, usize)>,
    /// When the owner that this node follows was last heard.
    heard: Option<Time>,
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
            is_paused: false,
            is_moving: false,
            announcing: None,
            heard: None,
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
                if self.parts.service.status().owner == Some(from) {
                    self.heard = Some(now);
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
        let mut next = self.parts.service.next(now);
        if self.may_collect() && (self.taken.is_some() || self.parts.desk.has_changes()) {
            next = next.min(self.collected.after(BATCH_SPACING_US));
        }
        if self.is_moving {
            next = next.min(now.after(2_000));
        }
        if let Some((began, count)) = self.announcing
            && let Some(after_ms) = ANNOUNCE_AFTER_MS.get(count)
        {
            next = next.min(began.after(*after_ms * 1_000));
        }
        next
    }

    fn may_collect(&self) -> bool {
        !self.is_paused && self.parts.service.status().phase == Phase::Owner
    }

    /// Does what is due and what inputs have led to.
    pub(super) fn turn(&mut self, post: &mut Post<'_>) {
        let now = time();
        self.collect(now);
        self.parts.service.poll(now, &mut self.out);
        self.perform(post);
        // What was committed at once may have room for what waits.
        if self.flights.is_empty() && self.may_collect() && self.parts.desk.has_changes() {
            self.collect(now);
            self.parts.service.poll(now, &mut self.out);
            self.perform(post);
        }
        self.parts.crew.flush();
        self.announce(now, post);
    }

    /// Takes what workers left into the stream: at once if nothing is on its way, else a moment after the last time.
    fn collect(&mut self, now: Time) {
        if !self.may_collect() {
            return;
        }
        let is_due = now.since(self.collected) >= BATCH_SPACING_US;
        if self.taken.is_none() {
            if !self.flights.is_empty() && !is_due {
                return;
            }
            let Some(taken) = self.parts.desk.take() else {
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
            match self.parts.service.checkpoint(now, batch) {
                Ok(seq) => last = seq,
                // The members catch up, or are dropped; a table that is full stays so until calls have ended.
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
        if self.is_moving && !self.moved(post) {
            return;
        }
        while self.done < self.out.effects.len() {
            // Cloned, since it is performed with all of the seat at hand; none of them holds memory.
            let effect = self.out.effects[self.done].clone();
            self.done += 1;
            self.effect(effect, post);
            if self.is_moving {
                return;
            }
        }
        self.out.clear();
        self.done = 0;
        let in_sync = self
            .parts
            .service
            .status()
            .record
            .map_or(0, |record| record.in_sync.len());
        self.parts.desk.set_standby(self.owns() && in_sync > 1);
    }

    fn effect(&mut self, effect: Effect, post: &mut Post<'_>) {
        let (seat, name) = (self.number, self.parts.settings.name.clone());
        match effect {
            Effect::Send { to, range } => post.send(to, &self.out.bytes[range]),
            Effect::CoordinatorRead { request } => post.requests.read(seat, &name, request),
            Effect::CoordinatorCas {
                request,
                expected,
                record,
            } => post.requests.write(seat, &name, request, expected, record),
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
                post.requests.fence(seat, &node, attempt);
            }
            Effect::Committed { seq } => self.committed(seq),
            Effect::Event(event) => self.told(event, post),
        }
    }

    fn gain(&mut self, epoch: Epoch, until: Time, basis: Basis, post: &mut Post<'_>) {
        let now = time();
        self.is_paused = false;
        self.flights.clear();
        self.taken = None;
        self.parts.desk.open(epoch.0);
        self.extend(until);
        match self.parts.mover.add(Boottime::now()) {
            Ok(progress) => self.is_moving = progress == Progress::UnderWay,
            Err(error) => {
                tracing::error!(service = self.name(), %error, "the address was not taken");
            }
        }
        self.announcing = Some((now, 0));
        self.parts
            .crew
            .take_office(epoch.0, matches!(basis, Basis::First | Basis::Unsynced));
        let since = self.heard.map(|heard| now.since(heard) / 1_000);
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
        if let Some(lease) = &mut self.parts.lease
            && let Err(error) = lease.extend(Boottime::now(), until)
        {
            tracing::error!(service = self.parts.settings.name, %error, "the kernel's lease was not extended");
        }
        self.parts.desk.extend(until);
    }

    /// Looks for interfaces that are new: to be called every few seconds.
    pub(super) fn survey(&mut self) {
        if let Some(lease) = &mut self.parts.lease
            && let Err(error) = lease.survey()
        {
            tracing::warn!(service = self.parts.settings.name, %error, "the kernel's lease was not looked after");
        }
    }

    fn lose(&mut self, epoch: Epoch, reason: LossReason, post: &mut Post<'_>) {
        self.parts.desk.close();
        if let Some(lease) = &mut self.parts.lease
            && let Err(error) = lease.revoke()
        {
            tracing::error!(service = self.parts.settings.name, %error, "the kernel's lease was not ended");
        }
        self.is_paused = false;
        self.announcing = None;
        self.flights.clear();
        self.taken = None;
        match self.parts.mover.remove(Boottime::now()) {
            Ok(progress) => self.is_moving = progress == Progress::UnderWay,
            Err(error) => {
                tracing::error!(service = self.name(), %error, "the address was not given up");
            }
        }
        self.parts.crew.leave_office();
        for (kind, key, value) in self.parts.service.table().iter() {
            let value = Some(value);
            self.parts.crew.apply(Op { kind, key, value });
        }
        self.heard = Some(time());
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

    /// Whether the mover has ended its work.
    fn moved(&mut self, post: &Post<'_>) -> bool {
        match self.parts.mover.poll(Boottime::now()) {
            Ok(Progress::UnderWay) => return false,
            Ok(Progress::Done) => {}
            Err(error) => post.tell(&self.parts.settings.name, format!("its address: {error}")),
        }
        self.is_moving = false;
        true
    }

    fn announce(&mut self, now: Time, post: &Post<'_>) {
        let Some((began, count)) = self.announcing else {
            return;
        };
        let Some(after_ms) = ANNOUNCE_AFTER_MS.get(count) else {
            self.announcing = None;
            return;
        };
        if self.is_moving || now.since(began) < *after_ms * 1_000 {
            return;
        }
        self.announcing = Some((began, count + 1));
        if !self.parts.desk.may_act() {
            return;
        }
        if let Err(error) = self.parts.mover.announce() {
            post.tell(&self.parts.settings.name, format!("its address: {error}"));
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

    fn told(&self, event: cluster::Event, post: &Post<'_>) {
        let name = &self.parts.settings.name;
        match event {
            cluster::Event::Step { from, cause, to } => {
                tracing::debug!(service = name, ?from, ?cause, ?to, "a step");
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
            lease_kept_by: match self.parts.lease.as_ref().map(Lease::strength) {
                Some(Strength::Absolute) => "kernel (absolute)",
                Some(Strength::Relative) => "kernel (relative)",
                Some(Strength::None) | None => "process",
            },
            authority_left_ms: status.until.map(|until| until.since(now) / 1_000),
            last_takeover: self.last_takeover.clone(),
            takeovers: self.takeovers,
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
