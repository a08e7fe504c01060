//! The load generator of the relay rows, a process of its own: `xtask relay-load PLAN RESULT`.
//!
//! Two-way calls of 50 packets a second each way. One socket plays all callers and one all
//! callees: the relay's ports tell the calls apart. The packets of all streams are spread evenly over the 20 ms, so
//! that the relay gets no bursts that a network would not bring either.

use super::super::error::Error;
use super::super::process;
use super::packet::{PACKET_BYTES, Packet};
use super::tally::{Tally, at_us};
use super::wire::Wire;
use serde_json::{Value, json};
use std::fs;
use std::net::SocketAddrV4;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Packets a second of a stream.
pub(crate) const PACKETS_PER_S: u32 = 50;
const PERIOD_NS: u64 = 1_000_000_000 / PACKETS_PER_S as u64;
/// The shortest sleep; what is due meanwhile leaves together.
const SLEEP_NS_MIN: u64 = 100_000;
/// How often what arrived is fetched.
const RECEIVE_EVERY_NS: u64 = 1_000_000;
/// How long packets may still arrive after the last was sent.
const DRAIN: Duration = Duration::from_secs(2);

/// What to send through which relay.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) warm_up_s: u32,
    pub(crate) run_s: u32,
    /// Makes the sources of this load others than those of the one before: a relay may take the
    /// same numbers from the same source for a replay.
    pub(crate) salt: u32,
    /// The relay, whose CPU is read after the warm-up and at the end; none for the floor.
    pub(crate) relay_pid: Option<u32>,
    /// The callers' and the callees' address.
    pub(crate) ends: [SocketAddrV4; 2],
    /// The relay's addresses of each call: the one the caller, the one the callee sends to.
    pub(crate) calls: Vec<[SocketAddrV4; 2]>,
}

impl Plan {
    /// As it is handed over.
    pub(crate) fn to_json(&self) -> Value {
        let pair = |pair: &[SocketAddrV4; 2]| json!([pair[0].to_string(), pair[1].to_string()]);
        json!({
            "warm_up_s": self.warm_up_s,
            "run_s": self.run_s,
            "salt": self.salt,
            "relay_pid": self.relay_pid,
            "ends": pair(&self.ends),
            "calls": self.calls.iter().map(pair).collect::<Vec<_>>(),
        })
    }

    fn read(json: &Value) -> Option<Self> {
        let pair = |value: &Value| {
            let address = |at: usize| value.get(at)?.as_str()?.parse().ok();
            Some([address(0)?, address(1)?])
        };
        let number = |name: &str| u32::try_from(json[name].as_u64()?).ok();
        Some(Self {
            warm_up_s: number("warm_up_s")?,
            run_s: number("run_s")?,
            salt: number("salt")?,
            relay_pid: number("relay_pid"),
            ends: pair(&json["ends"])?,
            calls: json["calls"]
                .as_array()?
                .iter()
                .map(pair)
                .collect::<Option<Vec<_>>>()?,
        })
    }

    /// The end that sends a stream: first all callers' streams, then all callees'.
    fn end_of(&self, stream: u32) -> usize {
        usize::from(stream as usize >= self.calls.len())
    }

    fn relay_of(&self, stream: u32, end: usize) -> SocketAddrV4 {
        self.calls[stream as usize % self.calls.len()][end]
    }
}

/// Runs the plan in one file and writes what came of it into another.
///
/// # Errors
/// The machine's; a plan that cannot be read.
pub(crate) fn run(plan: &Path, result: &Path) -> Result<(), Error> {
    let text = fs::read_to_string(plan).map_err(Error::io("reading the load's plan"))?;
    let plan = serde_json::from_str(&text).ok();
    let plan = plan.as_ref().and_then(Plan::read).ok_or_else(|| {
        Error::Usage("the load's plan is not what cargo xtask bench writes".to_owned())
    })?;
    let done = generate(&plan)?;
    fs::write(result, done.to_string()).map_err(Error::io("writing the load's result"))
}

