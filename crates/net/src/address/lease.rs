//! The kernel keeps the lease: a service's address is usable only until a deadline, whatever this process does.
//!
//! Two means, both in the kernel and both there when the process has died (decision 0017):
//!
//! - a **program** (BPF, at `clsact` of each interface) that compares the time since boot with the deadline for each
//!   packet: absolute, and for all that leaves the interface, ARP and neighbour discovery included, whoever sends it;
//! - a **filter** (nftables) with a set element that times out: relative to when the kernel was told, so that a
//!   process which stands still between reading the clock and telling it lengthens its lease by as much. It is the second line where
//!   there is a program (interfaces that came meanwhile), and the only one where the kernel takes none.

mod hook;
mod program;
mod table;

use super::interface::route_channel;
use super::netlink::Channel;
use super::{AddressError, Interface, Step};
use crate::clock::Boottime;
use crate::sys::{SharedNumber, load_program};
use program::Direction;
use std::fmt;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use table::Table;

const DIRECTIONS: [Direction; 2] = [Direction::Out, Direction::In];

/// Most reasons kept for why a lease is not stronger; interfaces that take no program may come and go.
pub const SHORTFALLS_MAX: usize = 64;

/// How far the kernel keeps the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// By an absolute deadline: nothing leaves after it.
    Absolute,
    /// By a timeout that begins when the kernel is told: a process that stands still between reading the clock and
    /// telling it may send for as long again.
    Relative,
    /// Not at all: a process that stands still and wakes sends until it looks at the clock.
    None,
}

impl fmt::Display for Strength {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Strength::Absolute => "absolute",
            Strength::Relative => "relative",
            Strength::None => "none",
        })
    }
}

/// Which means are to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Means {
    /// The program.
    pub program: bool,
    /// The filter.
    pub filter: bool,
}

impl Default for Means {
    fn default() -> Means {
        Means {
            program: true,
            filter: true,
        }
    }
}

/// The right to use an address until a deadline.
///
/// When it is dropped the address is dumb; what keeps it so is removed only if the address is not on this machine.
#[derive(Debug)]
pub struct Lease {
    address: IpAddr,
    interface: Interface,
    channel: Channel,
    program: Option<Program>,
    table: Option<Table>,
    /// What the filter was told last, and whether the kernel took it.
    filtered: (Boottime, bool),
    shortfalls: Vec<AddressError>,
}

/// The part of a lease that is set without asking the kernel: the program's.
#[derive(Clone, Debug)]
pub(super) struct Deadline(Option<Arc<SharedNumber>>);

impl Deadline {
    /// None, as where the kernel takes no program.
    #[cfg(test)]
    pub(super) fn none() -> Deadline {
        Deadline(None)
    }

    pub(super) fn set(&self, until: Boottime) {
        if let Some(number) = &self.0 {
            number.set(until.as_ns());
        }
    }
}

/// The program in the kernel, and the interfaces that it is attached to.
#[derive(Debug)]
struct Program {
    deadline: Arc<SharedNumber>,
    /// For what leaves and what comes.
    loaded: [OwnedFd; 2],
    interfaces: Vec<u32>,
}

impl Lease {
    /// Makes `address`, which is to be used on `interface`, dumb from now on until [`Lease::extend`], by all means that the
    /// kernel has. Replaces what an earlier life of the process left.
    ///
    /// What the kernel lacks is no error: [`Lease::strength`] says what is in force, and [`Lease::shortfalls`] why.
    ///
    /// # Errors
    /// There is no such interface, or no way to ask for it.
    pub fn install(address: IpAddr, interface: &str) -> Result<Lease, AddressError> {
        Lease::install_by(address, interface, Means::default())
    }

