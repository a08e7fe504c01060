//! What a seat reaches the other nodes, the coordinator and those who listen through.

use cluster::wire::Frame;
use cluster::wire::message::Message;
use cluster::{NodeId, NodeSet};
use net::peer::{Lane, News, Peers, Place};
use net::poll::Poller;
use tokio::sync::broadcast;

use super::coordination::Requests;
use crate::event::Event;

/// Frames longer than this are no heartbeats.
const URGENT_BYTES_MAX: usize = 256;

/// What a seat reaches everything else through.
pub(super) struct Post<'a> {
    pub(super) poller: &'a Poller,
    pub(super) peers: &'a mut Peers,
    pub(super) news: &'a mut Vec<News>,
    pub(super) requests: &'a Requests,
    pub(super) events: &'a broadcast::Sender<Event>,
    pub(super) places: &'a [Place],
}

impl Post<'_> {
    /// Sends a frame to a node, heartbeats before everything else.
    pub(super) fn send(&mut self, to: NodeId, frame: &[u8]) {
        let (lane, to) = (lane_of(frame), to.index() as u8);
        self.peers.send(to, lane, frame, self.poller, self.news);
    }

    /// Tells those who listen.
    pub(super) fn tell(&self, service: &str, what: String) {
        tracing::info!(service, "{what}");
        publish(self.events, service, what);
    }

    /// Tells them what somebody has to see to.
    pub(super) fn warn(&self, service: &str, what: String) {
        warn(self.events, service, what);
    }
}

/// Tells those who listen what somebody has to see to.
pub(super) fn warn(events: &broadcast::Sender<Event>, service: &str, what: String) {
    tracing::warn!(service, "{what}");
    publish(events, service, what);
}

fn publish(events: &broadcast::Sender<Event>, service: &str, what: String) {
    let service = service.to_owned();
    // Nobody listening is no error.
    let _ = events.send(Event::Cluster { service, what });
}

/// The name of a node.
pub(super) fn name_of(places: &[Place], node: NodeId) -> String {
    let found = places
        .iter()
        .find(|place| usize::from(place.number) == node.index());
    found.map_or_else(
        || format!("node {}", node.index()),
        |place| place.name.clone(),
    )
}

/// The names of nodes.
pub(super) fn names_of(places: &[Place], nodes: NodeSet) -> Vec<String> {
    nodes.iter().map(|node| name_of(places, node)).collect()
}

fn lane_of(frame: &[u8]) -> Lane {
    if frame.len() > URGENT_BYTES_MAX {
        return Lane::Bulk;
    }
    match Frame::read(frame).map(|frame| frame.message) {
        Ok(
            Message::Heartbeat { .. }
            | Message::Acknowledged { .. }
            | Message::Refused { .. }
            | Message::Released { .. },
        ) => Lane::Urgent,
        _ => Lane::Bulk,
    }
}
