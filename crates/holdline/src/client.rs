//! The other end of the admin API: what the verbs of the command line speak
//! to a running node through.

use std::fmt;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The largest answer taken, in bytes. A page of a thousand bindings is far
/// below it.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How long a node may take to be connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a node may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Speaks to one node.
#[derive(Debug)]
pub(crate) struct Client {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

/// Why a node did not answer as asked.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody answers.
    Unreachable {
        /// The address tried.
        base: String,
        /// What the system says.
        what: String,
    },
    /// The node refused.
    Refused {
        /// The HTTP status.
        status: u16,
        /// The node's reason.
        message: String,
    },
    /// Something answers that is no Holdline node.
    NotHoldline {
        /// The address tried.
        base: String,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable { base, what } => write!(
                f,
                "no node answers on {base}: {what}; start it with `holdline run`, or name another with --admin URL"
            ),
            ClientError::Refused {
                status: 401,
                message,
            } => {
                write!(
                    f,
                    "{message} (here: by --config of the node, or HOLDLINE_TOKEN)"
                )
            }
            ClientError::Refused { message, .. } => write!(f, "{message}"),
            ClientError::NotHoldline { base } => {
                write!(
                    f,
                    "what answers on {base} is not a holdline node; name the node's [admin] listen with --admin URL"
                )
            }
        }
    }
}

impl Client {
    /// Will speak to the node at `base`, as in `http://127.0.0.1:8060`.
    pub(crate) fn new(base: &str, token: Option<String>) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(ANSWER_TIMEOUT))
            .build();
        Client {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            token,
        }
    }

    /// As [`Client::new`], for who asks often and has no use for a late answer.
    pub(crate) fn impatient(base: &str, patience: Duration) -> Client {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(patience))
            .build();
        Client {
            agent: config.into(),
            base: base.trim_end_matches('/').to_owned(),
            token: None,
        }
    }

    /// What happens on the node at `base` from now on: a line of JSON each, for as long as it lives.
    pub(crate) fn events(base: &str) -> Result<impl std::io::Read + use<>, ClientError> {
        let config = ureq::Agent::config_builder()
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .build();
        let agent: ureq::Agent = config.into();
        let answer = agent.get(format!("{base}/api/events")).call();
        let answer = answer.map_err(|error| ClientError::Unreachable {
            base: base.to_owned(),
            what: error.to_string(),
        })?;
        Ok(answer.into_body().into_reader())
    }

    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let request = self.agent.get(format!("{}{path}", self.base));
        self.read(self.signed(request).call())
    }

    pub(crate) fn delete(&self, path: &str) -> Result<(), ClientError> {
        let request = self.agent.delete(format!("{}{path}", self.base));
        self.read::<Value>(self.signed(request).call()).map(drop)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Value,
    ) -> Result<T, ClientError> {
        let request = self.agent.post(format!("{}{path}", self.base));
        self.read(
            self.signed(request)
                .content_type("application/json")
                .send(body.to_string()),
        )
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Result<(), ClientError> {
        let request = self.agent.put(format!("{}{path}", self.base));
        let request = self.signed(request).content_type("application/json");
        self.read::<Value>(request.send(body.to_string())).map(drop)
    }

    /// Whether a node answers at all, ready or not.
    pub(crate) fn probe(&self) -> Result<(), ClientError> {
        let answer = self.agent.get(format!("{}/healthz", self.base)).call();
        answer.map(drop).map_err(|error| self.unreachable(&error))
    }

    fn signed<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        match &self.token {
            Some(token) => request.header("authorization", format!("Bearer {token}")),
            None => request,
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> ClientError {
        ClientError::Unreachable {
            base: self.base.clone(),
            what: error.to_string(),
        }
    }

    fn read<T: DeserializeOwned>(
        &self,
        answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>,
    ) -> Result<T, ClientError> {
        let mut answer = answer.map_err(|error| self.unreachable(&error))?;
        let status = answer.status();
        let text = answer
            .body_mut()
            .with_config()
            .limit(ANSWER_BYTES_MAX)
            .read_to_vec();
        let text = text.map_err(|error| self.unreachable(&error))?;
        let stranger = || ClientError::NotHoldline {
            base: self.base.clone(),
        };
        if status.is_success() {
            return serde_json::from_slice(&text).map_err(|_| stranger());
        }
        let value: Value = serde_json::from_slice(&text).map_err(|_| stranger())?;
        let message = value
            .get("message")
            .and_then(Value::as_str)
            .ok_or_else(stranger)?;
        Err(ClientError::Refused {
            status: status.as_u16(),
            message: message.to_owned(),
        })
    }
}

/// Writes a text so that it can stand in a URL's path or query.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}
