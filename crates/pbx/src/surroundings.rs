//! What calls ask of their surroundings while they decide: sockets for media, and sounds.

use std::net::{IpAddr, SocketAddr};

use voice::PortId;

use crate::control;

/// A pair of sockets for one leg's media.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MediaPort {
    /// The media thread that has them.
    pub thread: u16,
    /// Its number there.
    pub port: PortId,
    /// What the peer is told: address and port of RTP, as in SDP; RTCP is on the next port.
    pub address: SocketAddr,
}

/// What calls ask of their surroundings while they decide.
pub trait Surroundings {
    /// Takes a pair of sockets for a peer that is reached from `local`, on the media thread `thread` where one is
    /// named: two legs hear each other on one thread only. `None`: all are taken, or there is no media thread.
    fn take_port(&mut self, local: IpAddr, thread: Option<u16>) -> Option<MediaPort>;

    /// Takes the pair that has this address: a call that came from another node goes on with it.
    fn take_port_at(&mut self, address: SocketAddr) -> Option<MediaPort>;

    /// Gives a pair back that was never opened. What was opened is free again with [`voice::Event::Closed`], or a
    /// refusal that says so.
    fn give_back(&mut self, port: MediaPort);

    /// Adds what a sound is made of: prompts from memory, numbers as prompts, tones of the country. Gives whether it
    /// is known. A file that is not in memory is a [`voice::Sound::Feed`], the last of its play, which the surroundings feed.
    fn sound(&mut self, sound: &control::Sound, out: &mut Vec<voice::Sound>) -> bool;
}
