//! A name server on loopback that knows SRV records and addresses.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// SRV: priority, weight, port, target.
type Srv = (u16, u16, u16, &'static str);

/// What it knows.
#[derive(Debug, Default)]
struct Zone {
    services: Vec<(&'static str, Srv)>,
}

/// A name server; all hosts are at 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Dns {
    pub(crate) address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

/// For how long an answer is good, in seconds.
const TTL_S: u32 = 1;
const A: u16 = 1;
const SRV: u16 = 33;

impl Dns {
    pub(crate) fn start() -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let address = socket.local_addr().expect("bound");
        let zone = Arc::new(Mutex::new(Zone::default()));
        let served = zone.clone();
        // It ends with the process of the test.
        std::thread::spawn(move || {
            let mut room = [0; 512];
            while let Ok((size, from)) = socket.recv_from(&mut room) {
                let zone = served.lock().expect("not poisoned");
                if let Some(answer) = zone.answer(&room[..size]) {
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Dns { address, zone }
    }

    /// The records of a service, instead of those before.
    pub(crate) fn says(&self, services: &[(&'static str, Srv)]) {
        self.zone.lock().expect("not poisoned").services = services.to_vec();
    }
}

impl Zone {
    fn answer(&self, query: &[u8]) -> Option<Vec<u8>> {
        let (name, end) = read_name(query, 12)?;
        let kind = u16::from_be_bytes(query.get(end..end + 2)?.try_into().ok()?);
        let services = self.services.iter();
        let services: Vec<Srv> = services
            .filter(|(service, _)| *service == name)
            .map(|(_, srv)| *srv)
            .collect();
        let answers: Vec<Vec<u8>> = match kind {
            SRV => services.into_iter().map(srv).collect(),
            A if !name.starts_with('_') => vec![Ipv4Addr::LOCALHOST.octets().to_vec()],
            _ => Vec::new(),
        };
        let mut answer = query[..2].to_vec();
        answer.extend([0x85, 0x80, 0, 1, 0, answers.len() as u8, 0, 0, 0, 0]);
        answer.extend_from_slice(query.get(12..end + 4)?);
        for data in answers {
            // The name is that of the question.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1]);
            answer.extend(TTL_S.to_be_bytes());
            answer.extend((data.len() as u16).to_be_bytes());
            answer.extend(data);
        }
        Some(answer)
    }
}

/// The name at a place, in small letters, and where it ends.
fn read_name(message: &[u8], mut at: usize) -> Option<(String, usize)> {
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*message.get(at)?);
        at += 1;
        if length == 0 {
            return Some((labels.join("."), at));
        }
        let label = message.get(at..at + length)?;
        labels.push(String::from_utf8_lossy(label).to_ascii_lowercase());
        at += length;
    }
}

fn srv((priority, weight, port, target): Srv) -> Vec<u8> {
    let mut data: Vec<u8> = [priority, weight, port]
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    for label in target.split('.') {
        data.push(label.len() as u8);
        data.extend(label.bytes());
    }
    data.push(0);
    data
}
