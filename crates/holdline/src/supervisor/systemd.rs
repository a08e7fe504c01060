//! What systemd is told (sd_notify, the protocol of `man 3 sd_notify`).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::Told;

/// Tells systemd, or whoever started this process and speaks its protocol,
/// if it listens. It is a courtesy: failures change nothing.
pub(super) fn tell(told: Told) {
    let Some(place) = std::env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let place = place.as_bytes();
    let address = match place.split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name),
        Some((b'/', _)) => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(place)),
        _ => return,
    };
    let text: &[u8] = match told {
        Told::Ready => b"READY=1",
        Told::Stopping => b"STOPPING=1",
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = socket.send_to_addr(text, &address);
    }
}
