//! The supervisor with real processes: shell scripts in the node's place, a SQLite coordinator.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test may fail")]

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cluster::{Epoch, Incarnation, NodeId, NodeSet, Record, Revision, Tenure, Version};
use coordinator::{CasOutcome, Coordinator, Options};
use holdline::supervisor::{Estate, SuperviseError, Supervision, Withdrawal, supervise};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::sleep;

const SOON: Duration = Duration::from_secs(5);
const LEASE: Duration = Duration::from_millis(600);
/// Node 1 in life 42 says who it is, and that it is ready.
const HELLO: &str = r"printf 'I\001\000\000\000\000\000\000\000\052' >&0; printf R >&0;";
const BEAT: &str = "while :; do printf B >&0; sleep 0.05; done";

/// A supervisor with what it looks after.
struct Scene {
    folder: TempDir,
    coordinator: Arc<Coordinator>,
    withdrawals: Arc<AtomicUsize>,
    refuse: bool,
}

impl Scene {
    async fn new() -> Scene {
        let folder = TempDir::new().unwrap();
        let options = Options::Sqlite {
            path: folder.path().join("coordinator.db"),
            cluster: "test".to_owned(),
        };
        Scene {
            coordinator: Arc::new(Coordinator::open(&options).await.unwrap()),
            folder,
            withdrawals: Arc::new(AtomicUsize::new(0)),
            refuse: false,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Supervises a script that notes its number in the file `lives` each time that it is started.
    fn start(&self, script: &str) -> JoinHandle<Result<u8, SuperviseError>> {
        let lives = self.file("lives").display().to_string();
        let script = format!("echo $$ >> {lives}; {script}");
        let (withdrawals, refuse) = (self.withdrawals.clone(), self.refuse);
        let (heir, slow) = (self.file("heir"), self.file("slow"));
        let withdraw = move |service: &str| -> Withdrawal {
            if service != "edge" {
                return Box::pin(async { Ok(()) });
            }
            withdrawals.fetch_add(1, Ordering::SeqCst);
            let done = match refuse {
                true => Err("refused".to_owned()),
                false => Ok(()),
            };
            let heir = std::fs::read_to_string(&heir).ok();
            let lives =
                heir.and_then(|pid| Some(is_there(Pid::from_raw(pid.trim().parse().ok()?))));
            assert_ne!(lives, Some(true), "it may undo the withdrawal");
            let pause = if slow.exists() {
                SOON * 10
            } else {
                Duration::ZERO
            };
            Box::pin(async move {
                sleep(pause).await;
                done
            })
        };
        let estate = Estate {
            coordinator: self.coordinator.clone(),
            services: vec!["edge".to_owned(), "pbx1".to_owned()],
            withdraw: Box::new(withdraw),
            starts_programs: true,
        };
        tokio::spawn(supervise(Supervision {
            program: PathBuf::from("/bin/sh"),
            arguments: vec![OsString::from("-c"), OsString::from(script)],
            lease: LEASE,
            estate,
        }))
    }

    /// Waits until `count` lives have begun, and returns the process of the last.
    async fn life(&self, count: usize) -> Pid {
        let begun = Instant::now();
        loop {
            let lives = std::fs::read_to_string(self.file("lives")).unwrap_or_default();
            if lives.ends_with('\n') && lives.lines().count() >= count {
                // A moment to say who it is, and to beat.
                sleep(Duration::from_millis(200)).await;
                return Pid::from_raw(lives.lines().last().unwrap().parse().unwrap());
            }
            assert!(begun.elapsed() < SOON * 2, "{count} lives: {lives}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Writes the record of a service as life `incarnation` of node 1 would.
    async fn own(&self, service: &str, incarnation: u64) {
        let node = NodeId::new(1).unwrap();
        let record = Record {
            owner: node,
            incarnation: Incarnation(incarnation),
            epoch: Epoch(1),
            tenure: Tenure::Held,
            members: NodeSet::of(node),
            in_sync: NodeSet::of(node),
            renewals: 0,
        };
        let none = Version {
            revision: Revision(0),
            record: None,
        };
        let cas = self.coordinator.cas(service, &none, &record, SOON).await;
        assert!(matches!(cas, Ok(CasOutcome::Written { .. })), "{cas:?}");
    }

    async fn is_released(&self, service: &str) -> bool {
        let version = self.coordinator.read(service, SOON).await.unwrap();
        version.record.unwrap().is_released()
    }

    /// Waits for the release and returns how long that took.
    async fn released(&self, service: &str) -> Duration {
        let begun = Instant::now();
        while !self.is_released(service).await {
            assert!(begun.elapsed() < SOON, "{service} is not released");
            sleep(Duration::from_millis(2)).await;
        }
        begun.elapsed()
    }
}

/// Whether it can do anything still: one that waits to be waited for cannot.
fn is_there(pid: Pid) -> bool {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd"));
    descriptors.is_ok_and(|mut all| all.next().is_some())
}

#[tokio::test]
async fn a_node_that_is_killed_is_released_at_once_and_started_again() {
    let scene = Scene::new().await;
    scene.own("edge", 42).await;
    scene.own("pbx1", 41).await;
    let supervisor = scene.start(&format!(
        "{HELLO} [ -e {} ] && exit 0; {BEAT}",
        scene.file("stop").display()
    ));
    let first = scene.life(1).await;
    assert!(!scene.is_released("edge").await);
    kill(first, Signal::SIGKILL).unwrap();
    let took = scene.released("edge").await;
    assert!(took < LEASE / 2, "no better than the lease: {took:?}");
    assert_eq!(scene.withdrawals.load(Ordering::SeqCst), 1);
    let second = scene.life(2).await;
    assert_ne!(first, second);
    // Another life's record is none of its business.
    assert!(!scene.is_released("pbx1").await);
    std::fs::write(scene.file("stop"), "").unwrap();
    kill(second, Signal::SIGKILL).unwrap();
    assert_eq!(supervisor.await.unwrap().unwrap(), 0);
    assert_eq!(scene.withdrawals.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn what_the_node_started_has_ended_before_its_address_is_withdrawn() {
    let scene = Scene::new().await;
    scene.own("edge", 42).await;
    let (heir, stop) = (scene.file("heir"), scene.file("stop"));
    // In a session of its own, as far from the node as a program gets by itself.
    let supervisor = scene.start(&format!(
        "{HELLO} [ -e {} ] && exit 0; setsid sh -c 'echo $$ > {}; sleep 30; true' & {BEAT}",
        stop.display(),
        heir.display()
    ));
    let first = scene.life(1).await;
    let begun = Instant::now();
    let number = loop {
        let text = std::fs::read_to_string(&heir).unwrap_or_default();
        if text.ends_with('\n') {
            break Pid::from_raw(text.trim().parse().unwrap());
        }
        assert!(begun.elapsed() < SOON);
        sleep(Duration::from_millis(10)).await;
    };
    assert!(is_there(number));
    std::fs::write(&stop, "").unwrap();
    kill(first, Signal::SIGKILL).unwrap();
    scene.released("edge").await;
    assert!(!is_there(number));
    assert_eq!(supervisor.await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn a_slow_withdrawal_holds_up_no_other_service() {
    let scene = Scene::new().await;
    scene.own("edge", 42).await;
    scene.own("pbx1", 42).await;
    std::fs::write(scene.file("slow"), "").unwrap();
    let supervisor = scene.start(&format!("{HELLO} {BEAT}"));
    let first = scene.life(1).await;
    kill(first, Signal::SIGKILL).unwrap();
    scene.released("pbx1").await;
    assert!(!scene.is_released("edge").await);
    supervisor.abort();
}

#[tokio::test]
async fn a_node_that_stands_still_is_killed_after_a_lease() {
    let scene = Scene::new().await;
    scene.own("edge", 42).await;
    let supervisor = scene.start(&format!(
        "{HELLO} [ -e {} ] && exit 0; {BEAT}",
        scene.file("stop").display()
    ));
    let first = scene.life(1).await;
    // Until here it beats.
    sleep(LEASE * 2).await;
    assert!(is_there(first));
    kill(first, Signal::SIGSTOP).unwrap();
    let took = scene.released("edge").await;
    assert!(took > LEASE / 2 && took < LEASE * 3, "{took:?}");
    assert!(
        !is_there(first),
        "it has ended before its record is released"
    );
    let second = scene.life(2).await;
    std::fs::write(scene.file("stop"), "").unwrap();
    kill(second, Signal::SIGKILL).unwrap();
    assert_eq!(supervisor.await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn where_an_address_stays_the_record_is_left_to_the_lease() {
    let scene = Scene {
        refuse: true,
        ..Scene::new().await
    };
    scene.own("edge", 42).await;
    scene.own("pbx1", 42).await;
    let supervisor = scene.start(&format!("{HELLO} exit 0"));
    assert_eq!(supervisor.await.unwrap().unwrap(), 0);
    assert_eq!(scene.withdrawals.load(Ordering::SeqCst), 1);
    assert!(!scene.is_released("edge").await);
    // Which is no reason to leave others to it.
    assert!(scene.is_released("pbx1").await);
}

#[tokio::test]
async fn a_node_that_fails_again_and_again_is_given_up() {
    let scene = Scene::new().await;
    let supervisor = scene.start("exit 3");
    assert_eq!(supervisor.await.unwrap().unwrap(), 1);
    let lives = std::fs::read_to_string(scene.file("lives")).unwrap();
    assert_eq!(lives.lines().count(), 5);
}

#[tokio::test]
async fn a_bad_configuration_is_not_tried_again_and_an_end_by_intention_is_the_end() {
    for (script, status) in [("exit 78", 78), ("printf S >&0; exit 1", 1)] {
        let scene = Scene::new().await;
        assert_eq!(scene.start(script).await.unwrap().unwrap(), status);
        let lives = std::fs::read_to_string(scene.file("lives")).unwrap();
        assert_eq!(lives.lines().count(), 1);
    }
}

/// A node without a cluster does not beat, and is not given up for that: but for this its life is that of any node.
#[tokio::test]
async fn the_program_itself_runs_under_supervision_and_drains_when_it_is_told() {
    if std::env::var_os("NEXTEST").is_none() {
        return;
    }
    let scene = Scene::new().await;
    let port = || {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.local_addr().unwrap().port()
    };
    let (sip, admin) = (port(), port());
    let config = scene.file("holdline.toml");
    let text = format!(
        "[node]\nname = \"test\"\ndata = {:?}\n[edge]\ndomains = [\"example.org\"]\nlisten = [\"udp:127.0.0.1:{sip}\"]\n\
         [admin]\nlisten = \"127.0.0.1:{admin}\"\n",
        scene.file("data")
    );
    std::fs::write(&config, text).unwrap();
    let estate = Estate {
        coordinator: scene.coordinator.clone(),
        services: vec!["edge".to_owned()],
        withdraw: Box::new(|_| Box::pin(async { Ok(()) })),
        starts_programs: false,
    };
    let supervisor = tokio::spawn(supervise(Supervision {
        program: PathBuf::from(env!("CARGO_BIN_EXE_holdline")),
        arguments: ["run", "--supervised", "--config"]
            .map(OsString::from)
            .into_iter()
            .chain([config.into_os_string()])
            .collect(),
        lease: LEASE,
        estate,
    }));
    let begun = Instant::now();
    while tokio::net::TcpStream::connect(("127.0.0.1", admin))
        .await
        .is_err()
    {
        assert!(begun.elapsed() < SOON * 4, "it does not start");
        sleep(Duration::from_millis(20)).await;
    }
    sleep(LEASE * 2).await;
    kill(Pid::this(), Signal::SIGTERM).unwrap();
    assert_eq!(supervisor.await.unwrap().unwrap(), 0);
}

/// It sends signals to its own process, so nothing may run beside it there: nextest gives each test one.
#[tokio::test]
async fn signals_are_passed_on_and_the_end_is_waited_for() {
    if std::env::var_os("NEXTEST").is_none() {
        return;
    }
    let scene = Scene::new().await;
    let hup = scene.file("hup").display().to_string();
    let script = format!(
        "trap 'echo >> {hup}' HUP; trap 'printf S >&0; sleep 0.3; exit 0' TERM; {HELLO} {BEAT}"
    );
    let supervisor = scene.start(&script);
    scene.life(1).await;
    let own = Pid::this();
    kill(own, Signal::SIGHUP).unwrap();
    let begun = Instant::now();
    while !scene.file("hup").exists() {
        assert!(begun.elapsed() < SOON);
        sleep(Duration::from_millis(10)).await;
    }
    let begun = Instant::now();
    kill(own, Signal::SIGINT).unwrap();
    assert_eq!(supervisor.await.unwrap().unwrap(), 0);
    assert!(begun.elapsed() > Duration::from_millis(300));
    assert_eq!(scene.withdrawals.load(Ordering::SeqCst), 1);
}
