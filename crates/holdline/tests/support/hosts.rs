//! Hosts of a test's own: network namespaces that no one else sees and that end with the process, for
//! nothing but its open files holds them.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

use super::sound;

/// Where the node is.
pub(crate) const NODE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Where both phones are, each behind its own NAT.
pub(crate) const PHONE: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 2);

/// A host.
#[derive(Debug)]
pub(crate) struct Host {
    namespace: File,
}

impl Host {
    /// A new one, with loopback only.
    pub(crate) fn new() -> Result<Host, String> {
        let made = thread::spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("unshare: {error}"))?;
            File::open("/proc/thread-self/ns/net").map_err(|error| format!("/proc: {error}"))
        });
        let namespace = made.join().expect("it does not panic")?;
        let host = Host { namespace };
        host.run("ip", &["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// Does something at this host: the sockets and processes that are opened by it are the host's.
    pub(crate) fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let done = thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(&self.namespace, CloneFlags::CLONE_NEWNET).expect("a namespace");
                work()
            });
            worker.join()
        });
        done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Runs a program of the system to its end.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<(), String> {
        self.feed(program, arguments, "")
    }

    /// The same with something to read.
    pub(crate) fn feed(
        &self,
        program: &str,
        arguments: &[&str],
        input: &str,
    ) -> Result<(), String> {
        let what = || format!("{program} {}", arguments.join(" "));
        self.within(|| {
            let mut command = Command::new(program);
            // Where Debian keeps what only root needs, which may not be in PATH.
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
            command.args(arguments).stdin(Stdio::piped());
            command.stdout(Stdio::null()).stderr(Stdio::piped());
            let started = command.spawn();
            let mut child = started.map_err(|error| format!("{}: {error}", what()))?;
            let mut stdin = child.stdin.take().expect("piped");
            // What it does not read, it says by its status.
            let _ = stdin.write_all(input.as_bytes());
            drop(stdin);
            let output = child.wait_with_output();
            let output = output.map_err(|error| format!("{}: {error}", what()))?;
            let said = String::from_utf8_lossy(&output.stderr);
            if output.status.success() {
                Ok(())
            } else {
                Err(format!("{}: {said}", what()))
            }
        })
    }

    /// Several commands of ip(8).
    pub(crate) fn ip(&self, lines: &str) -> Result<(), String> {
        self.feed("ip", &["-batch", "-"], lines)
    }

    /// The address on the link of an interface.
    pub(crate) fn mac(&self, interface: &str) -> String {
        let shown = self.within(|| {
            let mut command = Command::new("ip");
            let path = std::env::var("PATH").unwrap_or_default();
            command.env("PATH", format!("{path}:/usr/sbin:/sbin"));
            command.args(["-o", "link", "show", interface]).output()
        });
        let shown = String::from_utf8(shown.expect("ip is there").stdout).expect("text");
        let mut words = shown.split(' ').skip_while(|word| *word != "link/ether");
        words.nth(1).expect("an Ethernet").to_owned()
    }

    /// What a program opens to reach this host's namespace.
    pub(crate) fn path(&self) -> String {
        let file = self.namespace.as_raw_fd();
        format!("/proc/{}/fd/{file}", std::process::id())
    }

    /// Listens to what comes to a phone at this host.
    pub(crate) fn listens(&self) -> Ear {
        let socket = self.within(|| {
            let all = SockProtocol::EthAll;
            let socket = socket(
                AddressFamily::Packet,
                SockType::Datagram,
                SockFlag::SOCK_CLOEXEC,
                all,
            );
            let socket = socket.expect("root may");
            let wait = TimeVal::new(0, 100_000);
            setsockopt(&socket, sockopt::ReceiveTimeout, &wait).expect("an option");
            socket
        });
        Ear::new(socket)
    }
}

/// A phone behind a NAT at each end, the node between them, and a stranger who reaches the node only.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) node: Host,
    pub(crate) nats: [Host; 2],
    pub(crate) phones: [Host; 2],
    pub(crate) stranger: Host,
}

impl Town {
    /// Builds it; where the machine does not let that happen, says so and gives none: the test is then
    /// not made.
    pub(crate) fn build() -> Option<Town> {
        if !has_programs(&["nft", "conntrack", "baresip", "ip"]) {
            return None;
        }
        match Town::try_build() {
            Ok(town) => Some(town),
            Err(reason) => {
                not_tested(&reason);
                None
            }
        }
    }

