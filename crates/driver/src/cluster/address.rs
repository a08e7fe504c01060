//! The address of a service on this node: how it comes and goes, what keeps it dumb, and who else has it.
//!
//! Taking the address is not waited for, since a program of the operator's may need seconds, in which the owner has to renew
//! its office. Giving it up is: what follows it (the release) says that it is gone. What fails is done again.

use std::time::Duration;

use cluster::Time;
use net::address::keeper::Keeper;
use net::address::lease::Strength;
use net::address::{ANNOUNCE_AFTER_MS, AddressError, Mover, Progress};
use net::clock::Boottime;

use super::settings::{MoverSettings, ServiceSettings};

/// Between looks at a program that moves the address.
const LOOK_US: u64 = 2_000;
/// How long after the first failure the address is moved again; it doubles each time.
const RETRY_US: u64 = 1_000_000;
/// The longest that grows to.
const RETRY_US_MAX: u64 = 30_000_000;
/// Failures in a row after which an owner without its address hands the service over.
const FAILURES_MAX: u32 = 3;
/// How long the answer that nobody has the address is believed.
const FREE_US: u64 = 10_000_000;
/// How long after somebody answered for it the neighbours are asked again.
const ASK_AGAIN_US: u64 = 1_000_000;
/// How long after the address was taken it is asked whether somebody else has it too.
const CONFLICT_AFTER_US: u64 = 1_500_000;

/// While the kernel does not take the lease: between attempts to hand the service over.
const GIVE_UP_US: u64 = 5_000_000;

/// What is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moving {
    Adding,
    Removing,
}

/// What the neighbours said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Neighbours {
    Unasked,
    Asked,
    Free(Time),
    Used(Time),
}

/// What there is to tell of it.
#[derive(Debug)]
pub(super) enum Note {
    /// It was not added or removed; it is tried again.
    Failed(AddressError),
    /// So often in a row that somebody else should try.
    HandOver,
    /// It is here after failures.
    Mended,
    /// The kernel does not take the lease, in words: the address may be dumb. Or does again.
    Lease(Option<String>),
    /// How far the kernel keeps the lease now.
    Strength(Strength),
}

/// The address of a service on this node.
pub(super) struct Address {
    mover: Mover,
    /// What keeps the address dumb after this node's time, whatever the process does.
    lease: Option<Keeper>,
    /// Until when it may be used, as the kernel was told last, and the latest that it ever was.
    until: (Boottime, Boottime),
    /// The address may be dumb in office, which was told; when the service is to be given up for it.
    fault: Option<Time>,
    /// How far the kernel keeps the lease, as was told.
    strength: Option<Strength>,
    /// Whether it is to be here.
    is_wanted: bool,
    moving: Option<Moving>,
    /// When to move it again after a failure, and whether it is to be here.
    again: Option<(Time, bool)>,
    failures: u32,
    /// When the address was taken, and how often it was announced.
    announcing: Option<(Time, usize)>,
    /// When to ask whether somebody else has the address that this node has taken.
    conflict_at: Option<Time>,
    /// Where the neighbours can be asked: the interface.
    asks_on: Option<String>,
    neighbours: Neighbours,
    /// Who had it, as was told.
    stranger: Option<String>,
}

impl Address {
    pub(super) fn new(service: &ServiceSettings, mover: Mover, lease: Option<Keeper>) -> Address {
        let asks_on = match (&service.mover, service.address) {
            (MoverSettings::Netlink { interface, .. }, Some(_)) => Some(interface.clone()),
            _ => None,
        };
        Address {
            mover,
            strength: lease.as_ref().map(Keeper::strength),
            lease,
            until: (Boottime::START, Boottime::START),
            fault: None,
            is_wanted: false,
            moving: None,
            again: None,
            failures: 0,
            announcing: None,
            conflict_at: None,
            asks_on,
            neighbours: Neighbours::Unasked,
            stranger: None,
        }
    }

    /// How far the kernel keeps the lease.
    pub(super) fn strength(&self) -> Option<Strength> {
        self.lease.as_ref().map(Keeper::strength)
    }

    /// Sets the kernel's deadline, without waiting for it.
    pub(super) fn extend(&mut self, until: Boottime) {
        self.until = (until, self.until.1.max(until));
        if let Some(lease) = &self.lease {
            lease.extend(until);
        }
    }

