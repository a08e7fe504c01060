//! Memory for batches of datagrams, and the calls that move them.
// The lengths in these headers are `usize` with one C library and `u32` with another.
#![allow(clippy::unnecessary_cast)]

use super::address::{RawAddress, from_in_addr, from_in6_addr, in_addr, in6_addr, mapped};
use super::checked;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

/// Bytes offered for one datagram: the largest there can be.
pub(crate) const SLOT_BYTES: usize = 65_535;
/// Distance between slots. The odd kilobyte keeps the starts of the slots out of the same cache
/// sets, which they would all share at a multiple of the page size.
const SLOT_STRIDE: usize = 65_536 + 1_024;
/// Most datagrams given to the kernel in one call.
const SEND_CHUNK: usize = 64;

const CONTROL_BYTES: usize = 64;
const ERROR_CONTROL_BYTES: usize = 256;

/// Room for control messages, aligned as they need to be.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control<const BYTES: usize>([u8; BYTES]);

fn empty_header() -> libc::mmsghdr {
    // SAFETY: all-zero bytes are a valid `mmsghdr`: null pointers and zero lengths.
    unsafe { mem::zeroed() }
}

fn empty_vector() -> libc::iovec {
    libc::iovec {
        iov_base: ptr::null_mut(),
        iov_len: 0,
    }
}

/// Slots that datagrams are received into.
pub(crate) struct ReceiveSlots {
    bytes: Box<[u8]>,
    names: Box<[RawAddress]>,
    controls: Box<[Control<CONTROL_BYTES>]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers in `vectors` and `headers` are only followed by the kernel within
// `receive`, which sets them anew to memory owned by this value.
unsafe impl Send for ReceiveSlots {}
// SAFETY: as above; shared access reads lengths and flags, never the pointers.
unsafe impl Sync for ReceiveSlots {}

impl ReceiveSlots {
    /// Slots for `size` datagrams. The memory is zeroed by the kernel when first touched, so an
    /// untouched page costs nothing.
    pub(crate) fn new(size: usize) -> ReceiveSlots {
        ReceiveSlots {
            bytes: vec![0; size * SLOT_STRIDE].into_boxed_slice(),
            names: vec![RawAddress::zeroed(); size].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_BYTES]); size].into_boxed_slice(),
            vectors: vec![empty_vector(); size].into_boxed_slice(),
            headers: vec![empty_header(); size].into_boxed_slice(),
        }
    }

    /// Number of slots.
    pub(crate) fn size(&self) -> usize {
        self.headers.len()
    }

    /// Receives what is waiting, at most one datagram a slot, without blocking. Control messages
    /// are asked for only with `with_control`.
    pub(crate) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        with_control: bool,
    ) -> io::Result<usize> {
        let size = self.size();
        let slots = self.bytes.chunks_exact_mut(SLOT_STRIDE);
        for (index, slot) in slots.enumerate() {
            self.vectors[index] = libc::iovec {
                iov_base: slot.as_mut_ptr().cast(),
                iov_len: SLOT_BYTES,
            };
        }
        let names = self.names.as_mut_ptr();
        let controls = self.controls.as_mut_ptr();
        let vectors = self.vectors.as_mut_ptr();
        for (index, header) in self.headers.iter_mut().enumerate() {
            let header = &mut header.msg_hdr;
            // SAFETY: `index` is within each of the three slices, which have `size` elements.
            unsafe {
                header.msg_name = names.add(index).cast();
                header.msg_iov = vectors.add(index);
                header.msg_control = controls.add(index).cast();
            }
            header.msg_namelen = RawAddress::LENGTH;
            header.msg_iovlen = 1;
            header.msg_controllen = if with_control { CONTROL_BYTES as _ } else { 0 };
            header.msg_flags = 0;
        }
        // SAFETY: every header points to a name, an iovec and control room owned by `self` and
        // borrowed mutably for the call; each iovec covers the first 65,535 bytes of its slot.
        let count = checked(unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                size as libc::c_uint,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        })?;
        Ok(count as usize)
    }

    /// The payload of slot `index`, as of the last `receive`.
    pub(crate) fn payload(&self, index: usize) -> &[u8] {
        let length = self.headers[index].msg_len as usize;
        let start = index * SLOT_STRIDE;
        &self.bytes[start..start + length.min(SLOT_BYTES)]
    }

    /// Where the datagram in slot `index` came from.
    pub(crate) fn source(&self, index: usize) -> Option<SocketAddr> {
        self.names[index].decode()
    }

    /// True when the datagram in slot `index` was longer than its slot.
    pub(crate) fn truncated(&self, index: usize) -> bool {
        self.headers[index].msg_hdr.msg_flags & libc::MSG_TRUNC != 0
    }

    /// The address the datagram in slot `index` was sent to, if control messages were asked for.
    pub(crate) fn destination(&self, index: usize) -> Option<IpAddr> {
        let mut found = None;
        let header = &self.headers[index].msg_hdr;
        let control = &self.controls[index].0;
        let length = (header.msg_controllen as usize).min(CONTROL_BYTES);
        each_control(&control[..length], |level, kind, data| {
            found = found.or(packet_information(level, kind, data));
        });
        found
    }
}

