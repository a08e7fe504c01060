//! What leaves a host, as another one on its link sees it.

use super::Host;
use net::clock::Boottime;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// A frame from a service's address, or that tells where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Ip,
    Arp,
    Advertisement,
}

/// Frames that a host sent as, or for, a service's address, with the time at which they were seen.
#[derive(Debug)]
pub(crate) struct Capture {
    seen: Arc<Mutex<Vec<(Boottime, Seen)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// Of what the host with this address on the link sends, as it comes to `host`.
    pub(crate) fn start(host: &Host, sender: [u8; 6], service: IpAddr) -> Capture {
        let socket = host.within(open);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (list, stopped) = (seen.clone(), stop.clone());
        let thread = thread::spawn(move || {
            let mut frame = [0; 2_048];
            while !stopped.load(Ordering::Relaxed) {
                let Ok(length) = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()) else {
                    continue;
                };
                let now = Boottime::now();
                if frame[6..12] == sender
                    && let Some(what) = judge(service, &frame[..length])
                {
                    list.lock().expect("nobody panics").push((now, what));
                }
            }
        });
        Capture {
            seen,
            stop,
            thread: Some(thread),
        }
    }

    /// What was seen from then on.
    pub(crate) fn since(&self, from: Boottime) -> Vec<(Boottime, Seen)> {
        let seen = self.seen.lock().expect("nobody panics");
        seen.iter().filter(|(at, _)| *at >= from).copied().collect()
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().expect("it is there until now").join();
    }
}

fn open() -> OwnedFd {
    let all = SockProtocol::EthAll;
    let socket = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        all,
    );
    let socket = socket.expect("root may");
    let wait = TimeVal::new(0, 20_000);
    setsockopt(&socket, sockopt::ReceiveTimeout, &wait).expect("an option");
    socket
}

/// Whether a frame is from the address by any protocol, or for it by those that say where it is.
fn judge(service: IpAddr, frame: &[u8]) -> Option<Seen> {
    let packet = frame.get(14..)?;
    match (u16::from_be_bytes([frame[12], frame[13]]), service) {
        (0x0800, IpAddr::V4(ip)) => (packet.get(12..16)? == ip.octets()).then_some(Seen::Ip),
        (0x0806, IpAddr::V4(ip)) => (packet.get(14..18)? == ip.octets()).then_some(Seen::Arp),
        (0x86DD, IpAddr::V6(ip)) => {
            if packet.get(6) == Some(&58)
                && packet.get(40) == Some(&136)
                && packet.get(48..64)? == ip.octets()
            {
                return Some(Seen::Advertisement);
            }
            (packet.get(8..24)? == ip.octets()).then_some(Seen::Ip)
        }
        _ => None,
    }
}
