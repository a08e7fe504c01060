use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::authority;
use super::*;
use crate::clock::Boottime;
use crate::poll::Poller;

struct End {
    poller: Poller,
    peers: Peers,
    news: Vec<News>,
    frames: Vec<(u8, Vec<u8>)>,
}

impl End {
    fn start(folder: &Path, name: &str, number: u8, agreement: &str) -> End {
        let poller = Poller::new().unwrap();
        let options = PeerOptions {
            cluster: authority::secret(folder).unwrap().cluster,
            name: name.to_owned(),
            number,
            agreement: agreement.to_owned(),
        };
        let credentials = Credentials::load(folder, name).unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let peers = Peers::start(options, listen, credentials, poller.waker(), 100).unwrap();
        End {
            poller,
            peers,
            news: Vec::new(),
            frames: Vec::new(),
        }
    }

    fn turn(&mut self) {
        let ready = self
            .poller
            .wait(Some(Duration::from_millis(5)))
            .unwrap()
            .to_vec();
        let now = Boottime::now();
        let frames = &mut self.frames;
        for event in ready {
            if self.peers.is_link(event.token) {
                let each = |node, frame: &[u8]| frames.push((node, frame.to_vec()));
                self.peers
                    .receive(now, &event, &self.poller, each, &mut self.news);
            }
        }
        let begun = self.news.len();
        self.peers.settle(now, &self.poller, &mut self.news);
        for at in begun..self.news.len() {
            if let News::Up { node } = self.news[at] {
                let each = |node, frame: &[u8]| frames.push((node, frame.to_vec()));
                self.peers
                    .receive_first(node, &self.poller, each, &mut self.news);
            }
        }
        self.peers.flush(now, &self.poller, &mut self.news);
    }

    fn refused(&self) -> Option<String> {
        self.news.iter().find_map(|news| match news {
            News::Refused { error, .. } => Some(error.to_string()),
            _ => None,
        })
    }
}

fn cluster(folder: &Path, name: &str, nodes: &[&str]) {
    authority::create(folder, name, [7; 32]).unwrap();
    for node in nodes {
        authority::issue(folder, node, 30, &folder.join(node)).unwrap();
    }
}

fn place(number: u8, name: &str, address: SocketAddr) -> Place {
    let name = name.to_owned();
    Place {
        number,
        name,
        address,
    }
}

