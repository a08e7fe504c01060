use super::*;

const NOW_MS: u64 = 1_700_000_000_000;
const REALM: &[u8] = b"example.org";

struct Server {
    nonces: NonceSource,
    filter: ReplayFilter,
    without_qop: WithoutQop,
}

impl Server {
    fn new() -> Server {
        Server {
            nonces: NonceSource::new([3; 16], NOW_MS),
            filter: ReplayFilter::new(64),
            without_qop: WithoutQop::Refuse,
        }
    }

    /// Knows alice by MD5 and SHA-256.
    fn authenticate(&mut self, value: &str, now_ms: u64) -> Outcome {
        let credentials = match Credentials::parse(value.as_bytes()) {
            Ok(credentials) => credentials,
            Err(error) => return error.into(),
        };
        let attempt = Attempt {
            credentials: &credentials,
            method: b"REGISTER",
            now_ms,
            without_qop: self.without_qop,
        };
        authenticate(
            &attempt,
            &self.nonces,
            |user, realm, algorithm| {
                (user == b"al\"ice" && realm == REALM && algorithm != Algorithm::Sha512_256)
                    .then(|| Ha1::compute(algorithm, b"al\"ice", REALM, b"secret"))
            },
            |nonce, nc| self.filter.admit(nonce, nc),
        )
    }
}

/// What a client sends.
struct Client<'a> {
    algorithm: Algorithm,
    user: &'a str,
    password: &'a str,
    nonce: &'a Nonce,
    nc: Option<u32>,
}

