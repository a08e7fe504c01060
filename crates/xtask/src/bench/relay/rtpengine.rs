//! Debian's rtpengine in user space, and its control protocol: dictionaries in bencode over UDP,
//! each with a cookie before it.

use super::super::error::Error;
use super::super::install::path_of;
use super::super::process::{Keeper, Process};
use super::super::server::{Running, wait_until_ready};
use super::PORTS;
use super::session;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How long an answer may take, and how often it is asked for.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);
const TRIES: u32 = 5;
/// Errors and worse: what it would say of each call it does not have to say.
const LOG_LEVEL: &str = "3";

/// Starts it with `threads` workers, or as many as it likes, and waits until it answers.
///
/// # Errors
/// What it printed when it ended.
pub(crate) fn start(
    keeper: &mut Keeper,
    folder: &Path,
    address: SocketAddr,
    threads: Option<u32>,
) -> Result<Running, Error> {
    let program = path_of("rtpengine").ok_or(Error::Missing(vec!["rtpengine"]))?;
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .args(["--config-file=none", "--foreground", "--log-stderr"])
        .args(["--table=-1", "--interface=127.0.0.1"])
        .args([format!("--log-level={LOG_LEVEL}")])
        .args([format!("--listen-ng={address}")])
        .args([format!("--port-min={}", PORTS.start())])
        .args([format!("--port-max={}", PORTS.end())]);
    if let Some(threads) = threads {
        command.args([format!("--num-threads={threads}")]);
    }
    let mut process: Process = keeper.spawn("rtpengine", &mut command, &folder.join("log"))?;
    let is_ready = || {
        let asked =
            Control::open(address).and_then(|mut control| control.ask(&[("command", "ping")]));
        asked.is_ok()
    };
    match wait_until_ready(&mut process, is_ready) {
        Ok(()) => Ok(Running::new(process, address)),
        Err(error) => {
            keeper.end(process, "-TERM");
            Err(error)
        }
    }
}

/// A controller of rtpengine.
#[derive(Debug)]
pub(crate) struct Control {
    socket: UdpSocket,
    asked: u64,
}

impl Control {
    /// A controller of the one that listens at `address`.
    ///
    /// # Errors
    /// The machine's.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, Error> {
        let doing = Error::io("opening a socket to rtpengine");
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(&doing)?;
        socket.connect(address).map_err(&doing)?;
        socket
            .set_read_timeout(Some(ANSWER_LIMIT))
            .map_err(&doing)?;
        Ok(Self { socket, asked: 0 })
    }

    /// Sets up a call between two ends. Returns the relay's addresses: the one the caller, the
    /// one the callee sends to.
    ///
    /// # Errors
    /// What rtpengine said when it refused.
    pub(crate) fn call(
        &mut self,
        number: usize,
        ends: [SocketAddrV4; 2],
    ) -> Result<[SocketAddrV4; 2], Error> {
        let id = format!("bench-{number}");
        let offer = session::description(ends[0]);
        let toward_callee = self.ask(&[
            ("ICE", "remove"),
            ("call-id", &id),
            ("command", "offer"),
            ("from-tag", "caller"),
            ("sdp", &offer),
        ])?;
        let answer = session::description(ends[1]);
        let toward_caller = self.ask(&[
            ("ICE", "remove"),
            ("call-id", &id),
            ("command", "answer"),
            ("from-tag", "caller"),
            ("sdp", &answer),
            ("to-tag", "callee"),
        ])?;
        let address = |said: &str| {
            session::address(said).ok_or_else(|| Error::Program {
                name: "rtpengine".to_owned(),
                said: said.to_owned(),
            })
        };
        Ok([address(&toward_caller)?, address(&toward_callee)?])
    }

    /// Asks and returns the answer, which says `ok` or `pong`.
    fn ask(&mut self, dictionary: &[(&str, &str)]) -> Result<String, Error> {
        self.asked += 1;
        // rtpengine answers a cookie that it knows as it did before.
        let local = self.socket.local_addr();
        let local = local.map_err(Error::io("asking a socket"))?;
        let cookie = format!("{}-{} ", local.port(), self.asked);
        let request = format!("{cookie}{}", encode(dictionary));
        let mut buffer = vec![0; 65_535];
        for _ in 0..TRIES {
            self.socket
                .send(request.as_bytes())
                .map_err(Error::io("asking rtpengine"))?;
            let Ok(length) = self.socket.recv(&mut buffer) else {
                continue;
            };
            let answer = String::from_utf8_lossy(&buffer[..length]).into_owned();
            let Some(answer) = answer.strip_prefix(&cookie) else {
                continue;
            };
            return if answer.contains("6:result2:ok") || answer.contains("6:result4:pong") {
                Ok(answer.to_owned())
            } else {
                Err(Error::Program {
                    name: "rtpengine".to_owned(),
                    said: answer.to_owned(),
                })
            };
        }
        Err(Error::Late {
            name: "rtpengine's answer".to_owned(),
            limit_s: ANSWER_LIMIT.as_secs() * u64::from(TRIES),
        })
    }
}

/// A bencoded dictionary of strings; the keys have to be sorted.
fn encode(dictionary: &[(&str, &str)]) -> String {
    let string = |text: &str| format!("{}:{text}", text.len());
    let pairs: String = dictionary
        .iter()
        .map(|(key, value)| string(key) + &string(value))
        .collect();
    format!("d{pairs}e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_preceded_by_their_length() {
        assert_eq!(encode(&[("command", "ping")]), "d7:command4:pinge");
    }
}
