//! Who sends as the service address, as it is seen on the wire: the word of the nodes counts for nothing here.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::{Error, Host};

/// Spells that are kept: one more is counted with the last.
const SPELLS_MAX: usize = 10_000;

/// A hardware address.
pub type Mac = [u8; 6];

/// Frames of one host on end, none of another's between them.
#[derive(Debug, Clone, Copy)]
pub struct Spell {
    /// Which host.
    pub mac: Mac,
    /// When its first frame came.
    pub first: Instant,
    /// When its last one came.
    pub last: Instant,
    /// How many.
    pub frames: u64,
}

/// Listens on a bridge.
#[derive(Debug)]
pub struct Judge {
    spells: Arc<Mutex<Vec<Spell>>>,
    is_over: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Judge {
    /// Begins to listen to all links of a host, such as the one that has the bridge.
    ///
    /// # Errors
    /// The socket cannot be opened: it takes root's rights.
    pub fn listen(host: &Host, service: Ipv4Addr) -> Result<Judge, Error> {
        let opened = host.within(|| -> nix::Result<OwnedFd> {
            let all = SockProtocol::EthAll;
            let socket = socket(
                AddressFamily::Packet,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                all,
            )?;
            setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(0, 100_000))?;
            setsockopt(&socket, sockopt::RcvBuf, &(4 << 20))?;
            Ok(socket)
        });
        let socket = opened.map_err(std::io::Error::from)?;
        let spells = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (into, stop) = (Arc::clone(&spells), Arc::clone(&is_over));
        let worker = thread::spawn(move || {
            let mut frame = [0; 256];
            while !stop.load(Ordering::Relaxed) {
                let size = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty());
                let size = size.unwrap_or(0).min(frame.len());
                if let Some(mac) = sender(&frame[..size], service) {
                    let mut spells = into.lock().expect("nobody panics with it");
                    note(&mut spells, mac, Instant::now());
                }
            }
        });
        Ok(Judge {
            spells,
            is_over,
            worker: Some(worker),
        })
    }

    /// What was seen since this was asked last. The last spell goes on.
    pub fn take(&self) -> Vec<Spell> {
        let mut spells = self.spells.lock().expect("nobody panics with it");
        std::mem::take(&mut *spells)
    }
}

impl Drop for Judge {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

fn note(spells: &mut Vec<Spell>, mac: Mac, now: Instant) {
    let is_full = spells.len() >= SPELLS_MAX;
    match spells.last_mut() {
        Some(spell) if spell.mac == mac || is_full => {
            spell.last = now;
            spell.frames += 1;
        }
        _ => spells.push(Spell {
            mac,
            first: now,
            last: now,
            frames: 1,
        }),
    }
}

/// How many hosts had the address at once: more than one where it went between them oftener than the epoch rose.
pub fn owners_at_once(spells: &[Spell], terms_begun: u64) -> u64 {
    let changes = spells.len().saturating_sub(1) as u64;
    match changes {
        _ if spells.is_empty() => 0,
        changes if changes > terms_begun => 2,
        _ => 1,
    }
}

/// Whose frame it is, if it is sent as the address: IPv4 from it (RFC 791), or ARP of it (RFC 826).
fn sender(frame: &[u8], service: Ipv4Addr) -> Option<Mac> {
    let kind = frame.get(12..14)?;
    let from = match kind {
        [0x08, 0x00] => frame.get(26..30)?,
        [0x08, 0x06] => frame.get(28..32)?,
        _ => return None,
    };
    let mac = frame.get(6..12)?;
    (from == service.octets()).then(|| std::array::from_fn(|at| mac[at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);

    fn seen(order: &[u8]) -> Vec<Spell> {
        let mut spells = Vec::new();
        for host in order {
            note(&mut spells, [2, 0, 0, 0, 0, *host], Instant::now());
        }
        spells
    }

    #[test]
    fn one_that_follows_another_is_one_owner() {
        assert_eq!(owners_at_once(&seen(&[1, 1, 2, 2]), 1), 1);
    }

    #[test]
    fn one_that_sends_after_its_successor_is_a_second_owner() {
        assert_eq!(owners_at_once(&seen(&[1, 1, 2, 1, 2]), 1), 2);
        assert_eq!(owners_at_once(&seen(&[1, 2]), 0), 2);
    }

    #[test]
    fn frames_and_arp_of_the_address_show_their_sender() {
        let mut frame = [0; 60];
        frame[11] = 7;
        frame[12..14].copy_from_slice(&[8, 0]);
        frame[26..30].copy_from_slice(&SERVICE.octets());
        assert_eq!(sender(&frame, SERVICE), Some([0, 0, 0, 0, 0, 7]));
        frame[13] = 6;
        assert_eq!(sender(&frame, SERVICE), None);
        frame[28..32].copy_from_slice(&SERVICE.octets());
        assert_eq!(sender(&frame, SERVICE), Some([0, 0, 0, 0, 0, 7]));
        assert_eq!(sender(&frame[..20], SERVICE), None);
    }
}