impl<'a> Client<'a> {
    fn alice(nonce: &'a Nonce, nc: Option<u32>) -> Client<'a> {
        Client {
            algorithm: Algorithm::Sha256,
            user: "al\"ice",
            password: "secret",
            nonce,
            nc,
        }
    }

    fn value(&self) -> String {
        let ha1 = Ha1::compute(
            self.algorithm,
            self.user.as_bytes(),
            REALM,
            self.password.as_bytes(),
        );
        let nc = format!("{:08x}", self.nc.unwrap_or_default());
        let input = ResponseInput {
            method: b"REGISTER",
            uri: b"sip:example.org",
            nonce: self.nonce.as_bytes(),
            protection: self.nc.map(|_| (nc.as_bytes(), &b"xyz"[..], &b"auth"[..])),
        };
        let protection = match self.nc {
            Some(_) => format!(", qop=auth, nc={nc}, cnonce=\"xyz\""),
            None => String::new(),
        };
        format!(
            "Digest username=\"{}\", realm=\"example.org\", nonce=\"{}\", \
             uri=\"sip:example.org\", response=\"{}\", algorithm={}{protection}",
            self.user.replace('"', "\\\""),
            self.nonce.as_bytes().escape_ascii(),
            input.response(&ha1).to_hex().as_str(),
            self.algorithm,
        )
    }
}

#[test]
fn a_client_with_the_password_is_authentic_once_per_count() {
    let mut server = Server::new();
    let nonce = server.nonces.issue(NOW_MS, 1);
    for nc in [1, 2, 4, 3] {
        let value = Client::alice(&nonce, Some(nc)).value();
        assert_eq!(server.authenticate(&value, NOW_MS + 1), Outcome::Authentic);
        let again = server.authenticate(&value, NOW_MS + 2);
        assert_eq!(again, Outcome::Replayed);
        assert!(again.challenge_is_stale());
    }
}

#[test]
fn one_nonce_serves_every_algorithm() {
    let mut server = Server::new();
    let nonce = server.nonces.issue(NOW_MS, 1);
    let md5 = Client {
        algorithm: Algorithm::Md5,
        ..Client::alice(&nonce, Some(1))
    };
    assert_eq!(
        server.authenticate(&md5.value(), NOW_MS),
        Outcome::Authentic
    );
    let sha256 = Client::alice(&nonce, Some(2));
    assert_eq!(
        server.authenticate(&sha256.value(), NOW_MS),
        Outcome::Authentic
    );
}

#[test]
fn an_old_or_foreign_nonce_with_the_right_response_is_stale() {
    let mut server = Server::new();
    let old = server.nonces.issue(NOW_MS, 1);
    let foreign = NonceSource::new([4; 16], NOW_MS).issue(NOW_MS, 1);
    for (nonce, now_ms) in [
        (old, NOW_MS + NONCE_LIFETIME_MS_DEFAULT + 1),
        (foreign, NOW_MS),
    ] {
        let outcome = server.authenticate(&Client::alice(&nonce, Some(1)).value(), now_ms);
        assert_eq!(outcome, Outcome::Stale);
        assert!(outcome.challenge_is_stale());
        let wrong = Client {
            password: "guess",
            ..Client::alice(&nonce, Some(1))
        };
        assert_eq!(
            server.authenticate(&wrong.value(), now_ms),
            Outcome::WrongPassword
        );
    }
}

#[test]
fn a_wrong_password_uses_up_nothing() {
    let mut server = Server::new();
    let nonce = server.nonces.issue(NOW_MS, 1);
    let wrong = Client {
        password: "guess",
        ..Client::alice(&nonce, Some(1))
    };
    let outcome = server.authenticate(&wrong.value(), NOW_MS);
    assert_eq!(outcome, Outcome::WrongPassword);
    assert!(!outcome.challenge_is_stale());
    let right = Client::alice(&nonce, Some(1));
    assert_eq!(
        server.authenticate(&right.value(), NOW_MS),
        Outcome::Authentic
    );
}

#[test]
fn a_user_is_unknown_by_name_and_by_algorithm() {
    let mut server = Server::new();
    let nonce = server.nonces.issue(NOW_MS, 1);
    let stranger = Client {
        user: "mallory",
        ..Client::alice(&nonce, Some(1))
    };
    assert_eq!(
        server.authenticate(&stranger.value(), NOW_MS),
        Outcome::UnknownUser
    );
    let stronger = Client {
        algorithm: Algorithm::Sha512_256,
        ..Client::alice(&nonce, Some(1))
    };
    assert_eq!(
        server.authenticate(&stronger.value(), NOW_MS),
        Outcome::UnknownUser
    );
}

#[test]
fn a_response_against_the_dummy_is_not_accepted() {
    let mut server = Server::new();
    let nonce = server.nonces.issue(NOW_MS, 1);
    let value = Client {
        user: "mallory",
        ..Client::alice(&nonce, Some(1))
    }
    .value();
    let dummy = Ha1::from_bytes(Algorithm::Sha256, &[0x5a; 32]).expect("32 bytes");
    let input = ResponseInput {
        method: b"REGISTER",
        uri: b"sip:example.org",
        nonce: nonce.as_bytes(),
        protection: Some((b"00000001", b"xyz", b"auth")),
    };
    let (head, tail) = value.split_once("response=\"").expect("there");
    let value = format!(
        "{head}response=\"{}{}",
        input.response(&dummy).to_hex().as_str(),
        &tail[64..]
    );
    assert_eq!(server.authenticate(&value, NOW_MS), Outcome::UnknownUser);
}

#[test]
fn an_old_client_without_qop_has_one_use_of_a_nonce_where_it_is_served() {
    let mut server = Server::new();
    let nonce = server.nonces.issue(NOW_MS, 1);
    let value = Client::alice(&nonce, None).value();
    assert_eq!(server.authenticate(&value, NOW_MS), Outcome::QopMissing);
    server.without_qop = WithoutQop::Accept;
    assert_eq!(server.authenticate(&value, NOW_MS), Outcome::Authentic);
    assert_eq!(server.authenticate(&value, NOW_MS), Outcome::Replayed);
}

#[test]
fn what_cannot_be_judged_is_told_apart() {
    let mut server = Server::new();
    assert_eq!(
        server.authenticate("Digest username=\"a", NOW_MS),
        Outcome::Malformed(CredentialsError::Syntax { at: 18 })
    );
    assert_eq!(
        server.authenticate("Basic abc", NOW_MS),
        Outcome::Unsupported(CredentialsError::NotDigest)
    );
}
