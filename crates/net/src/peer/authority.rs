//! The cluster's own authority: its certificates and the secret that the nodes share, as files.
//!
//! The folder of the authority has `ca.pem`, `ca.key` and `cluster.secret`; that of a node has `ca.pem`, `node.pem`,
//! `node.key` and `cluster.secret`. The authority's key is needed only to make and renew certificates and belongs
//! on no node.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::credentials::dns_name;
use super::der::date;
use super::error::PeerError;

/// The authority's certificate, in every folder.
pub const CA_FILE: &str = "ca.pem";
/// The authority's key.
pub const CA_KEY_FILE: &str = "ca.key";
/// A node's certificate.
pub const NODE_FILE: &str = "node.pem";
/// A node's key.
pub const NODE_KEY_FILE: &str = "node.key";
/// The cluster's name, and what the nodes derive their common secrets from.
pub const SECRET_FILE: &str = "cluster.secret";

/// How long the authority's certificate is valid, in days.
pub const CA_DAYS: u64 = 3_650;
/// How long a node's certificate is valid unless said otherwise, in days.
pub const NODE_DAYS: u64 = 825;

/// Bytes of the secret.
pub const SECRET_BYTES: usize = 32;

/// What the nodes of a cluster have in common.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterSecret {
    /// The cluster's name.
    pub cluster: String,
    /// What common secrets are derived from.
    pub secret: [u8; SECRET_BYTES],
}

impl std::fmt::Debug for ClusterSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterSecret({}, ***)", self.cluster)
    }
}

/// Makes an authority for the cluster of this name in `folder`.
///
/// # Errors
/// [`PeerError::Exists`] where one is; [`PeerError::File`], [`PeerError::Name`].
pub fn create(folder: &Path, cluster: &str, random: [u8; SECRET_BYTES]) -> Result<(), PeerError> {
    dns_name(cluster)?;
    make_folder(folder)?;
    let key = KeyPair::generate().map_err(making)?;
    let params = authority(cluster, today()?);
    let certificate = params.self_signed(&key).map_err(making)?;
    let secret: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    for file in [CA_KEY_FILE, CA_FILE, SECRET_FILE] {
        let path = folder.join(file);
        if path.exists() {
            return Err(PeerError::Exists { path });
        }
    }
    write(&folder.join(CA_KEY_FILE), &key.serialize_pem())?;
    write(&folder.join(SECRET_FILE), &format!("{cluster} {secret}\n"))?;
    write(&folder.join(CA_FILE), &certificate.pem())
}

/// Makes the files of a node in `into`, or makes them anew, by the authority in `folder`.
///
/// # Errors
/// [`PeerError::File`], [`PeerError::Damaged`], [`PeerError::Name`].
pub fn issue(folder: &Path, node: &str, days: u64, into: &Path) -> Result<(), PeerError> {
    let shared = secret(folder)?;
    let key_path = folder.join(CA_KEY_FILE);
    let ca_key =
        KeyPair::from_pem(&read(&key_path)?).map_err(|_| PeerError::Damaged { path: key_path })?;
    let ca = read(&folder.join(CA_FILE))?;
    let today = today()?;
    let issuer_params = authority(&shared.cluster, today);
    let issuer = Issuer::from_params(&issuer_params, &ca_key);
    let key = KeyPair::generate().map_err(making)?;
    let names = vec![dns_name(node)?];
    let mut params = CertificateParams::new(names).map_err(making)?;
    params.distinguished_name.push(DnType::CommonName, node);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, today, days);
    let certificate = params.signed_by(&key, &issuer).map_err(making)?;
    make_folder(into)?;
    // The key first: a node that reads between the two finds what does not fit, and keeps what it has.
    write(&into.join(NODE_KEY_FILE), &key.serialize_pem())?;
    write(&into.join(NODE_FILE), &certificate.pem())?;
    write(&into.join(CA_FILE), &ca)?;
    let secret_path = folder.join(SECRET_FILE);
    write(&into.join(SECRET_FILE), &read(&secret_path)?)
}

/// Reads the secret of a folder, the authority's or a node's.
///
/// # Errors
/// [`PeerError::File`], [`PeerError::Damaged`].
pub fn secret(folder: &Path) -> Result<ClusterSecret, PeerError> {
    let path = folder.join(SECRET_FILE);
    let text = read(&path)?;
    let parse = |text: &str| {
        let (cluster, digits) = text.trim().split_once(' ')?;
        let mut secret = [0; SECRET_BYTES];
        if digits.len() != 2 * SECRET_BYTES || !digits.is_ascii() {
            return None;
        }
        for (at, byte) in secret.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
        }
        let cluster = cluster.to_owned();
        Some(ClusterSecret { cluster, secret })
    };
    parse(&text).ok_or(PeerError::Damaged { path })
}

/// The authority as it signs: always the same name and usages, so that nothing has to be read back.
fn authority(cluster: &str, today: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    let name = format!("holdline cluster {cluster}");
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    valid(&mut params, today, CA_DAYS);
    params
}

/// Valid from yesterday on, so that a clock that is a little behind does no harm.
fn valid(params: &mut CertificateParams, today: u64, days: u64) {
    let day = |days| {
        let (year, month, day) = date(days);
        rcgen::date_time_ymd(year, month, day)
    };
    params.not_before = day(today - 1);
    params.not_after = day(today + days);
}

fn today() -> Result<u64, PeerError> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since
        .map(|since| since.as_secs() / 86_400)
        .ok()
        .filter(|today| *today > 0)
        .ok_or_else(|| PeerError::Making {
            reason: "the machine's clock is before 1970; set it".to_owned(),
        })
}

fn making(error: rcgen::Error) -> PeerError {
    PeerError::Making {
        reason: error.to_string(),
    }
}

fn read(path: &Path) -> Result<String, PeerError> {
    fs::read_to_string(path).map_err(|error| PeerError::File {
        path: path.to_owned(),
        error,
    })
}

fn make_folder(folder: &Path) -> Result<(), PeerError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.map_err(|error| PeerError::File {
        path: folder.to_owned(),
        error,
    })
}

/// Writes a file whole or not at all, for this user only.
fn write(path: &Path, text: &str) -> Result<(), PeerError> {
    let partial: PathBuf = path.with_extension("new");
    let work = || -> io::Result<()> {
        let _ = fs::remove_file(&partial);
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    work().map_err(|error| PeerError::File {
        path: path.to_owned(),
        error,
    })
}
