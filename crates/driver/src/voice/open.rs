//! Opening the ports of the media threads.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use net::media::{Media, MediaOptions};
use voice::{PortId, Voice};

use super::inbox::VoiceInbox;
use super::ports::Ports;
use super::thread::VoiceThread;
use super::{Share, VOICE_ADDRESSES_MAX, VoiceSettings, Voices};

/// Too many open files, in this process or in the system (`EMFILE`, `ENFILE`).
const NO_DESCRIPTORS: [Option<i32>; 2] = [Some(24), Some(23)];

/// Why there are no media threads.
#[derive(Debug)]
pub enum VoiceError {
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
    /// The system gives no epoll descriptor or no thread.
    System(io::Error),
}

impl VoiceError {
    /// Whether others have the ports.
    pub(crate) fn are_others_there(&self) -> bool {
        let VoiceError::NoPort {
            last_error: Some((_, error)),
            ..
        } = self
        else {
            return false;
        };
        error.kind() == io::ErrorKind::AddrInUse
    }
}

impl fmt::Display for VoiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VoiceError::NoAddress => write!(
                f,
                "there is no address for the PBX's media: name one of this machine"
            ),
            VoiceError::NoPort {
                first,
                last,
                last_error,
            } => {
                write!(
                    f,
                    "none of the ports {first} to {last} can be opened for the PBX's media"
                )?;
                if let Some((address, error)) = last_error {
                    write!(f, " ({address}: {error})")?;
                }
                Ok(())
            }
            VoiceError::Descriptors { wanted } => write!(
                f,
                "the PBX's media need {wanted} sockets, which is more than the process may have beside the rest: raise the limit of \
                 descriptors (LimitNOFILE in the unit, `ulimit -n` in a shell), or take fewer ports or addresses"
            ),
            VoiceError::System(error) => write!(f, "cannot start a media thread: {error}"),
        }
    }
}

impl std::error::Error for VoiceError {}

/// The media threads before they run.
pub struct OpenedVoices {
    pub(super) voices: Voices,
    pub(super) threads: Vec<VoiceThread>,
    /// Pairs that could not be opened, and why not the last one.
    pub(super) lacking: Option<(usize, SocketAddr, io::Error)>,
}

impl OpenedVoices {
    /// Whether others have some of the ports still.
    pub(crate) fn are_others_there(&self) -> bool {
        let lacking = self.lacking.as_ref();
        lacking.is_some_and(|(.., error)| error.kind() == io::ErrorKind::AddrInUse)
    }
}

impl fmt::Debug for OpenedVoices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenedVoices").field(&self.voices).finish()
    }
}

/// Opens RTP's port and then RTCP's, which gets the next index.
fn pair(media: &mut Media, bound: &mut Vec<SocketAddr>, rtp: SocketAddr) -> io::Result<PortId> {
    let index = media.bind(rtp)?;
    let rtcp = SocketAddr::new(rtp.ip(), rtp.port() | 1);
    bound.push(rtp);
    media.bind(rtcp)?;
    bound.push(rtcp);
    Ok(PortId(index))
}

/// Opens the ports of the range on each address, each thread's share on its own. What others have is left out.
///
/// # Errors
/// [`VoiceError`]; a single port that others have is none.
pub fn open(settings: &VoiceSettings) -> Result<OpenedVoices, VoiceError> {
    let mut addresses = settings.addresses.clone();
    addresses.truncate(VOICE_ADDRESSES_MAX);
    if addresses.is_empty() {
        return Err(VoiceError::NoAddress);
    }
    let count = settings.threads.clamp(1, settings.pairs().max(1));
    let mut ports = Ports::default();
    let (mut threads, mut shares) = (Vec::new(), Vec::new());
    let (mut opened, mut lacking, mut last_error) = (0_usize, 0_usize, None);
    for number in 0..count {
        let mut media = Media::new(MediaOptions {
            freebind: settings.freebind,
            ..MediaOptions::default()
        })
        .map_err(VoiceError::System)?;
        let mut bound = Vec::new();
        let pairs = (settings.first_port..=settings.last_port).step_by(2);
        for port in pairs.skip(number).step_by(count) {
            for address in &addresses {
                let rtp = SocketAddr::new(*address, port);
                match pair(&mut media, &mut bound, rtp) {
                    Ok(port) => {
                        ports.add(number, *address, port);
                        opened += 1;
                    }
                    Err(error) if NO_DESCRIPTORS.contains(&error.raw_os_error()) => {
                        let wanted = settings.pairs() * 2 * addresses.len();
                        return Err(VoiceError::Descriptors { wanted });
                    }
                    Err(error) => {
                        lacking += 1;
                        last_error = Some((rtp, error));
                    }
                }
            }
        }
        shares.push(Share {
            inbox: VoiceInbox::new(media.waker()),
            sockets: bound.as_slice().into(),
        });
        let engine = Voice::new(settings.voice, bound.len() as u32);
        threads.push(VoiceThread::new(number, media, engine));
    }
    if opened == 0 {
        return Err(VoiceError::NoPort {
            first: settings.first_port,
            last: settings.last_port,
            last_error,
        });
    }
    let voices = Voices::new(settings.advertised, ports, shares);
    let lacking = last_error.map(|(address, error)| (lacking, address, error));
    Ok(OpenedVoices {
        voices,
        threads,
        lacking,
    })
}
