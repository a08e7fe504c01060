//! The media server that dies, in a process of its own so that it can be frozen and killed.

use super::super::error::Error;
use super::super::process::{Keeper, Process};
use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// How long its socket may take to be there.
const BIND_LIMIT: Duration = Duration::from_secs(10);

/// Starts one at `address`. With `report_to` it answers an INVITE with 100 only, and says so there.
pub(super) fn spawn(
    keeper: &mut Keeper,
    folder: &Path,
    address: SocketAddr,
    report_to: Option<SocketAddr>,
) -> Result<Process, Error> {
    let program = std::env::current_exe().map_err(Error::io("looking for this program"))?;
    let mut command = Command::new(program);
    command.arg("media-server").arg(address.to_string());
    command.args(report_to.map(|report_to| report_to.to_string()));
    let log = folder.join(format!("media-server-{}.log", address.port()));
    let mut process = keeper.spawn("a media server", &mut command, &log)?;
    let deadline = Instant::now() + BIND_LIMIT;
    while UdpSocket::bind(address).is_ok() {
        if !matches!(process.ended(), Ok(None)) || Instant::now() > deadline {
            return Err(process.failure());
        }
        thread::sleep(Duration::from_millis(2));
    }
    Ok(process)
}

/// Answers until it is ended.
///
/// # Errors
/// The machine's.
pub(crate) fn run(address: &str, report_to: Option<&str>) -> io::Result<()> {
    // Whoever asks whether the port is taken has it for a moment himself.
    let deadline = Instant::now() + BIND_LIMIT;
    let socket = loop {
        match UdpSocket::bind(address) {
            Ok(socket) => break socket,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    let mut room = [0; 65_536];
    loop {
        let (size, from) = match socket.recv_from(&mut room) {
            Ok(received) => received,
            // A peer that is gone for a moment.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => continue,
            Err(error) => return Err(error),
        };
        let request = String::from_utf8_lossy(&room[..size]).into_owned();
        for response in answers(&request, address, report_to.is_some()) {
            socket.send_to(response.as_bytes(), from)?;
        }
        if let Some(report_to) = report_to.filter(|_| request.starts_with("INVITE ")) {
            socket.send_to(b"100", report_to)?;
        }
    }
}

/// What it says to a request.
fn answers(request: &str, address: &str, is_slow: bool) -> Vec<String> {
    let method = request.split(' ').next().unwrap_or_default();
    match method {
        "INVITE" if is_slow => vec![response(request, "100 Trying", address)],
        "INVITE" => ["100 Trying", "180 Ringing", "200 OK"]
            .map(|status| response(request, status, address))
            .to_vec(),
        "ACK" | "SIP/2.0" => Vec::new(),
        _ => vec![response(request, "200 OK", address)],
    }
}

fn response(request: &str, status: &str, address: &str) -> String {
    let mut text = format!("SIP/2.0 {status}\r\n");
    for line in request.lines() {
        let name = line.split(':').next().unwrap_or_default();
        let tag = match name {
            "To" if !line.contains(";tag=") && !status.starts_with("100") => ";tag=m",
            _ => "",
        };
        if ["Via", "Record-Route", "From", "To", "Call-ID", "CSeq"].contains(&name) {
            // Writing to a String does not fail.
            let _ = write!(text, "{line}{tag}\r\n");
        }
    }
    let body = match status {
        "200 OK" if request.starts_with("INVITE") => {
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n\
             m=audio 40002 RTP/AVP 8\r\n"
        }
        _ => "",
    };
    let kind = match body {
        "" => "",
        _ => "Content-Type: application/sdp\r\n",
    };
    let length = body.len();
    let _ = write!(
        text,
        "Contact: <sip:ivr@{address}>\r\n{kind}Content-Length: {length}\r\n\r\n{body}"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_to_die_says_100_and_nothing_more() {
        let invite = "INVITE sip:8000@a SIP/2.0\r\nVia: v\r\nTo: <sip:8000@a>\r\n\r\n";
        let said = answers(invite, "127.0.0.1:5060", true);
        assert_eq!(said.len(), 1);
        assert!(said[0].starts_with("SIP/2.0 100 Trying\r\nVia: v\r\nTo: <sip:8000@a>\r\n"));
        assert_eq!(answers(invite, "127.0.0.1:5060", false).len(), 3);
        assert!(answers("ACK sip:a SIP/2.0\r\n\r\n", "a", false).is_empty());
    }
}
