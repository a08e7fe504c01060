//! Prompts to many phones over real sockets: how late packets leave, and what a call costs.
//!
//! `cargo run --release -p driver --example voice [CALLS [SECONDS]]`: by default 500 calls for 10 s, on one media thread. The phones are one other
//! thread, which sends them all a packet each 20 ms and notes when theirs come.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use driver::voice::{VoiceSettings, VoiceSink, Voices, open};
use voice::{
    Clip, Command, Direction, EndId, Event, Format, LATE_BOUNDS_US, Negotiated, PlayId, Remote,
    Sound, Stream, Time, Totals,
};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const FIRST_PORT: u16 = 26_000;
/// Phones that share a socket.
const PHONES_PER_SOCKET: usize = 100;

struct Deaf;

impl VoiceSink for Deaf {
    fn heard(&self, _: u16, events: &mut Vec<Event>) {
        events.clear();
    }
}

/// User and system time of the media threads, in seconds.
fn cpu_s() -> f64 {
    let mut ticks = 0.0;
    for task in std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten()
    {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((head, rest)) = stat.rsplit_once(')')
            && head.contains("(voice-")
        {
            let fields = rest.split_whitespace().skip(11).take(2);
            ticks += fields.filter_map(|it| it.parse::<f64>().ok()).sum::<f64>();
        }
    }
    ticks / 100.0
}

/// What the phones send, and the gaps between what comes to each, in microseconds.
fn phones(sockets: &[UdpSocket], ports: &[SocketAddr], is_over: &AtomicBool) -> Vec<u32> {
    let mut gaps = Vec::new();
    let mut last: HashMap<SocketAddr, Instant> = HashMap::new();
    let mut packet = [0_u8; 172];
    packet[0] = 0x80;
    packet[12..].fill(0xff);
    let mut room = [0; 2_000];
    let start = Instant::now();
    for n in 0_u32.. {
        // A tenth of the phones each 2 ms.
        for (at, port) in ports.iter().enumerate().skip(n as usize % 10).step_by(10) {
            let number = n / 10;
            packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
            packet[4..8].copy_from_slice(&(number * 160).to_be_bytes());
            packet[8..12].copy_from_slice(&(at as u32).to_be_bytes());
            // What is lost is lost.
            let _ = sockets[at / PHONES_PER_SOCKET].send_to(&packet, port);
        }
        for socket in sockets {
            while let Ok((_, source)) = socket.recv_from(&mut room) {
                let now = Instant::now();
                if let Some(before) = last.insert(source, now) {
                    gaps.push(now.duration_since(before).as_micros() as u32);
                }
            }
        }
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let next = start + Duration::from_millis(2) * (n + 1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    gaps.sort_unstable();
    gaps
}

/// Begins the calls, each with a prompt without end. Gives where the phones are to send.
fn call(
    voices: &Voices,
    sockets: &[UdpSocket],
    calls: usize,
) -> Result<Vec<SocketAddr>, Box<dyn std::error::Error>> {
    let sound: Vec<i16> = (0..80_000)
        .map(|n| ((n * 37) % 4_000) as i16 - 2_000)
        .collect();
    let clip = Clip::narrow(Arc::from(sound));
    let mut ports = Vec::new();
    for n in 0..calls {
        let port = voices.take(LOOPBACK, None).ok_or("too few ports")?;
        ports.push(port.address);
        let end = EndId(n as u64);
        let address = sockets[n / PHONES_PER_SOCKET].local_addr()?;
        let started_at = Time::from_micros(voices.now().as_micros() + n as u64 * 1_370 % 20_000);
        let remote = Box::new(Remote {
            rtp: Some(address),
            rtcp: None,
            rtcp_mux: true,
            signalling: LOOPBACK,
            learned: None,
            negotiated: Negotiated::symmetric(Format::PCMU, Some(101)),
            direction: Direction::SendRecv,
        });
        let stream = Stream {
            ssrc: n as u32,
            first_sequence: 0,
            first_timestamp: 0,
            started_at,
        };
        let sounds = vec![Sound::Clip(clip.clone())];
        let mut commands = vec![
            Command::Open {
                end,
                port: port.port,
                stream,
            },
            Command::Remote { end, remote },
            Command::Play {
                end,
                play: PlayId(1),
                sounds,
                from_ms: 0,
                times: 0,
                barge_in: false,
            },
        ];
        voices.push(port.thread, &mut commands);
    }
    Ok(ports)
}

fn print(totals: &Totals, gaps: &[u32]) {
    let all = totals.lateness.packets().max(1);
    let mut sum = 0;
    for (bound, count) in LATE_BOUNDS_US.iter().zip(totals.lateness.counts) {
        sum += count;
        println!(
            "  left at most {:>6} µs late: {:.3} %",
            bound,
            sum as f64 * 100.0 / all as f64
        );
    }
    println!(
        "  later than a frame: {} of {all}, left out {}",
        totals.lateness.over_a_frame(),
        totals.frames_skipped
    );
    let share = |part: f64| {
        gaps.get((gaps.len() as f64 * part) as usize)
            .copied()
            .unwrap_or(0)
    };
    println!(
        "  gaps at the phones: p50 {} p99 {} p99.9 {} µs, most {}",
        share(0.5),
        share(0.99),
        share(0.999),
        share(0.999_999_9)
    );
    println!("  dropped by reason: {:?}", totals.dropped);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let calls: usize = arguments
        .next()
        .and_then(|it| it.parse().ok())
        .unwrap_or(500);
    let seconds: u64 = arguments
        .next()
        .and_then(|it| it.parse().ok())
        .unwrap_or(10);
    let voices = open(&VoiceSettings {
        first_port: FIRST_PORT,
        last_port: FIRST_PORT + (calls * 2) as u16 - 1,
        addresses: vec![LOOPBACK],
        freebind: false,
        advertised: None,
        threads: 1,
        voice: voice::Settings::default(),
    })?
    .start(Arc::new(Deaf))?;
    let sockets: Vec<UdpSocket> = (0..calls.div_ceil(PHONES_PER_SOCKET))
        .map(|_| {
            let socket = UdpSocket::bind((LOOPBACK, 0))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect::<std::io::Result<_>>()?;
    let ports = call(&voices, &sockets, calls)?;
    let is_over = AtomicBool::new(false);
    let (gaps, cpu) = std::thread::scope(|scope| {
        let phones = scope.spawn(|| phones(&sockets, &ports, &is_over));
        std::thread::sleep(Duration::from_secs(1));
        let began = cpu_s();
        std::thread::sleep(Duration::from_secs(seconds));
        let cpu = cpu_s() - began;
        is_over.store(true, Ordering::Relaxed);
        (phones.join().unwrap_or_default(), cpu)
    });
    let view = voices.look(&[], Duration::from_secs(1));
    let totals = view.threads.first().ok_or("no thread")?.totals;
    println!(
        "{calls} calls, {seconds} s: {:.1} % of a core, {:.1} µs a packet sent",
        cpu / seconds as f64 * 100.0,
        cpu * 1e6 / (seconds as f64 * calls as f64 * 50.0)
    );
    print(&totals, &gaps);
    voices.stop();
    Ok(())
}
