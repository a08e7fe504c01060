//! Who may speak to the API.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use axum::http::{HeaderMap, Method, StatusCode, header};

/// Where agents post their reports.
pub(crate) const AGENT_PATH: &str = agent::REPORT_PATH;

/// Who may speak to the API.
#[derive(Clone, Default)]
pub struct Access {
    /// What a client presents as `Authorization: Bearer`; none lets everyone
    /// in who can reach the socket.
    pub token: Option<String>,
    /// What an agent may present in its place, to report a load and for
    /// nothing else.
    pub agent_token: Option<String>,
    /// Host names under which the API is reached, beside addresses and
    /// `localhost`, in small letters.
    pub hosts: Vec<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |token: &Option<String>| token.as_ref().map(|_| "***");
        f.debug_struct("Access")
            .field("token", &hidden(&self.token))
            .field("agent_token", &hidden(&self.agent_token))
            .field("hosts", &self.hosts)
            .finish()
    }
}

/// Why a request is turned away before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The Host header names this node by a name it does not go by.
    Host,
    /// A web page sent it.
    Origin,
    /// No token, or a wrong one.
    Token,
    /// The token of agents, for what these may not do.
    AgentOnly,
}

impl Denied {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Denied::Host => StatusCode::MISDIRECTED_REQUEST,
            Denied::Origin | Denied::AgentOnly => StatusCode::FORBIDDEN,
            Denied::Token => StatusCode::UNAUTHORIZED,
        }
    }

    pub(crate) fn message(self) -> &'static str {
        match self {
            Denied::Host => {
                "the Host header is not an address, localhost, or a name of [admin] hosts; add the name there"
            }
            Denied::Origin => {
                "requests of web pages are not taken; use a client without an Origin header"
            }
            Denied::Token => "send the token of [admin] as `Authorization: Bearer TOKEN`",
            Denied::AgentOnly => {
                "the agents' token is for POST /api/agent only; send the token of [admin]"
            }
        }
    }
}

impl Access {
    /// Judges a request by its head.
    pub(crate) fn judge(
        &self,
        method: &Method,
        path: &str,
        authority: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<(), Denied> {
        let host = headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .or(authority);
        // A page that rebinds its name to this address still sends that name.
        // Addresses cannot be rebound.
        if !host.is_some_and(|host| self.goes_by(host)) {
            return Err(Denied::Host);
        }
        // A page can send some requests across origins without asking; the
        // browser names the page in Origin. No page of ours exists.
        if *method != Method::GET && *method != Method::HEAD && headers.contains_key(header::ORIGIN)
        {
            return Err(Denied::Origin);
        }
        // Probes need no secret to learn that the node is up.
        if path == "/healthz" {
            return Ok(());
        }
        let Some(token) = &self.token else {
            return Ok(());
        };
        let given = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.as_bytes().split_at_checked(7))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            .map(|(_, given)| given);
        let is = |token: &str| given.is_some_and(|given| same(given, token.as_bytes()));
        let is_report = *method == Method::POST && path == AGENT_PATH;
        match (is(token), self.agent_token.as_deref().is_some_and(is)) {
            (true, _) => Ok(()),
            (false, true) if is_report => Ok(()),
            (false, true) => Err(Denied::AgentOnly),
            (false, false) => Err(Denied::Token),
        }
    }

    fn goes_by(&self, authority: &str) -> bool {
        if let Some(inner) = authority.strip_prefix('[') {
            return inner
                .split_once(']')
                .is_some_and(|(ip, _)| Ipv6Addr::from_str(ip).is_ok());
        }
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let host = host.strip_suffix('.').unwrap_or(host);
        host.eq_ignore_ascii_case("localhost")
            || IpAddr::from_str(host).is_ok()
            || self
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(host))
    }
}

/// Compares in a time that tells nothing about where two texts differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
