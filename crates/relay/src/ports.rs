//! Ports that are free, and ports that are not.

use std::collections::VecDeque;

use crate::types::Port;

/// What is known of a pair of ports of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not in this group.
    Unknown,
    Free,
    Taken,
    /// Whoever had it is done with it, and the relay has not closed it yet.
    Leaving,
    /// The same, and somebody has claimed it meanwhile.
    Reclaimed,
}

/// Pairs of one relay thread and local address.
#[derive(Debug, Clone, Default)]
struct Group {
    /// Oldest first.
    free: VecDeque<Port>,
    /// By port.
    states: Vec<State>,
}

impl Group {
    fn state(&mut self, port: Port) -> Option<&mut State> {
        self.states.get_mut(port.0 as usize)
    }
}

/// Which ports are free, in groups: one for each relay thread and local address. A port that was given
/// back is taken again after all others of its group, so that packets of its last call come to nobody.
#[derive(Debug, Clone, Default)]
pub struct PortTable {
    groups: Vec<Group>,
    in_use: usize,
}

impl PortTable {
    /// A table of so many groups without ports.
    pub fn new(groups: usize) -> PortTable {
        PortTable {
            groups: vec![Group::default(); groups],
            in_use: 0,
        }
    }

    /// Adds a free port to a group. One that is there already, and a group that is not there, change nothing.
    pub fn add(&mut self, group: usize, port: Port) {
        let Some(group) = self.groups.get_mut(group) else {
            return;
        };
        let length = port.0 as usize + 1;
        if group.states.len() < length {
            group.states.resize(length, State::Unknown);
        }
        if let Some(state @ State::Unknown) = group.state(port) {
            *state = State::Free;
            group.free.push_back(port);
        }
    }

    /// Takes the port that has been free for longest. None: all are in use.
    pub fn take(&mut self, group: usize) -> Option<Port> {
        let group = self.groups.get_mut(group)?;
        let port = group.free.pop_front()?;
        if let Some(state) = group.state(port) {
            *state = State::Taken;
        }
        self.in_use += 1;
        Some(port)
    }

    /// Says that whoever has this port is done with it, while the relay has still to close it and give it back. It may be
    /// claimed from now on. One that is not taken is left as it is.
    pub fn leave(&mut self, group: usize, port: Port) {
        let group = self.groups.get_mut(group);
        if let Some(state @ State::Taken) = group.and_then(|group| group.state(port)) {
            *state = State::Leaving;
        }
    }

    /// Takes this port, as somebody else has it who may be succeeded here. False, and nothing changes, if it is neither
    /// free in this group nor [left](PortTable::leave).
    pub fn claim(&mut self, group: usize, port: Port) -> bool {
        let Some(group) = self.groups.get_mut(group) else {
            return false;
        };
        if let Some(state @ State::Leaving) = group.state(port) {
            *state = State::Reclaimed;
            return true;
        }
        let Some(place) = group.free.iter().position(|free| *free == port) else {
            return false;
        };
        group.free.remove(place);
        if let Some(state) = group.state(port) {
            *state = State::Taken;
        }
        self.in_use += 1;
        true
    }

    /// Gives a port back. False, and nothing changes, if it was not taken from this group: a port that is
    /// given back twice is free once.
    pub fn give_back(&mut self, group: usize, port: Port) -> bool {
        let Some(group) = self.groups.get_mut(group) else {
            return false;
        };
        match group.state(port) {
            Some(state @ (State::Taken | State::Leaving)) => *state = State::Free,
            // This is what the one before had; it is the claimer's now.
            Some(state @ State::Reclaimed) => {
                *state = State::Taken;
                return true;
            }
            _ => return false,
        }
        group.free.push_back(port);
        self.in_use -= 1;
        true
    }

    /// Ports that are taken, over all groups.
    pub fn in_use(&self) -> usize {
        self.in_use
    }

