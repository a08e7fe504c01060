//! The calls of a run: who calls whom, and when.

use std::net::{Ipv4Addr, SocketAddr};

use crate::phones::{Order, Phase, Phones, Seat, When};
use crate::world::{ECHO, USERS};
use crate::{Error, Host, World};

/// Users that are called at each of two lines; those of one run are not those of the next, whose calls late messages would disturb.
const CALLED: usize = 24;
/// Who calls from behind a translator of addresses.
const AT_HOME: &str = "carol";

/// The lines: callers in the office, phones there, phones behind a translator, of which one calls too.
const OFFICE: usize = 0;
const DESKS: usize = 1;
const HOME: usize = 2;

/// A call of a run.
struct Plot {
    test: u8,
    phase: Phase,
    from: usize,
    /// None is a PBX that lets who calls hear himself.
    to: Option<usize>,
    dial: When,
    answer: When,
}

const fn plot(
    test: u8,
    phase: Phase,
    from: usize,
    to: Option<usize>,
    dial: When,
    answer: When,
) -> Plot {
    Plot {
        test,
        phase,
        from,
        to,
        dial,
        answer,
    }
}

/// The calls of each run.
const PLOTS: [Plot; 12] = [
    plot(
        3,
        Phase::Established,
        OFFICE,
        Some(DESKS),
        When::Now,
        When::Now,
    ),
    plot(
        3,
        Phase::Established,
        HOME,
        Some(DESKS),
        When::Now,
        When::Now,
    ),
    plot(
        3,
        Phase::Established,
        OFFICE,
        Some(HOME),
        When::Now,
        When::Now,
    ),
    plot(3, Phase::Established, OFFICE, None, When::Now, When::Now),
    plot(3, Phase::Established, HOME, None, When::Now, When::Now),
    plot(
        2,
        Phase::Answering,
        OFFICE,
        Some(DESKS),
        When::Now,
        When::Fault(50),
    ),
    plot(
        2,
        Phase::Answering,
        HOME,
        Some(DESKS),
        When::Now,
        When::Fault(50),
    ),
    plot(
        2,
        Phase::Dialling,
        OFFICE,
        Some(DESKS),
        When::Fault(-20),
        When::Now,
    ),
    plot(
        2,
        Phase::Dialling,
        OFFICE,
        Some(HOME),
        When::Fault(-5),
        When::Now,
    ),
    plot(
        1,
        Phase::Dialling,
        OFFICE,
        Some(DESKS),
        When::Fault(15),
        When::Now,
    ),
    plot(
        1,
        Phase::Dialling,
        HOME,
        Some(DESKS),
        When::Fault(100),
        When::Now,
    ),
    plot(
        1,
        Phase::Dialling,
        OFFICE,
        Some(HOME),
        When::Fault(300),
        When::Now,
    ),
];

fn called(line: usize, number: usize) -> String {
    let first = if line == HOME { CALLED } else { 0 };
    format!("u{}", first + number % CALLED)
}

/// The users that these calls need.
pub(super) fn users() -> Vec<String> {
    let both = [DESKS, HOME].into_iter();
    let called = both.flat_map(|line| (0..CALLED).map(move |number| called(line, number)));
    called.chain([AT_HOME.to_owned()]).collect()
}

/// The host of a line, and its address there.
fn host(world: &World, line: usize) -> (&Host, Ipv4Addr) {
    match (line, world.behind()) {
        (HOME, Some(home)) => home,
        _ => world.phones(),
    }
}

/// Registers all phones.
pub(super) fn phones(world: &World) -> Result<Phones, Error> {
    let others = |line| match line {
        OFFICE => Vec::new(),
        _ => (0..CALLED).map(|number| called(line, number)).collect(),
    };
    let owners = [USERS[0], USERS[1], AT_HOME];
    let seats = [OFFICE, DESKS, HOME].map(|line| {
        let (host, address) = host(world, line);
        Seat {
            host,
            address,
            user: owners[line],
            others: others(line),
        }
    });
    let asked: Vec<SocketAddr> = world.services().skip(1).map(|(_, at)| at).take(1).collect();
    Phones::seated(&seats, world.service(), &asked)
}

/// Places the calls of a run; `placed` counts those of all runs.
pub(super) fn place(world: &World, phones: &mut Phones, placed: &mut usize) -> Result<(), Error> {
    for plot in &PLOTS {
        *placed += 1;
        let to = plot.to.unwrap_or(DESKS);
        let order = Order {
            test: plot.test,
            phase: plot.phase,
            lines: [plot.from, to],
            to: match plot.to {
                Some(line) => called(line, *placed),
                None => ECHO.to_owned(),
            },
            is_direct: false,
            is_to_machine: plot.to.is_none(),
            dial: plot.dial,
            answer: plot.answer,
        };
        phones.order(&order, [host(world, plot.from).0, host(world, to).0])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_calls_of_a_run_and_the_next_are_to_the_same_user() {
        let mut seen = std::collections::BTreeSet::new();
        let mut placed = 0;
        for _ in 0..2 {
            for plot in &PLOTS {
                placed += 1;
                if let Some(line) = plot.to {
                    assert!(seen.insert(called(line, placed)), "call {placed}");
                }
            }
        }
        assert!(seen.iter().all(|user| users().contains(user)));
    }

    #[test]
    fn every_test_has_calls_and_the_first_is_dialled_after_the_failure_only() {
        for test in 1..=3 {
            assert!(PLOTS.iter().any(|plot| plot.test == test));
        }
        let first = PLOTS.iter().filter(|plot| plot.test == 1);
        for plot in first {
            assert!(matches!(plot.dial, When::Fault(1..)));
        }
    }
}
