//! The API over real loopback sockets, with a table for a node.

use std::net::IpAddr;
use std::sync::Mutex;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::*;
use crate::ban::Ban;
use crate::metrics::{MetricFamily, MetricKind};
use crate::model::*;
use crate::platform::Answer;
use crate::pool::{PoolStatus, TargetsChanged};

struct Fake {
    users: Mutex<Vec<(String, Credential)>>,
    health: Mutex<Health>,
    events: broadcast::Sender<Stamped>,
}

fn ready<'a, T: Send + 'a>(answer: Result<T, Refusal>) -> Answer<'a, T> {
    Box::pin(async { answer })
}

impl Platform for Fake {
    fn health(&self) -> Health {
        self.health.lock().expect("no test panics with it").clone()
    }
    fn metrics(&self) -> Answer<'_, Vec<MetricFamily>> {
        let up = MetricFamily::single("holdline_up", "Up.", MetricKind::Gauge, 1.0);
        ready(Ok(vec![up]))
    }
    fn status(&self) -> Answer<'_, Status> {
        ready(Err(Refusal::Unavailable {
            reason: "starting".into(),
        }))
    }
    fn registrations(&self, query: Query) -> Answer<'_, Page<Binding>> {
        let items = (0..query.limit.min(3))
            .map(|n| Binding {
                aor: query
                    .aor
                    .clone()
                    .unwrap_or_else(|| format!("user{n}@example.org")),
                contact: format!("sip:user{n}@192.0.2.1"),
                expires_in_s: 60,
                q: 1.0,
                transport: "udp".into(),
                source: "192.0.2.1:5060".into(),
                path: vec![],
                instance: None,
                reg_id: None,
                user_agent: None,
            })
            .collect();
        ready(Ok(Page {
            items,
            next: query.after.is_none().then(|| format!("{}", query.limit)),
        }))
    }
    fn calls(&self, _: Query) -> Answer<'_, Page<Call>> {
        ready(Ok(Page {
            items: vec![],
            next: None,
        }))
    }
    fn pools(&self) -> Answer<'_, Vec<PoolStatus>> {
        ready(Ok(vec![PoolStatus {
            pool: "pbx".into(),
            policy: "least-calls".into(),
            fallback: None,
            targets: vec![],
        }]))
    }
    fn order_target(&self, order: TargetOrder) -> Answer<'_, TargetsChanged> {
        let TargetOrder { verb, target, pool } = order;
        ready(Ok(TargetsChanged {
            targets: vec![format!("{verb} {target} {}", pool.unwrap_or_default())],
        }))
    }
    fn bans(&self) -> Answer<'_, Vec<Ban>> {
        ready(Ok(vec![Ban {
            source: "192.0.2.66".into(),
            reason: "password".into(),
            proved: true,
            times: 1,
            left_s: 60,
            dropped: 7,
        }]))
    }
    fn unban(&self, address: IpAddr) -> Answer<'_, ()> {
        let banned = ["192.0.2.66", "2001:db8::"].map(|text| text.parse().expect("an address"));
        ready(match banned.contains(&address) {
            true => Ok(()),
            false => Err(Refusal::NotFound {
                kind: "ban of",
                name: address.to_string(),
            }),
        })
    }
    fn report_load(&self, report: agent::Report) -> Answer<'_, ()> {
        ready(match report.target.as_str() {
            "pbx1" => Ok(()),
            _ => Err(Refusal::NotFound {
                kind: "target",
                name: report.target,
            }),
        })
    }
    fn users(&self, _: Query) -> Answer<'_, Page<User>> {
        let users = self.users.lock().expect("no test panics with it");
        let items = users
            .iter()
            .map(|(aor, _)| User {
                aor: aor.clone(),
                algorithms: vec!["MD5".into()],
            })
            .collect();
        ready(Ok(Page { items, next: None }))
    }
    fn add_user(&self, user: NewUser) -> Answer<'_, ()> {
        let mut users = self.users.lock().expect("no test panics with it");
        if users.iter().any(|(aor, _)| *aor == user.aor) {
            return ready(Err(Refusal::Exists {
                kind: "user",
                name: user.aor,
            }));
        }
        users.push((user.aor, user.credential));
        ready(Ok(()))
    }
    fn import_users(&self, import: UserImport) -> Answer<'_, Imported> {
        let mut users = self.users.lock().expect("no test panics with it");
        let added = import.users.len() as u64;
        users.extend(
            import
                .users
                .into_iter()
                .map(|user| (user.aor, user.credential)),
        );
        ready(Ok(Imported {
            added,
            ..Imported::default()
        }))
    }
    fn delete_user(&self, aor: String) -> Answer<'_, ()> {
        let mut users = self.users.lock().expect("no test panics with it");
        let before = users.len();
        users.retain(|(known, _)| *known != aor);
        let found = users.len() < before;
        ready(if found {
            Ok(())
        } else {
            Err(Refusal::NotFound {
                kind: "user",
                name: aor,
            })
        })
    }
    fn set_credential(&self, aor: String, credential: Credential) -> Answer<'_, ()> {
        let mut users = self.users.lock().expect("no test panics with it");
        let user = users.iter_mut().find(|(known, _)| *known == aor);
        ready(match user {
            Some(user) => {
                user.1 = credential;
                Ok(())
            }
            None => Err(Refusal::NotFound {
                kind: "user",
                name: aor,
            }),
        })
    }
    fn domains(&self) -> Answer<'_, Vec<Domain>> {
        ready(Ok(vec![Domain {
            domain: "example.org".into(),
            configured: true,
        }]))
    }
    fn add_domain(&self, _: String) -> Answer<'_, ()> {
        ready(Ok(()))
    }
    fn delete_domain(&self, domain: String) -> Answer<'_, ()> {
        ready(Err(Refusal::NotFound {
            kind: "domain",
            name: domain,
        }))
    }
    fn reload(&self) -> Answer<'_, Reloaded> {
        let mistakes = vec!["h.toml:1:1: unknown key".to_owned()];
        ready(Err(Refusal::BadConfig { mistakes }))
    }
    fn order_cluster(&self, order: crate::ClusterOrder) -> Answer<'_, ()> {
        let _ = order;
        ready(Ok(()))
    }
    fn drain(&self) -> Answer<'_, ()> {
        ready(Ok(()))
    }
    fn events(&self) -> broadcast::Receiver<Stamped> {
        self.events.subscribe()
    }
}