    fn try_build() -> Result<Town, String> {
        let town = Town {
            node: Host::new()?,
            nats: [Host::new()?, Host::new()?],
            phones: [Host::new()?, Host::new()?],
            stranger: Host::new()?,
        };
        let outside = [&town.nats[0], &town.nats[1], &town.stranger];
        for (number, host) in outside.into_iter().enumerate() {
            let own = format!("198.51.100.{}", 11 + number);
            town.node.ip(&format!(
                "link add p{number} type veth peer name wan netns {}\n\
                 addr add {NODE}/32 peer {own}/32 dev p{number}\nlink set p{number} up\n",
                host.path()
            ))?;
            host.ip(&format!(
                "addr add {own}/32 peer {NODE}/32 dev wan\nlink set wan up\n"
            ))?;
        }
        for (nat, phone) in town.nats.iter().zip(&town.phones) {
            nat.ip(&format!(
                "link add lan type veth peer name eth0 netns {}\n\
                 addr add 192.168.1.1/24 dev lan\nlink set lan up\n",
                phone.path()
            ))?;
            phone.ip(&format!(
                "addr add {PHONE}/24 dev eth0\nlink set eth0 up\nroute add default via 192.168.1.1\n"
            ))?;
            nat.within(|| fs::write("/proc/sys/net/ipv4/ip_forward", "1"))
                .map_err(|error| format!("forwarding: {error}"))?;
        }
        // The first keeps a phone's ports where it can, the second never does.
        town.translates(0, "masquerade")?;
        town.translates(
            1,
            "meta l4proto udp masquerade to :40000-49999 fully-random",
        )?;
        town.nats[0].run("conntrack", &["-F"])?;
        Ok(town)
    }

    /// Gives a NAT a rule, in place of the one it had.
    fn translates(&self, number: usize, rule: &str) -> Result<(), String> {
        let rules = format!(
            "add table ip nat\nflush table ip nat\n\
             add chain ip nat out {{ type nat hook postrouting priority 100 ; }}\n\
             add rule ip nat out oifname \"wan\" {rule}\n"
        );
        self.nats[number].feed("nft", &["-f", "-"], &rules)
    }

    /// A NAT forgets what it knew, and gives other ports from now on.
    pub(crate) fn rebinds(&self, number: usize) {
        self.translates(number, "meta l4proto udp masquerade to :50000-59999")
            .and_then(|()| self.nats[number].run("conntrack", &["-F"]))
            .unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A media server's host at the far end of a line, and the node at this end.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) node: Host,
    pub(crate) far: Host,
}

impl Line {
    /// Where the far host is.
    pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 21);

    /// Builds it; where the machine does not let that happen, says so and gives none: the test is then
    /// not made.
    pub(crate) fn build() -> Option<Line> {
        Line::try_build().map_err(|reason| not_tested(&reason)).ok()
    }

    fn try_build() -> Result<Line, String> {
        let line = Line {
            node: Host::new()?,
            far: Host::new()?,
        };
        let far = Line::FAR;
        line.node.ip(&format!(
            "link add line type veth peer name line netns {}\n\
             addr add {NODE}/32 peer {far}/32 dev line\nlink set line up\n",
            line.far.path()
        ))?;
        line.far.ip(&format!(
            "addr add {far}/32 peer {NODE}/32 dev line\nlink set line up\n"
        ))?;
        // A host where this cannot be done later is no host for the test.
        line.far.run("nft", &["list", "ruleset"])?;
        Ok(line)
    }

