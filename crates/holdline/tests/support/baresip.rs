//! baresip, a softphone, without a screen and steered over its control port.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::node::{DOMAIN, Node, password_of};
use super::{Ending, PATIENCE, free_port, program, wait_until};

/// The Debian package.
const PACKAGE: &str = "baresip-core";
/// What precedes the samples in a file of the plain kind.
const WAV_HEAD_BYTES: usize = 44;
/// How long a tone lasts: longer than any test.
const TONE_S: u32 = 120;

/// A softphone of one user.
#[derive(Debug)]
pub(crate) struct Baresip {
    /// Dropped last but one: its end closes the rest.
    _process: Ending,
    control: TcpStream,
    unread: Vec<u8>,
    folder: PathBuf,
    user: String,
}

impl Baresip {
    /// Starts one that registers at once. `domain` is that of the user, with the port.
    pub(crate) fn start(
        folder: &Path,
        (user, domain, password): (&str, &str, &str),
        transport: &str,
    ) -> Baresip {
        let tone = write_tone(folder, user, 500.0);
        let config = format!(
            "sip_listen 127.0.0.1:0\nnet_interface 127.0.0.1\naudio_source aufile,{}\n\
             audio_player aubridge,{user}\naudio_alert aubridge,{user}\n",
            tone.display()
        );
        let account = format!(
            "<sip:{user}@{domain};transport={transport}>;auth_pass={password};regint=600\n"
        );
        Baresip::launch(folder, user, (&config, &["aubridge", "aufile"]), &account)
    }

    /// Starts one at a host of its own, where it has `address`, that registers through `node`, plays
    /// a tone of so many Hz to whom it talks with, and records what it hears.
    pub(crate) fn with_tone(
        folder: &Path,
        (user, password): (&str, &str),
        address: IpAddr,
        node: SocketAddr,
        tone_hz: f64,
    ) -> Baresip {
        let file = write_tone(folder, user, tone_hz);
        let own = file.parent().expect("a folder");
        let config = format!(
            "sip_listen {address}:0\nnet_interface {address}\nrtp_ports 30000-30100\n\
             audio_source aufile,{}\nsnd_path {}\n",
            file.display(),
            own.display()
        );
        let account = format!(
            "<sip:{user}@{DOMAIN}>;outbound=\"sip:{node}\";auth_pass={password};regint=600\n"
        );
        let modules = ["aufile", "sndfile"];
        Baresip::launch(folder, user, (&config, &modules), &account)
    }

    /// Starts one of an office, on loopback: it answers by itself, plays a tone of so many Hz, records what it hears, and watches its mailbox.
    pub(crate) fn of(node: &Node, user: &str, tone_hz: f64) -> Baresip {
        let folder = node.path();
        let file = write_tone(folder, user, tone_hz);
        let own = file.parent().expect("a folder");
        let config = format!(
            "sip_listen 127.0.0.1:0\nnet_interface 127.0.0.1\nrtp_ports 30200-30299\n\
             audio_source aufile,{}\naudio_player aubridge,{user}\naudio_alert aubridge,{user}\nsnd_path {}\nmodule_app mwi.so\n",
            file.display(),
            own.display()
        );
        let (password, outbound) = (password_of(user), node.address());
        let account = format!(
            "<sip:{user}@{DOMAIN}>;outbound=\"sip:{outbound}\";auth_pass={password};regint=600;answermode=auto;mwi=yes\n"
        );
        let modules = ["aubridge", "aufile", "sndfile"];
        let phone = Baresip::launch(folder, user, (&config, &modules), &account);
        // What it did before it was steered it does not tell.
        wait_until("the softphone to register", || {
            let all = node.items("registrations");
            let own = format!("{user}@{DOMAIN}");
            all.iter().any(|one| one["aor"] == *own).then_some(())
        });
        phone
    }

    /// Calls a number, and waits until it is answered; what was heard before is forgotten.
    pub(crate) fn reaches(&mut self, number: &str) {
        self.forgets();
        self.command("dial", number);
        self.sees("CALL_ESTABLISHED");
    }

