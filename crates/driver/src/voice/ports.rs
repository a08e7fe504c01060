//! Pairs of ports that are free, by thread and address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use voice::PortId;

/// Pairs of one thread and address.
#[derive(Debug, Clone)]
struct Group {
    thread: usize,
    address: IpAddr,
    /// By the number of its giving back: the one that has been free for longest first, so that packets of a port's last call come to nobody.
    free: BTreeMap<u64, PortId>,
}

/// A pair.
#[derive(Debug, Clone, Copy)]
struct Pair {
    group: usize,
    /// Its place among the free ones; none: it is taken.
    free_since: Option<u64>,
}

/// All pairs.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports {
    groups: Vec<Group>,
    /// By thread and socket; none is no pair that was opened.
    pairs: Vec<Vec<Option<Pair>>>,
    /// How often a pair became free.
    freed: u64,
    in_use: usize,
}

impl Ports {
    /// Adds a free pair.
    pub(super) fn add(&mut self, thread: usize, address: IpAddr, port: PortId) {
        let is_it = |group: &Group| group.thread == thread && group.address == address;
        let group = match self.groups.iter().position(is_it) {
            Some(group) => group,
            None => {
                self.groups.push(Group {
                    thread,
                    address,
                    free: BTreeMap::new(),
                });
                self.groups.len() - 1
            }
        };
        if self.pairs.len() <= thread {
            self.pairs.resize(thread + 1, Vec::new());
        }
        self.freed += 1;
        let pairs = &mut self.pairs[thread];
        pairs.resize(pairs.len().max(port.0 as usize + 1), None);
        pairs[port.0 as usize] = Some(Pair {
            group,
            free_since: Some(self.freed),
        });
        self.groups[group].free.insert(self.freed, port);
    }

    /// Takes a pair of `local`'s address, or else of the first one of its family.
    pub(super) fn take(
        &mut self,
        local: IpAddr,
        thread: Option<u16>,
        is_open: impl Fn(usize) -> bool,
    ) -> Option<(usize, PortId)> {
        let addresses = self.groups.iter().map(|group| group.address);
        let mut alike = addresses.filter(|address| address.is_ipv4() == local.is_ipv4());
        let address = match self.groups.iter().any(|group| group.address == local) {
            true => local,
            false => alike.next()?,
        };
        let wanted = thread.map(usize::from);
        let group = self
            .groups
            .iter_mut()
            .filter(|group| group.address == address && is_open(group.thread))
            .filter(|group| wanted.is_none_or(|wanted| wanted == group.thread))
            .max_by_key(|group| group.free.len())?;
        let (thread, (_, port)) = (group.thread, group.free.pop_first()?);
        if let Some(pair) = self.pair(thread, port) {
            pair.free_since = None;
        }
        self.in_use += 1;
        Some((thread, port))
    }

    /// Takes one pair, if it is free.
    pub(super) fn take_this(&mut self, thread: usize, port: PortId) -> bool {
        let pair = self.pair(thread, port);
        let Some((group, since)) =
            pair.and_then(|pair| Some((pair.group, pair.free_since.take()?)))
        else {
            return false;
        };
        self.groups[group].free.remove(&since);
        self.in_use += 1;
        true
    }

    /// Gives a pair back. False: it was not taken.
    pub(super) fn give_back(&mut self, thread: usize, port: PortId) -> bool {
        let since = self.freed + 1;
        let Some(pair) = self
            .pair(thread, port)
            .filter(|pair| pair.free_since.is_none())
        else {
            return false;
        };
        pair.free_since = Some(since);
        let group = pair.group;
        self.groups[group].free.insert(since, port);
        self.freed = since;
        self.in_use -= 1;
        true
    }

    fn pair(&mut self, thread: usize, port: PortId) -> Option<&mut Pair> {
        let pairs = self.pairs.get_mut(thread)?;
        pairs.get_mut(port.0 as usize)?.as_mut()
    }

    pub(super) fn in_use(&self) -> usize {
        self.in_use
    }

    pub(super) fn free(&self) -> usize {
        self.groups.iter().map(|group| group.free.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_pair_is_of_one_or_free() {
        let (one, two) = (
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)),
        );
        let mut ports = Ports::default();
        for n in 0..4 {
            ports.add(
                n / 2,
                if n % 2 == 0 { one } else { two },
                PortId(n as u32 % 2 * 2),
            );
        }
        assert_eq!((ports.in_use(), ports.free()), (0, 4));
        assert_eq!(ports.take(two, Some(1), |_| true), Some((1, PortId(2))));
        assert_eq!(ports.take(two, Some(1), |_| true), None);
        assert_eq!(ports.take(two, None, |thread| thread != 0), None);
        assert!(ports.take_this(0, PortId(2)) && !ports.take_this(0, PortId(2)));
        assert!(!ports.take_this(0, PortId(8)) && !ports.take_this(7, PortId(0)));
        assert_eq!((ports.in_use(), ports.free()), (2, 2));
        assert!(ports.give_back(1, PortId(2)) && !ports.give_back(1, PortId(2)));
        assert!(ports.give_back(0, PortId(2)));
        // An address that is not ours has ports of the first of its family.
        let other = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
        assert!(ports.take(other, None, |_| true).is_some());
        assert_eq!(
            ports.take("::1".parse().expect("an address"), None, |_| true),
            None
        );
    }

    #[test]
    fn the_pair_that_is_free_for_longest_is_taken_first() {
        let one = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut ports = Ports::default();
        for port in [0, 2, 4] {
            ports.add(0, one, PortId(port));
        }
        // One that was asked for by name goes to the end.
        assert!(ports.take_this(0, PortId(2)) && ports.give_back(0, PortId(2)));
        let taken = [0; 3].map(|_| ports.take(one, None, |_| true));
        assert_eq!(taken, [0, 4, 2].map(|port| Some((0, PortId(port)))));
        assert_eq!((ports.in_use(), ports.free()), (3, 0));
    }
}
