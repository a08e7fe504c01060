//! The node's side.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use cluster::Identity;
use tokio::sync::Notify;

use super::word::Word;

static PULSE: OnceLock<Pulse> = OnceLock::new();

/// The way to the process that watches this one.
#[derive(Debug)]
pub struct Pulse {
    socket: UnixDatagram,
    /// Nobody reads any more.
    orphaned: Notify,
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
    let orphaned = Notify::new();
    let _ = PULSE.set(Pulse { socket, orphaned });
    Ok(())
}

/// Waits until the supervisor has died; for ever where there is none.
pub(crate) async fn orphaned() {
    match pulse() {
        Some(pulse) => pulse.orphaned.notified().await,
        None => std::future::pending().await,
    }
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
        if let Err(error) = self.socket.send(&bytes[..length])
            && matches!(
                error.kind(),
                ErrorKind::ConnectionRefused
                    | ErrorKind::NotConnected
                    | ErrorKind::BrokenPipe
                    | ErrorKind::ConnectionReset
            )
        {
            // Its end is closed with it. One that only does not read is no reason to stop.
            self.orphaned.notify_one();
        }
    }
}
