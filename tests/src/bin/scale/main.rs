//! What a client costs when there is much to do: CPU and memory per blob, per task, per host.
//!
//! ```text
//! usage: scale                       all of it, with both clients: about 15 minutes
//!        scale blobs | tasks | hosts | isolation | deadlines | slow    one part of it
//! ```
//!
//! Each figure is taken in a process of its own, which runs one client against a registry in another
//! process. CPU is user and system time of the client's process, peak is its largest resident set, as
//! Linux has them in `/proc`. A ratio compares two figures of one run: cost that is linear in what there
//! is to do has ratios near 1. What is worse than it may be is named at the end, and the program fails.

mod isolation;
mod slow;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use std::{env, fs, io, thread};

use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use windlass_core::Reference;
use windlass_store::{Layout, Store, StoreEntry, StoreHandle};
use windlass_testbed::{Image, Model, Options, Server, image};
use windlass_tests::images::noise;

type Failed = Box<dyn std::error::Error + Send + Sync>;

const LAYER: usize = 1024;
/// With the manifest and its config, 9,998 layers are as many objects as one image may have.
const BLOBS: [usize; 3] = [100, 1_000, 9_998];
const TASKS: usize = 10_000;
const UNDER_WAY: [usize; 2] = [500, 4_000];
const HOSTS: usize = 6_000;
/// Calls that are measured before and after all the hosts.
const CALLS: usize = 2_000;

