//! An address moves between two hosts, and a third one follows.

mod hosts;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hosts::{Link, PORT, Responder, SERVICES, asks_until};
use net::address::{
    ANNOUNCE_AFTER_MS, AddressError, Interface, Mac, Mover, NetlinkMover, Progress, probe,
};
use net::clock::Boottime;
use net::media::{Media, MediaOptions};
use net::tcp::{
    CloseReason, ConnectionId, Flow, ListenOptions, StreamOptions, StreamSink, Streams,
};
use sip::frame::FrameError;

const LONG: Duration = Duration::from_secs(10);

fn services() -> impl Iterator<Item = IpAddr> {
    SERVICES
        .iter()
        .map(|text| text.parse().expect("an address"))
}

fn movers(link: &Link, service: IpAddr) -> [Mover; 2] {
    [0, 1].map(|at: usize| {
        link.members[at].within(|| {
            Mover::Netlink(NetlinkMover::new(service, None, "eth0").expect("it is there"))
        })
    })
}

#[test]
fn a_third_host_follows_an_address_that_moves() {
    let Some(link) = Link::build() else { return };
    for service in services() {
        let mut movers = movers(&link, service);
        let _responders =
            [0, 1].map(|at: usize| Responder::start(&link.members[at], service, at as u8));
        let mut slowest = [Duration::ZERO; 3];
        let mut all = Vec::new();
        for round in 0..20 {
            let (to, from) = (round % 2, (round + 1) % 2);
            let now = Boottime::now();
            let began = Instant::now();
            movers[from].remove(now).expect("it is removed");
            let removed = began.elapsed();
            let began = Instant::now();
            let progress = movers[to].add(now).expect("it is added");
            movers[to].announce().expect("it is announced");
            let added = began.elapsed();
            assert_eq!(progress, Progress::Done);
            let followed = thread::scope(|scope| {
                let followed = scope.spawn(|| asks_until(&link.third, service, to as u8, LONG));
                for after in &ANNOUNCE_AFTER_MS[1..] {
                    let due = began + Duration::from_millis(*after);
                    while Instant::now() < due && !followed.is_finished() {
                        thread::sleep(Duration::from_millis(1));
                    }
                    if followed.is_finished() {
                        break;
                    }
                    movers[to].announce().expect("it is announced");
                }
                followed.join().expect("it does not panic")
            });
            let followed = followed.unwrap_or_else(|| panic!("{service}: round {round}"));
            all.push(followed);
            for (slow, took) in slowest.iter_mut().zip([removed, added, followed]) {
                *slow = took.max(*slow);
            }
        }
        all.sort();
        let median = all[all.len() / 2];
        println!("{service}: removed, added, followed within {slowest:?}; followed p50 {median:?}");
        // Far more than it takes, for the machine may be busy.
        assert!(slowest[2] < Duration::from_millis(500), "{slowest:?}");
        movers[1].remove(Boottime::now()).expect("it is removed");
    }
}

#[test]
fn adding_and_removing_twice_is_no_error() {
    let Some(link) = Link::build() else { return };
    for service in services() {
        let [mut mover, _] = movers(&link, service);
        let now = Boottime::now();
        for _ in 0..2 {
            assert_eq!(mover.add(now).expect("added"), Progress::Done);
        }
        for _ in 0..2 {
            assert_eq!(mover.remove(now).expect("removed"), Progress::Done);
        }
    }
}

#[test]
fn an_address_that_was_configured_with_another_prefix_is_removed_too() {
    let Some(link) = Link::build() else { return };
    let host = &link.members[0];
    for (service, prefix) in services().zip([24, 64]) {
        let [mut mover, _] = movers(&link, service);
        let is_there = || host.within(|| UdpSocket::bind((service, 0)).is_ok());
        host.ip(&format!("addr add {service}/{prefix} dev eth0\n"))
            .expect("it is added");
        mover.add(Boottime::now()).expect("it is added");
        mover.remove(Boottime::now()).expect("it is removed");
        assert!(!is_there(), "{service}");
        assert!(
            host.within(|| UdpSocket::bind(("10.7.0.1", 0)).is_ok()),
            "the host's own"
        );
    }
}