    /// Makes it dumb: at once, or when [`Address::is_leaving`] says so no more.
    pub(super) fn revoke(&mut self) {
        self.extend(Boottime::START);
    }

    /// Whether the kernel has still to be heard about the end of the lease. When its time is over it need not be.
    fn is_revoking(&self) -> bool {
        let (until, latest) = self.until;
        let lease = self.lease.as_ref().filter(|_| until == Boottime::START);
        lease.is_some_and(|lease| !lease.is_settled() && Boottime::now() < latest)
    }

    /// What the kernel makes of the lease. An owner whose address may be dumb is not to stay it.
    fn look_at_lease(&mut self, now: Time, notes: &mut Vec<Note>) {
        let Some(lease) = &self.lease else {
            return;
        };
        if let Some(error) = lease.complaint() {
            tracing::warn!(%error, "the kernel's lease was not looked after");
        }
        let strength = Some(lease.strength());
        if self.strength != strength {
            self.strength = strength;
            notes.extend(strength.map(Note::Strength));
        }
        let fault = lease.fault(Boottime::now()).filter(|_| self.is_wanted);
        match (fault, &mut self.fault) {
            (Some(what), None) => {
                notes.push(Note::Lease(Some(what)));
                self.fault = Some(now);
            }
            (Some(_), Some(at)) if now >= *at => {
                *at = now.after(GIVE_UP_US);
                notes.push(Note::HandOver);
            }
            (None, Some(_)) => {
                self.fault = None;
                if self.is_wanted {
                    notes.push(Note::Lease(None));
                }
            }
            _ => {}
        }
    }

    /// Brings it here (`true`), or takes it away.
    pub(super) fn go(&mut self, now: Time, adds: bool, notes: &mut Vec<Note>) {
        self.is_wanted = adds;
        self.failures = 0;
        self.announcing = None;
        self.conflict_at = None;
        self.begin(now, adds, notes);
    }

    fn begin(&mut self, now: Time, adds: bool, notes: &mut Vec<Note>) {
        self.again = None;
        let (begun, moving) = if adds {
            (self.mover.add(Boottime::now()), Moving::Adding)
        } else {
            (self.mover.remove(Boottime::now()), Moving::Removing)
        };
        self.moving = Some(moving);
        self.step(now, begun, notes);
    }

    fn step(&mut self, now: Time, progress: Result<Progress, AddressError>, notes: &mut Vec<Note>) {
        let adds = self.moving == Some(Moving::Adding);
        match progress {
            Ok(Progress::UnderWay) => return,
            Ok(Progress::Done) => {
                if self.failures > 0 {
                    notes.push(Note::Mended);
                }
                self.failures = 0;
                if adds {
                    self.announcing = Some((now, 0));
                    self.conflict_at = Some(now.after(CONFLICT_AFTER_US));
                }
            }
            Err(error) => {
                let pause_us = RETRY_US << self.failures.min(5);
                self.failures += 1;
                self.again = Some((now.after(pause_us.min(RETRY_US_MAX)), adds));
                notes.push(Note::Failed(error));
                if adds && self.failures.is_multiple_of(FAILURES_MAX) {
                    notes.push(Note::HandOver);
                }
            }
        }
        self.moving = None;
    }

    /// Whether what follows has to wait: the address is being taken away, or made dumb.
    pub(super) fn is_leaving(&self) -> bool {
        self.moving == Some(Moving::Removing) || self.is_revoking()
    }

    /// Whether it was to be taken away and was not, and nothing keeps it dumb: the service is left to the lease then.
    pub(super) fn is_here_still(&self) -> bool {
        self.lease.is_none() && matches!(self.again, Some((_, false)))
    }

    /// Goes on with what is under way, and begins again what failed.
    pub(super) fn poll(&mut self, now: Time, notes: &mut Vec<Note>) {
        self.look_at_lease(now, notes);
        if self.moving.is_some() {
            let progress = self.mover.poll(Boottime::now());
            self.step(now, progress, notes);
        } else if let Some((at, adds)) = self.again
            && now >= at
        {
            self.begin(now, adds, notes);
        }
    }

    /// When [`Address::poll`] or [`Address::announce`] have something to do.
    pub(super) fn next(&self, now: Time) -> Time {
        let mut next = Time::NEVER;
        if self.moving.is_some() || self.is_revoking() {
            next = now.after(LOOK_US);
        }
        if let Some((at, _)) = self.again {
            next = next.min(at);
        }
        if let Some((began, count)) = self.announcing
            && let Some(after_ms) = ANNOUNCE_AFTER_MS.get(count)
        {
            next = next.min(began.after(*after_ms * 1_000));
        }
        self.conflict_at.map_or(next, |at| next.min(at))
    }