    /// Drops from now on whatever comes by the line, at both ends: nobody is told.
    pub(crate) fn cut(&self) {
        let rules = "add table ip cut\n\
             add chain ip cut in { type filter hook prerouting priority -300 ; }\n\
             add rule ip cut in iifname \"line\" drop\n";
        for host in [&self.node, &self.far] {
            let done = host.feed("nft", &["-f", "-"], rules);
            done.unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// Whether this machine has these programs; says which one it lacks.
pub(crate) fn has_programs(programs: &[&str]) -> bool {
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let is_missing = |program: &&&str| {
        let mut folders = folders.split(':');
        !folders.any(|folder| fs::metadata(format!("{folder}/{program}")).is_ok())
    };
    let missing = programs.iter().find(is_missing);
    if let Some(program) = missing {
        not_tested(&format!("{program} is missing"));
    }
    missing.is_none()
}

pub(crate) fn not_tested(reason: &str) {
    eprintln!("\n**** NOT TESTED: no hosts of its own for this test: {reason} ****\n");
}

/// When a packet came, and its sound.
type Heard = (Instant, Vec<i16>);

/// Hears what comes to a phone: G.711 in RTP, whoever sent it.
#[derive(Debug)]
pub(crate) struct Ear {
    heard: Arc<Mutex<Vec<Heard>>>,
    is_over: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Ear {
    fn new(socket: OwnedFd) -> Ear {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (into, stop) = (Arc::clone(&heard), Arc::clone(&is_over));
        let worker = thread::spawn(move || {
            let mut packet = [0; 2_048];
            while !stop.load(Ordering::Relaxed) {
                let size = recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty());
                let sound = size.ok().and_then(|size| sound_in(&packet[..size]));
                if let Some(sound) = sound {
                    into.lock()
                        .expect("nobody panics")
                        .push((Instant::now(), sound));
                }
            }
        });
        Ear {
            heard,
            is_over,
            worker: Some(worker),
        }
    }

    /// What came from then on until now.
    pub(crate) fn since(&self, start: Instant) -> Vec<i16> {
        let heard = self.heard.lock().expect("nobody panics");
        let late = heard.iter().filter(|(at, _)| *at >= start);
        late.flat_map(|(_, sound)| sound).copied().collect()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = self.worker.take().map(JoinHandle::join);
    }
}

/// The µ-law of an IPv4 packet of RTP to a phone (RFC 791, 768, 3550).
fn sound_in(packet: &[u8]) -> Option<Vec<i16>> {
    let head = usize::from(packet.first()? & 15) * 4;
    let is_ours = packet[0] >> 4 == 4 && packet.get(16..20)? == PHONE.octets();
    let udp = packet.get(head..)?;
    let rtp = udp.get(8..)?;
    if packet.get(9) != Some(&17) || !is_ours || rtp.len() <= 12 {
        return None;
    }
    // Version 2 and payload type 0, without options.
    let is_sound = rtp[0] == 0x80 && rtp[1] & 0x7f == 0;
    is_sound.then(|| {
        rtp[12..]
            .iter()
            .map(|byte| sound::from_ulaw(*byte))
            .collect()
    })
}

/// Sends a tone to every port of a range, over and over, until it is dropped.
#[derive(Debug)]
pub(crate) struct Sprayer {
    is_over: Arc<AtomicBool>,
    worker: Option<JoinHandle<u64>>,
}

impl Sprayer {
    /// At this host, to these ports of the node.
    pub(crate) fn start(host: &Host, ports: std::ops::Range<u16>, tone_hz: f64) -> Sprayer {
        let socket = host.within(|| UdpSocket::bind("0.0.0.0:0").expect("a free port"));
        let is_over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&is_over);
        let sound = sound::tone(tone_hz, 8_000);
        let sound: Vec<u8> = sound.into_iter().map(sound::to_ulaw).collect();
        let worker = thread::spawn(move || {
            let mut sent = 0;
            let mut sequence = 0_u16;
            while !stop.load(Ordering::Relaxed) {
                let part = usize::from(sequence) * 160 % (sound.len() - 160);
                let mut packet = vec![0x80, 0];
                packet.extend(sequence.to_be_bytes());
                packet.extend((u32::from(sequence) * 160).to_be_bytes());
                packet.extend([6; 4]);
                packet.extend(&sound[part..part + 160]);
                for port in ports.clone() {
                    let to = SocketAddr::new(IpAddr::V4(NODE), port);
                    match socket.send_to(&packet, to) {
                        Ok(_) => sent += 1,
                        // Nobody listens there, or not yet.
                        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                        Err(error) => panic!("the stranger cannot send: {error}"),
                    }
                }
                sequence = sequence.wrapping_add(1);
                thread::sleep(Duration::from_millis(20));
            }
            sent
        });
        Sprayer {
            is_over,
            worker: Some(worker),
        }
    }

    /// Stops; how many packets it sent.
    pub(crate) fn stop(mut self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        let worker = self.worker.take().expect("started");
        worker.join().expect("it could send")
    }
}

impl Drop for Sprayer {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}
