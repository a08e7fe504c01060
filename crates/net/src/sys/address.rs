//! Socket addresses in the kernel's layout.

use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// Room for an IPv4 or IPv6 socket address as the kernel lays it out.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) union RawAddress {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl RawAddress {
    /// Size of the room in bytes, as offered to the kernel.
    pub(super) const LENGTH: libc::socklen_t = mem::size_of::<RawAddress>() as libc::socklen_t;

    /// An address of no family.
    pub(super) fn zeroed() -> RawAddress {
        // SAFETY: all-zero bytes are a valid value of every member of the union (plain integers).
        unsafe { mem::zeroed() }
    }

    /// Encodes `address`; with `mapped`, an IPv4 address as an IPv4-mapped IPv6 one, which is what
    /// an IPv6 socket takes. Returns the number of bytes that count.
    pub(super) fn encode(address: SocketAddr, mapped: bool) -> (RawAddress, libc::socklen_t) {
        match address {
            SocketAddr::V4(v4) if mapped => {
                let ip = v4.ip().to_ipv6_mapped();
                RawAddress::encode_v6(SocketAddrV6::new(ip, v4.port(), 0, 0))
            }
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: v4.port().to_be(),
                    sin_addr: in_addr(*v4.ip()),
                    sin_zero: [0; 8],
                };
                (
                    RawAddress { v4: raw },
                    mem::size_of::<libc::sockaddr_in>() as libc::socklen_t,
                )
            }
            SocketAddr::V6(v6) => RawAddress::encode_v6(v6),
        }
    }

    fn encode_v6(v6: SocketAddrV6) -> (RawAddress, libc::socklen_t) {
        let raw = libc::sockaddr_in6 {
            sin6_family: libc::AF_INET6 as libc::sa_family_t,
            sin6_port: v6.port().to_be(),
            sin6_flowinfo: v6.flowinfo(),
            sin6_addr: in6_addr(*v6.ip()),
            sin6_scope_id: v6.scope_id(),
        };
        (
            RawAddress { v6: raw },
            mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t,
        )
    }

    /// The address the kernel wrote, IPv4-mapped ones unmapped; none when it wrote neither family.
    pub(super) fn decode(&self) -> Option<SocketAddr> {
        // SAFETY: the union starts with the family in each member, and it is always initialised
        // (zeroed at first, written by the kernel after).
        match i32::from(unsafe { self.family }) {
            libc::AF_INET => {
                // SAFETY: the kernel said that it wrote a `sockaddr_in`, plain integers all of it.
                let v4 = unsafe { self.v4 };
                let ip = from_in_addr(v4.sin_addr);
                Some(SocketAddr::V4(SocketAddrV4::new(
                    ip,
                    u16::from_be(v4.sin_port),
                )))
            }
            libc::AF_INET6 => {
                // SAFETY: the kernel said that it wrote a `sockaddr_in6`, plain integers all of it.
                let v6 = unsafe { self.v6 };
                let port = u16::from_be(v6.sin6_port);
                let ip = from_in6_addr(v6.sin6_addr);
                Some(match ip.to_ipv4_mapped() {
                    Some(v4) => SocketAddr::V4(SocketAddrV4::new(v4, port)),
                    None => SocketAddr::V6(SocketAddrV6::new(
                        ip,
                        port,
                        v6.sin6_flowinfo,
                        v6.sin6_scope_id,
                    )),
                })
            }
            _ => None,
        }
    }
}

pub(super) fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    }
}

pub(super) fn in6_addr(ip: Ipv6Addr) -> libc::in6_addr {
    libc::in6_addr {
        s6_addr: ip.octets(),
    }
}

pub(super) fn from_in_addr(raw: libc::in_addr) -> Ipv4Addr {
    Ipv4Addr::from(raw.s_addr.to_ne_bytes())
}

pub(super) fn from_in6_addr(raw: libc::in6_addr) -> Ipv6Addr {
    Ipv6Addr::from(raw.s6_addr)
}

/// `ip` as IPv6, an IPv4 address mapped.
pub(super) fn mapped(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}
