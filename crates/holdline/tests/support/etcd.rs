//! One etcd on loopback that speaks TLS, asks for a password, and can be stopped, copied and restored.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use etcd_client::{Client, Permission, PermissionType};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{Ending, free_port, program, wait_until};

/// Whom etcd lets in.
const USER: &str = "holdline";
const PASSWORD: &str = "let me in";

/// An etcd.
pub(crate) struct Etcd {
    folder: PathBuf,
    client: u16,
    peer: u16,
    process: Option<Ending>,
}

impl Etcd {
    /// Starts one with its files in a folder.
    pub(crate) fn start(folder: &Path) -> Etcd {
        let folder = folder.join("etcd");
        fs::create_dir(&folder).expect("made");
        let mut etcd = Etcd {
            folder,
            client: free_port(),
            peer: free_port(),
            process: None,
        };
        etcd.make_certificates();
        etcd.run("http");
        etcd.make_users();
        etcd.stop();
        etcd.begin();
        etcd
    }

    /// `coordinator` of `[cluster]`: the first of the endpoints is dead.
    pub(crate) fn coordinator(&self) -> String {
        let (dead, port, files) = (free_port(), self.client, self.folder.display());
        format!(
            "{{ kind = \"etcd\", endpoints = [\"https://127.0.0.1:{dead}\", \"https://127.0.0.1:{port}\"], \
             user = \"{USER}\", password = \"{PASSWORD}\", ca = \"{files}/ca.pem\", certificate = \"{files}/client.pem\", \
             key = \"{files}/client.key\" }}"
        )
    }

    /// Starts it again.
    pub(crate) fn begin(&mut self) {
        self.run("https");
    }

    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// Copies what it has, while it is stopped, to another place in its folder or back.
    pub(crate) fn copy(&self, from: &str, to: &str) {
        let (from, to) = (self.folder.join(from), self.folder.join(to));
        let _ = fs::remove_dir_all(&to);
        let mut copies = Command::new("cp");
        copies.args(["-a", "-T"]).args([from, to]);
        assert!(copies.status().expect("cp is there").success());
    }

    fn run(&mut self, scheme: &str) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("made");
        let client = format!("{scheme}://127.0.0.1:{}", self.client);
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let mut command = Command::new(program("etcd", "etcd-server"));
        command
            .args(["--name", "s0", "--unsafe-no-fsync", "--bcrypt-cost", "4"])
            .args(["--heartbeat-interval", "20", "--election-timeout", "200"])
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("s0={peer}")])
            .arg("--data-dir")
            .arg(self.folder.join("data"));
        if scheme == "https" {
            let file = |name: &str| self.folder.join(name).display().to_string();
            command
                .args(["--cert-file", &file("server.pem")])
                .args(["--key-file", &file("server.key")])
                .args(["--trusted-ca-file", &file("ca.pem")])
                .arg("--client-cert-auth");
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let started = command.stderr(log).spawn().expect("it is there");
        self.process = Some(Ending(started));
    }

    /// Makes the user, whose rights end with the prefix; etcd asks for a password from then on.
    fn make_users(&self) {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let address = format!("http://127.0.0.1:{}", self.client);
        let mut root = wait_until("etcd", || {
            runtime.block_on(async {
                let mut root = Client::connect([&address], None).await.ok()?;
                let asked = tokio::time::timeout(Duration::from_secs(1), root.status());
                asked.await.ok()?.ok()?;
                Some(root)
            })
        });
        let made: Result<(), etcd_client::Error> = runtime.block_on(async {
            let all = PermissionType::Readwrite;
            let place = Permission::new(all, "/holdline/").with_prefix();
            root.role_add("root").await?;
            root.role_add(USER).await?;
            root.role_grant_permission(USER, place).await?;
            for (user, role) in [("root", "root"), (USER, USER)] {
                root.user_add(user, PASSWORD, None).await?;
                root.user_grant_role(user, role).await?;
            }
            root.auth_enable().await?;
            Ok(())
        });
        made.expect("etcd takes users");
    }

    fn make_certificates(&self) {
        let write = |name: &str, text: String| {
            fs::write(self.folder.join(name), text).expect("written");
        };
        let key = KeyPair::generate().expect("a key");
        let mut ca = CertificateParams::new(Vec::new()).expect("no names");
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        write("ca.pem", ca.self_signed(&key).expect("signed").pem());
        let issuer = Issuer::new(ca, key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().expect("a key");
            let names = vec!["127.0.0.1".to_owned(), name.to_owned()];
            let mut params = CertificateParams::new(names).expect("good names");
            params.extended_key_usages = vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ];
            let certificate = params.signed_by(&key, &issuer).expect("signed");
            write(&format!("{name}.pem"), certificate.pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
    }
}

/// Gives a node a certificate that ended on 2 January 2020, by the authority of `holdline certs` in `folder`.
pub(crate) fn expire(folder: &Path, node: &str) {
    let text = fs::read_to_string(folder.join("ca.key")).expect("readable");
    let ca_key = KeyPair::from_pem(&text).expect("a key");
    let mut ca = CertificateParams::default();
    // As `net::peer::authority` names it.
    ca.distinguished_name
        .push(DnType::CommonName, "holdline cluster lab");
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().expect("a key");
    let names = vec![format!("{node}.holdline.internal")];
    let mut params = CertificateParams::new(names).expect("a good name");
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.not_before = rcgen::date_time_ymd(2019, 1, 2);
    params.not_after = rcgen::date_time_ymd(2020, 1, 2);
    let certificate = params.signed_by(&key, &issuer).expect("signed");
    let write = |file: &str, text: String| {
        fs::write(folder.join(node).join(file), text).expect("written");
    };
    write("node.key", key.serialize_pem());
    write("node.pem", certificate.pem());
}
