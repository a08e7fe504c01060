//! Measures adding many users and loading users and bindings at start: time, and the most memory.
//!
//! `cargo run --release -p store --example bench_users [COUNT]`, 200,000 without it, on SQLite in a new
//! folder under the current one, removed afterwards.

use std::error::Error;
use std::ops::ControlFlow;
use std::time::Instant;

use store::{
    BindingChange, BindingId, BindingRow, BindingWriter, Credentials, NewSubscriber, Store,
    StoreOptions, WriterOptions,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const CHUNK: usize = 5_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let count: usize = match std::env::args().nth(1) {
        Some(text) => text.parse()?,
        None => 200_000,
    };
    let folder = std::env::current_dir()?.join(format!("bench-{}", std::process::id()));
    let url = format!("sqlite://{}", folder.join("bench.db").display());
    let store = Store::open(&url, StoreOptions::default()).await?;

    let began = Instant::now();
    for first in (0..count).step_by(CHUNK) {
        let users: Vec<_> = (first..count.min(first + CHUNK)).map(user).collect();
        store.users_add(&users, false).await?;
    }
    report("adding users", count, began)?;

    let writer = BindingWriter::start(&store, WriterOptions::default());
    let began = Instant::now();
    for first in (0..count).step_by(4096) {
        let (sender, done) = tokio::sync::oneshot::channel();
        let rows =
            (first..count.min(first + 4096)).map(|at| BindingChange::Put(row(at as i64 + 1)));
        let completion = Box::new(move |result| drop(sender.send(result)));
        let submitted = writer.submit(rows.collect(), completion);
        submitted.map_err(|rejected| format!("{rejected:?}"))?;
        done.await??;
    }
    writer.close().await;
    report("writing bindings", count, began)?;

    let began = Instant::now();
    let mut seen = 0;
    store
        .users(None, |_| {
            seen += 1;
            ControlFlow::Continue(())
        })
        .await?;
    report("loading users, in order", seen, began)?;
    let began = Instant::now();
    let mut seen = 0;
    store.load_bindings(|_| seen += 1).await?;
    report("loading bindings", seen, began)?;
    std::fs::remove_dir_all(folder)?;
    Ok(())
}

fn report(work: &str, count: usize, began: Instant) -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let most = status.lines().find(|line| line.starts_with("VmHWM"));
    println!(
        "{work:<24} {count:>9} in {:>6.2} s, {:>6.2} us each; {}",
        began.elapsed().as_secs_f64(),
        began.elapsed().as_secs_f64() * 1e6 / count.max(1) as f64,
        most.unwrap_or_default()
    );
    Ok(())
}

fn user(number: usize) -> NewSubscriber {
    NewSubscriber {
        username: format!("user{number}"),
        domain: "example.org".to_owned(),
        credentials: Credentials {
            ha1_md5: Some([7; 16]),
            ha1_sha256: Some([8; 32]),
            ha1_sha512_256: Some([9; 32]),
        },
    }
}

fn row(id: i64) -> BindingRow {
    BindingRow {
        id: BindingId(id),
        aor: format!("user{id}@example.org").into_bytes(),
        contact: format!("sip:user{id}@192.0.2.17:5060;transport=udp").into_bytes(),
        received: b"192.0.2.17:5060".to_vec(),
        flow: b"udp 192.0.2.1:5060".to_vec(),
        path: Vec::new(),
        instance: Vec::new(),
        reg_id: None,
        q_thousandths: None,
        expires_at_unix_s: 1_800_000_000,
        call_id: format!("{id:016x}@192.0.2.17").into_bytes(),
        cseq: 1,
        user_agent: b"Example phone 1.2.3".to_vec(),
        methods: Vec::new(),
        params: Vec::new(),
    }
}
