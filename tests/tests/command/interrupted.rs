//! Interrupted transfers: killed, cut, cancelled. Nothing is downloaded twice (design §1, 2), and
//! nothing stands under a final name before its time (design §6, SEC-02).
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use windlass_tests::command::{INTERRUPTED, Running, TERMINATED, Windlass};
use windlass_tests::hostile::{Good, Hostile, Reply};
use windlass_tests::images::{Image, Layout, digest, noise};
use windlass_tests::proxy::{Fault, Proxy};
use windlass_tests::registry::{Registry, Setup, Version};
use windlass_tests::{needs, wait_for};

const MIB: u64 = 1 << 20;

/// How long a command may take after a signal. Promised is one second (design §7), and nothing here
/// would end by itself for a minute; the rest is for a machine where many more threads want to run
/// than can, and where the process's end has to wait for its turn as well.
const AT_ONCE: Duration = Duration::from_secs(3);

/// An image with one layer of `mib` MiB in a real registry, and a link to it.
fn behind_a_link(version: Version, mib: usize) -> (Registry, Image, Proxy) {
    let (layout, image) = Layout::with_image(1, mib << 20, mib as u64);
    let registry = Setup::new(version).start();
    registry.seed(&layout, &image, "a", "v1");
    let proxy = Proxy::to(&registry.host());
    (registry, image, proxy)
}

/// `kill -9` during a throttled pull of 64 MiB: the next run asks for the rest, from exactly where
/// the partial ended, and that is within 1 MiB of what had come through the link.
#[test]
fn a_killed_pull_goes_on_where_it_was() {
    needs!("docker-registry", "registry");
    for version in Version::ALL {
        let (_registry, image, proxy) = behind_a_link(version, 64);
        let layer = &image.layers[0];
        let out = Layout::absent();
        let reference = format!("{}/a:v1", proxy.host());
        let words = ["pull", &reference, &out.oci()];
        proxy.limit_down(24 * MIB);
        let mut first = Windlass::new(words).jobs(1).spawn();
        wait_for("22 MiB", || proxy.down() > 22 * MIB);
        // Far slower than the client reads and hashes, so that what went through was read, also on a
        // machine that has other things to do.
        proxy.limit_down(2 * MIB);
        wait_for("24 MiB", || proxy.down() > 24 * MIB);
        let read = proxy.down();
        first.kill();

        assert!(
            !out.has(&layer.digest),
            "under its final name before its time"
        );
        out.check();
        assert!(!out.path.join("index.json").exists() || out.roots().is_empty());
        let partials = out.partials();
        assert_eq!(partials.len(), 1, "one blob was on its way: {partials:?}");
        let kept = partials[0];
        assert!(kept + MIB >= read, "{kept} of {read} bytes were kept");

        let ranges = proxy.ranges().len();
        proxy.unlimit();
        let before = proxy.down();
        assert_eq!(gets(&proxy, &layer.digest), 1);
        let done = Windlass::new(words).jobs(1).run();
        assert_eq!(done.digest(), image.manifest.digest);
        out.check_holds_exactly(image.all());
        let range = proxy.ranges()[ranges];
        assert_eq!(
            range,
            (kept, Some(layer.size - 1)),
            "a closed range from the partial's end"
        );
        let moved = proxy.down() - before;
        assert!(
            moved < layer.size - kept + MIB,
            "{moved} bytes for {} missing",
            layer.size - kept
        );
        assert!(out.partials().is_empty(), "the partial became the blob");
        assert_eq!(gets(&proxy, &layer.digest), 2);
    }
}

/// The requests for one blob that are made beside each other, unless `--parts` says otherwise.
const PARTS: u64 = 12;