    /// Presses keys.
    pub(crate) fn presses(&mut self, keys: &str) {
        self.command("sndcode", keys);
    }

    /// Hangs up.
    pub(crate) fn hangs_up(&mut self) {
        self.command("hangup", "");
        self.sees("CALL_CLOSED");
    }

    /// Forgets what it heard in calls before.
    pub(crate) fn forgets(&self) {
        for file in self.recordings() {
            fs::remove_file(file).expect("its own");
        }
    }

    /// Waits until what it heard holds what is looked for.
    pub(crate) fn hears<T>(&self, what: &str, look: impl Fn(&[i16]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let heard = self.recorded();
            if let Some(found) = look(&heard) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{} did not hear {what} in {} ms:\n{}",
                self.user,
                heard.len() / 8,
                self.said()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits for a prompt.
    pub(crate) fn hears_prompt(&self, name: &str) {
        let known = super::prompts::Known::of(name);
        self.hears(name, |heard| known.find(heard));
    }

    /// Waits for some tenths of a second with a tone.
    pub(crate) fn hears_tone(&self, tone_hz: f64) {
        let what = format!("{tone_hz} Hz");
        self.hears(&what, |heard| {
            (super::sound::frames_with(heard, tone_hz) >= 4).then_some(())
        });
    }

    /// Waits until it printed this.
    pub(crate) fn says(&self, text: &str) {
        super::wait_until(text, || self.said().contains(text).then_some(()));
    }

    /// The files of what it heard.
    fn recordings(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(&self.folder).expect("its folder").flatten();
        let names = files.map(|entry| entry.path());
        names
            .filter(|path| path.to_string_lossy().ends_with("-dec.wav"))
            .collect()
    }

    /// Starts one that is a media server: it registers nowhere, and answers every call to `user` that comes
    /// to `port`.
    pub(crate) fn serves(folder: &Path, user: &str, port: u16) -> Baresip {
        let tone = write_tone(folder, user, 500.0);
        let config = format!(
            "sip_listen 127.0.0.1:{port}\nnet_interface 127.0.0.1\ncall_max_calls 100\n\
             audio_source aufile,{}\naudio_player aubridge,{user}\naudio_alert aubridge,{user}\n",
            tone.display()
        );
        let account = format!("<sip:{user}@127.0.0.1:{port}>;regint=0;answermode=auto\n");
        Baresip::launch(folder, user, (&config, &["aubridge", "aufile"]), &account)
    }

    fn launch(
        folder: &Path,
        user: &str,
        (config, modules): (&str, &[&str]),
        account: &str,
    ) -> Baresip {
        let program = program("baresip", PACKAGE);
        let folder = folder.join(format!("baresip-{user}"));
        fs::create_dir_all(&folder).expect("a folder");
        let control = free_port();
        let modules: String = modules
            .iter()
            .map(|name| format!("module {name}.so\n"))
            .collect();
        let config = format!(
            "poll_method epoll\n{config}module_path {}\nmodule g711.so\n{modules}\
             module_app account.so\nmodule_app menu.so\nmodule_app ctrl_tcp.so\n\
             ctrl_tcp_listen 127.0.0.1:{control}\n",
            module_path().display()
        );
        fs::write(folder.join("config"), config).expect("written");
        fs::write(folder.join("accounts"), account).expect("written");
        fs::write(folder.join("contacts"), "").expect("written");
        let out = fs::File::create(folder.join("out")).expect("made");
        let process = Command::new(program)
            .arg("-f")
            .arg(&folder)
            .args(["-s", "-v"])
            .current_dir(&folder)
            .env("HOME", &folder)
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a handle"))
            .stderr(out)
            .spawn();
        let process = Ending(process.expect("it is there"));
        let control = wait_until("baresip's control port", || {
            TcpStream::connect(("127.0.0.1", control)).ok()
        });
        Baresip {
            _process: process,
            control,
            unread: Vec::new(),
            folder,
            user: user.to_owned(),
        }
    }

    /// What it has recorded of what it heard, 8,000 samples a second. Debian's baresip 1.0.0 records no
    /// more after its call was on hold for the first time (baresip's issue 1496).
    pub(crate) fn recorded(&self) -> Vec<i16> {
        let file = self.recordings().pop();
        let bytes = file.map_or_else(Vec::new, |file| fs::read(file).expect("readable"));
        let samples = bytes.get(WAV_HEAD_BYTES..).unwrap_or_default();
        let samples = samples.chunks_exact(2);
        samples
            .map(|pair| i16::from_le_bytes([pair[0], pair[1]]))
            .collect()
    }

    /// Gives a command, such as `dial`.
    pub(crate) fn command(&mut self, command: &str, parameters: &str) {
        let text = json!({ "command": command, "params": parameters }).to_string();
        let netstring = format!("{}:{text},", text.len());
        self.control.write_all(netstring.as_bytes()).expect("open");
    }

    /// Waits for an event of this type, such as `CALL_ESTABLISHED`; others are passed over.
    pub(crate) fn sees(&mut self, kind: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            while let Some(message) = self.netstring() {
                let event: Value = serde_json::from_slice(&message).expect("JSON");
                if event["type"] == kind {
                    return event;
                }
            }
            let rest = deadline.saturating_duration_since(Instant::now());
            let rest = rest.max(Duration::from_millis(1));
            self.control
                .set_read_timeout(Some(rest))
                .expect("an option");
            let mut bytes = [0; 4096];
            match self.control.read(&mut bytes) {
                Ok(size) if size > 0 => self.unread.extend_from_slice(&bytes[..size]),
                _ => panic!("{} did not see {kind}:\n{}", self.user, self.said()),
            }
        }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.folder.join("out")).unwrap_or_default()).into_owned()
    }

    /// Takes `LENGTH:BYTES,` out of what came.
    fn netstring(&mut self) -> Option<Vec<u8>> {
        let colon = self.unread.iter().position(|&byte| byte == b':')?;
        let length = std::str::from_utf8(&self.unread[..colon]).expect("digits");
        let end = colon + 1 + length.parse::<usize>().expect("a length");
        if self.unread.len() <= end {
            return None;
        }
        let message = self.unread[colon + 1..end].to_vec();
        self.unread.drain(..=end);
        Some(message)
    }
}

