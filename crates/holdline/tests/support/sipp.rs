//! SIPp, as a caller or as a callee.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Ending, Node, PATIENCE, program};

/// How SIPp sends: `-t`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Udp,
    /// UDP, each call from a socket of its own.
    UdpEach,
    Tcp,
}

impl Over {
    fn option(self) -> &'static str {
        match self {
            Over::Udp => "u1",
            Over::UdpEach => "un",
            Over::Tcp => "t1",
        }
    }

    /// What a Contact says about it.
    pub(crate) fn parameter(self) -> &'static str {
        match self {
            Over::Udp | Over::UdpEach => "",
            Over::Tcp => ";transport=tcp",
        }
    }
}

/// What a SIPp is to do.
#[derive(Debug, Clone, Copy)]
struct Run<'a> {
    scenario: &'a str,
    over: Over,
    local: SocketAddr,
    /// In place of those in the scenario.
    words: &'a [(&'a str, &'a str)],
    /// Whom to call; none waits for calls.
    remote: Option<SocketAddr>,
    calls: usize,
    calls_per_s: usize,
    timeout_s: u64,
    /// Whether messages are written down.
    is_traced: bool,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a str, (over, local): (Over, SocketAddr)) -> Run<'a> {
        Run {
            scenario,
            over,
            local,
            words: &[],
            remote: None,
            calls: 1,
            calls_per_s: 10,
            timeout_s: 15,
            is_traced: true,
        }
    }
}

/// A running SIPp.
#[derive(Debug)]
pub(crate) struct Sipp {
    process: Ending,
    scenario: String,
    folder: PathBuf,
}

impl Sipp {
    /// Starts `count` calls within a second by a scenario of the folder `scenarios`, with these words
    /// in place of those in it.
    pub(crate) fn calls(
        node: &Node,
        scenario: &str,
        over: Over,
        words: &[(&str, &str)],
        count: usize,
    ) -> Sipp {
        let run = Run {
            words,
            remote: Some(node.address()),
            calls: count,
            calls_per_s: count.max(10),
            ..Run::new(scenario, (over, loopback(super::free_port())))
        };
        Sipp::start(node.path(), run)
    }

    /// Begins `calls_per_s` calls a second by a scenario for so many seconds, from `local` over UDP.
    pub(crate) fn loads(
        node: &Node,
        scenario: &str,
        local: SocketAddr,
        words: &[(&str, &str)],
        load: (usize, usize),
    ) -> Sipp {
        let between = (local, node.address());
        Sipp::loads_at(node.path(), scenario, between, words, load)
    }

    /// The same with its files in a folder, and to any address.
    pub(crate) fn loads_at(
        folder: &Path,
        scenario: &str,
        (local, remote): (SocketAddr, SocketAddr),
        words: &[(&str, &str)],
        (calls_per_s, seconds): (usize, usize),
    ) -> Sipp {
        let run = Run {
            words,
            remote: Some(remote),
            calls: calls_per_s * seconds,
            calls_per_s,
            timeout_s: seconds as u64 + 15,
            is_traced: false,
            ..Run::new(scenario, (Over::Udp, local))
        };
        Sipp::start(folder, run)
    }

    /// Starts a scenario that waits for `count` calls at `port`.
    pub(crate) fn waits(
        node: &Node,
        scenario: &str,
        (over, port): (Over, u16),
        words: &[(&str, &str)],
        count: usize,
    ) -> Sipp {
        let run = Run {
            words,
            calls: count,
            calls_per_s: count.max(10),
            ..Run::new(scenario, (over, loopback(port)))
        };
        let sipp = Sipp::start(node.path(), run);
        super::wait_until("SIPp listens", || is_bound(over, port).then_some(()));
        sipp
    }

    /// Starts a media server at `port`, before any node: it answers probes and takes calls, with pauses (ms) before
    /// its 100, its 180 and its 200.
    pub(crate) fn serves(folder: &Path, (over, port): (Over, u16), pauses_ms: [u32; 3]) -> Sipp {
        let [before, trying, ringing] = pauses_ms;
        Sipp::serves_at(folder, (over, loopback(port)), [0, before, trying, ringing])
    }

    /// The same at any address, with a pause before the answer to a probe, too.
    pub(crate) fn serves_at(
        folder: &Path,
        (over, local): (Over, SocketAddr),
        pauses_ms: [u32; 4],
    ) -> Sipp {
        let pauses = pauses_ms.map(|pause_ms| pause_ms.to_string());
        let [probe, before, trying, ringing] = pauses.each_ref().map(String::as_str);
        let words = [
            ("PROBE", probe),
            ("BEFORE", before),
            ("TRYING", trying),
            ("RINGING", ringing),
            ("LINGER", "1"),
        ];
        let run = Run {
            words: &words,
            calls: 1_000_000,
            // It stays for a whole test.
            timeout_s: 120,
            ..Run::new("server", (over, local))
        };
        let sipp = Sipp::start(folder, run);
        let listens = || is_bound(over, local.port()).then_some(());
        super::wait_until("SIPp listens", listens);
        sipp
    }