    /// The same by some means only.
    ///
    /// # Errors
    /// As those of [`Lease::install`].
    pub fn install_by(
        address: IpAddr,
        interface: &str,
        means: Means,
    ) -> Result<Lease, AddressError> {
        let mut channel = route_channel()?;
        let interface = Interface::find(&mut channel, interface)?;
        let mut lease = Lease {
            address,
            interface,
            channel,
            program: None,
            table: None,
            filtered: (Boottime::START, true),
            shortfalls: Vec::new(),
        };
        if means.filter {
            match Table::make(address, Duration::ZERO) {
                Ok(table) => lease.table = Some(table),
                Err(error) => lease.falls_short(Step::MakeFilter, error),
            }
        }
        if means.program {
            match Program::load(address) {
                Ok(program) => lease.program = Some(program),
                Err(error) => lease.falls_short(Step::LoadProgram, error),
            }
        }
        lease.survey()?;
        lease.remove_what_is_not_used(means);
        Ok(lease)
    }

    /// What is in force on the interface that the lease is for.
    pub fn strength(&self) -> Strength {
        let covered = self.program.as_ref().is_some_and(|program| {
            self.interface.loopback || program.interfaces.contains(&self.interface.index)
        });
        match (covered, &self.table) {
            (true, _) => Strength::Absolute,
            (false, Some(_)) if self.filtered.1 => Strength::Relative,
            (false, _) => Strength::None,
        }
    }

    /// Why it is not stronger, or not on all interfaces: for the operator's log.
    pub fn shortfalls(&self) -> &[AddressError] {
        &self.shortfalls
    }

    /// Puts the program in the way of interfaces that are new, and anew in that of the lease's own, from which somebody may have
    /// taken it. To be called every few seconds; until then, the filter alone is in their way. Where there is nothing but the filter, its
    /// rules are made anew: a set without them keeps nobody from anything.
    ///
    /// # Errors
    /// The kernel does not tell its interfaces, or does not take the filter.
    pub fn survey(&mut self) -> Result<(), AddressError> {
        if self.table.is_some() && self.strength() != Strength::Absolute {
            let span = self.filtered.0.since(Boottime::now());
            self.make_filter(span)?;
        }
        let Some(program) = &mut self.program else {
            return Ok(());
        };
        let interfaces = Interface::all(&mut self.channel)?;
        let there = |index: &u32| interfaces.iter().any(|interface| interface.index == *index);
        program.interfaces.retain(there);
        // It may have come anew with another number.
        if let Some(named) = interfaces
            .iter()
            .find(|one| one.name == self.interface.name)
        {
            self.interface = named.clone();
        }
        program
            .interfaces
            .retain(|index| *index != self.interface.index);
        for interface in interfaces.iter().filter(|interface| !interface.loopback) {
            if program.interfaces.contains(&interface.index) {
                continue;
            }
            match program.attach(&mut self.channel, interface.index, self.address) {
                Ok(()) => program.interfaces.push(interface.index),
                Err(error) => {
                    let subject = format!("{} on {}", self.address, interface.name);
                    let error = AddressError::kernel(Step::AttachProgram, subject, error);
                    tell_once(&mut self.shortfalls, error);
                }
            }
        }
        Ok(())
    }

    /// Lets the address be used until `until`, which may be over already; `now` is the time that was read last. What is
    /// told last counts, be it earlier or later.
    ///
    /// # Errors
    /// The kernel refuses (the filter's part; the program's cannot fail): the old timeout goes on.
    pub fn extend(&mut self, now: Boottime, until: Boottime) -> Result<(), AddressError> {
        self.deadline().set(until);
        self.extend_filter(now, until)
    }

    /// The program's part of [`Lease::extend`], which waits for nothing.
    pub(super) fn deadline(&self) -> Deadline {
        let program = self.program.as_ref();
        Deadline(program.map(|program| program.deadline.clone()))
    }

