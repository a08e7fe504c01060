//! Connections and what travels on them.

use super::{Event, Input, World};

/// A segment's way through a network at rest, and when it is crowded.
const DELAY_US: (u64, u64) = (50, 3_000);
/// How long a segment that was lost takes longer.
const RESEND_US: (u64, u64) = (20_000, 250_000);
/// How long a connection lasts that is cut.
const PATIENCE_US: (u64, u64) = (200_000, 2_000_000);
/// Between two attempts to connect.
const RETRY_US: (u64, u64) = (10_000, 80_000);

impl World {
    pub(super) fn send(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        let lost = self.random.one_in(self.plan.faults.segment_lost_odds) && !self.healed;
        let mut delay_us = self.random.span_us(DELAY_US.0, DELAY_US.1);
        if lost {
            delay_us += self.random.between(RESEND_US.0, RESEND_US.1);
        }
        let now_us = self.now_us;
        let (link, way) = self.network.link(from, to);
        if !link.is_open || !link.ends_open[way] {
            return;
        }
        let connection = link.number;
        let way = &mut link.ways[way];
        way.sent += 1;
        let number = way.sent;
        if way.is_cut || !way.stuck.is_empty() {
            way.stuck.insert(number, bytes);
            return;
        }
        let at_us = (now_us + delay_us).max(way.last_us + 1);
        way.last_us = at_us;
        self.at(
            at_us,
            Event::Arrive {
                from,
                to,
                connection,
                number,
                late: false,
                bytes,
            },
        );
    }

    pub(super) fn arrive(
        &mut self,
        from: usize,
        to: usize,
        (connection, number, late): (u64, u64, bool),
        bytes: Vec<u8>,
    ) {
        let span_us = self.random.span_us(0, 60_000);
        let now_us = self.now_us;
        let (link, way) = self.network.link(from, to);
        let current = link.number == connection && link.is_open;
        let way = &mut link.ways[way];
        if current && (way.is_cut || !way.stuck.is_empty()) {
            // What was sent before it and is on its way yet comes before it.
            way.stuck.insert(number, bytes);
            return;
        }
        if !current {
            // Of a connection that broke, part of what was on its way had arrived already and is read
            // late: the front part, since order holds within one.
            let cut = connection.wrapping_mul(0x9e37_79b9) % 5;
            if cut == 0 || number % 64 > cut * 16 {
                return;
            }
            if !late {
                let (link, way) = self.network.link(from, to);
                let late_us = link.ways[way].late_us.max(now_us) + 1 + span_us;
                link.ways[way].late_us = late_us;
                self.at(
                    late_us,
                    Event::Arrive {
                        from,
                        to,
                        connection,
                        number,
                        late: true,
                        bytes,
                    },
                );
                return;
            }
            self.count("frame of an earlier connection");
        }
        self.note("frame", &[from as u64, to as u64, bytes.len() as u64]);
        self.deliver(to, Input::Frame { from, bytes });
    }

    pub(super) fn connect(&mut self, low: usize, high: usize) {
        let retry_us = self.random.between(RETRY_US.0, RETRY_US.1);
        self.after(retry_us, Event::Connect { low, high });
        let now_us = self.now_us;
        let awake = |node: usize| {
            self.nodes[node].process.is_some() && now_us >= self.nodes[node].frozen_until_us
        };
        let awake = awake(low) && awake(high);
        let delay_us = self.random.between(200, 4_000);
        let (link, _) = self.network.link(low, high);
        let cut = link.ways.iter().any(|way| way.is_cut);
        if link.is_open || link.connecting || link.ends_open != [false, false] || cut || !awake {
            return;
        }
        link.connecting = true;
        link.number += 1;
        let connection = link.number;
        self.after(
            delay_us,
            Event::Connected {
                low,
                high,
                connection,
            },
        );
    }