/// `kill -9` while a blob comes in parts, of which there are several with gaps between them: the next run asks
/// for the gaps. What came in the last second before the kill may come again, as what is in the file is written
/// down once a second.
#[test]
fn a_killed_pull_in_parts_goes_on_in_the_gaps() {
    needs!("docker-registry", "registry");
    /// What each of the slow connections may bring in that second, and what is in its buffers.
    const SLOW: u64 = 256 << 10;
    for version in Version::ALL {
        let (_registry, image, proxy) = behind_a_link(version, 96);
        let layer = &image.layers[0];
        let out = Layout::absent();
        let reference = format!("{}/a:v1", proxy.host());
        let words = ["pull", &reference, &out.oci()];
        // So far that one stream would not do.
        proxy.round_trip(Duration::from_millis(60));
        proxy.limit_down(2 * MIB);
        let mut first = Windlass::new(words).spawn();
        wait_for("40 MiB", || proxy.down() > 40 * MIB);
        proxy.limit_down(SLOW / 4);
        std::thread::sleep(Duration::from_secs(3));
        let came = proxy.down();
        first.kill();
        assert!(came < layer.size, "all of it came before the kill");
        assert!(!out.has(&layer.digest), "it is not whole");
        out.check();
        let asked = proxy.ranges();
        assert!(asked.len() as u64 > PARTS, "{asked:?}");

        proxy.unlimit();
        let done = Windlass::new(words).run();
        assert_eq!(done.digest(), image.manifest.digest);
        out.check_holds_exactly(image.all());
        assert_eq!(out.partials(), [0; 0], "the partial became the blob");
        let all = proxy.ranges();
        let (again, gaps) = (total(&all[asked.len()..]), layer.size - came);
        let most = gaps + PARTS * SLOW;
        eprintln!("{version:?}: {came} bytes came, then {again}");
        assert!(
            again <= most,
            "{again} bytes again, {most} would do: {all:?}"
        );
        assert!(proxy.down() <= layer.size + PARTS * SLOW + MIB);
        let begins = all[asked.len()..].iter().map(|range| range.0);
        assert!({ begins }.all(|at| at > 0), "{all:?}");
    }
}

/// The bytes of closed ranges.
fn total(ranges: &[(u64, Option<u64>)]) -> u64 {
    let lens = ranges.iter().map(|(first, last)| last.unwrap() + 1 - first);
    lens.sum()
}

/// However often a pull in parts is killed, and wherever: each run goes on with what the last one brought, less
/// what came in its last second.
#[test]
fn kills_in_a_row_of_a_pull_in_parts_end_well() {
    needs!("registry");
    const KILLS: u64 = 5;
    /// What a run brings before it is killed, in two seconds.
    const RUN: u64 = 12 * MIB;
    const RATE: u64 = RUN / 2 / PARTS;
    let (_registry, image, proxy) = behind_a_link(Version::V3, 64);
    let layer = &image.layers[0];
    let out = Layout::absent();
    let reference = format!("{}/a:v1", proxy.host());
    let words = ["pull", &reference, &out.oci()];
    proxy.round_trip(Duration::from_millis(60));
    proxy.limit_down(RATE);
    for _ in 0..KILLS {
        let at = proxy.down() + RUN;
        let mut run = Windlass::new(words).spawn();
        wait_for("more of it", || proxy.down() > at || !run.is_running());
        assert!(run.is_running(), "it ended before: {}", run.wait());
        run.kill();
        out.check();
    }
    proxy.unlimit();
    let done = Windlass::new(words).run();
    assert_eq!(done.digest(), image.manifest.digest);
    out.check_holds_exactly(image.all());
    let (came, most) = (proxy.down(), layer.size + KILLS * RUN * 5 / 6);
    eprintln!("{came} bytes of {}", layer.size);
    assert!(came <= most, "{came} bytes, {most} would do");
}

/// A kill at any instant leaves the old state or the new one, and partials that resume: whatever
/// stands under a final name is whole, the layout is readable, and the next run ends the work.
#[test]
fn a_kill_at_any_instant_leaves_a_layout() {
    needs!("docker-registry");
    let (layout, image) = Layout::with_image(6, MIB as usize, 3);
    let registry = Setup::new(Version::Debian).start();
    registry.seed(&layout, &image, "a", "v1");
    for stop in [
        300,
        2_000,
        MIB / 2,
        MIB + 100,
        3 * MIB,
        5 * MIB,
        6 * MIB + 8_000,
    ] {
        let proxy = Proxy::to(&registry.host());
        proxy.after_down(stop, Fault::Stall);
        let out = Layout::absent();
        let reference = format!("{}/a:v1", proxy.host());
        let words = ["pull", &reference, &out.oci()];
        let mut first = Windlass::new(words).spawn();
        wait_for("the stall", || proxy.down() >= stop || !first.is_running());
        first.kill();
        out.check();
        if out.path.join("index.json").exists() && !out.roots().is_empty() {
            assert_eq!(out.root(), image.manifest.digest);
            out.check_holds_exactly(image.all());
        }
        let direct = registry.reference("a:v1");
        let done = Windlass::new(["pull", &direct, &out.oci()]).run();
        assert_eq!(
            done.digest(),
            image.manifest.digest,
            "after a kill at {stop}"
        );
        out.check_holds_exactly(image.all());
        assert_eq!(out.root(), image.manifest.digest);
    }
}

