//! A phone as real ones are: it sends again what is not answered, and answers again what comes again.

use crate::rig::{Sip, answer, credentials, request, sdp, with_sdp};

const T1_MS: u64 = 500;
const T2_MS: u64 = 4_000;
const GIVES_UP_MS: u64 = 32_000;

/// What a phone does.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// To an INVITE: after how long which answer.
    pub answers: Vec<(u64, u16)>,
    pub cancels_after_ms: Option<u64>,
    /// After it is in a call.
    pub hangs_up_after_ms: Option<u64>,
    pub reinvites_after_ms: Option<u64>,
    pub password: Option<&'static str>,
    pub has_sdp: bool,
    /// It answers 2xx though it was cancelled.
    pub is_deaf_to_cancel: bool,
}

#[derive(Debug)]
struct Client {
    method: &'static str,
    branch: String,
    text: String,
    next: Option<u64>,
    interval: u64,
    began: u64,
    finals: Vec<u16>,
    ack: Option<String>,
}

#[derive(Debug)]
struct Server {
    request: Sip,
    last: Option<String>,
    status: u16,
    next: Option<u64>,
    interval: u64,
    is_acked: bool,
}

#[derive(Debug, Clone)]
struct Dialog {
    local: String,
    remote: String,
    call_id: String,
    routes: Vec<String>,
    target: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Todo {
    Answer(usize, u16),
    Cancel,
    HangUp,
    Reinvite,
}

#[derive(Debug)]
pub struct Phone {
    pub at: String,
    /// Where its Contact says that it is.
    contact_at: String,
    pub is_tcp: bool,
    user: &'static str,
    tag: &'static str,
    pub plan: Plan,
    clients: Vec<Client>,
    servers: Vec<Server>,
    todo: Vec<(u64, Todo)>,
    dialog: Option<Dialog>,
    pub out: Vec<String>,
    count: u32,
    cseq: u32,
    /// Branches of INVITEs that began something here.
    pub invites: Vec<String>,
    /// Branches of requests within the dialog that did.
    pub within: Vec<(String, String)>,
    /// Ports that descriptions named.
    pub ports: Vec<u16>,
}

impl Phone {
    pub fn new(at: &str, user: &'static str, tag: &'static str, plan: Plan) -> Phone {
        Phone {
            at: at.to_owned(),
            contact_at: at.to_owned(),
            is_tcp: false,
            user,
            tag,
            plan,
            clients: Vec::new(),
            servers: Vec::new(),
            todo: Vec::new(),
            dialog: None,
            out: Vec::new(),
            count: 0,
            cseq: 0,
            invites: Vec::new(),
            within: Vec::new(),
            ports: Vec::new(),
        }
    }

    /// Final answers to its requests of a method, in order.
    pub fn finals(&self, method: &str) -> Vec<u16> {
        let those = self.clients.iter().filter(|client| client.method == method);
        those.flat_map(|client| client.finals.clone()).collect()
    }

    pub fn next(&self) -> Option<u64> {
        let clients = self.clients.iter().filter_map(|client| client.next);
        let servers = self.servers.iter().filter_map(|server| server.next);
        let todo = self.todo.iter().map(|(due, _)| *due);
        clients.chain(servers).chain(todo).min()
    }

    fn send(&mut self, method: &'static str, uri: &str, lines: &[&str], now: u64) {
        self.count += 1;
        let branch = format!("z9hG4bK-{}{}", self.tag, self.count);
        let via = format!("{};branch={branch}", self.at);
        let contact = format!("Contact: <sip:{}@{}>", self.user, self.contact_at);
        let mut all = vec![contact.as_str()];
        all.extend(lines);
        let mut text = request(method, uri, &via, &all);
        if self.plan.has_sdp && method == "INVITE" {
            let host = self.at.split(':').next().unwrap_or_default();
            text = with_sdp(&text, &sdp(host, &["audio 4000 RTP/AVP 0"]));
        }
        if self.is_tcp {
            text = text.replace("SIP/2.0/UDP", "SIP/2.0/TCP");
        }
        self.out.push(text.clone());
        if method != "ACK" {
            self.clients.push(Client {
                method,
                branch,
                text,
                next: (!self.is_tcp).then_some(now + T1_MS),
                interval: T1_MS,
                began: now,
                finals: Vec::new(),
                ack: None,
            });
        }
    }

