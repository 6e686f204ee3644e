//! The options that say how registries are reached: files of mirrors, and TLS of single hosts.
//!
//! Responsible for which host an option is for: a certificate for one registry must not be shown to another.
//! Must not know what is in the files.
#![allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are help texts; brackets mark optional parts"
)]

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args as ClapArgs;
use windlass_config::hosts::certs::{Certificates, Manner};
use windlass_config::hosts::registries::RegistriesFiles;
use windlass_config::hosts::{HostName, HostRule, HostsOptions, Probe};
use windlass_config::{ConfigFile, Proxies};
use windlass_core::Registry;

use crate::exit::Problem;
use crate::login;

const CONFIG_HELP: &str = "\
Read windlass' own configuration from FILE

By default it is the file that WINDLASS_CONFIG names, otherwise ~/.config/windlass/config.toml (below \
XDG_CONFIG_HOME if set), otherwise /etc/windlass/config.toml. Options come before it, and it comes before the \
files of other tools.";

const HOSTS_DIR_HELP: &str = "\
Read hosts.toml files below DIR, as containerd does

DIR has a folder for each registry, with a hosts.toml that names mirrors, certificates and headers. By default \
it is /etc/containerd/certs.d, if that exists. With an empty value none is read.";

const REGISTRIES_HELP: &str = "\
Read mirrors and blocked registries from FILE, a registries.conf of version 2

By default it is the file that podman and skopeo read: CONTAINERS_REGISTRIES_CONF, otherwise \
~/.config/containers/registries.conf, otherwise /etc/containers/registries.conf, the latter two with their \
drop-ins. A hosts.toml for the registry comes before it. With an empty value none is read.";

const SHORT_NAMES_HELP: &str = "\
Read short names as registries.conf says: fedora for registry.fedoraproject.org/fedora

A short name is one without a registry. If it has an alias in registries.conf or its drop-ins, it stands for \
that; a message says so. Otherwise it is Docker Hub's, as without this option: no list of registries is searched.";

const CERT_DIR_HELP: &str = "\
Use the certificates in DIR for HOST: *.crt, *.cert and *.key (repeatable)

*.crt are certificate authorities, *.cert and *.key a client certificate and its key, as for docker, podman and \
skopeo. HOST is host[:port] and may be left out if the command is about one registry. By default \
certificates come from the folder of a host below certs.d of docker and podman.";

const CLIENT_CERT_HELP: &str = "\
Show the client certificate in FILE to HOST (repeatable)

FILE is PEM, with the chain. HOST is host[:port] and may be left out if the command is about one registry. The key is in the same file, or in \
that of --client-key. No other host gets it, not even the token service of the registry.";

const SKIP_HELP: &str = "\
Accept any certificate of HOST, with a warning; insecure (repeatable)

HOST is host[:port]. Any machine on the way can then read and change everything, the credentials included. Give the registry's \
authority with --ca-cert instead.";

