//! Measures the binding writer: rows per second and CPU per row, by size of group.
//!
//! `cargo run --release -p store --example bench_bindings [URL]`; without a URL, SQLite in a new
//! folder under the current one, removed afterwards. CPU is this process's, so a server's share is
//! not in it.
//!
//! With `URL profile`, only inserts in groups of 32, for a profiler; with `URL paced`, new rows at
//! steady rates with the default options, as registrations come, and the CPU by thread.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use store::{
    BindingChange, BindingId, BindingRefresh, BindingRow, BindingWriter, DeferredChange, Store,
    StoreOptions, WriterOptions,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let folder = std::env::current_dir()?.join(format!("bench-{}", std::process::id()));
    let url = std::env::args()
        .nth(1)
        .unwrap_or_else(|| format!("sqlite://{}", folder.join("bench.db").display()));
    match std::env::args().nth(2).as_deref() {
        Some("profile") => return profile(&runtime, &url),
        Some("paced") => return paced(&runtime, &url),
        _ => {}
    }
    let writer = start(&runtime, &url)?;
    println!(
        "{:<28} {:>8} {:>10} {:>12} {:>12} {:>10}",
        "work", "group", "rows/s", "CPU us/row", "CPU us/group", "commits"
    );
    let mut first = 1;
    for (group, rows) in [(1, 1_000), (8, 8_000), (32, 32_000), (256, 64_000)] {
        let ids: Vec<i64> = (first..first + rows).collect();
        first += rows;
        measure("insert", &writer, group, &ids, |id| {
            BindingChange::Put(row(id))
        })?;
    }
    for table in [10_000, 100_000] {
        for (group, rows) in [(1, 1_000), (32, 16_000), (256, 50_000)] {
            let spread: Vec<i64> = (0..rows).map(|n| 1 + (n * 7919) % table).collect();
            let name = format!("refresh, random of {table}");
            measure(&name, &writer, group, &spread, refresh)?;
        }
    }
    let rising: Vec<i64> = (1..50_000).collect();
    measure("refresh, in order", &writer, 32, &rising, refresh)?;
    deferred(&writer, 50_000)?;
    let ids: Vec<i64> = (1..first).collect();
    measure("delete", &writer, 256, &ids, |id| {
        BindingChange::Delete(BindingId(id))
    })?;
    runtime.block_on(writer.close());
    if std::env::args().nth(1).is_none() {
        std::fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn start(runtime: &tokio::runtime::Runtime, url: &str) -> Result<BindingWriter> {
    let store = runtime.block_on(Store::open(url, StoreOptions::default()))?;
    let _in_runtime = runtime.enter();
    let options = WriterOptions {
        commit_spacing: Duration::ZERO,
        commit_spacing_max: Duration::ZERO,
        ..WriterOptions::default()
    };
    Ok(BindingWriter::start(&store, options))
}

fn profile(runtime: &tokio::runtime::Runtime, url: &str) -> Result<()> {
    let writer = start(runtime, url)?;
    let first = runtime.block_on(
        runtime
            .block_on(Store::open(url, StoreOptions::default()))?
            .next_binding_id(),
    )?;
    for round in 0..3 {
        // Rows written again unchanged would dirty no page.
        let first = first.0 + round * 32_000;
        let ids: Vec<i64> = (first..first + 32_000).collect();
        measure("insert", &writer, 32, &ids, |id| {
            BindingChange::Put(row(id))
        })?;
    }
    Ok(())
}

/// New rows at steady rates, handed over one by one, each rate for two seconds.
fn paced(runtime: &tokio::runtime::Runtime, url: &str) -> Result<()> {
    let store = runtime.block_on(Store::open(url, StoreOptions::default()))?;
    let mut next = runtime.block_on(store.next_binding_id())?.0;
    let writer = {
        let _in_runtime = runtime.enter();
        BindingWriter::start(&store, WriterOptions::default())
    };
    let seconds = 2;
    let own = std::fs::read_to_string("/proc/thread-self/comm")?;
    let own = own.trim();
    for rate in [50, 500, 2_000, 2_000, 2_000, 5_000, 20_000] {
        let (commits, cpu) = (writer.health().commits, cpu_by_thread()?);
        let (sender, done) = mpsc::channel();
        let began = Instant::now();
        for number in 0..rate * seconds {
            let due = Duration::from_secs_f64(number as f64 / rate as f64);
            if let Some(pause) = due.checked_sub(began.elapsed()) {
                std::thread::sleep(pause);
            }
            let (sender, at) = (sender.clone(), Instant::now());
            let completion = Box::new(move |result| {
                let _ = sender.send((result, at.elapsed()));
            });
            writer
                .submit(vec![BindingChange::Put(row(next))], completion)
                .map_err(|rejected| format!("{rejected:?}"))?;
            next += 1;
        }
        let mut waits = Vec::new();
        for _ in 0..rate * seconds {
            let (result, wait) = done.recv()?;
            result?;
            waits.push(wait);
        }
        waits.sort();
        let commits = writer.health().commits - commits;
        print!("{rate:>6}/s {commits:>5} commits");
        let mut sum = 0.0;
        for (thread, after) in cpu_by_thread()? {
            let spent = after - cpu.get(&thread).copied().unwrap_or(0.0);
            let per_row = spent / (rate * seconds) as f64;
            print!("  {thread} {per_row:.2}");
            if thread != own {
                sum += per_row;
            }
        }
        let (median, last) = (waits[waits.len() / 2], waits[waits.len() - 1]);
        println!("  without the first {sum:.2} us/row; waits {median:?} median {last:?} most");
    }
    runtime.block_on(writer.close());
    Ok(())
}

/// Microseconds of CPU by name of thread.
fn cpu_by_thread() -> Result<BTreeMap<String, f64>> {
    let mut by_thread = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let folder = task?.path();
        let name = std::fs::read_to_string(folder.join("comm"))?;
        let text = std::fs::read_to_string(folder.join("schedstat"))?;
        let ns: f64 = text.split(' ').next().unwrap_or("0").parse()?;
        *by_thread.entry(name.trim().to_owned()).or_default() += ns / 1000.0;
    }
    Ok(by_thread)
}

