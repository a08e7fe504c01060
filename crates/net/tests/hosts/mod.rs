//! Hosts of a test's own on one link: network namespaces that no one else sees and that end with the process.

#[allow(dead_code)] // Not every test captures.
pub(crate) mod capture;

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use net::udp::{ReceiveBatch, SendBatch, UdpOptions, UdpSocket};
use nix::sched::{CloneFlags, setns, unshare};

/// The addresses that move.
pub(crate) const SERVICES: [&str; 2] = ["10.7.0.100", "fd07::100"];
/// The port of what is asked there.
pub(crate) const PORT: u16 = 5060;

/// A host with one interface, `eth0`.
#[derive(Debug)]
pub(crate) struct Host {
    namespace: File,
}

impl Host {
    fn new() -> Result<Host, String> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("unshare: {error}"))?;
            File::open("/proc/thread-self/ns/net").map_err(|error| format!("/proc: {error}"))
        });
        let namespace = made.join().expect("it does not panic")?;
        let host = Host { namespace };
        host.ip("link set lo up\n")?;
        Ok(host)
    }

    /// Does something at this host: what is opened by it is the host's.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                self.enter();
                work()
            });
            worker.join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Moves this thread to the host.
    pub(crate) fn enter(&self) {
        setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("a namespace");
    }

    /// Several commands of ip(8).
    pub(crate) fn ip(&self, lines: &str) -> Result<(), String> {
        self.within(|| {
            let mut command = Command::new("ip");
            // Where Debian keeps what only root needs, which may not be in PATH.
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
            command.args(["-batch", "-"]).stdin(Stdio::piped());
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = command.spawn().map_err(|error| format!("ip: {error}"))?;
            let mut stdin = child.stdin.take().expect("piped");
            let _ = stdin.write_all(lines.as_bytes());
            drop(stdin);
            let output = child.wait_with_output();
            let output = output.map_err(|error| format!("ip: {error}"))?;
            let said = String::from_utf8_lossy(&output.stderr);
            output
                .status
                .success()
                .then_some(())
                .ok_or_else(|| format!("ip: {said} ({lines})"))
        })
    }

    /// Runs a program of the system, and says whether it succeeded.
    #[allow(dead_code)] // Not every test does.
    pub(crate) fn runs(&self, program: &str, arguments: &[&str]) -> bool {
        self.within(|| {
            let mut command = Command::new(program);
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
            command
                .args(arguments)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command.status().is_ok_and(|status| status.success())
        })
    }

    /// What a program opens to reach this host's namespace.
    fn path(&self) -> String {
        let file = self.namespace.as_raw_fd();
        format!("/proc/{}/fd/{file}", std::process::id())
    }
}

/// Two members of a service and a third host, on one bridge.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) members: [Host; 2],
    pub(crate) third: Host,
    _bridge: Host,
}

impl Link {
    /// Builds it; where the machine does not let that happen, says so and gives none: the test is then not made.
    pub(crate) fn build() -> Option<Link> {
        match Link::try_build() {
            Ok(link) => Some(link),
            Err(reason) => {
                eprintln!("\n**** NOT TESTED: no hosts of its own for this test: {reason} ****\n");
                None
            }
        }
    }

    fn try_build() -> Result<Link, String> {
        let bridge = Host::new()?;
        bridge.ip("link add br0 type bridge\nlink set br0 up\n")?;
        let link = Link {
            members: [Host::new()?, Host::new()?],
            third: Host::new()?,
            _bridge: bridge,
        };
        let hosts = [&link.members[0], &link.members[1], &link.third];
        for (at, host) in hosts.into_iter().enumerate() {
            let number = at + 1;
            link._bridge.ip(&format!(
                "link add p{number} type veth peer name eth0 address 02:00:00:00:00:0{number} netns {}\n\
                 link set p{number} master br0\nlink set p{number} up\n",
                host.path()
            ))?;
            host.ip(&format!(
                "addr add 10.7.0.{number}/24 dev eth0\n\
                 addr add fd07::{number}/64 dev eth0 nodad\nlink set eth0 up\n"
            ))?;
        }
        Ok(link)
    }
}

/// Answers at a service's address with one byte, as long as it lives. Bound before the address is there.
#[derive(Debug)]
pub(crate) struct Responder {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Responder {
    pub(crate) fn start(host: &Host, service: IpAddr, name: u8) -> Responder {
        let options = UdpOptions {
            freebind: true,
            ..UdpOptions::default()
        };
        let address = SocketAddr::new(service, PORT);
        let socket = host.within(|| UdpSocket::bind(address, &options).expect("it is free"));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let (mut incoming, mut outgoing) = (ReceiveBatch::new(32), SendBatch::new());
            while !stopped.load(Ordering::Relaxed) {
                socket.receive(&mut incoming).expect("it receives");
                for datagram in incoming.datagrams() {
                    outgoing.push_with(datagram.source, Some(datagram.local.ip()), |buffer| {
                        buffer.push(name);
                    });
                }
                let _ = outgoing.flush(&socket);
                let _ = socket.receive_errors(|_, _| {});
                thread::sleep(Duration::from_micros(200));
            }
        });
        Responder {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().expect("it is there until now").join();
    }
}

/// Asks at a service's address, from the third host, until `name` answers. None if that takes too long.
pub(crate) fn asks_until(
    host: &Host,
    service: IpAddr,
    name: u8,
    at_most: Duration,
) -> Option<Duration> {
    host.within(|| {
        let any: IpAddr = if service.is_ipv4() {
            [0, 0, 0, 0].into()
        } else {
            [0u16; 8].into()
        };
        let socket = std::net::UdpSocket::bind((any, 0)).expect("a port");
        let wait = Some(Duration::from_millis(1));
        socket.set_read_timeout(wait).expect("an option");
        let began = Instant::now();
        while began.elapsed() < at_most {
            // Nobody may be there.
            let _ = socket.send_to(b"?", (service, PORT));
            let mut room = [0; 8];
            if let Ok(1) = socket.recv(&mut room)
                && room[0] == name
            {
                return Some(began.elapsed());
            }
        }
        None
    })
}
