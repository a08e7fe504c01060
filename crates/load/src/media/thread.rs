//! The thread that sends and receives the sound.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use net::media::{Media, MediaOptions, Sent};
use net::poll::Waker;

use super::{Command, PACKET_US, SLOTS, Streams};
use crate::clock::Clock;
use crate::station::Port;
use crate::tally::Tally;

const SLOT_US: u64 = PACKET_US / SLOTS;
/// How often what was counted is shown.
const SHOW_US: u64 = 500_000;

#[derive(Debug)]
pub(super) enum Word {
    Command(Command),
    Stop,
}

/// The sockets that a media thread begins with.
#[derive(Debug)]
pub(crate) struct Bound {
    pub(super) media: Media,
    pub(crate) ports: Vec<Port>,
}

impl Bound {
    /// Opens `count` sockets, spread over the addresses.
    ///
    /// # Errors
    /// The machine has not that many.
    pub(crate) fn open(addresses: &[IpAddr], count: u32) -> io::Result<Bound> {
        let options = MediaOptions {
            delay_max: Duration::from_micros(500),
            ..MediaOptions::default()
        };
        let mut media = Media::new(options)?;
        let mut ports = Vec::with_capacity(count as usize);
        for address in addresses.iter().cycle().take(count as usize) {
            let socket = media.bind(SocketAddr::new(*address, 0))?;
            ports.push(Port {
                socket,
                address: media.local_address(socket)?,
            });
        }
        Ok(Bound { media, ports })
    }
}

/// A running media thread.
#[derive(Debug)]
pub(crate) struct MediaThread {
    pub(super) words: Sender<Word>,
    pub(super) waker: Waker,
    pub(crate) shown: Arc<Mutex<Tally>>,
    pub(super) thread: JoinHandle<io::Result<Tally>>,
}

impl MediaThread {
    /// Starts it.
    pub(crate) fn start(
        bound: Bound,
        sockets: usize,
        clock: Clock,
        run: u32,
        number: u64,
    ) -> io::Result<MediaThread> {
        let (words, inbox) = channel();
        let waker = bound.media.waker();
        let shown = Arc::new(Mutex::new(Tally::default()));
        let streams = Streams::new(run, number + 1, sockets);
        let mut work = Work {
            media: bound.media,
            streams,
            inbox,
            clock,
            shown: shown.clone(),
        };
        let thread = std::thread::Builder::new()
            .name(format!("media-{number}"))
            .spawn(move || work.run())?;
        Ok(MediaThread {
            words,
            waker,
            shown,
            thread,
        })
    }

    /// Hands commands over.
    pub(crate) fn tell(&self, commands: &mut Vec<Command>) {
        if commands.is_empty() {
            return;
        }
        for command in commands.drain(..) {
            // A thread that has ended says why when it is joined.
            let _ = self.words.send(Word::Command(command));
        }
        self.waker.wake();
    }

    /// Ends it and gives what it counted.
    pub(crate) fn join(self) -> io::Result<Tally> {
        let _ = self.words.send(Word::Stop);
        self.waker.wake();
        let ended = self.thread.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("a media thread has panicked")))
    }
}

struct Work {
    media: Media,
    streams: Streams,
    inbox: Receiver<Word>,
    clock: Clock,
    shown: Arc<Mutex<Tally>>,
}

impl Work {
    fn run(&mut self) -> io::Result<Tally> {
        // The next moment to send at, in slots since the start.
        let mut slot = self.clock.us() / SLOT_US + 1;
        let mut show_us = 0;
        loop {
            let now_us = self.clock.us();
            if !self.listen(now_us) {
                self.streams.end_all(now_us);
                return Ok(std::mem::take(&mut self.streams.tally));
            }
            while slot * SLOT_US <= now_us {
                self.send(slot);
                slot += 1;
            }
            if now_us >= show_us {
                show_us = now_us + SHOW_US;
                self.streams.look_for_silence(now_us);
                let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
                shown.clone_from(&self.streams.tally);
            }
            let rest_us = (slot * SLOT_US).saturating_sub(self.clock.us());
            let (clock, streams) = (self.clock, &mut self.streams);
            let turn = self
                .media
                .turn(Duration::from_micros(rest_us), |socket, _, packet| {
                    streams.receive(clock.us(), socket, packet);
                    None
                })?;
            self.streams.tally.packets.dropped_here += u64::from(turn.overflowed);
        }
    }

    /// Does what it was told. False when it is to end.
    fn listen(&mut self, now_us: u64) -> bool {
        while let Ok(word) = self.inbox.try_recv() {
            match word {
                Word::Command(command) => self.streams.command(now_us, command),
                Word::Stop => return false,
            }
        }
        true
    }

    fn send(&mut self, slot: u64) {
        let (media, clock) = (&self.media, self.clock);
        let now_us = clock.us();
        let before = self.streams.tally.packets.sent;
        self.streams.send(slot, now_us, |socket, packet, peer| {
            media.send(socket, packet, peer) == Sent::Taken
        });
        if self.streams.tally.packets.sent > before {
            let late_us = now_us.saturating_sub(slot * SLOT_US);
            self.streams.tally.packets_behind.add(late_us);
        }
    }
}
