//! What may go wrong with an address.

use super::Mac;
use std::error::Error;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// What was asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Opening a socket to it.
    OpenNetlink,
    /// Finding an interface.
    FindInterface,
    /// Adding the address to an interface.
    AddAddress,
    /// Removing it.
    RemoveAddress,
    /// Opening a socket for frames.
    OpenPackets,
    /// Telling the neighbours where the address is now.
    Announce,
    /// Asking them whether one has it.
    Probe,
    /// Loading the program that compares a packet's time with the lease.
    LoadProgram,
    /// Putting that program in the way of an interface's packets.
    AttachProgram,
    /// Making the packet filter with the address in it.
    MakeFilter,
    /// Giving the lease another end.
    ExtendLease,
    /// Removing what keeps the lease.
    RemoveLease,
}

impl Step {
    fn words(self) -> &'static str {
        match self {
            Step::OpenNetlink => "open a netlink socket",
            Step::FindInterface => "find the interface",
            Step::AddAddress => "add the address",
            Step::RemoveAddress => "remove the address",
            Step::OpenPackets => "open a packet socket",
            Step::Announce => "announce the address",
            Step::Probe => "ask who has the address",
            Step::LoadProgram => "load the lease's BPF program",
            Step::AttachProgram => "attach the lease's BPF program (clsact)",
            Step::MakeFilter => "make the lease's nftables filter",
            Step::ExtendLease => "extend the lease",
            Step::RemoveLease => "remove what keeps the lease",
        }
    }
}

/// How the operator's program ended.
#[derive(Debug)]
pub enum Exit {
    /// It could not be started or watched.
    NotRun(io::Error),
    /// It ended with this status; none when a signal ended it.
    Status(Option<i32>),
    /// It took longer than it may, and was killed with all that it had started.
    TimedOut,
}

/// An address could not be moved, announced, asked for or guarded.
#[derive(Debug)]
pub enum AddressError {
    /// There is no such interface.
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// The interface is none where neighbours are asked and told (no Ethernet).
    NotEthernet {
        /// Its name.
        interface: String,
    },
    /// The length of the prefix is not one of this address's family.
    PrefixTooLong {
        /// The address.
        address: IpAddr,
        /// The length.
        prefix_bits: u8,
    },
    /// The kernel refused.
    Kernel {
        /// What was asked.
        step: Step,
        /// What for: an address, or an address and an interface.
        subject: String,
        /// Its answer.
        error: io::Error,
    },
    /// Somebody else has the address.
    InUse {
        /// The address.
        address: IpAddr,
        /// Who.
        by: Mac,
        /// Where that was heard.
        interface: String,
    },
    /// The operator's program failed.
    Program {
        /// Which.
        program: PathBuf,
        /// `add` or `remove`.
        action: &'static str,
        /// How it ended.
        exit: Exit,
        /// What it said, shortened.
        output: String,
    },
}

impl AddressError {
    pub(super) fn kernel(step: Step, subject: impl fmt::Display, error: io::Error) -> AddressError {
        AddressError::Kernel {
            step,
            subject: subject.to_string(),
            error,
        }
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::NoInterface { interface } => {
                write!(
                    out,
                    "there is no interface {interface}; `ip link` lists them"
                )
            }
            AddressError::NotEthernet { interface } => {
                write!(
                    out,
                    "{interface} is no Ethernet: nobody there can be asked or told"
                )
            }
            AddressError::PrefixTooLong {
                address,
                prefix_bits,
            } => write!(out, "{address} has no prefix of {prefix_bits} bits"),
            AddressError::Kernel {
                step,
                subject,
                error,
            } => {
                write!(out, "cannot {} ({subject}): {error}", step.words())?;
                if error.kind() == io::ErrorKind::PermissionDenied {
                    out.write_str("; it takes CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF, or root")?;
                }
                Ok(())
            }
            AddressError::InUse {
                address,
                by,
                interface,
            } => write!(out, "{address} is already used by {by} on {interface}"),
            AddressError::Program {
                program,
                action,
                exit,
                output,
            } => {
                write!(out, "{} {action} ", program.display())?;
                match exit {
                    Exit::NotRun(error) => write!(out, "cannot be run: {error}")?,
                    Exit::Status(Some(status)) => write!(out, "ended with status {status}")?,
                    Exit::Status(None) => out.write_str("was ended by a signal")?,
                    Exit::TimedOut => out.write_str("took too long and was killed")?,
                }
                if !output.is_empty() {
                    write!(out, "; it said: {}", output.trim_end())?;
                }
                Ok(())
            }
        }
    }
}

impl Error for AddressError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            AddressError::Kernel { error, .. }
            | AddressError::Program {
                exit: Exit::NotRun(error),
                ..
            } => Some(error),
            _ => None,
        }
    }
}
