//! One thread's PBX: messages, media events and answers in; messages, media commands and records out.

use records::Op;
use sip::{Envelope, Index, Message, Method, Splices, build, status};
use transaction::{Flow, Layer, Request, Time};

use crate::control::{
    Answer, Applications, Happening, Ids, LegId, Now, Party, QuestionId, RecordingId,
};
use crate::output::Output;
use crate::settings::Settings;
use crate::surroundings::Surroundings;

/// Most transactions of each kind.
const TRANSACTIONS_MAX: u32 = 200_000;

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
    layer: Layer,
    applications: A,
    ids: Ids,
    counts: Counts,
    splices: Splices,
    index: Index,
    head: Vec<u8>,
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
            layer: Layer::new(now.time, seed, settings.timers, TRANSACTIONS_MAX),
            applications,
            ids: Ids::of_epoch(epoch),
            counts: Counts::default(),
            splices: Splices::new(),
            index: Index::new(),
            head: Vec::new(),
        }
    }

    /// Takes one message that came on `flow`.
    pub fn receive(&mut self, turn: &mut Turn<'_>, bytes: &[u8], flow: Flow) {
        let mut index = std::mem::take(&mut self.index);
        match index.parse(bytes, &turn.settings.limits) {
            Ok(message) if message.is_request() => self.request(turn, &message, flow),
            _ => self.counts.stray += 1,
        }
        self.index = index;
    }

    fn request(&mut self, turn: &mut Turn<'_>, request: &Message<'_>, flow: Flow) {
        let Ok(envelope) = Envelope::read(request) else {
            self.counts.stray += 1;
            return;
        };
        self.splices.clear();
        build::stamp_via(request, &envelope.via, flow.remote, &mut self.splices);
        let outbox = &mut turn.output.outbox;
        let known = self
            .layer
            .receive_request(turn.now.time, request, &envelope.via, outbox);
        if !matches!(known, Request::New(_)) || request.method() == Some(Method::Ack) {
            return;
        }
        // No calls are taken yet.
        let answer = match request.method() {
            Some(Method::Options) => 200,
            Some(Method::Invite) => 503,
            _ => 405,
        };
        self.head.clear();
        let tag = build::response_head(request, &self.splices, &mut self.head);
        outbox.send(flow, |out| {
            build::response(
                &self.head,
                tag,
                answer,
                status::reason(answer),
                Some(b"none"),
                b"",
                out,
            );
        });
    }

    /// Takes back a message, or its beginning, that could not be delivered (RFC 3261 section 18.4).
    pub fn undelivered(&mut self, turn: &mut Turn<'_>, sent: &[u8]) {
        let _ = (turn, sent);
    }

    /// Takes the news that a flow broke: what waits for an answer over it fails.
    pub fn flow_failed(&mut self, turn: &mut Turn<'_>, flow: Flow) {
        let _ = (turn, flow);
    }

    /// Takes what a media thread heard. [`voice::Event::Recorded`] and [`voice::Event::Hungry`] are the surroundings'.
    pub fn heard(&mut self, turn: &mut Turn<'_>, thread: u16, event: &voice::Event) {
        let _ = (turn, thread, event);
    }

    /// Takes the news that all of a recording is safe, or that it is lost.
    pub fn recorded(
        &mut self,
        turn: &mut Turn<'_>,
        recording: RecordingId,
        length_ms: u32,
        is_saved: bool,
    ) {
        let _ = (turn, recording, length_ms, is_saved);
    }

    /// Takes the answer to a question of [`Output::asks`].
    pub fn told(&mut self, turn: &mut Turn<'_>, question: QuestionId, answer: Answer) {
        let mut actions = Vec::new();
        let happening = Happening::Told { question, answer };
        self.applications
            .happened(turn.now, &mut self.ids, &happening, &mut actions);
    }

    /// Does what is due.
    pub fn poll(&mut self, turn: &mut Turn<'_>) {
        while self
            .layer
            .poll(turn.now.time, &mut turn.output.outbox)
            .is_some()
        {}
    }

    /// When [`Pbx::poll`] has something to do.
    pub fn next(&self, now: Time) -> Option<Time> {
        match (self.layer.next(now), self.applications.next(now)) {
            (Some(one), Some(two)) => Some(one.min(two)),
            (one, two) => one.or(two),
        }
    }

    /// Takes in a record of another node, or the end of one. It rests until [`Pbx::take_office`].
    pub fn restore(&mut self, op: Op<'_>) {
        self.applications.restore(op);
    }

    /// Makes what was restored live: calls go on. `epoch` is the new term of office.
    pub fn take_office(&mut self, turn: &mut Turn<'_>, epoch: u64) {
        let _ = turn;
        self.ids = Ids::of_epoch(epoch);
    }

    /// Forgets all calls without a word: another node has them now.
    pub fn leave_office(&mut self) {}

    /// From now on new calls are refused with 503; what is in progress goes on.
    pub fn drain(&mut self, is_draining: bool) {
        let _ = is_draining;
    }

    /// Takes what of new settings is not read with each input.
    pub fn reload(&mut self, settings: &Settings) {
        self.layer.set_timers(settings.timers);
    }

    /// The applications, to give them another dialplan.
    pub fn applications_mut(&mut self) -> &mut A {
        &mut self.applications
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// How full the tables are.
    pub fn tables(&self) -> Tables {
        Tables {
            transactions: self.layer.len(),
            ..Tables::default()
        }
    }

    /// The legs there are.
    pub fn calls(&self) -> Vec<CallView> {
        Vec::new()
    }
}
