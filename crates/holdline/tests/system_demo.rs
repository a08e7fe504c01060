//! `holdline demo`: the view through a terminal of its own, and the story without one.

mod support;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::termios::{LocalFlags, tcgetattr};
use serde_json::Value;

use support::{Ending, free_port, holdline};

const COLUMNS: u16 = 80;
const ROWS: u16 = 24;
/// How long the platform may take for anything, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);

/// A demo in a terminal.
struct Terminal {
    demo: Ending,
    keys: File,
    screen: Arc<Mutex<vt100::Parser>>,
    /// The other end, which the demo has too.
    slave: OwnedFd,
    folder: tempfile::TempDir,
    /// Where frames are kept for people to see.
    frames: PathBuf,
    kept: usize,
}

impl Terminal {
    fn start(name: &str, arguments: &[&str]) -> Terminal {
        Terminal::with(name, arguments, &[("LC_ALL", "C.UTF-8")])
    }

    /// As [`Terminal::start`], with these variables in the environment.
    fn with(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Terminal {
        let folder = tempfile::tempdir().expect("a folder");
        let size = Winsize {
            ws_row: ROWS,
            ws_col: COLUMNS,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pair = openpty(&size, None).expect("a terminal");
        let end = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
        // So that it is the demo's own terminal, whatever that of the test is.
        let mut demo = Command::new("setsid");
        demo.args(["--ctty", env!("CARGO_BIN_EXE_holdline"), "demo", "--port"])
            .arg(free_port().to_string())
            .args(arguments)
            .current_dir(folder.path())
            .env("TMPDIR", folder.path())
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .envs(variables.iter().copied())
            .stdin(end())
            .stdout(end())
            .stderr(end());
        let demo = Ending(demo.spawn().expect("setsid is there"));
        let screen = Arc::new(Mutex::new(vt100::Parser::new(ROWS, COLUMNS, 0)));
        let mut output = File::from(pair.master.try_clone().expect("a descriptor"));
        let shown = screen.clone();
        std::thread::spawn(move || {
            let mut room = [0; 8_192];
            while let Ok(length @ 1..) = output.read(&mut room) {
                shown.lock().expect("alive").process(&room[..length]);
            }
        });
        let frames = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        let _ = fs::remove_dir_all(&frames);
        fs::create_dir_all(&frames).expect("a folder");
        Terminal {
            demo,
            keys: File::from(pair.master),
            screen,
            slave: pair.slave,
            folder,
            frames,
            kept: 0,
        }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("typed");
    }

    /// The lines that are on the screen now.
    fn lines(&self) -> Vec<String> {
        let screen = self.screen.lock().expect("alive");
        screen.screen().rows(0, COLUMNS).collect()
    }

    /// Waits for a frame, keeps and gives it.
    fn shows(&mut self, what: &str, look: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let lines = self.lines();
            let is_it = look(&lines);
            let is_late = Instant::now() > deadline;
            if is_it || is_late {
                self.kept += 1;
                let file = format!("{:02}-{}.txt", self.kept, what.replace(' ', "-"));
                fs::write(self.frames.join(file), lines.join("\n") + "\n").expect("written");
            }
            if is_it {
                return lines;
            }
            assert!(!is_late, "waited in vain: {what}\n{}", lines.join("\n"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives it another size.
    fn resize(&self, columns: u16, rows: u16) {
        let terminal = self.slave.try_clone().expect("a descriptor");
        let sized = Command::new("stty")
            .args(["rows", &rows.to_string(), "cols", &columns.to_string()])
            .stdin(Stdio::from(terminal))
            .status();
        assert!(sized.expect("stty is there").success());
        let mut screen = self.screen.lock().expect("alive");
        screen.screen_mut().set_size(rows, columns);
    }

    /// The demo has ended: the terminal is as it was, and nothing is left.
    fn gives_back(mut self) {
        let begun = Instant::now();
        while self.demo.0.try_wait().expect("a child").is_none() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
        let modes = tcgetattr(&self.slave).expect("a terminal").local_flags;
        assert!(modes.contains(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG));
        let is_plain = || {
            let screen = self.screen.lock().expect("alive");
            !screen.screen().alternate_screen() && !screen.screen().hide_cursor()
        };
        while !is_plain() {
            assert!(begun.elapsed() < PATIENCE, "{:?}", self.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = fs::read_dir(self.folder.path()).expect("readable").count();
        assert_eq!(left, 0, "nothing is left");
    }

    /// Ends it by `q`; gives what is on the terminal then.
    fn quits(mut self) -> Vec<String> {
        self.press("q");
        let status = self.demo.0.wait().expect("a child");
        let deadline = Instant::now() + Duration::from_secs(5);
        while !self.lines().iter().any(|line| line.contains("calls begun")) {
            assert!(Instant::now() < deadline, "{:?}", self.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(status.success(), "{:?}", self.lines());
        self.lines()
    }
}

/// The words of the line about the edge's service: name, owner, epoch, records, time of a commit, and who is in sync.
fn service(lines: &[String]) -> Option<Vec<String>> {
    let at = lines.iter().position(|line| line.contains("SERVICE"))?;
    let words = lines.get(at + 1)?.split_whitespace();
    Some(words.map(str::to_owned).collect())
}

fn owner(lines: &[String]) -> Option<String> {
    service(lines)?
        .get(1)
        .filter(|owner| *owner != "nobody")
        .cloned()
}

fn is_in_sync(lines: &[String]) -> bool {
    service(lines).is_some_and(|words| words.ends_with(&["edge1".to_owned(), "edge2".to_owned()]))
}

/// Packets a second of a node.
fn packets_per_s(lines: &[String], node: &str) -> u64 {
    let named = |line: &&String| line.trim_start_matches(['>', ' ']).starts_with(node);
    let words = lines.iter().find(named).into_iter();
    let mut words = words.flat_map(|line| line.split_whitespace());
    let rate = words.find_map(|word| word.strip_suffix("/s"));
    rate.and_then(|rate| rate.parse().ok()).unwrap_or(0)
}

/// The number that follows these words.
fn number_after(lines: &[String], words: &str) -> Option<u64> {
    let rest = lines.iter().find_map(|line| line.split_once(words))?.1;
    rest.split_whitespace().next()?.parse().ok()
}

fn has(lines: &[String], text: &str) -> bool {
    lines.iter().any(|line| line.contains(text))
}

#[test]
fn the_edge_in_office_is_killed_by_a_key_and_no_call_is_lost() {
    let mut terminal = Terminal::start("demo-killed", &["--calls", "12", "--lease", "1s"]);
    terminal.shows("it starts", |lines| has(lines, "edge1"));
    let up = terminal.shows("calls are up", |lines| {
        has(lines, "12 active") && is_in_sync(lines) && owner(lines).is_some()
    });
    let before = owner(&up).expect("an owner");
    // A digit selects.
    terminal.press(if before == "edge1" { "1" } else { "2" });
    terminal.shows("it is selected", |lines| {
        lines
            .iter()
            .any(|line| line.starts_with(&format!("> {before}")))
    });
    terminal.press("k");
    let felt = format!("{before} killed");
    let taken = terminal.shows("the other one owns it", |lines| {
        owner(lines).is_some_and(|owner| owner != before)
            && has(lines, &felt)
            && has(lines, "service back after")
            && has(lines, " of 12")
    });
    assert!(has(&taken, "calls lost 0 of 12"), "{}", taken.join("\n"));
    // Not only are there calls: they are heard, by way of the one that has taken over. Each is a hundred packets a second.
    let heard = terminal.shows("sound goes on", |lines| {
        owner(lines).is_some_and(|owner| owner != before && packets_per_s(lines, &owner) > 800)
            && lines
                .iter()
                .any(|line| line.contains("SOUND") && line.contains("gap p50"))
    });
    let gap_ms = number_after(&heard, "longest gap ").expect("it is told");
    assert!(gap_ms < 5_000, "{}", heard.join("\n"));
    terminal.shows("it is a standby", |lines| {
        is_in_sync(lines) && has(lines, "12 active") && has(lines, "standby of edge")
    });
    // A call that began before it was killed ends as it should.
    let after = terminal.shows("calls end well", |lines| {
        let calls = lines.iter().find(|line| line.contains(" done, "));
        calls.is_some_and(|calls| !calls.contains(" 0 done"))
    });
    assert!(has(&after, "no call lost"), "{}", after.join("\n"));
    let last = terminal.quits();
    assert!(has(&last, ", 0 lost"), "{}", last.join("\n"));
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    for ending in ["\u{3}", "TERM", "HUP", "INT"] {
        let mut terminal = Terminal::start("demo-given-back", &["--calls", "1"]);
        terminal.shows("it starts", |lines| has(lines, "edge1"));
        match ending {
            "\u{3}" => terminal.press(ending),
            // setsid has become the demo.
            name => support::nodes::signal_to(terminal.demo.0.id(), name),
        }
        terminal.gives_back();
    }
}

#[test]
fn terminals_that_are_small_or_plain_or_change_are_served() {
    let plain = [("NO_COLOR", "1"), ("LC_ALL", "C")];
    let mut terminal = Terminal::with("demo-plain", &["--calls", "1"], &plain);
    let lines = terminal.shows("it starts", |lines| has(lines, "edge1"));
    assert!(lines.iter().all(|line| line.is_ascii()), "{lines:?}");
    {
        let screen = terminal.screen.lock().expect("alive");
        for (row, column) in (0..ROWS).flat_map(|row| (0..COLUMNS).map(move |at| (row, at))) {
            let cell = screen.screen().cell(row, column).expect("on the screen");
            assert_eq!(cell.fgcolor(), vt100::Color::Default, "{row}, {column}");
        }
    }
    for (columns, rows) in [(30, 8), (1, 1), (132, 43)] {
        terminal.resize(columns, rows);
        terminal.press("2");
        // A frame of this size: the last line has the keys, as far as there is room for them.
        let keys = " ^v select  k kill"[..usize::from(columns.min(18))].trim_end();
        terminal.shows(&format!("{columns} by {rows}"), |lines| {
            let last = lines.get(usize::from(rows) - 1);
            last.is_some_and(|line| line.starts_with(keys))
        });
    }
    let is_selected = |line: &String| line.starts_with("> edge2");
    terminal.shows("it is whole again", |lines| lines.iter().any(is_selected));
    terminal.press("\u{3}");
    terminal.gives_back();
}

/// The processes of a demo's node: who watches, and who is watched.
fn nodes_of(demo: u32, name: &str) -> Option<u32> {
    let children = |of: u32| -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{of}/task"))
            .into_iter()
            .flatten();
        let read = |task: std::io::Result<fs::DirEntry>| {
            fs::read_to_string(task.ok()?.path().join("children")).ok()
        };
        let lists: Vec<String> = tasks.filter_map(read).collect();
        let words = lists.iter().flat_map(|list| list.split_whitespace());
        words.filter_map(|word| word.parse().ok()).collect()
    };
    let is_it = |watcher: &u32| {
        let command = fs::read(format!("/proc/{watcher}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&format!("/{name}/"))
    };
    let watcher = children(demo).into_iter().find(is_it)?;
    children(watcher).first().copied()
}

#[test]
fn a_demo_that_lost_calls_says_so_and_ends_with_1() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port().to_string();
    let arguments = [
        "demo", "--json", "--calls", "6", "--pace", "1s", "--lease", "1s", "--port", &port,
    ];
    let mut demo = holdline(folder.path(), &arguments);
    let demo = demo.env("TMPDIR", folder.path()).stdout(Stdio::piped());
    let mut demo = Ending(demo.spawn().expect("built"));
    let id = demo.0.id();
    let mut lines = BufReader::new(demo.0.stdout.take().expect("piped")).lines();
    let mut next = || -> Option<Value> {
        let line = lines.next()?.expect("open");
        Some(serde_json::from_str(&line).expect("JSON"))
    };
    let is_first_kill = |event: &Value| {
        let text = event["text"].as_str().unwrap_or_default();
        event["event"] == "step" && text.contains("it comes back")
    };
    while !is_first_kill(&next().expect("the story goes on")) {}
    // Nobody is left who knows the calls.
    for name in ["edge1", "edge2"] {
        let node = nodes_of(id, name).expect("it runs");
        support::nodes::signal_to(node, "KILL");
    }
    let mut summary = Value::Null;
    while let Some(event) = next() {
        summary = event;
    }
    let status = demo.0.wait().expect("a child");
    assert_eq!(status.code(), Some(1), "{summary}");
    assert_eq!(summary["event"], "summary");
    assert!(summary["lost"].as_u64() > Some(0), "{summary}");
}

#[test]
fn without_a_terminal_it_plays_its_story_and_no_call_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port().to_string();
    let arguments = [
        "demo", "--json", "--calls", "9", "--pace", "1s", "--lease", "1s", "--port", &port,
    ];
    let mut demo = holdline(folder.path(), &arguments);
    let demo = demo.env("TMPDIR", folder.path()).stdout(Stdio::piped());
    let mut demo = Ending(demo.spawn().expect("built"));
    let lines = BufReader::new(demo.0.stdout.take().expect("piped")).lines();
    let events: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line.expect("open")).expect("JSON"))
        .collect();
    let status = demo.0.wait().expect("a child");
    let told = serde_json::to_string_pretty(&events).expect("JSON");
    assert!(status.success(), "{told}");
    let of = |kind: &str| -> Vec<&Value> {
        events
            .iter()
            .filter(|event| event["event"] == kind)
            .collect()
    };
    assert_eq!(of("ready")[0]["users"][1]["aor"], "bob@127.0.0.1");
    let summary = of("summary")[0];
    assert_eq!(
        (&summary["lost"], &summary["failed"]),
        (&0.into(), &Value::Null),
        "{told}"
    );
    let felt = summary["felt"].as_array().expect("a list");
    let whats: Vec<&str> = felt
        .iter()
        .filter_map(|felt| felt["what"].as_str())
        .collect();
    for what in ["killed", "power", "frozen", "drained"] {
        assert!(
            whats.iter().any(|felt| felt.contains(what)),
            "{what}: {told}"
        );
    }
    assert!(felt.iter().all(|felt| felt["back"] == true), "{told}");
    let left = fs::read_dir(folder.path()).expect("readable").count();
    assert_eq!(left, 0, "nothing is left");
}

#[test]
fn a_demo_that_cannot_start_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    let arguments = ["demo", "--address", "192.0.2.1"];
    let output = support::ask(folder.path(), &arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(support::text(&output.stderr).contains("192.0.2.1"));
}
