//! Fence agents as programs: scripts, and the dummy of Debian's `fence-agents` where it is installed.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may fail")]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use coordinator::Error;
use coordinator::fence::{Action, Agent, OUTPUT_BYTES_MAX};

const LIMIT: Duration = Duration::from_secs(20);

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("fence_test");
    let mut file = std::fs::File::create(&path).unwrap();
    file.write_all(b"#!/bin/sh\n").unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(0o755))
        .unwrap();
    path
}

fn options(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

#[tokio::test]
async fn an_agent_hears_its_options_line_by_line_and_is_believed_when_it_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let heard = folder.path().join("heard");
    let text = format!("cat > {}\necho done\necho note >&2", heard.display());
    let program = script(folder.path(), &text);
    let agent = Agent::new(
        program,
        options(&[("plug", "3"), ("password", "a b=c")]),
        LIMIT,
    );
    let agent = agent.unwrap();
    assert_eq!(agent.run(Action::Off).await.unwrap(), "done\nnote");
    let heard = std::fs::read_to_string(heard).unwrap();
    assert_eq!(heard, "action=off\nplug=3\npassword=a b=c\n");
    assert!(!format!("{agent:?}").contains("a b=c"));
}

#[tokio::test]
async fn an_agent_that_fails_is_not_believed_and_its_words_are_kept_in_part() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(
        folder.path(),
        "head -c 200000 /dev/zero | tr '\\0' x\nexit 3",
    );
    let agent = Agent::new(program, Vec::new(), LIMIT).unwrap();
    match agent.run(Action::Off).await {
        Err(Error::FenceFailed { status, output, .. }) => {
            assert_eq!((status, output.len()), (Some(3), OUTPUT_BYTES_MAX));
        }
        other => panic!("{other:?}"),
    }
    let nobody = Agent::new("/nonexistent/fence", Vec::new(), LIMIT).unwrap();
    let failed = nobody.run(Action::Off).await;
    assert!(matches!(failed, Err(Error::FenceStart { .. })));
}

#[tokio::test]
async fn an_agent_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let text = format!("sleep 600 &\necho $! > {}\nwait", pid.display());
    let limit = Duration::from_millis(700);
    let agent = Agent::new(script(folder.path(), &text), Vec::new(), limit).unwrap();
    let begun = Instant::now();
    let failed = agent.run(Action::Off).await;
    assert!(
        matches!(failed, Err(Error::FenceTimedOut { .. })),
        "{failed:?}"
    );
    assert!(begun.elapsed() < Duration::from_secs(5));
    let pid = std::fs::read_to_string(pid).unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    while state().is_ok_and(|state| !state.contains(") Z ")) {
        assert!(begun.elapsed() < Duration::from_secs(10), "it lives");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn an_agent_that_leaves_something_running_with_its_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let program = script(folder.path(), "sleep 3 &\necho done");
    let agent = Agent::new(program, Vec::new(), LIMIT).unwrap();
    let begun = Instant::now();
    assert_eq!(agent.run(Action::Reboot).await.unwrap(), "done");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn an_option_that_would_be_two_lines_is_refused() {
    for (name, value) in [
        ("a", "b\naction=on"),
        ("action", "on"),
        ("", "x"),
        ("a=b", "x"),
    ] {
        let agent = Agent::new("/bin/true", options(&[(name, value)]), LIMIT);
        assert!(matches!(agent, Err(Error::FenceOption { .. })), "{name}");
    }
}

/// `HOLDLINE_FENCE_DUMMY` names it where it is elsewhere.
#[tokio::test]
async fn the_dummy_of_debian_switches_its_file_off() {
    let place = std::env::var_os("HOLDLINE_FENCE_DUMMY");
    let program = place.map_or_else(|| PathBuf::from("/usr/sbin/fence_dummy"), PathBuf::from);
    if !program.exists() {
        let note = b"NOT TESTED: fence_dummy (Debian package fence-agents) is not installed\n";
        std::io::stderr().write_all(note).unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let status = folder.path().join("status");
    std::fs::write(&status, "on").unwrap();
    let shown = status.display().to_string();
    let options = options(&[
        ("type", "file"),
        ("status_file", &shown),
        ("power_wait", "0"),
    ]);
    let agent = Agent::new(program, options, LIMIT).unwrap();
    agent.run(Action::Monitor).await.unwrap();
    agent.run(Action::Off).await.unwrap();
    assert_eq!(std::fs::read_to_string(status).unwrap().trim(), "off");
}
