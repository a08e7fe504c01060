//! The node's side.

use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use cluster::Identity;

use super::word::Word;

static PULSE: OnceLock<Pulse> = OnceLock::new();

/// The way to the process that watches this one.
#[derive(Debug)]
pub struct Pulse {
    socket: UnixDatagram,
}

/// Takes the way to the supervisor, which has given it as standard input (`--supervised`).
///
/// # Errors
/// Standard input is no such socket: somebody else gave the option.
pub fn attach() -> Result<(), std::io::Error> {
    let socket = UnixDatagram::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    // Fails on what is no socket, and on one that leads nowhere.
    socket.peer_addr()?;
    socket.set_nonblocking(true)?;
    // Attached twice is attached.
    let _ = PULSE.set(Pulse { socket });
    Ok(())
}

/// The way to the supervisor, if there is one.
pub fn pulse() -> Option<&'static Pulse> {
    PULSE.get()
}

impl Pulse {
    /// Says who this process is, as soon as it is known and before anything is claimed: only that life's records are released
    /// for it.
    pub fn introduce(&self, identity: Identity) {
        self.say(Word::Identity(identity));
    }

    /// Says that the node lives: at least six times a lease, by the thread whose standing still means that the node does, and
    /// from its start to its end. The first beat begins the supervision. It takes a system call and waits for nothing.
    pub fn beat(&self) {
        self.say(Word::Beat);
    }

    pub(super) fn say(&self, word: Word) {
        let (bytes, length) = word.bytes();
        // A supervisor that does not read, or is gone, is no reason to stop.
        let _ = self.socket.send(&bytes[..length]);
    }
}
