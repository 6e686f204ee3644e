use windlass_core::Config;
use windlass_core::config::RouteError;

use super::*;
use crate::hosts::probe::Probe;
use crate::hosts::registries::RegistriesFiles;
use crate::testing::folder;

/// The files of a machine.
struct Machine(tempfile::TempDir);

impl Machine {
    fn with(files: &[(&str, &str)]) -> Self {
        Self(folder(files))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn hosts(&self) -> Hosts {
        let registries = RegistriesFiles {
            file: self.at("registries.conf"),
            is_named: false,
            folders: vec![self.at("registries.conf.d")],
        };
        let hosts = Hosts::new(HostsOptions {
            hosts_dir: Some(self.at("tree")),
            registries: Some(registries),
            cert_roots: vec![self.at("certs.d")],
            ..HostsOptions::default()
        });
        let file = self.at("config.toml");
        match file.exists() {
            true => hosts.with_file(Arc::new(ConfigFile::read(&file).expect("a good file"))),
            false => hosts,
        }
    }

    fn plan(&self, references: &[&str]) -> Result<Plan, HostsError> {
        let references: Vec<Reference> = references.iter().map(|text| reference(text)).collect();
        self.hosts().plan(&references, &Config::default())
    }

    /// Where a reference is looked for.
    fn sources(&self, text: &str) -> String {
        let plan = self.plan(&[text]).expect("good files");
        let mut config = Config::default();
        config.routes = plan.routes().to_vec();
        match config.sources(&reference(text)) {
            Ok(contacts) => {
                let shown = contacts.iter().map(|it| {
                    let ns = it.ns.as_ref().map(|ns| format!("?ns={ns}"));
                    format!(
                        "{}{}/{}{}",
                        it.origin,
                        it.api,
                        it.repository,
                        ns.unwrap_or_default()
                    )
                });
                shown.collect::<Vec<_>>().join(" ")
            }
            Err(error @ (RouteError::Blocked { .. } | RouteError::NoEndpoint { .. })) => {
                error.to_string()
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn reference(text: &str) -> Reference {
    text.parse().expect("a reference")
}

fn origin(text: &str) -> Origin {
    text.parse().expect("an origin")
}

fn settings(plan: &Plan, text: &str) -> Arc<HostSettings> {
    let found = plan.host(&origin(text)).expect("good settings");
    found.unwrap_or_default()
}

/// HOSTS-01 to HOSTS-04, HOSTS-07, HOSTS-09.
#[test]
fn containerds_tree() {
    let machine = Machine::with(&[
        (
            "tree/docker.io/hosts.toml",
            "server = \"https://registry-1.docker.io\"\n\
             [host.\"https://m.example/hub\"]\n[host.\"http://a.example:5000\"]\noverride_path = true\n",
        ),
        ("tree/registry-1.docker.io/hosts.toml", "this is not read"),
        (
            "tree/r.example_5000_/hosts.toml",
            "[host.\"https://m.example\"]\n",
        ),
        ("tree/r.example:5000/hosts.toml", "this is not read"),
        (
            "tree/_default/hosts.toml",
            "[host.\"https://d.example\"]\ncapabilities = [\"pull\", \"resolve\"]\n",
        ),
    ]);
    let table = [
        (
            "alpine",
            "https://m.example/hub/v2/library/alpine?ns=docker.io \
             http://a.example:5000/library/alpine?ns=docker.io \
             https://registry-1.docker.io/v2/library/alpine",
        ),
        (
            "r.example:5000/x",
            "https://m.example/v2/x?ns=r.example:5000 https://r.example:5000/v2/x",
        ),
        (
            "q.example/x",
            "https://d.example/v2/x?ns=q.example https://q.example/v2/x",
        ),
        (
            "localhost:5000/x",
            "https://d.example/v2/x?ns=localhost:5000 http://localhost:5000/v2/x",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(machine.sources(text), expected, "{text}");
    }
    assert_eq!(
        Machine::with(&[]).sources("q.example/x"),
        "https://q.example/v2/x"
    );
}

/// HOSTS-41 to HOSTS-43.
#[test]
fn podmans_registries() {
    let machine = Machine::with(&[(
        "registries.conf",
        r#"
[[registry]]
prefix = "example.com/foo"
location = "internal.example/bar"
[[registry.mirror]]
location = "mirror.example/a"
[[registry]]
location = "blocked.example"
blocked = true
[[registry]]
prefix = "*.lan"
insecure = true
[[registry]]
location = "r.example"
[[registry.mirror]]
location = "m.example:5000"
insecure = true
[[registry.mirror]]
location = "n.example"
pull-from-mirror = "digest-only"
[[registry]]
prefix = "p.example/team"
location = "q.example"
[[registry]]
prefix = "t.example/app:v1"
location = "u.example/one"
"#,
    )]);
    let digest = format!("sha256:{}", "0".repeat(64));
    let insecure = "https://m.example:5000/v2/x http://m.example:5000/v2/x";
    let table = [
        (
            "example.com/foo/img".to_owned(),
            "https://mirror.example/v2/a/img https://internal.example/v2/bar/img".to_owned(),
        ),
        (
            "example.com/foobar/img".to_owned(),
            "https://example.com/v2/foobar/img".to_owned(),
        ),
        (
            "r.lan/x".to_owned(),
            "https://r.lan/v2/x http://r.lan/v2/x".to_owned(),
        ),
        (
            "r.example/x".to_owned(),
            format!("{insecure} https://r.example/v2/x"),
        ),
        (
            format!("r.example/x@{digest}"),
            format!("{insecure} https://n.example/v2/x https://r.example/v2/x"),
        ),
        (
            "p.example/team/x".to_owned(),
            "https://q.example/v2/x".to_owned(),
        ),
        (
            "t.example/app:v1".to_owned(),
            "https://u.example/v2/one".to_owned(),
        ),
        (
            "t.example/app:v2".to_owned(),
            "https://t.example/v2/app".to_owned(),
        ),
    ];
    for (text, expected) in table {
        assert_eq!(machine.sources(&text), expected, "{text}");
    }
    // Credentials are those of the host that is contacted (HTTP-27).
    let moved = reference("example.com/foo/img");
    let mut config = Config::default();
    let plan = machine.plan(&["example.com/foo/img"]).expect("good files");
    config.routes = plan.routes().to_vec();
    let contact = config.destination(&moved).expect("a route");
    assert_eq!(contact.registry.as_str(), "internal.example");
    let blocked = machine.sources("blocked.example/x");
    assert!(
        blocked.contains("is blocked by") && blocked.contains("registries.conf:7"),
        "{blocked}"
    );
    let plan = machine.plan(&["r.lan/x"]).expect("good files");
    assert!(settings(&plan, "https://r.lan").is_unverified());
    assert!(
        !settings(&plan, "https://s.lan").is_unverified(),
        "one host only"
    );
    let facts = plan.facts(&origin("https://r.lan")).expect("good");
    assert!(facts[0].from.ends_with("[[registry]] *.lan"), "{facts:?}");
}

/// Which of several files counts.
#[test]
fn one_rule_counts() {
    let own = (
        "config.toml",
        "[mirror.\"r.example\"]\nurl = \"https://own.example/r\"\nmode = \"replace\"\n",
    );
    let named = (
        "tree/r.example/hosts.toml",
        "[host.\"https://tree.example\"]\n",
    );
    let podman = (
        "registries.conf",
        "[[registry]]\nlocation = \"r.example/team\"\n[[registry.mirror]]\nlocation = \"podman.example\"\n",
    );
    let default = (
        "tree/_default/hosts.toml",
        "[host.\"https://default.example\"]\n",
    );
    let table: [(&[(&str, &str)], &str); 5] = [
        (
            &[own, named, podman, default],
            "https://own.example/v2/r/team/x",
        ),
        (
            &[named, podman, default],
            "https://tree.example/v2/team/x?ns=r.example https://r.example/v2/team/x",
        ),
        (
            &[podman, default],
            "https://podman.example/v2/x https://r.example/v2/team/x",
        ),
        (
            &[default],
            "https://default.example/v2/team/x?ns=r.example https://r.example/v2/team/x",
        ),
        (&[], "https://r.example/v2/team/x"),
    ];
    for (files, expected) in table {
        let machine = Machine::with(files);
        assert_eq!(machine.sources("r.example/team/x"), expected);
        let plan = machine.plan(&["r.example/team/x"]).expect("good files");
        assert_eq!(plan.planned()[0].rule.is_some(), !files.is_empty());
    }
}

/// The pattern that most machines have: the registry itself is a host of its file, with fields.
#[test]
fn fields_of_a_host_hold_for_the_server_at_the_same_address() {
    let machine = Machine::with(&[(
        "tree/r.example:5000/hosts.toml",
        "server = \"https://r.example:5000\"\n[host.\"https://r.example:5000\"]\n\
         capabilities = [\"pull\", \"resolve\", \"push\"]\nskip_verify = true\ndial_timeout = \"3s\"\n",
    )]);
    let plan = machine.plan(&["r.example:5000/x"]).expect("good files");
    let settings = settings(&plan, "https://r.example:5000");
    assert!(settings.is_unverified());
    assert_eq!(settings.connect, Some(std::time::Duration::from_secs(3)));
}

/// HOSTS-06: a folder without `hosts.toml` holds certificates; a broken file is an error.
#[test]
fn a_folder_of_containerds_tree_may_hold_certificates() {
    let machine = Machine::with(&[("tree/r.example/ca.crt", "no certificate")]);
    let error = machine
        .plan(&["r.example/x"])
        .expect_err("no certificate")
        .to_string();
    assert!(
        error.contains("no certificate in") && error.contains("ca.crt"),
        "{error}"
    );
    assert!(
        machine.plan(&["other.example/x"]).is_ok(),
        "it is not needed"
    );
    let machine = Machine::with(&[("tree/r.example/hosts.toml", "server = ")]);
    let error = machine
        .plan(&["r.example/x"])
        .expect_err("broken")
        .to_string();
    assert!(error.contains("hosts.toml:1:10: "), "{error}");
    assert!(
        machine.plan(&["other.example/x"]).is_ok(),
        "it is not needed"
    );
}

/// HOSTS-20 to HOSTS-24.
#[test]
fn certificates_by_host() {
    let machine = Machine::with(&[
        ("certs.d/r.example/ca.crt", "no certificate"),
        ("certs.d/token.example/c.cert", "no key"),
    ]);
    let plan = machine
        .plan(&["q.example/x"])
        .expect("nothing of it is needed");
    // What is broken and for others is told when they are contacted.
    let error = plan
        .host(&origin("https://token.example"))
        .expect_err("no key");
    assert!(error.contains("c.cert: missing key c.key"), "{error}");
    assert!(plan.host(&origin("https://r.example")).is_err());
    assert_eq!(plan.host(&origin("https://q.example")), Ok(None));
    let error = machine
        .plan(&["r.example/x"])
        .expect_err("needed")
        .to_string();
    assert!(error.contains("no certificate in"), "{error}");
    let looked: Vec<_> = plan.looked().filter(|(_, found)| *found).collect();
    assert_eq!(looked.len(), 2, "{looked:?}");
}

/// The caller and windlass' own file come before all others, field by field.
#[test]
fn the_callers_word_is_the_last() {
    let machine = Machine::with(&[
        (
            "config.toml",
            "[host.\"r.example\"]\nskip-verify = false\nserver-name = \"s.example\"\n",
        ),
        (
            "tree/r.example/hosts.toml",
            "server = \"https://r.example\"\nskip_verify = true\ndial_timeout = \"1s\"\n",
        ),
    ]);
    let plan = machine.plan(&["r.example/x"]).expect("good files");
    let of = settings(&plan, "https://r.example");
    assert!(!of.is_unverified());
    assert_eq!(of.server_name.as_deref(), Some("s.example"));
    assert_eq!(of.connect, Some(std::time::Duration::from_secs(1)));
    let mut hosts = machine.hosts();
    let rule = HostRule {
        skip_verify: Some(true),
        ..HostRule::default()
    };
    let name: HostName = "r.example".parse().expect("a name");
    hosts
        .options
        .hosts
        .insert(name, (rule, "--insecure-skip-verify".to_owned()));
    let plan = hosts
        .plan(&[reference("r.example/x")], &Config::default())
        .expect("good files");
    assert!(settings(&plan, "https://r.example").is_unverified());
    let facts = plan.facts(&origin("https://r.example")).expect("good");
    let by = |what: &str| {
        facts
            .iter()
            .find(|fact| fact.what.contains(what))
            .map(|it| &*it.from)
    };
    assert_eq!(by("not verified"), Some("--insecure-skip-verify"));
    assert!(by("server name").is_some_and(|by| by.ends_with("[host.\"r.example\"]")));
}

/// Two registries may have the same mirror, but not reach it in two ways at once.
#[test]
fn what_two_files_say_about_one_host_must_agree() {
    let with = |second: &str| {
        let first = "[host.\"https://m.example\"]\nskip_verify = true\n";
        Machine::with(&[
            ("tree/a.example/hosts.toml", first),
            ("tree/b.example/hosts.toml", second),
        ])
    };
    let both = ["a.example/x", "b.example/x"];
    let machine = with("[host.\"https://m.example\"]\n");
    let error = machine.plan(&both).expect_err("they differ").to_string();
    assert!(
        error.contains("reach https://m.example in different ways"),
        "{error}"
    );
    assert!(error.contains("a.example/hosts.toml") && error.contains("b.example/hosts.toml"));
    for one in both {
        assert!(machine.plan(&[one]).is_ok(), "{one} alone");
    }
    let machine = with("[host.\"https://m.example\"]\nskip_verify = true\n");
    assert!(machine.plan(&both).is_ok());
    // The mirror itself, of which nothing is said.
    let error = machine
        .plan(&["a.example/x", "m.example/x"])
        .expect_err("they differ");
    assert!(matches!(error, HostsError::Conflict { .. }), "{error}");
}

#[test]
fn an_entry_that_names_nothing_is_an_error() {
    let machine = Machine::with(&[("registries.conf", "[[registry]]\nlocation = \"lan\"\n")]);
    // Not a registry for references: nothing can match it.
    assert!(machine.plan(&["r.example/x"]).is_ok());
    let machine = Machine::with(&[(
        "registries.conf",
        "[[registry]]\nprefix = \"r.example\"\nlocation = \"lan\"\n",
    )]);
    let error = machine
        .plan(&["r.example/x"])
        .expect_err("no registry")
        .to_string();
    assert!(error.contains("location lan: "), "{error}");
}

/// Where a registry is by option, its file's fields hold.
#[test]
fn fields_are_for_the_address_that_is_configured() {
    let machine = Machine::with(&[("tree/localhost:5000/hosts.toml", "skip_verify = true\n")]);
    let text = "localhost:5000/x";
    assert_eq!(
        machine.sources(text),
        "https://localhost:5000/v2/x http://localhost:5000/v2/x"
    );
    let mut config = Config::default();
    let reference = reference(text);
    let secure = origin("https://localhost:5000");
    config
        .endpoints
        .insert(reference.registry().clone(), secure.clone());
    let plan = machine
        .hosts()
        .plan(std::slice::from_ref(&reference), &config)
        .expect("good");
    config.routes = plan.routes().to_vec();
    let contacts = config.sources(&reference).expect("a route");
    assert_eq!(contacts.len(), 1);
    assert_eq!(contacts[0].origin, secure);
    assert!(settings(&plan, "https://localhost:5000").is_unverified());
    assert_eq!(plan.planned()[0].origins, [secure]);
    let broken = [("tree/localhost:5000/hosts.toml", "ca = \"absent.pem\"\n")];
    let plan = Machine::with(&broken).hosts().plan(&[reference], &config);
    let error = plan.expect_err("it is needed").to_string();
    assert!(error.contains("absent.pem"), "{error}");
}

/// What an insecure registry speaks is found out where that was asked for.
#[test]
fn an_insecure_registry_may_be_probed() {
    let machine = Machine::with(&[(
        "registries.conf",
        "[[registry]]\nlocation = \"r.lan:5000\"\ninsecure = true\n",
    )]);
    for (scheme, expected) in [
        (Some(Scheme::Http), "http://r.lan:5000"),
        (Some(Scheme::Https), "https://r.lan:5000"),
        (None, "https://r.lan:5000 http://r.lan:5000"),
    ] {
        let mut hosts = machine.hosts();
        hosts.options.probe = Some(Probe::new(move |_| scheme));
        let plan = hosts.plan(&[reference("r.lan:5000/x")], &Config::default());
        let plan = plan.expect("good files");
        let origins: Vec<_> = plan.planned()[0]
            .origins
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(origins.join(" "), expected);
    }
}
