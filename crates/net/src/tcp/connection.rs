//! One connection: reading, writing and its timers, in one task.

use super::{CloseReason, FRAMING_LINGER, Flow, STREAM_QUEUE_MAX_BYTES, StreamSink};
use sip::frame::{Frame, FrameLimits, Framer};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep};

/// Bytes read in one call.
const READ_BYTES: usize = 16_384;
/// Most reads before other connections have their turn.
const READS_PER_TURN: usize = 8;
/// Most messages written in one call.
const SLICES_PER_WRITE: usize = 64;
/// How long a connection that is to be closed may take to send what is queued.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection's task is told.
#[derive(Clone, Debug)]
pub(super) enum Command {
    Send(Vec<u8>),
    IdleTimeout(Duration),
    Close,
    Overflow,
    Shutdown { deadline: Instant },
}

/// The way to a connection's task.
#[derive(Clone)]
pub(super) struct Link {
    commands: mpsc::UnboundedSender<Command>,
    /// Bytes queued and not yet written. The channel has no bound of its own: this is it.
    queued_bytes: Arc<AtomicUsize>,
}

/// The queue is full.
pub(super) struct Full;

/// A way to a task that does not run yet, and its end.
pub(super) fn link() -> (Link, mpsc::UnboundedReceiver<Command>) {
    let (commands, receiver) = mpsc::unbounded_channel();
    (
        Link {
            commands,
            queued_bytes: Arc::new(AtomicUsize::new(0)),
        },
        receiver,
    )
}

impl Link {
    /// Queues a message. One that goes to a task which has just ended is lost like one on the way.
    pub(super) fn queue(&self, bytes: Vec<u8>) -> Result<(), Full> {
        self.reserve(bytes.len())?;
        self.command(Command::Send(bytes));
        Ok(())
    }

    /// False if the task has ended.
    pub(super) fn command(&self, command: Command) -> bool {
        self.commands.send(command).is_ok()
    }

    fn reserve(&self, size: usize) -> Result<(), Full> {
        let before = self.queued_bytes.fetch_add(size, Ordering::Relaxed);
        if before.saturating_add(size) > STREAM_QUEUE_MAX_BYTES {
            self.release(size);
            return Err(Full);
        }
        Ok(())
    }

    fn release(&self, size: usize) {
        self.queued_bytes.fetch_sub(size, Ordering::Relaxed);
    }
}

/// The times and limits that a connection keeps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) frame_limits: FrameLimits,
    pub(super) idle_timeout: Duration,
    pub(super) first_message_timeout: Duration,
    pub(super) message_timeout: Duration,
    pub(super) write_timeout: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Open,
    /// What comes is thrown away; an answer may still be queued.
    Lingering {
        reason: CloseReason,
        until: Instant,
    },
    /// Nothing more is queued or read; what is queued is sent.
    Finishing {
        reason: CloseReason,
        until: Instant,
    },
}

pub(super) struct Connection<'a, S, L> {
    stream: S,
    flow: Flow,
    rules: Rules,
    link: Link,
    commands: mpsc::UnboundedReceiver<Command>,
    sink: &'a dyn StreamSink,
    /// Takes the connection out of the hub's table, so that nothing more is queued.
    leave: L,
    framer: Framer,
    unsent: VecDeque<Vec<u8>>,
    /// Bytes of the first unsent message that are written already.
    written: usize,
    flushed: bool,
    phase: Phase,
    active_at: Instant,
    /// When a connection that has not brought a message yet is given up; none for one that has, and for
    /// one that was opened from here.
    first_message_by: Option<Instant>,
    partial_since: Option<Instant>,
    stalled_since: Option<Instant>,
}

