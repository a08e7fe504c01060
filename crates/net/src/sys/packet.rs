//! Frames of an interface (packet(7)), as ARP and neighbour discovery need them.

use super::checked;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A socket that sends whole Ethernet frames on one interface and receives those of one protocol.
#[derive(Debug)]
pub(crate) struct PacketSocket {
    descriptor: OwnedFd,
}

impl PacketSocket {
    /// Opens one on the interface with this index. It receives frames of the Ethernet protocol `receives` that
    /// `filter` (classic BPF, nothing when empty) accepts, none without it.
    pub(crate) fn open(
        interface: u32,
        receives: Option<u16>,
        filter: &[libc::sock_filter],
    ) -> io::Result<PacketSocket> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Protocol 0 until it is bound: nothing comes that is of another interface, or not filtered.
        // SAFETY: socket(2) takes no pointers.
        let raw = checked(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: the kernel just returned this descriptor; nothing else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        let socket = PacketSocket { descriptor };
        if !filter.is_empty() {
            socket.attach(filter)?;
        }
        socket.bind(interface, receives.unwrap_or(0))?;
        Ok(socket)
    }

    fn attach(&self, filter: &[libc::sock_filter]) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: filter.len() as u16,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: the pointer is to a live program whose instructions live as long; the kernel copies both.
        checked(unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_ATTACH_FILTER,
                (&raw const program).cast(),
                mem::size_of::<libc::sock_fprog>() as libc::socklen_t,
            )
        })?;
        Ok(())
    }

    fn bind(&self, interface: u32, protocol: u16) -> io::Result<()> {
        // SAFETY: all-zero bytes are a valid `sockaddr_ll`, plain integers all of it.
        let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol.to_be();
        address.sll_ifindex = interface as i32;
        // SAFETY: the pointer is to a live address of the length given.
        checked(unsafe {
            libc::bind(
                self.descriptor.as_raw_fd(),
                (&raw const address).cast(),
                mem::size_of::<libc::sockaddr_ll>() as libc::socklen_t,
            )
        })?;
        Ok(())
    }

    /// Sends a frame, its Ethernet header included.
    pub(crate) fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the pointer is to live bytes of the length given.
        let sent = unsafe {
            libc::send(
                self.descriptor.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Receives a frame: its length in `room`. `WouldBlock` when none waits.
    pub(crate) fn receive(&self, room: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the pointer is to live, writable bytes of the length given.
        let received = unsafe {
            libc::recv(
                self.descriptor.as_raw_fd(),
                room.as_mut_ptr().cast(),
                room.len(),
                0,
            )
        };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }
}
