//! Opening the relay's ports.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use net::media::{Media, MediaOptions};
use proxy::Listener;
use relay::{Port, PortTable, Relay};

use super::inbox::RelayInbox;
use super::{MEDIA_ADDRESSES_MAX, RelaySettings, RelayThread, Relays, Share};

/// Too many open files, in this process or in the system (`EMFILE`, `ENFILE`).
const NO_DESCRIPTORS: [Option<i32>; 2] = [Some(24), Some(23)];

/// Why there is no relay.
#[derive(Debug)]
pub enum MediaError {
    /// There is no address to open ports on.
    NoAddress,
    /// No pair could be opened.
    NoPort {
        /// The first port of the range.
        first: u16,
        /// The last one.
        last: u16,
        /// What the system said last, and of which address.
        last_error: Option<(SocketAddr, io::Error)>,
    },
    /// The process may not have as many descriptors as there are ports.
    Descriptors {
        /// How many sockets it would be.
        wanted: usize,
    },
    /// The system gives no epoll descriptor.
    System(io::Error),
}

impl fmt::Display for MediaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MediaError::NoAddress => write!(
                f,
                "there is no address for media: name one of this machine in edge.media.addresses"
            ),
            MediaError::NoPort {
                first,
                last,
                last_error,
            } => {
                write!(
                    f,
                    "none of the ports {first} to {last} can be opened for media"
                )?;
                if let Some((address, error)) = last_error {
                    write!(f, " ({address}: {error})")?;
                }
                write!(f, "; see edge.rtp_ports and edge.media.addresses")
            }
            MediaError::Descriptors { wanted } => write!(
                f,
                "media needs {wanted} sockets (edge.rtp_ports, on each address), which is more than the process may \
                 have beside the rest: raise the limit of descriptors (LimitNOFILE in the unit, `ulimit -n` in \
                 a shell), take fewer ports, or name the addresses in edge.media.addresses"
            ),
            MediaError::System(error) => write!(f, "cannot get an epoll descriptor: {error}"),
        }
    }
}

impl std::error::Error for MediaError {}

/// The relay before it runs.
pub(crate) struct Opened {
    pub(crate) relays: Relays,
    pub(crate) threads: Vec<RelayThread>,
}

/// When and how ports are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opening {
    /// At the start, on addresses that are here.
    Now,
    /// At the start, on addresses that need not be here yet.
    Beforehand,
    /// When this node owns the service: the addresses are those of all members.
    ByOwner,
}

/// The sockets of one relay thread, while they are being opened.
struct Sockets {
    media: Media,
    opening: Opening,
    bound: Vec<SocketAddr>,
}

impl Sockets {
    /// Opens a port of a pair, if it is to be had.
    fn bind(&mut self, address: SocketAddr) -> io::Result<u32> {
        let index = match self.opening {
            Opening::ByOwner => self.media.reserve(address)?,
            Opening::Now | Opening::Beforehand => self.media.bind(address)?,
        };
        self.bound.push(address);
        Ok(index)
    }

    /// Opens RTP's port and then RTCP's, which gets the next index.
    fn pair(&mut self, rtp: SocketAddr) -> io::Result<Port> {
        let index = self.bind(rtp)?;
        self.bind(SocketAddr::new(rtp.ip(), rtp.port() | 1))?;
        Ok(Port(index))
    }
}