    /// Ports of a group that are free.
    pub fn free(&self, group: usize) -> usize {
        self.groups.get(group).map_or(0, |group| group.free.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(ports: u32) -> PortTable {
        let mut table = PortTable::new(2);
        for port in 0..ports {
            table.add(1, Port(2 * port));
        }
        table
    }

    #[test]
    fn a_port_that_was_left_may_be_claimed_before_it_comes_back() {
        let mut table = table(2);
        let port = table.take(1).unwrap();
        assert!(!table.claim(1, port), "it is somebody's");
        table.leave(1, port);
        assert!(table.claim(1, port));
        assert!(!table.claim(1, port), "it is the claimer's");
        // The relay has closed what the one before had.
        assert!(table.give_back(1, port));
        assert_eq!((table.in_use(), table.free(1)), (1, 1));
        assert!(table.give_back(1, port));
        assert!(!table.give_back(1, port));
        table.leave(1, port);
        assert_eq!((table.in_use(), table.free(1)), (0, 2));
        // One that was left and not claimed is free when it comes back.
        let port = table.take(1).unwrap();
        table.leave(1, port);
        assert!(table.give_back(1, port));
        assert_eq!((table.in_use(), table.free(1)), (0, 2));
    }

    #[test]
    fn each_port_is_taken_once() {
        let mut table = table(3);
        let taken: Vec<_> = std::iter::from_fn(|| table.take(1)).collect();
        assert_eq!(taken, [Port(0), Port(2), Port(4)]);
        assert_eq!((table.in_use(), table.free(1)), (3, 0));
        assert_eq!(table.take(1), None);
    }

    #[test]
    fn the_port_that_has_been_free_for_longest_is_taken() {
        let mut table = table(3);
        assert_eq!(table.take(1), Some(Port(0)));
        assert!(table.give_back(1, Port(0)));
        assert_eq!(table.take(1), Some(Port(2)));
        assert_eq!(table.take(1), Some(Port(4)));
        assert_eq!(table.take(1), Some(Port(0)));
    }

    #[test]
    fn a_port_that_was_not_taken_is_not_given_back() {
        let mut table = table(2);
        assert_eq!(table.take(1), Some(Port(0)));
        for (group, port) in [(1, 2), (1, 1), (1, 99), (0, 0), (7, 0)] {
            assert!(!table.give_back(group, Port(port)), "{group} {port}");
        }
        assert!(table.give_back(1, Port(0)));
        assert!(!table.give_back(1, Port(0)));
        assert_eq!((table.in_use(), table.free(1)), (0, 2));
    }

    #[test]
    fn a_port_that_was_claimed_is_given_to_nobody_else() {
        let mut table = table(3);
        assert!(table.claim(1, Port(2)));
        assert!(!table.claim(1, Port(2)) && !table.claim(1, Port(9)) && !table.claim(0, Port(0)));
        let taken: Vec<_> = std::iter::from_fn(|| table.take(1)).collect();
        assert_eq!(taken, [Port(0), Port(4)]);
        assert!(table.give_back(1, Port(2)));
        assert_eq!((table.take(1), table.in_use()), (Some(Port(2)), 3));
    }

    #[test]
    fn groups_are_apart() {
        let mut table = table(1);
        table.add(0, Port(0));
        table.add(0, Port(0));
        table.add(9, Port(0));
        assert_eq!((table.free(0), table.free(1), table.free(9)), (1, 1, 0));
        assert_eq!(table.take(0), Some(Port(0)));
        assert_eq!(table.take(1), Some(Port(0)));
        assert_eq!((table.take(0), table.take(9)), (None, None));
        assert_eq!(table.in_use(), 2);
        assert!(table.give_back(1, Port(0)));
        assert_eq!((table.free(0), table.free(1)), (0, 1));
    }

    #[test]
    fn taking_and_giving_back_allocate_nothing() {
        let mut table = table(100);
        let info = allocation_counter::measure(|| {
            for _ in 0..1_000 {
                let ports = [table.take(1), table.take(1)];
                for port in ports.into_iter().flatten() {
                    table.give_back(1, port);
                }
            }
        });
        assert_eq!(info.count_total, 0);
    }
}