impl<'a, S, L> Connection<'a, S, L>
where
    S: AsyncRead + AsyncWrite + Unpin,
    L: Fn(),
{
    pub(super) fn new(
        stream: S,
        flow: Flow,
        rules: Rules,
        link: Link,
        commands: mpsc::UnboundedReceiver<Command>,
        sink: &'a dyn StreamSink,
        leave: L,
    ) -> Self {
        let opened_at = Instant::now();
        Connection {
            stream,
            flow,
            rules,
            link,
            commands,
            sink,
            leave,
            framer: Framer::new(rules.frame_limits),
            unsent: VecDeque::new(),
            written: 0,
            flushed: true,
            phase: Phase::Open,
            active_at: opened_at,
            first_message_by: flow
                .inbound
                .then(|| opened_at + rules.first_message_timeout),
            partial_since: None,
            stalled_since: None,
        }
    }

    /// Runs until the connection is closed, beginning with the `early` commands.
    pub(super) async fn run(mut self, early: Vec<Command>) -> CloseReason {
        if let Some(reason) = early.into_iter().find_map(|command| self.obey(command)) {
            return reason;
        }
        let mut timer = pin!(tokio::time::sleep_until(self.deadline().0));
        poll_fn(|cx| self.poll(cx, timer.as_mut())).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, mut timer: Pin<&mut Sleep>) -> Poll<CloseReason> {
        loop {
            if let Some(reason) = self.take_commands(cx) {
                return Poll::Ready(reason);
            }
            if let Phase::Finishing { reason, .. } = self.phase {
                // A peer that is gone before all is sent changes nothing about the reason.
                if self.poll_finish(cx).is_ready() {
                    return Poll::Ready(reason);
                }
            } else {
                if let Poll::Ready(Err(error)) = self.poll_write(cx) {
                    return Poll::Ready(broken(&error));
                }
                let waiting = self.unsent.len();
                if let Err(error) = self.read(cx) {
                    return Poll::Ready(broken(&error));
                }
                let answers = self.unsent.len() > waiting && waiting == 0;
                if answers || matches!(self.phase, Phase::Finishing { .. }) {
                    continue;
                }
            }
            match self.poll_deadline(cx, timer.as_mut()) {
                Poll::Ready(Some(reason)) => return Poll::Ready(reason),
                Poll::Ready(None) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Takes in what the hub says; a reason to end at once.
    fn take_commands(&mut self, cx: &mut Context<'_>) -> Option<CloseReason> {
        while let Poll::Ready(command) = self.commands.poll_recv(cx) {
            if let Some(reason) = self.obey(command?) {
                return Some(reason);
            }
        }
        None
    }

    fn obey(&mut self, command: Command) -> Option<CloseReason> {
        match command {
            Command::Send(bytes) if bytes.is_empty() => {}
            Command::Send(bytes) => {
                self.active_at = Instant::now();
                self.unsent.push_back(bytes);
            }
            Command::IdleTimeout(timeout) => self.rules.idle_timeout = timeout,
            Command::Overflow => return Some(CloseReason::QueueFull),
            Command::Close => self.finish(CloseReason::Requested, Instant::now() + FINISH_TIMEOUT),
            Command::Shutdown { deadline } => self.finish(CloseReason::Shutdown, deadline),
        }
        None
    }

    fn finish(&mut self, reason: CloseReason, until: Instant) {
        let (reason, until) = match self.phase {
            Phase::Finishing {
                reason: first,
                until: before,
            } => (first, until.min(before)),
            Phase::Lingering { reason: first, .. } => (first, until),
            Phase::Open => (reason, until),
        };
        (self.leave)();
        self.partial_since = None;
        self.phase = Phase::Finishing { reason, until };
    }

    /// Writes what is queued, several messages a call.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
            let mut skip = self.written;
            let mut count = 0;
            for (slice, message) in slices.iter_mut().zip(&self.unsent) {
                *slice = IoSlice::new(&message[skip..]);
                skip = 0;
                count += 1;
            }
            let stream = Pin::new(&mut self.stream);
            let Poll::Ready(outcome) = stream.poll_write_vectored(cx, &slices[..count]) else {
                self.stalled_since.get_or_insert_with(Instant::now);
                return Poll::Pending;
            };
            match outcome? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => self.wrote(count),
            }
        }
        if !self.flushed {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.flushed = true;
        }
        Poll::Ready(Ok(()))
    }

    fn wrote(&mut self, count: usize) {
        self.flushed = false;
        self.stalled_since = None;
        self.link.release(count);
        self.written += count;
        while let Some(first) = self.unsent.front()
            && self.written >= first.len()
        {
            self.written -= first.len();
            self.unsent.pop_front();
        }
        if self.unsent.is_empty() && self.unsent.capacity() > SLICES_PER_WRITE {
            self.unsent = VecDeque::new();
        }
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Reads what is there, in turns.
    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        for _ in 0..READS_PER_TURN {
            // On the stack of this call only: an idle connection holds no buffer.
            let mut room = [MaybeUninit::uninit(); READ_BYTES];
            let mut room = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
                Poll::Pending => {
                    self.framer.release();
                    return Ok(());
                }
                Poll::Ready(outcome) => outcome?,
            }
            if room.filled().is_empty() {
                self.finish(CloseReason::Peer, Instant::now() + FINISH_TIMEOUT);
                return Ok(());
            }
            if let Phase::Open = self.phase {
                self.active_at = Instant::now();
                self.framer.push(room.filled());
                self.take_frames();
            }
        }
        cx.waker().wake_by_ref();
        Ok(())
    }

    fn take_frames(&mut self) {
        let mut framed = false;
        loop {
            match self.framer.poll() {
                Frame::NeedMore => break,
                Frame::KeepAlivePing => self.answer_ping(),
                Frame::Message(bytes) => {
                    framed = true;
                    self.first_message_by = None;
                    self.sink.message(self.flow, bytes.to_vec());
                }
                Frame::Error { error, bytes } => {
                    let bytes = bytes.to_vec();
                    self.sink.framing_error(self.flow, error, bytes);
                    let reason = CloseReason::Framing(error);
                    let now = Instant::now();
                    self.partial_since = None;
                    if error.status().is_some() {
                        self.phase = Phase::Lingering {
                            reason,
                            until: now + FRAMING_LINGER,
                        };
                    } else {
                        self.finish(reason, now + FINISH_TIMEOUT);
                    }
                    return;
                }
            }
        }
        if framed || !self.framer.is_partial() {
            self.partial_since = None;
        }
        if self.framer.is_partial() {
            self.partial_since.get_or_insert(self.active_at);
        }
    }

    /// RFC 5626 section 4.4.1. A peer that pings and does not read is not answered beyond the queue's
    /// limit; the write timeout sees to it.
    fn answer_ping(&mut self) {
        const PONG: &[u8] = b"\r\n";
        if self.link.reserve(PONG.len()).is_ok() {
            self.unsent.push_back(PONG.to_vec());
        }
    }

    /// When to look again, and why the connection ends then.
    fn deadline(&self) -> (Instant, CloseReason) {
        let idle_at = self.active_at + self.rules.idle_timeout;
        let idle = match self.phase {
            Phase::Open => match self.first_message_by {
                Some(by) if by < idle_at => (by, CloseReason::Silent),
                _ => (idle_at, CloseReason::Idle),
            },
            Phase::Lingering { reason, until } | Phase::Finishing { reason, until } => {
                (until, reason)
            }
        };
        let partial = self.partial_since.map(|since| {
            (
                since + self.rules.message_timeout,
                CloseReason::PartialMessage,
            )
        });
        let stalled = self
            .stalled_since
            .map(|since| (since + self.rules.write_timeout, CloseReason::WriteStalled));
        // Where several fall on one moment, the first of these is the reason that says most.
        let first = [stalled, partial, Some(idle)].into_iter().flatten();
        first.min_by_key(|(at, _)| *at).unwrap_or(idle)
    }

    /// Ready with a reason to end now, ready with none when the phase has changed. The timer is set
    /// anew only when it is late: activity moves the deadline back, and that is seen when it fires.
    fn poll_deadline(
        &mut self,
        cx: &mut Context<'_>,
        mut timer: Pin<&mut Sleep>,
    ) -> Poll<Option<CloseReason>> {
        let first = self.deadline().0;
        if first < timer.deadline() {
            timer.as_mut().reset(first);
        }
        let (at, why) = loop {
            ready!(timer.as_mut().poll(cx));
            let (at, why) = self.deadline();
            if at <= Instant::now() {
                break (at, why);
            }
            timer.as_mut().reset(at);
        };
        match self.phase {
            Phase::Lingering { until, .. } if at == until => {
                self.finish(why, Instant::now() + FINISH_TIMEOUT);
                Poll::Ready(None)
            }
            _ => Poll::Ready(Some(why)),
        }
    }
}

fn broken(error: &io::Error) -> CloseReason {
    CloseReason::Broken(error.kind())
}