    pub(super) fn connected(&mut self, low: usize, high: usize, connection: u64) {
        let alive = self.nodes[low].process.is_some() && self.nodes[high].process.is_some();
        let (link, _) = self.network.link(low, high);
        link.connecting = false;
        if !alive || link.number != connection || link.ways.iter().any(|way| way.is_cut) {
            return;
        }
        link.is_open = true;
        link.ends_open = [true, true];
        link.breaks_at_us = None;
        for way in &mut link.ways {
            way.stuck.clear();
            way.sent = 0;
        }
        self.note("connected", &[low as u64, high as u64, connection]);
    }

    /// Cuts or mends one direction.
    pub(super) fn cut(&mut self, from: usize, to: usize, is_cut: bool) {
        let patience_us = self.random.between(PATIENCE_US.0, PATIENCE_US.1);
        let now_us = self.now_us;
        let (link, way) = self.network.link(from, to);
        if link.ways[way].is_cut == is_cut {
            return;
        }
        link.ways[way].is_cut = is_cut;
        let connection = link.number;
        let (low, high) = (from.min(to), from.max(to));
        if is_cut {
            if link.is_open {
                self.after(
                    patience_us,
                    Event::BreakIfCut {
                        low,
                        high,
                        connection,
                    },
                );
            }
        } else if link.is_open {
            // What was stuck is sent again, in its order.
            let stuck = std::mem::take(&mut link.ways[way].stuck);
            let mut at_us = link.ways[way].last_us.max(now_us) + RESEND_US.0;
            let mut events = Vec::new();
            for (number, bytes) in stuck {
                at_us += 1;
                events.push((
                    at_us,
                    Event::Arrive {
                        from,
                        to,
                        connection,
                        number,
                        late: false,
                        bytes,
                    },
                ));
            }
            link.ways[way].last_us = at_us;
            for (at_us, event) in events {
                self.at(at_us, event);
            }
        }
        for node in [from, to] {
            self.disturb(node, now_us);
        }
        self.note("cut", &[from as u64, to as u64, u64::from(is_cut)]);
    }

    pub(super) fn break_if_cut(&mut self, low: usize, high: usize, connection: u64) {
        let (link, _) = self.network.link(low, high);
        if link.number == connection && link.is_open && link.ways.iter().any(|way| way.is_cut) {
            self.break_link(low, high, [0, 50_000]);
        }
    }

    /// A connection ends. Each end learns of it on its own, within the span of its side.
    pub(super) fn break_link(&mut self, low: usize, high: usize, seen_us: [u64; 2]) {
        let spans = seen_us.map(|span_us| self.random.between(0, span_us + 500));
        let (link, _) = self.network.link(low, high);
        if !link.is_open {
            return;
        }
        link.is_open = false;
        let connection = link.number;
        for way in &mut link.ways {
            way.stuck.clear();
        }
        self.note("break", &[low as u64, high as u64, connection]);
        for (end, span_us) in spans.into_iter().enumerate() {
            self.after(
                span_us,
                Event::EndSees {
                    low,
                    high,
                    connection,
                    end,
                },
            );
        }
    }

    pub(super) fn end_sees(&mut self, low: usize, high: usize, connection: u64, end: usize) {
        let (link, _) = self.network.link(low, high);
        if link.number != connection || link.is_open || !link.ends_open[end] {
            return;
        }
        link.ends_open[end] = false;
        let (node, peer) = if end == 0 { (low, high) } else { (high, low) };
        self.deliver(node, Input::Disconnected { peer });
    }

    /// All connections of a node end, because its process did. With its machine gone too, peers learn of
    /// it only by their patience.
    pub(super) fn break_all(&mut self, node: usize, is_silent: bool) {
        let seen_us = if is_silent { PATIENCE_US.1 / 2 } else { 1_000 };
        for peer in 0..self.nodes.len() {
            if peer != node {
                let (low, high) = (node.min(peer), node.max(peer));
                let ends = if node == low {
                    [0, seen_us]
                } else {
                    [seen_us, 0]
                };
                self.break_link(low, high, ends);
            }
        }
    }
}