/// How registries are reached.
#[derive(ClapArgs, Debug)]
#[command(next_help_heading = "Connection")]
pub(crate) struct HostArgs {
    #[arg(
        long,
        value_name = "FILE",
        help = "Read windlass' own configuration from FILE",
        long_help = CONFIG_HELP,
    )]
    pub(crate) config: Option<PathBuf>,
    #[arg(
        long,
        value_name = "DIR",
        value_parser = clap::builder::OsStringValueParser::new(),
        help = "Read hosts.toml files below DIR, as containerd does",
        long_help = HOSTS_DIR_HELP,
        hide_short_help = true,
    )]
    hosts_dir: Option<std::ffi::OsString>,
    #[arg(
        long,
        value_name = "FILE",
        value_parser = clap::builder::OsStringValueParser::new(),
        help = "Read mirrors and blocked registries from FILE, a registries.conf",
        long_help = REGISTRIES_HELP,
        hide_short_help = true,
    )]
    registries_conf: Option<std::ffi::OsString>,
    #[arg(
        long,
        help = "Read short names as registries.conf says (its aliases)",
        long_help = SHORT_NAMES_HELP,
        hide_short_help = true,
    )]
    short_names: bool,
    #[arg(
        long,
        value_name = "[HOST=]DIR",
        value_parser = for_host,
        help = "Use the certificates in DIR for HOST: *.crt, *.cert and *.key (repeatable)",
        long_help = CERT_DIR_HELP,
        hide_short_help = true,
    )]
    cert_dir: Vec<ForHost>,
    #[arg(
        long,
        value_name = "[HOST=]FILE",
        value_parser = for_host,
        help = "Show the client certificate in FILE to HOST (repeatable)",
        long_help = CLIENT_CERT_HELP,
        hide_short_help = true,
    )]
    client_cert: Vec<ForHost>,
    /// The key of --client-cert, PEM (repeatable)
    #[arg(
        long,
        value_name = "[HOST=]FILE",
        value_parser = for_host,
        hide_short_help = true,
    )]
    client_key: Vec<ForHost>,
    /// Ask HOST for the certificate of NAME instead of its own (repeatable)
    #[arg(
        long,
        value_name = "[HOST=]NAME",
        value_parser = for_host,
        hide_short_help = true,
    )]
    tls_server_name: Vec<ForHost>,
    #[arg(
        long,
        value_name = "HOST",
        value_parser = host,
        help = "Accept any certificate of HOST, with a warning; insecure (repeatable)",
        long_help = SKIP_HELP,
        hide_short_help = true,
    )]
    insecure_skip_verify: Vec<Registry>,
}

/// A value, and the host that it is for.
#[derive(Clone, Debug, Eq, PartialEq)]
struct ForHost {
    /// The only registry of the command, if none is named.
    host: Option<Registry>,
    value: String,
}

fn for_host(text: &str) -> Result<ForHost, String> {
    if login::is_in(text) {
        return Err(login::REFUSED.to_owned());
    }
    let named = text.split_once('=').and_then(|(host, value)| {
        // A file may have an equals sign in its name, and no such host.
        let host = host.parse::<Registry>().ok()?;
        Some((Some(host), value))
    });
    let (host, value) = named.unwrap_or((None, text));
    if value.is_empty() {
        return Err("the value is empty".to_owned());
    }
    let value = value.to_owned();
    Ok(ForHost { host, value })
}

fn host(text: &str) -> Result<Registry, String> {
    if login::is_in(text) {
        return Err(login::REFUSED.to_owned());
    }
    let registry = text.parse::<Registry>();
    registry.map_err(|error| format!("expected a registry, host[:port]: {error}"))
}

impl HostArgs {
    /// Windlass' own file.
    pub(crate) fn file(&self) -> Result<Option<Arc<ConfigFile>>, Problem> {
        let file = match &self.config {
            Some(path) => ConfigFile::read(path)
                .map(Some)
                .map_err(|error| error.to_string()),
            None => {
                let file = ConfigFile::from_variables(|name| std::env::var_os(name));
                file.map_err(|error| error.to_string())
            }
        };
        Ok(file.map_err(Problem::Usage)?.map(Arc::new))
    }

    /// `credential-helpers` of `registries.conf`.
    pub(crate) fn credential_helpers(
        &self,
        file: Option<&ConfigFile>,
    ) -> Result<Vec<String>, Problem> {
        let Some(files) = self.registries(file)? else {
            return Ok(Vec::new());
        };
        let read = files
            .read()
            .map_err(|error| Problem::Usage(error.to_string()))?;
        Ok(read.credential_helpers.unwrap_or_default())
    }

    /// The files with the aliases of short names, if these are asked for.
    pub(crate) fn short_names(&self) -> Result<Option<RegistriesFiles>, Problem> {
        // If windlass' own file cannot be used, the command that needs it says so.
        let file = self.file().ok().flatten();
        let is_set = file.as_ref().is_some_and(|file| file.short_names());
        if !(self.short_names || is_set) {
            return Ok(None);
        }
        match self.registries(file.as_deref())? {
            None if self.short_names => {
                let why = "--short-names needs a registries.conf";
                Err(Problem::Usage(why.to_owned()))
            }
            files => Ok(files),
        }
    }

