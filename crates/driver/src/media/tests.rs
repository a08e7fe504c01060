use super::*;

use std::net::Ipv4Addr;
use std::thread;

use net::poll::Poller;
use relay::{Direction, Formats, Kind, Relay, Remote, Time};

const LOCAL: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// One relay thread with so many sockets, of which the first has this port.
fn relays(first_port: u16, sockets: u16, poller: &Poller) -> Relays {
    let at = |port| SocketAddr::from((LOCAL, port));
    let ports = first_port..first_port + sockets;
    let mut table = PortTable::new(1);
    for port in (0..u32::from(sockets)).step_by(2) {
        table.add(0, Port(port));
    }
    let share = Share {
        inbox: RelayInbox::new(poller.waker()),
        sockets: ports.map(at).collect(),
    };
    Relays::new(table, vec![LOCAL.into()], None, vec![share])
}

/// What a takeover tells the relay of a call of two.
fn call(number: u64) -> [Command; 7] {
    let session = SessionId(number);
    let open = |side: u8| Command::Open {
        session,
        stream: 0,
        side,
        port: Port((number * 4) as u32 + u32::from(side) * 2),
        kind: Kind::Rtp,
    };
    let remote = |side: u8| Command::Remote {
        session,
        stream: 0,
        side,
        remote: Remote {
            rtp: Some(SocketAddr::from((LOCAL, 9_000))),
            rtcp: None,
            rtcp_mux: false,
            signalling: LOCAL.into(),
            direction: Direction::SendRecv,
            formats: Formats::new(),
        },
        relearn: false,
    };
    let source = |side: u8| Command::Source {
        session,
        stream: 0,
        side,
        source: SocketAddr::from((LOCAL, 9_000)),
    };
    let select = Command::Select { session, side: 1 };
    [
        open(0),
        remote(0),
        open(1),
        remote(1),
        select,
        source(0),
        source(1),
    ]
}

#[test]
fn a_takeover_of_20000_calls_reaches_a_slow_relay_thread_whole() {
    const CALLS: u64 = 20_000;
    let poller = Poller::new().expect("a descriptor");
    let relays = relays(1_024, 2, &poller);
    let mut relay = Relay::new(relay::Settings::default(), CALLS as u32 * 4);
    let dropped = thread::scope(|scope| {
        let inbox = relays.inbox(0).expect("it is there");
        let worker = scope.spawn(|| {
            let mut commands = Commands::of(&relays);
            for command in (0..CALLS).flat_map(call) {
                if commands.push(0, command) {
                    relays.hand_over_slice(&mut commands);
                }
            }
            relays.hand_over(&mut commands);
        });
        let (mut commands, mut asks) = (Vec::new(), Vec::new());
        loop {
            let is_last = worker.is_finished();
            let (dropped, _) = inbox.take(&mut commands, &mut asks);
            // As one that has packets to relay meanwhile.
            thread::sleep(Duration::from_millis(5));
            for command in commands.drain(..) {
                relay.command(Time::ZERO, command);
            }
            if is_last {
                break dropped;
            }
        }
    });
    assert_eq!(dropped, 0);
    assert_eq!(relay.totals().commands_unknown, 0);
    assert_eq!(relay.tables(), (CALLS as usize, CALLS as usize * 2));
}

#[test]
fn a_port_is_claimed_by_its_address_and_once() {
    let poller = Poller::new().expect("a descriptor");
    let relays = relays(20_000, 8, &poller);
    let address = SocketAddr::from((LOCAL, 20_004));
    let claimed = relays.claim(address).expect("it is free");
    assert_eq!((claimed.relay, claimed.port), (0, Port(4)));
    assert_eq!(relays.claim(address), None);
    relays.give_back(0, claimed.port);
    assert_eq!(relays.claim(address), Some(claimed));
    let elsewhere = SocketAddr::from((LOCAL, 20_008));
    assert_eq!(relays.claim(elsewhere), None);
    relays.give_back(0, claimed.port);
    assert_eq!(relays.counts(), (0, 4));
}
