//! The whole transition matrix, compared with the committed `matrix.txt`.
//!
//! To accept a change of the tables: `BLESS=1 cargo test -p transaction --test matrix`, and read
//! the difference.

use std::fmt::{Error, Write};

use transaction::{Event, Kind, Role, State, Transition, start, step, timer::timer};

const COMMITTED: &str = include_str!("matrix.txt");
const COMMITTED_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/matrix.txt");
/// Read when the test is compiled; Cargo compiles it anew when the variable changes.
const BLESS: bool = option_env!("BLESS").is_some();

fn transition_text(transition: Option<Transition>) -> String {
    let Some(Transition { next, actions }) = transition else {
        return "-".to_owned();
    };
    let mut text = format!("{next:?}");
    for action in actions {
        text.push_str(&format!(" {action:?}"));
    }
    if actions.is_empty() {
        text.push_str(" (absorbed)");
    }
    text
}

/// A line for the unreliable transport, and another for the reliable one where it differs.
fn write_both(text: &mut String, name: &str, both: [Option<Transition>; 2]) -> Result<(), Error> {
    let [unreliable, reliable] = both.map(transition_text);
    writeln!(text, "{name}: {unreliable}")?;
    if unreliable != reliable {
        let indent = name.len() - name.trim_start().len() + 2;
        writeln!(text, "{:indent$}reliable: {reliable}", "")?;
    }
    Ok(())
}

fn write_state(text: &mut String, kind: Kind, state: State) -> Result<(), Error> {
    let both = |event| [false, true].map(|reliable| step(kind, state, event, reliable));
    if Event::ALL
        .into_iter()
        .all(|event| both(event) == [None, None])
    {
        return writeln!(text, "  {state:?}: nothing has a meaning");
    }
    write!(text, "  {state:?}")?;
    for role in Role::ALL {
        if let Some(name) = timer(kind, state, role) {
            write!(text, " {role:?}={name:?}")?;
        }
    }
    writeln!(text)?;
    for event in Event::ALL {
        write_both(text, &format!("    {event:?}"), both(event))?;
    }
    Ok(())
}

fn matrix() -> Result<String, Error> {
    let mut text = String::new();
    writeln!(
        text,
        "# Every transition of the four machines, written by tests/matrix.rs."
    )?;
    writeln!(
        text,
        "# \"-\" has no meaning and is ignored; \"reliable\" where that differs."
    )?;
    for kind in Kind::ALL {
        writeln!(text, "\n{kind:?}")?;
        let both = [false, true].map(|reliable| Some(start(kind, reliable)));
        write_both(&mut text, "  start", both)?;
        for state in State::ALL {
            write_state(&mut text, kind, state)?;
        }
    }
    Ok(text)
}

#[test]
fn the_matrix_is_the_committed_one() {
    let matrix = matrix().expect("a string takes everything");
    if BLESS {
        std::fs::write(COMMITTED_PATH, &matrix).expect("the source folder is writable");
        return;
    }
    for (number, (ours, committed)) in matrix.lines().zip(COMMITTED.lines()).enumerate() {
        assert_eq!(ours, committed, "line {} of matrix.txt", number + 1);
    }
    assert_eq!(matrix, COMMITTED);
}
