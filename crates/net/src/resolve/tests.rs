use super::*;
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, AAAA, NAPTR, SOA, SRV};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use tokio::net::UdpSocket;

/// A name server on loopback: answers from its records, counts what it is asked.
struct Zone {
    records: Vec<(String, RData)>,
    /// Names it never answers for, and names it fails for, by how they begin.
    silent: Vec<&'static str>,
    failing: Vec<&'static str>,
    asked: Mutex<Vec<(String, RecordType)>>,
}

fn dns_name(text: &str) -> Name {
    Name::from_ascii(text).expect("a name")
}

fn a(ip: &str) -> RData {
    RData::A(A(ip.parse().expect("an address")))
}

fn aaaa(ip: &str) -> RData {
    RData::AAAA(AAAA(ip.parse().expect("an address")))
}

fn srv_record(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, dns_name(target)))
}

fn naptr_record(order: u16, services: &str, target: &str) -> RData {
    let boxed = |text: &str| text.as_bytes().to_vec().into_boxed_slice();
    let target = dns_name(target);
    RData::NAPTR(NAPTR::new(
        order,
        50,
        boxed("s"),
        boxed(services),
        boxed(""),
        target,
    ))
}

impl Zone {
    fn new(records: &[(&str, RData)]) -> Zone {
        let records = records
            .iter()
            .map(|(name, data)| ((*name).to_owned(), data.clone()));
        Zone {
            records: records.collect(),
            silent: Vec::new(),
            failing: Vec::new(),
            asked: Mutex::new(Vec::new()),
        }
    }

    fn answer(&self, request: &[u8]) -> Option<Vec<u8>> {
        let request = Message::from_vec(request).expect("a query");
        let query = request.queries.first().expect("a question");
        let (asked_name, kind) = (query.name().clone(), query.query_type());
        let text = asked_name.to_ascii().to_lowercase();
        self.asked
            .lock()
            .expect("not poisoned")
            .push((text.clone(), kind));
        if self.silent.iter().any(|start| text.starts_with(start)) {
            return None;
        }
        let mut response = Message::response(request.metadata.id, request.metadata.op_code);
        response.metadata.message_type = MessageType::Response;
        response.metadata.recursion_available = true;
        response.add_query(query.clone());
        let of_name: Vec<_> = self
            .records
            .iter()
            .filter(|(name, _)| *name == text)
            .collect();
        let beneath = format!(".{text}");
        let exists = self
            .records
            .iter()
            .any(|(name, _)| name.ends_with(&beneath));
        for (_, data) in of_name
            .iter()
            .filter(|(_, data)| data.record_type() == kind)
        {
            response.add_answer(Record::from_rdata(asked_name.clone(), 60, data.clone()));
        }
        if self.failing.iter().any(|start| text.starts_with(start)) {
            response.metadata.response_code = ResponseCode::ServFail;
        } else if response.answers.is_empty() {
            if of_name.is_empty() && !exists {
                response.metadata.response_code = ResponseCode::NXDomain;
            }
            let soa = SOA::new(
                dns_name("ns.test."),
                dns_name("me.test."),
                1,
                60,
                60,
                60,
                60,
            );
            response.add_authority(Record::from_rdata(dns_name("test."), 60, RData::SOA(soa)));
        }
        Some(response.to_vec().expect("encoded"))
    }

    fn asked(&self) -> Vec<(String, RecordType)> {
        std::mem::take(&mut *self.asked.lock().expect("not poisoned"))
    }
}

async fn serve(zone: Zone) -> (Arc<Zone>, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bound");
    let address = socket.local_addr().expect("bound");
    let zone = Arc::new(zone);
    let served = zone.clone();
    tokio::spawn(async move {
        let mut room = [0; 4_096];
        while let Ok((length, from)) = socket.recv_from(&mut room).await {
            if let Some(answer) = served.answer(&room[..length]) {
                socket.send_to(&answer, from).await.expect("sent");
            }
        }
    });
    (zone, address)
}

async fn resolver(zone: Zone, change: impl FnOnce(&mut ResolverOptions)) -> (Arc<Zone>, Resolver) {
    let (zone, address) = serve(zone).await;
    let mut options = ResolverOptions {
        name_servers: vec![address],
        query_timeout: Duration::from_millis(150),
        ..ResolverOptions::default()
    };
    change(&mut options);
    (zone, Resolver::new(&options).expect("a resolver"))
}

