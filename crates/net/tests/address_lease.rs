//! The kernel keeps the lease: what leaves an owner that stands still, dies or is late, as the link sees it.
//!
//! The owner is a process of its own, this test's program with [`owner_process`] for its only test.

mod hosts;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use hosts::capture::{Capture, Seen};
use hosts::{Host, Link, PORT, Responder, SERVICES, asks_until};
use net::address::lease::{Lease, Means, Strength};
use net::address::{AddressError, Announcer, Interface, Mover, NetlinkMover};
use net::clock::Boottime;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const LEASE: Duration = Duration::from_millis(300);
const OWNER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// From the kernel's decision to the time that the capture writes down, on a machine that is busy.
const SEEN_LATE: Duration = Duration::from_millis(20);
/// nftables counts in ticks of the kernel, and a timeout begins when the kernel is told.
const RELATIVE_LATE: Duration = Duration::from_millis(30);

const BOTH: Means = Means {
    program: true,
    filter: true,
};
const PROGRAM: Means = Means {
    program: true,
    filter: false,
};
const FILTER: Means = Means {
    program: false,
    filter: true,
};

fn services() -> impl Iterator<Item = IpAddr> {
    SERVICES
        .iter()
        .map(|text| text.parse().expect("an address"))
}

/// What there is where there is no BPF.
fn expected(means: Means) -> Strength {
    if means.program {
        Strength::Absolute
    } else {
        Strength::Relative
    }
}

/// Hosts of a kernel that has both means; where it lacks one, says so.
fn leased_link() -> Option<Link> {
    let link = Link::build()?;
    let service: IpAddr = SERVICES[0].parse().expect("an address");
    let lease = link.members[0].within(|| Lease::install(service, "eth0").expect("installed"));
    if let Some(shortfall) = lease.shortfalls().first() {
        let lacks = [
            libc::EPERM,
            libc::ENOSYS,
            libc::EOPNOTSUPP,
            libc::ENOENT,
            libc::EINVAL,
        ];
        let code = match shortfall {
            AddressError::Kernel { error, .. } => error.raw_os_error(),
            _ => None,
        };
        assert!(
            code.is_some_and(|code| lacks.contains(&code)),
            "{shortfall}"
        );
        eprintln!("\n**** NOT TESTED: this kernel keeps no such lease: {shortfall} ****\n");
        return None;
    }
    link.members[0].within(|| lease.remove().expect("it is removed"));
    Some(link)
}

/// A lease on a host that has the address already.
fn lease(host: &Host, service: IpAddr, means: Means) -> Lease {
    host.within(|| {
        let lease = Lease::install_by(service, "eth0", means).expect("it is installed");
        assert_eq!(
            lease.strength(),
            expected(means),
            "{:?}",
            lease.shortfalls()
        );
        assert!(lease.shortfalls().is_empty(), "{:?}", lease.shortfalls());
        NetlinkMover::new(service, None, "eth0")
            .map(Mover::Netlink)
            .and_then(|mut mover| mover.add(Boottime::now()))
            .expect("it is added");
        lease
    })
}

fn extend(lease: &mut Lease, span: Duration) -> Boottime {
    let now = Boottime::now();
    lease.extend(now, now.after(span)).expect("it is extended");
    now.after(span)
}

/// Sends everything there is from a service's address: datagrams, frames, until stopped.
fn chatter(service: IpAddr, stop: &AtomicBool) {
    let options = net::udp::UdpOptions {
        freebind: true,
        ..net::udp::UdpOptions::default()
    };
    let own = SocketAddr::new(service, 0);
    let socket = net::udp::UdpSocket::bind(own, &options).expect("a port");
    let mut outgoing = net::udp::SendBatch::new();
    let third: IpAddr = if service.is_ipv4() {
        "10.7.0.3".parse().expect("an address")
    } else {
        "fd07::3".parse().expect("an address")
    };
    let interface = Interface::named("eth0").expect("it is there");
    let announcer = Announcer::open(service, &interface).expect("it opens");
    while !stop.load(Ordering::Relaxed) {
        outgoing.push_with(SocketAddr::new(third, 9), None, |bytes| bytes.push(1));
        let _ = outgoing.flush(&socket);
        let _ = socket.receive_errors(|_, _| {});
        let _ = announcer.announce();
        thread::sleep(Duration::from_millis(1));
    }
}

