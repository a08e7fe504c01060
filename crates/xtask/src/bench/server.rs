//! The servers that are compared, started and stopped the same way.

mod pair;

use super::error::Error;
use super::install::path_of;
use super::process::{self, Keeper, Process};
use super::relay::rtpengine;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take until it answers: a large store has to be read.
const READY_LIMIT_S: u64 = 120;
const POLL: Duration = Duration::from_millis(50);
/// The password of every user.
pub(crate) const PASSWORD: &str = "secret";
/// The domain of every user.
pub(crate) const DOMAIN: &str = "bench.example";
/// Kamailio's shared memory and memory per process, in MiB: its default of 64 and 8 is too small
/// for 100,000 bindings.
const KAMAILIO_MEMORY_MIB: [&str; 2] = ["1024", "16"];

/// Whose figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Theirs,
    Ours,
}

/// How to run a server.
#[derive(Debug, Clone)]
pub(crate) enum Server {
    /// With this many worker processes.
    Kamailio { children: u32 },
    /// With this many threads that relay, or its default of one a processor.
    Rtpengine { threads: Option<u32> },
    /// The program at this path, with the configuration of this name.
    Holdline {
        program: PathBuf,
        template: &'static str,
    },
    /// The same twice, as the two members of a service: the first owns it, the second holds its records.
    Pair {
        program: PathBuf,
        template: &'static str,
    },
}

/// A server that answers.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    /// The standby of a pair: its work is no part of the figure, and is told beside it.
    standby: Option<Process>,
    /// Where it takes SIP over UDP; rtpengine's, where it takes commands.
    pub(crate) address: SocketAddr,
}

impl Running {
    /// A server that was started elsewhere.
    pub(crate) fn new(process: Process, address: SocketAddr) -> Self {
        Self {
            process,
            standby: None,
            address,
        }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// User and system time of all its processes so far, in microseconds.
    pub(crate) fn cpu_us(&self) -> f64 {
        process::cpu_us(self.process.pid())
    }

    /// The same of the standby of a pair.
    pub(crate) fn standby_cpu_us(&self) -> Option<f64> {
        let standby = self.standby.as_ref()?;
        Some(process::cpu_us(standby.pid()))
    }

    /// Resident memory of all its processes, in bytes.
    pub(crate) fn memory_bytes(&self) -> u64 {
        process::memory_bytes(self.process.pid())
    }

    /// Whether it is still there; a server that died must not look cheap.
    ///
    /// # Errors
    /// What it printed, when it is not.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        for process in [Some(&mut self.process), self.standby.as_mut()] {
            if let Some(process) = process
                && !matches!(process.ended(), Ok(None))
            {
                return Err(process.failure());
            }
        }
        Ok(())
    }

    /// Ends it.
    pub(crate) fn stop(self, keeper: &mut Keeper) {
        // First, so that nothing is handed over to it.
        if let Some(standby) = self.standby {
            keeper.end(standby, "-TERM");
        }
        keeper.end(self.process, "-TERM");
    }
}

impl Server {
    /// Starts the server in `folder` with `users`, and waits until it answers. `root` is the
    /// workspace's folder, where the configurations are.
    ///
    /// # Errors
    /// What the program printed when it ended; [`Error::Late`] when it does not answer.
    pub(crate) fn start(
        &self,
        keeper: &mut Keeper,
        root: &Path,
        folder: &Path,
        users: &[String],
    ) -> Result<Running, Error> {
        fs::create_dir_all(folder).map_err(Error::io("making a folder for a server"))?;
        let address = SocketAddr::from(([127, 0, 0, 1], free_udp_port()?));
        match self {
            Self::Kamailio { children } => kamailio(keeper, root, folder, address, *children),
            Self::Rtpengine { threads } => rtpengine::start(keeper, folder, address, *threads),
            Self::Holdline { program, template } => {
                let template = root.join("bench").join(template);
                let config = Config::of(&template, folder, address)?;
                config.import(program, users)?;
                let process = config.run(keeper, program)?;
                Ok(Running::new(process, address))
            }
            Self::Pair { program, template } => {
                let template = root.join("bench").join(template);
                pair::start(keeper, &template, folder, address, program, users)
            }
        }
    }
}

fn kamailio(
    keeper: &mut Keeper,
    root: &Path,
    folder: &Path,
    address: SocketAddr,
    children: u32,
) -> Result<Running, Error> {
    let program = path_of("kamailio").ok_or(Error::Missing(vec!["kamailio"]))?;
    let [shared, private] = KAMAILIO_MEMORY_MIB;
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .args(["-DD", "-E", "-m", shared, "-M", private, "-Y"])
        .arg(folder)
        .args(["-A", &format!("BENCH_LISTEN=udp:{address}")])
        .args(["-A", &format!("BENCH_CHILDREN={children}")])
        .arg("-f")
        .arg(root.join("bench/kamailio.cfg"));
    let mut process = keeper.spawn("kamailio", &mut command, &folder.join("log"))?;
    match wait_until_ready(&mut process, || answers_options(address)) {
        Ok(()) => Ok(Running::new(process, address)),
        Err(error) => {
            keeper.end(process, "-TERM");
            Err(error)
        }
    }
}

/// The configuration of a node of ours, in a folder of its own.
#[derive(Debug)]
pub(crate) struct Config {
    folder: PathBuf,
    text: String,
    /// Where it is administered.
    pub(crate) admin: SocketAddr,
}

