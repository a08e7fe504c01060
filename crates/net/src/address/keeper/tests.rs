use super::super::Step;
use super::*;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// A kernel that answers what and when the test says.
struct Fake {
    asked: Sender<Boottime>,
    answers: Receiver<bool>,
}

impl Guard for Fake {
    fn extend(&mut self, until: Boottime) -> Result<(), AddressError> {
        let _ = self.asked.send(until);
        match self.answers.recv() {
            Ok(true) => Ok(()),
            _ => Err(AddressError::kernel(
                Step::ExtendLease,
                "192.0.2.1",
                io::Error::from_raw_os_error(libc::EPERM),
            )),
        }
    }

    fn survey(&mut self) -> Result<(), AddressError> {
        Ok(())
    }

    fn strength(&self) -> Strength {
        Strength::Relative
    }
}

fn keeper() -> (Keeper, Receiver<Boottime>, Sender<bool>) {
    let ((asked, hears), (answer, answers)) = (channel(), channel());
    let fake = Fake { asked, answers };
    let keeper = Keeper::begin(fake, Deadline::none(), "lease-test").expect("a thread");
    (keeper, hears, answer)
}

fn at(seconds: u64) -> Boottime {
    Boottime::START.after(Duration::from_secs(seconds))
}

fn settles(keeper: &Keeper) {
    let begun = Instant::now();
    while !keeper.is_settled() {
        assert!(begun.elapsed() < Duration::from_secs(10));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_kernel_that_does_not_answer_holds_up_nobody_and_is_a_fault() {
    let (keeper, hears, answer) = keeper();
    let begun = Instant::now();
    for second in 1..=100 {
        keeper.extend(at(second));
    }
    assert!(begun.elapsed() < Duration::from_secs(5));
    let first = hears.recv().expect("asked");
    assert!(!keeper.is_settled());
    let now = Boottime::now();
    assert_eq!(keeper.fault(now), None);
    let fault = keeper.fault(now.after(ANSWER_MAX * 2)).expect("it is late");
    assert!(fault.contains("does not answer"), "{fault}");
    answer.send(true).expect("it waits");
    // Of what was wanted meanwhile only the last is asked for.
    if first < at(100) {
        assert_eq!(hears.recv().expect("asked"), at(100));
        answer.send(true).expect("it waits");
    }
    settles(&keeper);
    assert!(hears.try_recv().is_err());
    assert_eq!(keeper.fault(now.after(ANSWER_MAX * 2)), None);
}

#[test]
fn a_kernel_that_goes_on_refusing_is_a_fault_until_it_takes_it() {
    let (keeper, hears, answer) = keeper();
    let renew = |accepts| {
        keeper.extend(at(1));
        hears.recv().expect("asked");
        answer.send(accepts).expect("it waits");
        settles(&keeper);
    };
    for _ in 1..FAILURES_MAX {
        renew(false);
        assert_eq!(keeper.fault(Boottime::now()), None);
    }
    renew(false);
    let fault = keeper.fault(Boottime::now()).expect("so often");
    assert!(fault.contains("CAP_NET_ADMIN"), "{fault}");
    renew(true);
    assert_eq!(keeper.fault(Boottime::now()), None);
}
