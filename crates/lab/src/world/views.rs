//! What nodes say of themselves. It decides when an experiment goes on, and nothing that is reported.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{DOMAIN, Farm, Lack, NODES, PASSWORD, PATIENCE, USERS, World};
use crate::Error;

/// Users that are added by one request.
const USERS_AT_ONCE: usize = 400;

/// How often nodes are switched on and waited for.
const ATTEMPTS: usize = 3;

/// Who owns a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenure {
    /// Its name.
    pub service: String,
    /// The owner's number.
    pub owner: usize,
    /// The owner's term.
    pub epoch: u64,
}

impl World {
    pub(super) fn add_users(&self) -> Result<(), Error> {
        let phones = USERS.iter().map(|user| (*user, PASSWORD));
        let all: Vec<_> = phones
            .chain(self.plan.users.iter().map(|user| (&**user, &**user)))
            .map(|(user, password)| json!({ "aor": format!("{user}@{DOMAIN}"), "password": password }))
            .collect();
        for some in all.chunks(USERS_AT_ONCE) {
            let body = json!({ "users": some, "replace": true }).to_string();
            self.wait("the users", || {
                let (status, _) = self.http(0, "POST", "/api/users/import", &body)?;
                matches!(status, 200 | 201).then_some(())
            })?;
        }
        Ok(())
    }

    fn http(&self, number: usize, method: &str, path: &str, body: &str) -> Option<(u16, String)> {
        let node = &self.nodes[number];
        let text = node.host.within(|| -> std::io::Result<String> {
            let to = SocketAddr::from(([127, 0, 0, 1], node.admin));
            let mut stream = TcpStream::connect_timeout(&to, Duration::from_secs(1))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(
                stream,
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                body.len()
            )?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        });
        let text = text.ok()?;
        let status = text.split(' ').nth(1)?.parse().ok()?;
        let body = text.split_once("\r\n\r\n")?.1.to_owned();
        Some((status, body))
    }

    /// What a node says of itself, if it answers.
    pub fn status(&self, number: usize) -> Option<Value> {
        self.nodes[number].watcher.as_ref()?;
        let (_, body) = self.http(number, "GET", "/api/status", "")?;
        serde_json::from_str(&body).ok()
    }

    /// What a node says of the edge's service, if it answers.
    pub(crate) fn view(&self, number: usize) -> Option<Value> {
        view_of(&self.status(number)?, "edge")
    }

    /// The node that owns the edge's service, by its own word.
    pub fn owner(&self) -> Option<usize> {
        let is_owner = |number: &usize| {
            let view = self.view(*number);
            view.is_some_and(|view| view["phase"] == "owner")
        };
        (0..NODES).find(is_owner)
    }

    /// Waits until there is one owner and the other is in sync; gives the owner and its epoch.
    pub(crate) fn in_sync(&self) -> Result<(usize, u64), Error> {
        self.wait("the pair in sync", || {
            let owner = self.owner()?;
            let view = self.view(owner)?;
            let all = || (0..NODES).filter(|number| self.runs(*number));
            let whole = all().all(|number| self.process(number).is_some());
            let in_sync = view["in_sync"].as_array()?.len();
            (whole && in_sync == all().count()).then_some((owner, view["epoch"].as_u64()?))
        })
    }

    /// Switches on what was switched off, and waits until all services have an owner and all their members in sync, and all targets of the pool are up; gives who owns what, the edge's
    /// service first.
    pub(crate) fn settled(&mut self) -> Result<Vec<Tenure>, Error> {
        let mut last = None;
        // One that is fenced while it starts has to be switched on once more.
        for _ in 0..ATTEMPTS {
            for number in 0..self.nodes.len() {
                if self.runs(number) {
                    self.link(number)?;
                    self.begin(number)?;
                }
            }
            match self.at_rest() {
                Ok(tenures) => return Ok(tenures),
                Err(error) => last = Some(error),
            }
        }
        Err(last.expect("there is an attempt"))
    }

    fn at_rest(&self) -> Result<Vec<Tenure>, Error> {
        let mut tenures = Vec::new();
        for (service, _) in self.services() {
            let what = format!("{service} in sync");
            tenures.push(self.wait(&what, || self.tenure(&service))?);
        }
        if self.plan.farm == Farm::None || self.plan.lack == Some(Lack::Failover) {
            return Ok(tenures);
        }
        self.wait("the pool", || {
            let owner = self.owner()?;
            let status = self.status(owner)?;
            let pools = status["pools"].as_array()?;
            let mut targets = pools.iter().flat_map(|pool| pool["targets"].as_array());
            let are_up = targets.all(|targets| targets.iter().all(|at| at["state"] == "up"));
            are_up.then_some(())
        })?;
        Ok(tenures)
    }

    /// Waits until every edge knows all users: they are in the store before that, and who does not know them refuses them.
    pub(super) fn know_users(&self) -> Result<(), Error> {
        let users = (USERS.len() + self.plan.users.len()) as u64;
        self.wait("users that all edges know", || {
            let knows = |number: usize| {
                let status = self.status(number)?;
                (status["users"].as_u64()? >= users).then_some(())
            };
            let mut edges = (0..NODES).filter(|number| self.runs(*number));
            edges.all(|number| knows(number).is_some()).then_some(())
        })
    }

    /// Whether every service would survive the loss of its owner now.
    pub(crate) fn is_whole(&self) -> bool {
        self.services()
            .all(|(service, _)| self.tenure(&service).is_some())
    }

    /// The services that a node owns, by its own word.
    pub(crate) fn owned_by(&self, number: usize) -> Vec<String> {
        let status = self.status(number).unwrap_or_default();
        let views = status["cluster"]["services"].as_array();
        let views = views.into_iter().flatten();
        views
            .filter(|view| view["phase"] == "owner")
            .filter_map(|view| Some(view["name"].as_str()?.to_owned()))
            .collect()
    }

    /// Who owns a service, once all its members are in sync.
    fn tenure(&self, service: &str) -> Option<Tenure> {
        let members = self.members(service);
        let number = |name: &str| self.nodes.iter().position(|node| node.name == name);
        let all: Vec<usize> = members.iter().filter_map(|name| number(name)).collect();
        let whole = all.iter().all(|member| self.process(*member).is_some());
        all.iter().find_map(|owner| {
            let view = view_of(&self.status(*owner)?, service)?;
            let in_sync = view["in_sync"].as_array()?.len();
            let is_settled = whole && view["phase"] == "owner" && in_sync == all.len();
            is_settled.then_some(Tenure {
                service: service.to_owned(),
                owner: *owner,
                epoch: view["epoch"].as_u64()?,
            })
        })
    }

    pub(super) fn wait<T>(
        &self,
        what: &str,
        mut look: impl FnMut() -> Option<T>,
    ) -> Result<T, Error> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = look() {
                return Ok(found);
            }
            if Instant::now() > deadline {
                return Err(Error::InVain {
                    what: what.to_owned(),
                    logs: self.plan.folder.clone(),
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a node says of a service.
fn view_of(status: &Value, service: &str) -> Option<Value> {
    let all = status["cluster"]["services"].as_array()?;
    all.iter().find(|view| view["name"] == service).cloned()
}
