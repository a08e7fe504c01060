//! A phone that talks and listens: signalling and sound run by themselves, and a test says what to do and looks at what was heard.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use audio::dtmf::Digit;
use audio::g711::Law;
use audio::{SampleRate, g722, opus};

use super::message::Message;
use super::node::{DOMAIN, Node};
use super::phone::{Dialog, Phone};
use super::sound;

/// How long anything may take that a test waits for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long a packet of sound lasts.
const FRAME: Duration = Duration::from_millis(20);
/// Samples of a packet at 8,000 a second.
const SAMPLES: usize = 160;
/// The payload type of digits (RFC 4733) in our offers.
const EVENTS: u8 = 101;
/// Packets of a digit that is held, those that end it, and the pause behind it.
const DIGIT_PACKETS: [usize; 3] = [5, 3, 5];

/// A call of a phone, by the order in which they began.
pub(crate) type CallId = usize;

/// What a phone can speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Pcmu,
    Pcma,
    G722,
    Opus,
}

impl Codec {
    fn payload_type(self) -> u8 {
        match self {
            Codec::Pcmu => 0,
            Codec::Pcma => 8,
            Codec::G722 => 9,
            Codec::Opus => 107,
        }
    }

    fn of(payload_type: u8) -> Option<Codec> {
        let all = [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus];
        all.into_iter()
            .find(|codec| codec.payload_type() == payload_type)
    }
}

/// What a phone says.
#[derive(Debug, Clone)]
pub(crate) enum Says {
    Nothing,
    /// A tone of so many Hz.
    Tone(f64),
    /// Sound, 8,000 samples a second, and then nothing.
    Sound(Vec<i16>),
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Calling,
    Ringing,
    Up,
    Over,
}

/// A call as its phone sees it.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) state: State,
    dialog: Dialog,
    lines: String,
    incoming: Option<Message>,
    cancelled: bool,
    answers_again: bool,
    /// The last status of the other side.
    pub(crate) status: u16,
    /// The last message that began, refused or ended it.
    pub(crate) last: Option<Message>,
    /// NOTIFYs within it.
    pub(crate) notified: Vec<Message>,
    /// How often the other side has offered anew.
    pub(crate) offers: u32,
    direction: &'static str,
    media: Media,
}

/// The sound of a call.
struct Media {
    socket: UdpSocket,
    to: Option<SocketAddr>,
    codec: Codec,
    events: u8,
    sends: bool,
    version: u32,
    sequence: u16,
    timestamp: u32,
    due: Instant,
    says: Says,
    at: usize,
    digits: VecDeque<char>,
    digit: Option<(char, usize, u32)>,
    encoder: g722::Encoder,
    decoder: g722::Decoder,
    /// Opus, at 8,000 samples a second.
    opus: (opus::Encoder, opus::Decoder),
    /// The codec in which it sends against its word.
    lie: Option<Codec>,
    /// Of so many packets one is lost on the way.
    loses: Option<u16>,
    opus_type: u8,
    /// Whether the last description had a codec of ours.
    is_known: bool,
    /// What came, 8,000 samples a second.
    heard: Vec<i16>,
    packets: usize,
    from: Option<SocketAddr>,
}

impl std::fmt::Debug for Media {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} to {:?}, {} packets heard",
            self.codec, self.to, self.packets
        )
    }
}

struct Inner {
    phone: Phone,
    calls: Vec<Call>,
    codecs: Vec<Codec>,
    /// The payload type of digits, or 0 of a phone that knows tones only.
    events: u8,
    /// NOTIFYs of no call.
    notified: Vec<Message>,
    /// Responses to what is no call.
    answered: Vec<Message>,
}

/// A phone of a user, registered.
pub(crate) struct Talker {
    inner: Arc<Mutex<Inner>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    pub(crate) user: String,
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it died of has been told.
            let _ = thread.join();
        }
    }
}

impl Talker {
    pub(crate) fn of(node: &Node, user: &str) -> Talker {
        Talker::with(node, user, &[Codec::Pcmu])
    }

    /// One that can speak these, the preferred one first.
    pub(crate) fn with(node: &Node, user: &str, codecs: &[Codec]) -> Talker {
        Talker::at(node.address(), user, codecs)
    }

    /// One of the edge at this address.
    pub(crate) fn at(edge: SocketAddr, user: &str, codecs: &[Codec]) -> Talker {
        Talker::on(Phone::udp_to(edge, user), user, codecs)
    }