/// How often a blob was asked for, as the link heard it: distribution v3 logs no request whose client
/// was lost in the middle of the answer, at times.
fn gets(proxy: &Proxy, digest: &str) -> usize {
    let asked = format!("GET /v2/a/blobs/{digest} ");
    let heard = proxy.heard();
    heard.iter().map(|text| text.matches(&asked).count()).sum()
}

/// What a process has read so far, from files and perhaps from sockets.
fn read_by(process: &Running) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{}/io", process.id())).unwrap();
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "))
        .unwrap();
    line.trim().parse().unwrap()
}

/// A connection cut in the middle resumes within the call from what was received (RNG-05), and
/// nothing is read back to be hashed again (design §4, download).
#[test]
fn a_cut_connection_resumes_within_the_call_without_hashing_again() {
    needs!("docker-registry", "registry");
    for version in Version::ALL {
        let (_registry, image, proxy) = behind_a_link(version, 64);
        let layer = &image.layers[0];
        let out = Layout::absent();
        let reference = format!("{}/a:v1", proxy.host());
        proxy.limit_down(48 * MIB);
        proxy.after_down(40 * MIB, Fault::Cut);
        let mut pull = Windlass::new(["pull", &reference, &out.oci()])
            .jobs(1)
            .spawn();
        wait_for("the cut", || {
            proxy.ranges().len() == 1 || !pull.is_running()
        });
        // Hold it shortly before the end, to look at what it has read.
        let end = 62 * MIB;
        proxy.at_down(end, Fault::Stall);
        wait_for("the stall", || proxy.down() >= end || !pull.is_running());
        assert!(pull.is_running(), "it gave up: {}", pull.wait());
        let read = read_by(&pull);
        // Whether `recv` is counted is up to the kernel: either all of the network or none of it.
        // Reading 40 MiB back would be neither.
        let none = read < 12 * MIB;
        let network = read.abs_diff(proxy.down()) < 12 * MIB;
        assert!(none || network, "{read} bytes read, {} came", proxy.down());
        proxy.after_down(u64::MAX / 2, Fault::Cut);
        let done = pull.wait();
        assert_eq!(done.digest(), image.manifest.digest);
        out.check_holds_exactly(image.all());
        let ranges = proxy.ranges();
        assert_eq!(ranges.len(), 2, "two faults, two resumptions: {ranges:?}");
        assert!(
            ranges[0].0 <= 40 * MIB && ranges[0].0 + MIB > 40 * MIB,
            "{ranges:?}"
        );
        assert!(
            ranges.iter().all(|range| range.1 == Some(layer.size - 1)),
            "{ranges:?}"
        );
        assert!(
            proxy.down() < layer.size + MIB,
            "{} bytes in all",
            proxy.down()
        );
        assert_eq!(gets(&proxy, &layer.digest), 3);
    }
}

/// A link that cuts again and again still gets there: progress gives a transfer its tries back
/// (design §4, retry).
#[test]
fn a_link_that_cuts_every_megabyte_gets_there() {
    needs!("docker-registry");
    let (_registry, image, proxy) = behind_a_link(Version::Debian, 8);
    let out = Layout::absent();
    let reference = format!("{}/a:v1", proxy.host());
    proxy.cut_every(MIB);
    let words = ["pull", &reference, &out.oci()];
    let done = Windlass::new(words).jobs(1).retries(2).run();
    assert_eq!(done.digest(), image.manifest.digest);
    out.check_holds_exactly(image.all());
    let cuts = proxy.ranges().len();
    assert!(cuts >= 7, "{cuts} cuts are more than the tries it had");
    assert!(proxy.down() < 9 * MIB, "{} bytes in all", proxy.down());
}

/// `kill -9` during a push: nothing is tagged, and the next run ends it.
#[test]
fn a_killed_push_is_done_by_the_next() {
    needs!("docker-registry", "registry");
    for version in Version::ALL {
        let (layout, image) = Layout::with_image(1, 32 << 20, 5);
        let registry = Setup::new(version).start();
        let proxy = Proxy::to(&registry.host());
        proxy.limit_up(8 * MIB);
        let reference = format!("{}/a:v1", proxy.host());
        let words = ["push", &layout.oci_named("latest"), &reference];
        let mut first = Windlass::new(words).spawn();
        wait_for("8 MiB", || proxy.up() > 8 * MIB);
        first.kill();
        assert_eq!(registry.tagged("a", "v1"), None);
        assert!(!registry.holds(&image.layers[0].digest));
        proxy.unlimit();
        assert_eq!(Windlass::new(words).run().digest(), image.manifest.digest);
        assert!(image.all().all(|blob| registry.holds(&blob.digest)));
    }
}

