//! Opening, binding and setting options of a socket.

use super::address::RawAddress;
use super::checked;
use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Datagram or stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Datagram,
    Stream,
}

/// An open socket, non-blocking and closed on exec.
#[derive(Debug)]
pub(crate) struct Socket {
    descriptor: OwnedFd,
    v6: bool,
}

impl Socket {
    /// Opens a socket of the family of `address`.
    pub(crate) fn open(kind: Kind, address: SocketAddr) -> io::Result<Socket> {
        let family = if address.is_ipv6() {
            libc::AF_INET6
        } else {
            libc::AF_INET
        };
        let kind = match kind {
            Kind::Datagram => libc::SOCK_DGRAM,
            Kind::Stream => libc::SOCK_STREAM,
        };
        // SAFETY: socket(2) takes no pointers.
        let raw = checked(unsafe {
            libc::socket(family, kind | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC, 0)
        })?;
        // SAFETY: the kernel just returned this descriptor; nothing else owns it.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        Ok(Socket {
            descriptor,
            v6: address.is_ipv6(),
        })
    }

    /// True for an IPv6 socket (dual-stack or not).
    pub(crate) fn is_v6(&self) -> bool {
        self.v6
    }

    /// Sets an integer option.
    pub(crate) fn set(&self, level: i32, name: i32, value: i32) -> io::Result<()> {
        // SAFETY: the pointer is to a live integer of the size given.
        checked(unsafe {
            libc::setsockopt(
                self.descriptor.as_raw_fd(),
                level,
                name,
                (&raw const value).cast(),
                mem::size_of::<i32>() as libc::socklen_t,
            )
        })?;
        Ok(())
    }

    /// Reads an integer option.
    pub(crate) fn option(&self, level: i32, name: i32) -> io::Result<i32> {
        let mut values = [0u32; 1];
        self.read_option(level, name, &mut values)?;
        Ok(values[0] as i32)
    }

    /// Bytes of memory that what waits to be received takes up, and how many datagrams the kernel dropped
    /// because there was no more of it (`SO_MEMINFO`).
    pub(crate) fn backlog(&self) -> io::Result<(u32, u32)> {
        const SK_MEMINFO_RMEM_ALLOC: usize = 0;
        const SK_MEMINFO_VARS: usize = 9;
        const SK_MEMINFO_DROPS: usize = 8;
        let mut values = [0u32; SK_MEMINFO_VARS];
        self.read_option(libc::SOL_SOCKET, libc::SO_MEMINFO, &mut values)?;
        Ok((values[SK_MEMINFO_RMEM_ALLOC], values[SK_MEMINFO_DROPS]))
    }

    /// Datagrams the kernel dropped on this socket because its buffer was full.
    pub(crate) fn drops(&self) -> io::Result<u32> {
        Ok(self.backlog()?.1)
    }

    fn read_option(&self, level: i32, name: i32, values: &mut [u32]) -> io::Result<()> {
        let mut length = mem::size_of_val(values) as libc::socklen_t;
        // SAFETY: the pointer is to live, writable integers of `length` bytes altogether.
        checked(unsafe {
            libc::getsockopt(
                self.descriptor.as_raw_fd(),
                level,
                name,
                values.as_mut_ptr().cast(),
                &raw mut length,
            )
        })?;
        Ok(())
    }

    /// bind(2).
    pub(crate) fn bind(&self, address: SocketAddr) -> io::Result<()> {
        let (raw, length) = RawAddress::encode(address, self.v6);
        // SAFETY: the pointer is to a live address of at least `length` bytes.
        checked(unsafe {
            libc::bind(self.descriptor.as_raw_fd(), (&raw const raw).cast(), length)
        })?;
        Ok(())
    }

    /// connect(2); on a datagram socket it sends nothing.
    pub(crate) fn connect(&self, address: SocketAddr) -> io::Result<()> {
        let (raw, length) = RawAddress::encode(address, self.v6);
        // SAFETY: the pointer is to a live address of at least `length` bytes.
        checked(unsafe {
            libc::connect(self.descriptor.as_raw_fd(), (&raw const raw).cast(), length)
        })?;
        Ok(())
    }

    /// listen(2).
    pub(crate) fn listen(&self, backlog: i32) -> io::Result<()> {
        // SAFETY: listen(2) takes no pointers.
        checked(unsafe { libc::listen(self.descriptor.as_raw_fd(), backlog) })?;
        Ok(())
    }

    /// The address the socket is bound to.
    pub(crate) fn local_address(&self) -> io::Result<SocketAddr> {
        let mut raw = RawAddress::zeroed();
        let mut length = RawAddress::LENGTH;
        // SAFETY: the pointers are to a live address of `length` bytes and to that length.
        checked(unsafe {
            libc::getsockname(
                self.descriptor.as_raw_fd(),
                (&raw mut raw).cast(),
                &raw mut length,
            )
        })?;
        raw.decode()
            .ok_or_else(|| io::Error::from(io::ErrorKind::AddrNotAvailable))
    }

    /// Gives the descriptor away.
    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.descriptor
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