/// Opens the ports of the range on each address; each thread's share on its own. What others have is left out.
pub(crate) fn open(
    settings: &RelaySettings,
    listeners: &[Listener],
    opening: Opening,
) -> Result<Opened, MediaError> {
    let addresses = addresses(settings, listeners);
    if addresses.is_empty() {
        return Err(MediaError::NoAddress);
    }
    let wanted = wanted_addresses(settings, listeners).len();
    if wanted > addresses.len() {
        tracing::warn!(
            wanted,
            taken = addresses.len(),
            "too many addresses for media: name those that are needed in edge.media.addresses"
        );
    }
    let count = settings.threads.clamp(1, settings.pairs().max(1));
    let mut table = PortTable::new(count * addresses.len());
    let mut threads = Vec::new();
    let mut shares = Vec::new();
    let mut lacking = Lacking::default();
    for number in 0..count {
        let media = Media::new(MediaOptions {
            freebind: opening == Opening::Beforehand,
            ..MediaOptions::default()
        })
        .map_err(MediaError::System)?;
        let bound = Vec::new();
        let mut sockets = Sockets {
            media,
            opening,
            bound,
        };
        let pairs = (settings.first_port..=settings.last_port).step_by(2);
        for port in pairs.skip(number).step_by(count) {
            for (at, address) in addresses.iter().enumerate() {
                match sockets.pair(SocketAddr::new(*address, port)) {
                    Ok(port) => {
                        table.add(number * addresses.len() + at, port);
                        lacking.opened += 1;
                    }
                    Err(error) if NO_DESCRIPTORS.contains(&error.raw_os_error()) => {
                        return Err(MediaError::Descriptors {
                            wanted: settings.sockets(listeners),
                        });
                    }
                    Err(error) => lacking.add(SocketAddr::new(*address, port), error),
                }
            }
        }
        let own = relay::Settings {
            sessions_max: sockets.bound.len() as u32 / 2,
            ..settings.relay
        };
        shares.push(Share {
            inbox: RelayInbox::new(sockets.media.waker()),
            sockets: sockets.bound.as_slice().into(),
        });
        threads.push(RelayThread {
            number,
            relay: Relay::new(own, sockets.bound.len() as u32),
            media: sockets.media,
            opens_late: opening == Opening::ByOwner,
        });
    }
    lacking.judge(settings)?;
    tracing::debug!(?addresses, threads = count, "ports for media are open");
    let mut relays = Relays::new(table, addresses, settings.advertised, shares);
    relays.agreement = vec![
        format!(
            "edge.rtp_ports = [{}, {}]",
            settings.first_port, settings.last_port
        ),
        format!("edge.media.relay_threads = {count}"),
    ];
    Ok(Opened { relays, threads })
}

/// Pairs that were opened, and pairs that were not.
#[derive(Default)]
struct Lacking {
    opened: usize,
    lacking: usize,
    last: Option<(SocketAddr, io::Error)>,
}

impl Lacking {
    fn add(&mut self, address: SocketAddr, error: io::Error) {
        self.lacking += 1;
        self.last = Some((address, error));
    }

    /// Says once what is lacking.
    fn judge(self, settings: &RelaySettings) -> Result<(), MediaError> {
        if self.opened == 0 {
            return Err(MediaError::NoPort {
                first: settings.first_port,
                last: settings.last_port,
                last_error: self.last,
            });
        }
        if let Some((address, error)) = self.last {
            tracing::warn!(
                pairs = self.lacking,
                opened = self.opened,
                "pairs of ports for media are left out, since others have them or the address is not there; \
                 the last one is {address}: {error}"
            );
        }
        Ok(())
    }
}

/// Where the ports are: as many of [`wanted_addresses`] as may be.
pub(super) fn addresses(settings: &RelaySettings, listeners: &[Listener]) -> Vec<IpAddr> {
    let mut addresses = wanted_addresses(settings, listeners);
    addresses.truncate(MEDIA_ADDRESSES_MAX);
    addresses
}

/// Where the ports are to be: what was asked for, or the listeners' addresses.
fn wanted_addresses(settings: &RelaySettings, listeners: &[Listener]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    let mut add = |address: IpAddr| {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    };
    settings.addresses.iter().copied().for_each(&mut add);
    if settings.addresses.is_empty() {
        for listener in listeners {
            let address = listener.local.ip();
            if address.is_unspecified() {
                of_machine(address.is_ipv4()).into_iter().for_each(&mut add);
            } else {
                add(address);
            }
        }
    }
    addresses
}

/// The machine's addresses of a family that others reach; that of loopback where there is no other.
fn of_machine(is_ipv4: bool) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let own = interfaces.iter().map(if_addrs::Interface::ip);
    let is_link_local = |address: &IpAddr| match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let (loopback, others): (Vec<IpAddr>, Vec<IpAddr>) = own
        .filter(|address| address.is_ipv4() == is_ipv4 && !is_link_local(address))
        .partition(IpAddr::is_loopback);
    if others.is_empty() { loopback } else { others }
}
