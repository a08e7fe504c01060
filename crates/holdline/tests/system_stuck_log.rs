//! Standard error is a pipe that nobody reads any more: calls, heartbeats and the office of an owner go on.

mod support;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use support::pair::Pair;
use support::{Phone, wait_until};

/// Bytes that the pipe holds.
const PIPE_BYTES: i32 = 4_096;
/// For how long the owner has to stay in office: ten leases.
const WATCHED: Duration = Duration::from_secs(3);

/// Makes a node's log a pipe that this process holds open and never reads.
fn stuff(folder: &Path) -> File {
    let path = folder.join("log");
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).expect("made");
    let held = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
        .expect("ours");
    fcntl(held.as_fd(), FcntlArg::F_SETPIPE_SZ(PIPE_BYTES)).expect("a pipe");
    held
}

/// Fills what room there is; whether there was none.
fn is_full(mut pipe: &File) -> bool {
    let mut written = false;
    while pipe.write(b"x").is_ok() {
        written = true;
    }
    !written
}

#[test]
fn a_log_that_nobody_reads_takes_no_call_and_no_office_away() {
    let mut pair = Pair::prepare("");
    pair.edit(0, |config| format!("{config}[log]\nlevel = \"trace\"\n"));
    let pipe = stuff(&pair.path(0));
    is_full(&pipe);
    pair.launch(&["alice", "bob"]);
    let epoch = |pair: &Pair| Some(pair.service(0)?["epoch"].clone());
    let before = wait_until("an answer", || epoch(&pair));
    let mut alice = Phone::udp_to(pair.address(), "alice");
    let begun = Instant::now();
    while begun.elapsed() < WATCHED {
        assert_eq!(alice.registers(600).status(), 200);
        assert_eq!(pair.owner(), Some(0));
    }
    assert!(is_full(&pipe));
    assert_eq!(epoch(&pair), Some(before));
    // The end waits for a reader no longer than a second for each of the two processes.
    pair.terminate(0);
    wait_until("the other's office", || {
        (pair.owner() == Some(1)).then_some(())
    });
    let mut bob = Phone::udp_to(pair.address(), "bob");
    assert_eq!(bob.registers(600).status(), 200);
}