fn query(host: &str) -> Query<'_> {
    Query {
        host,
        port: None,
        transport: None,
        secure: false,
    }
}

async fn found(resolver: &Resolver, query: Query<'_>) -> Result<Vec<String>, ResolveError> {
    let destinations = resolver.resolve(query, &mut || 0).await?;
    let text = |found: &Destination| format!("{:?} {}", found.transport, found.address);
    Ok(destinations.iter().map(text).collect())
}

#[tokio::test]
async fn an_address_needs_no_look_up() {
    let (zone, resolver) = resolver(Zone::new(&[]), |_| {}).await;
    for (host, port, transport, secure, expected) in [
        ("192.0.2.7", None, None, false, "Udp 192.0.2.7:5060"),
        ("192.0.2.7", Some(5_070), None, false, "Udp 192.0.2.7:5070"),
        (
            "192.0.2.7",
            None,
            Some(Transport::Tcp),
            false,
            "Tcp 192.0.2.7:5060",
        ),
        ("192.0.2.7", None, None, true, "Tls 192.0.2.7:5061"),
        (
            "192.0.2.7",
            None,
            Some(Transport::Tcp),
            true,
            "Tls 192.0.2.7:5061",
        ),
        ("[2001:db8::7]", None, None, false, "Udp [2001:db8::7]:5060"),
        ("2001:db8::7", Some(1), None, false, "Udp [2001:db8::7]:1"),
    ] {
        let query = Query {
            host,
            port,
            transport,
            secure,
        };
        assert_eq!(found(&resolver, query).await, Ok(vec![expected.to_owned()]));
    }
    let udp = Some(Transport::Udp);
    let secure = Query {
        host: "192.0.2.7",
        port: None,
        transport: udp,
        secure: true,
    };
    assert_eq!(
        found(&resolver, secure).await,
        Err(ResolveError::NotOffered)
    );
    assert_eq!(zone.asked(), []);
}

fn example() -> Zone {
    Zone::new(&[
        (
            "example.test.",
            naptr_record(10, "SIP+D2T", "_sip._tcp.example.test."),
        ),
        (
            "example.test.",
            naptr_record(20, "SIP+D2U", "_sip._udp.example.test."),
        ),
        (
            "example.test.",
            naptr_record(30, "SIPS+D2T", "_sips._tcp.example.test."),
        ),
        ("example.test.", a("192.0.2.99")),
        (
            "_sip._tcp.example.test.",
            srv_record(2, 0, 5_072, "b.example.test."),
        ),
        (
            "_sip._tcp.example.test.",
            srv_record(1, 0, 5_071, "a.example.test."),
        ),
        (
            "_sip._udp.example.test.",
            srv_record(1, 0, 5_073, "a.example.test."),
        ),
        (
            "_sips._tcp.example.test.",
            srv_record(1, 0, 5_074, "b.example.test."),
        ),
        ("a.example.test.", a("192.0.2.1")),
        ("a.example.test.", aaaa("2001:db8::1")),
        ("b.example.test.", a("192.0.2.2")),
    ])
}

#[tokio::test]
async fn naptr_leads_to_srv_and_srv_to_addresses() {
    let (_, resolver) = resolver(example(), |_| {}).await;
    let expected = [
        "Tcp 192.0.2.1:5071",
        "Tcp [2001:db8::1]:5071",
        "Tcp 192.0.2.2:5072",
    ];
    assert_eq!(
        found(&resolver, query("example.test"))
            .await
            .expect("found"),
        expected
    );
    let secure = Query {
        secure: true,
        ..query("example.test")
    };
    assert_eq!(
        found(&resolver, secure).await.expect("found"),
        ["Tls 192.0.2.2:5074"]
    );
}

