//! New voice messages for those who want to hear of them elsewhere: by e-mail, at a webhook, by a program that sends mail.

use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use driver::pbx::{Handed, HandingOver, NotHanded, Notify};
use jiff::Timestamp;
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use reqwest::StatusCode;
use store::Message;
use tokio::io::AsyncWriteExt;

use crate::config::{self, MailServer};

/// How long a webhook, a mail server or the mail program may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The largest sound that a webhook is sent; of larger ones it gets the name in the media store.
const SOUND_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Characters of a line in base64 (RFC 2045 section 6.8).
const LINE_CHARS: usize = 76;

const WEBHOOK: &str = "webhook";
const COMMAND: &str = "command";
const MAIL: &str = "mail";

/// Hands new voice messages over.
pub(crate) struct Hand {
    webhook: Option<(reqwest::Client, String)>,
    command: Option<Vec<String>>,
    mail: Option<Mail>,
}

struct Mail {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
}

impl Hand {
    /// What the configuration asks for, if anything.
    ///
    /// # Errors
    /// What is wrong with the client of the webhook or of the mail server, in words.
    pub(crate) fn of(config: &config::Pbx) -> Result<Option<Hand>, String> {
        // The one provider of this program; that another has installed it already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = |url: &String| {
            let client = reqwest::Client::builder().timeout(TIMEOUT).build();
            client.map(|client| (client, url.clone()))
        };
        let webhook = config.message_webhook.as_ref().map(client).transpose();
        let mail = config.mail.as_ref().map(Mail::of).transpose();
        let hand = Hand {
            webhook: webhook.map_err(|error| error.to_string())?,
            command: config.message_command.clone(),
            mail: mail.map_err(|error| error.to_string())?,
        };
        let is_used = hand.webhook.is_some() || hand.command.is_some() || hand.mail.is_some();
        Ok(is_used.then_some(hand))
    }
}

impl Notify for Hand {
    fn ways(&self, email: Option<&str>) -> Vec<&'static str> {
        let ways = [
            (self.webhook.is_some(), WEBHOOK),
            (self.command.is_some(), COMMAND),
            (self.mail.is_some() && email.is_some(), MAIL),
        ];
        let there = ways.into_iter().filter(|(is_there, _)| *is_there);
        there.map(|(_, way)| way).collect()
    }

    fn hand_over<'a>(&'a self, way: &'a str, handed: &'a Handed) -> HandingOver<'a> {
        Box::pin(async move {
            match (way, &self.webhook, &self.command, &self.mail) {
                (WEBHOOK, Some((client, url)), ..) => post(client, url, handed).await,
                (COMMAND, _, Some(command), _) => run(command, handed).await,
                (MAIL, .., Some(mail)) => mail.send(handed).await,
                _ => Err(NotHanded::Never("it is no longer configured".to_owned())),
            }
        })
    }
}

/// Tells a webhook, which takes it by any 2xx.
async fn post(client: &reqwest::Client, url: &str, handed: &Handed) -> Result<(), NotHanded> {
    let Handed {
        mailbox,
        message,
        sound,
        ..
    } = handed;
    let sound = (sound.len() <= SOUND_BYTES_MAX).then(|| STANDARD.encode(sound));
    let body = serde_json::json!({
        "mailbox": mailbox,
        "message": message.name,
        "path": message.path,
        "caller": {
            "user": message.caller_user,
            "host": message.caller_host,
            "display": message.caller_display,
        },
        "left_unix_ms": message.left_unix_ms,
        "length_ms": message.length_ms,
        "sound": { "type": "audio/wav", "base64": sound },
    });
    let request = client
        .post(url)
        .header("Content-Type", "application/json")
        .body(body.to_string());
    let answer = match request.send().await {
        Ok(answer) => answer,
        Err(error) => return Err(NotHanded::Later(error.without_url().to_string())),
    };
    let status = answer.status();
    let reason = format!("the webhook answered {status}");
    match status {
        status if status.is_success() => Ok(()),
        StatusCode::BAD_REQUEST
        | StatusCode::GONE
        | StatusCode::PAYLOAD_TOO_LARGE
        | StatusCode::UNPROCESSABLE_ENTITY => Err(NotHanded::Never(reason)),
        _ => Err(NotHanded::Later(reason)),
    }
}

/// Runs the operator's mail program with the letter on its standard input.
async fn run(command: &[String], handed: &Handed) -> Result<(), NotHanded> {
    let later = |what: &dyn std::fmt::Display| NotHanded::Later(what.to_string());
    let Some((program, arguments)) = command.split_first() else {
        return Ok(());
    };
    let to = handed.email.as_deref().unwrap_or(&handed.mailbox);
    let letter = letter((None, to), handed);
    let mut child = tokio::process::Command::new(program)
        .args(arguments)
        .env("HOLDLINE_MAILBOX", &handed.mailbox)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| later(&format_args!("{program}: {error}")))?;
    let work = async {
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&letter).await?;
        }
        child.wait().await
    };
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(later(&format_args!("{program}: {status}"))),
        Ok(Err(error)) => Err(later(&format_args!("{program}: {error}"))),
        Err(_) => Err(later(&format_args!("{program} did not end in time"))),
    }
}