/// The local address in an `IP_PKTINFO` or `IPV6_PKTINFO` control message.
fn packet_information(level: i32, kind: i32, data: &[u8]) -> Option<IpAddr> {
    match (level, kind) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            let raw: libc::in_pktinfo = read_plain(data)?;
            Some(IpAddr::V4(from_in_addr(raw.ipi_addr)))
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            let raw: libc::in6_pktinfo = read_plain(data)?;
            Some(IpAddr::V6(from_in6_addr(raw.ipi6_addr)).to_canonical())
        }
        _ => None,
    }
}

/// A structure of the kernel made only of integers, for which any bytes are a valid value.
trait Plain: Copy {}
impl Plain for libc::cmsghdr {}
impl Plain for libc::in_pktinfo {}
impl Plain for libc::in6_pktinfo {}
impl Plain for libc::sock_extended_err {}

fn read_plain<T: Plain>(data: &[u8]) -> Option<T> {
    if data.len() < mem::size_of::<T>() {
        return None;
    }
    // SAFETY: there are enough bytes, the read needs no alignment, and any bytes make a `Plain`.
    Some(unsafe { ptr::read_unaligned(data.as_ptr().cast()) })
}

/// Calls `visit(level, type, data)` for each control message in `control`.
fn each_control(control: &[u8], mut visit: impl FnMut(i32, i32, &[u8])) {
    const HEADER_BYTES: usize = mem::size_of::<libc::cmsghdr>();
    const ALIGNMENT: usize = mem::size_of::<usize>();
    let mut rest = control;
    while let Some(header) = read_plain::<libc::cmsghdr>(rest) {
        let length = header.cmsg_len as usize;
        if length < HEADER_BYTES || length > rest.len() {
            return;
        }
        visit(
            header.cmsg_level,
            header.cmsg_type,
            &rest[HEADER_BYTES..length],
        );
        let next = length.next_multiple_of(ALIGNMENT);
        rest = rest.get(next..).unwrap_or_default();
    }
}

/// One datagram to be sent.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) destination: SocketAddr,
    pub(crate) source: Option<IpAddr>,
}

/// Room for the headers of datagrams being sent.
pub(crate) struct SendSlots {
    names: Box<[RawAddress]>,
    controls: Box<[Control<CONTROL_BYTES>]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

// SAFETY: the raw pointers are only followed by the kernel within `send`, which sets them anew.
unsafe impl Send for SendSlots {}
// SAFETY: as above; nothing is readable through a shared reference.
unsafe impl Sync for SendSlots {}

impl SendSlots {
    pub(crate) fn new() -> SendSlots {
        SendSlots {
            names: vec![RawAddress::zeroed(); SEND_CHUNK].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_BYTES]); SEND_CHUNK].into_boxed_slice(),
            vectors: vec![empty_vector(); SEND_CHUNK].into_boxed_slice(),
            headers: vec![empty_header(); SEND_CHUNK].into_boxed_slice(),
        }
    }

    /// Sends the first 64 of `datagrams` without blocking; returns how many went. An
    /// error is about the first datagram, or a pending one about an earlier datagram.
    pub(crate) fn send<'a>(
        &mut self,
        socket: BorrowedFd<'_>,
        v6: bool,
        datagrams: impl Iterator<Item = Outgoing<'a>>,
    ) -> io::Result<usize> {
        let mut count = 0;
        let names = self.names.as_mut_ptr();
        let controls = self.controls.as_mut_ptr();
        let vectors = self.vectors.as_mut_ptr();
        for (index, datagram) in datagrams.take(SEND_CHUNK).enumerate() {
            let (name, name_length) = RawAddress::encode(datagram.destination, v6);
            let vector = libc::iovec {
                iov_base: datagram.bytes.as_ptr().cast_mut().cast(),
                iov_len: datagram.bytes.len(),
            };
            let header = &mut self.headers[index].msg_hdr;
            // SAFETY: `index < SEND_CHUNK`, the number of elements of each of the slices; sendmmsg
            // only reads through `iov_base`, so the constness taken from it is not violated.
            unsafe {
                names.add(index).write(name);
                vectors.add(index).write(vector);
                header.msg_name = names.add(index).cast();
                header.msg_iov = vectors.add(index);
            }
            header.msg_namelen = name_length;
            header.msg_iovlen = 1;
            header.msg_flags = 0;
            header.msg_controllen = 0;
            header.msg_control = ptr::null_mut();
            if let Some(source) = datagram.source {
                // SAFETY: `index < SEND_CHUNK`, and no other reference to the element exists.
                let control = unsafe { &mut *controls.add(index) };
                header.msg_controllen = write_source(control, source, v6) as _;
                header.msg_control = (&raw mut *control).cast();
            }
            count = index + 1;
        }
        if count == 0 {
            return Ok(0);
        }
        // SAFETY: the first `count` headers point to names, iovecs and control messages owned by
        // `self`, and through the iovecs to payloads that the iterator lends for `'a`.
        let sent = checked(unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                count as libc::c_uint,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        })?;
        Ok(sent as usize)
    }
}