/// Sends the load and counts what arrives.
fn generate(plan: &Plan) -> Result<Value, Error> {
    // Without this a sleep may be 50 µs longer than asked for.
    let _ = nix::sys::prctl::set_timerslack(1);
    let [callers, callees] = plan.ends;
    let mut wires = [Wire::bind(callers)?, Wire::bind(callees)?];
    let streams = u32::try_from(plan.calls.len() * 2).unwrap_or(u32::MAX);
    let (first, packets) = (
        plan.warm_up_s * PACKETS_PER_S,
        (plan.warm_up_s + plan.run_s) * PACKETS_PER_S,
    );
    let sources = (0..streams)
        .map(|stream| plan.relay_of(stream, 1 - plan.end_of(stream)))
        .collect();
    let mut tally = Tally::new(sources, plan.salt, first, packets);
    let all = u64::from(streams) * u64::from(packets);
    let measured = u64::from(streams) * u64::from(packets - first);
    let mut late_ns: Vec<u32> = Vec::with_capacity(usize::try_from(measured).unwrap_or(0));

    let began = Instant::now();
    let before = read_cpu_later(plan, began);
    let (mut sent, mut receive_at_ns) = (0, 0);
    while sent < all {
        let now_ns = nanoseconds(began.elapsed());
        let sent_ns = nanoseconds(
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        );
        // A batch's packets bear one time of sending: the batch is small while the pace is kept.
        let due = (now_ns * u64::from(streams) / PERIOD_NS + 1).min(all);
        let until = due.min(sent + super::wire::BATCH as u64);
        for number in sent..until {
            let is_measured = send(plan, &mut wires, number, sent_ns) >= first;
            if is_measured {
                let late = now_ns.saturating_sub(number * PERIOD_NS / u64::from(streams));
                late_ns.push(u32::try_from(late).unwrap_or(u32::MAX));
            }
        }
        wires.iter_mut().for_each(Wire::flush);
        sent = until;
        if now_ns >= receive_at_ns {
            receive_at_ns = now_ns + RECEIVE_EVERY_NS;
            receive(plan, &mut wires, &mut tally)?;
        }
        let next_ns = sent * PERIOD_NS / u64::from(streams);
        let now_ns = nanoseconds(began.elapsed());
        if next_ns > now_ns {
            thread::sleep(Duration::from_nanos((next_ns - now_ns).max(SLEEP_NS_MIN)));
        }
    }
    let drained_by = Instant::now() + DRAIN;
    while !tally.is_complete() && Instant::now() < drained_by {
        receive(plan, &mut wires, &mut tally)?;
        thread::sleep(Duration::from_millis(1));
    }
    receive(plan, &mut wires, &mut tally)?;

    // What a relay has yet to do when the last packet has been sent belongs to the load.
    let after = Reading::now(plan.relay_pid);
    let before = before.join().unwrap_or_default();
    let mut result = tally.into_json();
    late_ns.sort_unstable();
    result["refused"] = json!(wires.iter().map(|wire| wire.refused).sum::<u64>());
    result["late_p50_us"] = json!(at_us(&late_ns, 500));
    result["late_p99_us"] = json!(at_us(&late_ns, 990));
    result["late_max_us"] = json!(at_us(&late_ns, 1_000));
    result["relay_cpu_us"] = json!(after.relay_us - before.relay_us);
    result["generator_cpu_us"] = json!(after.generator_us - before.generator_us);
    Ok(result)
}

/// Sends the `number`-th packet of the load. Returns its number in its stream.
fn send(plan: &Plan, wires: &mut [Wire; 2], number: u64, sent_ns: u64) -> u32 {
    let streams = plan.calls.len() as u64 * 2;
    let packet = Packet {
        stream: u32::try_from(number % streams).unwrap_or(0),
        number: u32::try_from(number / streams).unwrap_or(0),
        sent_ns,
    };
    let mut bytes = [0; PACKET_BYTES];
    packet.write(plan.salt, &mut bytes);
    let end = plan.end_of(packet.stream);
    wires[end].push(&bytes, plan.relay_of(packet.stream, end));
    packet.number
}

/// Takes what has arrived at both ends: a stream of one end arrives at the other.
fn receive(plan: &Plan, wires: &mut [Wire; 2], tally: &mut Tally) -> Result<(), Error> {
    for (end, wire) in wires.iter_mut().enumerate() {
        wire.receive(|arrival| {
            tally.arrived(arrival, |stream| plan.end_of(stream) != end);
        })?;
    }
    Ok(())
}

/// CPU so far, in microseconds.
#[derive(Debug, Default, Clone, Copy)]
struct Reading {
    relay_us: f64,
    generator_us: f64,
}

impl Reading {
    fn now(relay_pid: Option<u32>) -> Self {
        Self {
            relay_us: relay_pid.map_or(0.0, process::one_cpu_us),
            generator_us: process::own_cpu_us(),
        }
    }
}

/// Reads it when the warm-up is over.
fn read_cpu_later(plan: &Plan, began: Instant) -> thread::JoinHandle<Reading> {
    let (relay_pid, warm_up_s) = (plan.relay_pid, plan.warm_up_s);
    thread::spawn(move || {
        let end = began + Duration::from_secs(warm_up_s.into());
        thread::sleep(end.saturating_duration_since(Instant::now()));
        Reading::now(relay_pid)
    })
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free() -> SocketAddrV4 {
        let port = super::super::super::server::free_udp_port().unwrap();
        SocketAddrV4::new(std::net::Ipv4Addr::LOCALHOST, port)
    }

    #[test]
    fn a_plan_is_read_as_it_was_written() {
        let plan = Plan {
            warm_up_s: 1,
            run_s: 2,
            salt: 3,
            relay_pid: Some(7),
            ends: [free(), free()],
            calls: vec![[free(), free()]],
        };
        let again = Plan::read(&plan.to_json()).unwrap();
        assert_eq!(again.to_json(), plan.to_json());
    }

    #[test]
    fn without_a_relay_everything_arrives() {
        let ends = [free(), free()];
        let plan = Plan {
            warm_up_s: 0,
            run_s: 1,
            salt: 3,
            relay_pid: None,
            ends,
            calls: vec![[ends[1], ends[0]]; 3],
        };
        let result = generate(&plan).unwrap();
        assert_eq!(result["sent"], json!(300));
        assert_eq!(result["lost"], json!(0));
        assert_eq!(result["corrupt"], json!(0));
        assert_eq!(result["duplicates"], json!(0));
    }
}
