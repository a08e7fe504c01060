//! One thread's PBX: messages, media events and answers in; messages, media commands and records out.

use records::Op;
use sip::Index;
use transaction::{ClientId, Flow, Time};

use crate::call::{Calls, State};
use crate::control::{
    APPLICATION_KIND, Action, Answer, Applications, Happening, LegId, Now, Party, Publish,
    QuestionId, RecordingId,
};
use crate::output::Output;
use crate::settings::Settings;
use crate::surroundings::Surroundings;

/// Rounds of happenings and actions in one turn: applications that answer each other for ever are stopped.
const ROUNDS_MAX: usize = 10_000;

/// How often legs are settled after the last happening: one leg's step may allow the other's.
const SETTLINGS_MAX: usize = 3;

/// What one input is handled with.
pub struct Turn<'t> {
    /// What the operator set.
    pub settings: &'t Settings,
    /// When.
    pub now: Now,
    /// Sockets for media, and sounds.
    pub around: &'t mut dyn Surroundings,
    /// What is to be done.
    pub output: &'t mut Output,
}

/// What was counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that came in.
    pub incoming: u64,
    /// Calls that were made.
    pub outgoing: u64,
    /// Calls refused because there were as many as may be.
    pub refused_full: u64,
    /// Records of another node that could not be read.
    pub unreadable: u64,
    /// Messages that could not be read, or belonged to nothing.
    pub stray: u64,
}

/// How full the tables are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tables {
    /// Legs.
    pub legs: usize,
    /// Ports for media.
    pub ports: usize,
    /// Subscriptions.
    pub subscriptions: usize,
    /// Recordings that are not safe yet.
    pub recordings: usize,
    /// Tags of dialogs.
    pub tags: usize,
    /// Callers whose INVITE is not acknowledged.
    pub callers: usize,
    /// Requests of ours whose transactions are not over.
    pub purposes: usize,
    /// Server and client transactions.
    pub transactions: (usize, usize),
}

/// A leg as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallView {
    /// Which.
    pub leg: LegId,
    /// The leg that it is bridged with.
    pub peer: Option<LegId>,
    /// Whether it came in.
    pub is_incoming: bool,
    /// Whether it is answered.
    pub is_answered: bool,
    /// The other end.
    pub party: Party,
    /// Its Call-ID.
    pub call_id: String,
    /// The codec, where media pass the PBX.
    pub codec: Option<&'static str>,
    /// When it began, in milliseconds since 1970.
    pub began_unix_ms: u64,
}

/// The PBX of one thread.
pub struct Pbx<A> {
    calls: Calls,
    applications: A,
    index: Index,
    actions: Vec<Action>,
}

impl<A: Applications> Pbx<A> {
    /// A PBX without calls. `seed` keys its tables, tags and branches: unpredictable outside, different on every
    /// thread. `epoch` is the term of office: no two PBXs of a service have the same.
    pub fn new(
        now: Now,
        seed: (u64, u64),
        epoch: u64,
        settings: &Settings,
        applications: A,
    ) -> Pbx<A> {
        Pbx {
            calls: Calls::new(now, seed, epoch, settings),
            applications,
            index: Index::new(),
            actions: Vec::new(),
        }
    }

    /// Keys what has to be alike on all members of a service: how requests are matched to transactions. To be called before
    /// anything is received.
    pub fn share_secret(&mut self, shared: (u64, u64)) {
        self.calls.layer.share_secret(shared);
    }

    /// Takes one message that came on `flow`.
    pub fn receive(&mut self, turn: &mut Turn<'_>, bytes: &[u8], flow: Flow) {
        let mut index = std::mem::take(&mut self.index);
        match index.parse(bytes, &turn.settings.limits) {
            Ok(message) if message.is_request() => self.calls.arrived(turn, &message, flow),
            Ok(message) => self.calls.replied(turn, &message),
            Err(_) => self.calls.counts.stray += 1,
        }
        self.index = index;
        self.run(turn);
    }

