//! Connections between nodes: in order within one, cut in one direction or both, broken with some of what
//! was on its way lost and some of it late.

use std::collections::BTreeMap;

/// One direction of a connection.
#[derive(Debug, Default)]
pub(crate) struct Way {
    /// Segments do not get through.
    pub(crate) is_cut: bool,
    /// When the last one arrives: the next arrives later.
    pub(crate) last_us: u64,
    /// The same, for what an earlier connection still delivers.
    pub(crate) late_us: u64,
    pub(crate) sent: u64,
    /// What waits for the cut to end, by number.
    pub(crate) stuck: BTreeMap<u64, Vec<u8>>,
}

/// The connection between two nodes, or the lack of one.
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Counts connections.
    pub(crate) number: u64,
    /// Whether there is one, and which ends know of it.
    pub(crate) is_open: bool,
    pub(crate) ends_open: [bool; 2],
    /// From the lower node to the higher, and back.
    pub(crate) ways: [Way; 2],
    /// When it breaks, if it is cut so long.
    pub(crate) breaks_at_us: Option<u64>,
    pub(crate) connecting: bool,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    nodes: usize,
    links: Vec<Link>,
}

impl Network {
    pub(crate) fn new(nodes: usize) -> Network {
        Network {
            nodes,
            links: (0..nodes * nodes).map(|_| Link::default()).collect(),
        }
    }

    /// The link between two nodes, and which of its ways leads from the first to the second.
    pub(crate) fn link(&mut self, from: usize, to: usize) -> (&mut Link, usize) {
        let (low, high) = (from.min(to), from.max(to));
        let way = usize::from(from > to);
        (&mut self.links[low * self.nodes + high], way)
    }
}
