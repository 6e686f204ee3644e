//! Real registries as child processes on loopback, with scratch storage, and what their access
//! logs say.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::certs::Ca;
use crate::images::{Blob, Image, Index, Layout};
use crate::tokens::TokenService;

/// Which registry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// Debian's docker-registry: distribution 2.8.
    Debian,
    /// CNCF distribution v3.
    V3,
}

impl Version {
    /// Both, in order.
    pub const ALL: [Self; 2] = [Self::Debian, Self::V3];

    /// The program it is.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Debian => "docker-registry",
            Self::V3 => "registry",
        }
    }
}

/// How a registry is to be started.
#[derive(Debug)]
pub struct Setup {
    version: Version,
    auth: String,
    tls: String,
    extra: Vec<(String, String)>,
    secure: bool,
    dir: tempfile::TempDir,
}

/// A running registry. Killed when dropped.
#[derive(Debug)]
pub struct Registry {
    port: u16,
    secure: bool,
    child: Child,
    dir: tempfile::TempDir,
    sentinels: AtomicUsize,
}

/// A place in the access log.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

/// A line of the access log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Logged {
    /// The method.
    pub method: String,
    /// The raw target.
    pub target: String,
    /// The status of the answer.
    pub status: u16,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

impl Logged {
    /// Method and target without the query.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.target.split('?').next().unwrap())
    }

    /// Whether it asked for this blob.
    pub fn gets_blob(&self, digest: &str) -> bool {
        self.method == "GET" && self.target.ends_with(&format!("/blobs/{digest}"))
    }
}

/// An open registry of Debian's.
pub fn open() -> Registry {
    Setup::new(Version::Debian).start()
}

impl Setup {
    /// An open registry over plain http.
    pub fn new(version: Version) -> Self {
        Self {
            version,
            auth: String::new(),
            tls: String::new(),
            extra: Vec::new(),
            secure: false,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Its storage is in memory, if there is such a folder: for thousands of small files.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
            self.dir = dir;
        }
        self
    }

    /// Only this user may enter, with Basic.
    #[must_use]
    pub fn basic(mut self, user: &str, password: &str) -> Self {
        let file = self.dir.path().join("htpasswd");
        write_htpasswd(&file, user, password);
        let file = file.display();
        self.auth = format!("auth: {{htpasswd: {{realm: windlass, path: '{file}'}}}}\n");
        self
    }

    /// Only tokens of this service are good, with Bearer.
    #[must_use]
    pub fn tokens(mut self, service: &impl TokenService) -> Self {
        self.auth = format!(
            "auth: {{token: {{realm: '{}', service: '{}', issuer: '{}', rootcertbundle: '{}'}}}}\n",
            service.realm(),
            service.service(),
            service.issuer(),
            service.certificate().display(),
        );
        self
    }

    /// TLS with a certificate of this CA.
    #[must_use]
    pub fn tls(mut self, ca: &Ca) -> Self {
        let leaf = ca.leaf();
        let (cert, key) = (leaf.cert.display(), leaf.key.display());
        self.tls = format!(", tls: {{certificate: '{cert}', key: '{key}'}}");
        self.secure = true;
        self
    }

    /// A variable of its environment, `REGISTRY_…` for settings.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.extra.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it and waits until it answers.
    pub fn start(self) -> Registry {
        let program = crate::program(self.version.program()).expect("the test asked for it");
        // Another process may take the port between the check and its use: then retry.
        for _ in 0..10 {
            let port = crate::free_port();
            let config = self.dir.path().join("config.yml");
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\n\
                 storage: {{filesystem: {{rootdirectory: '{}'}}, delete: {{enabled: true}}}}\n\
                 {}http: {{addr: '127.0.0.1:{port}'{}, headers: {{{IDENTITY}: ['{port}']}}}}\n",
                self.dir.path().join("storage").display(),
                self.auth,
                self.tls,
            );
            std::fs::write(&config, text).unwrap();
            let log = File::create(self.dir.path().join("log")).unwrap();
            let mut child = Command::new(&program)
                .args(["serve".as_ref(), config.as_os_str()])
                .env_clear()
                .env("OTEL_TRACES_EXPORTER", "none")
                .envs(self.extra.iter().map(|(name, value)| (name, value)))
                .stdin(Stdio::null())
                .stderr(log.try_clone().unwrap())
                .stdout(log)
                .spawn()
                .unwrap();
            if answers(&mut child, port, self.secure) {
                return Registry {
                    port,
                    secure: self.secure,
                    child,
                    dir: self.dir,
                    sentinels: AtomicUsize::new(0),
                };
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        panic!("{} does not start: {log}", program.display());
    }
}

/// A header field by which a registry is known to be the one that was started, as another one may
/// have taken its port. Its value is the port, which is unique.
const IDENTITY: &str = "X-Windlass-Test";

/// Registries send configured header fields where they serve something.
const HELLO: &str = "/v2/?hello";

/// Whether the child has begun to listen; false if it ended.
fn answers(child: &mut Child, port: u16, secure: bool) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        let is_it = if secure {
            // No TLS session is needed: a registry that cannot listen exits.
            let listens = TcpStream::connect(("127.0.0.1", port)).is_ok();
            listens && listens_itself(child, port)
        } else {
            let answer = get(port, HELLO).unwrap_or_default().to_lowercase();
            answer.contains(&format!("{IDENTITY}: {port}\r\n").to_lowercase())
        };
        if is_it {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Whether a socket that listens on this port is the child's.
pub(crate) fn listens_itself(child: &Child, port: u16) -> bool {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let local = format!("0100007F:{port:04X}");
    let sockets = table.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let is_it = fields.next()? == local && fields.nth(1)? == "0A";
        is_it.then(|| fields.nth(5))?
    });
    let sockets: Vec<_> = sockets.map(|inode| format!("socket:[{inode}]")).collect();
    let held = std::fs::read_dir(format!("/proc/{}/fd", child.id()));
    held.is_ok_and(|held| {
        held.flatten().any(|entry| {
            let target = std::fs::read_link(entry.path()).unwrap_or_default();
            sockets.iter().any(|socket| target.as_os_str() == &**socket)
        })
    })
}