fn until(ends: &mut [&mut End], what: &str, mut done: impl FnMut(&mut [&mut End]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !done(ends) {
        assert!(Instant::now() < deadline, "{what} did not come about");
        for end in ends.iter_mut() {
            end.turn();
        }
    }
}

fn frame(length: usize, byte: u8) -> Vec<u8> {
    let mut frame = (length as u32).to_be_bytes().to_vec();
    frame.resize(4 + length, byte);
    frame
}

#[test]
fn two_nodes_find_each_other_and_exchange_frames_in_order() {
    let folder = tempfile::tempdir().unwrap();
    cluster(folder.path(), "lab", &["a", "b"]);
    let mut a = End::start(&folder.path().join("a"), "a", 0, "x");
    let mut b = End::start(&folder.path().join("b"), "b", 1, "x");
    a.peers
        .set_places(vec![place(1, "b", b.peers.local_address())]);
    b.peers
        .set_places(vec![place(0, "a", a.peers.local_address())]);
    until(&mut [&mut a, &mut b], "a link", |ends| {
        ends[0].peers.is_linked(1) && ends[1].peers.is_linked(0)
    });
    let (mut news, now) = (Vec::new(), Boottime::now());
    for number in 0..40u8 {
        a.peers
            .send(1, Lane::Bulk, &frame(300_000, number), &a.poller, &mut news);
    }
    a.peers
        .send(1, Lane::Urgent, &frame(3, 99), &a.poller, &mut news);
    a.peers.flush(now, &a.poller, &mut news);
    until(&mut [&mut a, &mut b], "all frames", |ends| {
        ends[1].frames.len() == 41
    });
    let urgent = b
        .frames
        .iter()
        .position(|(_, frame)| frame.len() == 7)
        .unwrap();
    assert!(urgent < 3, "the heartbeat waited behind {urgent} frames");
    let bulk: Vec<u8> = b
        .frames
        .iter()
        .filter(|(_, f)| f.len() > 7)
        .map(|(_, f)| f[4])
        .collect();
    assert_eq!(bulk, (0..40).collect::<Vec<_>>());
    drop(a);
    until(&mut [&mut b], "the end", |ends| !ends[0].peers.is_linked(0));
}

#[test]
fn strangers_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    cluster(folder.path(), "lab", &["a", "b"]);
    cluster(other.path(), "lab", &["b"]);
    // Of the same name, by another authority.
    let mut a = End::start(&folder.path().join("a"), "a", 0, "x");
    let mut b = End::start(&other.path().join("b"), "b", 1, "x");
    a.peers
        .set_places(vec![place(1, "b", b.peers.local_address())]);
    until(&mut [&mut a, &mut b], "a refusal", |ends| {
        ends.iter().all(|end| end.refused().is_some())
    });
    assert!(
        a.refused().unwrap().contains("authority"),
        "{:?}",
        a.refused()
    );
    assert!(
        b.refused().unwrap().contains("authority"),
        "{:?}",
        b.refused()
    );
    // What does not speak TLS at all.
    a.news.clear();
    let mut stranger = TcpStream::connect(a.peers.local_address()).unwrap();
    stranger.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    until(&mut [&mut a], "a refusal", |ends| {
        let news = ends[0].news.iter();
        news.filter_map(|news| match news {
            News::Refused { error, .. } => Some(error.to_string()),
            _ => None,
        })
        .any(|words| words.contains("does not speak TLS"))
    });
    let mut rest = Vec::new();
    let _ = stranger.read_to_end(&mut rest);
}

#[test]
fn another_configuration_and_another_number_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    cluster(folder.path(), "lab", &["a", "b"]);
    let mut a = End::start(&folder.path().join("a"), "a", 0, "lease_ms = 300");
    let mut b = End::start(&folder.path().join("b"), "b", 1, "lease_ms = 500");
    a.peers
        .set_places(vec![place(1, "b", b.peers.local_address())]);
    b.peers
        .set_places(vec![place(0, "a", a.peers.local_address())]);
    until(&mut [&mut a, &mut b], "a refusal", |ends| {
        ends[0].refused().is_some()
    });
    assert!(
        a.refused().unwrap().contains("`lease_ms = 500`"),
        "{:?}",
        a.refused()
    );
    drop(b);
    let mut b = End::start(&folder.path().join("b"), "b", 2, "lease_ms = 300");
    a.news.clear();
    a.peers
        .set_places(vec![place(1, "b", b.peers.local_address())]);
    until(&mut [&mut a, &mut b], "a refusal", |ends| {
        let words = ends[0].news.iter().filter_map(|news| match news {
            News::Refused { error, .. } => Some(error.to_string()),
            _ => None,
        });
        words.into_iter().any(|words| words.contains("number 2"))
    });
}

#[test]
fn a_certificate_of_another_node_is_not_loaded() {
    let folder = tempfile::tempdir().unwrap();
    cluster(folder.path(), "lab", &["a"]);
    let error = Credentials::load(&folder.path().join("a"), "b").unwrap_err();
    assert!(matches!(error, PeerError::OtherNode { .. }));
    let credentials = Credentials::load(&folder.path().join("a"), "a").unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let days = (credentials.expires_at_unix_s - now).div_ceil(86_400);
    assert!((30..=31).contains(&days), "{days}");
    let again = authority::create(folder.path(), "lab", [8; 32]);
    assert!(matches!(again, Err(PeerError::Exists { .. })));
}
