//! What may go wrong between nodes.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use rustls::{AlertDescription, CertificateError};

use super::der::date;
use super::link::{BULK_BYTES_MAX, URGENT_BYTES_MAX};

/// What may go wrong between nodes.
#[derive(Debug)]
#[non_exhaustive]
pub enum PeerError {
    /// A file of the certificates cannot be read or written.
    File {
        /// Which one.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file is there already that would be overwritten.
    Exists {
        /// Which one.
        path: PathBuf,
    },
    /// A file does not hold what it should.
    Damaged {
        /// Which one.
        path: PathBuf,
    },
    /// A name that cannot be in a certificate.
    Name {
        /// The name.
        name: String,
    },
    /// Keys or certificates cannot be made.
    Making {
        /// Why.
        reason: String,
    },
    /// The node's own certificate is of another node.
    OtherNode {
        /// This node's name.
        name: String,
        /// Where the certificate is.
        path: PathBuf,
    },
    /// The node's own certificate has ended.
    Expired {
        /// The node.
        node: String,
        /// The certificate.
        path: PathBuf,
        /// When, in seconds since 1970.
        at_unix_s: u64,
    },
    /// The certificate of the cluster's authority has ended.
    AuthorityExpired {
        /// The certificate.
        path: PathBuf,
        /// When, in seconds since 1970.
        at_unix_s: u64,
    },
    /// The address for the links cannot be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// A connection was not made, or broke.
    Connection {
        /// What the system says.
        error: io::Error,
    },
    /// The other end is too slow in its handshake.
    Slow,
    /// Nothing came for too long.
    Silent,
    /// TLS was refused, here or there.
    Tls {
        /// Why.
        error: rustls::Error,
    },
    /// What came is no greeting or no frame.
    Garbage,
    /// It speaks a version of the links that this program does not.
    Version {
        /// Its version.
        found: u64,
    },
    /// A node of another cluster.
    OtherCluster {
        /// Its cluster.
        found: String,
    },
    /// A node that is not known here (yet).
    Unknown {
        /// Its name.
        name: String,
        /// Its number.
        number: u64,
    },
    /// It greets by a name that is not that of its certificate.
    NotItsName {
        /// The name.
        name: String,
    },
    /// Its configuration contradicts ours.
    Disagreement {
        /// What it says, a line.
        found: String,
        /// What we say.
        own: String,
    },
    /// A newer link to the same node has taken its place.
    Replaced,
    /// The node cannot keep up with what it is sent.
    QueueFull,
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerError::File { path, error } => write!(
                f,
                "cannot use {}: {error}; `holdline certs` makes the files",
                path.display()
            ),
            PeerError::Exists { path } => write!(
                f,
                "{} is there already and is kept; name another folder",
                path.display()
            ),
            PeerError::Damaged { path } => write!(
                f,
                "{} is damaged: make it anew by `holdline certs`",
                path.display()
            ),
            PeerError::Name { name } => write!(
                f,
                "{name:?} cannot be in a certificate: use letters, digits, dots and dashes"
            ),
            PeerError::Making { reason } => write!(f, "cannot make the certificate: {reason}"),
            PeerError::OtherNode { name, path } => write!(
                f,
                "{} is not of the node {name}: make its own by `holdline certs node {name}`",
                path.display()
            ),
            PeerError::Expired {
                node,
                path,
                at_unix_s,
            } => write!(
                f,
                "the certificate {} ended on {}: run `holdline certs renew {node} --ca FOLDER` where the authority is, copy the files here, \
                 and `holdline reload`",
                path.display(),
                Day(*at_unix_s)
            ),
            PeerError::AuthorityExpired { path, at_unix_s } => write!(
                f,
                "the authority's certificate {} ended on {}: make another authority by `holdline certs init`, and the files of all nodes anew",
                path.display(),
                Day(*at_unix_s)
            ),
            PeerError::Listen { address, error } => write!(
                f,
                "cannot listen on {address} for other nodes: {error}; see [cluster] peer_listen"
            ),
            PeerError::Connection { error } => write!(f, "the connection failed: {error}"),
            PeerError::Slow => write!(f, "it did not finish its greeting in time"),
            PeerError::Silent => write!(f, "nothing came from it for too long"),
            PeerError::Tls { error } => tls(error, f),
            PeerError::Garbage => write!(
                f,
                "it does not speak as a node does; is another program at that address?"
            ),
            PeerError::Version { found } => write!(
                f,
                "it speaks version {found} of the links; run versions that are next to each other"
            ),
            PeerError::OtherCluster { found } => write!(
                f,
                "it is of the cluster {found:?}: correct its address, or [cluster] name"
            ),
            PeerError::Unknown { name, number } => write!(
                f,
                "the node {name:?} with the number {number} is not known here: it is in no [[service]] members of \
                 ours, or uses another coordinator"
            ),
            PeerError::NotItsName { name } => write!(
                f,
                "it calls itself {name:?}, and its certificate does not: run `holdline certs node {name}` and give \
                 it the files"
            ),
            PeerError::Disagreement { found, own } => write!(
                f,
                "it is configured differently: it has `{found}`, this node `{own}`; make them the same on all nodes"
            ),
            PeerError::Replaced => write!(f, "it has connected anew"),
            PeerError::QueueFull => write!(
                f,
                "it did not take what it was sent ({URGENT_BYTES_MAX} bytes of heartbeats or {BULK_BYTES_MAX} of \
                 checkpoints wait)"
            ),
        }
    }
}

/// A day, by the time of UTC, of which the seconds since 1970 are given.
struct Day(u64);

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.0 / 86_400);
        write!(f, "{year}-{month:02}-{day:02}")
    }
}

fn tls(error: &rustls::Error, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    use AlertDescription as Alert;
    use rustls::Error as Tls;
    if let Tls::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) = error {
        return write!(
            f,
            "its certificate ended on {}: run `holdline certs renew` for it, and copy the files to it",
            Day(not_after.as_secs())
        );
    }
    let words = match error {
        Tls::InvalidCertificate(reason) => match reason {
            CertificateError::Expired => {
                "its certificate has expired: run `holdline certs renew` for it"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet: set the clocks of both machines"
            }
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "its certificate is of another cluster's authority: make it with this cluster's ca.key"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is of another node: check the addresses, or make it anew for its name"
            }
            _ => "its certificate is not accepted",
        },
        Tls::NoCertificatesPresented => {
            "it shows no certificate: give it those of `holdline certs node`"
        }
        Tls::AlertReceived(Alert::CertificateExpired) => {
            "it says that this node's certificate has expired: run `holdline certs renew` for this node"
        }
        Tls::AlertReceived(Alert::UnknownCA | Alert::DecryptError) => {
            "it says that this node's certificate is of another cluster's authority"
        }
        Tls::AlertReceived(_) => "it refuses this node's certificate",
        Tls::InvalidMessage(_) => "it does not speak TLS; is another program at that address?",
        _ => "TLS failed",
    };
    write!(f, "{words} ({error})")
}

impl Error for PeerError {}

impl From<io::Error> for PeerError {
    fn from(error: io::Error) -> PeerError {
        use io::ErrorKind::{TimedOut, WouldBlock};
        match error.kind() {
            WouldBlock | TimedOut => PeerError::Slow,
            _ => PeerError::Connection { error },
        }
    }
}

impl From<rustls::Error> for PeerError {
    fn from(error: rustls::Error) -> PeerError {
        PeerError::Tls { error }
    }
}
