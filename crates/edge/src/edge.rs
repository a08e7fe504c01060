//! One thread's entrance.

use proxy::{Proxy, Surroundings};
use registrar::Reply;
use sip::{
    Defect, Envelope, HeaderName, Index, Message, Method, ParseError, Splices, Via, build, check,
    status,
};
use transaction::{Flow, Layer, Outbox, Request, Slab, Time};

use crate::directory::Directory;
use crate::office::Office;
use crate::output::{Counted, Now, Output};
use crate::overload::{Load, Throttle};
use crate::pools::Probes;
use crate::register::{BindingsNoted, Held};
use crate::settings::Settings;
use crate::sources::Offence;

/// Most transactions of each kind on one thread.
pub(crate) const TRANSACTIONS_MAX: u32 = 1_000_000;

/// The core of one thread.
pub struct Edge {
    pub(crate) layer: Layer,
    pub(crate) proxy: Proxy,
    /// Answers that wait until their bindings are durable.
    pub(crate) held: Slab<Held>,
    pub(crate) reply: Reply,
    pub(crate) targets: proxy::Targets,
    pub(crate) splices: Splices,
    pub(crate) extra: Vec<u8>,
    pub(crate) head: Vec<u8>,
    pub(crate) aor: Vec<u8>,
    /// Who the sender of a request says he is.
    pub(crate) claimed: Vec<u8>,
    pub(crate) counted: Counted,
    pub(crate) probes: Probes,
    pub(crate) throttle: Throttle,
    pub(crate) is_draining: bool,
    pub(crate) office: Office,
    pub(crate) bindings_noted: BindingsNoted,
    index: Index,
}

/// Entries of the tables of one thread, besides transactions and calls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tables {
    /// Requests that are being answered or remembered.
    pub contexts: usize,
    /// Names that are being resolved.
    pub lookups: usize,
    /// Answers that wait for the store.
    pub held: usize,
    /// Calls whose media are anchored.
    pub anchored: usize,
}

/// What one request is handled with.
pub(crate) struct Input<'a, 'm> {
    pub(crate) settings: &'a Settings,
    pub(crate) now: Now,
    pub(crate) request: &'a Message<'m>,
    pub(crate) envelope: &'a Envelope<'m>,
    /// Where it came from.
    pub(crate) flow: Flow,
    /// Where its responses go.
    pub(crate) back: Flow,
}

impl Edge {
    /// An empty core. `seed` keys its tables and branches: unpredictable outside, different on every
    /// thread.
    pub fn new(now: Time, seed: (u64, u64), settings: &Settings) -> Edge {
        Edge {
            layer: Layer::new(now, seed, timers(settings), TRANSACTIONS_MAX),
            proxy: Proxy::new(now, seed, TRANSACTIONS_MAX),
            held: Slab::default(),
            reply: Reply::default(),
            targets: proxy::Targets::new(),
            splices: Splices::new(),
            extra: Vec::new(),
            head: Vec::new(),
            aor: Vec::new(),
            claimed: Vec::new(),
            counted: Counted::default(),
            probes: Probes::default(),
            throttle: Throttle::default(),
            is_draining: false,
            office: Office::Alone,
            bindings_noted: BindingsNoted::default(),
            index: Index::new(),
        }
    }

