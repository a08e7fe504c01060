//! Datagrams going out.

use super::{DeliveryError, UdpSocket};
use crate::sys::{Outgoing, SendSlots};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::os::fd::AsFd;

/// Most bytes kept for later when the socket takes no more. The youngest datagrams beyond it are
/// dropped and counted in [`FlushReport::dropped`]; SIP sends again what was lost.
pub const SEND_BACKLOG_MAX_BYTES: usize = 4 << 20;

/// Most datagrams kept for later when the socket takes no more.
pub const SEND_BACKLOG_MAX_DATAGRAMS: usize = 8_192;

/// An error of sendmmsg(2) that may be about an earlier datagram is stepped over this often before
/// it is taken to be about the datagram at hand.
const PENDING_ERRORS_MAX: usize = 4;

/// What became of the datagrams of a [`SendBatch`] in one flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "kept datagrams need another flush when the socket is writable"]
pub struct FlushReport {
    /// Handed to the kernel.
    pub sent: usize,
    /// Kept because the socket takes no more: flush again when it is writable.
    pub kept: usize,
    /// Dropped because the backlog was full.
    pub dropped: usize,
    /// Refused by the kernel; [`SendBatch::failures`] says which and why.
    pub failed: usize,
}

/// A datagram the kernel refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendFailure {
    /// Where it was to go.
    pub destination: SocketAddr,
    /// Why it did not.
    pub error: DeliveryError,
}

#[derive(Debug)]
struct Entry {
    range: Range<usize>,
    destination: SocketAddr,
    source: Option<IpAddr>,
}

/// Datagrams to be sent together. Their bytes lie one after the other in one buffer, which keeps
/// its room: after warm-up a datagram allocates nothing.
pub struct SendBatch {
    arena: Vec<u8>,
    entries: Vec<Entry>,
    failures: Vec<SendFailure>,
    slots: SendSlots,
}

impl SendBatch {
    /// An empty batch.
    pub fn new() -> SendBatch {
        SendBatch {
            arena: Vec::new(),
            entries: Vec::new(),
            failures: Vec::new(),
            slots: SendSlots::new(),
        }
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.arena.clear();
        self.entries.clear();
    }

    /// Number of datagrams waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when no datagram waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Adds a datagram to `destination`, from the local address `source` if given (which has to be
    /// an address of this machine). `write` appends the payload to the buffer it is given and leaves
    /// what is already in there alone; if it appends nothing, no datagram is added.
    pub fn push_with(
        &mut self,
        destination: SocketAddr,
        source: Option<IpAddr>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let start = self.arena.len();
        write(&mut self.arena);
        let end = self.arena.len();
        debug_assert!(end >= start, "the payload is appended");
        if end > start {
            self.entries.push(Entry {
                range: start..end,
                destination,
                source,
            });
        }
    }

    /// Adds a datagram with the payload `bytes`; see [`push_with`](Self::push_with).
    pub fn push(&mut self, destination: SocketAddr, source: Option<IpAddr>, bytes: &[u8]) {
        self.push_with(destination, source, |buffer| {
            buffer.extend_from_slice(bytes)
        });
    }

    /// Sends what waits, in order. Never blocks.
    pub fn flush(&mut self, socket: &UdpSocket) -> FlushReport {
        self.failures.clear();
        let mut report = FlushReport::default();
        let mut head = 0;
        let mut stepped_over = 0;
        while head < self.entries.len() {
            let waiting = self.entries[head..].iter().map(|entry| Outgoing {
                bytes: &self.arena[entry.range.clone()],
                destination: entry.destination,
                source: entry.source,
            });
            let error = match self.slots.send(socket.as_fd(), socket.is_v6(), waiting) {
                Ok(count) => {
                    head += count;
                    report.sent += count;
                    stepped_over = 0;
                    continue;
                }
                Err(error) => error,
            };
            let errno = error.raw_os_error().unwrap_or(0);
            if error.kind() == io::ErrorKind::WouldBlock {
                break;
            }
            if errno == libc::EINTR {
                continue;
            }
            if DeliveryError::may_be_pending(errno) && stepped_over < PENDING_ERRORS_MAX {
                stepped_over += 1;
                continue;
            }
            let destination = self.entries[head].destination;
            self.failures.push(SendFailure {
                destination,
                error: DeliveryError::of(errno),
            });
            head += 1;
            report.failed += 1;
            stepped_over = 0;
        }
        report.dropped = self.keep_from(head);
        report.kept = self.entries.len();
        report
    }

    /// The datagrams that the kernel refused in the last flush.
    pub fn failures(&self) -> &[SendFailure] {
        &self.failures
    }

    #[cfg(test)]
    pub(super) fn redirect(&mut self, entry: usize, destination: SocketAddr) {
        self.entries[entry].destination = destination;
    }

    /// Forgets the entries before `head`, and the youngest ones beyond the backlog's limits.
    /// Returns how many of the latter there were.
    pub(super) fn keep_from(&mut self, head: usize) -> usize {
        self.entries.drain(..head);
        let Some(first) = self.entries.first() else {
            self.arena.clear();
            return 0;
        };
        let start = first.range.start;
        let within = self.entries.iter().take(SEND_BACKLOG_MAX_DATAGRAMS);
        let kept = within
            .take_while(|e| e.range.end - start <= SEND_BACKLOG_MAX_BYTES)
            .count();
        let dropped = self.entries.len() - kept;
        self.entries.truncate(kept);
        let end = self.entries.last().map_or(start, |last| last.range.end);
        self.arena.truncate(end);
        self.arena.drain(..start);
        for entry in &mut self.entries {
            entry.range = entry.range.start - start..entry.range.end - start;
        }
        dropped
    }
}

impl Default for SendBatch {
    fn default() -> SendBatch {
        SendBatch::new()
    }
}

impl fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendBatch")
            .field("len", &self.len())
            .finish()
    }
}