    /// A media server that answers at once and writes nothing down, for many calls; it knows those that have ended for so long (ms).
    pub(crate) fn answers(folder: &Path, local: SocketAddr, linger_ms: u32) -> Sipp {
        let linger = linger_ms.to_string();
        let mut words = ["PROBE", "BEFORE", "TRYING", "RINGING", "LINGER"].map(|word| (word, "0"));
        words[4].1 = &linger;
        let run = Run {
            words: &words,
            calls: 1_000_000,
            timeout_s: 120,
            is_traced: false,
            ..Run::new("server", (Over::Udp, local))
        };
        let sipp = Sipp::start(folder, run);
        let listens = || is_bound(Over::Udp, local.port()).then_some(());
        super::wait_until("SIPp listens", listens);
        sipp
    }

    /// Sends it a signal, `-KILL`, `-STOP` or `-CONT`.
    pub(crate) fn signal(&self, name: &str) {
        super::signal(&self.process.0, name);
    }

    fn start(folder: &Path, run: Run<'_>) -> Sipp {
        let (ip, port) = (run.local.ip().to_string(), run.local.port());
        let folder = folder.join(format!("sipp-{port}"));
        fs::create_dir_all(&folder).expect("a folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios");
        let mut text =
            fs::read_to_string(source.join(format!("{}.xml", run.scenario))).expect(run.scenario);
        for (word, value) in run.words {
            text = text.replace(&format!("@{word}@"), value);
        }
        let file = folder.join("scenario.xml");
        fs::write(&file, text).expect("written");
        let out = fs::File::create(folder.join("out")).expect("made");
        let mut command = Command::new(program("sipp", "sip-tester"));
        command
            .current_dir(&folder)
            .args(["-sf", "scenario.xml", "-i", &ip, "-p", &port.to_string()])
            .args(["-t", run.over.option(), "-max_socket", "1000", "-nostdin"])
            .args(["-m", &run.calls.to_string()])
            .args(["-r", &run.calls_per_s.to_string()])
            .args([
                "-timeout",
                &format!("{}s", run.timeout_s),
                "-timeout_error",
                "-recv_timeout",
                "9000",
            ])
            .args(["-trace_err", "-error_file", "errors"])
            .args(run.remote.map(|remote| remote.to_string()))
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a handle"))
            .stderr(out);
        if run.is_traced {
            command.args(["-trace_msg", "-message_file", "messages"]);
        }
        let process = Ending(command.spawn().expect("it is there"));
        Sipp {
            process,
            scenario: run.scenario.to_owned(),
            folder,
        }
    }

    /// The messages that it sent and received.
    pub(crate) fn messages(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("messages")).unwrap_or_default())
            .into_owned()
    }

    /// Waits for the end. Gives its messages, and first what went wrong if the scenario did not go
    /// through.
    pub(crate) fn end(self) -> Result<String, String> {
        self.end_within(PATIENCE)
    }

    /// The same with another patience.
    pub(crate) fn end_within(mut self, patience: Duration) -> Result<String, String> {
        let deadline = Instant::now() + patience;
        let status = loop {
            match self.process.0.try_wait().expect("a child") {
                Some(status) => break status.code(),
                None if Instant::now() > deadline => break None,
                None => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        let read = |file| fs::read(self.folder.join(file)).unwrap_or_default();
        if status == Some(0) {
            return Ok(self.messages());
        }
        let (scenario, messages) = (&self.scenario, self.messages());
        let said = [read("errors"), read("out")].concat();
        let said = String::from_utf8_lossy(&said);
        Err(format!(
            "{scenario} ended with {status:?}:\n{said}\n{messages}"
        ))
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Whether somebody has the port at this thread's host: the system's tables say it.
fn is_bound(over: Over, port: u16) -> bool {
    let (file, state) = match over {
        Over::Udp | Over::UdpEach => ("/proc/thread-self/net/udp", " 07 "),
        Over::Tcp => ("/proc/thread-self/net/tcp", " 0A "),
    };
    let table = fs::read_to_string(file).expect("Linux");
    let port = format!(":{port:04X} ");
    table
        .lines()
        .any(|line| line.contains(&port) && line.contains(state))
}
