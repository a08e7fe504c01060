//! Runs of real threads and sockets on loopback: with themselves, and beside SIPp, whose counts have to be the same.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use load::{Answering, Calling, Event, Reason, Run, Settings, Sound, Tally, User};
use transaction::{Timers, Transport};

const CALLS: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// An address of loopback whose port is free.
fn free() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("bound")
}

fn settings(target: SocketAddr, source: SocketAddr, transport: Transport) -> Settings {
    let user = |number: usize| User {
        name: format!("user{number}").into(),
        password: "secret".into(),
    };
    Settings {
        target,
        transport,
        domain: target.to_string(),
        sources: vec![source],
        threads: 1,
        users: (0..4).map(user).collect(),
        registering: None,
        calling: None,
        answering: Answering::default(),
        has_media: false,
        streams_max: 0,
        sound: None,
        stays: false,
        span_ms: None,
        grace_ms: 20_000,
        timers: Timers::default(),
        is_told: false,
    }
}

fn calling() -> Calling {
    Calling {
        per_s: 50.0,
        active_max: 100,
        total: Some(CALLS),
        duration_ms: 1_000,
        duration_spread_ms: 0,
        to: None,
        answer_timeout_ms: 10_000,
        cancel_per_mille: 0,
        cancel_after_ms: 100,
        reinvite_per_mille: 0,
        reinvite_after_ms: 300,
    }
}

/// Calls from one run to itself: whoever calls his own address takes his own calls.
fn with_itself(transport: Transport, has_media: bool) -> Tally {
    let own = free();
    let run = Run::start(Settings {
        calling: Some(calling()),
        has_media,
        streams_max: if has_media { 300 } else { 0 },
        ..settings(own, own, transport)
    });
    run.expect("it starts")
        .wait(1_000, |_| true)
        .expect("it ends")
}

fn all_went_through(tally: &Tally) {
    let report = tally.to_json();
    assert_eq!(tally.calls.attempted, CALLS, "{report:#}");
    assert_eq!(tally.calls.completed, CALLS, "{report:#}");
    assert_eq!(tally.answers.acknowledged, CALLS, "{report:#}");
    assert_eq!(tally.answers.ended, CALLS, "{report:#}");
    assert_eq!(tally.failed(), 0, "{report:#}");
    assert_eq!(tally.messages.unexpected, 0, "{report:#}");
    assert_eq!(tally.messages.unreadable, 0, "{report:#}");
    assert_eq!((tally.calls.active, tally.answers.active), (0, 0));
}

#[test]
fn a_run_calls_itself_over_udp_with_sound_in_every_call() {
    let tally = with_itself(Transport::Udp, true);
    all_went_through(&tally);
    let (packets, report) = (tally.packets, tally.to_json());
    assert_eq!(packets.streams, 2 * CALLS, "{report:#}");
    assert_eq!(packets.silent, 0, "{report:#}");
    assert_eq!(
        packets.corrupt + packets.wrong_party + packets.foreign,
        0,
        "{report:#}"
    );
    // A second of each call, both ways.
    assert!(packets.received > CALLS * 2 * 30, "{report:#}");
    assert_eq!(tally.delay.count(), packets.received);
}

#[test]
fn a_run_calls_itself_over_tcp() {
    let tally = with_itself(Transport::Tcp, false);
    all_went_through(&tally);
}

/// A SIPp.
struct Sipp {
    process: Child,
    folder: tempfile::TempDir,
}

impl Sipp {
    /// One of a built-in scenario.
    fn start(scenario: &str, local: SocketAddr, more: &[&str]) -> Sipp {
        Sipp::begin(["-sn", scenario], local, more)
    }

    fn begin(scenario: [&str; 2], local: SocketAddr, more: &[&str]) -> Sipp {
        let folder = tempfile::tempdir().expect("a folder");
        let process = Command::new("sipp")
            .current_dir(folder.path())
            .args(scenario)
            .args(["-i", "127.0.0.1", "-p", &local.port().to_string()])
            .args(["-m", &CALLS.to_string(), "-r", "50", "-nostdin"])
            .args([
                "-timeout",
                "50s",
                "-trace_stat",
                "-stf",
                "stat.csv",
                "-fd",
                "1",
            ])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("SIPp is installed (scripts/install.sh test)");
        Sipp { process, folder }
    }