    /// Where `registries.conf` is, if it is read.
    fn registries(&self, file: Option<&ConfigFile>) -> Result<Option<RegistriesFiles>, Problem> {
        if let Some(path) = &self.registries_conf {
            return Ok((!path.is_empty()).then(|| RegistriesFiles::named(path)));
        }
        if let Some(path) = file.and_then(ConfigFile::registries_conf) {
            return Ok(Some(RegistriesFiles::named(path)));
        }
        let found = RegistriesFiles::from_variables(|name| std::env::var_os(name));
        found
            .map(Some)
            .map_err(|error| Problem::Usage(error.to_string()))
    }

    /// Which files are read, and what the options say about hosts.
    pub(crate) fn options(
        &self,
        registries: &[&Registry],
        file: Option<&ConfigFile>,
        proxies: &Proxies,
    ) -> Result<HostsOptions, Problem> {
        let usage = |error: &dyn std::error::Error| Problem::Usage(error.to_string());
        let mut options = HostsOptions::from_variables(|name| std::env::var_os(name))
            .map_err(|error| usage(&error))?;
        if let Some(folder) = file.and_then(ConfigFile::hosts_dir) {
            options.hosts_dir = Some(folder);
        }
        if let Some(folder) = &self.hosts_dir {
            options.hosts_dir = (!folder.is_empty()).then(|| folder.into());
        }
        options.registries = self.registries(file)?;
        if let Some(folders) = file.and_then(ConfigFile::certs_dirs) {
            options.cert_roots = folders;
        }
        options.probe = Some(Probe::beside(proxies.clone()));
        self.add(&mut options, registries).map_err(Problem::Usage)?;
        Ok(options)
    }

    /// What the options say about hosts.
    fn add(&self, options: &mut HostsOptions, registries: &[&Registry]) -> Result<(), String> {
        let mut edit = |option: &str, host: &Registry, edit: &dyn Fn(&mut HostRule)| {
            let name = HostName::from(host.clone());
            let entry = options.hosts.entry(name).or_default();
            edit(&mut entry.0);
            let by = &mut entry.1;
            if !by.is_empty() {
                by.push_str(", ");
            }
            by.push_str(option);
        };
        for given in &self.cert_dir {
            const OPTION: &str = "--cert-dir";
            let host = given.host(OPTION, registries)?;
            let folder = PathBuf::from(&given.value);
            let found = Certificates::read(&folder, Manner::Docker);
            let found = found.map_err(|error| error.to_string())?;
            edit(OPTION, host, &|rule| {
                rule.ca.extend(found.authorities.iter().cloned());
                rule.clients.clone_from(&found.clients);
            });
        }
        for given in &self.client_cert {
            const OPTION: &str = "--client-cert";
            let host = given.host(OPTION, registries)?;
            let mut key = None;
            for other in &self.client_key {
                if is_same(other.host("--client-key", registries)?, host) {
                    key = Some(PathBuf::from(&other.value));
                }
            }
            let certificate = PathBuf::from(&given.value);
            edit(OPTION, host, &|rule| {
                rule.clients = vec![(certificate.clone(), key.clone())];
            });
        }
        for given in &self.client_key {
            let host = given.host("--client-key", registries)?;
            let mut certified = self.client_cert.iter();
            let has_one = |it: &ForHost| it.host("", registries).is_ok_and(|it| is_same(it, host));
            if !certified.any(has_one) {
                return Err(format!("--client-key for {host} needs --client-cert"));
            }
        }
        for given in &self.tls_server_name {
            const OPTION: &str = "--tls-server-name";
            let host = given.host(OPTION, registries)?;
            edit(OPTION, host, &|rule| {
                rule.server_name = Some(given.value.clone());
            });
        }
        for host in &self.insecure_skip_verify {
            edit("--insecure-skip-verify", host, &|rule| {
                rule.skip_verify = Some(true);
            });
        }
        Ok(())
    }
}

