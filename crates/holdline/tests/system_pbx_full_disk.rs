//! A disk that is full for a while: what cannot be kept is told, everything else goes on, and nothing that was kept is lost.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::prompts::sound_of;
use support::talker::{CallId, hear_each_other};
use support::{Office, PATIENCE, Says, Talker, sound, wait_until};

const PLAN: &str = r##"
[[pbx.route]]
pattern = "600"
steps = ["echo"]

[[pbx.route]]
pattern = "610"
steps = ["voicemail 101"]

[[pbx.route]]
pattern = "620"
steps = ["record", "echo"]
"##;

/// What is spoken: a prompt that nobody plays in these calls.
const SPEECH: &str = "transfer/number";
/// The disk that the node's folder is on.
const DISK: &str = "size=24m";

/// A disk of a few megabytes, which ends with this thread; `None` where the machine gives none.
fn small_disk(place: &Path) -> Option<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).ok()?;
    let mount = |arguments: &[&str]| {
        let done = Command::new("mount").args(arguments).arg(place).status();
        done.is_ok_and(|status| status.success()).then_some(())
    };
    let apart = Command::new("mount")
        .args(["--make-rprivate", "/"])
        .status();
    apart.is_ok_and(|status| status.success()).then_some(())?;
    mount(&["-t", "tmpfs", "-o", DISK, "none"])
}

/// Leaves no byte free; gives the file that takes them all.
fn fill(place: &Path) -> std::path::PathBuf {
    let filler = place.join("filler");
    let mut file = fs::File::create(&filler).expect("made");
    for size in [65_536, 4_096, 512, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    filler
}

/// Passes over the greeting, and waits for the tone.
fn may_speak(phone: &Talker, call: CallId) {
    phone.hears(call, "the greeting", |heard| {
        (heard.len() > 4_000).then_some(())
    });
    phone.presses(call, "#");
    phone.hears(call, "the beep", |heard| {
        (sound::frames_with(heard, 1_000.0) >= 1).then_some(())
    });
}

fn speaks(phone: &Talker, call: CallId) {
    may_speak(phone, call);
    phone.says(call, Says::Sound(sound_of(SPEECH)));
    std::thread::sleep(Duration::from_millis(3_500));
}

fn echoes(phone: &Talker) {
    let call = phone.reaches("600");
    phone.says(call, Says::Tone(700.0));
    phone.hears_tone(call, 700.0);
    phone.hangs_up(call);
}

/// What the node tells from now on.
fn events(office: &Office) -> impl Iterator<Item = String> + use<> {
    let mut stream = TcpStream::connect(("127.0.0.1", office.node.admin)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    stream
        .write_all(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .expect("open");
    BufReader::new(stream)
        .lines()
        .map(|line| line.expect("in time"))
}

/// The names of all records in the store.
fn in_the_store(office: &Office) -> Vec<String> {
    let database = office.node.path().join("data/holdline.db");
    let url = format!("sqlite://{}", database.display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let store = store::Store::open(&url, store::StoreOptions::default()).await;
        let mut names = Vec::new();
        let mut note = |row: store::CdrRow| {
            names.push(row.id);
            ControlFlow::Continue(())
        };
        let store = store.expect("it opens");
        store.cdrs(i64::MAX, &mut note).await.expect("readable");
        names.sort();
        names
    })
}

#[test]
fn a_full_disk_loses_nothing_that_was_kept_and_stops_nobody_who_talks() {
    let folder = tempfile::tempdir().expect("a folder");
    if small_disk(folder.path()).is_none() {
        eprintln!("no right to mount a small disk: nothing was tested");
        return;
    }
    tempfile::env::override_temp_dir(folder.path()).expect("the first to say so");
    let office = Office::start("", PLAN);
    let [ann, ben, cat] = ["ann", "ben", "cat"].map(|user| Talker::of(&office.node, user));
    // One message that was taken before.
    let kept = ben.reaches("610");
    speaks(&ben, kept);
    ben.hangs_up(kept);
    office.node.wait_for(|_| {
        let stored = office.stored("voicemail/101");
        stored
            .iter()
            .any(|path| path.extension().is_some_and(|it| it == "json"))
    });
    let call = ann.dials("103");
    cat.answers(0);
    hear_each_other((&ann, call), (&cat, 0));
    let lost = ben.reaches("610");
    may_speak(&ben, lost);
    let mut told = events(&office);
    let filler = fill(folder.path());
    ben.says(lost, Says::Sound(sound_of(SPEECH)));
    std::thread::sleep(Duration::from_millis(2_500));
    ben.presses(lost, "#");
    ben.hears_prompt(lost, "voicemail/failed");
    ben.is_over(lost);
    let event = told.find(|line| line.contains("recording_not_saved"));
    assert!(event.is_some_and(|line| line.contains("voicemail/101/")));
    // A recording on demand is lost, and its call is not.
    let recorded = ben.reaches("620");
    ben.says(recorded, Says::Tone(700.0));
    ben.hears_tone(recorded, 700.0);
    std::thread::sleep(Duration::from_millis(2_500));
    ben.hangs_up(recorded);
    let event = told.find(|line| line.contains("recording_not_saved"));
    assert!(event.is_some_and(|line| line.contains("recordings/")));
    assert_eq!(
        office.node.metric("holdline_pbx_recordings_lost_total"),
        2.0
    );
    echoes(&ben);
    hear_each_other((&ann, call), (&cat, 0));
    ann.hangs_up(call);
    office.is_idle();

    fs::remove_file(filler).expect("it was there");
    // Five calls, each once, in whole lines and in the store.
    let records = office.is_over(5);
    let mut names: Vec<_> = records
        .iter()
        .filter_map(|record| record["id"].as_str().map(str::to_owned))
        .collect();
    names.sort();
    wait_until("the store to have them", || {
        (in_the_store(&office) == names).then_some(())
    });
    echoes(&ben);
    let call = ann.reaches("*97");
    ann.hears_prompt(call, "pin/enter");
    ann.presses(call, "4711#");
    ann.hears_prompt(call, SPEECH);
    ann.hangs_up(call);
    drop((ann, ben, cat));
    drop(office);
    let unmounted = Command::new("umount").arg(folder.path()).status();
    assert!(unmounted.is_ok_and(|status| status.success()));
}