/// `kill -9` while a file is put: the same command sends what the registry lacks, and with `--no-resume` all of it.
#[test]
fn a_killed_blob_put_is_gone_on_with() {
    needs!("registry");
    let bytes = noise(32 << 20, 8);
    for resume in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("blob");
        std::fs::write(&file, &bytes).unwrap();
        let registry = Setup::new(Version::V3).start();
        let proxy = Proxy::to(&registry.host());
        proxy.limit_up(8 * MIB);
        let to = format!("{}/a", proxy.host());
        let words = ["blob", "put", &to, file.to_str().unwrap()];
        let put = || {
            let put = Windlass::new(words).env("XDG_STATE_HOME", folder.path());
            put.args((!resume).then_some("--no-resume"))
        };
        let mut first = put().spawn();
        wait_for("16 MiB", || proxy.up() > 16 * MIB);
        first.kill();
        proxy.unlimit();
        let before = proxy.up();
        assert_eq!(put().run().digest(), digest(&bytes));
        assert!(registry.holds(&digest(&bytes)));
        let sent = proxy.up() - before;
        assert_eq!(sent < 24 * MIB, resume, "{sent} bytes were sent");
        assert_eq!(registry.open_sessions("a") == 0, resume);
    }
}

/// What is at least stored of the 100 kB that are sent of a stalled blob.
const KEPT: u64 = 64 << 10;

/// A server where one thing never comes to an end, and a command that waits for it.
struct Stalled {
    server: Hostile,
    _layout: Layout,
    out: Layout,
    words: Vec<String>,
    what: &'static str,
}

