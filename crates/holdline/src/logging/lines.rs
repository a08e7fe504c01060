//! Lines of the log on their way to standard error: whoever logs waits for nobody.
//!
//! Standard error may be a pipe whose reader has stopped, or a terminal that somebody has stopped. A thread of its own writes; the others
//! leave their lines in a queue, and where that is full a line is lost and counted.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Most lines that wait to be written.
pub(super) const LINES_MAX: usize = 4_096;
/// A longer line is cut.
const LINE_BYTES_MAX: usize = 16 * 1024;
/// Between attempts to leave a mark in a full queue.
const PAUSE: Duration = Duration::from_millis(5);

/// What is left for the thread that writes.
enum Item {
    Line(Vec<u8>),
    /// All before it is written.
    Mark(SyncSender<()>),
}

/// The way to the log.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    queue: SyncSender<Item>,
    lost: Arc<AtomicU64>,
}

impl Lines {
    /// Starts the thread that writes to `out`; at most `lines_max` lines wait for it.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn start(out: impl Write + Send + 'static, lines_max: usize) -> io::Result<Lines> {
        let (queue, items) = sync_channel(lines_max);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = lost.clone();
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || write(out, &items, &counted))?;
        Ok(Lines { queue, lost })
    }

    /// Lines that were lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Waits until all that was logged is written, at most for so long; whether it is.
    pub(super) fn flush(&self, within: Duration) -> bool {
        let (done, is_done) = sync_channel(1);
        let ends_at = Instant::now() + within;
        let mut mark = Item::Mark(done);
        loop {
            match self.queue.try_send(mark) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(back)) if Instant::now() < ends_at => mark = back,
                Err(TrySendError::Full(_)) => return false,
            }
            std::thread::sleep(PAUSE);
        }
        let left = ends_at.saturating_duration_since(Instant::now());
        is_done.recv_timeout(left).is_ok()
    }
}

impl Write for Lines {
    /// One line, which comes as a whole; this never fails and never waits.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = line[..line.len().min(LINE_BYTES_MAX)].to_vec();
        if kept.len() < line.len() {
            kept.push(b'\n');
        }
        if self.queue.try_send(Item::Line(kept)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Lines;

    fn make_writer(&'a self) -> Lines {
        self.clone()
    }
}

/// Writes what comes, for ever.
fn write(mut out: impl Write, items: &Receiver<Item>, lost: &AtomicU64) {
    let mut told = 0;
    for item in items {
        match item {
            // Nobody is left to hear of an error.
            Item::Line(line) => {
                if out.write_all(&line).is_err() {
                    lost.fetch_add(1, Ordering::Relaxed);
                    // It would be lost as well.
                    told = lost.load(Ordering::Relaxed);
                }
            }
            Item::Mark(done) => {
                let _ = done.try_send(());
            }
        }
        let lines = lost.load(Ordering::Relaxed);
        if lines > told {
            tracing::warn!(
                lines = lines - told,
                "lines of the log were lost: nobody read standard error in time; see who reads it"
            );
            told = lines;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::Read;

    /// A pipe whose reader has stopped until a word comes, or nobody is left to give it.
    struct Stopped {
        goes_on: Receiver<()>,
        out: io::PipeWriter,
    }

    impl Write for Stopped {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.goes_on.recv();
            self.out.write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_stops_holds_up_nobody_and_what_is_lost_is_counted() {
        let (mut read, out) = io::pipe().expect("a pipe");
        let (go_on, goes_on) = sync_channel(1);
        let mut lines = Lines::start(Stopped { goes_on, out }, 4).expect("a thread");
        let line = [b'x'; 100];
        let written = 1_000;
        for _ in 0..written {
            lines.write_all(&line).expect("it never fails");
        }
        // Four wait, and one is being written.
        let lost = lines.lost();
        assert!((written - 5..=written - 4).contains(&lost), "{lost}");
        let begun = Instant::now();
        assert!(!lines.flush(Duration::from_millis(20)));
        assert!(begun.elapsed() < Duration::from_secs(10));
        // Read at last, what was not lost comes.
        drop(go_on);
        let kept = usize::try_from(written - lost).expect("few") * line.len();
        let mut bytes = vec![0; kept];
        read.read_exact(&mut bytes).expect("all of it");
        assert!(bytes.iter().all(|byte| *byte == b'x'));
    }

    #[test]
    fn what_was_logged_before_the_end_is_written() {
        let (mut read, out) = io::pipe().expect("a pipe");
        let mut lines = Lines::start(out, 4).expect("a thread");
        lines
            .write_all(b"the last words\n")
            .expect("it never fails");
        assert!(lines.flush(Duration::from_secs(10)));
        let mut bytes = [0; 15];
        read.read_exact(&mut bytes).expect("it is there");
        assert_eq!(&bytes, b"the last words\n");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (mut read, out) = io::pipe().expect("a pipe");
        let mut lines = Lines::start(out, 4).expect("a thread");
        lines
            .write_all(&[b'x'; LINE_BYTES_MAX + 9])
            .expect("it never fails");
        let mut bytes = vec![0; LINE_BYTES_MAX + 1];
        read.read_exact(&mut bytes).expect("it is there");
        assert_eq!(bytes.last(), Some(&b'\n'));
    }
}