    /// Takes one message that came on `flow`.
    pub fn receive<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        bytes: &[u8],
        flow: Flow,
        directory: &mut D,
        output: &mut Output,
    ) {
        if !self.is_acting() {
            return self.counted.add("not-in-office");
        }
        let mut index = std::mem::take(&mut self.index);
        match index.parse(bytes, &settings.limits) {
            Err(error) => {
                self.counted.add(parse_label(error));
                if error != ParseError::Empty {
                    let blame = (Offence::Malformed, false);
                    self.offended((settings, now, &flow), blame, directory, output);
                }
            }
            Ok(message) if message.is_request() => {
                self.request(settings, now, &message, flow, directory, output)
            }
            Ok(message) => self.response((settings, now), &message, flow, directory, output),
        }
        self.index = index;
    }

    fn response<D: Directory>(
        &mut self,
        (settings, now): (&Settings, Now),
        response: &Message<'_>,
        flow: Flow,
        directory: &mut D,
        output: &mut Output,
    ) {
        let (via, cseq) = match check::response_route(response) {
            Ok(route) => route,
            Err(defect) => return self.counted.add(defect.label()),
        };
        let number = via
            .branch()
            .and_then(proxy::loops::read_branch)
            .map(|(number, _)| number);
        let is_in_cluster = self.office != Office::Alone;
        if let Some(number) = number.filter(|_| is_in_cluster) {
            self.take_up_response((settings, now), number, directory, output);
        }
        // RFC 6026 section 7.2: what belongs to no transaction of ours is not forwarded.
        let Some((client, user)) =
            number.and_then(|number| self.layer.find_client(number, cseq.method))
        else {
            if cseq.method == Method::Options
                && number.is_some_and(|number| self.probe_answered(number, response, directory))
            {
                return;
            }
            return self.counted.add("stray-response");
        };
        if is_in_cluster {
            self.follow_server(client, flow, directory);
            self.follow_client((settings, now), user, response, directory);
        }
        if self
            .layer
            .receive_response(now.time, client, response, &mut output.outbox)
        {
            let mut surroundings = surroundings(&mut self.layer, settings, now, directory, output);
            self.proxy
                .receive_response(&mut surroundings, client, user, response);
        }
    }

    fn request<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        request: &Message<'_>,
        flow: Flow,
        directory: &mut D,
        output: &mut Output,
    ) {
        self.splices.clear();
        let envelope = match Envelope::read(request) {
            Ok(envelope) => envelope,
            Err(defect) => {
                let blame = (Offence::Malformed, false);
                self.offended((settings, now, &flow), blame, directory, output);
                return self.refuse_defect(request, defect, flow, output);
            }
        };
        let via = &envelope.via;
        build::stamp_via(request, via, flow.remote, &mut self.splices);
        let input = Input {
            settings,
            now,
            request,
            envelope: &envelope,
            flow,
            back: back(via, flow),
        };
        if self.office != Office::Alone {
            let of = (request, via, flow);
            self.take_up_request((settings, now), of, directory, output);
        }
        match self
            .layer
            .receive_request(now.time, request, via, &mut output.outbox)
        {
            Request::Retransmission | Request::AckAbsorbed => {}
            Request::AckOfSuccess => self.admit_ack(&input, directory, output),
            Request::New(_) if request.method() == Some(Method::Ack) => {
                self.admit_ack(&input, directory, output)
            }
            Request::New(key) if request.method() == Some(Method::Cancel) => {
                self.cancel(&input, key, directory, output)
            }
            Request::New(key) => self.admit(&input, key, directory, output),
        }
    }

    /// Answers what cannot be read, if there is anybody to answer (RFC 3261 section 16.3 step 1).
    fn refuse_defect(
        &mut self,
        request: &Message<'_>,
        defect: Defect,
        flow: Flow,
        output: &mut Output,
    ) {
        self.counted.add(defect.label());
        self.refuse_unread(request, defect.status(), flow, output);
    }

    /// Takes the head of what a stream could not be divided at (section 18.3) and answers it with
    /// `status` and its reason phrase, if it is a request. The driver closes the stream after that.
    pub fn receive_unframed(
        &mut self,
        settings: &Settings,
        head: &[u8],
        (error, status): (&'static str, (u16, &'static str)),
        flow: Flow,
        output: &mut Output,
    ) {
        self.counted.add(error);
        if !self.is_acting() {
            return;
        }
        let mut index = std::mem::take(&mut self.index);
        if let Ok(message) = index.parse(head, &settings.limits)
            && message.is_request()
        {
            self.splices.clear();
            self.refuse_unread(&message, status, flow, output);
        }
        self.index = index;
    }

    fn refuse_unread(
        &mut self,
        request: &Message<'_>,
        (status, reason): (u16, &'static str),
        flow: Flow,
        output: &mut Output,
    ) {
        let back = match request.via() {
            Ok(via) => {
                build::stamp_via(request, &via, flow.remote, &mut self.splices);
                back(&via, flow)
            }
            // The Via itself is at fault: the sender is where this came from (RFC 4475 section 3.1.2.1).
            Err(_) if request.has(HeaderName::Via) => flow,
            Err(_) => return,
        };
        self.extra.clear();
        self.answer(request, back, status, reason, &mut output.outbox);
    }

    /// Answers without a transaction (section 8.2.7): what is refused must not cost memory. The tag is
    /// the same for the same request.
    pub(crate) fn refuse_with(
        &mut self,
        input: &Input<'_, '_>,
        status: u16,
        reason: &str,
        outbox: &mut Outbox,
    ) {
        self.answer(input.request, input.back, status, reason, outbox);
    }

    fn answer(
        &mut self,
        request: &Message<'_>,
        back: Flow,
        status: u16,
        reason: &str,
        outbox: &mut Outbox,
    ) {
        if request.method() == Some(Method::Ack) {
            return;
        }
        self.head.clear();
        let tag = build::response_head(request, &self.splices, &mut self.head);
        let to_tag = self.refusal_tag(request);
        outbox.send(back, |out| {
            build::response(
                &self.head,
                tag,
                status,
                reason,
                Some(&to_tag),
                &self.extra,
                out,
            )
        });
        self.extra.clear();
    }

    /// The To tag of what is answered without a transaction.
    fn refusal_tag(&self, request: &Message<'_>) -> [u8; 16] {
        let call_id = request.header(HeaderName::CallId).unwrap_or_default();
        let number = self.layer.hash(|hasher| hasher.write(call_id));
        std::array::from_fn(|at| b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 15])
    }

    /// Whether a request answers to a refusal of [`Edge::refuse_with`].
    pub(crate) fn is_of_refusal(&self, input: &Input<'_, '_>) -> bool {
        let tag = input.envelope.to_tag;
        tag.is_some_and(|tag| *tag == self.refusal_tag(input.request))
    }

    /// Answers without a transaction, with the usual reason phrase.
    pub(crate) fn refuse(&mut self, input: &Input<'_, '_>, status: u16, outbox: &mut Outbox) {
        self.refuse_with(input, status, status::reason(status), outbox);
    }

    /// What was dropped or refused, by reason.
    pub fn counted(&self) -> &Counted {
        &self.counted
    }

    /// What the proxy counted.
    pub fn counters(&self) -> proxy::Counters {
        self.proxy.counters
    }

    /// The calls in progress on this thread.
    pub fn calls(&self) -> &proxy::Calls {
        &self.proxy.calls
    }

    /// How many server and client transactions there are.
    pub fn transactions(&self) -> (usize, usize) {
        self.layer.len()
    }

    /// How full the tables of one thread are that a peer could fill.
    pub fn tables(&self) -> Tables {
        Tables {
            contexts: self.proxy.len(),
            lookups: self.proxy.lookups(),
            held: self.held.len(),
            anchored: self.proxy.anchored(),
        }
    }

    /// Takes what of new settings is not read with each message.
    pub fn reload(&mut self, settings: &Settings) {
        self.layer.set_timers(timers(settings));
    }

    /// From now on new calls and registrations are refused with 503; what is in progress goes on.
    pub fn drain(&mut self, is_draining: bool) {
        self.is_draining = is_draining;
    }

    /// Takes in how a round of the thread went; whether it has just begun or ceased to refuse what is new.
    pub fn observe(&mut self, settings: &Settings, now: Time, load: Load) -> bool {
        self.throttle.observe(&settings.overload, now, load)
    }

    /// How much of what is new is let in.
    pub fn throttle(&self) -> &Throttle {
        &self.throttle
    }

    /// Whether nothing is waiting for an answer.
    pub fn is_idle(&self) -> bool {
        self.held.is_empty() && !self.proxy.is_answering()
    }
}

