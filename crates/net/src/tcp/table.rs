//! Which connections there are.

use super::ConnectionId;
use super::connection::{Command, Link};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use tokio::task::AbortHandle;

struct Entry {
    link: Link,
    peer: SocketAddr,
    inbound: bool,
}

/// Why a connection may not be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Total,
    Source,
    Stopping,
}

pub(super) struct Table {
    entries: HashMap<ConnectionId, Entry>,
    /// The youngest connection to each peer.
    by_peer: HashMap<SocketAddr, ConnectionId>,
    /// How many connections each remote host has opened.
    by_source: HashMap<IpAddr, usize>,
    listeners: HashMap<SocketAddr, AbortHandle>,
    next_id: u64,
    total_max: usize,
    per_source_max: usize,
    stopping: bool,
}

impl Table {
    pub(super) fn new(total_max: usize, per_source_max: usize) -> Table {
        Table {
            entries: HashMap::new(),
            by_peer: HashMap::new(),
            by_source: HashMap::new(),
            listeners: HashMap::new(),
            next_id: 1,
            total_max,
            per_source_max,
            stopping: false,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn insert(
        &mut self,
        peer: SocketAddr,
        inbound: bool,
        link: Link,
    ) -> Result<ConnectionId, Refused> {
        if self.stopping {
            return Err(Refused::Stopping);
        }
        if self.entries.len() >= self.total_max {
            return Err(Refused::Total);
        }
        if inbound {
            let count = self.by_source.get(&peer.ip()).copied().unwrap_or(0);
            if count >= self.per_source_max {
                return Err(Refused::Source);
            }
            self.by_source.insert(peer.ip(), count + 1);
        }
        let id = ConnectionId(self.next_id);
        self.next_id += 1;
        self.entries.insert(
            id,
            Entry {
                link,
                peer,
                inbound,
            },
        );
        self.by_peer.insert(peer, id);
        Ok(id)
    }

    /// Forgets a connection; nothing if it is forgotten already.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(entry) = self.entries.remove(&id) else {
            return;
        };
        if self.by_peer.get(&entry.peer) == Some(&id) {
            self.by_peer.remove(&entry.peer);
        }
        if entry.inbound
            && let Some(count) = self.by_source.get_mut(&entry.peer.ip())
        {
            *count -= 1;
            if *count == 0 {
                self.by_source.remove(&entry.peer.ip());
            }
        }
    }

    pub(super) fn link(&self, id: ConnectionId) -> Option<&Link> {
        self.entries.get(&id).map(|entry| &entry.link)
    }

    pub(super) fn by_peer(&self, peer: SocketAddr) -> Option<ConnectionId> {
        self.by_peer.get(&peer).copied()
    }

    /// False, and the listener is not added, when the hub is stopping.
    pub(super) fn add_listener(&mut self, address: SocketAddr, task: AbortHandle) -> bool {
        if self.stopping {
            return false;
        }
        self.listeners.insert(address, task);
        true
    }

    pub(super) fn remove_listener(&mut self, address: SocketAddr) -> bool {
        self.listeners
            .remove(&address)
            .inspect(AbortHandle::abort)
            .is_some()
    }

    /// Closes every connection once its queue is sent.
    pub(super) fn close_all(&self) {
        for entry in self.entries.values() {
            entry.link.command(Command::Close);
        }
    }

    /// Takes nothing more, ends the listeners and gives `command` to each connection.
    pub(super) fn stop(&mut self, command: Command) {
        self.stopping = true;
        for (_, task) in self.listeners.drain() {
            task.abort();
        }
        for entry in self.entries.values() {
            entry.link.command(command.clone());
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.by_peer.is_empty() && self.by_source.is_empty()
    }
}
