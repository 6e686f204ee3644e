//! Servers of others in front of a registry: nginx with TLS and client certificates, tinyproxy as a forward proxy.

use std::fmt::Write as _;
use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::certs::Ca;
use crate::registry::{Registry, write_htpasswd};

/// An address of this machine that is not loopback, which proxies are used for. `None` if it has none.
pub fn own_address() -> Option<String> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Sends nothing: it chooses a route.
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then(|| address.to_string())
}

/// How nginx is to be started.
#[derive(Debug)]
pub struct FrontSetup {
    address: String,
    names: Vec<String>,
    clients: Option<PathBuf>,
    htpasswd: Option<PathBuf>,
    dir: tempfile::TempDir,
}

/// nginx in front of a registry. Killed when dropped.
#[derive(Debug)]
pub struct Front {
    host: String,
    child: Child,
    dir: tempfile::TempDir,
}

/// What nginx says about a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Method and target.
    pub line: String,
    /// The status of the answer.
    pub status: String,
    /// `SUCCESS` if the client has shown a good certificate, `NONE` if none.
    pub client: String,
    /// The name that the server was asked for (SNI), `-` without one.
    pub name: String,
}

impl Default for FrontSetup {
    fn default() -> Self {
        Self::new()
    }
}

impl FrontSetup {
    /// On loopback, for any client.
    pub fn new() -> Self {
        Self {
            address: "127.0.0.1".to_owned(),
            names: vec!["127.0.0.1".to_owned(), "localhost".to_owned()],
            clients: None,
            htpasswd: None,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// At this address of the machine, with a certificate for it.
    #[must_use]
    pub fn at(mut self, address: &str) -> Self {
        address.clone_into(&mut self.address);
        self.names = vec![address.to_owned()];
        self
    }

    /// With a certificate for these names only.
    #[must_use]
    pub fn named(mut self, names: &[&str]) -> Self {
        self.names = names.iter().map(ToString::to_string).collect();
        self
    }

    /// Only for clients with a certificate of this authority.
    #[must_use]
    pub fn for_clients(mut self, ca: &Ca) -> Self {
        self.clients = Some(ca.pem.clone());
        self
    }

    /// Only for this user, with Basic.
    #[must_use]
    pub fn basic(mut self, user: &str, password: &str) -> Self {
        let file = self.dir.path().join("htpasswd");
        write_htpasswd(&file, user, password);
        self.htpasswd = Some(file);
        self
    }

    /// Starts it in front of a registry, with a certificate of this authority.
    pub fn start(self, registry: &Registry, ca: &Ca) -> Front {
        let names: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let leaf = ca.leaf_for(&names);
        for _ in 0..10 {
            let port = crate::free_port();
            let config = self.dir.path().join("nginx.conf");
            fs::write(&config, self.config(port, registry, &leaf.cert, &leaf.key)).unwrap();
            let program = crate::program("nginx").expect("the test asked for it");
            let mut child = Command::new(program)
                .arg("-p")
                .arg(self.dir.path())
                .arg("-c")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(self.dir.path().join("errors")).unwrap())
                .spawn()
                .unwrap();
            let host = format!("{}:{port}", self.address);
            if listens(&mut child, &host) {
                return Front {
                    host,
                    child,
                    dir: self.dir,
                };
            }
        }
        let errors = fs::read_to_string(self.dir.path().join("errors")).unwrap_or_default();
        panic!("nginx does not start: {errors}");
    }

    fn config(&self, port: u16, registry: &Registry, cert: &Path, key: &Path) -> String {
        let dir = self.dir.path().display();
        let mut text = String::new();
        // Its workers write to folders of this test, which are those of the user that runs it.
        if is_root() {
            text.push_str("user root;\n");
        }
        write!(
            text,
            "daemon off;\npid {dir}/pid;\nerror_log stderr;\nworker_processes 1;\nevents {{}}\n\
             http {{\n\
             log_format seen '$request|$status|$ssl_client_verify|$ssl_server_name';\n\
             access_log {dir}/log seen;\n\
             client_max_body_size 0;\n\
             client_body_temp_path {dir}/body;\nproxy_temp_path {dir}/proxy;\n\
             fastcgi_temp_path {dir}/fastcgi;\nuwsgi_temp_path {dir}/uwsgi;\n\
             scgi_temp_path {dir}/scgi;\n\
             server {{\n\
             listen {}:{port} ssl;\nssl_certificate {};\nssl_certificate_key {};\n",
            self.address,
            cert.display(),
            key.display(),
        )
        .unwrap();
        if let Some(clients) = &self.clients {
            let clients = clients.display();
            write!(
                text,
                "ssl_client_certificate {clients};\nssl_verify_client on;\n"
            )
            .unwrap();
        }
        if let Some(file) = &self.htpasswd {
            let file = file.display();
            // The password is for nginx, and a token for the registry.
            write!(
                text,
                "auth_basic windlass;\nauth_basic_user_file {file};\n\
                 proxy_set_header Authorization '';\n"
            )
            .unwrap();
        }
        write!(
            text,
            "proxy_set_header Host $http_host;\nproxy_set_header X-Forwarded-Proto https;\n\
             location / {{\nproxy_pass http://{};\n\
             proxy_request_buffering off;\n}}\n}}\n}}\n",
            registry.host(),
        )
        .unwrap();
        text
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|done| done.stdout == b"0\n")
}

impl Front {
    /// `host:port`
    pub fn host(&self) -> &str {
        &self.host
    }

