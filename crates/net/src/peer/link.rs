//! One link, from its greeting on.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use rustls::Connection;

use super::error::PeerError;
use crate::sys;

/// Most bytes of urgent frames that wait for a node; one more ends the link.
pub const URGENT_BYTES_MAX: usize = 64 * 1024;
/// Most bytes of other frames that wait for a node: more than the window of a snapshot and its stream. One more ends
/// the link.
pub const BULK_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Longest frame that is taken, in bytes, its length included.
const FRAME_BYTES_MAX: usize = 512 * 1024;
/// Bytes of bulk that are given to TLS at a time, but for the last frame's.
const BULK_PIECE_BYTES: usize = 16 * 1024;
/// What the kernel takes ahead of the network: urgent frames wait behind no more than this.
const UNSENT_BYTES: i32 = 64 * 1024;
/// Readings of the socket in a turn.
const READS_PER_TURN: usize = 32;
/// Plain bytes taken from TLS at a time.
const PLAIN_BYTES: usize = 16 * 1024;
/// A reading that brings less has left nothing in the socket: TLS asks for this much at least.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Which frames go first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Heartbeats and their answers.
    Urgent,
    /// Everything else.
    Bulk,
}

/// A link to a node.
pub(super) struct Link {
    pub(super) socket: TcpStream,
    tls: Connection,
    incoming: Vec<u8>,
    /// Where TLS puts plain bytes.
    plain: Box<[u8]>,
    urgent: Vec<u8>,
    bulk: Vec<u8>,
    /// How much of `bulk` has gone.
    bulk_gone: usize,
    /// Whether the poller is asked for room to send.
    pub(super) wants_write: bool,
}

impl Link {
    pub(super) fn new(
        socket: TcpStream,
        mut tls: Connection,
        incoming: Vec<u8>,
    ) -> io::Result<Link> {
        socket.set_nonblocking(true)?;
        sys::set_option(
            &socket,
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            UNSENT_BYTES,
        )?;
        tls.set_buffer_limit(None);
        Ok(Link {
            socket,
            tls,
            incoming,
            plain: vec![0; PLAIN_BYTES].into_boxed_slice(),
            urgent: Vec::new(),
            bulk: Vec::new(),
            bulk_gone: 0,
            wants_write: false,
        })
    }

    /// Queues a frame.
    pub(super) fn send(&mut self, lane: Lane, frame: &[u8]) -> Result<(), PeerError> {
        let (queue, waiting, max) = match lane {
            Lane::Urgent => (&mut self.urgent, 0, URGENT_BYTES_MAX),
            Lane::Bulk => (&mut self.bulk, self.bulk_gone, BULK_BYTES_MAX),
        };
        if queue.len() - waiting + frame.len() > max {
            return Err(PeerError::QueueFull);
        }
        queue.extend_from_slice(frame);
        Ok(())
    }

    /// Bytes that wait here.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.urgent.len() + self.bulk.len() - self.bulk_gone
    }

    /// Gives the kernel what it takes; whether more waits for room.
    pub(super) fn flush(&mut self) -> Result<bool, PeerError> {
        loop {
            while self.tls.wants_write() {
                match self.tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(PeerError::Connection { error }),
                }
            }
            if !self.urgent.is_empty() {
                self.tls.writer().write_all(&self.urgent)?;
                self.urgent.clear();
            } else if !self.write_bulk()? {
                return Ok(false);
            }
        }
    }

    /// Gives TLS some whole frames; whether there were any.
    fn write_bulk(&mut self) -> Result<bool, PeerError> {
        let waiting = &self.bulk[self.bulk_gone..];
        let mut piece = 0;
        while piece < BULK_PIECE_BYTES
            && let Some(length) = waiting[piece..].first_chunk::<4>()
        {
            piece += 4 + u32::from_be_bytes(*length) as usize;
        }
        if piece == 0 {
            return Ok(false);
        }
        self.tls.writer().write_all(&waiting[..piece])?;
        self.bulk_gone += piece;
        if self.bulk_gone == self.bulk.len() {
            self.bulk.clear();
            self.bulk_gone = 0;
        } else if self.bulk_gone > BULK_BYTES_MAX / 8 {
            self.bulk.drain(..self.bulk_gone);
            self.bulk_gone = 0;
        }
        Ok(true)
    }

    /// Takes what has come; `each` gets whole frames, empty ones left out. Whether anything came.
    pub(super) fn receive(&mut self, mut each: impl FnMut(&[u8])) -> Result<bool, PeerError> {
        let mut any = !self.incoming.is_empty();
        self.frames(&mut each)?;
        for _ in 0..READS_PER_TURN {
            let read = match self.tls.read_tls(&mut self.socket) {
                Ok(0) => {
                    let error = io::ErrorKind::ConnectionAborted.into();
                    return Err(PeerError::Connection { error });
                }
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(PeerError::Connection { error }),
            };
            any = true;
            self.tls.process_new_packets()?;
            self.plain()?;
            self.frames(&mut each)?;
            if read < READ_BYTES_MIN {
                break;
            }
        }
        Ok(any)
    }

    /// Takes the plain bytes out of TLS.
    fn plain(&mut self) -> Result<(), PeerError> {
        loop {
            match self.tls.reader().read(&mut self.plain) {
                Ok(0) => {
                    let error = io::ErrorKind::ConnectionAborted.into();
                    return Err(PeerError::Connection { error });
                }
                Ok(length) => self.incoming.extend_from_slice(&self.plain[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(PeerError::Connection { error }),
            }
        }
    }

    fn frames(&mut self, each: &mut impl FnMut(&[u8])) -> Result<(), PeerError> {
        let mut begin = 0;
        while let Some(length) = self.incoming[begin..].first_chunk::<4>() {
            let end = begin + 4 + u32::from_be_bytes(*length) as usize;
            if end - begin > FRAME_BYTES_MAX {
                return Err(PeerError::Garbage);
            }
            let Some(frame) = self.incoming.get(begin..end) else {
                break;
            };
            if frame.len() > 4 {
                each(frame);
            }
            begin = end;
        }
        self.incoming.drain(..begin);
        Ok(())
    }
}