/// Writes a file with a tone into the folder of a user's phone.
fn write_tone(folder: &Path, user: &str, tone_hz: f64) -> PathBuf {
    let folder = folder.join(format!("baresip-{user}"));
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("tone.wav");
    fs::write(&file, wav(tone_hz)).expect("written");
    file
}

/// A file with a tone: 8,000 samples a second, 16 bits, one channel.
fn wav(tone_hz: f64) -> Vec<u8> {
    let samples = super::sound::tone(tone_hz, 8_000 * TONE_S as usize);
    let size = u32::try_from(samples.len() * 2).expect("a short file");
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((size + 36).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    for (value, width) in [
        (16_u32, 4),
        (1, 2),
        (1, 2),
        (8_000, 4),
        (16_000, 4),
        (2, 2),
        (16, 2),
    ] {
        bytes.extend(&value.to_le_bytes()[..width]);
    }
    bytes.extend(b"data");
    bytes.extend(size.to_le_bytes());
    for sample in samples {
        bytes.extend(sample.to_le_bytes());
    }
    bytes
}

/// Where its modules are: Debian puts them into one of these.
fn module_path() -> PathBuf {
    let libraries = fs::read_dir("/usr/lib").expect("readable").flatten();
    let nested = libraries.map(|entry| entry.path().join("baresip/modules"));
    std::iter::once(PathBuf::from("/usr/lib/baresip/modules"))
        .chain(nested)
        .find(|path| path.join("ctrl_tcp.so").is_file())
        .unwrap_or_else(|| panic!("baresip's modules are missing: apt-get install {PACKAGE}"))
}
