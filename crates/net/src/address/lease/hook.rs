//! Putting a program in the way of an interface's packets: a queueing discipline that queues nothing (`clsact`), with
//! the program as a filter. It stays when this process ends, as it must; the next life replaces it.

use super::super::netlink::{Channel, Messages, attributes, text_of};
use super::program::Direction;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes of `struct tcmsg`.
const TRAFFIC_BYTES: usize = 20;
// Attributes of queueing disciplines and filters.
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_BPF_FD: u16 = 6;
const TCA_BPF_NAME: u16 = 7;
const TCA_BPF_FLAGS: u16 = 8;
const TCA_BPF_FLAGS_GEN: u16 = 9;
/// What the program returns is done.
const ACT_DIRECT: u32 = 1;
/// Not in the device, which has not our clock.
const SKIP_HARDWARE: u32 = 1;
const CLSACT: &str = "clsact";
/// The discipline's handle and parent (`TC_H_CLSACT`), and its two sides.
const CLSACT_HANDLE: u32 = 0xFFFF_0000;
const CLSACT_PARENT: u32 = 0xFFFF_FFF1;
const INGRESS_PARENT: u32 = 0xFFFF_FFF2;
const EGRESS_PARENT: u32 = 0xFFFF_FFF3;
/// All protocols (`ETH_P_ALL`).
const ALL: u16 = 3;
/// Where among filters of others: early. Addresses of the two families do not share a number's handles.
const PRIORITY_IPV4: u32 = 3;
const PRIORITY_IPV6: u32 = 4;

/// Puts `program` in the way of the packets of `interface` that go in `direction`, in place of an earlier one for the
/// same address, with no moment between.
pub(super) fn attach(
    channel: &mut Channel,
    interface: u32,
    direction: Direction,
    address: IpAddr,
    program: BorrowedFd<'_>,
) -> io::Result<()> {
    make_discipline(channel, interface)?;
    let mut request = Messages::default();
    let flags = libc::NLM_F_CREATE | libc::NLM_F_ACK;
    request
        .message(
            libc::RTM_NEWTFILTER,
            flags,
            &filter(interface, direction, address),
        )
        .text(TCA_KIND, "bpf")
        .nest(TCA_OPTIONS, |options| {
            options.attribute(TCA_BPF_FD, &program.as_raw_fd().to_ne_bytes());
            options.text(TCA_BPF_NAME, &format!("holdline {address}"));
            options.attribute(TCA_BPF_FLAGS, &ACT_DIRECT.to_ne_bytes());
            options.attribute(TCA_BPF_FLAGS_GEN, &SKIP_HARDWARE.to_ne_bytes());
        });
    channel.request(&request)
}

/// Makes the discipline, if it is not there. An `ingress` one in its place would take the filter for what leaves as one for
/// what comes, without a word.
fn make_discipline(channel: &mut Channel, interface: u32) -> io::Result<()> {
    let body = traffic(interface, CLSACT_HANDLE, CLSACT_PARENT, 0);
    let mut request = Messages::default();
    let flags = libc::NLM_F_CREATE | libc::NLM_F_EXCL | libc::NLM_F_ACK;
    request
        .message(libc::RTM_NEWQDISC, flags, &body)
        .text(TCA_KIND, CLSACT);
    match channel.request(&request) {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
        done => return done,
    }
    let mut is_ours = false;
    request.clear();
    // Without asking for an echo, only those hear the answer who listen to all changes.
    request.message(libc::RTM_GETQDISC, libc::NLM_F_ECHO, &body);
    channel.ask(&request, |_, answer| {
        let known = attributes(answer.get(TRAFFIC_BYTES..).unwrap_or(&[]));
        is_ours |= known
            .into_iter()
            .any(|(kind, value)| kind == TCA_KIND && text_of(value) == CLSACT);
    })?;
    if is_ours {
        return Ok(());
    }
    let said = "the interface has an `ingress` discipline, which excludes `clsact`";
    Err(io::Error::new(io::ErrorKind::AlreadyExists, said))
}

/// Removes what [`attach`] put there, if it is there.
pub(super) fn detach(
    channel: &mut Channel,
    interface: u32,
    direction: Direction,
    address: IpAddr,
) -> io::Result<()> {
    let mut request = Messages::default();
    let body = filter(interface, direction, address);
    request
        .message(libc::RTM_DELTFILTER, libc::NLM_F_ACK, &body)
        .text(TCA_KIND, "bpf");
    match channel.request(&request) {
        // No such filter, no such discipline, no such interface.
        Err(error)
            if !matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::EINVAL | libc::ENODEV | libc::EOPNOTSUPP)
            ) =>
        {
            Err(error)
        }
        _ => Ok(()),
    }
}

fn filter(interface: u32, direction: Direction, address: IpAddr) -> [u8; TRAFFIC_BYTES] {
    let parent = match direction {
        Direction::Out => EGRESS_PARENT,
        Direction::In => INGRESS_PARENT,
    };
    let priority = match address {
        IpAddr::V4(_) => PRIORITY_IPV4,
        IpAddr::V6(_) => PRIORITY_IPV6,
    };
    let info = priority << 16 | u32::from(ALL.to_be());
    traffic(interface, handle(address), parent, info)
}

/// The number by which the next life finds the filter of an address.
fn handle(address: IpAddr) -> u32 {
    let handle = match address {
        IpAddr::V4(ip) => u32::from(ip),
        // FNV-1a; two of a node's few addresses meet once in four billion.
        IpAddr::V6(ip) => ip.octets().iter().fold(0x811C_9DC5, |hash: u32, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        }),
    };
    handle.max(1)
}

/// `struct tcmsg`.
fn traffic(interface: u32, handle: u32, parent: u32, info: u32) -> [u8; TRAFFIC_BYTES] {
    let mut body = [0; TRAFFIC_BYTES];
    for (at, word) in [interface, handle, parent, info].iter().enumerate() {
        body[4 * (at + 1)..4 * (at + 2)].copy_from_slice(&word.to_ne_bytes());
    }
    body
}
