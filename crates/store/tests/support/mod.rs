//! Databases for the tests: a new SQLite file, and real PostgreSQL and MariaDB servers in temporary
//! folders, which live as long as their value.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, Executor};

/// A folder that goes away with its value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("holdline-store-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::DirBuilder::new()
            .mode(0o711)
            .create(&path)
            .expect("a temporary folder");
        Self(path)
    }

    pub(crate) fn sqlite_url(&self) -> String {
        format!("sqlite://{}/holdline.db", self.0.display())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether tests with servers are to run. `HOLDLINE_TEST_DATABASES=sqlite` leaves them out, and says so.
pub(crate) fn servers_wanted() -> bool {
    match std::env::var("HOLDLINE_TEST_DATABASES").as_deref() {
        Ok("sqlite") => {
            let note = "NOT TESTED: PostgreSQL, MariaDB (HOLDLINE_TEST_DATABASES=sqlite)\n";
            std::io::stderr()
                .write_all(note.as_bytes())
                .expect("stderr");
            false
        }
        Ok("all") | Err(_) => true,
        Ok(other) => panic!("HOLDLINE_TEST_DATABASES={other}: expected all or sqlite"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Postgres,
    MariaDb,
}

/// A running server.
pub(crate) struct Server {
    kind: Kind,
    folder: Folder,
    port: u16,
    child: Option<Child>,
}

impl Server {
    pub(crate) async fn start(kind: Kind) -> Self {
        let folder = Folder::new();
        let mut server = Self {
            kind,
            port: free_port(),
            folder,
            child: None,
        };
        match kind {
            Kind::Postgres => server.init_postgres(),
            Kind::MariaDb => server.init_mariadb(),
        }
        server.resume().await;
        server
    }

    /// Starts the server process and waits until it answers.
    pub(crate) async fn resume(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Instant::now() < deadline {
            let running = self
                .child
                .as_mut()
                .is_some_and(|child| matches!(child.try_wait(), Ok(None)));
            if !running {
                self.child = Some(self.spawn());
            }
            if self.admin("SELECT 1").await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the server did not start; its log:\n{}", self.log());
    }

    /// Ends the server process without ceremony.
    pub(crate) fn kill(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if self.kind == Kind::Postgres {
            // QUIT takes the backends with it at once; KILL would leave them for a while.
            let pid = child.id().to_string();
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
            let deadline = Instant::now() + Duration::from_secs(10);
            while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Makes an empty database and returns its URL.
    pub(crate) async fn database(&self, name: &str) -> String {
        self.admin(&format!("CREATE DATABASE {name}"))
            .await
            .expect("a new database");
        self.url(name)
    }

    fn url(&self, database: &str) -> String {
        match self.kind {
            Kind::Postgres => {
                format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
            }
            Kind::MariaDb => {
                let socket = self.folder.0.join("socket");
                format!(
                    "mysql://root@localhost/{database}?socket={}",
                    socket.display()
                )
            }
        }
    }

    async fn admin(&self, sql: &str) -> Result<(), sqlx::Error> {
        let system = match self.kind {
            Kind::Postgres => "postgres",
            Kind::MariaDb => "mysql",
        };
        run(&self.url(system), sql).await
    }

    fn init_postgres(&self) {
        let owner = root().then(|| account("postgres", "postgresql"));
        if let Some((uid, gid)) = owner {
            chown(&self.folder.0, Some(uid), Some(gid)).expect("chown");
        }
        let mut init = Command::new(postgres_bin("initdb"));
        init.args([
            "-A",
            "trust",
            "-U",
            "postgres",
            "-N",
            "-E",
            "UTF8",
            "--locale=C",
            "-D",
        ])
        .arg(self.folder.0.join("data"));
        self.finish(&mut init, owner);
    }

    fn init_mariadb(&self) {
        let program = find("mariadb-install-db", &["/usr/bin", "/usr/local/bin"]);
        let program = program.unwrap_or_else(|| missing("MariaDB", "mariadb-server"));
        let mut init = Command::new(program);
        init.args(["--no-defaults", "--auth-root-authentication-method=normal"])
            .args(["--skip-test-db", "--innodb-log-file-size=16M"])
            .arg(format!(
                "--datadir={}",
                self.folder.0.join("data").display()
            ));
        if root() {
            init.arg("--user=root");
        }
        self.finish(&mut init, None);
    }

    fn spawn(&self) -> Child {
        let folder = self.folder.0.display();
        let (mut command, owner) = match self.kind {
            Kind::Postgres => {
                let mut command = Command::new(postgres_bin("postgres"));
                command
                    .args([
                        "-c",
                        "listen_addresses=127.0.0.1",
                        "-c",
                        "shared_buffers=32MB",
                    ])
                    .args(["-c", "max_connections=30", "-p", &self.port.to_string()])
                    .args(["-k", &folder.to_string(), "-D", &format!("{folder}/data")]);
                let owner = root().then(|| account("postgres", "postgresql"));
                (command, owner)
            }
            Kind::MariaDb => {
                let program = find("mariadbd", &["/usr/sbin", "/usr/local/bin", "/usr/bin"]);
                let program = program.unwrap_or_else(|| missing("MariaDB", "mariadb-server"));
                let mut command = Command::new(program);
                command
                    .args(["--no-defaults", "--skip-networking", "--skip-log-bin"])
                    .args([
                        "--innodb-buffer-pool-size=32M",
                        "--innodb-log-file-size=16M",
                    ])
                    .arg(format!("--datadir={folder}/data"))
                    .arg(format!("--socket={folder}/socket"))
                    .arg(format!("--pid-file={folder}/pid"));
                if root() {
                    command.arg("--user=root");
                }
                (command, None)
            }
        };
        as_owner(&mut command, owner);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.0.join("log"))
            .expect("a log file");
        command
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .spawn()
            .expect("the server starts")
    }

    fn finish(&self, command: &mut Command, owner: Option<(u32, u32)>) {
        as_owner(command, owner);
        let output = command.current_dir("/").output().expect("the program runs");
        assert!(
            output.status.success(),
            "{command:?} failed:\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.0.join("log")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs SQL on the database behind a URL, past the store.
pub(crate) async fn run(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    let sql = sqlx::raw_sql(AssertSqlSafe(sql.to_owned()));
    match url.split(':').next() {
        Some("sqlite") => sqlx::SqliteConnection::connect(url)
            .await?
            .execute(sql)
            .await
            .map(drop),
        Some("mysql") => sqlx::MySqlConnection::connect(url)
            .await?
            .execute(sql)
            .await
            .map(drop),
        _ => sqlx::PgConnection::connect(url)
            .await?
            .execute(sql)
            .await
            .map(drop),
    }
}

fn root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| {
        use std::os::unix::fs::MetadataExt;
        own.uid() == 0
    })
}

fn as_owner(command: &mut Command, owner: Option<(u32, u32)>) {
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
}

fn account(name: &str, package: &str) -> (u32, u32) {
    let passwd = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
    let line = passwd
        .lines()
        .find(|line| line.split(':').next() == Some(name));
    let mut fields = line
        .unwrap_or_else(|| missing(name, package))
        .split(':')
        .skip(2);
    let mut number = || {
        fields
            .next()
            .and_then(|field| field.parse().ok())
            .expect("a number")
    };
    (number(), number())
}

fn postgres_bin(program: &str) -> PathBuf {
    let mut folders = vec![PathBuf::from("/usr/local/bin")];
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        folders.extend(versions.flatten().map(|version| version.path().join("bin")));
    }
    folders.sort();
    let found = folders
        .iter()
        .rev()
        .map(|folder| folder.join(program))
        .find(|path| path.exists());
    found.unwrap_or_else(|| missing("PostgreSQL", "postgresql"))
}

fn find(program: &str, folders: &[&str]) -> Option<PathBuf> {
    folders
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find(|path| path.exists())
}

fn missing(what: &str, package: &str) -> ! {
    panic!(
        "{what} is not installed: install the Debian package {package}, or set \
         HOLDLINE_TEST_DATABASES=sqlite to leave the servers out"
    )
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").port()
}
