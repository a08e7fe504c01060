//! The node's side.

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::sync::OnceLock;

use cluster::Identity;
use nix::unistd::dup2_stdin;
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
/// The supervisor knows that this process has ended when this socket is closed, so nothing else may have it, programs that
/// this one starts among them. It is the last of all descriptors: the kernel closes those of a process that dies from
/// there, and some before it would be waited for.
///
/// # Errors
/// Standard input is no such socket: somebody else gave the option.
pub fn attach() -> Result<(), std::io::Error> {
    net::descriptors::raise_limit()?;
    let socket = UnixDatagram::from(net::descriptors::last(std::io::stdin().as_fd())?);
    // Fails on what is no socket, and on one that leads nowhere.
    socket.peer_addr()?;
    socket.set_nonblocking(true)?;
    dup2_stdin(File::open("/dev/null")?)?;
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