/// The whole answer to a request without anything in it.
fn get(port: u16, target: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let request = format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Writes a password file with one user.
pub fn write_htpasswd(file: &Path, user: &str, password: &str) {
    let program = crate::program("htpasswd").expect("the test asked for it");
    // Cost 4 is the least there is: every request of a test pays for it.
    let words = ["-B", "-C", "4", "-b", "-n", user, password];
    let done = Command::new(program).args(words).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    std::fs::write(file, done.stdout).unwrap();
}

impl Registry {
    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A reference to something here.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host())
    }

    /// Where the access log stands.
    pub fn mark(&self) -> Mark {
        Mark(self.settled().len())
    }

    /// What was asked since then, in the order of the ends of the answers.
    pub fn requests_since(&self, mark: Mark) -> Vec<Logged> {
        let log = self.settled();
        log[mark.0..].lines().filter_map(parse).collect()
    }

    /// The same, once there are at least `count` requests `like` this. A line follows the end of its
    /// request, which a registry may learn late if the connection was cut or the body is long.
    pub fn requests_with(
        &self,
        mark: Mark,
        count: usize,
        like: impl Fn(&Logged) -> bool,
    ) -> Vec<Logged> {
        let begun = Instant::now();
        loop {
            let requests = self.requests_since(mark);
            let found = requests.iter().filter(|it| like(it)).count();
            // A guard against hanging; a registry that is told of a lost client logs it soon.
            if found >= count || begun.elapsed() > Duration::from_secs(30) {
                return requests;
            }
        }
    }

    /// How many requests there were since then, once there are as many as `expected`; prints them,
    /// so that a failing test shows them.
    pub fn count_since(&self, mark: Mark, expected: usize) -> usize {
        let requests = self.requests_with(mark, expected, |_| true);
        let mut out = std::io::stdout().lock();
        for logged in &requests {
            let _ = writeln!(
                out,
                "{} {} -> {}",
                logged.method, logged.target, logged.status
            );
        }
        requests.len()
    }

    /// The log, once everything that was answered is in it: a line is written after its answer, so a
    /// request of our own, which comes after all of them, is waited for, and then a quiet moment.
    fn settled(&self) -> String {
        // Over TLS there is no such request, and the moment has to do.
        let quiet = if self.secure {
            Duration::from_millis(400)
        } else {
            let count = self.sentinels.fetch_add(1, Ordering::Relaxed);
            let target = format!("{SENTINEL}{count}");
            get(self.port, &target).unwrap();
            crate::wait_for("the registry logs a request", || {
                self.log().contains(&format!("{target} "))
            });
            Duration::from_millis(50)
        };
        let mut log = self.log();
        loop {
            std::thread::sleep(quiet);
            let now = self.log();
            if now.len() == log.len() {
                return log;
            }
            log = now;
        }
    }

    fn log(&self) -> String {
        let bytes = std::fs::read(self.dir.path().join("log")).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn storage(&self) -> PathBuf {
        self.dir.path().join("storage/docker/registry/v2")
    }

    /// Puts an image directly into the storage, without requests.
    pub fn seed(&self, layout: &Layout, image: &Image, repository: &str, tag: &str) {
        self.seed_image(layout, image, repository);
        self.seed_tag(repository, tag, &image.manifest);
    }

    /// Puts an index and its images here.
    pub fn seed_index(&self, layout: &Layout, index: &Index, repository: &str, tag: &str) {
        for image in &index.images {
            self.seed_image(layout, image, repository);
        }
        self.seed_manifest(layout, &index.index, repository);
        self.seed_tag(repository, tag, &index.index);
    }

    fn seed_image(&self, layout: &Layout, image: &Image, repository: &str) {
        for blob in image.blobs() {
            self.seed_blob(layout, blob);
            self.link(&format!("{repository}/_layers"), blob);
        }
        self.seed_manifest(layout, &image.manifest, repository);
    }

    /// Puts a manifest here, without what it refers to.
    pub fn seed_document(&self, repository: &str, manifest: &Blob, bytes: &[u8]) {
        write(&self.blob_path(&manifest.digest), bytes);
        self.link(&format!("{repository}/_manifests/revisions"), manifest);
    }

    fn seed_manifest(&self, layout: &Layout, manifest: &Blob, repository: &str) {
        self.seed_blob(layout, manifest);
        self.link(&format!("{repository}/_manifests/revisions"), manifest);
        self.link(&format!("{repository}/_layers"), manifest);
    }

    /// Points a tag at a manifest that is here.
    pub fn seed_tag(&self, repository: &str, tag: &str, manifest: &Blob) {
        let tag = self
            .storage()
            .join(format!("repositories/{repository}/_manifests/tags/{tag}"));
        write(&tag.join("current/link"), manifest.digest.as_bytes());
        let hex = &manifest.digest["sha256:".len()..];
        write(
            &tag.join(format!("index/sha256/{hex}/link")),
            manifest.digest.as_bytes(),
        );
    }

    fn seed_blob(&self, layout: &Layout, blob: &Blob) {
        write(&self.blob_path(&blob.digest), &layout.read(&blob.digest));
    }

    fn link(&self, folder: &str, blob: &Blob) {
        let hex = &blob.digest["sha256:".len()..];
        let link = format!("repositories/{folder}/sha256/{hex}/link");
        write(&self.storage().join(link), blob.digest.as_bytes());
    }

    fn blob_path(&self, digest: &str) -> PathBuf {
        let hex = digest.strip_prefix("sha256:").expect("sha256");
        self.storage()
            .join(format!("blobs/sha256/{}/{hex}/data", &hex[..2]))
    }

    /// Whether content with this digest was committed, in any repository.
    pub fn holds(&self, digest: &str) -> bool {
        self.blob_path(digest).exists()
    }

    /// The content under a digest as it is stored.
    pub fn stored(&self, digest: &str) -> Option<Vec<u8>> {
        std::fs::read(self.blob_path(digest)).ok()
    }

    /// The digests of everything that was committed.
    pub fn all_stored(&self) -> Vec<String> {
        let files = crate::files_below(&self.storage().join("blobs"));
        let name = |path: &PathBuf| path.parent()?.file_name()?.to_str().map(str::to_owned);
        files
            .iter()
            .filter_map(name)
            .map(|hex| format!("sha256:{hex}"))
            .collect()
    }

    /// What a tag points at.
    pub fn tagged(&self, repository: &str, tag: &str) -> Option<String> {
        let link = format!("repositories/{repository}/_manifests/tags/{tag}/current/link");
        std::fs::read_to_string(self.storage().join(link)).ok()
    }

    /// Overwrites what is stored under a digest.
    pub fn damage(&self, digest: &str, bytes: &[u8]) {
        std::fs::write(self.blob_path(digest), bytes).unwrap();
    }

    /// How many upload sessions are open in a repository.
    pub fn open_sessions(&self, repository: &str) -> usize {
        let uploads = self
            .storage()
            .join(format!("repositories/{repository}/_uploads"));
        std::fs::read_dir(uploads).map_or(0, Iterator::count)
    }

    /// Whether it speaks TLS.
    pub const fn secure(&self) -> bool {
        self.secure
    }
}

