//! From a TCP connection to a link: TLS and greeting, on a thread that may wait.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::{ClientConnection, Connection, ServerConnection};

use super::credentials::{Credentials, is_of, server_name};
use super::error::PeerError;
use super::greeting::{GREETING_BYTES_MAX, Greeting};
use super::link::Link;

/// How long TLS and greeting may take together.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects to a node by name.
pub(super) fn dial(
    address: SocketAddr,
    name: &str,
    credentials: &Credentials,
    own: &Greeting,
) -> Result<(Greeting, Link), PeerError> {
    let socket = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    let tls = ClientConnection::new(credentials.client.clone(), server_name(name)?)?;
    shake(socket, tls.into(), own)
}

/// Takes a connection.
pub(super) fn accept(
    socket: TcpStream,
    credentials: &Credentials,
    own: &Greeting,
) -> Result<(Greeting, Link), PeerError> {
    let tls = ServerConnection::new(Arc::clone(&credentials.server))?;
    shake(socket, tls.into(), own)
}

/// A connection whose handshake is under way.
struct Shaking {
    socket: TcpStream,
    tls: Connection,
    deadline: Instant,
    incoming: Vec<u8>,
}

fn shake(
    socket: TcpStream,
    tls: Connection,
    own: &Greeting,
) -> Result<(Greeting, Link), PeerError> {
    socket.set_nodelay(true)?;
    let mut shaking = Shaking {
        socket,
        tls,
        deadline: Instant::now() + HANDSHAKE_TIMEOUT,
        incoming: Vec::new(),
    };
    while shaking.tls.is_handshaking() {
        shaking.flush()?;
        if shaking.tls.is_handshaking() {
            shaking.receive()?;
        }
    }
    let mut greeting = Vec::new();
    own.write(&mut greeting);
    shaking.tls.writer().write_all(&greeting)?;
    shaking.flush()?;
    let other = shaking.greeting()?;
    own.check(&other)?;
    let certificate = shaking.tls.peer_certificates().and_then(<[_]>::first);
    if !certificate.is_some_and(|certificate| is_of(certificate, &other.name)) {
        return Err(PeerError::NotItsName { name: other.name });
    }
    let Shaking {
        socket,
        tls,
        incoming,
        ..
    } = shaking;
    Ok((other, Link::new(socket, tls, incoming)?))
}

impl Shaking {
    fn left(&self) -> Result<Duration, PeerError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            Err(PeerError::Slow)
        } else {
            Ok(left)
        }
    }

    /// Sends what TLS has ready.
    fn flush(&mut self) -> Result<(), PeerError> {
        while self.tls.wants_write() {
            let left = self.left()?;
            self.socket.set_write_timeout(Some(left))?;
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    fn receive(&mut self) -> Result<(), PeerError> {
        let left = self.left()?;
        self.socket.set_read_timeout(Some(left))?;
        if self.tls.read_tls(&mut self.socket)? == 0 {
            let error = std::io::ErrorKind::UnexpectedEof.into();
            return Err(PeerError::Connection { error });
        }
        let processed = self.tls.process_new_packets();
        if let Err(error) = processed {
            // The other end is told why.
            let _ = self.flush();
            return Err(error.into());
        }
        Ok(())
    }

    fn greeting(&mut self) -> Result<Greeting, PeerError> {
        loop {
            if let Some(length) = self.incoming.first_chunk::<4>() {
                let length = u32::from_be_bytes(*length) as usize;
                if length > GREETING_BYTES_MAX {
                    return Err(PeerError::Garbage);
                }
                if let Some(bytes) = self.incoming.get(4..4 + length) {
                    let greeting = Greeting::read(bytes)?;
                    self.incoming.drain(..4 + length);
                    return Ok(greeting);
                }
            }
            self.take_plain()?;
        }
    }

    /// Waits for more of what the other end says.
    fn take_plain(&mut self) -> Result<(), PeerError> {
        let mut bytes = [0; 4096];
        loop {
            match self.tls.reader().read(&mut bytes) {
                Ok(0) => {
                    let error = std::io::ErrorKind::UnexpectedEof.into();
                    return Err(PeerError::Connection { error });
                }
                Ok(length) => {
                    self.incoming.extend_from_slice(&bytes[..length]);
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => self.receive()?,
                Err(error) => return Err(error.into()),
            }
        }
    }
}