    /// Takes back a message, or its beginning, that could not be delivered (RFC 3261 section 18.4): if it was a
    /// request of ours, it fails at once.
    pub fn undelivered(&mut self, turn: &mut Turn<'_>, sent: &[u8]) {
        let mut index = std::mem::take(&mut self.index);
        if let Ok(message) = index.parse(sent, &turn.settings.limits)
            && message.is_request()
            && let (Ok(via), Ok(cseq)) = (message.via(), message.cseq())
            && let Some(branch) = via.branch().and_then(dialog::Hop::read_branch)
            && let Some((client, _)) = self.calls.layer.find_client(branch, cseq.method)
        {
            self.fail(turn, client);
        }
        self.index = index;
        self.run(turn);
    }

    /// Takes the news that a flow broke: what waits for an answer over it fails.
    pub fn flow_failed(&mut self, turn: &mut Turn<'_>, flow: Flow) {
        let mut clients = Vec::new();
        if self.calls.layer.may_have_clients_to(flow.remote) {
            self.calls
                .layer
                .clients_of(|other| *other == flow, &mut clients);
        }
        for client in clients {
            self.fail(turn, client);
        }
        self.run(turn);
    }

    /// RFC 3261 section 8.1.3.1: an error of the transport counts as 503.
    fn fail(&mut self, turn: &mut Turn<'_>, client: ClientId) {
        let outbox = &mut turn.output.outbox;
        if let Some(user) = self
            .calls
            .layer
            .transport_failed(turn.now.time, client, outbox)
        {
            self.calls.outcome(turn, user, None, 503);
        }
    }

    /// Takes what a media thread heard. [`voice::Event::Recorded`] and [`voice::Event::Hungry`] are the surroundings'.
    pub fn heard(&mut self, turn: &mut Turn<'_>, thread: u16, event: &voice::Event) {
        self.calls.heard(turn, thread, event);
        self.run(turn);
    }

    /// Takes the news that all of a recording is safe, or that it is lost.
    pub fn recorded(
        &mut self,
        turn: &mut Turn<'_>,
        recording: RecordingId,
        length_ms: u32,
        is_saved: bool,
    ) {
        if let Some(leg) = self.calls.recordings.remove(&recording) {
            self.calls.with(leg, |_, leg| {
                leg.ears
                    .taking
                    .take_if(|taking| taking.recording == recording)
            });
            self.calls.tell(Happening::Recorded {
                leg,
                recording,
                length_ms,
                is_saved,
            });
        }
        self.run(turn);
    }

    /// Takes the news that somebody else than a call changed a mailbox: those who watch it are told.
    pub fn mailbox_changed(&mut self, turn: &mut Turn<'_>, mailbox: String) {
        self.calls.tell(Happening::Watched { mailbox });
        self.run(turn);
    }

    /// Takes the answer to a question of [`Output::asks`].
    pub fn told(&mut self, turn: &mut Turn<'_>, question: QuestionId, answer: Answer) {
        self.calls.tell(Happening::Told { question, answer });
        self.run(turn);
    }

    /// Does what is due.
    pub fn poll(&mut self, turn: &mut Turn<'_>) {
        self.calls.due(turn);
        self.applications
            .poll(turn.now, &mut self.calls.ids, &mut self.actions);
        self.run(turn);
    }

