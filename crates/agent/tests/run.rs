//! An agent beside an edge that is a few lines of HTTP.

use agent::{CallsSource, Error, Notice, Options, Report, Trouble, run};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Takes requests, answers each with `status` and `text`, and passes on their heads and bodies.
fn edge(status: &'static str, text: &'static str) -> (String, Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let base = format!("http://{}", listener.local_addr().expect("an address"));
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Some(request) = stream.ok().and_then(|stream| answer(stream, status, text)) else {
                continue;
            };
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (base, receiver)
}

fn answer(stream: TcpStream, status: &str, said: &str) -> Option<(String, Vec<u8>)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let (_, length) = lower.split_once("content-length:").unwrap_or(("", "0"));
    let length: usize = length.lines().next()?.trim().parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let length = said.len();
    let head_back = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n");
    let text = format!("{head_back}Connection: close\r\n\r\n{said}");
    reader.into_inner().write_all(text.as_bytes()).ok()?;
    Some((head, body))
}

fn options(edges: Vec<String>) -> Options {
    Options {
        target: "sip:10.0.0.30:5060".to_owned(),
        edges,
        token: Some("secret".to_owned()),
        interval: Duration::from_millis(100),
        calls: CallsSource::Command {
            command: "echo 7 active calls".to_owned(),
            line: None,
        },
    }
}

type Notices = Arc<Mutex<Vec<Notice>>>;

/// Lets an agent run while `meanwhile` does.
fn while_running(options: Options, meanwhile: impl FnOnce(&Notices)) -> Vec<Notice> {
    let stop = Arc::new(AtomicBool::new(false));
    let notices = Notices::default();
    let agent = {
        let (stop, notices) = (Arc::clone(&stop), Arc::clone(&notices));
        thread::spawn(move || {
            let notice = |one| notices.lock().expect("unpoisoned").push(one);
            run(&options, &stop, &notice).expect("good options");
        })
    };
    meanwhile(&notices);
    stop.store(true, Ordering::Relaxed);
    agent.join().expect("the agent ends");
    Arc::try_unwrap(notices)
        .expect("nobody else")
        .into_inner()
        .expect("unpoisoned")
}

#[test]
fn every_edge_is_told_and_a_dead_one_holds_nobody_up() {
    let (one, at_one) = edge("200 OK", "");
    let (other, at_other) = edge("200 OK", "");
    let dead = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        format!("http://{}", listener.local_addr().expect("an address"))
    };
    let notices = while_running(options(vec![one.clone(), dead.clone(), other]), |_| {
        for receiver in [at_one, at_other] {
            let mut seen_calls = false;
            for _ in 0..20 {
                let wait = Duration::from_secs(20);
                let (head, body) = receiver.recv_timeout(wait).expect("a report");
                assert!(head.starts_with("POST /api/agent HTTP/1.1\r\n"), "{head}");
                assert!(
                    head.to_ascii_lowercase()
                        .contains("authorization: bearer secret")
                );
                let report = Report::parse(&body).expect("a report");
                assert_eq!(report.target, "sip:10.0.0.30:5060");
                assert!(report.cpu_permille.is_some() && report.memory_permille.is_some());
                seen_calls |= report.calls == Some(7);
            }
            assert!(seen_calls);
        }
    });
    assert!(notices.contains(&Notice::Taken { edge: one }));
    let lost = notices
        .iter()
        .filter(|one| matches!(one, Notice::Unreachable { edge, .. } if *edge == dead));
    assert_eq!(lost.count(), 1, "said once: {notices:?}");
}

#[test]
fn a_refusal_is_said_once_with_its_reason() {
    let (edge, requests) = edge("404 Not Found", "no");
    let notices = while_running(options(vec![edge.clone()]), |_| {
        for _ in 0..5 {
            requests
                .recv_timeout(Duration::from_secs(20))
                .expect("a report");
        }
    });
    let refused = Notice::Refused {
        edge,
        status: 404,
        message: "no".to_owned(),
    };
    assert_eq!(notices, [refused]);
}

#[test]
fn figures_go_on_without_the_number_of_calls() {
    let (edge, requests) = edge("200 OK", "");
    let mut options = options(vec![edge]);
    options.calls = CallsSource::Command {
        command: "exit 1".to_owned(),
        line: None,
    };
    let notices = while_running(options, |_| {
        for _ in 0..15 {
            let wait = Duration::from_secs(20);
            let (_, body) = requests.recv_timeout(wait).expect("a report");
            let report = Report::parse(&body).expect("a report");
            assert_eq!(report.calls, None);
            assert!(report.cpu_permille.is_some());
        }
    });
    let missing = notices
        .iter()
        .filter(|one| matches!(one, Notice::Missing(_)));
    assert_eq!(missing.count(), 1, "{notices:?}");
}

#[test]
fn a_url_may_tell_the_calls() {
    let ask = |status, text, line: Option<&str>| {
        let (url, _requests) = edge(status, text);
        let line = line.map(str::to_owned);
        CallsSource::Query { url, line }.ask()
    };
    assert_eq!(
        ask("200 OK", r#"[{"id":"1"},{"id":"2"}]"#, None),
        Ok(Some(2))
    );
    let text = "channels 9\ncalls 4\n";
    assert_eq!(ask("200 OK", text, Some("calls")), Ok(Some(4)));
    assert!(matches!(
        ask("200 OK", "none", None),
        Err(Trouble::NoNumber { .. })
    ));
    assert!(matches!(
        ask("401 No", "4", None),
        Err(Trouble::Query { .. })
    ));
}

#[test]
fn options_that_cannot_be_are_refused() {
    let refused = |options: Options| {
        let stop = AtomicBool::new(true);
        run(&options, &stop, &|_| {}).expect_err("refused")
    };
    assert!(matches!(refused(options(Vec::new())), Error::NoEdges));
    let many = vec!["http://127.0.0.1:1".to_owned(); 65];
    assert!(matches!(
        refused(options(many)),
        Error::TooManyEdges { edges: 65 }
    ));
    let tls = vec!["https://127.0.0.1:1".to_owned()];
    assert!(matches!(refused(options(tls)), Error::NotHttp { .. }));
    let edges = vec!["http://127.0.0.1:1".to_owned()];
    let mut often = options(edges.clone());
    often.interval = Duration::from_millis(99);
    assert!(matches!(
        refused(often),
        Error::TooOften { interval_ms: 99 }
    ));
    let mut nameless = options(edges);
    nameless.target.clear();
    assert!(matches!(refused(nameless), Error::NoTarget));
}