/// Writes the control message that chooses the source address; returns its length.
fn write_source(control: &mut Control<CONTROL_BYTES>, source: IpAddr, v6: bool) -> usize {
    const HEADER_BYTES: usize = mem::size_of::<libc::cmsghdr>();
    match source {
        IpAddr::V4(v4) if !v6 => {
            let data = libc::in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: in_addr(v4),
                ipi_addr: libc::in_addr { s_addr: 0 },
            };
            let length = HEADER_BYTES + mem::size_of_val(&data);
            write_control(control, libc::IPPROTO_IP, libc::IP_PKTINFO, length, data)
        }
        other => {
            let data = libc::in6_pktinfo {
                ipi6_addr: in6_addr(mapped(other)),
                ipi6_ifindex: 0,
            };
            let length = HEADER_BYTES + mem::size_of_val(&data);
            write_control(
                control,
                libc::IPPROTO_IPV6,
                libc::IPV6_PKTINFO,
                length,
                data,
            )
        }
    }
}

fn write_control<T: Plain>(
    control: &mut Control<CONTROL_BYTES>,
    level: i32,
    kind: i32,
    length: usize,
    data: T,
) -> usize {
    const HEADER_BYTES: usize = mem::size_of::<libc::cmsghdr>();
    const { assert!(HEADER_BYTES + mem::size_of::<T>() <= CONTROL_BYTES) };
    // SAFETY: all-zero bytes are a valid `cmsghdr` (integers).
    let mut header: libc::cmsghdr = unsafe { mem::zeroed() };
    header.cmsg_len = length as _;
    header.cmsg_level = level;
    header.cmsg_type = kind;
    let start = control.0.as_mut_ptr();
    // SAFETY: header and data fit into the room (asserted above); the writes need no alignment.
    unsafe {
        ptr::write_unaligned(start.cast(), header);
        ptr::write_unaligned(start.add(HEADER_BYTES).cast(), data);
    }
    length.next_multiple_of(mem::size_of::<usize>())
}

/// Room for one entry of a socket's error queue.
pub(crate) struct ErrorSlot {
    control: Control<ERROR_CONTROL_BYTES>,
}

impl ErrorSlot {
    pub(crate) fn new() -> ErrorSlot {
        ErrorSlot {
            control: Control([0; ERROR_CONTROL_BYTES]),
        }
    }

    /// Takes the next entry: the destination of the datagram that failed, and the error number.
    /// None when the queue is empty. The datagram's bytes are left behind.
    pub(crate) fn take(
        &mut self,
        socket: BorrowedFd<'_>,
    ) -> io::Result<Option<(Option<SocketAddr>, i32)>> {
        let mut name = RawAddress::zeroed();
        let mut header = empty_header().msg_hdr;
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = RawAddress::LENGTH;
        header.msg_control = (&raw mut self.control).cast();
        header.msg_controllen = ERROR_CONTROL_BYTES as _;
        // SAFETY: the header points to a live name and live control room of the lengths given,
        // and has no payload room.
        let received = unsafe {
            libc::recvmsg(
                socket.as_raw_fd(),
                &raw mut header,
                libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
            )
        };
        if received < 0 {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::WouldBlock {
                Ok(None)
            } else {
                Err(error)
            };
        }
        let mut errno = 0;
        let length = (header.msg_controllen as usize).min(ERROR_CONTROL_BYTES);
        each_control(&self.control.0[..length], |level, kind, data| {
            let v4 = level == libc::IPPROTO_IP && kind == libc::IP_RECVERR;
            let v6 = level == libc::IPPROTO_IPV6 && kind == libc::IPV6_RECVERR;
            if let (true, Some(raw)) = (v4 || v6, read_plain::<libc::sock_extended_err>(data)) {
                errno = raw.ee_errno as i32;
            }
        });
        Ok(Some((name.decode(), errno)))
    }
}
