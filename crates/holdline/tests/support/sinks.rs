//! Those whom voice messages are handed over to: a webhook and a mail server, as small as can be.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use super::PATIENCE;

/// Listens at a port, and gives what comes. It ends with the process.
fn listen<T: Send + 'static>(
    port: u16,
    serve: impl Fn(&mut BufReader<TcpStream>, usize) -> Option<T> + Send + 'static,
) -> Receiver<T> {
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    let (taken, takes): (Sender<T>, _) = channel();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().flatten().enumerate() {
            stream.set_read_timeout(Some(PATIENCE)).expect("an option");
            if let Some(one) = serve(&mut BufReader::new(stream), number)
                && taken.send(one).is_err()
            {
                return;
            }
        }
    });
    takes
}

fn line(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

fn say(stream: &mut BufReader<TcpStream>, text: &str) -> Option<()> {
    stream.get_mut().write_all(text.as_bytes()).ok()
}

/// A webhook; the first `failures` posts are answered with 500.
pub(crate) fn webhook(port: u16, failures: usize) -> Receiver<serde_json::Value> {
    listen(port, move |stream, number| {
        let mut length = 0;
        loop {
            let head = line(stream)?.to_ascii_lowercase();
            if let Some(value) = head.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if head.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let is_taken = number >= failures;
        let status = if is_taken { "204 Taken" } else { "500 Not Yet" };
        say(
            stream,
            &format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        )?;
        is_taken.then(|| serde_json::from_slice(&body).expect("JSON"))
    })
}

/// What a mail server was given.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) text: String,
}

/// A mail server (RFC 5321); the first `failures` letters are refused for now.
pub(crate) fn mail_server(port: u16, failures: usize) -> Receiver<Letter> {
    listen(port, move |stream, number| {
        let (mut from, mut to, mut text) = (String::new(), String::new(), String::new());
        say(stream, "220 sink\r\n")?;
        loop {
            let said = line(stream)?;
            let verb = said.get(..4).unwrap_or(&said).to_ascii_uppercase();
            let answer = match verb.as_str() {
                "MAIL" => {
                    from = said;
                    "250 fine"
                }
                "RCPT" => {
                    to = said;
                    "250 fine"
                }
                "DATA" => {
                    say(stream, "354 go on\r\n")?;
                    loop {
                        let said = line(stream)?;
                        if said == "." {
                            break;
                        }
                        text += said.strip_prefix('.').unwrap_or(&said);
                        text += "\n";
                    }
                    match number < failures {
                        true => "451 not now",
                        false => "250 taken",
                    }
                }
                "QUIT" => {
                    say(stream, "221 bye\r\n")?;
                    break;
                }
                _ => "250 fine",
            };
            say(stream, &format!("{answer}\r\n"))?;
            if answer == "250 taken" {
                break;
            }
        }
        (number >= failures && !text.is_empty()).then_some(Letter { from, to, text })
    })
}
