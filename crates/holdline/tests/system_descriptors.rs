//! A node that may have few descriptors, and strangers who want them all.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use support::{Ending, free_port, wait_until};

/// Status and answer of a request to the admin API; none when nobody answers.
fn http(admin: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", admin)).ok()?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// The limit in force, as the system tells it of a process: `Max open files  SOFT  HARD  files`.
fn soft_limit(process: u32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[test]
fn strangers_cannot_take_the_descriptors_that_the_rest_of_the_node_needs() {
    let folder = tempfile::tempdir().expect("a folder");
    let (admin, sip) = (free_port(), free_port());
    let config = format!(
        "[node]\ndata = \"data\"\n[edge]\ndomains = [\"example.org\"]\n\
         listen = [\"udp:127.0.0.1:{sip}\", \"tcp:127.0.0.1:{sip}\"]\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n"
    );
    fs::write(folder.path().join("holdline.toml"), config).expect("written");
    let log = fs::File::create(folder.path().join("log")).expect("made");
    let mut process = Command::new("sh");
    process
        .args(["-c", "ulimit -Sn 64; ulimit -Hn 320; exec \"$0\" run"])
        .arg(env!("CARGO_BIN_EXE_holdline"))
        .current_dir(folder.path())
        .env_remove("HOLDLINE_TOKEN")
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stderr(log);
    let node = Ending(process.spawn().expect("a shell"));
    let is_ready = || http(admin, "/healthz").filter(|answer| answer.starts_with("HTTP/1.1 200"));
    wait_until("a node", is_ready);
    assert_eq!(soft_limit(node.0.id()), Some(320));
    let said = fs::read_to_string(folder.path().join("log")).expect("readable");
    assert!(
        said.contains("64 TCP connections at most") && said.contains("LimitNOFILE"),
        "{said}"
    );

    let strangers: Vec<_> = (0..500)
        .filter_map(|_| TcpStream::connect(("127.0.0.1", sip)).ok())
        .collect();
    wait_until("the ones too many are turned away", || {
        let metrics = http(admin, "/metrics")?;
        let refused = metrics
            .lines()
            .find_map(|line| line.strip_prefix("holdline_tcp_refused_total "))?;
        (refused.parse::<f64>().ok()? >= strangers.len() as f64 - 64.0).then_some(())
    });
    assert!(is_ready().is_some());
}