#[tokio::test]
async fn families_are_asked_for_and_ordered_as_told() {
    for (families, expected) in [
        (Families::V4Only, vec!["Udp 192.0.2.1:5060"]),
        (Families::V6Only, vec!["Udp [2001:db8::1]:5060"]),
        (
            Families::V4First,
            vec!["Udp 192.0.2.1:5060", "Udp [2001:db8::1]:5060"],
        ),
        (
            Families::V6First,
            vec!["Udp [2001:db8::1]:5060", "Udp 192.0.2.1:5060"],
        ),
    ] {
        let (_, resolver) = resolver(example(), |options| options.families = families).await;
        let query = Query {
            port: Some(5_060),
            ..query("a.example.test")
        };
        assert_eq!(found(&resolver, query).await.expect("found"), expected);
    }
}

#[tokio::test]
async fn a_transport_in_the_uri_skips_naptr_and_a_port_skips_srv() {
    let (zone, resolver) = resolver(example(), |options| options.families = Families::V4Only).await;
    let udp = Query {
        transport: Some(Transport::Udp),
        ..query("example.test")
    };
    assert_eq!(
        found(&resolver, udp).await.expect("found"),
        ["Udp 192.0.2.1:5073"]
    );
    let asked = |name: &str, kind| (name.to_owned(), kind);
    let expected = [
        asked("_sip._udp.example.test.", RecordType::SRV),
        asked("a.example.test.", RecordType::A),
    ];
    assert_eq!(zone.asked(), expected);

    let port = Query {
        port: Some(5_080),
        ..query("example.test")
    };
    assert_eq!(
        found(&resolver, port).await.expect("found"),
        ["Udp 192.0.2.99:5080"]
    );
    assert_eq!(zone.asked(), [asked("example.test.", RecordType::A)]);
}

#[tokio::test]
async fn answers_are_cached_the_negative_ones_too() {
    let (zone, resolver) = resolver(example(), |_| {}).await;
    for host in ["example.test", "b.example.test", "nobody.example.test"] {
        let first = found(&resolver, query(host)).await;
        assert!(!zone.asked().is_empty());
        assert_eq!(found(&resolver, query(host)).await, first);
        assert_eq!(zone.asked(), [], "{host}");
    }
}

#[tokio::test]
async fn without_naptr_the_services_are_asked_for_directly() {
    let zone = Zone::new(&[
        (
            "_sip._tcp.example.test.",
            srv_record(1, 0, 5_071, "a.example.test."),
        ),
        (
            "_sip._udp.example.test.",
            srv_record(1, 0, 5_072, "a.example.test."),
        ),
        (
            "_sips._tcp.example.test.",
            srv_record(1, 0, 5_073, "a.example.test."),
        ),
        ("a.example.test.", a("192.0.2.1")),
    ]);
    let (_, resolver) = resolver(zone, |_| {}).await;
    let expected = ["Udp 192.0.2.1:5072", "Tcp 192.0.2.1:5071"];
    assert_eq!(
        found(&resolver, query("example.test"))
            .await
            .expect("found"),
        expected
    );
    let secure = Query {
        secure: true,
        ..query("example.test")
    };
    assert_eq!(
        found(&resolver, secure).await.expect("found"),
        ["Tls 192.0.2.1:5073"]
    );
}

#[tokio::test]
async fn without_any_service_the_name_itself_is_used() {
    let zone = Zone::new(&[("host.test.", a("192.0.2.5"))]);
    let (_, resolver) = resolver(zone, |_| {}).await;
    assert_eq!(
        found(&resolver, query("host.test")).await.expect("found"),
        ["Udp 192.0.2.5:5060"]
    );
    let secure = Query {
        secure: true,
        ..query("HOST.test.")
    };
    assert_eq!(
        found(&resolver, secure).await.expect("found"),
        ["Tls 192.0.2.5:5061"]
    );
}

