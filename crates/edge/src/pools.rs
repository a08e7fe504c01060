//! Pools of media servers: which requests go to one, and how it is found out who lives.

use std::collections::VecDeque;
use std::net::SocketAddr;

use balancer::{PoolId, Signal, TargetId};
use sip::{HeaderName, Message, Method, lex};
use transaction::{Flow, Transport};

use crate::directory::Directory;
use crate::edge::{Edge, Input, surroundings};
use crate::output::{Now, Output};
use crate::settings::Settings;

/// Most probes whose answers are waited for; of more the oldest count as missed.
const PROBES_MAX: usize = 8_192;

/// Requests for users of ours that go to a pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolRoute {
    /// The user part: `*` stands for any characters, `?` for one, everything else for itself.
    pub user: Box<[u8]>,
    /// The domain, in lower case; `None` for all of ours.
    pub domain: Option<Box<[u8]>>,
    /// The methods; a dialog's other requests follow it.
    pub methods: Vec<Method>,
    /// The pool.
    pub pool: PoolId,
}

impl PoolRoute {
    /// Whether a request with this method for the address of record `aor` goes here.
    fn takes(&self, method: Option<Method>, aor: &[u8]) -> bool {
        let Some(at) = memchr::memrchr(b'@', aor) else {
            return false;
        };
        let (user, domain) = (&aor[..at], &aor[at + 1..]);
        method.is_some_and(|method| self.methods.contains(&method))
            && self.domain.as_deref().is_none_or(|ours| ours == domain)
            && matches_pattern(&self.user, user)
    }
}

/// Whether a text fits a pattern of `*` and `?`.
fn matches_pattern(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut in_text) = (0, 0);
    // Where the last `*` was, and what of the text it took.
    let mut star = None;
    while in_text < text.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, in_text));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == text[in_text] => {
                at += 1;
                in_text += 1;
            }
            _ => match star {
                Some((before, taken)) => {
                    star = Some((before, taken + 1));
                    at = before + 1;
                    in_text = taken + 1;
                }
                None => return false,
            },
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

/// A probe that was sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    branch: u64,
    flow: Flow,
    target: TargetId,
    number: u32,
}

/// Probes that were sent, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    sent: VecDeque<Sent>,
}

impl Probes {
    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.sent.clear();
    }
}

/// A target that is to be probed.
#[derive(Debug, Clone, Copy)]
pub struct Probe<'a> {
    /// Which.
    pub target: TargetId,
    /// What the answer is reported with.
    pub number: u32,
    /// The Request-URI.
    pub uri: &'a str,
    /// The Call-ID, a new one each time: one whose messages this thread is given.
    pub call_id: &'a str,
    /// Where it is.
    pub transport: Transport,
    /// Where it is.
    pub remote: SocketAddr,
}

impl Edge {
    /// The pool that a new request for the user in `self.aor` goes to. What comes from a target is on its way out
    /// of the pool.
    pub(crate) fn pool_of<D: Directory>(
        &self,
        input: &Input<'_, '_>,
        directory: &mut D,
    ) -> Option<PoolId> {
        let routes = &input.settings.pool_routes;
        if routes.is_empty() || input.envelope.to_tag.is_some() {
            return None;
        }
        let method = input.request.method();
        let route = routes.iter().find(|route| route.takes(method, &self.aor))?;
        (!directory.is_target(&input.flow)).then_some(route.pool)
    }

    /// Sends an OPTIONS to a target, once (RFC 3261 section 11).
    pub fn probe<D: Directory>(
        &mut self,
        settings: &Settings,
        probe: &Probe<'_>,
        directory: &mut D,
        output: &mut Output,
    ) {
        let (target, number) = (probe.target, probe.number);
        self.probes.sent.retain(|sent| sent.target != target);
        let Some(flow) = directory.flow_to(probe.transport, probe.remote) else {
            return directory.report(target, Signal::ProbeMissed { number });
        };
        if self.probes.sent.len() == PROBES_MAX {
            self.probes.sent.pop_front();
        }
        let branch = self.layer.new_branch();
        self.probes.sent.push_back(Sent {
            branch,
            flow,
            target,
            number,
        });
        output.outbox.send(flow, |out| {
            write_probe(settings, probe, (branch, flow), out)
        });
    }