/// Every place where a command can wait for a peer.
fn stalls() -> Vec<Stalled> {
    let mut stalls = Vec::new();
    type Stall = fn(&str) -> Option<Reply>;
    let pulls: [(&'static str, Stall); 4] = [
        ("the head of a manifest", |path| {
            path.contains("/manifests/").then(Reply::silence)
        }),
        ("the head of a blob", |path| {
            path.contains("/blobs/").then(Reply::silence)
        }),
        ("the middle of a blob", |path| {
            let half = Reply::new(200).body(vec![7; 100_000]).claiming(1 << 19);
            path.contains("/blobs/").then(|| half.then_stall())
        }),
        ("the time of a Retry-After", |path| {
            let later = Reply::new(429).header("Retry-After", "50");
            path.contains("/manifests/").then_some(later)
        }),
    ];
    for (what, stall) in pulls {
        let layout = Layout::new();
        // A layer of exactly the size that the stalled answer claims.
        let image = layout.add_artifact(1 << 19, 6);
        let good = Good::serving(&layout, &image);
        let server = Hostile::start(move |request| {
            stall(request.path()).unwrap_or_else(|| good.answer(request))
        });
        let out = Layout::absent();
        let words = vec!["pull".to_owned(), server.reference("a:latest"), out.oci()];
        stalls.push(Stalled {
            server,
            _layout: layout,
            out,
            words,
            what,
        });
    }
    // A peer that takes no more of an upload, and one that never answers it.
    for (what, early) in [
        ("a peer that stopped reading", true),
        ("the answer to a PUT", false),
    ] {
        let (layout, _) = Layout::with_image(1, if early { 32 << 20 } else { 10_000 }, 7);
        let good = Arc::new(Good::new());
        let server = Hostile::start_impatient(
            move |request| (early && request.method == "PUT").then(Reply::silence),
            move |request| match request.method.as_str() {
                "PUT" => Reply::silence(),
                _ => good.answer(request),
            },
        );
        let words = vec![
            "push".to_owned(),
            layout.oci_named("latest"),
            server.reference("a:v1"),
        ];
        stalls.push(Stalled {
            server,
            _layout: layout,
            out: Layout::absent(),
            words,
            what,
        });
    }
    stalls
}

impl Stalled {
    /// Starts the command and waits until it has got as far as it gets.
    fn start(&self) -> Running {
        let running = Windlass::new(&self.words).spawn();
        let wanted = match self.words[0].as_str() {
            "push" => "PUT",
            _ if self.what.contains("blob") => "GET",
            _ => "",
        };
        let path = if self.what.contains("blob") {
            "/blobs/"
        } else {
            ""
        };
        wait_for(self.what, || {
            let requests = self.server.requests();
            requests
                .iter()
                .any(|r| r.method.contains(wanted) && r.path().contains(path))
        });
        if self.what.contains("middle") {
            wait_for("what was sent is stored", || {
                self.out.partials().first().is_some_and(|len| *len >= KEPT)
            });
        }
        // Let it get to its wait; how long this takes is not measured.
        std::thread::sleep(Duration::from_millis(300));
        running
    }
}

/// Ctrl-C and termination against a stalled server end the command within a second, with the exit
/// code of the signal (130, 143), wherever it waits; what was received stays as a partial.
#[test]
fn signals_end_a_stalled_command_at_once() {
    for stalled in stalls() {
        for (code, signal) in [
            (INTERRUPTED, Running::interrupt as fn(&Running)),
            (TERMINATED, Running::terminate as fn(&Running)),
        ] {
            let running = stalled.start();
            signal(&running);
            let begun = Instant::now();
            let done = running.wait();
            let took = begun.elapsed();
            assert_eq!(done.status.code(), Some(code), "{}: {done}", stalled.what);
            assert!(
                took < AT_ONCE,
                "{}: {took:?} after the signal",
                stalled.what
            );
            assert!(!done.stdout.contains("sha256:"), "{done}");
            if stalled.what.contains("middle") {
                stalled.out.check();
                let kept = stalled.out.partials();
                assert!(
                    kept.first().is_some_and(|len| *len >= KEPT),
                    "{kept:?} was kept"
                );
            }
        }
    }
}

/// Ctrl-C during a pull from a real registry; the next run goes on from there.
#[test]
fn an_interrupted_pull_goes_on_where_it_was() {
    needs!("docker-registry");
    let (_registry, image, proxy) = behind_a_link(Version::Debian, 16);
    let out = Layout::absent();
    let reference = format!("{}/a:v1", proxy.host());
    let words = ["pull", &reference, &out.oci()];
    proxy.after_down(8 * MIB, Fault::Stall);
    let first = Windlass::new(words).jobs(1).spawn();
    wait_for("8 MiB are stored, less what is on its way", || {
        out.partials()
            .first()
            .is_some_and(|kept| kept + MIB > 8 * MIB)
    });
    first.interrupt();
    first.wait().ended_with(INTERRUPTED);
    let kept = out.partials()[0];
    assert!(kept + MIB > 8 * MIB, "{kept} bytes were kept");
    proxy.after_down(u64::MAX / 2, Fault::Cut);
    assert_eq!(
        Windlass::new(words).jobs(1).run().digest(),
        image.manifest.digest
    );
    let ranges = proxy.ranges();
    assert_eq!(ranges, [(kept, Some(image.layers[0].size - 1))]);
    out.check_holds_exactly(image.all());
}

/// A helper that hangs is ended with the command. Ctrl-C at a terminal does not reach it, as it has a process
/// group of its own.
#[test]
fn a_hanging_helper_does_not_outlive_the_command() {
    let server = Hostile::start(|_| Reply::new(401).header("www-authenticate", "Basic realm=x"));
    ends_with_its_helper(&["digest", &server.reference("x:latest")]);
    ends_with_its_helper(&["logout", "registry.example"]);
}

fn ends_with_its_helper(words: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let (bin, pids) = (folder.path().join("bin"), folder.path().join("pids"));
    std::fs::create_dir(&bin).unwrap();
    let program = bin.join("docker-credential-hanging");
    let script = format!(
        "#!/bin/sh\nPATH=/usr/bin:/bin\nsleep 300 &\necho $$ $! >{0}.part\nmv {0}.part {0}\nwait\n",
        pids.display()
    );
    std::fs::write(&program, script).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
    let config = folder.path().join("auth.json");
    std::fs::write(&config, r#"{"credsStore": "hanging"}"#).unwrap();
    let running = Windlass::new(words)
        .env("REGISTRY_AUTH_FILE", &config)
        .env("PATH", &bin)
        .spawn();
    wait_for("the helper", || pids.exists());
    let begun = Instant::now();
    running.interrupt();
    running.wait().ended_with(INTERRUPTED);
    assert!(begun.elapsed() < AT_ONCE, "{:?}", begun.elapsed());
    let pids = std::fs::read_to_string(&pids).unwrap();
    assert_eq!(pids.split_whitespace().count(), 2, "{pids}");
    for pid in pids.split_whitespace() {
        // Without a wait it stays as a zombie.
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat"));
        wait_for("its end", || stat().map_or(true, |it| it.contains(") Z ")));
    }
}