    /// One with this phone. Its sockets for sound are those of the host where this is called, or where a call is begun.
    pub(crate) fn on(mut phone: Phone, user: &str, codecs: &[Codec]) -> Talker {
        let answer = phone.registers(600);
        assert_eq!(answer.status(), 200, "{answer:?}");
        let inner = Arc::new(Mutex::new(Inner {
            phone,
            calls: Vec::new(),
            codecs: codecs.to_vec(),
            events: EVENTS,
            notified: Vec::new(),
            answered: Vec::new(),
        }));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, ends) = (inner.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            while !ends.load(Ordering::Relaxed) {
                let mut inner = shared.lock().expect("no test has died here");
                inner.turn();
                drop(inner);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Talker {
            inner,
            is_over,
            thread: Some(thread),
            user: user.to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("the phone lives")
    }

    /// Looks at a call until there is something to see.
    pub(crate) fn sees<T>(&self, call: CallId, what: &str, look: impl Fn(&Call) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let inner = self.lock();
            if let Some(found) = inner.calls.get(call).and_then(&look) {
                return found;
            }
            if Instant::now() > deadline {
                let call = inner.calls.get(call).map(|call| format!("{call:?}"));
                drop(inner);
                panic!("{} waited in vain: {what}; {call:?}", self.user);
            }
            drop(inner);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn look<T>(&self, call: CallId, look: impl FnOnce(&Call) -> T) -> T {
        look(&self.lock().calls[call])
    }

    /// From now on it knows nothing of events (RFC 4733).
    pub(crate) fn knows_tones_only(&self) {
        self.lock().events = 0;
    }

    /// Calls a user or number of the node.
    pub(crate) fn dials(&self, number: &str) -> CallId {
        self.dials_with(number, "")
    }

    /// As [`Talker::dials`], with more header lines.
    pub(crate) fn dials_with(&self, number: &str, lines: &str) -> CallId {
        self.lock().dials(number, lines)
    }

    /// Calls, and waits until it is answered.
    pub(crate) fn reaches(&self, number: &str) -> CallId {
        let call = self.dials(number);
        self.is_up(call);
        call
    }

    pub(crate) fn is_up(&self, call: CallId) {
        self.sees(call, "answered", |call| {
            assert!(call.state != State::Over, "{call:?}");
            (call.state == State::Up).then_some(())
        });
    }

    /// Waits for the end of a call; gives the status or that of its BYE, and the last message.
    pub(crate) fn is_over(&self, call: CallId) -> (u16, Message) {
        self.sees(call, "the end", |call| {
            let last = call.last.as_ref()?;
            (call.state == State::Over)
                .then(|| (call.status, Message::new(last.to_string().as_bytes())))
        })
    }

    pub(crate) fn state(&self, call: CallId) -> State {
        self.look(call, |call| call.state)
    }

    /// How many calls it had so far.
    pub(crate) fn calls(&self) -> usize {
        self.lock().calls.len()
    }

    /// Waits for the call of this number to come in, counted over all of its calls.
    pub(crate) fn is_rung(&self, call: CallId) -> CallId {
        self.sees(call, "an INVITE", |call| call.incoming.as_ref().map(|_| ()));
        call
    }

    /// The INVITE that came.
    pub(crate) fn invite(&self, call: CallId) -> Message {
        self.sees(call, "an INVITE", |call| {
            let invite = call.incoming.as_ref()?;
            Some(Message::new(invite.to_string().as_bytes()))
        })
    }

    /// Answers, and waits for the ACK.
    pub(crate) fn answers(&self, call: CallId) {
        self.is_rung(call);
        self.lock().answers(call);
        self.is_up(call);
    }

    pub(crate) fn refuses(&self, call: CallId, status: &str) {
        self.is_rung(call);
        let mut inner = self.lock();
        let Inner { phone, calls, .. } = &mut *inner;
        let invite = calls[call].incoming.as_ref().expect("it came");
        phone.responds(invite, status, "");
        calls[call].end(None);
    }

    /// Hangs up, or gives up a call that is not answered yet.
    pub(crate) fn hangs_up(&self, call: CallId) {
        self.lock().hangs_up(call);
        self.sees(call, "its end", |call| {
            (call.state == State::Over).then_some(())
        });
    }

    /// From now on says this.
    pub(crate) fn says(&self, call: CallId, what: Says) {
        let mut inner = self.lock();
        let media = &mut inner.calls[call].media;
        (media.says, media.at) = (what, 0);
    }

    /// Presses keys, told by events (RFC 4733), and waits until they are sent.
    pub(crate) fn presses(&self, call: CallId, keys: &str) {
        self.lock().calls[call].media.digits.extend(keys.chars());
        self.sees(call, "its keys to be sent", |call| {
            let media = &call.media;
            let is_done = media.digits.is_empty() && media.digit.is_none();
            (is_done || call.state == State::Over).then_some(())
        });
    }

    /// Presses keys, told by INFO as the phones do whose sound goes another way.
    pub(crate) fn informs(&self, call: CallId, keys: &str) {
        for key in keys.chars() {
            let body = format!("Signal={key}\r\nDuration=160\r\n");
            let lines = "Content-Type: application/dtmf-relay\r\n";
            self.lock().within(call, "INFO", lines, &body);
        }
    }

    /// Presses keys whose tones are part of the sound.
    pub(crate) fn sings(&self, call: CallId, keys: &str) {
        let mut sound = vec![0; 400];
        for key in keys.chars() {
            let digit = Digit::of_sign(key).expect("a key");
            let rate = SampleRate::Hz8000;
            let mut one = vec![0; rate.samples(180)];
            audio::dtmf::Generator::new(digit, rate, 100, 80).play(&mut one);
            sound.extend(one);
        }
        self.says(call, Says::Sound(sound));
    }

    /// From now on it sends in another codec than it said.
    pub(crate) fn lies(&self, call: CallId, codec: Codec) {
        self.lock().calls[call].media.lie = Some(codec);
    }

    /// From now on one of so many of its packets does not arrive.
    pub(crate) fn loses(&self, call: CallId, every: Option<u16>) {
        self.lock().calls[call].media.loses = every;
    }

    /// Sends so many events of keys at once, each of a key of its own that never ends.
    pub(crate) fn floods(&self, call: CallId, count: u32) {
        let media = &mut self.lock().calls[call].media;
        let to = media.to.expect("a call");
        for number in 0..count {
            let event = ((number % 16) as u8, media.timestamp.wrapping_add(number), 1);
            media.event(to, event, number % 2 == 1, true);
        }
    }

    /// What was heard since the last [`Talker::forgets`].
    pub(crate) fn heard(&self, call: CallId) -> Vec<i16> {
        self.look(call, |call| call.media.heard.clone())
    }

    pub(crate) fn forgets(&self, call: CallId) {
        self.lock().calls[call].media.heard.clear();
    }

    /// Where the sound came from last.
    pub(crate) fn hears_from(&self, call: CallId) -> Option<SocketAddr> {
        self.look(call, |call| call.media.from)
    }

    pub(crate) fn codec(&self, call: CallId) -> Codec {
        self.look(call, |call| call.media.codec)
    }

    /// Waits until what was heard holds what is looked for.
    pub(crate) fn hears<T>(
        &self,
        call: CallId,
        what: &str,
        look: impl Fn(&[i16]) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heard = self.heard(call);
            if let Some(found) = look(&heard) {
                return found;
            }
            if Instant::now() > deadline {
                let call = self.look(call, |call| format!("{call:?}"));
                panic!(
                    "{} did not hear {what} in {} ms; {call}",
                    self.user,
                    heard.len() / 8
                );
            }
            std::thread::sleep(Duration::from_millis(60));
        }
    }

    /// Waits for a prompt.
    pub(crate) fn hears_prompt(&self, call: CallId, name: &str) -> usize {
        let known = super::prompts::Known::of(name);
        self.hears(call, name, |heard| known.find(heard))
    }

    /// Waits until music on hold is what it hears.
    pub(crate) fn hears_music(&self, call: CallId) {
        /// What is looked for in the music: the last seven tenths of a second.
        const LAST: usize = 5_600;
        let music = super::prompts::sound_of("music/default");
        self.forgets(call);
        self.hears(call, "music", |heard| {
            let last = heard.len().checked_sub(LAST)?;
            super::prompts::Known::sound(&heard[last..]).find(&music)
        });
    }

    /// Waits for some tenths of a second with a tone of so many Hz, after what is heard now.
    pub(crate) fn hears_tone(&self, call: CallId, tone_hz: f64) {
        self.forgets(call);
        self.hears(call, &format!("{tone_hz} Hz"), |heard| {
            (sound::frames_with(heard, tone_hz) >= 4).then_some(())
        });
    }

    /// Listens for some time, and gives what came in it.
    pub(crate) fn listens(&self, call: CallId, ms: u64) -> Vec<i16> {
        self.forgets(call);
        std::thread::sleep(Duration::from_millis(ms));
        self.heard(call)
    }

    /// The longest time without a packet of sound, from now until a second has been heard without a longer one.
    pub(crate) fn silence(&self, call: CallId) -> Duration {
        const SECOND_PACKETS: usize = 50;
        let (begun, mut before) = (Instant::now(), self.look(call, Call::packets));
        let (mut last, mut longest, mut heard) = (begun, Duration::ZERO, 0);
        while heard < SECOND_PACKETS || begun.elapsed() < Duration::from_secs(1) {
            std::thread::sleep(Duration::from_millis(2));
            let (now, pause) = (self.look(call, Call::packets), last.elapsed());
            if now != before {
                heard += now - before;
                (before, last) = (now, Instant::now());
            }
            if pause > longest {
                (longest, heard) = (pause, 0);
            }
            assert!(longest < PATIENCE, "{} hears nothing", self.user);
        }
        longest
    }

    /// Asks the other side to call somebody else (RFC 3515), in place of another call of this phone if one is named (RFC 3891).
    pub(crate) fn refers(&self, call: CallId, user: &str, replaces: Option<CallId>) {
        let mut inner = self.lock();
        let to = match replaces {
            Some(other) => {
                let dialog = &inner.calls[other].dialog;
                let id = dialog.call_id.replace('@', "%40");
                format!(
                    "{}?Replaces={id}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
                    dialog.remote, dialog.remote_tag, dialog.local_tag
                )
            }
            None => format!("sip:{user}@{DOMAIN}"),
        };
        let own = inner.phone.aor();
        inner.within(
            call,
            "REFER",
            &format!("Refer-To: <{to}>\r\nReferred-By: <{own}>\r\n"),
            "",
        );
    }

    /// Offers anew, with this direction: `sendonly` holds, `sendrecv` goes on.
    pub(crate) fn offers(&self, call: CallId, direction: &'static str) {
        let mut inner = self.lock();
        inner.calls[call].direction = direction;
        let body = inner.offer(call);
        inner.within(call, "INVITE", "", &body);
    }

    /// Subscribes to the messages of a mailbox or what phones do (RFC 6665), and gives the answer.
    pub(crate) fn subscribes(&self, user: &str, event: &str) -> Message {
        let mut inner = self.lock();
        let to = format!("sip:{user}@{DOMAIN}");
        let mut dialog = Dialog::out(&inner.phone, &to);
        let lines = format!("Event: {event}\r\nExpires: 600\r\n");
        let text = inner.phone.within(&mut dialog, "SUBSCRIBE", &lines, "");
        inner.answered.clear();
        inner.phone.send(&text);
        drop(inner);
        let answer = self.is_answered();
        if !matches!(answer.status(), 401 | 407) {
            return answer;
        }
        let mut inner = self.lock();
        let credentials = inner.phone.credentials(&answer, "SUBSCRIBE", &to, 1);
        let lines = format!("{credentials}{lines}");
        let text = inner.phone.within(&mut dialog, "SUBSCRIBE", &lines, "");
        inner.phone.send(&text);
        drop(inner);
        self.is_answered()
    }

    fn is_answered(&self) -> Message {
        super::wait_until("an answer", || self.lock().answered.pop())
    }

    /// Waits for a NOTIFY whose body has these words.
    pub(crate) fn is_notified(&self, words: &str) {
        let mut seen = 0;
        super::wait_until(&format!("a NOTIFY with {words:?}"), || {
            let inner = self.lock();
            seen = inner.notified.len();
            let found = |message: &Message| message.body().contains(words);
            inner.notified.iter().any(found).then_some(())
        });
    }
}

impl Inner {
    fn turn(&mut self) {
        while let Some(message) = self.phone.receive_within(Duration::from_millis(1)) {
            match message.status() {
                0 => self.request(&message),
                _ => self.response(&message),
            }
        }
        for call in &mut self.calls {
            call.media.receive();
            if call.state == State::Up {
                call.media.send();
            }
        }
    }

    fn new_call(&mut self, dialog: Dialog, lines: &str) -> CallId {
        let media = Media::new(self.phone.local.ip(), self.codecs[0]);
        self.calls.push(Call {
            state: State::Calling,
            dialog,
            lines: lines.to_owned(),
            incoming: None,
            cancelled: false,
            answers_again: false,
            status: 0,
            last: None,
            notified: Vec::new(),
            offers: 0,
            direction: "sendrecv",
            media,
        });
        self.calls.len() - 1
    }

    fn dials(&mut self, number: &str, lines: &str) -> CallId {
        let to = match number.contains('@') {
            true => format!("sip:{number}"),
            false => format!("sip:{number}@{DOMAIN}"),
        };
        let dialog = Dialog::out(&self.phone, &to);
        let id = self.new_call(dialog, lines);
        let body = self.offer(id);
        self.within(id, "INVITE", lines, &body);
        id
    }

    fn within(&mut self, id: CallId, method: &str, lines: &str, body: &str) {
        let dialog = &mut self.calls[id].dialog;
        let text = self.phone.within(dialog, method, lines, body);
        if method == "INVITE" {
            dialog.invite.clone_from(&text);
        }
        self.phone.send(&text);
    }

    /// A description of what a call's phone can do.
    fn offer(&mut self, id: CallId) -> String {
        let direction = self.calls[id].direction;
        let types: Vec<u8> = self.codecs.iter().map(|it| it.payload_type()).collect();
        let events = self.events;
        self.calls[id].media.describe(&types, events, direction)
    }

    /// The answer to an offer, which holds from now on.
    fn answer_to(&mut self, id: CallId, offer: &str) -> String {
        let Inner { calls, codecs, .. } = self;
        let call = &mut calls[id];
        let direction = match call.media.take(offer, codecs) {
            "sendonly" => "recvonly",
            "recvonly" => "sendonly",
            "inactive" => "inactive",
            _ => "sendrecv",
        };
        let codec = match call.media.codec {
            Codec::Opus => call.media.opus_type,
            codec => codec.payload_type(),
        };
        let events = call.media.events.min(self.events.saturating_mul(255));
        call.media.describe(&[codec], events, direction)
    }

    fn answers(&mut self, id: CallId) {
        let invite = self.calls[id].incoming.as_ref().expect("it came");
        let invite = Message::new(invite.to_string().as_bytes());
        // Who is told that there is nothing in common may come again with more.
        self.calls[id].answers_again = !self.accepts(id, &invite);
    }

    /// Answers what is offered; false: there is nothing in it that this phone can speak.
    fn accepts(&mut self, id: CallId, invite: &Message) -> bool {
        self.phone.description = match invite.body() {
            "" => self.offer(id),
            offer => self.answer_to(id, offer),
        };
        let accepts = invite.body().is_empty() || self.calls[id].media.is_known;
        let status = if accepts {
            "200 OK"
        } else {
            "488 Not Acceptable Here"
        };
        self.phone.responds(invite, status, "");
        accepts
    }

    fn hangs_up(&mut self, id: CallId) {
        let call = &mut self.calls[id];
        match (call.state, call.incoming.is_some()) {
            (State::Up, _) => self.within(id, "BYE", "", ""),
            (State::Over, _) => {}
            (_, false) => {
                call.cancelled = true;
                self.phone.cancels(&call.dialog);
            }
            (_, true) => {
                let invite = call.incoming.as_ref().expect("it came");
                self.phone
                    .responds(invite, "480 Temporarily Unavailable", "");
                call.end(None);
            }
        }
    }

    fn call_of(&self, message: &Message) -> Option<CallId> {
        let id = message.header("Call-ID");
        self.calls.iter().position(|call| call.dialog.call_id == id)
    }

    fn request(&mut self, request: &Message) {
        let Some(id) = self.call_of(request) else {
            return match request.method() {
                "INVITE" => self.rung(request),
                "NOTIFY" => {
                    self.phone.responds(request, "200 OK", "");
                    self.notified
                        .push(Message::new(request.to_string().as_bytes()));
                }
                "ACK" => {}
                "OPTIONS" => self.phone.responds(request, "200 OK", ""),
                _ => self
                    .phone
                    .responds(request, "481 Call/Transaction Does Not Exist", ""),
            };
        };
        let copy = Message::new(request.to_string().as_bytes());
        match request.method() {
            "ACK" => {
                let is_refused = self.calls[id].answers_again;
                if self.calls[id].state == State::Ringing && !is_refused {
                    let invite = self.calls[id].incoming.as_ref().expect("it came");
                    self.calls[id].dialog = Dialog::incoming(&self.phone, invite);
                    self.calls[id].state = State::Up;
                }
                if !request.body().is_empty() {
                    let Inner { calls, codecs, .. } = self;
                    calls[id].media.take(request.body(), codecs);
                }
            }
            "INVITE" if !request.header("To").contains("tag=") => {
                self.calls[id].dialog = Dialog::incoming(&self.phone, request);
                self.calls[id].incoming = Some(copy);
                if self.calls[id].answers_again {
                    self.answers(id);
                }
            }
            "INVITE" | "UPDATE" => {
                self.calls[id].offers += 1;
                self.accepts(id, request);
            }
            "CANCEL" => {
                self.phone.responds(request, "200 OK", "");
                let invite = self.calls[id].incoming.as_ref().expect("it came");
                self.phone.responds(invite, "487 Request Terminated", "");
                self.calls[id].end(Some(copy));
            }
            "BYE" => {
                self.phone.responds(request, "200 OK", "");
                self.calls[id].end(Some(copy));
            }
            "NOTIFY" => {
                self.phone.responds(request, "200 OK", "");
                self.calls[id].notified.push(copy);
            }
            _ => self.phone.responds(request, "200 OK", ""),
        }
    }

    fn rung(&mut self, invite: &Message) {
        let dialog = Dialog::incoming(&self.phone, invite);
        let id = self.new_call(dialog, "");
        let call = &mut self.calls[id];
        call.state = State::Ringing;
        call.incoming = Some(Message::new(invite.to_string().as_bytes()));
        self.phone.responds(invite, "180 Ringing", "");
    }

    fn response(&mut self, response: &Message) {
        let (number, method) = response.cseq();
        let status = response.status();
        let known = self.call_of(response);
        let copy = Message::new(response.to_string().as_bytes());
        let Some(id) = known else {
            if status >= 200 {
                self.answered.push(copy);
            }
            return;
        };
        if method != "INVITE" {
            if method == "BYE" && status >= 200 {
                self.calls[id].end(Some(copy));
            } else if method == "REFER" {
                self.calls[id].status = status;
            }
            return;
        }
        if number != self.calls[id].dialog.cseq && status >= 300 {
            return;
        }
        match status {
            100 => {}
            101..200 => {
                self.calls[id].status = status;
                self.learn(id, response);
            }
            200..300 => {
                if self.calls[id].dialog.remote_tag.is_empty() {
                    self.calls[id].dialog.learn(response);
                }
                self.learn(id, response);
                self.phone.acknowledges(&mut self.calls[id].dialog);
                self.calls[id].status = status;
                self.calls[id].state = State::Up;
                if self.calls[id].cancelled {
                    self.within(id, "BYE", "", "");
                }
            }
            _ => self.refused(id, copy),
        }
    }

    fn refused(&mut self, id: CallId, refusal: Message) {
        let status = refusal.status();
        self.phone
            .acknowledges_refusal(&self.calls[id].dialog, &refusal);
        let call = &self.calls[id];
        if matches!(status, 401 | 407) && call.dialog.cseq == 1 {
            let (uri, lines) = (call.dialog.remote.clone(), call.lines.clone());
            let credentials = self.phone.credentials(&refusal, "INVITE", &uri, 1);
            let body = self.offer(id);
            return self.within(id, "INVITE", &format!("{lines}{credentials}"), &body);
        }
        self.calls[id].status = status;
        if self.calls[id].state != State::Up {
            self.calls[id].end(Some(refusal));
        }
    }

    fn learn(&mut self, id: CallId, message: &Message) {
        let Inner { calls, codecs, .. } = self;
        if !message.body().is_empty() {
            calls[id].media.take(message.body(), codecs);
        }
    }
}

impl Call {
    fn end(&mut self, last: Option<Message>) {
        if self.state != State::Over {
            self.state = State::Over;
            self.last = last;
        }
    }

    /// How many packets of sound came.
    pub(crate) fn packets(&self) -> usize {
        self.media.packets
    }

    pub(crate) fn heard(&self) -> &[i16] {
        &self.media.heard
    }

    pub(crate) fn number(&self) -> &str {
        &self.dialog.call_id
    }
}

impl Media {
    fn new(address: IpAddr, codec: Codec) -> Media {
        let socket = UdpSocket::bind((address, 0)).expect("a free port");
        socket.set_nonblocking(true).expect("an option");
        Media {
            socket,
            to: None,
            codec,
            events: EVENTS,
            sends: true,
            version: 0,
            sequence: 1,
            timestamp: 0,
            due: Instant::now(),
            says: Says::Nothing,
            at: 0,
            digits: VecDeque::new(),
            digit: None,
            encoder: g722::Encoder::default(),
            decoder: g722::Decoder::default(),
            opus: opus_of_phone(),
            lie: None,
            loses: None,
            opus_type: Codec::Opus.payload_type(),
            is_known: false,
            heard: Vec::new(),
            packets: 0,
            from: None,
        }
    }

    fn describe(&mut self, types: &[u8], events: u8, direction: &str) -> String {
        self.version += 1;
        let own = self.socket.local_addr().expect("bound");
        let (address, version) = (own.ip(), self.version);
        let mut text = format!(
            "v=0\r\no=- 1 {version} IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\nm=audio {} RTP/AVP",
            own.port()
        );
        for one in types {
            write!(text, " {one}").expect("memory");
        }
        if events > 0 {
            write!(
                text,
                " {events}\r\na=rtpmap:{events} telephone-event/8000\r\na=fmtp:{events} 0-16"
            )
            .expect("memory");
        }
        if let Some(number) = types.iter().find(|&&number| number > 95) {
            write!(text, "\r\na=rtpmap:{number} opus/48000/2").expect("memory");
        }
        write!(text, "\r\na={direction}\r\n").expect("memory");
        text
    }

    /// Does as a description says; gives its direction.
    fn take(&mut self, description: &str, codecs: &[Codec]) -> &'static str {
        let lines = || description.lines().map(str::trim);
        let after = |prefix: &'static str| lines().find_map(move |line| line.strip_prefix(prefix));
        let words = || after("m=audio ").unwrap_or_default().split(' ');
        let port: u16 = words()
            .next()
            .and_then(|port| port.parse().ok())
            .unwrap_or(0);
        let address = after("c=IN IP4 ").and_then(|text| text.parse::<IpAddr>().ok());
        self.to = address
            .filter(|address| !address.is_unspecified() && port > 0)
            .map(|address| SocketAddr::new(address, port));
        let opus = lines().find_map(|line| {
            let (number, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            number
                .parse::<u8>()
                .ok()
                .filter(|_| name.eq_ignore_ascii_case("opus/48000/2"))
        });
        let types = words().skip(2).filter_map(|word| word.parse().ok());
        let known = types
            .filter_map(|number| match opus == Some(number) {
                true => Some(Codec::Opus),
                false => Codec::of(number),
            })
            .find(|codec| codecs.contains(codec));
        self.opus_type = opus.unwrap_or(Codec::Opus.payload_type());
        self.codec = known.unwrap_or(self.codec);
        self.is_known = known.is_some();
        let events = lines().find_map(|line| {
            let (number, name) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            let is_events = name.eq_ignore_ascii_case("telephone-event/8000");
            number.parse().ok().filter(|_| is_events)
        });
        self.events = events.unwrap_or(0);
        let directions = ["sendonly", "recvonly", "inactive"];
        let direction = directions
            .into_iter()
            .find(|word| lines().any(|line| line == format!("a={word}")));
        let direction = direction.unwrap_or("sendrecv");
        self.sends = matches!(direction, "sendrecv" | "recvonly");
        direction
    }

    fn receive(&mut self) {
        let mut room = [0; 2_048];
        while let Ok((size, from)) = self.socket.recv_from(&mut room) {
            self.packets += 1;
            self.from = Some(from);
            let Some(payload) = room[..size].get(12..) else {
                continue;
            };
            let codec = match room[1] & 0x7f {
                number if number == self.opus_type => Some(Codec::Opus),
                number => Codec::of(number),
            };
            match codec {
                Some(Codec::Pcmu) => self
                    .heard
                    .extend(payload.iter().map(|&code| Law::Mu.decode_sample(code))),
                Some(Codec::Pcma) => self
                    .heard
                    .extend(payload.iter().map(|&code| Law::A.decode_sample(code))),
                Some(Codec::G722) => {
                    let mut sound = vec![0; payload.len() * 2];
                    self.decoder.decode(payload, &mut sound);
                    let halves = sound.chunks_exact(2);
                    self.heard.extend(
                        halves.map(|two| ((i32::from(two[0]) + i32::from(two[1])) / 2) as i16),
                    );
                }
                Some(Codec::Opus) => {
                    let mut sound = [0; 960];
                    let count = self.opus.1.decode(payload, &mut sound).unwrap_or(0);
                    self.heard.extend(&sound[..count]);
                }
                None => {}
            }
        }
    }

    fn send(&mut self) {
        let now = Instant::now();
        // A phone that was stopped for long does not make up for it.
        if now > self.due + 25 * FRAME {
            self.due = now;
        }
        while self.due <= now {
            self.due += FRAME;
            self.frame();
        }
    }

    fn frame(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(SAMPLES as u32);
        let Some(to) = self.to.filter(|_| self.sends) else {
            return;
        };
        if self.digit.is_none()
            && let Some(key) = self.digits.pop_front()
        {
            self.digit = Some((key, 0, self.timestamp));
        }
        let [held, ends, pause] = DIGIT_PACKETS;
        if let Some((key, at, began)) = &mut self.digit {
            *at += 1;
            let (at, began) = (*at, *began);
            let event = Digit::of_sign(*key).expect("a key").event();
            if at > held + pause {
                self.digit = None;
            } else if at <= held {
                let duration = (at * SAMPLES) as u16;
                self.event(to, (event, began, duration), false, at == 1);
                if at == held {
                    for _ in 0..ends {
                        self.event(to, (event, began, duration), true, false);
                    }
                }
                return;
            }
        }
        let samples = self.next_samples();
        let codec = self.lie.unwrap_or(self.codec);
        let payload = match codec {
            Codec::Pcmu => samples.map(|it| Law::Mu.encode_sample(it)).to_vec(),
            Codec::Pcma => samples.map(|it| Law::A.encode_sample(it)).to_vec(),
            Codec::G722 => {
                let doubled: Vec<i16> = samples.iter().flat_map(|&it| [it, it]).collect();
                let mut codes = [0; SAMPLES];
                self.encoder.encode(&doubled, &mut codes);
                codes.to_vec()
            }
            Codec::Opus => {
                let mut payload = vec![0; opus::PAYLOAD_BYTES_MAX];
                let count = self.opus.0.encode(&samples, &mut payload).expect("a frame");
                payload[..count].to_vec()
            }
        };
        let (number, timestamp) = match codec {
            // Opus counts 48,000 a second, whatever the rate (RFC 7587 section 4.1).
            Codec::Opus => (self.opus_type, self.timestamp.wrapping_mul(6)),
            _ => (codec.payload_type(), self.timestamp),
        };
        self.packet(to, (number, timestamp), &payload, false);
    }

    fn event(
        &mut self,
        to: SocketAddr,
        (event, began, duration): (u8, u32, u16),
        is_end: bool,
        is_first: bool,
    ) {
        let [high, low] = duration.to_be_bytes();
        let payload = [event, if is_end { 0x8a } else { 0x0a }, high, low];
        let events = self.events;
        if events > 0 {
            self.packet(to, (events, began), &payload, is_first);
        }
    }

    fn packet(
        &mut self,
        to: SocketAddr,
        (payload_type, timestamp): (u8, u32),
        payload: &[u8],
        is_first: bool,
    ) {
        let port = self.socket.local_addr().expect("bound").port();
        let marker = if is_first { 0x80 } else { 0 };
        let mut packet = vec![0x80, payload_type | marker];
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(timestamp.to_be_bytes());
        packet.extend(u32::from(port).to_be_bytes());
        packet.extend(payload);
        self.sequence = self.sequence.wrapping_add(1);
        let is_lost = |every| self.sequence.is_multiple_of(every);
        if self.loses.is_some_and(is_lost) {
            return;
        }
        // Nobody may be there any more.
        let _ = self.socket.send_to(&packet, to);
    }

    fn next_samples(&mut self) -> [i16; SAMPLES] {
        let from = self.at;
        self.at += SAMPLES;
        match &self.says {
            Says::Nothing => [0; SAMPLES],
            Says::Tone(hz) => std::array::from_fn(|at| {
                let turn = std::f64::consts::TAU * hz * (from + at) as f64 / 8_000.0;
                (8_000.0 * turn.sin()) as i16
            }),
            Says::Sound(sound) => {
                std::array::from_fn(|at| sound.get(from + at).copied().unwrap_or(0))
            }
        }
    }
}

fn opus_of_phone() -> (opus::Encoder, opus::Decoder) {
    let settings = opus::Settings {
        rate: SampleRate::Hz8000,
        ..opus::Settings::default()
    };
    let encoder = opus::Encoder::new(&settings).expect("memory");
    (
        encoder,
        opus::Decoder::new(SampleRate::Hz8000).expect("memory"),
    )
}

/// Both hear what the other one says, and what they say from now on are tones of their own.
pub(crate) fn hear_each_other(one: (&Talker, CallId), other: (&Talker, CallId)) {
    const TONES_HZ: [f64; 2] = [500.0, 900.0];
    one.0.says(one.1, Says::Tone(TONES_HZ[0]));
    other.0.says(other.1, Says::Tone(TONES_HZ[1]));
    one.0.hears_tone(one.1, TONES_HZ[1]);
    other.0.hears_tone(other.1, TONES_HZ[0]);
}