    pub fn call(&mut self, uri: &str, now: u64) {
        self.cseq += 1;
        let cseq = format!("CSeq: {} INVITE", self.cseq);
        self.send("INVITE", uri, &[&cseq], now);
        if let Some(after) = self.plan.cancels_after_ms {
            self.todo.push((now + after, Todo::Cancel));
        }
    }

    /// Its connection broke: it comes from another port, and says again what is not done.
    pub fn reconnect(&mut self) {
        let (host, port) = self.at.split_once(':').expect("a port");
        let port: u16 = port.parse().expect("a port");
        self.at = format!("{host}:{}", port + 1);
        for client in &self.clients {
            if client.finals.is_empty() {
                self.out.push(client.text.clone());
            }
        }
        for server in &self.servers {
            if !server.is_acked {
                self.out.extend(server.last.clone());
            }
        }
    }

    pub fn receive(&mut self, sip: Sip, now: u64) {
        if self.plan.has_sdp && sip.body().starts_with("v=0") {
            self.ports.extend(crate::rig::relayed(&sip));
        }
        match sip.first().starts_with("SIP/2.0 ") {
            true => self.response(&sip, now),
            false => self.request(sip, now),
        }
    }

    fn response(&mut self, sip: &Sip, now: u64) {
        let method = sip
            .the("CSeq")
            .split(' ')
            .nth(1)
            .expect("a method")
            .to_owned();
        let (branch, status) = (sip.branch().to_owned(), sip.status());
        let found = self
            .clients
            .iter()
            .position(|client| client.branch == branch && client.method == method);
        let Some(place) = found else {
            panic!("{} got what it did not ask for: {}", self.at, sip.text);
        };
        let client = &mut self.clients[place];
        if status < 200 {
            if method == "INVITE" {
                client.next = None;
            }
            return;
        }
        client.next = None;
        let is_first = client.finals.is_empty();
        if is_first || client.finals.last() != Some(&status) {
            client.finals.push(status);
        }
        if method != "INVITE" {
            return;
        }
        if let Some(ack) = client.ack.clone() {
            return self.out.push(ack);
        }
        if status < 300 {
            return self.answered(place, sip, now);
        }
        let mut ack: Vec<String> = Vec::new();
        for line in client.text.lines().take_while(|line| !line.is_empty()) {
            match line.split_once(':') {
                _ if line.starts_with("INVITE ") => ack.push(line.replace("INVITE", "ACK")),
                Some(("To", _)) => ack.push(format!("To: {}", sip.the("To"))),
                Some(("CSeq", _)) => ack.push(line.replace("INVITE", "ACK")),
                Some(("Content-Type" | "Content-Length" | "Contact", _)) => {}
                _ => ack.push(line.to_owned()),
            }
        }
        let ack = ack.join("\r\n") + "\r\nContent-Length: 0\r\n\r\n";
        client.ack = Some(ack.clone());
        self.out.push(ack);
        if let (407, Some(password), true) = (status, self.plan.password, is_first) {
            self.clients[place].finals.clear();
            let uri = self.clients[place]
                .text
                .split(' ')
                .nth(1)
                .expect("a URI")
                .to_owned();
            let challenge = sip.the("Proxy-Authenticate").to_owned();
            let value = credentials(self.user, password, "INVITE", &uri, &challenge);
            self.cseq += 1;
            let cseq = format!("CSeq: {} INVITE", self.cseq);
            let line = format!("Proxy-Authorization: {value}");
            self.send("INVITE", &uri, &[&cseq, &line], now);
        }
    }