/// Transactions that are only remembered end together, twice a second: each waking of a thread that has
/// nothing else to do costs more than they do.
const LINGER_GRID_MS: u64 = 512;

fn timers(settings: &Settings) -> transaction::Timers {
    settings.timers.with_linger_grid(LINGER_GRID_MS)
}

/// Where responses go (section 18.2.2, RFC 3581 section 4): over a stream the way the request came; else
/// to the source address, and to its port if `rport` asked for it or the sender is behind NAT.
fn back(via: &Via<'_>, flow: Flow) -> Flow {
    if flow.transport.is_reliable() || via.rport().is_some() {
        return flow;
    }
    let behind_nat = via
        .host
        .address
        .is_some_and(|address| address != flow.remote.ip() && is_private(address));
    if behind_nat {
        return flow;
    }
    let mut remote = flow.remote;
    remote.set_port(via.port.unwrap_or(5060));
    Flow { remote, ..flow }
}

/// Whether an address cannot be that of a host on the Internet (RFC 1918, 4193, 6598).
fn is_private(address: std::net::IpAddr) -> bool {
    match address {
        std::net::IpAddr::V4(v4) => {
            let [one, two, ..] = v4.octets();
            v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || (one == 100 && (64..128).contains(&two))
        }
        std::net::IpAddr::V6(v6) => {
            v6.is_unique_local() || v6.is_unicast_link_local() || v6.is_unspecified()
        }
    }
}

fn parse_label(error: ParseError) -> &'static str {
    match error {
        ParseError::Empty => "keep-alive",
        ParseError::StartLine => "not-sip",
        ParseError::TooLarge { .. } => "too-large",
    }
}

pub(crate) fn surroundings<'a, D: Directory>(
    layer: &'a mut Layer,
    settings: &'a Settings,
    now: Now,
    directory: &'a mut D,
    output: &'a mut Output,
) -> Surroundings<'a, D> {
    Surroundings {
        now: now.time,
        settings: &settings.proxy,
        trusted: &settings.auth.trusted,
        layer,
        outbox: &mut output.outbox,
        events: &mut output.calls,
        is_watched: output.is_watched,
        resolves: &mut output.resolves,
        network: directory,
    }
}
