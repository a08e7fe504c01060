//! One party's sound: RTP (RFC 3550) out and in.

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Samples of a packet of 20 ms.
const SAMPLES: u32 = 160;

/// One party's sound.
#[derive(Debug)]
pub(super) struct Stream {
    socket: UdpSocket,
    /// Its own port.
    pub(super) port: u16,
    /// Where the other end wants it.
    pub(super) to: Option<SocketAddr>,
    sequence: u16,
    timestamp: u32,
    last: Option<Instant>,
    gap_max: Duration,
    pub(super) heard: u64,
}

impl Stream {
    pub(super) fn new(socket: UdpSocket) -> std::io::Result<Stream> {
        let port = socket.local_addr()?.port();
        Ok(Stream {
            socket,
            port,
            to: None,
            sequence: 1,
            timestamp: 0,
            last: None,
            gap_max: Duration::ZERO,
            heard: 0,
        })
    }

    /// Forgets the gaps that there were.
    pub(super) fn begin_watch(&mut self, now: Instant) {
        self.gap_max = Duration::ZERO;
        self.last = Some(now);
    }

    pub(super) fn gap(&self, now: Instant) -> Duration {
        self.gap_max.max(self.silence(now))
    }

    /// How long nothing has been heard.
    pub(super) fn silence(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| now - last)
    }

    pub(super) fn hear(&mut self, now: Instant) {
        let mut packet = [0; 256];
        while let Ok(size) = self.socket.recv(&mut packet) {
            if size < 12 || packet[0] >> 6 != 2 {
                continue;
            }
            if let Some(last) = self.last {
                self.gap_max = self.gap_max.max(now - last);
            }
            self.last = Some(now);
            self.heard += 1;
        }
    }

    pub(super) fn speak(&mut self) {
        let Some(to) = self.to else {
            return;
        };
        let mut packet = [0x55; 12 + SAMPLES as usize];
        packet[..2].copy_from_slice(&[0x80, 0]);
        packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        packet[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        packet[8..12].copy_from_slice(&u32::from(self.port).to_be_bytes());
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(SAMPLES);
        // Nobody may have the address at the moment.
        let _ = self.socket.send_to(&packet, to);
    }

    /// The session description for it (RFC 8866).
    pub(super) fn description(&self, address: std::net::Ipv4Addr) -> String {
        format!(
            "v=0\r\no=- 1 1 IN IP4 {address}\r\ns=-\r\nc=IN IP4 {address}\r\nt=0 0\r\n\
             m=audio {} RTP/AVP 0\r\na=rtpmap:0 PCMU/8000\r\n",
            self.port
        )
    }
}