#[tokio::test]
async fn the_kinds_of_no_are_told_apart() {
    let mut zone = Zone::new(&[
        ("text.test.", srv_record(0, 0, 0, "elsewhere.test.")),
        ("_sip._udp.refusing.test.", srv_record(0, 0, 0, ".")),
        ("_sip._tcp.refusing.test.", srv_record(0, 0, 0, ".")),
        ("refusing.test.", a("192.0.2.6")),
        (
            "sctp.test.",
            naptr_record(10, "SIP+D2S", "_sip._sctp.sctp.test."),
        ),
        (
            "broken.test.",
            naptr_record(10, "SIP+D2U", "_sip._udp.broken.test."),
        ),
        ("dangling.test.", a("192.0.2.7")),
        (
            "_sip._udp.dangling.test.",
            srv_record(0, 0, 5_060, "gone.test."),
        ),
    ]);
    zone.failing = vec!["_sip._udp.failing", "failing"];
    zone.silent = vec!["silent", "_sip._udp.silent", "_sip._tcp.silent"];
    let (_, resolver) = resolver(zone, |_| {}).await;
    for (host, expected) in [
        ("missing.test", ResolveError::NoSuchName),
        ("text.test", ResolveError::NoAddress),
        ("refusing.test", ResolveError::NotOffered),
        ("sctp.test", ResolveError::NotOffered),
        ("broken.test", ResolveError::NoAddress),
        ("dangling.test", ResolveError::NoSuchName),
        ("failing.test", ResolveError::Temporary),
        ("silent.test", ResolveError::Temporary),
        ("", ResolveError::InvalidName),
        (".", ResolveError::InvalidName),
        ("a..b", ResolveError::InvalidName),
        ("spaced out.test", ResolveError::InvalidName),
        ("[192.0.2.1]", ResolveError::InvalidName),
    ] {
        assert_eq!(found(&resolver, query(host)).await, Err(expected), "{host}");
    }
    let long = "a".repeat(64);
    assert_eq!(
        found(&resolver, query(&long)).await,
        Err(ResolveError::InvalidName)
    );
}

#[tokio::test]
async fn a_server_that_does_not_answer_naptr_costs_time_and_nothing_else() {
    let mut zone = Zone::new(&[
        (
            "_sip._udp.example.test.",
            srv_record(1, 0, 5_072, "a.test."),
        ),
        ("a.test.", a("192.0.2.1")),
    ]);
    zone.silent = vec!["example"];
    let (_, resolver) = resolver(zone, |_| {}).await;
    let expected = ["Udp 192.0.2.1:5072"];
    assert_eq!(
        found(&resolver, query("example.test"))
            .await
            .expect("found"),
        expected
    );
}

#[tokio::test]
async fn a_name_takes_no_longer_than_it_may() {
    let mut zone = Zone::new(&[]);
    zone.silent = vec!["silent", "_"];
    let limit = Duration::from_millis(100);
    let (_, resolver) = resolver(zone, |options| {
        options.total_timeout = limit;
        options.query_timeout = Duration::from_secs(30);
    })
    .await;
    let began = std::time::Instant::now();
    assert_eq!(
        found(&resolver, query("silent.test")).await,
        Err(ResolveError::Temporary)
    );
    assert!(began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn one_host_that_cannot_be_found_does_not_hide_the_others() {
    let mut zone = Zone::new(&[
        (
            "_sip._udp.example.test.",
            srv_record(1, 0, 5_061, "gone.test."),
        ),
        (
            "_sip._udp.example.test.",
            srv_record(2, 0, 5_062, "failing.test."),
        ),
        (
            "_sip._udp.example.test.",
            srv_record(3, 0, 5_063, "a.test."),
        ),
        ("a.test.", a("192.0.2.1")),
    ]);
    zone.failing = vec!["failing"];
    let (_, resolver) = resolver(zone, |_| {}).await;
    let expected = ["Udp 192.0.2.1:5063"];
    assert_eq!(
        found(&resolver, query("example.test"))
            .await
            .expect("found"),
        expected
    );
}

#[tokio::test]
async fn the_number_of_hosts_and_destinations_is_bounded() {
    let mut records = Vec::new();
    for number in 0..25u16 {
        let host = format!("h{number}.test.");
        records.push((
            "_sip._udp.example.test.".to_owned(),
            srv_record(number, 0, 1, &host),
        ));
        for last in 1..4u8 {
            let ip = Ipv4Addr::new(192, 0, 2, number as u8 * 4 + last);
            records.push((host.clone(), RData::A(A(ip))));
        }
    }
    let zone = Zone {
        records,
        ..Zone::new(&[])
    };
    let (zone, resolver) = resolver(zone, |options| options.families = Families::V4Only).await;
    let destinations = found(&resolver, query("example.test"))
        .await
        .expect("found");
    assert_eq!(destinations.len(), DESTINATIONS_MAX);
    let hosts = zone
        .asked()
        .iter()
        .filter(|(_, kind)| *kind == RecordType::A)
        .count();
    assert_eq!(hosts, SRV_MAX);
}

#[tokio::test]
async fn a_transport_that_is_not_spoken_is_not_offered() {
    let (_, resolver) = resolver(example(), |options| {
        options.transports = vec![Transport::Udp, Transport::Tcp];
    })
    .await;
    let secure = Query {
        secure: true,
        ..query("example.test")
    };
    assert_eq!(
        found(&resolver, secure).await,
        Err(ResolveError::NotOffered)
    );
    let tls = Query {
        transport: Some(Transport::Tls),
        ..query("example.test")
    };
    assert_eq!(found(&resolver, tls).await, Err(ResolveError::NotOffered));
}

#[tokio::test]
async fn the_system_knows_this_machine() {
    let resolver = Resolver::new(&ResolverOptions::default()).expect("a resolver");
    let query = Query {
        port: Some(5_060),
        ..query("localhost")
    };
    let destinations = resolver.resolve(query, &mut || 0).await.expect("found");
    assert!(
        destinations
            .iter()
            .all(|found| found.address.ip().is_loopback())
    );
}

/// Made without a runtime, as at the start of a program.
#[test]
fn without_name_servers_addresses_and_this_machine_are_still_found() {
    let (config, mut dns) = (ResolverConfig::default(), ResolverOpts::default());
    let options = ResolverOptions::default();
    let resolver = Resolver::with_config(config, &mut dns, &options).expect("a resolver");
    assert_eq!(resolver.name_servers(), 0);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let expected = ["Udp 192.0.2.7:5060"];
        assert_eq!(
            found(&resolver, query("192.0.2.7")).await.expect("found"),
            expected
        );
        let localhost = Query {
            port: Some(5_070),
            ..query("localhost")
        };
        assert!(!found(&resolver, localhost).await.expect("found").is_empty());
        let elsewhere = found(&resolver, query("example.test")).await;
        assert_eq!(elsewhere, Err(ResolveError::Temporary));
    });
}

