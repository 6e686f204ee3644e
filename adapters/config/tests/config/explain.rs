//! What `explain` says about machines as they are found, line by line.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use insta::assert_snapshot;
use windlass_config::hosts::registries::RegistriesFiles;
use windlass_config::hosts::{Hosts, HostsOptions};
use windlass_config::{ConfigFile, CredentialSearch, Proxies, SearchOptions, explain};
use windlass_core::{Config, Reference};

/// A machine: files below its root, and variables.
#[derive(Default)]
struct Machine<'a> {
    files: &'a [(&'a str, &'a str)],
    variables: &'a [(&'a str, &'a str)],
}

impl Machine<'_> {
    /// What is explained of a reference there. `/` is the machine's root.
    fn explains(&self, reference: &str) -> String {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        for (path, text) in self.files {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            #[cfg(unix)]
            if text.starts_with("#!") {
                use std::os::unix::fs::PermissionsExt as _;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
            }
        }
        let below = |path: &str| root.join(path).into_os_string();
        let mut all: BTreeMap<String, OsString> = [
            ("HOME".into(), below("home")),
            ("XDG_RUNTIME_DIR".into(), below("run")),
        ]
        .into();
        for (name, value) in self.variables {
            let value = value.replace("$ROOT", root.to_str().unwrap());
            all.insert((*name).into(), value.into());
        }
        let variables = move |name: &str| all.get(name).cloned();
        let reference: Reference = reference.parse().unwrap();
        let mut options = HostsOptions::from_variables(&variables).unwrap();
        let tree = root.join("etc/containerd/certs.d");
        options.hosts_dir = tree.is_dir().then_some(tree);
        let registries = root.join("etc/containers/registries.conf");
        options.registries = registries
            .exists()
            .then(|| RegistriesFiles::named(registries));
        options.cert_roots = vec![root.join("etc/docker/certs.d")];
        let mut config = Config::default();
        let own = root.join("etc/windlass/config.toml");
        let own = own.exists().then(|| ConfigFile::read(&own).unwrap());
        let mut hosts = Hosts::new(options);
        let mut search = SearchOptions::default();
        if let Some(own) = &own {
            own.apply(&mut config);
            hosts = hosts.with_file(Arc::new(own.clone()));
            search.authfile = own.auth_file();
        }
        let plan = match hosts.plan(std::slice::from_ref(&reference), &config) {
            Ok(plan) => plan,
            Err(why) => return shown(&why.to_string(), root),
        };
        config.routes = plan.routes().to_vec();
        search.credential_helpers = plan.credential_helpers().to_vec();
        let mut credentials = CredentialSearch::with_options(search, variables.clone()).unwrap();
        if let Some(own) = &own {
            credentials = own.add_credentials(credentials);
        }
        let proxies = Proxies::from_variables(variables);
        let explained = explain(&reference, &config, &plan, &credentials, &proxies);
        shown(&explained.to_string(), root)
    }
}

fn shown(text: &str, root: &Path) -> String {
    text.replace(root.to_str().unwrap(), "")
}

/// `user:secret`
const ALICE: &str = r#"{"auth": "dXNlcjpzZWNyZXQ="}"#;

#[test]
fn a_machine_with_nothing() {
    assert_snapshot!(Machine::default().explains("alpine"));
}