    fn answered(&mut self, place: usize, sip: &Sip, now: u64) {
        let is_first = self.dialog.is_none();
        let header = |name: &str| sip.the(name).to_owned();
        let routes = sip.headers("Record-Route").into_iter().rev();
        if is_first {
            self.dialog = Some(Dialog {
                local: header("From"),
                remote: header("To"),
                call_id: header("Call-ID"),
                routes: routes.map(str::to_owned).collect(),
                target: header("Contact").trim_matches(['<', '>']).to_owned(),
            });
        }
        let number = sip
            .the("CSeq")
            .split(' ')
            .next()
            .expect("a number")
            .to_owned();
        self.send_within("ACK", &number, now);
        self.clients[place].ack = self.out.last().cloned();
        if is_first {
            self.is_in_call(now);
        }
    }

    fn is_in_call(&mut self, now: u64) {
        if let Some(after) = self.plan.reinvites_after_ms.take() {
            self.todo.push((now + after, Todo::Reinvite));
        }
        if let Some(after) = self.plan.hangs_up_after_ms.take() {
            self.todo.push((now + after, Todo::HangUp));
        }
    }

    fn send_within(&mut self, method: &'static str, cseq: &str, now: u64) {
        let dialog = self.dialog.clone().expect("a dialog");
        let mut lines = vec![
            format!("From: {}", dialog.local),
            format!("To: {}", dialog.remote),
            format!("Call-ID: {}", dialog.call_id),
            format!("CSeq: {cseq} {method}"),
        ];
        lines.extend(dialog.routes.iter().map(|route| format!("Route: {route}")));
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        self.send(method, &dialog.target, &lines, now);
    }

    fn request(&mut self, sip: Sip, now: u64) {
        let (method, branch) = (sip.method().to_owned(), sip.branch().to_owned());
        let number = sip
            .the("CSeq")
            .split(' ')
            .next()
            .expect("a number")
            .to_owned();
        if method == "ACK" {
            let is_acked = |server: &&mut Server| {
                let of = server.request.the("CSeq");
                server.request.method() == "INVITE" && of.split(' ').next() == Some(&number)
            };
            let mut is_new = false;
            for server in self.servers.iter_mut().filter(is_acked) {
                is_new |= !server.is_acked && server.status < 300;
                server.is_acked = true;
                server.next = None;
            }
            if is_new {
                self.is_in_call(now);
            }
            return;
        }
        let known = |server: &&Server| {
            server.request.branch() == branch && server.request.method() == method
        };
        if let Some(server) = self.servers.iter().find(known) {
            self.out.extend(server.last.clone());
            return;
        }
        let is_within = sip.the("To").contains("tag=");
        self.servers.push(Server {
            request: sip,
            last: None,
            status: 0,
            next: None,
            interval: T1_MS,
            is_acked: false,
        });
        let place = self.servers.len() - 1;
        match (method.as_str(), is_within) {
            ("INVITE", false) => {
                self.invites.push(branch);
                let answers = self.plan.answers.clone();
                let todo = answers.iter().map(|&(after, status)| {
                    let todo = Todo::Answer(place, status);
                    (now + after, todo)
                });
                self.todo.extend(todo);
            }
            ("CANCEL", _) => {
                self.answer(place, 200, now);
                let invite = |server: &Server| {
                    server.request.method() == "INVITE" && server.request.branch() == branch
                };
                let invite = self.servers.iter().position(invite);
                if let Some(place) = invite
                    && self.servers[place].status < 200
                    && !self.plan.is_deaf_to_cancel
                {
                    self.todo
                        .retain(|(_, todo)| !matches!(todo, Todo::Answer(at, _) if *at == place));
                    self.answer(place, 487, now);
                }
            }
            _ => {
                self.within.push((method, branch));
                self.answer(place, 200, now);
            }
        }
    }