    /// Waits for the end, and gives the last count of a column.
    fn end(mut self) -> impl Fn(&str) -> u64 {
        let deadline = Instant::now() + PATIENCE;
        while self.process.try_wait().expect("a child").is_none() {
            if Instant::now() > deadline {
                let _ = self.process.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        counts(self.folder.path())
    }
}

fn counts(folder: &Path) -> impl Fn(&str) -> u64 + use<> {
    let text = fs::read_to_string(folder.join("stat.csv")).expect("statistics");
    move |name| {
        let mut lines = text.lines();
        let head = lines.next().expect("a head");
        let at = head
            .split(';')
            .position(|column| column == name)
            .expect(name);
        let last = lines.next_back().expect("a row");
        let value = last.split(';').nth(at).expect("a value");
        value.parse().expect("a number")
    }
}

#[test]
fn sipp_counts_the_calls_that_it_made_as_the_run_that_took_them() {
    let own = free();
    let run = Run::start(Settings {
        stays: true,
        span_ms: Some(50_000),
        ..settings(own, own, Transport::Udp)
    });
    let run = run.expect("it starts");
    let sipp = Sipp::start("uac", free(), &["-d", "300", &own.to_string()]);
    let sipp = std::thread::spawn(move || sipp.end());
    let tally = run.wait(100, |_| !sipp.is_finished()).expect("it ends");
    let count = sipp.join().expect("SIPp ends");
    let report = tally.to_json();
    assert_eq!(count("TotalCallCreated"), CALLS);
    assert_eq!(tally.answers.invited, CALLS, "{report:#}");
    assert_eq!(
        tally.answers.ended,
        count("SuccessfulCall(C)"),
        "{report:#}"
    );
    assert_eq!(tally.failed(), count("FailedCall(C)"), "{report:#}");
    // What SIPp sent again came again, if it was not lost.
    assert_eq!(
        tally.messages.retransmissions_received,
        count("Retransmissions(C)"),
        "{report:#}"
    );
}

#[test]
fn sipp_counts_the_calls_that_it_took_as_the_run_that_made_them() {
    let server = free();
    let sipp = Sipp::start("uas", server, &[]);
    std::thread::sleep(Duration::from_millis(500));
    let run = Run::start(Settings {
        calling: Some(calling()),
        ..settings(server, free(), Transport::Udp)
    });
    let tally = run
        .expect("it starts")
        .wait(1_000, |_| true)
        .expect("it ends");
    let count = sipp.end();
    let report = tally.to_json();
    assert_eq!(tally.calls.attempted, CALLS, "{report:#}");
    assert_eq!(count("TotalCallCreated"), CALLS, "{report:#}");
    assert_eq!(
        tally.calls.completed,
        count("SuccessfulCall(C)"),
        "{report:#}"
    );
    assert_eq!(tally.failed(), count("FailedCall(C)"), "{report:#}");
}

#[test]
fn sipp_counts_the_calls_that_failed_as_the_run_that_refused_and_ignored_them() {
    let own = free();
    let run = Run::start(Settings {
        stays: true,
        span_ms: Some(50_000),
        answering: Answering {
            status: 503,
            refuse_per_mille: 300,
            ignore_per_mille: 200,
            ..Answering::default()
        },
        ..settings(own, own, Transport::Udp)
    });
    let run = run.expect("it starts");
    let more = ["-d", "300", "-max_invite_retrans", "2", &own.to_string()];
    let sipp = Sipp::start("uac", free(), &more);
    let sipp = std::thread::spawn(move || sipp.end());
    let tally = run.wait(100, |_| !sipp.is_finished()).expect("it ends");
    let count = sipp.join().expect("SIPp ends");
    let (answers, report) = (&tally.answers, tally.to_json());
    assert_eq!(answers.invited, CALLS, "{report:#}");
    assert_eq!((answers.ignored, answers.refused), (20, 24), "{report:#}");
    assert_eq!(answers.ended, count("SuccessfulCall(C)"), "{report:#}");
    let failed = answers.refused + answers.ignored;
    assert_eq!(failed, count("FailedCall(C)"), "{report:#}");
    assert_eq!(answers.refused, count("FailedUnexpectedMessage(C)"));
    assert_eq!(answers.ignored, count("FailedMaxUDPRetrans(C)"));
    assert_eq!(
        tally.messages.retransmissions_received,
        count("Retransmissions(C)"),
        "{report:#}"
    );
    assert_eq!(tally.failed(), 0, "{report:#}");
}

#[test]
fn sipp_counts_the_calls_that_it_refused_and_ignored_as_the_run_whose_calls_failed() {
    let server = free();
    let scenario = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scenarios/server.xml");
    let scenario = scenario.to_str().expect("UTF-8");
    let sipp = Sipp::begin(["-sf", scenario], server, &[]);
    std::thread::sleep(Duration::from_millis(500));
    let run = Run::start(Settings {
        calling: Some(Calling {
            duration_ms: 300,
            ..calling()
        }),
        // 64*T1 is 3.2 s.
        timers: Timers::new(50, 400, 5_000).expect("timers"),
        ..settings(server, free(), Transport::Udp)
    });
    let run = run.expect("it starts");
    let tally = run.wait(1_000, |_| true).expect("it ends");
    let count = sipp.end();
    let (failures, report) = (&tally.call_failures, tally.to_json());
    assert_eq!(tally.calls.attempted, CALLS, "{report:#}");
    assert_eq!(count("TotalCallCreated"), CALLS, "{report:#}");
    let [answered, refused, ignored] = ["answered(C)", "refused(C)", "ignored(C)"].map(&count);
    assert_eq!(tally.calls.completed, answered, "{report:#}");
    assert_eq!(failures.of(Reason::Status(503)), refused, "{report:#}");
    assert_eq!(failures.of(Reason::InviteTimeout), ignored, "{report:#}");
    assert_eq!(tally.failed(), refused + ignored, "{report:#}");
    // By chance, but not by a small one.
    assert!(answered > 10 && refused > 10 && ignored > 10, "{report:#}");
}

#[test]
fn every_address_of_ours_makes_calls_over_ipv6_too() {
    let own = |port: SocketAddr| SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port.port()));
    let (one, other) = (own(free()), own(free()));
    let run = Run::start(Settings {
        sources: vec![one, other],
        calling: Some(Calling {
            reinvite_per_mille: 500,
            reinvite_after_ms: 300,
            ..calling()
        }),
        answering: Answering {
            hang_up_per_mille: 200,
            hang_up_after_ms: 600,
            ..Answering::default()
        },
        has_media: true,
        streams_max: 300,
        ..settings(one, one, Transport::Udp)
    });
    let tally = run
        .expect("it starts")
        .wait(1_000, |_| true)
        .expect("it ends");
    let (calls, answers, report) = (&tally.calls, &tally.answers, tally.to_json());
    assert_eq!(
        (calls.attempted, calls.completed),
        (CALLS, CALLS),
        "{report:#}"
    );
    assert_eq!((calls.reinvited, answers.reinvited), (50, 50), "{report:#}");
    assert_eq!(
        (calls.ended_by_peer, answers.hung_up),
        (20, 20),
        "{report:#}"
    );
    assert_eq!(tally.failed() + tally.unheard(), 0, "{report:#}");
    assert_eq!(tally.messages.unexpected, 0, "{report:#}");
}