    /// A reference to something behind it.
    pub fn reference(&self, name: &str) -> String {
        format!("{}/{name}", self.host)
    }

    /// What it was asked, once there are at least this many requests.
    pub fn seen(&self, at_least: usize) -> Vec<Seen> {
        let read = || -> Vec<Seen> {
            let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            log.lines().filter_map(seen).collect()
        };
        crate::wait_for("nginx logs requests", || read().len() >= at_least);
        read()
    }
}

fn seen(line: &str) -> Option<Seen> {
    let mut parts = line.split('|').map(ToOwned::to_owned);
    Some(Seen {
        line: parts.next()?,
        status: parts.next()?,
        client: parts.next()?,
        name: parts.next()?,
    })
}

impl Drop for Front {
    fn drop(&mut self) {
        // Its workers end with it only if it is asked to.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let _ = self.child.wait();
    }
}

/// A forward proxy, tinyproxy. Killed when dropped.
#[derive(Debug)]
pub struct ForwardProxy {
    port: u16,
    child: Child,
    dir: tempfile::TempDir,
}

impl ForwardProxy {
    /// Starts it; with a login it refuses everybody else with 407.
    pub fn start(login: Option<(&str, &str)>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..10 {
            let port = crate::free_port();
            let log = dir.path().join("log");
            let mut text = format!(
                "Port {port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 100\nAllow 127.0.0.1\n\
                 LogFile \"{}\"\nLogLevel Info\n",
                log.display()
            );
            if let Some((user, password)) = login {
                writeln!(text, "BasicAuth {user} {password}").unwrap();
            }
            let config = dir.path().join("tinyproxy.conf");
            fs::write(&config, text).unwrap();
            let program = crate::program("tinyproxy").expect("the test asked for it");
            let mut child = Command::new(program)
                .args(["-d".as_ref(), "-c".as_ref(), config.as_os_str()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            if listens(&mut child, &format!("127.0.0.1:{port}")) {
                return Self { port, child, dir };
            }
        }
        panic!("tinyproxy does not start");
    }

    /// `127.0.0.1:port`
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for ForwardProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether the child has begun to listen; false if it ended.
fn listens(child: &mut Child, host: &str) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(20) {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        if TcpStream::connect(host).is_ok() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}
