//! Real etcd servers on loopback, which live as long as their value.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use coordinator::{Coordinator, EtcdOptions, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Some servers of one etcd.
pub(crate) struct Etcd {
    folder: TempDir,
    servers: Vec<Server>,
    extra: Vec<String>,
    scheme: &'static str,
}

struct Server {
    client: u16,
    peer: u16,
    child: Option<Child>,
}

impl Etcd {
    /// Starts `count` servers and waits until they have a leader.
    pub(crate) async fn start(count: usize) -> Etcd {
        Etcd::start_with(count, "http", &[]).await
    }

    /// Starts them with further arguments.
    pub(crate) async fn start_with(count: usize, scheme: &'static str, extra: &[String]) -> Etcd {
        let servers = (0..count).map(|_| Server {
            client: free_port(),
            peer: free_port(),
            child: None,
        });
        let mut etcd = Etcd {
            folder: TempDir::new().unwrap(),
            servers: servers.collect(),
            extra: extra.to_vec(),
            scheme,
        };
        for number in 0..count {
            etcd.resume(number);
        }
        if scheme == "http" {
            etcd.wait().await;
        }
        etcd
    }

    /// Waits until a request is answered.
    pub(crate) async fn wait(&self) {
        let probe = Coordinator::open(&self.options("probe")).await.unwrap();
        let begun = Instant::now();
        while let Err(error) = probe.read("probe", Duration::from_millis(500)).await {
            if matches!(error, coordinator::Error::Denied { .. }) {
                return;
            }
            let log = std::fs::read_to_string(self.folder.path().join("log0")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(30), "{error}\n{log}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Starts a server that does not run.
    pub(crate) fn resume(&mut self, number: usize) {
        let cluster: Vec<String> = self
            .servers
            .iter()
            .enumerate()
            .map(|(number, server)| format!("s{number}=http://127.0.0.1:{}", server.peer))
            .collect();
        let server = &mut self.servers[number];
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.path().join(format!("log{number}")))
            .unwrap();
        let client = format!("{}://127.0.0.1:{}", self.scheme, server.client);
        let peer = format!("http://127.0.0.1:{}", server.peer);
        let data = self.folder.path().join(format!("data{number}"));
        let child = Command::new("etcd")
            .args(["--name", &format!("s{number}"), "--unsafe-no-fsync"])
            .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &cluster.join(",")])
            .args(["--initial-cluster-state", "new", "--logger", "zap"])
            .arg("--data-dir")
            .arg(data)
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        let missing = "etcd is not installed: install the Debian package etcd-server";
        server.child = Some(child.expect(missing));
    }

    /// Kills a server.
    pub(crate) fn kill(&mut self, number: usize) {
        if let Some(mut child) = self.servers[number].child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Stops a server where it stands, or lets it go on.
    pub(crate) fn freeze(&self, number: usize, frozen: bool) {
        let signal = if frozen {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        let child = self.servers[number].child.as_ref().unwrap();
        kill(Pid::from_raw(child.id().cast_signed()), signal).unwrap();
    }

    /// The number of the server that leads, by its metrics.
    pub(crate) async fn leader(&self) -> usize {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for _ in 0..100 {
            for (number, server) in self.servers.iter().enumerate() {
                let Ok(mut stream) =
                    tokio::net::TcpStream::connect(("127.0.0.1", server.client)).await
                else {
                    continue;
                };
                let request = b"GET /metrics HTTP/1.0\r\n\r\n";
                stream.write_all(request).await.unwrap();
                let mut text = String::new();
                let _ = stream.read_to_string(&mut text).await;
                if text.contains("\netcd_server_is_leader 1") {
                    return number;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("nobody leads");
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        let url = |server: &Server| format!("{}://127.0.0.1:{}", self.scheme, server.client);
        self.servers.iter().map(url).collect()
    }

    pub(crate) fn etcd_options(&self, cluster: &str) -> EtcdOptions {
        EtcdOptions {
            endpoints: self.urls(),
            prefix: "/holdline".to_owned(),
            cluster: cluster.to_owned(),
            user: None,
            tls: None,
        }
    }

    pub(crate) fn options(&self, cluster: &str) -> Options {
        Options::Etcd(self.etcd_options(cluster))
    }

    /// The folder of a server's data.
    pub(crate) fn data(&self, number: usize) -> PathBuf {
        self.folder.path().join(format!("data{number}"))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for number in 0..self.servers.len() {
            self.kill(number);
        }
    }
}

/// A port that nobody has. Below those that the kernel gives to connections, so that none of these takes it meanwhile.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % 400) as u16 * 20;
    for _ in 0..1000 {
        let port = 21_000 + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}