#[test]
fn two_phones_hear_each_other_and_the_keys_that_are_pressed() {
    let (one, other) = (free(), free());
    let folder = tempfile::tempdir().expect("a folder");
    let heard = folder.path().join("heard.wav");
    let mut says = vec![0; 8_000];
    let rate = audio::SampleRate::Hz8000;
    audio::tone::Player::new(audio::tone::Tone::MILLIWATT, rate, -13.0).play(&mut says);
    let phone = |sound: Sound, target, source| Settings {
        has_media: true,
        streams_max: 1,
        sound: Some(sound),
        is_told: true,
        ..settings(target, source, Transport::Udp)
    };
    let keys = "19#".chars().filter_map(audio::dtmf::Digit::of_sign);
    let caller = Sound {
        says,
        keys: keys.collect(),
        record: None,
    };
    let callee = Sound {
        record: Some(heard.clone()),
        ..Sound::default()
    };
    let taking = Run::start(Settings {
        stays: true,
        ..phone(callee, one, other)
    });
    let taking = taking.expect("it starts");
    let making = Run::start(Settings {
        calling: Some(Calling {
            total: Some(1),
            duration_ms: 3_000,
            ..calling()
        }),
        ..phone(caller, other, one)
    });
    let making = making.expect("it starts");
    let made = making.wait(20, |_| true).expect("it ends");
    assert_eq!(made.calls.completed, 1);
    let later = taking.events_later();
    taking.wait(20, |_| false).expect("it ends");
    let told = later();
    let found = told.iter().find_map(|(_, event)| match event {
        Event::Heard {
            packets,
            keys,
            loudness,
            ..
        } => Some((*packets, keys.as_str(), *loudness)),
        _ => None,
    });
    let (packets, keys, loudness) = found.expect("something was heard");
    assert!(packets > 100, "{packets}");
    assert_eq!(keys, "19#");
    // A sine 13 dB below the loudest has a mean of about 5,000; keys leave gaps.
    assert!((3_000..6_000).contains(&loudness), "{loudness}");
    let file = fs::read(heard).expect("a recording");
    let wav = audio::wav::Wav::parse(&file).expect("a WAV file");
    assert!(wav.len() > 8_000, "{}", wav.len());
}