    /// Tells the neighbours where the address is, if that is due and this node may.
    pub(super) fn announce(&mut self, now: Time, may_act: bool) -> Result<(), AddressError> {
        let Some((began, count)) = self.announcing else {
            return Ok(());
        };
        let Some(after_ms) = ANNOUNCE_AFTER_MS.get(count) else {
            self.announcing = None;
            return Ok(());
        };
        if now.since(began) < *after_ms * 1_000 {
            return Ok(());
        }
        self.announcing = Some((began, count + 1));
        if may_act {
            self.mover.announce()
        } else {
            Ok(())
        }
    }

    /// The interface on which it is to be asked whether somebody else has the address that this node has taken, once.
    pub(super) fn conflict_due(&mut self, now: Time) -> Option<String> {
        self.conflict_at.filter(|at| now >= *at)?;
        self.conflict_at = None;
        self.asks_on.clone()
    }

    /// Whether nobody has the address, as far as can be known, before a service is claimed for the first time. If that is not
    /// known: on which interface it has to be asked, if it is not being asked already.
    pub(super) fn is_free(&mut self, now: Time) -> Result<(), Option<String>> {
        let Some(interface) = &self.asks_on else {
            return Ok(());
        };
        match self.neighbours {
            Neighbours::Free(at) if now.since(at) < FREE_US => Ok(()),
            Neighbours::Used(at) if now.since(at) < ASK_AGAIN_US => Err(None),
            Neighbours::Asked => Err(None),
            Neighbours::Unasked | Neighbours::Free(_) | Neighbours::Used(_) => {
                self.neighbours = Neighbours::Asked;
                Err(Some(interface.clone()))
            }
        }
    }

    /// What the neighbours answered: who has it, in words. Gives what there is to tell.
    pub(super) fn answered(&mut self, now: Time, used: Option<String>) -> Option<String> {
        self.neighbours = match used {
            Some(_) => Neighbours::Used(now),
            None => Neighbours::Free(now),
        };
        if self.stranger == used {
            return None;
        }
        self.stranger.clone_from(&used);
        Some(match used {
            Some(who) => format!(
                "{who}: find that machine and take the address from it, or give the service another one"
            ),
            None => "its address is free now".to_owned(),
        })
    }
}

/// Asks the neighbours who has an address; nobody, where there is no way to ask. It blocks for half a second.
pub(super) fn neighbour(address: std::net::IpAddr, interface: &str) -> Option<String> {
    let asked = net::address::Interface::named(interface).and_then(|interface| {
        if interface.mac.is_none() || interface.loopback {
            return Ok(None);
        }
        let who = net::address::probe::who_uses(address, &interface)?;
        let name = &interface.name;
        Ok(who.map(|mac| format!("{address} is already used by {mac} on {name}")))
    });
    asked.unwrap_or_else(|error| {
        tracing::warn!(%error, "it is not known whether somebody else has the address");
        // Not to be asked for again at once.
        std::thread::sleep(Duration::from_millis(500));
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    use cluster::Settings;
    use net::address::ExecMover;

    #[test]
    fn an_address_that_was_not_taken_away_is_known_to_be_here_still() {
        let ip = std::net::IpAddr::from([192, 0, 2, 1]);
        let (program, timeout) = ("/bin/false".into(), Duration::from_secs(5));
        let service = ServiceSettings {
            name: "edge".to_owned(),
            members: Vec::new(),
            address: Some(ip),
            mover: MoverSettings::None,
            spans: Settings::of_lease(300_000),
            records_max: 1,
        };
        let mover = ExecMover::new(program, Vec::new(), ip, "eth0", timeout);
        let mut address = Address::new(&service, Mover::Exec(mover), None);
        let mut notes = Vec::new();
        address.go(Time(0), false, &mut notes);
        while address.is_leaving() {
            assert!(!address.is_here_still());
            std::thread::sleep(Duration::from_micros(LOOK_US));
            address.poll(Time(0), &mut notes);
        }
        assert!(address.is_here_still());
        assert!(matches!(notes[..], [Note::Failed(_)]));
        address.go(Time(1), true, &mut notes);
        assert!(!address.is_here_still());
    }
}