    /// Takes a response that belongs to no transaction; gives whether it answers a probe.
    pub(crate) fn probe_answered<D: Directory>(
        &mut self,
        branch: u64,
        response: &Message<'_>,
        directory: &mut D,
    ) -> bool {
        let Some(place) = self
            .probes
            .sent
            .iter()
            .position(|sent| sent.branch == branch)
        else {
            return false;
        };
        if response.status() < 200 {
            return true;
        }
        let Some(sent) = self.probes.sent.remove(place) else {
            return true;
        };
        let retry_after_s = response.number(HeaderName::RetryAfter, u32::MAX);
        if response.status() == 503
            && let Ok(Some(retry_after_s)) = retry_after_s
        {
            directory.report(sent.target, Signal::Busy { retry_after_s });
        }
        let number = sent.number;
        directory.report(sent.target, Signal::ProbeAnswered { number });
        true
    }

    /// Takes the news that probes cannot be delivered to a peer.
    pub(crate) fn probes_failed<D: Directory>(
        &mut self,
        failed: impl Fn(&Flow) -> bool,
        directory: &mut D,
    ) {
        self.probes.sent.retain(|sent| {
            let is_failed = failed(&sent.flow);
            if is_failed {
                directory.report(sent.target, Signal::Unreachable);
            }
            !is_failed
        });
    }

    /// Whether a peer is being probed.
    pub(crate) fn is_probing(&self, peer: SocketAddr) -> bool {
        self.probes.sent.iter().any(|sent| sent.flow.remote == peer)
    }

    /// Takes the news that a target is dead: what waits for it moves on.
    pub fn target_lost<D: Directory>(
        &mut self,
        settings: &Settings,
        now: Now,
        target: TargetId,
        directory: &mut D,
        output: &mut Output,
    ) {
        self.take_up_all((settings, now), directory, output);
        let mut surroundings = surroundings(&mut self.layer, settings, now, directory, output);
        self.proxy.target_lost(&mut surroundings, target);
    }
}

fn write_probe(
    settings: &Settings,
    probe: &Probe<'_>,
    (branch, flow): (u64, Flow),
    out: &mut Vec<u8>,
) {
    let us = |out: &mut Vec<u8>| settings.proxy.push_sent_by(&flow, out);
    out.extend_from_slice(b"OPTIONS ");
    out.extend_from_slice(probe.uri.as_bytes());
    out.extend_from_slice(b" SIP/2.0\r\nVia: SIP/2.0/");
    out.extend_from_slice(flow.transport.via_token());
    out.push(b' ');
    us(out);
    out.extend_from_slice(b";rport;branch=");
    proxy::loops::push_branch(branch, 0, out);
    out.extend_from_slice(b"\r\nMax-Forwards: 1\r\nFrom: <sip:");
    us(out);
    out.extend_from_slice(b">;tag=");
    lex::push_number(out, branch & 0xffff_ffff);
    out.extend_from_slice(b"\r\nTo: <");
    out.extend_from_slice(probe.uri.as_bytes());
    out.extend_from_slice(b">\r\nCall-ID: ");
    out.extend_from_slice(probe.call_id.as_bytes());
    out.extend_from_slice(b"\r\nCSeq: 1 OPTIONS\r\nAccept: application/sdp\r\nContact: <sip:");
    us(out);
    out.extend_from_slice(b">\r\nContent-Length: 0\r\n\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_one_of_characters_and_wildcards() {
        let fits = |pattern: &str, text: &str| matches_pattern(pattern.as_bytes(), text.as_bytes());
        assert!(fits("*", "") && fits("*", "bob") && fits("8*", "8123") && fits("80?", "801"));
        assert!(fits("*0*1", "50041") && fits("b*b", "bob") && fits("b**b", "bb"));
        assert!(
            !fits("8*", "7123") && !fits("80?", "80") && !fits("", "x") && !fits("b*b", "bobo")
        );
    }
}
