//! Registries behind nginx and tinyproxy, reached as the files of containerd, podman and docker say: by windlass,
//! and by skopeo where it reads them.
#![allow(clippy::unwrap_used, reason = "it panics into a test's output")]

use std::fs;
use std::path::{Path, PathBuf};

use windlass_tests::certs::{Ca, Leaf};
use windlass_tests::command::{AUTH, REFUSED, TEMPORARY, USAGE, Windlass};
use windlass_tests::front::{ForwardProxy, Front, FrontSetup, own_address};
use windlass_tests::images::{Image, Layout};
use windlass_tests::peers::run;
use windlass_tests::registry::{self, Registry, Setup, Version};
use windlass_tests::tokens::Tokens;
use windlass_tests::{needs, skipped};

const USER: &str = "alice";
const PASSWORD: &str = "correct-horse";

/// A registry that only clients with a certificate and a password enter.
struct Guarded {
    front: Front,
    registry: Registry,
    servers: Ca,
    clients: Ca,
    client: Leaf,
    image: Image,
    layout: Layout,
    folder: tempfile::TempDir,
}

impl Guarded {
    fn new() -> Self {
        Self::with(FrontSetup::new())
    }

    fn with(setup: FrontSetup) -> Self {
        let (servers, clients) = (Ca::new(), Ca::new());
        let registry = registry::open();
        let setup = setup.for_clients(&clients).basic(USER, PASSWORD);
        let front = setup.start(&registry, &servers);
        let (layout, image) = Layout::with_image(3, 100_000, 21);
        registry.seed(&layout, &image, "team/app", "v1");
        Self {
            client: clients.leaf_for(&["client"]),
            front,
            registry,
            servers,
            clients,
            image,
            layout,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Writes a file of this machine.
    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Lays the certificates as docker and podman have them.
    fn certs_d(&self) -> PathBuf {
        let folder = self
            .folder
            .path()
            .join("containers/certs.d")
            .join(self.front.host());
        fs::create_dir_all(&folder).unwrap();
        fs::copy(&self.servers.pem, folder.join("ca.crt")).unwrap();
        fs::copy(&self.client.cert, folder.join("client.cert")).unwrap();
        fs::copy(&self.client.key, folder.join("client.key")).unwrap();
        folder
    }

    fn windlass(&self, words: &[&str]) -> Windlass {
        Windlass::new(words)
            .args(["--tls"])
            .auths(&[(self.front.host(), USER, PASSWORD)])
    }

    /// Pulls, pushes and compares.
    fn there_and_back(&self, entry: &dyn Fn(Windlass) -> Windlass) {
        let out = Layout::absent();
        let from = self.front.reference("team/app:v1");
        let pulled = entry(self.windlass(&["pull", &from, &out.oci()])).run();
        assert_eq!(pulled.digest(), self.image.manifest.digest);
        out.check_holds_exactly(self.image.all());
        let to = self.front.reference("team/pushed:v1");
        let pushed = entry(self.windlass(&["push", &self.layout.oci_named("latest"), &to])).run();
        assert_eq!(pushed.digest(), self.image.manifest.digest);
        pushed.tells_nobody(&[PASSWORD]);
        let digest = Some(self.image.manifest.digest.clone());
        assert_eq!(self.registry.tagged("team/pushed", "v1"), digest);
        let seen = self.front.seen(1);
        assert!(seen.iter().all(|seen| seen.client == "SUCCESS"), "{seen:?}");
    }
}

/// HOSTS-21, HOSTS-24: certificates by host, in three forms, and by option.
#[test]
fn client_certificates_from_each_kind_of_file() {
    needs!("docker-registry", "nginx", "htpasswd");
    let guarded = Guarded::new();
    let hosts = format!(
        "server = \"https://{0}\"\nca = \"{1}\"\nclient = [[\"{2}\", \"{3}\"]]\n",
        guarded.front.host(),
        guarded.servers.pem.display(),
        guarded.client.cert.display(),
        guarded.client.key.display(),
    );
    let tree = guarded.write(&format!("tree/{}/hosts.toml", guarded.front.host()), &hosts);
    let tree = tree.parent().unwrap().parent().unwrap().to_owned();
    let by_tree = |it: Windlass| it.args(["--hosts-dir".as_ref(), tree.as_os_str()]);
    guarded.there_and_back(&by_tree);

    let certs = guarded.certs_d();
    let home = guarded.folder.path();
    guarded.there_and_back(&|it: Windlass| it.env("XDG_CONFIG_HOME", home));
    guarded.there_and_back(&|it: Windlass| it.args(["--cert-dir".as_ref(), certs.as_os_str()]));

    let own = format!(
        "[host.\"{}\"]\nca = \"{}\"\nclient-cert = \"{}\"\nclient-key = \"{}\"\n",
        guarded.front.host(),
        guarded.servers.pem.display(),
        guarded.client.cert.display(),
        guarded.client.key.display(),
    );
    let own = guarded.write("windlass.toml", &own);
    guarded.there_and_back(&|it: Windlass| it.env("WINDLASS_CONFIG", &own));
    guarded.there_and_back(&|it: Windlass| it.args(["--config".as_ref(), own.as_os_str()]));

    let option = |name: &str, path: &Path| format!("{name}={}", path.display());
    let options = [
        option("--ca-cert", &guarded.servers.pem),
        option("--client-cert", &guarded.client.cert),
        option("--client-key", &guarded.client.key),
    ];
    guarded.there_and_back(&|it: Windlass| it.args(&options));
}

/// The same with tokens of a service beside it: the certificate is for the registry alone (HOSTS-24).
#[test]
fn tokens_and_client_certificates() {
    needs!("docker-registry", "nginx");
    let (servers, clients) = (Ca::new(), Ca::new());
    let tokens = Tokens::start_tls(&servers);
    tokens.user(USER, PASSWORD);
    tokens.grant(Some(USER), "*", &["pull", "push"]);
    let registry = Setup::new(Version::Debian).tokens(&tokens).start();
    let front = FrontSetup::new().for_clients(&clients);
    let front = front.start(&registry, &servers);
    let client = clients.leaf_for(&["client"]);
    let (layout, image) = Layout::with_image(2, 100_000, 22);
    let windlass = |words: &[&str]| {
        let login = [(front.host(), USER, PASSWORD)];
        Windlass::new(words)
            .tls(&servers.pem)
            .args(["--client-cert".as_ref(), client.cert.as_os_str()])
            .args(["--client-key".as_ref(), client.key.as_os_str()])
            .auths(&login)
    };
    let reference = front.reference("team/app:v1");
    let pushed = windlass(&["push", &layout.oci_named("latest"), &reference]).run();
    assert_eq!(pushed.digest(), image.manifest.digest);
    let out = Layout::absent();
    let pulled = windlass(&["pull", &reference, &out.oci()]).run();
    assert_eq!(pulled.digest(), image.manifest.digest);
    out.check_holds_exactly(image.all());
    let issued = tokens.issued();
    let mut secrets: Vec<&str> = issued.iter().map(String::as_str).collect();
    assert_eq!(secrets.len(), 2, "one to push, one to pull");
    secrets.push(PASSWORD);
    pushed.tells_nobody(&secrets);
    pulled.tells_nobody(&secrets);
    let seen = front.seen(1);
    assert!(seen.iter().all(|seen| seen.client == "SUCCESS"), "{seen:?}");
}

/// The same files, read by another tool.
#[test]
fn skopeo_reads_the_same_certificates() {
    needs!("docker-registry", "nginx", "htpasswd", "skopeo");
    let guarded = Guarded::new();
    let certs = guarded.certs_d();
    let from = format!("docker://{}", guarded.front.reference("team/app:v1"));
    let login = format!("{USER}:{PASSWORD}");
    let inspected = run("skopeo", |command| {
        command
            .args(["inspect", "--raw", "--creds", &login, "--cert-dir"])
            .arg(&certs)
            .arg(&from);
    });
    assert_eq!(
        inspected.stdout,
        guarded.layout.read(&guarded.image.manifest.digest)
    );
    // Below $HOME/.config, as podman and skopeo look for it.
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join(".config/containers/certs.d");
    fs::create_dir_all(&config).unwrap();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args([&certs, &config.join(guarded.front.host())])
        .status();
    assert!(copied.unwrap().success());
    let inspected = run("skopeo", |command| {
        command
            .env("HOME", home.path())
            .args(["inspect", "--raw", "--creds", &login, &from]);
    });
    assert_eq!(
        inspected.stdout,
        guarded.layout.read(&guarded.image.manifest.digest)
    );
    guarded.there_and_back(&|it: Windlass| it.env("XDG_CONFIG_HOME", home.path().join(".config")));
}

/// What is missing is told, and nothing else is tried.
#[test]
fn without_the_certificate_or_the_authority_nobody_enters() {
    needs!("docker-registry", "nginx", "htpasswd");
    let guarded = Guarded::new();
    let from = guarded.front.reference("team/app:v1");
    let digest = || guarded.windlass(&["digest", &from]);
    digest().run().failed(REFUSED, "UnknownIssuer");
    let with_ca = ["--ca-cert".as_ref(), guarded.servers.pem.as_os_str()];
    // nginx answers 400 over the connection.
    let done = digest().args(with_ca).run();
    assert_eq!(done.code(), REFUSED, "{done}");
    let skipping = format!("--insecure-skip-verify={}", guarded.front.host());
    let certificate = format!("--client-cert={}", guarded.client.cert.display());
    let key = format!("--client-key={}", guarded.client.key.display());
    let done = digest().args([&skipping, &certificate, &key]).run();
    assert_eq!(done.digest(), guarded.image.manifest.digest);
    let warning = format!(
        "the certificate of https://{} is not verified",
        guarded.front.host()
    );
    assert!(done.stderr.contains(&warning), "{done}");
    // The key is that of another certificate.
    let other = guarded.clients.leaf_for(&["other"]);
    let wrong = format!("--client-key={}", other.key.display());
    let done = digest().args([&skipping, &certificate, &wrong]).run();
    done.failed(REFUSED, "client certificate");
    let broken = guarded.write("tree/x/hosts.toml", "server = ");
    let tree = broken.parent().unwrap().parent().unwrap().to_owned();
    let name = tree.join(guarded.front.host());
    fs::rename(tree.join("x"), name).unwrap();
    let done = digest()
        .args(["--hosts-dir".as_ref(), tree.as_os_str()])
        .run();
    done.failed(USAGE, "hosts.toml:1:10: ");
}

/// The server is asked for another name.
#[test]
fn a_server_name_of_its_own() {
    needs!("docker-registry", "nginx");
    let ca = Ca::new();
    let registry = registry::open();
    let (layout, image) = Layout::with_image(1, 1000, 22);
    registry.seed(&layout, &image, "a", "v1");
    let front = FrontSetup::new()
        .named(&["registry.example"])
        .start(&registry, &ca);
    let words = ["digest", &front.reference("a:v1")];
    let done = Windlass::new(words).tls(&ca.pem).run();
    assert_eq!(done.code(), REFUSED, "{done}");
    let named = Windlass::new(words).tls(&ca.pem);
    let named = named.args(["--tls-server-name=registry.example"]).run();
    assert_eq!(named.digest(), image.manifest.digest);
    assert_eq!(front.seen(1).last().unwrap().name, "registry.example");
}

/// HOSTS-41 to HOSTS-43: a name that leads elsewhere, and a mirror with TLS that is not verified; by windlass and
/// by skopeo.
#[test]
fn registries_conf_leads_to_the_same_place() {
    needs!("docker-registry", "nginx", "skopeo");
    let ca = Ca::new();
    let registry = registry::open();
    let (layout, image) = Layout::with_image(2, 10_000, 23);
    registry.seed(&layout, &image, "inner/app", "v1");
    let front = FrontSetup::new().start(&registry, &ca);
    // Where podman and skopeo look for it, in all versions.
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join(".config/containers/registries.conf");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let text = format!(
        "[[registry]]\nprefix = \"corp.invalid/team\"\nlocation = \"{0}/inner\"\ninsecure = true\n\
         [[registry]]\nlocation = \"hub.invalid\"\n\
         [[registry.mirror]]\nlocation = \"{0}/inner\"\ninsecure = true\n\
         [[registry]]\nlocation = \"blocked.invalid\"\nblocked = true\n\
         [[registry]]\nprefix = \"plain.invalid\"\nlocation = \"{1}\"\ninsecure = true\n",
        front.host(),
        registry.host(),
    );
    fs::write(&file, text).unwrap();
    for from in [
        "corp.invalid/team/app:v1",
        "hub.invalid/app:v1",
        "plain.invalid/inner/app:v1",
    ] {
        let inspected = run("skopeo", |command| {
            let image = format!("docker://{from}");
            command
                .env("HOME", home.path())
                .args(["inspect", "--raw", &image]);
        });
        assert_eq!(
            inspected.stdout,
            layout.read(&image.manifest.digest),
            "{from}"
        );
        let out = Layout::absent();
        let pull = Windlass::new(["pull", from, &out.oci()]);
        let done = pull
            .env("XDG_CONFIG_HOME", home.path().join(".config"))
            .run();
        assert_eq!(done.digest(), image.manifest.digest, "{from}");
        out.check_holds_exactly(image.all());
        let unverified = format!(
            "the certificate of https://{} is not verified",
            front.host()
        );
        assert_eq!(
            done.stderr.contains(&unverified),
            !from.starts_with("plain"),
            "{done}"
        );
    }
    // A push goes where the location is.
    let push = [
        "push",
        &layout.oci_named("latest"),
        "plain.invalid/pushed:v1",
    ];
    let option = ["--registries-conf".as_ref(), file.as_os_str()];
    let done = Windlass::new(push).args(option).run();
    assert_eq!(done.digest(), image.manifest.digest);
    assert!(registry.tagged("pushed", "v1").is_some());
    let blocked = Windlass::new(["digest", "blocked.invalid/app:v1"]);
    let blocked = blocked.env("CONTAINERS_REGISTRIES_CONF", &file);
    blocked.run().failed(REFUSED, "is blocked by");
}

/// HTTP-27: a name that leads to another host is entered with the credentials and certificates of that host.
#[test]
fn a_name_that_leads_elsewhere_has_the_credentials_of_that_host() {
    needs!("docker-registry", "nginx", "htpasswd");
    let Some(address) = own_address() else {
        return skipped("this machine has no address but loopback");
    };
    let guarded = Guarded::with(FrontSetup::new().at(&address));
    guarded.certs_d();
    let text = format!(
        "[[registry]]\nprefix = \"corp.invalid/apps\"\nlocation = \"{}/team\"\n",
        guarded.front.host()
    );
    let file = guarded.write("registries.conf", &text);
    let entry = |words: &[&str]| {
        let words = Windlass::new(words).auths(&[
            (guarded.front.host(), USER, PASSWORD),
            ("corp.invalid", "nobody", "wr0ng"),
        ]);
        words
            .env("XDG_CONFIG_HOME", guarded.folder.path())
            .env("CONTAINERS_REGISTRIES_CONF", &file)
    };
    let done = entry(&["digest", "corp.invalid/apps/app:v1"]).run();
    assert_eq!(done.digest(), guarded.image.manifest.digest);
    let push = [
        "push",
        &guarded.layout.oci_named("latest"),
        "corp.invalid/apps/pushed:v1",
    ];
    let done = entry(&push).run();
    assert_eq!(done.digest(), guarded.image.manifest.digest);
    assert!(guarded.registry.tagged("team/pushed", "v1").is_some());
    done.tells_nobody(&[PASSWORD, "wr0ng"]);
}

/// A forward proxy, with and without credentials of its own.
#[test]
fn through_tinyproxy() {
    needs!("docker-registry", "nginx", "tinyproxy");
    let Some(address) = own_address() else {
        return skipped("this machine has no address but loopback");
    };
    let ca = Ca::new();
    let registry = registry::open();
    let (layout, image) = Layout::with_image(2, 100_000, 24);
    registry.seed(&layout, &image, "a", "v1");
    let front = FrontSetup::new().at(&address).start(&registry, &ca);
    let from = front.reference("a:v1");
    let pull = |proxy: &str| {
        let out = Layout::absent();
        let pull = Windlass::new(["pull", &from, &out.oci()])
            .tls(&ca.pem)
            .retries(0);
        (pull.env("HTTPS_PROXY", proxy).run(), out)
    };
    let open = ForwardProxy::start(None);
    let (done, out) = pull(&format!("http://{}", open.host()));
    assert_eq!(done.digest(), image.manifest.digest);
    out.check_holds_exactly(image.all());
    assert!(
        open.log().contains(&format!("CONNECT {}", front.host())),
        "{}",
        open.log()
    );

    let guarded = ForwardProxy::start(Some(("bob", "pr0xy-secret")));
    let (done, out) = pull(&format!("http://bob:pr0xy-secret@{}", guarded.host()));
    assert_eq!(done.digest(), image.manifest.digest);
    out.check_holds_exactly(image.all());
    done.tells_nobody(&["pr0xy-secret"]);
    let (done, _) = pull(&format!("http://{}", guarded.host()));
    done.failed(AUTH, "answered 407: it wants other credentials");
    let (done, _) = pull(&format!("http://bob:wr0ng-secret@{}", guarded.host()));
    // It answers 401 to wrong ones, which is not what RFC 9110 has for proxies.
    let says = format!("proxy {}: proxy server responded 401", guarded.host());
    done.failed(TEMPORARY, &says);
    done.tells_nobody(&["wr0ng-secret"]);
    // From windlass' own file, with the password in another one.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    fs::write(folder.path().join("password"), "pr0xy-secret\n").unwrap();
    let text = format!(
        "[proxy]\nhttps = \"http://{}\"\nusername = \"bob\"\npassword-file = \"password\"\n",
        guarded.host()
    );
    fs::write(&file, text).unwrap();
    let before = guarded.log().len();
    let digest = Windlass::new(["digest", &from]).tls(&ca.pem);
    let done = digest.env("WINDLASS_CONFIG", &file).run();
    assert_eq!(done.digest(), image.manifest.digest);
    assert!(guarded.log()[before..].contains("CONNECT "));
    // NO_PROXY, by network.
    let before = guarded.log().len();
    let digest = Windlass::new(["digest", &from]).tls(&ca.pem);
    let digest = digest.env("HTTPS_PROXY", "http://127.0.0.1:1");
    let network = format!("{address}/32");
    let done = digest.env("NO_PROXY", &network).run();
    assert_eq!(done.digest(), image.manifest.digest);
    assert_eq!(guarded.log().len(), before);
}
