//! Where a thread sleeps: until a socket is ready, a deadline, or another thread's word.

use crate::sys::{Epoll, EventFd, Events, Interests, TimerFd};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

/// Most events taken in one wait; the others come with the next.
pub const EVENTS_MAX: usize = 64;

/// Names a descriptor in a [`Poller`]; the values are the caller's, but for the two highest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u64);

impl Token {
    /// Stands for a call of [`Waker::wake`].
    pub const WAKER: Token = Token(u64::MAX);

    const TIMER: Token = Token(u64::MAX - 1);
}

/// What to watch a descriptor for. Errors are always watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to receive.
    Readable,
    /// Something to receive, or room to send.
    ReadableAndWritable,
}

impl Interest {
    fn interests(self) -> Interests {
        Interests {
            readable: true,
            writable: self == Interest::ReadableAndWritable,
        }
    }
}

/// A descriptor that is ready, or the waker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Which one.
    pub token: Token,
    /// There is something to receive (or the other side has closed).
    pub readable: bool,
    /// There is room to send; only reported where asked for.
    pub writable: bool,
    /// There is an error to be taken (for UDP, [`crate::udp::UdpSocket::receive_errors`]).
    pub error: bool,
}

/// The thread of the poller is running, and will look at its queues before it sleeps.
const AWAKE: u8 = 0;
/// It is, or is about to be, asleep: only a signal reaches it.
const ASLEEP: u8 = 1;
/// It has been woken since it last looked.
const NOTIFIED: u8 = 2;

struct Wakeup {
    state: AtomicU8,
    signal: EventFd,
}

/// Wakes the thread that waits in a [`Poller`]. Cheap to clone; a wake is a system call only when
/// that thread sleeps and nobody has woken it yet.
#[derive(Clone)]
pub struct Waker {
    wakeup: Arc<Wakeup>,
}

impl Waker {
    /// Makes the poller's present wait, or else its next one, return with [`Token::WAKER`]. What
    /// this thread wrote before is visible to that thread after. Several wakes may be seen as one.
    pub fn wake(&self) {
        if self.wakeup.state.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP {
            self.wakeup.signal.signal();
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

/// Waits for descriptors, level-triggered: what is ready is reported in each wait
/// until it has been dealt with.
pub struct Poller {
    epoll: Epoll,
    events: Events,
    ready: Vec<Ready>,
    wakeup: Arc<Wakeup>,
    /// In place of a precise wait on kernels that have none.
    timer: Option<TimerFd>,
}

impl Poller {
    /// A poller that watches nothing yet.
    pub fn new() -> io::Result<Poller> {
        Poller::with_events(EVENTS_MAX)
    }

    /// A poller that takes as many as `events_max` events in one wait.
    pub(crate) fn with_events(events_max: usize) -> io::Result<Poller> {
        let wakeup = Wakeup {
            state: AtomicU8::new(AWAKE),
            signal: EventFd::open()?,
        };
        let epoll = Epoll::open()?;
        epoll.add(
            wakeup.signal.as_fd(),
            Token::WAKER.0,
            Interest::Readable.interests(),
        )?;
        Ok(Poller {
            epoll,
            events: Events::new(events_max),
            ready: Vec::with_capacity(events_max + 1),
            wakeup: Arc::new(wakeup),
            timer: None,
        })
    }

    /// A handle for other threads to end this poller's wait.
    pub fn waker(&self) -> Waker {
        Waker {
            wakeup: self.wakeup.clone(),
        }
    }

    /// Watches `descriptor`, which has to be removed before it is closed if it has duplicates.
    pub fn add(&self, descriptor: &impl AsFd, token: Token, interest: Interest) -> io::Result<()> {
        if token >= Token::TIMER {
            return Err(io::Error::from(io::ErrorKind::InvalidInput));
        }
        self.epoll
            .add(descriptor.as_fd(), token.0, interest.interests())
    }

    /// Changes what a watched descriptor is watched for.
    pub fn modify(
        &self,
        descriptor: &impl AsFd,
        token: Token,
        interest: Interest,
    ) -> io::Result<()> {
        self.epoll
            .modify(descriptor.as_fd(), token.0, interest.interests())
    }

    /// Watches `descriptor` no more.
    pub fn remove(&self, descriptor: &impl AsFd) -> io::Result<()> {
        self.epoll.remove(descriptor.as_fd())
    }

    /// Waits until something is ready, at most for `timeout` (for ever if none; zero only looks).
    /// Returns what is ready: nothing on a timeout, or when a signal came. After each return, whatever
    /// it brought, the thread has to look at the queues its [`Waker`] is used for.
    pub fn wait(&mut self, timeout: Option<Duration>) -> io::Result<&[Ready]> {
        self.ready.clear();
        let state = &self.wakeup.state;
        let sleeps = timeout != Some(Duration::ZERO)
            && state
                .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire)
                .is_ok();
        let timeout = if sleeps {
            timeout
        } else {
            Some(Duration::ZERO)
        };
        let waited = self.sleep(timeout);
        let mut woken = self.wakeup.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED;
        match waited {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => other?,
        }
        for (key, readable, writable, error) in self.events.iter() {
            match Token(key) {
                Token::WAKER => {
                    self.wakeup.signal.clear();
                    woken = true;
                }
                Token::TIMER => {
                    if let Some(timer) = &self.timer {
                        timer.clear();
                    }
                }
                token => self.ready.push(Ready {
                    token,
                    readable,
                    writable,
                    error,
                }),
            }
        }
        if woken {
            let token = Token::WAKER;
            self.ready.push(Ready {
                token,
                readable: true,
                writable: false,
                error: false,
            });
        }
        Ok(&self.ready)
    }

    fn sleep(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if timeout == Some(Duration::ZERO) {
            return self.epoll.wait_coarse(&mut self.events, 0);
        }
        if self.timer.is_none() {
            match self.epoll.wait_precise(&mut self.events, timeout) {
                // A kernel before 5.11, or a sandbox that does not know the call.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EPERM)) => {}
                done => return done,
            }
            self.use_timer()?;
        }
        let Some(timer) = &self.timer else {
            return Ok(());
        };
        timer.arm(timeout.unwrap_or_default())?;
        self.epoll.wait_coarse(&mut self.events, -1)
    }

    /// Waits by a timer's descriptor from now on.
    fn use_timer(&mut self) -> io::Result<()> {
        let timer = TimerFd::open()?;
        self.epoll.add(
            timer.as_fd(),
            Token::TIMER.0,
            Interest::Readable.interests(),
        )?;
        self.timer = Some(timer);
        Ok(())
    }
}

impl fmt::Debug for Poller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poller")
            .field("epoll", &self.epoll)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