fn write(path: &Path, bytes: &[u8]) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where the harness's own requests go: known to no registry, and answered at once.
const SENTINEL: &str = "/sentinel/";

/// A line in the combined log format; `None` for everything else that registries print.
fn parse(line: &str) -> Option<Logged> {
    let mut parts = line.split('"').skip(1);
    let mut request = parts.next()?.split(' ');
    let method = request.next()?.to_owned();
    let target = request.next()?.to_owned();
    request
        .next()
        .filter(|version| version.starts_with("HTTP/"))?;
    if target == HELLO || target.starts_with(SENTINEL) {
        // The harness's own.
        return None;
    }
    let mut after = parts.next()?.split_ascii_whitespace();
    let status = after.next()?.parse().ok()?;
    let bytes = after.next()?.parse().ok()?;
    Some(Logged {
        method,
        target,
        status,
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_access_log_is_understood_and_others_are_not() {
        let line = r#"127.0.0.1 - - [21/Nov/2026:22:40:30 +0000] "GET /v2/a/b?x=1 HTTP/1.1" 200 2 "" "curl/7.88.1""#;
        let logged = parse(line).unwrap();
        assert_eq!((logged.status, logged.bytes), (200, 2));
        assert_eq!(logged.line(), "GET /v2/a/b");
        assert_eq!(
            parse(r#"time="2026" level=error msg="response completed with error""#),
            None
        );
    }
}
