use super::*;
use std::thread;
use std::time::Instant;

fn mover(script: &str, timeout: Duration) -> ExecMover {
    ExecMover::new(
        PathBuf::from("/bin/sh"),
        vec!["-c".into(), script.into(), "sh".into()],
        "10.0.0.100".parse().expect("an address"),
        "eth0",
        timeout,
    )
}

/// Until it has ended.
fn waits(mover: &mut ExecMover) -> Result<(), AddressError> {
    let began = Instant::now();
    while mover.poll(Boottime::now())? == Progress::UnderWay {
        assert!(began.elapsed() < Duration::from_secs(20), "it never ends");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

#[test]
fn the_program_gets_the_action_the_address_and_the_interface() {
    let script = "echo $@; test \"$*\" = 'add 10.0.0.100 eth0'";
    let mut mover = mover(script, Duration::from_secs(10));
    assert_eq!(
        mover.begin(true, Boottime::now()).expect("it starts"),
        Progress::UnderWay
    );
    waits(&mut mover).expect("it succeeds");
    mover.begin(false, Boottime::now()).expect("it starts");
    let error = waits(&mut mover).expect_err("the wrong action").to_string();
    assert_eq!(
        error,
        "/bin/sh remove ended with status 1; it said: remove 10.0.0.100 eth0"
    );
}

#[test]
fn a_program_that_takes_too_long_is_killed_with_what_it_started() {
    let mut mover = mover("echo slowly; sleep 60 & wait", Duration::from_millis(150));
    mover.begin(true, Boottime::now()).expect("it starts");
    let began = Instant::now();
    let error = waits(&mut mover).expect_err("it is killed");
    assert!(began.elapsed() < Duration::from_secs(15));
    assert!(
        matches!(
            &error,
            AddressError::Program {
                exit: Exit::TimedOut,
                ..
            }
        ),
        "{error}"
    );
    assert!(mover.running.is_none());
}

#[test]
fn of_what_is_asked_meanwhile_only_the_last_counts() {
    let mut mover = mover("sleep 0.1; test $1 = add", Duration::from_secs(10));
    mover.begin(true, Boottime::now()).expect("it starts");
    assert_eq!(
        mover.begin(false, Boottime::now()).expect("later"),
        Progress::UnderWay
    );
    assert_eq!(
        mover.begin(true, Boottime::now()).expect("later"),
        Progress::UnderWay
    );
    waits(&mut mover).expect("nothing was removed");
    assert_eq!(mover.next, None);
}

#[test]
fn output_is_read_to_its_end_and_kept_in_part() {
    let mut mover = mover(
        "head -c 300000 /dev/zero | tr '\\0' x; exit 3",
        Duration::from_secs(10),
    );
    mover.begin(true, Boottime::now()).expect("it starts");
    match waits(&mut mover).expect_err("status 3") {
        AddressError::Program {
            exit: Exit::Status(Some(3)),
            output,
            ..
        } => {
            assert_eq!(output.len(), OUTPUT_BYTES_MAX);
        }
        error => panic!("{error}"),
    }
}

#[test]
fn a_program_that_is_not_there_is_told() {
    let mut mover = mover("", Duration::from_secs(1));
    mover.program = "/nonexistent/mover".into();
    let error = mover.begin(true, Boottime::now()).expect_err("not there");
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/mover add cannot be run: "),
        "{error}"
    );
}