impl ForHost {
    /// The host that it is for.
    fn host<'a>(
        &'a self,
        option: &str,
        registries: &[&'a Registry],
    ) -> Result<&'a Registry, String> {
        if let Some(host) = &self.host {
            return Ok(host);
        }
        let Some((first, rest)) = registries.split_first() else {
            return Err(format!("{option} needs a registry"));
        };
        match rest.iter().find(|other| !is_same(first, other)) {
            None => Ok(first),
            Some(other) => Err(format!(
                "{option} is ambiguous: write {option}={first}=… or {option}={other}=…"
            )),
        }
    }
}

fn is_same(one: &Registry, other: &Registry) -> bool {
    one.credential_key() == other.credential_key()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    fn args(options: &[&str]) -> HostArgs {
        let words = ["windlass", "demo"].iter().chain(options);
        let args = Args::try_parse_from(words);
        args.expect("good options").common.hosts
    }

    fn rules(options: &[&str], registries: &[&str]) -> Result<String, String> {
        let args = args(options);
        let registries = registries.iter().map(|it| it.parse());
        let registries: Vec<Registry> = registries.flatten().collect();
        let registries: Vec<&Registry> = registries.iter().collect();
        let mut options = HostsOptions::default();
        args.add(&mut options, &registries)?;
        let shown = options.hosts.iter().map(|(name, (rule, by))| {
            let client = rule.clients.first().map(|(certificate, key)| {
                let key = key.as_ref().map(|key| key.display().to_string());
                format!(" {} {}", certificate.display(), key.unwrap_or_default())
            });
            let server = rule.server_name.as_ref().map(|name| format!(" {name}"));
            let skip = rule.skip_verify.map(|skip| format!(" {skip}"));
            let parts = [client, server, skip].into_iter().flatten();
            format!("{name}{} ({by})", parts.collect::<String>())
        });
        Ok(shown.collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn options_are_for_a_host() {
        let (one, two) = (&["r.example"][..], &["r.example", "q.example:5000"][..]);
        type Row<'a> = (&'a [&'a str], &'a [&'a str], Result<&'a str, &'a str>);
        let table: &[Row<'_>] = &[
            (&[], one, Ok("")),
            (
                &["--client-cert", "c.pem", "--client-key=k.pem"],
                one,
                Ok("r.example c.pem k.pem (--client-cert)"),
            ),
            (
                &[
                    "--client-cert=q.example:5000=c.pem",
                    "--tls-server-name=r.example=n",
                ],
                two,
                Ok("q.example:5000 c.pem  (--client-cert); r.example n (--tls-server-name)"),
            ),
            (
                &["--client-cert=a=b.pem"],
                one,
                Ok("r.example a=b.pem  (--client-cert)"),
            ),
            (
                &[
                    "--insecure-skip-verify=m.example",
                    "--insecure-skip-verify",
                    "r.example",
                ],
                two,
                Ok(
                    "m.example true (--insecure-skip-verify); r.example true (--insecure-skip-verify)",
                ),
            ),
            (
                &["--client-cert=c.pem"],
                two,
                Err("--client-cert is ambiguous: write --client-cert=r.example="),
            ),
            (
                &["--client-key=k.pem"],
                one,
                Err("--client-key for r.example needs --client-cert"),
            ),
            (
                &["--cert-dir=/nonexistent"],
                one,
                Err("/nonexistent: cannot read it"),
            ),
            (
                &["--tls-server-name=n"],
                &[],
                Err("--tls-server-name needs a registry"),
            ),
        ];
        for (options, registries, expected) in table {
            match (rules(options, registries), expected) {
                (Ok(shown), Ok(expected)) => assert_eq!(shown, *expected, "{options:?}"),
                (Err(error), Err(expected)) => {
                    assert!(error.starts_with(expected), "{options:?}: {error}");
                }
                (got, _) => panic!("{options:?}: {got:?}"),
            }
        }
    }

    #[test]
    fn values_have_no_login() {
        assert!(for_host("r.example=").is_err());
        assert!(for_host("https://u:s3cret@r.example=x").is_err());
        assert!(host("u:s3cret@r.example").is_err());
        assert!(host("r.example/x").is_err());
    }
}