#[test]
fn docker_only() {
    let config = format!(r#"{{"auths": {{"https://index.docker.io/v1/": {ALICE}}}}}"#);
    let files = [("home/.docker/config.json", config.as_str())];
    let machine = Machine {
        files: &files,
        ..Machine::default()
    };
    assert_snapshot!(machine.explains("alpine:3.20"));
}

#[test]
fn podman_only() {
    let auth = format!(
        r#"{{"auths": {{"r.example/team": {ALICE}, "r.example": {{"auth": "b3RoZXI6eA=="}}}}}}"#
    );
    let registries = "[[registry]]\nlocation = \"r.example\"\n[[registry.mirror]]\nlocation = \"mirror.example:5000/r\"\n";
    let files = [
        ("run/containers/auth.json", auth.as_str()),
        ("etc/containers/registries.conf", registries),
    ];
    let machine = Machine {
        files: &files,
        ..Machine::default()
    };
    assert_snapshot!(machine.explains("r.example/team/app:v1"));
}

#[test]
fn docker_and_podman() {
    let docker = format!(r#"{{"auths": {{"r.example": {ALICE}}}}}"#);
    let podman = r#"{"auths": {"other.example": {"auth": "b3RoZXI6eA=="}}}"#;
    let files = [
        ("home/.docker/config.json", docker.as_str()),
        ("home/.config/containers/auth.json", podman),
    ];
    let machine = Machine {
        files: &files,
        ..Machine::default()
    };
    assert_snapshot!(machine.explains("r.example/app"));
}

/// With a mirror that Spegel or an administrator has written.
#[test]
fn a_kubernetes_node() {
    let hosts = "server = \"https://registry-1.docker.io\"\n\n[host.\"http://127.0.0.1:30021\"]\ncapabilities = [\"pull\", \"resolve\"]\ndial_timeout = \"200ms\"\n\n[host.\"https://mirror.corp\"]\ncapabilities = [\"pull\"]\nca = \"corp.pem\"\n[host.\"https://mirror.corp\".header]\nAuthorization = \"Basic c2VjcmV0\"\n";
    let files = [
        ("etc/containerd/certs.d/docker.io/hosts.toml", hosts),
        ("etc/containerd/certs.d/docker.io/corp.pem", CERTIFICATE),
    ];
    let machine = Machine {
        files: &files,
        ..Machine::default()
    };
    assert_snapshot!(machine.explains("docker.io/library/alpine:3.20"));
}

#[cfg(unix)]
#[test]
fn an_ecr_helper() {
    let helper = "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"AWS\",\"Secret\":\"s3cret\"}'\n";
    let config = r#"{"credHelpers": {"1234.dkr.ecr.eu-west-1.amazonaws.com": "ecr-login"}}"#;
    let files = [
        ("home/.docker/config.json", config),
        ("bin/docker-credential-ecr-login", helper),
    ];
    let machine = Machine {
        files: &files,
        variables: &[("PATH", "$ROOT/bin:/usr/bin:/bin")],
    };
    assert_snapshot!(machine.explains("1234.dkr.ecr.eu-west-1.amazonaws.com/app:v1"));
}

#[test]
fn a_helper_that_is_absent() {
    let config = r#"{"credsStore": "desktop"}"#;
    let machine = Machine {
        files: &[("home/.docker/config.json", config)],
        variables: &[("PATH", "$ROOT/bin")],
    };
    assert_snapshot!(machine.explains("r.example/app"));
}

#[test]
fn air_gapped_with_replace() {
    let own = "[mirror.\"*\"]\nurl = \"https://mirror.corp/all\"\nmode = \"replace\"\n[host.\"mirror.corp\"]\nca = \"corp.pem\"\nonly-ca = true\n[[trusted-realm]]\nregistry = \"mirror.corp\"\nrealm = \"https://auth.corp\"\n";
    let auth = format!(r#"{{"auths": {{"mirror.corp": {ALICE}}}}}"#);
    let files = [
        ("etc/windlass/config.toml", own),
        ("etc/windlass/corp.pem", CERTIFICATE),
        ("home/.docker/config.json", auth.as_str()),
    ];
    let machine = Machine {
        files: &files,
        ..Machine::default()
    };
    assert_snapshot!(machine.explains("quay.io/team/app:v1"));
}

#[test]
fn behind_a_proxy() {
    let machine = Machine {
        variables: &[
            ("HTTPS_PROXY", "http://user:s3cret@proxy.corp:3128"),
            ("NO_PROXY", "10.0.0.0/8,.inner.example"),
        ],
        ..Machine::default()
    };
    let outer = machine.explains("r.example/app");
    let inner = machine.explains("r.inner.example/app");
    assert_snapshot!(format!("{outer}\n\n{inner}"));
}

#[test]
fn certificates_for_one_host() {
    let files = [("etc/docker/certs.d/r.example:5000/ca.crt", CERTIFICATE)];
    let machine = Machine {
        files: &files,
        ..Machine::default()
    };
    assert_snapshot!(machine.explains("r.example:5000/app"));
}

#[test]
fn a_blocked_registry() {
    let registries = "[[registry]]\nprefix = \"*.evil.example\"\nblocked = true\n";
    let machine = Machine {
        files: &[("etc/containers/registries.conf", registries)],
        ..Machine::default()
    };
    assert_snapshot!(machine.explains("r.evil.example/app"));
}

#[test]
fn variables_and_a_broken_file() {
    let machine = Machine {
        files: &[("home/.docker/config.json", "{\"auths\": [}")],
        variables: &[
            ("WINDLASS_AUTH_R_EXAMPLE_USERNAME", "ci"),
            ("WINDLASS_AUTH_R_EXAMPLE_PASSWORD", "s3cret"),
        ],
    };
    let found = machine.explains("r.example/app");
    let broken = machine.explains("other.example/app");
    assert_snapshot!(format!("{found}\n\n{broken}"));
}

/// Settings for the registry, the closest first, and credentials for reading and for writing.
#[test]
fn settings_of_a_registry() {
    let auth = format!(r#"{{"auths": {{"1.dkr.ecr.eu-west-1.amazonaws.com": {ALICE}}}}}"#);
    let own = "[registry.\"*\"]\njobs = 2\n[registry.\"*.amazonaws.com\"]\n\
               header = { x-team = \"s3cret\" }\nread-auth-file = \"read.json\"\nwrite-auth-file = \"write.json\"\n";
    let machine = Machine {
        files: &[
            ("etc/windlass/config.toml", own),
            ("etc/windlass/read.json", &auth),
            ("etc/windlass/write.json", r#"{"auths": {}}"#),
        ],
        ..Machine::default()
    };
    assert_snapshot!(machine.explains("1.dkr.ecr.eu-west-1.amazonaws.com/app"));
}

/// What no machine's explanation has in it.
#[test]
fn secrets_are_masked() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/snapshots");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        for secret in [
            "s3cret",
            "c2VjcmV0",
            "dXNlcjpzZWNyZXQ",
            "b3RoZXI6eA",
            "password secret",
        ] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        count += 1;
    }
    assert!(count >= 12, "{count} machines");
}

/// A certificate authority that signs nothing.
const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nMIIBejCCASGgAwIBAgIUfRToVteA8pC8L43DkT9TBHiiz3EwCgYIKoZIzj0EAwIw\nEjEQMA4GA1UEAwwHdGVzdCBDQTAgFw0yNjExMjkwNTUwMzlaGA8yMTI2MTEwNTA1\nNTAzOVowEjEQMA4GA1UEAwwHdGVzdCBDQTBZMBMGByqGSM49AgEGCCqGSM49AwEH\nA0IABLZJyFu/gEnITkaU8b5ChoXM0oiS/RmfqhWnmnXCSsurxdjLY7FD763jhenO\neq0cvI+blr/eWNhTFJmabmHHFP2jUzBRMB0GA1UdDgQWBBQ5+dsCxb/frV0fpQlx\nVVm4oKYV+zAfBgNVHSMEGDAWgBQ5+dsCxb/frV0fpQlxVVm4oKYV+zAPBgNVHRMB\nAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCIHv2BILebLR/CD22ZUPeoT3B8DOl\n96N3eBNxS+Vd/Gm4AiApp3s1TVOuxgcVQbLDhzFoQZQhikaIsDg865EmRCHFiA==\n-----END CERTIFICATE-----";
