//! Relays one packet of G.711 again and again, for instruction counts and profiles.
//!
//! `relay_loop packet|foreign TIMES`; what each means is said at [`Work`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

use relay::{Command, Direction, Formats, Kind, Port, Relay, Remote, SessionId, Settings, Time};

/// Calls that are open; packets come of one after the other.
const CALLS: u32 = 64;
/// Sockets that a call has: two parties, RTP and RTCP.
const SOCKETS: u32 = 4;

/// What comes.
#[derive(Clone, Copy)]
enum Work {
    /// A packet of the call, which is relayed.
    Packet,
    /// A stranger's, which is dropped.
    Foreign,
}

/// Where a party sends from. Its session description says something else, as behind NAT.
fn source(party: u32) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 7], 20_000 + party as u16))
}

fn open(relay: &mut Relay, call: u32) {
    let session = SessionId(u64::from(call));
    let mut formats = Formats::new();
    formats.add(8, 8_000);
    formats.add(0, 8_000);
    for side in 0..2u8 {
        let port = Port(call * SOCKETS + 2 * u32::from(side));
        let remote = Remote {
            rtp: Some(SocketAddr::from(([10, 0, 0, 5], 4_000))),
            rtcp: None,
            rtcp_mux: false,
            signalling: IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7)),
            direction: Direction::SendRecv,
            formats,
        };
        let commands = [
            Command::Open {
                session,
                stream: 0,
                side,
                port,
                kind: Kind::Rtp,
            },
            Command::Remote {
                session,
                stream: 0,
                side,
                remote,
                relearn: false,
            },
        ];
        for command in commands {
            relay.command(Time::ZERO, command);
        }
    }
    relay.command(Time::ZERO, Command::Select { session, side: 1 });
}

/// 20 ms of sound.
fn packet(call: u32) -> [u8; 172] {
    let mut packet = [0xd5; 172];
    packet[..12].copy_from_slice(&[0x80, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0]);
    packet[11] = call as u8;
    packet
}

fn run(work: Work, times: u32) -> Result<(), u32> {
    let mut relay = Relay::new(Settings::default(), CALLS * SOCKETS);
    let mut packets = Vec::new();
    for call in 0..CALLS {
        open(&mut relay, call);
        packets.push(packet(call));
    }
    // Both parties are there before it begins.
    let mut rounds = 0_u32;
    for nth in 0..times + 4 * CALLS {
        let call = nth % CALLS;
        if call == 0 {
            rounds += 1;
        }
        let packet = &mut packets[call as usize];
        packet[2..4].copy_from_slice(&(rounds as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&(rounds * 160).to_be_bytes());
        let now = Time::from_ms(1_000 + 20 * u64::from(rounds));
        let party = 2 * call;
        let is_foreign = matches!(work, Work::Foreign) && rounds > 4;
        // With the SSRC of the call it would be the party that goes on from elsewhere.
        packet[8] = if is_foreign { 9 } else { 1 };
        let source = match is_foreign {
            true => SocketAddr::from(([192, 0, 2, 66], 4_000)),
            false => source(party),
        };
        let socket = call * SOCKETS;
        let sent = relay.receive(now, socket, source, std::hint::black_box(packet));
        if std::hint::black_box(sent).is_some() == is_foreign {
            return Err(nth);
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let work = match arguments.next().as_deref() {
        Some("packet") => Work::Packet,
        Some("foreign") => Work::Foreign,
        _ => return usage(),
    };
    let Some(times) = arguments.next().and_then(|times| times.parse::<u32>().ok()) else {
        return usage();
    };
    if let Err(nth) = run(work, times) {
        eprintln!("relay_loop: packet {nth} went wrong");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: relay_loop packet|foreign TIMES");
    ExitCode::from(2)
}
