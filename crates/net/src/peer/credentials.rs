//! What a node shows, and whom it believes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::authority::{CA_FILE, NODE_FILE, NODE_KEY_FILE};
use super::der::not_after_unix_s;
use super::error::PeerError;

/// A node's certificate and the authority it believes, ready for TLS.
#[derive(Debug)]
pub struct Credentials {
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    /// When the node's certificate ends, in seconds since 1970.
    pub expires_at_unix_s: u64,
    /// When the authority's does.
    pub authority_expires_at_unix_s: u64,
    /// The node, and the folder that they are from.
    node: String,
    folder: PathBuf,
}

/// The name of a node in its certificate.
pub(super) fn dns_name(node: &str) -> Result<String, PeerError> {
    let name = format!("{}.holdline.internal", node.to_ascii_lowercase());
    match ServerName::try_from(name.as_str()) {
        Ok(ServerName::DnsName(_)) => Ok(name),
        _ => Err(PeerError::Name {
            name: node.to_owned(),
        }),
    }
}

pub(super) fn server_name(node: &str) -> Result<ServerName<'static>, PeerError> {
    ServerName::try_from(dns_name(node)?).map_err(|_| PeerError::Name {
        name: node.to_owned(),
    })
}

/// Whether a certificate is of this node.
pub(super) fn is_of(certificate: &CertificateDer<'_>, node: &str) -> bool {
    let Ok(name) = server_name(node) else {
        return false;
    };
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}

impl Credentials {
    /// Reads the files of a node's folder.
    ///
    /// # Errors
    /// [`PeerError::File`], [`PeerError::Damaged`], [`PeerError::OtherNode`].
    pub fn load(folder: &Path, node: &str) -> Result<Credentials, PeerError> {
        let path = folder.join(NODE_FILE);
        let chain = certificates(&path)?;
        let first = chain.first().ok_or_else(|| damaged(&path))?;
        if !is_of(first, node) {
            let name = node.to_owned();
            return Err(PeerError::OtherNode { name, path });
        }
        let expires_at_unix_s = not_after_unix_s(first).ok_or_else(|| damaged(&path))?;
        let ca_path = folder.join(CA_FILE);
        let authorities = certificates(&ca_path)?;
        let ends = authorities.iter().filter_map(|ca| not_after_unix_s(ca));
        let authority_expires_at_unix_s = ends.max().ok_or_else(|| damaged(&ca_path))?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|_| damaged(&ca_path))?;
        }
        let key_path = folder.join(NODE_KEY_FILE);
        let key = PrivateKeyDer::from_pem_file(&key_path)
            .map_err(|error| file_error(&key_path, error))?;
        let (client, server) = configs(roots, chain, key).map_err(|_| damaged(&key_path))?;
        Ok(Credentials {
            client: Arc::new(client),
            server: Arc::new(server),
            expires_at_unix_s,
            authority_expires_at_unix_s,
            node: node.to_owned(),
            folder: folder.to_owned(),
        })
    }

    /// Whether they will be accepted at a time, in seconds since 1970.
    ///
    /// # Errors
    /// [`PeerError::Expired`], [`PeerError::AuthorityExpired`]: no link is made with them.
    pub fn check(&self, unix_s: u64) -> Result<(), PeerError> {
        if self.authority_expires_at_unix_s < unix_s {
            return Err(PeerError::AuthorityExpired {
                path: self.folder.join(CA_FILE),
                at_unix_s: self.authority_expires_at_unix_s,
            });
        }
        if self.expires_at_unix_s < unix_s {
            return Err(PeerError::Expired {
                node: self.node.clone(),
                path: self.folder.join(NODE_FILE),
                at_unix_s: self.expires_at_unix_s,
            });
        }
        Ok(())
    }
}

fn configs(
    roots: RootCertStore,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<(ClientConfig, ServerConfig), Box<dyn std::error::Error>> {
    let provider = || -> Arc<CryptoProvider> { Arc::new(ring::default_provider()) };
    let roots = Arc::new(roots);
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.clone(), provider()).build()?;
    let mut client = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.clone(), key.clone_key())?;
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    // A resumed session would outlive the certificate it began with.
    client.resumption = Resumption::disabled();
    server.send_tls13_tickets = 0;
    Ok((client, server))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PeerError> {
    let all = CertificateDer::pem_file_iter(path).map_err(|error| file_error(path, error))?;
    all.collect::<Result<_, _>>()
        .map_err(|error| file_error(path, error))
}

fn file_error(path: &Path, error: rustls::pki_types::pem::Error) -> PeerError {
    match error {
        rustls::pki_types::pem::Error::Io(error) => PeerError::File {
            path: path.to_owned(),
            error,
        },
        _ => damaged(path),
    }
}

fn damaged(path: &Path) -> PeerError {
    PeerError::Damaged {
        path: path.to_owned(),
    }
}