    /// When [`Pbx::poll`] has something to do.
    pub fn next(&self, now: Time) -> Option<Time> {
        match (self.calls.next(now), self.applications.next(now)) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        }
    }

    /// Lets applications hear what happened and does what they want, until all is quiet; then brings legs to where they should be,
    /// and writes down what changed.
    fn run(&mut self, turn: &mut Turn<'_>) {
        let mut settlings = 0;
        for _ in 0..ROUNDS_MAX {
            if !self.actions.is_empty() {
                settlings = 0;
                let mut actions = std::mem::take(&mut self.actions);
                for action in actions.drain(..) {
                    self.calls.act(turn, action);
                }
                self.actions = actions;
            }
            if let Some(happening) = self.calls.happenings.pop_front() {
                let ids = &mut self.calls.ids;
                self.applications
                    .happened(turn.now, ids, &happening, &mut self.actions);
                continue;
            }
            if settlings == SETTLINGS_MAX || !self.calls.settle_touched(turn) {
                break;
            }
            settlings += 1;
        }
        self.calls.touched.clear();
        self.calls.write_changes(turn);
        self.applications.changes(&mut turn.output.changes);
    }

    /// Takes in a record of another node, or the end of one. It rests until [`Pbx::take_office`].
    pub fn restore(&mut self, op: Op<'_>) {
        match op.kind < APPLICATION_KIND {
            true => self.calls.rest(op),
            false => self.applications.restore(op),
        }
    }

    /// Makes what was restored live: calls go on. `epoch` is the new term of office. Records are read a slice at a time, in this turn and
    /// those of [`Pbx::poll`], those of calls with sound first and of calls that are being set up; what a message or an application asks for
    /// is read at once.
    pub fn take_office(&mut self, turn: &mut Turn<'_>, epoch: u64) {
        self.calls.take_office(turn, epoch);
        let ids = &mut self.calls.ids;
        self.applications
            .take_office(turn.now, ids, &mut self.actions);
        for action in std::mem::take(&mut self.actions) {
            match action {
                // Who watches is told when its record is read.
                Action::Publish(Publish::Extension { user, dialogs }) => {
                    self.calls.watch.note(user, dialogs);
                }
                action => self.actions.push(action),
            }
        }
        self.calls.read_slice(turn);
        self.run(turn);
    }

    /// Forgets all calls without a word: another node has them now. What the applications know is theirs to forget.
    pub fn leave_office(&mut self, now: Now) {
        self.calls.leave_office(now);
        self.actions.clear();
    }

    /// From now on new calls are refused with 503; what is in progress goes on.
    pub fn drain(&mut self, is_draining: bool) {
        self.calls.is_draining = is_draining;
    }

    /// Takes what of new settings is not read with each input.
    pub fn reload(&mut self, settings: &Settings) {
        self.calls.layer.set_timers(settings.timers);
    }

    /// The applications.
    pub fn applications(&self) -> &A {
        &self.applications
    }

    /// The applications, to give them another dialplan.
    pub fn applications_mut(&mut self) -> &mut A {
        &mut self.applications
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.calls.counts
    }

    /// How full the tables are.
    pub fn tables(&self) -> Tables {
        let calls = &self.calls;
        Tables {
            legs: calls.legs.len() + calls.resting.legs,
            ports: calls.ends.len(),
            subscriptions: calls.watch.watchers.len() + calls.resting.watchers,
            recordings: calls.recordings.len(),
            tags: calls.by_tag.len(),
            callers: calls.by_caller.len(),
            purposes: calls.purposes.len(),
            transactions: calls.layer.len(),
        }
    }

    /// The legs there are; of those that came from another node, the ones whose records are read.
    pub fn calls(&self) -> Vec<CallView> {
        let legs = self.calls.legs.values();
        let mut views: Vec<CallView> = legs
            .filter(|leg| leg.state.is_alive())
            .map(|leg| CallView {
                leg: leg.id,
                peer: leg.peer,
                is_incoming: leg.is_incoming,
                is_answered: matches!(leg.state, State::Answered | State::Confirmed),
                party: leg.party.clone(),
                call_id: String::from_utf8_lossy(&leg.dialog.call_id).into_owned(),
                codec: leg
                    .ears
                    .end
                    .and(leg.session.agreed)
                    .map(|agreed| agreed.send.codec.name()),
                began_unix_ms: leg.began_unix_ms,
            })
            .collect();
        views.sort_by_key(|view| view.leg);
        views
    }
}