struct Node {
    address: SocketAddr,
    fake: Arc<Fake>,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<io::Result<()>>,
}

impl Node {
    async fn start(token: Option<&str>) -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let fake = Arc::new(Fake {
            users: Mutex::default(),
            health: Mutex::new(Health::Ready),
            events: broadcast::channel(2).0,
        });
        let access = Access {
            token: token.map(str::to_owned),
            agent_token: token.map(|token| format!("agents-{token}")),
            hosts: vec!["admin.example.org".into()],
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let stop_signal = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(serve(listener, fake.clone(), access, stop_signal));
        Node {
            address,
            fake,
            stop,
            task,
        }
    }

    /// Sends a request as written (Host and Content-Length are added where
    /// there are none) and returns status and the rest.
    async fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).await.expect("listening");
        let host = if head.contains("Host:") {
            ""
        } else {
            "\r\nHost: localhost:8060"
        };
        let request = format!(
            "{head}{host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("open");
        let mut response = String::new();
        stream.read_to_string(&mut response).await.expect("text");
        let status = response
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        (status.expect("a status line"), response)
    }

    async fn end(self) {
        self.stop.send(()).expect("running");
        self.task.await.expect("no panic").expect("no error");
    }
}

#[tokio::test]
async fn health_is_503_with_the_reason_until_the_node_is_ready() {
    let node = Node::start(Some("secret")).await;
    assert_eq!(node.ask("GET /healthz HTTP/1.1", "").await.0, 200);
    *node.fake.health.lock().expect("no panic") = Health::Unready {
        reason: "draining".into(),
    };
    let (status, text) = node.ask("GET /healthz HTTP/1.1", "").await;
    assert_eq!(status, 503);
    assert!(text.ends_with("draining\n"), "{text}");
    node.end().await;
}

