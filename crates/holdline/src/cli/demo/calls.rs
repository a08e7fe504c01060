//! The calls of a demo, as those have them who make and take them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use load::{Answering, Calling, Registering, Run, Settings, Tally, User};
use transaction::{Timers, Transport};

use super::Failure;
use super::layout::Layout;

/// How long a call lasts, in milliseconds.
const DURATION_MS: u64 = 20_000;
/// How long the end waits for calls that are not over, in milliseconds.
const GRACE_MS: u64 = 5_000;
/// How often it is looked how they do, in milliseconds.
const LOOK_MS: u64 = 100;
/// A pause that nobody waits for the end of: the call counts as lost.
const SILENCE_US: u64 = 5_000_000;

/// Phones that call each other, and phones that call the PBXs.
#[derive(Debug)]
pub(super) struct Calls {
    lines: Vec<Line>,
    /// How many calls are to go on at one time.
    pub(super) wanted: u64,
}

/// A run of traffic.
#[derive(Debug)]
struct Line {
    shown: Arc<Mutex<Tally>>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Tally, load::Error>>,
}

/// The users of the phones for so many calls, and their password.
pub(super) fn users(calls: u32, password: &str) -> Vec<User> {
    let phone = |name: String| User {
        name: name.into(),
        password: password.into(),
    };
    let (plain, voiced) = split(calls);
    let plain = (1..=plain * 2).map(|number| phone(format!("p{number}")));
    plain
        .chain((1..=voiced).map(|number| phone(format!("v{number}"))))
        .collect()
}

/// Calls from phone to phone, and calls to a PBX: one of three.
fn split(calls: u32) -> (u32, u32) {
    (calls - calls / 3, calls / 3)
}

impl Calls {
    /// Registers the phones, and lets them call from then on.
    ///
    /// # Errors
    /// No sockets, no threads.
    pub(super) fn start(layout: &Layout, calls: u32, password: &str) -> Result<Calls, Failure> {
        let (plain, voiced) = split(calls);
        let mut phones = users(calls, password);
        let callers = phones.split_off(plain as usize * 2);
        let mut lines = vec![Line::start(settings(layout, phones, plain, None))?];
        if voiced > 0 {
            let to = format!("sip:echo{{n}}@{}", layout.join());
            lines.push(Line::start(settings(layout, callers, voiced, Some(to)))?);
        }
        Ok(Calls {
            lines,
            wanted: u64::from(calls),
        })
    }

    /// What was counted until now.
    pub(super) fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for line in &self.lines {
            tally.merge(&line.shown.lock().unwrap_or_else(PoisonError::into_inner));
        }
        tally
    }

    /// Hangs all calls up and waits for their ends.
    ///
    /// # Errors
    /// A thread has failed.
    pub(super) fn end(self) -> Result<Tally, Failure> {
        for line in &self.lines {
            line.stop.store(true, Ordering::Relaxed);
        }
        let mut tally = Tally::default();
        for line in self.lines {
            let ended = line.thread.join();
            let counted = ended.map_err(|_| {
                Failure::Input(std::io::Error::other("a thread of the calls has panicked"))
            })?;
            tally.merge(&counted?);
        }
        Ok(tally)
    }
}

impl Line {
    fn start(settings: Settings) -> Result<Line, Failure> {
        let run = Run::start(settings)?;
        let (shown, stop) = (Arc::<Mutex<Tally>>::default(), Arc::<AtomicBool>::default());
        let (told, stops) = (shown.clone(), stop.clone());
        let thread = std::thread::Builder::new().name("demo-calls".to_owned());
        let thread = thread.spawn(move || {
            run.wait(LOOK_MS, |run| {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = run.progress().tally;
                let goes_on = !stops.load(Ordering::Relaxed);
                if !goes_on {
                    run.hang_up();
                }
                goes_on
            })
        });
        Ok(Line {
            shown,
            stop,
            thread: thread.map_err(Failure::Input)?,
        })
    }
}

fn settings(layout: &Layout, users: Vec<User>, active_max: u32, to: Option<String>) -> Settings {
    let registering = to.is_none().then_some(Registering {
        per_s: 50.0,
        expires_s: 3_600,
        is_cycling: false,
    });
    Settings {
        target: SocketAddr::new(layout.address, layout.sip),
        transport: Transport::Udp,
        domain: super::host(layout.address),
        sources: vec![SocketAddr::new(layout.address, 0)],
        threads: 1,
        users,
        registering,
        calling: Some(Calling {
            // So that they end one after the other, and not all at once.
            per_s: f64::from(active_max) / 6.0,
            active_max,
            total: None,
            duration_ms: DURATION_MS,
            duration_spread_ms: 0,
            to,
            answer_timeout_ms: 10_000,
            cancel_per_mille: 0,
            cancel_after_ms: 0,
            reinvite_per_mille: 0,
            reinvite_after_ms: 0,
        }),
        answering: Answering {
            ring_ms: 200,
            ..Answering::default()
        },
        has_media: true,
        streams_max: active_max * 3,
        sound: None,
        stays: false,
        span_ms: None,
        grace_ms: GRACE_MS,
        timers: Timers::default(),
        is_told: false,
    }
}

/// Calls that were lost: that failed, or whose sound was away for so long that nobody stays. One that has both is one, so that it is the
/// larger number of both.
pub(super) fn lost(tally: &Tally) -> u64 {
    // A stream each way.
    let silent = tally.gap.beyond(SILENCE_US).div_ceil(2);
    tally.call_failures.total().max(silent)
}

/// Why calls failed, in words; nothing if none did.
pub(super) fn failures(tally: &Tally) -> String {
    let report = tally.to_json();
    let failures = report["calls"]["failures"].as_object();
    let reasons = failures.into_iter().flatten();
    let told = reasons.map(|(reason, count)| format!("{reason} {count} times"));
    told.collect::<Vec<String>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_three_calls_has_a_voice_in_it() {
        assert_eq!(split(36), (24, 12));
        assert_eq!(split(1), (1, 0));
        let users = users(3, "x");
        let names: Vec<&str> = users.iter().map(|user| &*user.name).collect();
        assert_eq!(names, ["p1", "p2", "p3", "p4", "v1"]);
    }
}
