//! The clock of the machine's whole life, and what a program that was started needs.

use super::checked;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Nanoseconds since the machine started, its sleep included (`CLOCK_BOOTTIME`).
pub(crate) fn boottime_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live time. The call fails only for a clock that the kernel lacks, and it has
    // this one since 2.6.39; the time is then the start.
    let _ = unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds * 1_000_000_000 + nanoseconds
}

/// Gives the calling thread this nice value: on Linux it is a thread's own.
pub(crate) fn set_nice(nice: i32) -> io::Result<()> {
    // SAFETY: setpriority(2) takes no pointers.
    checked(unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, nice) })?;
    Ok(())
}

/// Lets the calling thread run before all that are scheduled as usual, and only it: what it starts is as usual again.
pub(crate) fn set_first() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    let policy = libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the pointer is to live parameters, which the kernel copies. 0 is the calling thread.
    checked(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) })?;
    Ok(())
}

/// Kills a group of processes.
pub(crate) fn kill_group(leader: u32) -> io::Result<()> {
    let Some(leader) = i32::try_from(leader).ok().filter(|leader| *leader > 1) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    // SAFETY: kill(2) takes no pointers.
    checked(unsafe { libc::kill(-leader, libc::SIGKILL) })?;
    Ok(())
}

/// Makes reads of an empty pipe fail with `WouldBlock`.
pub(crate) fn set_nonblocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let raw = descriptor.as_raw_fd();
    // SAFETY: fcntl(2) with these commands takes no pointers.
    let flags = checked(unsafe { libc::fcntl(raw, libc::F_GETFL) })?;
    // SAFETY: as above.
    checked(unsafe { libc::fcntl(raw, libc::F_SETFL, flags | libc::O_NONBLOCK) })?;
    Ok(())
}

/// A second descriptor of the same file, numbered `from` or the next free number.
pub(crate) fn duplicate_from(descriptor: BorrowedFd<'_>, from: i32) -> io::Result<OwnedFd> {
    let raw = descriptor.as_raw_fd();
    // SAFETY: fcntl(2) with this command takes no pointers.
    let raw = checked(unsafe { libc::fcntl(raw, libc::F_DUPFD_CLOEXEC, from) })?;
    // SAFETY: the kernel just returned this descriptor; nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}