#[test]
fn a_resolution_may_run_on_any_thread() {
    fn send<T: Send>(value: T) -> T {
        value
    }
    let _ = |resolver: &'static Resolver, random: Random<'static>| {
        send(resolver.resolve(query("example.test"), random))
    };
}

#[tokio::test]
async fn a_service_is_all_its_servers_with_priorities_and_weights() {
    let zone = Zone::new(&[
        ("_sip._udp.pbx.test.", srv_record(20, 1, 5_062, "c.test.")),
        ("_sip._udp.pbx.test.", srv_record(10, 3, 5_060, "a.test.")),
        (
            "_sip._udp.pbx.test.",
            srv_record(10, 1, 5_061, "nowhere.test."),
        ),
        ("a.test.", a("192.0.2.1")),
        ("c.test.", a("192.0.2.3")),
    ]);
    let (_zone, resolver) = resolver(zone, |_| {}).await;
    let service = resolver.service("pbx.test", Transport::Udp).await;
    let service = service.expect("a service");
    let hosts: Vec<String> = service
        .hosts
        .iter()
        .map(|host| {
            let ServiceHost {
                priority,
                weight,
                host,
                address,
            } = host;
            format!("{priority} {weight} {host} {address}")
        })
        .collect();
    assert_eq!(
        hosts,
        ["10 3 a.test 192.0.2.1:5060", "20 1 c.test 192.0.2.3:5062"]
    );
    assert!(service.lifetime > Duration::from_secs(50) && service.lifetime.as_secs() <= 60);
}

#[tokio::test]
async fn a_service_without_records_is_the_host_itself_or_nobody() {
    let mut zone = Zone::new(&[("alone.test.", a("192.0.2.9"))]);
    zone.failing = vec!["_sip._udp.broken.test."];
    let (_zone, resolver) = resolver(zone, |_| {}).await;
    let service = resolver.service("alone.test", Transport::Tcp).await;
    let hosts = service.expect("a host").hosts;
    assert_eq!(hosts[0].address.to_string(), "192.0.2.9:5060");
    let service = resolver.service("missing.test", Transport::Udp).await;
    assert!(service.expect("an answer").hosts.is_empty());
    let service = resolver.service("broken.test", Transport::Udp).await;
    assert_eq!(service, Err(ResolveError::Temporary));
}