/// Submits `ids` in batches of one, `group` of them at a time, two groups in flight.
fn measure(
    name: &str,
    writer: &BindingWriter,
    group: usize,
    ids: &[i64],
    change: impl Fn(i64) -> BindingChange,
) -> Result<()> {
    let (sender, done) = mpsc::channel();
    let commits = writer.health().commits;
    let (cpu, began) = (cpu_us()?, Instant::now());
    let mut outstanding = VecDeque::new();
    for chunk in ids.chunks(group) {
        let last = chunk.len() - 1;
        let mut changes: Vec<_> = chunk.iter().map(|id| change(*id)).collect();
        let sender = sender.clone();
        let completion = Box::new(move |result| {
            let _ = sender.send(result);
        });
        writer
            .submit(std::mem::take(&mut changes), completion)
            .map_err(|rejected| format!("{rejected:?}"))?;
        outstanding.push_back(last);
        if !outstanding.is_empty() {
            done.recv()??;
            outstanding.pop_front();
        }
    }
    for _ in outstanding {
        done.recv()??;
    }
    report(
        name,
        group,
        ids.len(),
        cpu,
        began,
        writer.health().commits - commits,
    )
}

fn deferred(writer: &BindingWriter, rows: i64) -> Result<()> {
    let commits = writer.health().commits;
    let written = writer.health().rows;
    let (cpu, began) = (cpu_us()?, Instant::now());
    for id in 1..=rows {
        let BindingChange::Refresh(refresh) = refresh(1 + (id * 7919) % rows) else {
            continue;
        };
        writer
            .defer(vec![DeferredChange::Refresh(refresh)])
            .map_err(|reason| format!("{reason:?}"))?;
    }
    while writer.health().rows < written + rows as u64 {
        std::thread::sleep(Duration::from_millis(5));
    }
    report(
        "refresh, deferred, random",
        0,
        rows as usize,
        cpu,
        began,
        writer.health().commits - commits,
    )
}

fn report(
    name: &str,
    group: usize,
    rows: usize,
    cpu: f64,
    began: Instant,
    commits: u64,
) -> Result<()> {
    let cpu = cpu_us()? - cpu;
    println!(
        "{name:<28} {group:>8} {:>10.0} {:>12.2} {:>12.1} {commits:>10}",
        rows as f64 / began.elapsed().as_secs_f64(),
        cpu / rows as f64,
        cpu / commits.max(1) as f64,
    );
    Ok(())
}

fn row(id: i64) -> BindingRow {
    BindingRow {
        id: BindingId(id),
        aor: format!("sip:user{id}@example.org").into_bytes(),
        contact: format!("<sip:user{id}@192.0.2.17:5060;transport=udp>").into_bytes(),
        received: b"192.0.2.17:5060".to_vec(),
        flow: b"udp".to_vec(),
        path: Vec::new(),
        instance: format!("<urn:uuid:00000000-0000-1000-8000-{id:012}>").into_bytes(),
        reg_id: Some(1),
        q_thousandths: None,
        expires_at_unix_s: 1_800_000_000,
        call_id: format!("{id:016x}@192.0.2.17").into_bytes(),
        cseq: 1,
        user_agent: b"Example phone 1.2.3".to_vec(),
        methods: Vec::new(),
        params: Vec::new(),
    }
}

fn refresh(id: i64) -> BindingChange {
    // Never the same twice: a row written unchanged dirties no page.
    static CSEQ: AtomicU32 = AtomicU32::new(2);
    let cseq = CSEQ.fetch_add(1, Ordering::Relaxed);
    BindingChange::Refresh(BindingRefresh {
        id: BindingId(id),
        expires_at_unix_s: 1_800_003_600 + i64::from(cseq),
        cseq,
        call_id: None,
    })
}

/// User and system time of all threads since the start, from `/proc/self/schedstat`s.
fn cpu_us() -> Result<f64> {
    let mut total_ns = 0.0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let ns = text.split(' ').next().unwrap_or("0");
        total_ns += ns.parse::<f64>()?;
    }
    Ok(total_ns / 1000.0)
}
