//! The epochs that a node has known, over its lives: no epoch is given twice, also where all nodes were stopped while the
//! coordinator was restored from an old copy.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::{Epoch, Identity, Incarnation, NodeId};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// Where they are kept: a line a service, after the id of the cluster.
const FILE: &str = "epochs";

/// After how long it is tried again where it cannot be written.
const RETRY: Duration = Duration::from_secs(5);

/// What is known of one service: the epoch, and who had it.
type Known = (String, (Epoch, Identity));

/// What is kept.
pub(super) struct Memory {
    cluster: String,
    known: Vec<Known>,
    text: watch::Sender<String>,
}

impl Memory {
    /// Reads what earlier lives kept in a folder, of this cluster, and keeps what is added. A file that cannot be read is as none: it
    /// is needed on bad days only.
    pub(super) fn open(folder: &Path, cluster: String, runtime: &Handle) -> Memory {
        let path = folder.join(FILE);
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        let known = read(&kept, &cluster);
        let (text, changed) = watch::channel(kept);
        runtime.spawn(keep(path, changed));
        Memory {
            cluster,
            known,
            text,
        }
    }

    /// What is known of a service.
    pub(super) fn of(&self, service: &str) -> Option<(Epoch, Identity)> {
        let found = self.known.iter().find(|(name, _)| name == service);
        found.map(|(_, known)| *known)
    }

    /// Keeps what is known of a service, if that is news. It waits for nothing.
    pub(super) fn note(&mut self, service: &str, known: Option<(Epoch, Identity)>) {
        if known.is_none() || known == self.of(service) {
            return;
        }
        self.known.retain(|(name, _)| name != service);
        self.known
            .extend(known.map(|known| (service.to_owned(), known)));
        // Nobody writes any more when the runtime ends.
        let _ = self.text.send(write(&self.cluster, &self.known));
    }
}

fn read(text: &str, cluster: &str) -> Vec<Known> {
    let mut lines = text.lines();
    if lines.next() != Some(cluster) {
        return Vec::new();
    }
    lines.filter_map(line).collect()
}

fn line(line: &str) -> Option<Known> {
    let mut words = line.split(' ');
    let service = words.next()?.to_owned();
    let epoch = Epoch(words.next()?.parse().ok()?);
    let node = NodeId::new(words.next()?.parse().ok()?)?;
    let incarnation = Incarnation(u64::from_str_radix(words.next()?, 16).ok()?);
    let owner = Identity { node, incarnation };
    Some((service, (epoch, owner)))
}

fn write(cluster: &str, known: &[Known]) -> String {
    let mut text = format!("{cluster}\n");
    for (service, (epoch, owner)) in known {
        let (epoch, node) = (epoch.0, owner.node.index());
        text.push_str(&format!(
            "{service} {epoch} {node} {:016x}\n",
            owner.incarnation.0
        ));
    }
    text
}

/// Writes each text that comes, the last one at least, whole or not at all.
async fn keep(path: PathBuf, mut changed: watch::Receiver<String>) {
    let mut is_failing = false;
    while changed.changed().await.is_ok() {
        let text = changed.borrow_and_update().clone();
        let partial = path.with_extension("new");
        let written = match tokio::fs::write(&partial, text).await {
            Ok(()) => tokio::fs::rename(&partial, &path).await,
            Err(error) => Err(error),
        };
        match written {
            Ok(()) => is_failing = false,
            Err(error) => {
                if !is_failing {
                    tracing::warn!(path = %path.display(), %error, "epochs are not kept; they matter when the coordinator is restored from a copy");
                }
                is_failing = true;
                tokio::time::sleep(RETRY).await;
                changed.mark_changed();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_of_this_cluster_is_read_and_of_another_is_not() {
        let owner = Identity {
            node: NodeId::new(3).expect("a number below 64"),
            incarnation: Incarnation(0xabc),
        };
        let known = vec![("edge".to_owned(), (Epoch(7), owner))];
        let text = write("id1", &known);
        assert_eq!(read(&text, "id1"), known);
        assert_eq!(read(&text, "id2"), []);
        assert_eq!(read("id1\nedge x\n\nedge 8 64 1\n", "id1"), []);
    }
}