    fn answer(&mut self, place: usize, status: u16, now: u64) {
        let contact = format!("Contact: <sip:{}@{}>", self.user, self.contact_at);
        let server = &mut self.servers[place];
        let is_invite = server.request.method() == "INVITE";
        let mut text = answer(&server.request, status, self.tag, &[&contact]);
        if self.plan.has_sdp && is_invite && matches!(status, 183 | 200) {
            let host = self.at.split(':').next().unwrap_or_default();
            text = with_sdp(&text, &sdp(host, &["audio 6000 RTP/AVP 0"]));
        }
        server.status = status;
        server.last = Some(text.clone());
        if status >= 200 && is_invite {
            server.next = Some(now + T1_MS);
        }
        if is_invite && status == 200 && self.dialog.is_none() {
            let request = &self.servers[place].request;
            let to = text.lines().find_map(|line| line.strip_prefix("To: "));
            self.dialog = Some(Dialog {
                local: to.expect("a To").to_owned(),
                remote: request.the("From").to_owned(),
                call_id: request.the("Call-ID").to_owned(),
                routes: request
                    .headers("Record-Route")
                    .into_iter()
                    .map(str::to_owned)
                    .collect(),
                target: request.the("Contact").trim_matches(['<', '>']).to_owned(),
            });
        }
        self.out.push(text);
    }

    /// Does what is due.
    pub fn poll(&mut self, now: u64) {
        let due: Vec<Todo> = self
            .todo
            .iter()
            .filter(|(due, _)| *due <= now)
            .map(|(_, todo)| *todo)
            .collect();
        self.todo.retain(|(due, _)| *due > now);
        for todo in due {
            match todo {
                Todo::Answer(place, status) if self.servers[place].status < 200 => {
                    self.answer(place, status, now)
                }
                Todo::Answer(..) => {}
                Todo::Cancel => self.cancel(now),
                Todo::HangUp | Todo::Reinvite => {
                    self.cseq += 1;
                    let method = if todo == Todo::HangUp {
                        "BYE"
                    } else {
                        "INVITE"
                    };
                    self.send_within(method, &self.cseq.to_string(), now);
                }
            }
        }
        for client in &mut self.clients {
            if client.next.is_some_and(|next| next <= now) {
                self.out.push(client.text.clone());
                client.interval *= 2;
                if client.method != "INVITE" {
                    client.interval = client.interval.min(T2_MS);
                }
                let next = now + client.interval;
                client.next = Some(next).filter(|next| *next < client.began + GIVES_UP_MS);
            }
        }
        for server in &mut self.servers {
            if server.next.is_some_and(|next| next <= now) {
                self.out.extend(server.last.clone());
                server.interval = (2 * server.interval).min(T2_MS);
                server.next = Some(now + server.interval);
            }
        }
    }

    fn cancel(&mut self, now: u64) {
        let Some(invite) = self.clients.iter().find(|client| client.finals.is_empty()) else {
            return;
        };
        let mut lines: Vec<String> = Vec::new();
        for line in invite.text.lines().take_while(|line| !line.is_empty()) {
            match line.split_once(':') {
                _ if line.starts_with("INVITE ") => lines.push(line.replace("INVITE", "CANCEL")),
                Some(("CSeq", _)) => lines.push(line.replace("INVITE", "CANCEL")),
                Some(("Content-Type" | "Content-Length" | "Contact", _)) => {}
                _ => lines.push(line.to_owned()),
            }
        }
        let text = lines.join("\r\n") + "\r\nContent-Length: 0\r\n\r\n";
        let branch = invite.branch.clone();
        self.out.push(text.clone());
        self.clients.push(Client {
            method: "CANCEL",
            branch,
            text,
            next: (!self.is_tcp).then_some(now + T1_MS),
            interval: T1_MS,
            began: now,
            finals: Vec::new(),
            ack: None,
        });
    }

    /// What it registers when it comes back.
    pub fn binding(&self) -> (&'static str, String) {
        let contact = format!("sip:{}@{}", self.user, self.contact_at);
        (self.user, contact)
    }

    /// Whether it is done with everything.
    #[track_caller]
    pub fn is_done(&self) {
        for client in &self.clients {
            let had = !client.finals.is_empty() || client.ack.is_some();
            assert!(had, "{}: no answer to {}", self.at, client.text);
        }
        for server in &self.servers {
            let is_invite = server.request.method() == "INVITE";
            assert!(
                !is_invite || server.is_acked || server.status == 0,
                "{}: no ACK",
                self.at
            );
        }
    }
}