#[tokio::test]
async fn users_are_added_listed_changed_and_deleted() {
    let node = Node::start(None).await;
    let alice = r#"{"aor": "alice@example.org", "password": "wonder\u0065"}"#;
    assert_eq!(node.ask("POST /api/users HTTP/1.1", alice).await.0, 201);
    let (status, text) = node.ask("POST /api/users HTTP/1.1", alice).await;
    assert_eq!(status, 409);
    assert!(text.contains("alice@example.org exists already"), "{text}");
    let (_, text) = node.ask("GET /api/users HTTP/1.1", "").await;
    assert!(text.contains(r#"{"items":[{"aor":"alice@example.org","algorithms":["MD5"]}]}"#));
    assert!(!text.contains("wonder"), "{text}");
    let ha1 = r#"{"ha1": {"MD5": "00112233445566778899aabbccddeeff"}}"#;
    let path = "/api/users/alice%40example.org";
    assert_eq!(
        node.ask(&format!("PUT {path}/password HTTP/1.1"), ha1)
            .await
            .0,
        200
    );
    assert!(matches!(
        node.fake.users.lock().expect("no panic")[0].1,
        Credential::Ha1(_)
    ));
    assert_eq!(
        node.ask(&format!("DELETE {path} HTTP/1.1"), "").await.0,
        200
    );
    assert_eq!(
        node.ask(&format!("DELETE {path} HTTP/1.1"), "").await.0,
        404
    );
    node.end().await;
}

#[tokio::test]
async fn a_bad_body_is_refused_without_repeating_the_password() {
    let node = Node::start(None).await;
    for body in [
        "",
        "{",
        r#"{"aor": "a@b"}"#,
        r#"{"password": "hunter2"}"#,
        r#"{"aor": 1, "password": "hunter2"}"#,
    ] {
        let (status, text) = node.ask("POST /api/users HTTP/1.1", body).await;
        assert_eq!(status, 400, "{body}");
        assert!(
            text.contains("the body must be") && !text.contains("hunter2"),
            "{text}"
        );
    }
    let large = "x".repeat(BODY_BYTES_MAX + 1);
    assert_eq!(node.ask("POST /api/users HTTP/1.1", &large).await.0, 413);
    node.end().await;
}

#[tokio::test]
async fn a_page_is_bounded_and_names_the_next() {
    let node = Node::start(None).await;
    let (_, text) = node
        .ask("GET /api/registrations?limit=2&aor=a%40b HTTP/1.1", "")
        .await;
    assert_eq!(text.matches(r#""aor":"a@b""#).count(), 2, "{text}");
    assert!(text.contains(r#""next":"2""#), "{text}");
    let (_, text) = node
        .ask("GET /api/registrations?limit=99999999 HTTP/1.1", "")
        .await;
    assert!(
        text.contains(&format!(r#""next":"{PAGE_ITEMS_MAX}""#)),
        "{text}"
    );
    assert_eq!(
        node.ask("GET /api/registrations?limit=x HTTP/1.1", "")
            .await
            .0,
        400
    );
    node.end().await;
}

#[tokio::test]
async fn a_name_the_node_does_not_go_by_is_turned_away() {
    let node = Node::start(None).await;
    for (host, status) in [
        ("localhost", 200),
        ("127.0.0.1:8060", 200),
        ("[::1]:8060", 200),
        ("[::1", 421),
        ("ADMIN.example.org:80", 200),
        ("evil.example.com", 421),
        ("127.0.0.1.evil.example.com:8060", 421),
    ] {
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {host}");
        assert_eq!(node.ask(&head, "").await.0, status, "{host}");
    }
    node.end().await;
}

#[tokio::test]
async fn a_web_page_cannot_write() {
    let node = Node::start(None).await;
    let head = "POST /api/drain HTTP/1.1\r\nOrigin: http://evil.example.com";
    assert_eq!(node.ask(head, "").await.0, 403);
    assert_eq!(node.ask("POST /api/drain HTTP/1.1", "").await.0, 202);
    node.end().await;
}

#[tokio::test]
async fn a_token_is_demanded_everywhere_but_for_health() {
    let node = Node::start(Some("0123456789abcdef")).await;
    let with = |token: &str| format!("GET /metrics HTTP/1.1\r\nAuthorization: {token}");
    assert_eq!(node.ask("GET /metrics HTTP/1.1", "").await.0, 401);
    assert_eq!(node.ask(&with("Bearer 0123456789abcdeX"), "").await.0, 401);
    assert_eq!(node.ask(&with("Bearer 0123456789abcdef0"), "").await.0, 401);
    assert_eq!(node.ask(&with("Basic 0123456789abcdef"), "").await.0, 401);
    let (status, text) = node.ask(&with("bearer 0123456789abcdef"), "").await;
    assert_eq!(status, 200);
    assert!(text.contains("text/plain; version=0.0.4") && text.ends_with("holdline_up 1\n"));
    let (_, text) = node.ask("GET /nowhere HTTP/1.1", "").await;
    assert!(
        text.to_ascii_lowercase()
            .contains("www-authenticate: bearer"),
        "{text}"
    );
    assert_eq!(node.ask("GET /healthz HTTP/1.1", "").await.0, 200);
    node.end().await;
}

#[tokio::test]
async fn an_agent_reports_with_its_own_token_and_may_do_nothing_else() {
    let node = Node::start(Some("0123456789abcdef")).await;
    let head =
        |request: &str, token: &str| format!("{request} HTTP/1.1\r\nAuthorization: Bearer {token}");
    let post = |token| head("POST /api/agent", token);
    let (all, agents) = ("0123456789abcdef", "agents-0123456789abcdef");
    let report = r#"{"target":"pbx1","cpu_permille":420}"#;
    for token in [all, agents] {
        assert_eq!(node.ask(&post(token), report).await.0, 200);
    }
    let (status, text) = node.ask(&post(agents), r#"{"target":"pbx2"}"#).await;
    assert!(status == 404 && text.contains("no target pbx2"), "{text}");
    for malformed in ["", "{}", r#"{"target":"pbx1","cpu_permille":1001}"#] {
        assert_eq!(
            node.ask(&post(agents), malformed).await.0,
            400,
            "{malformed}"
        );
    }
    assert_eq!(node.ask("POST /api/agent HTTP/1.1", report).await.0, 401);
    assert_eq!(
        node.ask(&post("agents-0123456789abcdeX"), report).await.0,
        401
    );
    for request in [
        "GET /api/agent",
        "GET /metrics",
        "POST /api/drain",
        "POST /api/targets/pbx1/disable",
    ] {
        let (status, text) = node.ask(&head(request, agents), "").await;
        assert!(status == 403 && text.contains("agents' token"), "{text}");
    }
    node.end().await;
}

#[tokio::test]
async fn refusals_have_their_status_and_say_why() {
    let node = Node::start(None).await;
    let (status, text) = node.ask("GET /api/status HTTP/1.1", "").await;
    assert!(
        status == 503 && text.contains(r#""message":"not now: starting""#),
        "{text}"
    );
    let (status, text) = node.ask("POST /api/reload HTTP/1.1", "").await;
    assert!(
        status == 422 && text.contains("h.toml:1:1: unknown key"),
        "{text}"
    );
    assert_eq!(
        node.ask("DELETE /api/domains/x.org HTTP/1.1", "").await.0,
        404
    );
    assert_eq!(node.ask("GET /api/nothing HTTP/1.1", "").await.0, 404);
    assert_eq!(node.ask("PUT /api/reload HTTP/1.1", "").await.0, 405);
    node.end().await;
}

#[tokio::test]
async fn events_come_as_lines_say_what_was_missed_and_end_when_the_node_stops() {
    let node = Node::start(None).await;
    let mut stream = TcpStream::connect(node.address).await.expect("listening");
    let request = "GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("open");
    let mut text = String::new();
    read_until(&mut stream, &mut text, "\r\n\r\n").await;
    let call = |n: u64| {
        let event = Event::CallEnded {
            call_id: "x".into(),
            from: "alice@a".into(),
            to: "bob@a".into(),
            duration_ms: n,
            silent: false,
            media: Vec::new(),
        };
        Stamped { at_ms: n, event }
    };
    node.fake.events.send(call(1)).expect("a reader");
    read_until(&mut stream, &mut text, r#""duration_ms":1}"#).await;
    let line = r#"{"at_ms":1,"event":"call_ended","call_id":"x","from":"alice@a","to":"bob@a","duration_ms":1}"#;
    assert!(text.contains(line), "{text}");
    // The test's runtime has one thread: no reader runs between the sends.
    for n in 2..8 {
        node.fake.events.send(call(n)).expect("a reader");
    }
    read_until(&mut stream, &mut text, r#""duration_ms":7"#).await;
    assert!(text.contains(r#""event":"missed","count":4"#), "{text}");
    node.end().await;
}

async fn read_until(stream: &mut TcpStream, text: &mut String, end: &str) {
    let mut buffer = [0; 4096];
    while !text.contains(end) {
        let count = stream.read(&mut buffer).await.expect("open");
        assert!(count > 0, "ended before {end:?}: {text}");
        text.push_str(std::str::from_utf8(&buffer[..count]).expect("text"));
    }
}

#[test]
fn a_password_is_not_in_debug_output() {
    let user = NewUser {
        aor: "alice@example.org".into(),
        credential: Credential::Password(Password::new("hunter2".into())),
        later: false,
    };
    assert!(!format!("{user:?}").contains("hunter2"));
}

#[tokio::test]
async fn bans_are_listed_and_ended_by_the_name_they_are_listed_by() {
    let node = Node::start(None).await;
    let (_, text) = node.ask("GET /api/bans HTTP/1.1", "").await;
    assert!(text.contains(r#"{"source":"192.0.2.66","reason":"password","proved":true"#));
    for (address, status) in [
        ("192.0.2.66", 200),
        ("2001:db8::%2F64", 200),
        ("192.0.2.67", 404),
        ("nobody", 422),
    ] {
        let request = format!("DELETE /api/bans/{address} HTTP/1.1");
        assert_eq!(node.ask(&request, "").await.0, status, "{address}");
    }
    node.end().await;
}

#[tokio::test]
async fn pools_are_listed_and_an_order_names_target_verb_and_pool() {
    let node = Node::start(None).await;
    let (status, text) = node.ask("GET /api/pools HTTP/1.1", "").await;
    assert_eq!(status, 200);
    assert!(text.contains(r#""pool":"pbx""#), "{text}");
    let path = "/api/targets/sip%3A10.0.0.30%3A5060";
    let order = format!("POST {path}/drain?pool=pbx HTTP/1.1");
    let (status, text) = node.ask(&order, "").await;
    assert_eq!(status, 200);
    assert!(text.contains("drain sip:10.0.0.30:5060 pbx"), "{text}");
    let (status, text) = node.ask(&format!("POST {path}/kick HTTP/1.1"), "").await;
    assert_eq!(status, 422);
    assert!(text.contains("drain, undrain, disable or enable"), "{text}");
    node.end().await;
}