#[test]
fn an_address_that_somebody_has_is_told() {
    let Some(link) = Link::build() else { return };
    for service in services() {
        let [mut mover, _] = movers(&link, service);
        let asks = || {
            link.members[1].within(|| {
                let interface = Interface::named("eth0").expect("it is there");
                let holder = probe::who_uses(service, &interface).expect("it asks");
                let probe = probe::Probe::open(service, &interface).expect("it opens");
                holder.map(|mac| probe.in_use(mac).to_string())
            })
        };
        assert_eq!(asks(), None);
        mover.add(Boottime::now()).expect("added");
        let said = asks().expect("somebody has it");
        let expected = format!("{service} is already used by 02:00:00:00:00:01 on eth0");
        assert_eq!(said, expected);
        mover.remove(Boottime::now()).expect("removed");
        assert_eq!(asks(), None);
    }
}

#[test]
fn an_interface_is_found_by_its_name_or_told() {
    let Some(link) = Link::build() else { return };
    link.members[0].within(|| {
        let interface = Interface::named("eth0").expect("it is there");
        assert_eq!(interface.mac, Some(Mac([2, 0, 0, 0, 0, 1])));
        assert!(!interface.loopback);
        let lo = Interface::named("lo").expect("it is there");
        assert!(lo.loopback && lo.mac.is_none());
        for name in ["eth1", "", "a-name-that-is-too-long-for-linux"] {
            let error = NetlinkMover::new([10, 7, 0, 100].into(), None, name).expect_err(name);
            assert!(matches!(error, AddressError::NoInterface { .. }), "{error}");
        }
        let mut mover = NetlinkMover::new([127, 7, 0, 1].into(), None, "lo").map(Mover::Netlink);
        let mover = mover.as_mut().expect("it is there");
        mover.add(Boottime::now()).expect("added");
        mover.announce().expect("nobody to tell, and no error");
    });
}

/// Counts what is opened.
#[derive(Default)]
struct Opened(AtomicUsize);

impl StreamSink for Opened {
    fn opened(&self, _: Flow) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
    fn message(&self, _: Flow, _: Vec<u8>) {}
    fn framing_error(&self, _: Flow, _: FrameError, _: Vec<u8>) {}
    fn closed(&self, _: Flow, _: CloseReason) {}
    fn connect_failed(&self, _: ConnectionId, _: SocketAddr, _: io::ErrorKind) {}
}

/// A media socket at the address that sends packets back, until stopped.
fn echoes(at: SocketAddr, stop: &AtomicBool) {
    let options = MediaOptions {
        freebind: true,
        ..MediaOptions::default()
    };
    let mut media = Media::new(options).expect("descriptors");
    let socket = media.bind(at).expect("it is free");
    while !stop.load(Ordering::Relaxed) {
        let wait = Duration::from_millis(20);
        media
            .turn(wait, |_, source, _| Some((socket, source)))
            .expect("it waits");
    }
}

#[test]
fn listeners_and_media_bound_before_the_address_work_when_it_is_there_and_survive_its_going() {
    let Some(link) = Link::build() else { return };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let sink = Arc::new(Opened::default());
    let options = StreamOptions::default();
    let hub = Streams::new(runtime.handle().clone(), options, sink.clone());
    for service in services() {
        let [mut mover, _] = movers(&link, service);
        let (signalling, stop) = (SocketAddr::new(service, 5_070), AtomicBool::new(false));
        let options = ListenOptions {
            freebind: true,
            ..ListenOptions::default()
        };
        link.members[0].within(|| hub.listen(signalling, options).expect("it listens"));
        thread::scope(|scope| {
            scope.spawn(|| {
                link.members[0].enter();
                echoes(SocketAddr::new(service, PORT), &stop);
            });
            for round in 0..3 {
                let before = sink.0.load(Ordering::SeqCst);
                mover.add(Boottime::now()).expect("it is added");
                mover.announce().expect("it is announced");
                let heard = asks_until(&link.third, service, b'?', LONG);
                assert!(heard.is_some(), "{service}: media in round {round}");
                let connected = link
                    .third
                    .within(|| TcpStream::connect_timeout(&signalling, LONG));
                let _connection = connected.expect("it accepts");
                while sink.0.load(Ordering::SeqCst) == before {
                    thread::sleep(Duration::from_millis(1));
                }
                mover.remove(Boottime::now()).expect("it is removed");
                let short = Duration::from_millis(50);
                assert_eq!(
                    asks_until(&link.third, service, b'?', short),
                    None,
                    "{service}"
                );
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
    runtime.shutdown_background();
}