/// What is linear grows by no more than this.
const LINEAR: f64 = 1.3;
/// Of resident memory, with what the allocator does not give back. What a session holds of a blob that waits is asserted
/// byte by byte in `machine/memory.rs`.
const KIB_PER_BLOB: f64 = 2.0;
const AFTER_HOSTS: f64 = 1.2;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words[..] {
        [] => blobs()
            .and_then(|()| tasks())
            .and_then(|()| hosts())
            .and_then(|()| isolation::isolation())
            .and_then(|()| isolation::deadlines())
            .and_then(|()| slow::slow()),
        ["blobs"] => blobs(),
        ["tasks"] => tasks(),
        ["hosts"] => hosts(),
        ["isolation"] => isolation::isolation(),
        ["deadlines"] => isolation::deadlines(),
        ["slow"] => slow::slow(),
        ["serve", ref what @ ..] => serve(what),
        ["client", client, ref what @ ..] => run(client, what),
        _ => Err("usage: scale [blobs | tasks | hosts | isolation | deadlines | slow]".into()),
    };
    match done {
        Ok(()) => missed(),
        Err(error) => {
            say(&format!("scale: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The figures that are worse than they may be.
static MISSED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A figure that is to be this much at most.
fn at_most(what: &str, figure: f64, most: f64) {
    if figure > most {
        let mut missed = MISSED.lock().unwrap_or_else(PoisonError::into_inner);
        missed.push(format!("{what}: {figure:.3}, and {most} at most"));
    }
}

fn missed() -> ExitCode {
    let missed = MISSED.lock().unwrap_or_else(PoisonError::into_inner);
    for figure in missed.iter() {
        say(&format!("MISSED {figure}"));
    }
    if missed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[expect(clippy::print_stdout, reason = "it is a program")]
fn say(line: &str) {
    println!("{line}");
}

fn blobs() -> Result<(), Failed> {
    say("blobs of 1 KiB in one image: CPU of the client per blob, peak memory");
    for client in ["blocking", "async"] {
        for what in ["pull", "push", "copy"] {
            let mut costs = Vec::new();
            for count in BLOBS {
                let count = count.to_string();
                let from = Registry::start(&["blobs", &count])?;
                let to = Registry::start(&["blobs", "0"])?;
                costs.push(measure(&[client, what, &from.host, &to.host])?);
            }
            let each = |at: usize| costs[at].cpu / ratio(BLOBS[at]);
            let growth = (costs[2].peak - costs[1].peak) / ratio(BLOBS[2] - BLOBS[1]);
            say(&format!(
                "{client:8} {what:5} {}   ratio {:.2}, {growth:.2} KiB per blob",
                (0..3)
                    .map(|at| format!(
                        "{:6}: {:6.3} ms {:6.1} MiB",
                        BLOBS[at],
                        each(at),
                        costs[at].peak / 1024.0
                    ))
                    .collect::<Vec<_>>()
                    .join("  "),
                each(2) / each(1)
            ));
            let whose = format!("{client} {what}");
            at_most(&format!("{whose}, CPU per blob"), each(2) / each(1), LINEAR);
            at_most(&format!("{whose}, KiB per blob"), growth, KIB_PER_BLOB);
        }
    }
    Ok(())
}

fn tasks() -> Result<(), Failed> {
    say("pulls of 3 blobs through one client: CPU of the client per task, peak memory");
    for client in ["blocking", "async"] {
        let mut costs = Vec::new();
        for under_way in UNDER_WAY {
            let registry = Registry::start(&["tasks", &TASKS.to_string()])?;
            let under_way = under_way.to_string();
            costs.push(measure(&[client, "tasks", &registry.host, &under_way])?);
        }
        say(&format!(
            "{client:8} {}   ratio {:.2}",
            costs
                .iter()
                .zip(UNDER_WAY)
                .map(|(cost, n)| format!(
                    "{n:5} at once: {:6.3} ms {:6.1} MiB",
                    cost.cpu / ratio(TASKS),
                    cost.peak / 1024.0
                ))
                .collect::<Vec<_>>()
                .join("  "),
            costs[1].cpu / costs[0].cpu
        ));
        let growth = costs[1].cpu / costs[0].cpu;
        at_most(&format!("{client}, CPU per task"), growth, LINEAR);
    }
    Ok(())
}

fn hosts() -> Result<(), Failed> {
    say("resolves at one host, before and after many hosts: CPU of the client per call");
    for client in ["blocking", "async"] {
        let registry = Registry::start(&["tasks", "1"])?;
        let cost = measure(&[client, "hosts", &registry.host])?;
        let (before, after) = (cost.parts[0], cost.parts[1]);
        say(&format!(
            "{client:8} first: {:.3} ms  after {HOSTS} hosts: {:.3} ms   ratio {:.2}",
            before / ratio(CALLS),
            after / ratio(CALLS),
            after / before
        ));
        let what = format!("{client}, CPU per call after many hosts");
        at_most(&what, after / before, AFTER_HOSTS);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "small numbers")]
const fn ratio(count: usize) -> f64 {
    count as f64
}

/// What a run of the client cost.
struct Cost {
    /// Milliseconds.
    cpu: f64,
    /// KiB.
    peak: f64,
    /// Milliseconds of what was measured apart.
    parts: Vec<f64>,
}

fn measure(words: &[&str]) -> Result<Cost, Failed> {
    let mut command = Command::new(env::current_exe()?);
    let output = command
        .arg("client")
        .args(words)
        .stderr(Stdio::inherit())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    let figures: Result<Vec<f64>, _> = text.split_whitespace().map(str::parse).collect();
    match figures.map_err(|_| text.clone())?[..] {
        [cpu, peak, ref parts @ ..] if output.status.success() => Ok(Cost {
            cpu,
            peak,
            parts: parts.to_vec(),
        }),
        _ => Err(format!("{words:?}: {text}").into()),
    }
}

/// A registry in a process of its own.
struct Registry {
    child: Child,
    host: String,
}

impl Registry {
    fn start(words: &[&str]) -> Result<Self, Failed> {
        let mut command = Command::new(env::current_exe()?);
        command.arg("serve").args(words);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = child.stdout.take().ok_or("no output")?;
        let mut host = String::new();
        BufReader::new(stdout).read_line(&mut host)?;
        let host = host.trim().to_owned();
        Ok(Self { child, host })
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        // Its standard input is closed by that, too, which ends it anyway.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Serves an image of this many layers as `app:v1`, or this many images of three blobs as `app:0`, `app:1`, …,
/// or what is silent.
fn serve(what: &[&str]) -> Result<(), Failed> {
    let &[what, count] = what else {
        return Err("serve WHAT COUNT".into());
    };
    let server = if what == "silent" {
        let (model, late) = isolation::silent(count);
        Server::start_with(model, late)?
    } else if what == "slow" {
        let (layers, size) = match count {
            "large" => (1, slow::LARGE),
            "small" => slow::SMALL,
            _ => (0, 0),
        };
        let mut model = Model::new(Options::default());
        model.put_image("app", Some("v1"), &of_layers(layers, size, 0));
        Server::start(model)?
    } else {
        let count: usize = count.parse()?;
        let mut model = Model::new(Options::default());
        if what == "blobs" {
            model.put_image("app", Some("v1"), &of_layers(count, LAYER, 0));
        } else {
            for task in 0..count {
                model.put_image(
                    "app",
                    Some(&task.to_string()),
                    &of_layers(2, LAYER, task * 2),
                );
            }
        }
        if what == "away" {
            Server::start_with(model, isolation::away())?
        } else {
            Server::start(model)?
        }
    };
    let port = if what == "slow" {
        slow::link(&server)?
    } else {
        relay(&server)?
    };
    say(&format!("127.0.0.1:{port}"));
    // Until its parent is gone.
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}

fn of_layers(count: usize, size: usize, from: usize) -> Image {
    let layers: Vec<Vec<u8>> = (0..count)
        .map(|at| noise(size, (from + at + 1) as u64))
        .collect();
    image(&layers)
}

/// Makes all addresses of the loopback network lead to the server: many hosts.
fn relay(server: &Server) -> io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let (port, to) = (listener.local_addr()?.port(), server.addr());
    thread::spawn(move || {
        for from in listener.incoming().flatten() {
            let Ok(to) = TcpStream::connect(to) else {
                continue;
            };
            pipe(&from, &to);
            pipe(&to, &from);
        }
    });
    Ok(port)
}

fn pipe(from: &TcpStream, to: &TcpStream) {
    let _unsupported = to.set_nodelay(true);
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else {
        return;
    };
    thread::spawn(move || {
        let _broken = io::copy(&mut from, &mut to);
        let _closed = to.shutdown(std::net::Shutdown::Write);
    });
}

#[derive(Clone)]
enum Client {
    Blocking(windlass_blocking::Client),
    Async(windlass_async::Client, Arc<Runtime>),
}

/// What one call does.
#[derive(Clone)]
enum Call {
    Pull(Reference, Arc<dyn Store>),
    /// May fail; counts those that do not.
    PullUntil(Reference, Arc<dyn Store>, Instant, Arc<AtomicUsize>),
    Push(Arc<dyn Store>, Reference),
    Copy(Reference, Reference),
    Resolve(Reference),
}

impl Client {
    fn run(&self, call: &Call) -> Result<(), Failed> {
        match self {
            Self::Blocking(client) => {
                match call {
                    Call::Pull(from, store) => {
                        client.pull(from, at(store, "v1")).run().map(drop)?
                    }
                    Call::PullUntil(from, store, until, finished) => {
                        let name = from.to_string();
                        let left = until.saturating_duration_since(Instant::now());
                        let pull = client.pull(from, at(store, &name)).deadline(left);
                        finished.fetch_add(usize::from(pull.run().is_ok()), Ordering::Relaxed);
                    }
                    Call::Push(store, to) => client.push(at(store, "v1"), to).run().map(drop)?,
                    Call::Copy(from, to) => {
                        client.copy(location(from), location(to)).run().map(drop)?
                    }
                    Call::Resolve(reference) => client.resolve(reference).run().map(drop)?,
                }
                Ok(())
            }
            Self::Async(client, runtime) => runtime.block_on(wait(client, call)),
        }
    }

    /// How long a call takes, in milliseconds.
    fn timed(&self, call: &Call) -> Result<f64, Failed> {
        let begun = Instant::now();
        self.run(call)?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    }

    /// Runs all of them with this concurrency.
    fn run_all(&self, calls: Vec<Call>, at_once: usize) -> Result<(), Failed> {
        match self {
            Self::Blocking(_) => {
                let (next, calls) = (AtomicUsize::new(0), &calls);
                thread::scope(|scope| {
                    let work = || -> Result<(), Failed> {
                        while let Some(call) = calls.get(next.fetch_add(1, Ordering::Relaxed)) {
                            self.run(call)?;
                        }
                        Ok(())
                    };
                    let spawn = |_| {
                        thread::Builder::new()
                            .stack_size(256 * 1024)
                            .spawn_scoped(scope, work)
                    };
                    let threads: io::Result<Vec<_>> = (0..at_once).map(spawn).collect();
                    for thread in threads? {
                        thread.join().map_err(|_| "a thread panicked")??;
                    }
                    Ok(())
                })
            }
            Self::Async(client, runtime) => runtime.block_on(async {
                let mut running = JoinSet::new();
                for call in calls {
                    if running.len() == at_once
                        && let Some(ended) = running.join_next().await
                    {
                        ended??;
                    }
                    let client = client.clone();
                    running.spawn(async move { wait(&client, &call).await });
                }
                while let Some(ended) = running.join_next().await {
                    ended??;
                }
                Ok(())
            }),
        }
    }
}

fn at(store: &Arc<dyn Store>, name: &str) -> StoreEntry {
    StoreHandle::from(store).at(name)
}

async fn wait(client: &windlass_async::Client, call: &Call) -> Result<(), Failed> {
    match call {
        Call::Pull(from, store) => client.pull(from, at(store, "v1")).run().await.map(drop)?,
        Call::PullUntil(from, store, until, finished) => {
            let name = from.to_string();
            let left = until.saturating_duration_since(Instant::now());
            let pull = client.pull(from, at(store, &name)).deadline(left);
            finished.fetch_add(usize::from(pull.run().await.is_ok()), Ordering::Relaxed);
        }
        Call::Push(store, to) => client.push(at(store, "v1"), to).run().await.map(drop)?,
        Call::Copy(from, to) => client
            .copy(location(from), location(to))
            .run()
            .await
            .map(drop)?,
        Call::Resolve(reference) => client.resolve(reference).run().await.map(drop)?,
    }
    Ok(())
}

fn location(reference: &Reference) -> windlass_driver::ImageLocation {
    windlass_driver::ImageLocation::Registry(reference.clone())
}

/// The client's process.
fn run(client: &str, what: &[&str]) -> Result<(), Failed> {
    let client = match client {
        "blocking" => Client::Blocking(windlass_blocking::Client::builder().build()?),
        "async" => {
            let client = windlass_async::Client::builder().build()?;
            Client::Async(client, Arc::new(Runtime::new()?))
        }
        _ => return Err("blocking or async".into()),
    };
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)?
    } else {
        tempfile::tempdir()?
    };
    let layout = || -> Result<Arc<dyn Store>, Failed> {
        Ok(Arc::new(Layout::open_or_create(folder.path())?))
    };
    let begun = cpu()?;
    let mut parts = Vec::new();
    match *what {
        ["pull", from, _] => {
            let call = Call::Pull(named(from, "v1")?, layout()?);
            parts.push(client.timed(&call)?);
        }
        ["into", from, folder] => {
            let store = Arc::new(Layout::open_or_create(Path::new(folder))?);
            client.run(&Call::Pull(named(from, "v1")?, store))?;
        }
        ["push", from, to] => {
            // Pulled by another process, which leaves no trace in this one's peak.
            let words = [
                OsStr::new("client"),
                OsStr::new("blocking"),
                OsStr::new("into"),
            ];
            let mut pull = Command::new(env::current_exe()?);
            pull.args(words)
                .arg(from)
                .arg(folder.path())
                .stdout(Stdio::null());
            if !pull.status()?.success() {
                return Err("the image cannot be pulled".into());
            }
            parts.push(client.timed(&Call::Push(layout()?, named(to, "v1")?))?);
        }
        ["copy", from, to] => {
            let call = Call::Copy(named(from, "v1")?, named(to, "v1")?);
            parts.push(client.timed(&call)?);
        }
        ["tasks", host, at_once] => {
            let store = layout()?;
            let pull = |task: usize| {
                Ok(Call::Pull(
                    named(host, &task.to_string())?,
                    Arc::clone(&store),
                ))
            };
            let calls: Result<Vec<Call>, Failed> = (0..TASKS).map(pull).collect();
            client.run_all(calls?, at_once.parse()?)?;
        }
        ["hosts", host] => {
            let first = Call::Resolve(named(host, "0")?);
            let (_, port) = host.rsplit_once(':').ok_or("no port")?;
            parts.push(many(&client, &first)?);
            for at in 0..HOSTS {
                let host = format!("127.{}.{}.1:{port}", 1 + at / 250, 1 + at % 250);
                client.run(&Call::Resolve(named(&host, "0")?))?;
            }
            parts.push(many(&client, &first)?);
        }
        ["isolation", healthy, other, silent] => {
            let [alone, beside] = isolation::run_isolation(&client, healthy, other, silent)?;
            say(&format!("{} {} {alone} {beside}", cpu()? - begun, peak()?));
            // The process ends without what is silent.
            return Ok(());
        }
        ["deadlines", host, at_once] => {
            parts.push(isolation::run_deadlines(&client, host, at_once.parse()?)?);
        }
        _ => return Err("not a client's part".into()),
    }
    let parts: Vec<String> = parts.iter().map(f64::to_string).collect();
    say(&format!(
        "{} {} {}",
        cpu()? - begun,
        peak()?,
        parts.join(" ")
    ));
    Ok(())
}

fn named(host: &str, tag: &str) -> Result<Reference, Failed> {
    Ok(format!("{host}/app:{tag}").parse()?)
}

fn many(client: &Client, call: &Call) -> Result<f64, Failed> {
    let begun = cpu()?;
    for _ in 0..CALLS {
        client.run(call)?;
    }
    Ok(cpu()? - begun)
}

/// User and system time of this process so far, in milliseconds: ticks of a hundredth of a second.
fn cpu() -> Result<f64, Failed> {
    let stat = fs::read_to_string("/proc/self/stat")?;
    // The name, which may have spaces, ends with the last parenthesis; `utime` is the 12th after it.
    let (_, fields) = stat.rsplit_once(')').ok_or("no name")?;
    let ticks: Result<Vec<f64>, _> = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(str::parse)
        .collect();
    Ok(ticks?.iter().sum::<f64>() * 10.0)
}

/// The largest resident set of this process so far, in KiB.
fn peak() -> Result<f64, Failed> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line
        .and_then(|it| it.split_whitespace().next())
        .ok_or("no peak")?;
    Ok(kib.parse()?)
}