impl Config {
    /// Fills in a template.
    ///
    /// # Errors
    /// The machine's.
    pub(crate) fn of(template: &Path, folder: &Path, address: SocketAddr) -> Result<Self, Error> {
        let admin = SocketAddr::from(([127, 0, 0, 1], free_tcp_port()?));
        let text = fs::read_to_string(template)
            .map_err(Error::io("reading holdline's configuration in bench/"))?
            .replace("{data}", &folder.join("data").to_string_lossy())
            .replace("{listen}", &address.to_string())
            .replace("{admin}", &admin.to_string());
        Ok(Self {
            folder: folder.to_owned(),
            text,
            admin,
        })
    }

    /// Has another name of the node, and more sections.
    pub(crate) fn extend(&mut self, name: &str, more: &str) {
        let named = format!("name = \"{name}\"");
        self.text = self.text.replace("name = \"bench\"", &named) + more;
    }

    fn write(&self) -> Result<PathBuf, Error> {
        let path = self.folder.join("holdline.toml");
        fs::create_dir_all(&self.folder)
            .and_then(|()| fs::write(&path, &self.text))
            .map_err(Error::io("writing a configuration"))?;
        Ok(path)
    }

    /// Puts users into its store.
    ///
    /// # Errors
    /// What the program says.
    pub(crate) fn import(&self, program: &Path, users: &[String]) -> Result<(), Error> {
        let config = self.write()?;
        let line = |user: &String| format!("{user}@{DOMAIN},{PASSWORD}\n");
        let table: String = users.iter().map(line).collect();
        let file = self.folder.join("users.csv");
        fs::write(&file, table).map_err(Error::io("writing the users"))?;
        let mut command = Command::new(program);
        command.args(["user", "import"]).arg(&file);
        done("holdline user import", command.arg("--config").arg(&config))
    }

    /// Runs it, and waits until it answers.
    ///
    /// # Errors
    /// What it printed when it ended; [`Error::Late`].
    pub(crate) fn run(&self, keeper: &mut Keeper, program: &Path) -> Result<Process, Error> {
        let config = self.write()?;
        let mut command = Command::new(program);
        command.arg("run").arg("--config").arg(&config);
        let mut process = keeper.spawn("holdline", &mut command, &self.folder.join("log"))?;
        match wait_until_ready(&mut process, || is_healthy(self.admin)) {
            Ok(()) => Ok(process),
            Err(error) => {
                keeper.end(process, "-TERM");
                Err(error)
            }
        }
    }
}

/// Runs a program to its end.
pub(crate) fn done(name: &str, command: &mut Command) -> Result<(), Error> {
    let ended = command
        .output()
        .map_err(Error::io("running a program of ours"))?;
    if ended.status.success() {
        return Ok(());
    }
    Err(Error::Program {
        name: name.to_owned(),
        said: String::from_utf8_lossy(&ended.stderr).into_owned(),
    })
}

/// Waits until a server that was just started answers.
///
/// # Errors
/// What it printed when it ended; [`Error::Late`].
pub(crate) fn wait_until_ready(
    process: &mut Process,
    is_ready: impl Fn() -> bool,
) -> Result<(), Error> {
    let deadline = Instant::now() + Duration::from_secs(READY_LIMIT_S);
    while Instant::now() < deadline {
        if !matches!(process.ended(), Ok(None)) {
            return Err(process.failure());
        }
        if is_ready() {
            return Ok(());
        }
        thread::sleep(POLL);
    }
    Err(Error::Late {
        name: "the server's start".to_owned(),
        limit_s: READY_LIMIT_S,
    })
}

/// Whether a SIP server answers OPTIONS, with whatever.
fn answers_options(address: SocketAddr) -> bool {
    let asked = || -> std::io::Result<usize> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let local = socket.local_addr()?;
        let request = format!(
            "OPTIONS sip:ping@{DOMAIN} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {local};branch=z9hG4bK-ready-{port}\r\n\
             From: <sip:ready@{DOMAIN}>;tag=ready\r\nTo: <sip:ping@{DOMAIN}>\r\n\
             Call-ID: ready-{port}\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\
             Content-Length: 0\r\n\r\n",
            port = local.port()
        );
        socket.send_to(request.as_bytes(), address)?;
        socket.recv(&mut [0; 2048])
    };
    asked().is_ok()
}

/// Whether the admin API says that the node is healthy.
pub(crate) fn is_healthy(admin: SocketAddr) -> bool {
    let answer = asked(admin, "/healthz");
    answer.is_some_and(|answer| answer.split_whitespace().nth(1) == Some("200"))
}

/// What the admin API answers, its head included.
pub(crate) fn asked(admin: SocketAddr, path: &str) -> Option<String> {
    let asked = || -> std::io::Result<String> {
        let limit = Duration::from_secs(2);
        let mut stream = TcpStream::connect_timeout(&admin, limit)?;
        stream.set_read_timeout(Some(limit))?;
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    asked().ok()
}

/// A UDP port of loopback that nobody uses now.
///
/// # Errors
/// The machine's.
pub(crate) fn free_udp_port() -> Result<u16, Error> {
    let socket = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    Ok(socket.map_err(Error::io("looking for a free port"))?.port())
}

pub(crate) fn free_tcp_port() -> Result<u16, Error> {
    let socket = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
    Ok(socket.map_err(Error::io("looking for a free port"))?.port())
}
