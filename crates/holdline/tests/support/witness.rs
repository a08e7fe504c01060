//! Who speaks from an address: a capture on what leaves a host.

use std::io::IoSliceMut;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::hosts::Host;

/// What the kernel says of a packet that leaves (`PACKET_OUTGOING`): those that come are seen too.
const OUTGOING: u8 = 4;

/// Notes when packets left a host from the service's address, by the kernel's time.
pub(crate) struct Witness {
    seen: Arc<Mutex<Vec<Duration>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Witness {
    /// Looks at all that leaves a host from the address of a service.
    pub(crate) fn at(host: &Host, service: Ipv4Addr) -> Witness {
        let socket: OwnedFd = host.within(|| {
            let socket = socket(
                AddressFamily::Packet,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC,
                SockProtocol::EthAll,
            )
            .expect("root may");
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 50_000))
                .expect("an option");
            setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("an option");
            setsockopt(&socket, sockopt::RcvBuf, &(8 << 20)).expect("an option");
            socket
        });
        let seen = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (notes, end) = (seen.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let mut bytes = [0; 2048];
            while !end.load(Ordering::Relaxed) {
                if let Some(at) = look(&socket, service, &mut bytes) {
                    notes.lock().expect("no panic").push(at);
                }
            }
        });
        Witness {
            seen,
            is_over,
            thread: Some(thread),
        }
    }

    /// When packets left, since 1970.
    pub(crate) fn seen(&self) -> Vec<Duration> {
        self.seen.lock().expect("no panic").clone()
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// When the next packet from a service's address left, if it is one.
fn look(socket: &OwnedFd, service: Ipv4Addr, bytes: &mut [u8]) -> Option<Duration> {
    let mut space = nix::cmsg_space!(nix::sys::time::TimeSpec);
    let (source, has_left, at) = {
        let mut parts = [IoSliceMut::new(bytes)];
        let message = recvmsg::<LinkAddr>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::empty(),
        )
        .ok()?;
        let at = message.cmsgs().ok()?.find_map(|control| match control {
            ControlMessageOwned::ScmTimestampns(at) => Some(Duration::from(at)),
            _ => None,
        })?;
        let place = message.address.map(|place| place.pkttype());
        (message.bytes, place == Some(OUTGOING), at)
    };
    let is_from_service = source >= 20 && bytes[0] >> 4 == 4 && bytes[12..16] == service.octets();
    (has_left && is_from_service).then_some(at)
}
