//! epoll, eventfd and timerfd.

use super::checked;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

/// What an epoll instance watches a descriptor for. Errors are always watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interests {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
}

impl Interests {
    fn mask(self) -> u32 {
        let mut mask = 0;
        if self.readable {
            mask |= libc::EPOLLIN | libc::EPOLLRDHUP;
        }
        if self.writable {
            mask |= libc::EPOLLOUT;
        }
        mask as u32
    }
}

/// Room for the events of one wait.
pub(crate) struct Events {
    room: Box<[libc::epoll_event]>,
    count: usize,
}

impl Events {
    pub(crate) fn new(size: usize) -> Events {
        Events {
            room: vec![libc::epoll_event { events: 0, u64: 0 }; size].into(),
            count: 0,
        }
    }

    /// The key, and whether readable, writable, in error, of each event of the last wait.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, bool, bool, bool)> {
        self.room[..self.count].iter().map(|event| {
            let events = event.events as i32;
            (
                event.u64,
                events & (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP) != 0,
                events & libc::EPOLLOUT != 0,
                events & libc::EPOLLERR != 0,
            )
        })
    }
}

/// The kernel's time span, 64-bit on every architecture (`struct __kernel_timespec`).
#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// An epoll instance, level-triggered.
#[derive(Debug)]
pub(crate) struct Epoll {
    descriptor: OwnedFd,
}

impl Epoll {
    pub(crate) fn open() -> io::Result<Epoll> {
        // SAFETY: epoll_create1(2) takes no pointers.
        let raw = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel just returned this descriptor; nothing else owns it.
        Ok(Epoll {
            descriptor: unsafe { OwnedFd::from_raw_fd(raw) },
        })
    }

    pub(crate) fn add(&self, fd: BorrowedFd<'_>, key: u64, what: Interests) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, fd, key, what)
    }

    pub(crate) fn modify(&self, fd: BorrowedFd<'_>, key: u64, what: Interests) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, fd, key, what)
    }

    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        self.control(
            libc::EPOLL_CTL_DEL,
            fd,
            0,
            Interests {
                readable: false,
                writable: false,
            },
        )
    }

    fn control(&self, verb: i32, fd: BorrowedFd<'_>, key: u64, what: Interests) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: what.mask(),
            u64: key,
        };
        // SAFETY: the pointer is to a live event, which the kernel copies.
        checked(unsafe {
            libc::epoll_ctl(
                self.descriptor.as_raw_fd(),
                verb,
                fd.as_raw_fd(),
                &raw mut event,
            )
        })?;
        Ok(())
    }

    /// Waits with a resolution of a nanosecond. `Unsupported` on kernels before 5.11.
    pub(crate) fn wait_precise(
        &self,
        events: &mut Events,
        timeout: Option<Duration>,
    ) -> io::Result<()> {
        let span = timeout.map(|timeout| KernelTimespec {
            seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: i64::from(timeout.subsec_nanos()),
        });
        let span = span.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the pointers are to live room for as many events as said, to a live time span or
        // null, and null for the signal mask.
        let returned = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.descriptor.as_raw_fd(),
                events.room.as_mut_ptr(),
                events.room.len() as libc::c_int,
                span,
                ptr::null::<libc::sigset_t>(),
                0usize,
            )
        };
        Self::took(events, returned as libc::c_int)
    }

    /// Waits with a resolution of a millisecond; -1 waits for ever.
    pub(crate) fn wait_coarse(&self, events: &mut Events, timeout_ms: i32) -> io::Result<()> {
        // SAFETY: the pointer is to live room for as many events as said.
        let returned = unsafe {
            libc::epoll_wait(
                self.descriptor.as_raw_fd(),
                events.room.as_mut_ptr(),
                events.room.len() as libc::c_int,
                timeout_ms,
            )
        };
        Self::took(events, returned)
    }

    fn took(events: &mut Events, returned: libc::c_int) -> io::Result<()> {
        events.count = 0;
        events.count = checked(returned)? as usize;
        Ok(())
    }
}

/// A counter that makes a descriptor readable.
#[derive(Debug)]
pub(crate) struct EventFd {
    descriptor: OwnedFd,
}

impl EventFd {
    pub(crate) fn open() -> io::Result<EventFd> {
        // SAFETY: eventfd(2) takes no pointers.
        let raw = checked(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: the kernel just returned this descriptor; nothing else owns it.
        Ok(EventFd {
            descriptor: unsafe { OwnedFd::from_raw_fd(raw) },
        })
    }

    /// Makes the descriptor readable.
    pub(crate) fn signal(&self) {
        let one = 1u64;
        // SAFETY: the pointer is to eight live bytes. The only failure is a counter at its top,
        // and then the descriptor is readable already.
        unsafe { libc::write(self.descriptor.as_raw_fd(), (&raw const one).cast(), 8) };
    }

    /// Makes the descriptor unreadable until the next signal.
    pub(crate) fn clear(&self) {
        read_counter(self.descriptor.as_fd());
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// A timer that makes a descriptor readable.
#[derive(Debug)]
pub(crate) struct TimerFd {
    descriptor: OwnedFd,
}

impl TimerFd {
    pub(crate) fn open() -> io::Result<TimerFd> {
        // SAFETY: timerfd_create(2) takes no pointers.
        let raw = checked(unsafe {
            libc::timerfd_create(
                libc::CLOCK_MONOTONIC,
                libc::TFD_CLOEXEC | libc::TFD_NONBLOCK,
            )
        })?;
        // SAFETY: the kernel just returned this descriptor; nothing else owns it.
        Ok(TimerFd {
            descriptor: unsafe { OwnedFd::from_raw_fd(raw) },
        })
    }

    /// Makes the descriptor readable once after `span`; a span of zero disarms it.
    pub(crate) fn arm(&self, span: Duration) -> io::Result<()> {
        let zero = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let seconds = libc::time_t::try_from(span.as_secs()).unwrap_or(libc::time_t::MAX);
        let value = libc::timespec {
            tv_sec: seconds,
            tv_nsec: span.subsec_nanos() as _,
        };
        let setting = libc::itimerspec {
            it_interval: zero,
            it_value: value,
        };
        // SAFETY: the pointer is to a live setting; null declines the old one.
        checked(unsafe {
            libc::timerfd_settime(
                self.descriptor.as_raw_fd(),
                0,
                &raw const setting,
                ptr::null_mut(),
            )
        })?;
        Ok(())
    }

    /// Makes the descriptor unreadable until it next fires.
    pub(crate) fn clear(&self) {
        read_counter(self.descriptor.as_fd());
    }
}

impl AsFd for TimerFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Reads the counter of an eventfd or timerfd, which resets it; nothing to read is no matter.
fn read_counter(fd: BorrowedFd<'_>) {
    let mut count = 0u64;
    // SAFETY: the pointer is to eight live, writable bytes.
    unsafe { libc::read(fd.as_raw_fd(), (&raw mut count).cast(), 8) };
}
