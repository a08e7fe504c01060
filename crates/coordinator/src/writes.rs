//! Word from the kernel that a database file is written to, so that nobody has to look all the time.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

struct Events(Inotify);

impl AsRawFd for Events {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Hears of writes to a file, and to those beside it whose names begin with its own: a database's log.
pub(crate) struct Writes {
    events: AsyncFd<Events>,
    name: OsString,
}

impl Writes {
    /// Listens from now on. It is known of writes on this machine only.
    ///
    /// # Errors
    /// The machine's: it gives each user so many listeners.
    #[expect(
        deprecated,
        reason = "what is put in place of it is unsafe, for the sake of types that lie about their descriptor"
    )]
    pub(crate) fn of(path: &Path) -> io::Result<Writes> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let changes = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CREATE;
        inotify.add_watch(folder.unwrap_or(Path::new(".")), changes)?;
        Ok(Writes {
            events: AsyncFd::with_interest(Events(inotify), Interest::READABLE)?,
            name: name.to_owned(),
        })
    }

    /// Waits until there was one since the last time. It may begin only then: who looks at once may look too early.
    ///
    /// # Errors
    /// The machine's.
    pub(crate) async fn next(&self) -> io::Result<()> {
        loop {
            let mut guard = self.events.readable().await?;
            let read = guard.try_io(|events| Ok(events.get_ref().0.read_events()?));
            // Nothing was there after all, or something that is not ours.
            let Ok(events) = read else { continue };
            if events?.iter().any(|event| self.is_ours(event)) {
                return Ok(());
            }
        }
    }

    fn is_ours(&self, event: &InotifyEvent) -> bool {
        let begins = |name: &OsStr| name.as_bytes().starts_with(self.name.as_bytes());
        // Too many to be told have no name.
        event.name.as_deref().is_none_or(begins)
    }
}