/// Makes the host of the service say something by every protocol, if it still does: ARP or neighbour discovery, echoes of
/// UDP, refusals of TCP.
fn provoke(link: &Link, service: IpAddr, span: Duration) {
    let began = Instant::now();
    while began.elapsed() < span {
        link.third.ip("neigh flush dev eth0\n").expect("it forgets");
        link.third.within(|| {
            let any: IpAddr = if service.is_ipv4() {
                [0; 4].into()
            } else {
                [0u16; 8].into()
            };
            let socket = UdpSocket::bind((any, 0)).expect("a port");
            for port in [PORT, 9] {
                let _ = socket.send_to(b"?", (service, port));
            }
            let at = SocketAddr::new(service, 81);
            let _ = TcpStream::connect_timeout(&at, Duration::from_millis(20));
        });
    }
}

/// The owner: keeps its lease while it has it, and sends whatever it can all the time.
#[test]
#[ignore = "it is the other process of this file's tests"]
fn owner_process() {
    let Ok(service) = std::env::var("HOLDLINE_TEST_SERVICE") else {
        return;
    };
    let service: IpAddr = service.parse().expect("an address");
    let means = Means {
        program: std::env::var("HOLDLINE_TEST_PROGRAM").is_ok(),
        filter: std::env::var("HOLDLINE_TEST_FILTER").is_ok(),
    };
    let mut lease = Lease::install_by(service, "eth0", means).expect("it is installed");
    assert_eq!(
        lease.strength(),
        expected(means),
        "{:?}",
        lease.shortfalls()
    );
    let mut until = extend(&mut lease, LEASE);
    let mover = NetlinkMover::new(service, None, "eth0").map(Mover::Netlink);
    mover
        .expect("it is there")
        .add(Boottime::now())
        .expect("it is added");
    thread::spawn(move || chatter(service, &AtomicBool::new(false)));
    println!("owner");
    // Ends with the test, which holds the other end.
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    loop {
        // What has run out is not extended (R7 of docs/ownership.md).
        if Boottime::now() < until {
            until = extend(&mut lease, LEASE);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The other process.
struct Owner {
    child: Child,
}

impl Owner {
    fn start(host: &Host, service: IpAddr, means: Means) -> Owner {
        let mut command = Command::new(std::env::current_exe().expect("it is known"));
        command.args(["--exact", "owner_process", "--ignored", "--nocapture"]);
        command.env("HOLDLINE_TEST_SERVICE", service.to_string());
        if means.program {
            command.env("HOLDLINE_TEST_PROGRAM", "1");
        }
        if means.filter {
            command.env("HOLDLINE_TEST_FILTER", "1");
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = host.within(|| command.spawn().expect("it starts"));
        let said = BufReader::new(child.stdout.take().expect("piped"));
        let ready = said
            .lines()
            .map_while(Result::ok)
            .any(|line| line.ends_with("owner"));
        assert!(ready, "it did not become the owner");
        Owner { child }
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("it fits");
        kill(Pid::from_raw(id), signal).expect("it is there");
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has(seen: &[(Boottime, Seen)], what: Seen) -> bool {
    seen.iter().any(|(_, seen)| *seen == what)
}

/// Stops an owner as `end` says and asserts what the link sees of it.
fn goes_dumb(means: Means, late: Duration, end: Signal) {
    let Some(link) = leased_link() else { return };
    for service in services() {
        let owner = Owner::start(&link.members[0], service, means);
        let capture = Capture::start(&link.third, OWNER_MAC, service);
        let began = Boottime::now();
        provoke(&link, service, Duration::from_millis(300));
        let seen = capture.since(began);
        assert!(has(&seen, Seen::Ip), "it is not heard: {seen:?}");
        let where_it_is = if service.is_ipv4() {
            Seen::Arp
        } else {
            Seen::Advertisement
        };
        assert!(has(&seen, where_it_is), "{seen:?}");
        owner.signal(end);
        let ended = Boottime::now();
        let dumb_from = ended.after(LEASE + late);
        provoke(&link, service, LEASE + late + Duration::from_millis(500));
        let seen = capture.since(dumb_from);
        assert!(seen.is_empty(), "{service}: {end} and then {seen:?}");
        if end == Signal::SIGSTOP {
            owner.signal(Signal::SIGCONT);
            provoke(&link, service, Duration::from_millis(500));
            let seen = capture.since(dumb_from);
            assert!(seen.is_empty(), "{service}: woken, and then {seen:?}");
        }
        let seen = capture.since(ended);
        let last = seen.last().map(|(at, _)| at.since(ended));
        println!("{service}: last seen {last:?} after {end}");
        drop(owner);
        leftovers_are_replaced_and_removed(&link, service);
    }
}

/// After a process that has died, the next life speaks when it may, and leaves nothing.
fn leftovers_are_replaced_and_removed(link: &Link, service: IpAddr) {
    let host = &link.members[0];
    let _responder = Responder::start(host, service, 7);
    let short = Duration::from_millis(300);
    assert_eq!(
        asks_until(&link.third, service, 7, short),
        None,
        "it is dumb"
    );
    let mut next = lease(host, service, BOTH);
    assert_eq!(
        asks_until(&link.third, service, 7, short),
        None,
        "it is dumb yet"
    );
    extend(&mut next, Duration::from_secs(20));
    assert!(asks_until(&link.third, service, 7, Duration::from_secs(10)).is_some());
    next.revoke().expect("it is revoked");
    assert_eq!(
        asks_until(&link.third, service, 7, short),
        None,
        "it is revoked"
    );
    host.within(|| next.remove().expect("it is removed"));
    let heard = asks_until(&link.third, service, 7, Duration::from_secs(10));
    assert!(heard.is_some(), "something is left");
    remove_address(host, service);
}

fn remove_address(host: &Host, service: IpAddr) {
    host.within(|| {
        let mover = NetlinkMover::new(service, None, "eth0").map(Mover::Netlink);
        mover
            .expect("it is there")
            .remove(Boottime::now())
            .expect("it is removed");
    });
}

#[test]
fn an_owner_that_stands_still_goes_dumb_and_stays_so_when_it_wakes() {
    goes_dumb(BOTH, SEEN_LATE, Signal::SIGSTOP);
}

#[test]
fn an_owner_that_was_killed_goes_dumb() {
    goes_dumb(BOTH, SEEN_LATE, Signal::SIGKILL);
}

#[test]
fn without_bpf_the_filter_makes_an_owner_dumb_that_stands_still() {
    // Frames of the process itself pass a filter of nftables, so it is killed and not woken.
    goes_dumb(FILTER, RELATIVE_LATE, Signal::SIGKILL);
}

#[test]
fn without_nftables_the_program_makes_an_owner_dumb_that_stands_still() {
    goes_dumb(PROGRAM, SEEN_LATE, Signal::SIGSTOP);
}

#[test]
fn nothing_leaves_after_the_deadline() {
    let Some(link) = leased_link() else { return };
    for service in services() {
        let host = &link.members[0];
        let mut held = lease(host, service, PROGRAM);
        let capture = Capture::start(&link.third, OWNER_MAC, service);
        let (stop, mut latest, mut idle) = (AtomicBool::new(false), Duration::ZERO, Duration::MAX);
        thread::scope(|scope| {
            scope.spawn(|| {
                host.enter();
                chatter(service, &stop);
            });
            for round in 0..20 {
                let began = Boottime::now();
                let until = extend(&mut held, Duration::from_millis(40));
                thread::sleep(Duration::from_millis(80));
                let seen = capture.since(began);
                let Some((last, _)) = seen.last() else {
                    panic!("{service}: nothing is heard in round {round}");
                };
                latest = latest.max(last.since(until));
                idle = idle.min(until.since(*last));
            }
            stop.store(true, Ordering::Relaxed);
        });
        println!("{service}: last seen {latest:?} after the deadline, or {idle:?} before it");
        assert!(
            latest < SEEN_LATE,
            "{service}: {latest:?} after the deadline"
        );
        host.within(|| held.remove().expect("it is removed"));
        remove_address(host, service);
    }
}

#[test]
fn a_pause_between_reading_the_clock_and_telling_the_kernel_gains_nothing() {
    let Some(link) = leased_link() else { return };
    for service in services() {
        let _responder = Responder::start(&link.members[0], service, 7);
        let long = Duration::from_secs(10);
        for (means, answers) in [(FILTER, true), (BOTH, false), (PROGRAM, false)] {
            let mut lease = lease(&link.members[0], service, means);
            // It was read two seconds ago.
            let began = Boottime::now();
            let read = Boottime::from_ns(began.as_ns() - 2_000_000_000);
            lease
                .extend(read, read.after(Duration::from_millis(1_500)))
                .expect("it is told");
            let heard = asks_until(&link.third, service, 7, Duration::from_millis(700));
            assert_eq!(heard.is_some(), answers, "{service}: {means:?}");
            extend(&mut lease, long);
            assert!(
                asks_until(&link.third, service, 7, long).is_some(),
                "{service}: {means:?}"
            );
            link.members[0].within(|| lease.remove().expect("it is removed"));
        }
        remove_address(&link.members[0], service);
    }
}

#[test]
fn a_member_without_the_lease_talks_to_the_owner() {
    let Some(link) = leased_link() else { return };
    for service in services() {
        let _responder = Responder::start(&link.members[1], service, 7);
        let mut owner = lease(&link.members[1], service, BOTH);
        extend(&mut owner, Duration::from_secs(60));
        let dumb = link.members[0].within(|| Lease::install(service, "eth0").expect("installed"));
        let heard = asks_until(&link.members[0], service, 7, Duration::from_secs(10));
        assert!(
            heard.is_some(),
            "{service}: the standby does not hear the owner"
        );
        drop(dumb);
        remove_address(&link.members[1], service);
        link.members[1].within(|| drop(owner));
    }
}

#[test]
fn a_lease_that_is_dropped_leaves_the_address_dumb_or_nothing() {
    let Some(link) = leased_link() else { return };
    let host = &link.members[0];
    for service in services() {
        let _responder = Responder::start(host, service, 7);
        let mut held = lease(host, service, BOTH);
        extend(&mut held, Duration::from_secs(60));
        let long = Duration::from_secs(10);
        assert!(asks_until(&link.third, service, 7, long).is_some());
        // With the address on the machine it stays dumb...
        host.within(|| drop(held));
        let heard = asks_until(&link.third, service, 7, Duration::from_millis(300));
        assert_eq!(heard, None, "{service}");
        // ...and without it nothing stays.
        let held = lease(host, service, BOTH);
        remove_address(host, service);
        host.within(|| drop(held));
        host.within(|| {
            let mut mover = NetlinkMover::new(service, None, "eth0").map(Mover::Netlink);
            let mover = mover.as_mut().expect("it is there");
            mover.add(Boottime::now()).expect("it is added");
        });
        assert!(
            asks_until(&link.third, service, 7, long).is_some(),
            "{service}"
        );
        remove_address(host, service);
    }
}

#[test]
fn an_interface_that_came_later_is_covered_by_a_survey() {
    let Some(link) = leased_link() else { return };
    let host = &link.members[0];
    let service: IpAddr = SERVICES[0].parse().expect("an address");
    let mut held = lease(host, service, PROGRAM);
    host.ip("link add late type veth peer name other\nlink set late up\n")
        .expect("it is made");
    host.within(|| held.survey().expect("it is told"));
    assert!(held.shortfalls().is_empty(), "{:?}", held.shortfalls());
    host.ip("link del late\n").expect("it is removed");
    host.within(|| held.survey().expect("it is told"));
    assert_eq!(held.strength(), Strength::Absolute);
    host.within(|| held.remove().expect("it is removed"));
}

#[test]
fn what_somebody_removed_is_put_back() {
    let Some(link) = leased_link() else { return };
    let host = &link.members[0];
    let long = Duration::from_secs(10);
    for service in services() {
        let _responder = Responder::start(host, service, 7);
        let mut held = lease(host, service, PROGRAM);
        extend(&mut held, Duration::ZERO);
        if !host.runs("tc", &["qdisc", "del", "dev", "eth0", "clsact"]) {
            eprintln!("\n**** NOT TESTED: there is no tc ****\n");
            return;
        }
        assert!(
            asks_until(&link.third, service, 7, long).is_some(),
            "{service}"
        );
        host.within(|| held.survey().expect("it is told"));
        assert_eq!(
            asks_until(&link.third, service, 7, Duration::from_millis(200)),
            None
        );
        assert_eq!(held.strength(), Strength::Absolute);
        host.within(|| held.remove().expect("it is removed"));

        let mut held = lease(host, service, FILTER);
        if !host.runs("nft", &["flush", "ruleset"]) {
            eprintln!("\n**** NOT TESTED: there is no nft ****\n");
            return;
        }
        assert!(
            asks_until(&link.third, service, 7, long).is_some(),
            "{service}"
        );
        let began = Instant::now();
        host.within(|| extend(&mut held, Duration::ZERO));
        println!("{service}: made anew in {:?}", began.elapsed());
        assert_eq!(
            asks_until(&link.third, service, 7, Duration::from_millis(200)),
            None
        );
        host.within(|| extend(&mut held, long));
        assert!(
            asks_until(&link.third, service, 7, long).is_some(),
            "{service}"
        );
        host.within(|| held.remove().expect("it is removed"));
        remove_address(host, service);
    }
}

#[test]
fn an_interface_that_takes_no_program_is_told_and_guarded_by_the_filter() {
    let Some(link) = leased_link() else { return };
    let host = &link.members[0];
    // It is left by every lease.
    let clsact_was_there = host.runs("tc", &["qdisc", "del", "dev", "eth0", "clsact"]);
    if !clsact_was_there || !host.runs("tc", &["qdisc", "add", "dev", "eth0", "ingress"]) {
        eprintln!("\n**** NOT TESTED: there is no tc ****\n");
        return;
    }
    for service in services() {
        let install = || Lease::install(service, "eth0").expect("it is installed");
        let mut held = host.within(install);
        assert_eq!(held.strength(), Strength::Relative);
        let said: Vec<_> = held.shortfalls().iter().map(ToString::to_string).collect();
        let expected = format!(
            "cannot attach the lease's BPF program (clsact) ({service} on eth0): \
             the interface has an `ingress` discipline, which excludes `clsact`"
        );
        assert_eq!(said, [expected]);
        extend(&mut held, LEASE);
        host.within(|| held.remove().expect("it is removed"));
    }
}

#[test]
fn extending_takes_microseconds() {
    let Some(link) = leased_link() else { return };
    for service in services() {
        for means in [BOTH, PROGRAM, FILTER] {
            let mut held = lease(&link.members[0], service, means);
            let mut times: Vec<_> = (0..500)
                .map(|_| {
                    let began = Instant::now();
                    extend(&mut held, LEASE);
                    began.elapsed()
                })
                .collect();
            times.sort();
            let of = |share: usize| times[times.len() * share / 100];
            println!(
                "{service}: {means:?}: p50 {:?}, p99 {:?}, max {:?}",
                of(50),
                of(99),
                times[499]
            );
            // Far more than it takes; the machine may be busy.
            assert!(of(50) < Duration::from_millis(2));
            link.members[0].within(|| held.remove().expect("it is removed"));
        }
        remove_address(&link.members[0], service);
    }
    let _ = std::io::stdout().flush();
}
