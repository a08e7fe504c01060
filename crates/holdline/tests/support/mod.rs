//! What the tests of real processes share: a node, phones of our own, SIPp and baresip.
#![allow(
    dead_code,
    unused_imports,
    reason = "each file of tests uses a part of it"
)]
#![allow(clippy::panic, reason = "this is how a test fails")]

pub(crate) mod baresip;
pub(crate) mod bucket;
pub(crate) mod dns;
pub(crate) mod etcd;
pub(crate) mod exchange;
pub(crate) mod hosts;
pub(crate) mod lan;
pub(crate) mod message;
pub(crate) mod node;
pub(crate) mod nodes;
pub(crate) mod office;
pub(crate) mod pair;
pub(crate) mod phone;
pub(crate) mod pools;
pub(crate) mod prompts;
pub(crate) mod sinks;
pub(crate) mod sipp;
pub(crate) mod sound;
pub(crate) mod talker;
pub(crate) mod witness;

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) use message::Message;
pub(crate) use node::Node;
pub(crate) use office::Office;
pub(crate) use phone::Phone;
pub(crate) use talker::{Codec, Says, State, Talker};

/// How long a process may take for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The program, to be run in `folder`.
pub(crate) fn holdline(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdline"));
    command
        .current_dir(folder)
        .args(arguments)
        .stdin(Stdio::null());
    command
        .env_remove("HOLDLINE_TOKEN")
        .env_remove("NOTIFY_SOCKET");
    command
}

pub(crate) fn ask(folder: &Path, arguments: &[&str]) -> Output {
    holdline(folder, arguments)
        .output()
        .expect("the program is built")
}

pub(crate) fn ask_json(folder: &Path, arguments: &[&str]) -> Value {
    let output = ask(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A port that was free a moment ago, for UDP and TCP alike. It lies below those that the system
/// gives to clients, so that no connection of a test takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    const FIRST: u16 = 15_000;
    const COUNT: u16 = 15_000;
    /// Tests that begin together have numbers next to each other, and are to look far from each other: what one has
    /// found free is not bound yet. It has no divisor in common with `COUNT`.
    const APART: u32 = 7_919;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let count = u32::from(COUNT);
    let start = (std::process::id() % count * APART % count) as u16;
    (0..COUNT)
        .map(|_| FIRST + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT)
        .find(|&port| {
            UdpSocket::bind(("127.0.0.1", port)).is_ok()
                && TcpListener::bind(("127.0.0.1", port)).is_ok()
        })
        .expect("a free port")
}

/// A program that a Debian package brings. A test without it fails and says which package.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders)
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .unwrap_or_else(|| panic!("{name} is missing: apt-get install {package}"))
}

/// Looks again and again until there is something.
pub(crate) fn wait_until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a signal to one process.
pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill")
        .args([name, &id])
        .status()
        .expect("kill is there");
    assert!(sent.success());
}

/// A process that is killed when the test is over.
#[derive(Debug)]
pub(crate) struct Ending(pub(crate) Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