    /// The filter's part: the kernel has to be asked, which may take it a while when others change its filters. One that
    /// is not there any more, or is not taken, is made anew.
    pub(super) fn extend_filter(
        &mut self,
        now: Boottime,
        until: Boottime,
    ) -> Result<(), AddressError> {
        let Some(table) = &mut self.table else {
            return Ok(());
        };
        let span = until.since(now);
        self.filtered.0 = until;
        match table.extend(span) {
            Ok(()) => {
                self.filtered.1 = true;
                Ok(())
            }
            // Somebody has flushed all rules, as firewalls do when they are loaded anew; or what is met then says more.
            Err(_) => self.make_filter(span),
        }
    }

    /// Makes the filter anew, as it is to be for so long.
    fn make_filter(&mut self, span: Duration) -> Result<(), AddressError> {
        let made = Table::make(self.address, span);
        self.filtered.1 = made.is_ok();
        match made {
            Ok(table) => {
                self.table = Some(table);
                Ok(())
            }
            Err(error) => Err(AddressError::kernel(Step::ExtendLease, self.address, error)),
        }
    }

    /// Makes the address dumb at once.
    ///
    /// # Errors
    /// As those of [`Lease::extend`].
    pub fn revoke(&mut self) -> Result<(), AddressError> {
        self.extend(Boottime::START, Boottime::START)
    }

    /// Removes what keeps the lease. The address should not be on this machine any more: it would be usable.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn remove(mut self) -> Result<(), AddressError> {
        self.take_down()
    }

    fn falls_short(&mut self, step: Step, error: io::Error) {
        let error = AddressError::kernel(step, self.address, error);
        self.shortfalls.push(error);
    }

    /// Leftovers of a means that is not used now would keep the address dumb for ever.
    fn remove_what_is_not_used(&mut self, means: Means) {
        // Where one cannot be removed, it could not be made either.
        if !means.filter {
            let _ = Table::remove(self.address);
        }
        if self.program.is_none() {
            let _ = self.detach_all();
        }
    }

    fn take_down(&mut self) -> Result<(), AddressError> {
        let detached = self.detach_all();
        self.program = None;
        if self.table.take().is_some() {
            Table::remove(self.address)
                .map_err(|error| AddressError::kernel(Step::RemoveLease, self.address, error))?;
        }
        detached
    }

    fn detach_all(&mut self) -> Result<(), AddressError> {
        let mut outcome = Ok(());
        for interface in Interface::all(&mut self.channel)? {
            for direction in DIRECTIONS {
                let done =
                    hook::detach(&mut self.channel, interface.index, direction, self.address);
                if let Err(error) = done {
                    let subject = format!("{} on {}", self.address, interface.name);
                    outcome = Err(AddressError::kernel(Step::RemoveLease, subject, error));
                }
            }
        }
        outcome
    }
}

/// Adds a shortfall that is not among them, as long as there is room.
fn tell_once(shortfalls: &mut Vec<AddressError>, error: AddressError) {
    let said = error.to_string();
    let is_known = shortfalls.iter().any(|known| known.to_string() == said);
    if !is_known && shortfalls.len() < SHORTFALLS_MAX {
        shortfalls.push(error);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Nobody is left to hear of an error; both means stay in force, and the next start replaces them.
        let _ = self.revoke();
        let address_is_here = UdpSocket::bind((self.address, 0)).is_ok();
        if !address_is_here {
            let _ = self.take_down();
        }
    }
}

impl Program {
    fn load(address: IpAddr) -> io::Result<Program> {
        let deadline = Arc::new(SharedNumber::new()?);
        let load = |direction, name| {
            let code = program::program(address, direction, deadline.as_fd());
            load_program(&code, name)
        };
        let loaded = [
            load(Direction::Out, "holdline_out")?,
            load(Direction::In, "holdline_in")?,
        ];
        Ok(Program {
            deadline,
            loaded,
            interfaces: Vec::new(),
        })
    }

    fn attach(&self, channel: &mut Channel, interface: u32, address: IpAddr) -> io::Result<()> {
        for (direction, program) in DIRECTIONS.into_iter().zip(&self.loaded) {
            hook::attach(channel, interface, direction, address, program.as_fd())?;
        }
        Ok(())
    }
}
