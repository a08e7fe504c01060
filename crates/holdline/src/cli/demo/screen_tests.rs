use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};

use nix::pty::openpty;
use nix::sys::termios::{LocalFlags, tcgetattr};

use super::*;

/// Set where a test is to be the process that panics.
const PANICS: &str = "HOLDLINE_TEST_PANICS";

#[test]
fn the_locale_says_whether_there_is_more_than_ascii() {
    let of = |all: &str, kind: &str, lang: &str| {
        let values = [("LC_ALL", all), ("LC_CTYPE", kind), ("LANG", lang)];
        let values = values.map(|(name, value)| (name, value.to_owned()));
        is_utf8(|name| {
            let mut values = values.iter();
            values
                .find(|(known, _)| *known == name)
                .map(|(_, value)| value.clone())
        })
    };
    assert!(of("", "", ""));
    assert!(of("", "", "en_GB.UTF-8") && of("C.utf8", "", "C"));
    assert!(!of("C", "", "en_GB.UTF-8") && !of("", "", "de_DE.ISO-8859-1"));
    assert_eq!(ascii("─↑↓ 12 µs é"), "-^v 12 us ?");
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_is_told() {
    if std::env::var_os(PANICS).is_some() {
        let _screen = Screen::open().expect("a terminal");
        panic!("on purpose");
    }
    let pair = openpty(None, None).expect("a terminal");
    let end = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
    let mut child = Command::new("setsid")
        .arg("--ctty")
        .arg(std::env::current_exe().expect("this program"))
        .args(["--exact", "--nocapture"])
        .arg("cli::demo::screen::tests::a_panic_gives_the_terminal_back_before_it_is_told")
        .env(PANICS, "1")
        .stdin(end())
        .stdout(end())
        .stderr(end())
        .spawn()
        .expect("setsid is there");
    let mut output = File::from(pair.master.try_clone().expect("a descriptor"));
    let reader = std::thread::spawn(move || {
        let (mut told, mut room) = (Vec::new(), [0; 4_096]);
        // Until the end that the program had is closed, or it has told of its panic.
        while let Ok(length @ 1..) = output.read(&mut room) {
            told.extend_from_slice(&room[..length]);
            if String::from_utf8_lossy(&told).contains("test result") {
                break;
            }
        }
        String::from_utf8_lossy(&told).into_owned()
    });
    assert!(!child.wait().expect("a child").success());
    let told = reader.join().expect("it reads");
    let left = told.find("\u{1b}[?1049l").expect("it is left");
    let said = told.find("on purpose").expect("it is said");
    assert!(left < said, "{told:?}");
    let modes = tcgetattr(&pair.slave).expect("a terminal").local_flags;
    assert!(modes.contains(LocalFlags::ICANON | LocalFlags::ECHO));
}