impl Mail {
    fn of(server: &MailServer) -> Result<Mail, lettre::transport::smtp::Error> {
        let tls = || TlsParameters::new(server.host.clone());
        let tls = match (server.is_tls, &server.user) {
            (true, _) => Tls::Wrapper(tls()?),
            // A password never goes in clear.
            (false, Some(_)) => Tls::Required(tls()?),
            (false, None) => Tls::Opportunistic(tls()?),
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&*server.host)
            .port(server.port)
            .tls(tls)
            .timeout(Some(TIMEOUT));
        if let (Some(user), Some(password)) = (&server.user, &server.password) {
            let password = password.reveal().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        Ok(Mail {
            transport: builder.build(),
            from: server.from.clone(),
        })
    }

    /// Sends a letter to the owner of the mailbox, if the dialplan knows an address.
    async fn send(&self, handed: &Handed) -> Result<(), NotHanded> {
        let Some(to) = &handed.email else {
            return Ok(());
        };
        let never = |error: &dyn std::fmt::Display| NotHanded::Never(format!("{to}: {error}"));
        let address: Address = to.parse().map_err(|error| never(&error))?;
        let envelope = Envelope::new(Some(self.from.clone()), vec![address]);
        let envelope = envelope.map_err(|error| never(&error))?;
        let letter = letter((Some(self.from.as_ref()), to), handed);
        match self.transport.send_raw(&envelope, &letter).await {
            Ok(_) => Ok(()),
            Err(error) => {
                let code = error.status().map(u16::from);
                let reason = format!("the mail server: {error}");
                // This letter is refused (RFC 5321 section 4.2.3). Other 5xx are of what an operator may put right: a password, a relay.
                match code.is_some_and(|code| (550..=554).contains(&code)) {
                    true => Err(NotHanded::Never(reason)),
                    false => Err(NotHanded::Later(reason)),
                }
            }
        }
    }
}

/// An e-mail with the sound attached (RFC 5322, RFC 2045).
fn letter((from, to): (Option<&str>, &str), handed: &Handed) -> Vec<u8> {
    let (mailbox, message) = (clean(&handed.mailbox), &handed.message);
    let caller = caller(message);
    let boundary = "holdline-voice-message";
    let from = from.map_or_else(String::new, |from| {
        let host = from.rsplit('@').next().unwrap_or("localhost");
        format!(
            "From: {from}\r\nDate: {}\r\nMessage-ID: <{}@{host}>\r\n",
            date(SystemTime::now()),
            clean(&message.name)
        )
    });
    let mut out = format!(
        "{from}To: {to}\r\nSubject: Voice message from {caller}\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/mixed; boundary=\"{boundary}\"\r\n\r\n\
         --{boundary}\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n\
         {caller} left a message of {seconds} seconds in mailbox {mailbox}.\r\n\r\n\
         --{boundary}\r\nContent-Type: audio/wav\r\nContent-Transfer-Encoding: base64\r\n\
         Content-Disposition: attachment; filename=\"{name}.wav\"\r\n\r\n",
        to = clean(to),
        seconds = message.length_ms.div_ceil(1_000),
        name = clean(&message.name),
    )
    .into_bytes();
    let encoded = STANDARD.encode(&handed.sound);
    for line in encoded.as_bytes().chunks(LINE_CHARS) {
        out.extend_from_slice(line);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    out
}

/// A name that a caller chose does not end a header.
fn clean(text: &str) -> String {
    let fits = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '<' | '>') || c == ' ';
    text.chars()
        .map(|c| if fits(c) { c } else { '?' })
        .take(128)
        .collect()
}

fn caller(message: &Message) -> String {
    match message.caller_display.is_empty() {
        true => clean(&message.caller_user),
        false => format!(
            "{} ({})",
            clean(&message.caller_display),
            clean(&message.caller_user)
        ),
    }
}

/// The date as in RFC 5322 section 3.3, in UTC.
fn date(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let at = i64::try_from(since).ok();
    let at = at.and_then(|since| Timestamp::from_second(since).ok());
    let at = at.unwrap_or_default();
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_string(&at).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_letters() {
        let at = UNIX_EPOCH + Duration::from_secs(951_782_400);
        assert_eq!(date(at), "Tue, 29 Feb 2000 00:00:00 -0000");
    }

    #[test]
    fn a_callers_name_does_not_end_a_header() {
        let handed = Handed {
            mailbox: "101".into(),
            email: None,
            message: Message {
                name: "1".into(),
                path: "voicemail/101/1.wav".into(),
                caller_user: "eve\r\nBcc: all@example.org".into(),
                caller_host: "example.org".into(),
                caller_display: "Eve <\"\u{fc}>".into(),
                left_unix_ms: 1,
                length_ms: 1_500,
                is_heard: false,
            },
            sound: vec![1; 200],
        };
        let letter = String::from_utf8(letter(
            (Some("pbx@example.org"), "ann@example.org"),
            &handed,
        ));
        let letter = letter.expect("ASCII");
        assert!(
            letter.starts_with("From: pbx@example.org\r\nDate: "),
            "{letter}"
        );
        assert!(
            letter.contains(
                "\r\nSubject: Voice message from Eve ???? (eve??Bcc: all@example.org)\r\n"
            ),
            "{letter}"
        );
        assert!(
            letter.contains("a message of 2 seconds in mailbox 101."),
            "{letter}"
        );
        assert!(letter.lines().all(|line| line.len() <= 200), "{letter}");
    }
}
