//! Building a client from the options, windlass' own file, and the files of others.
//!
//! Responsible for the order among them: options, variables, windlass' own file. Must not know what a client is
//! used for.

use std::sync::Arc;
use std::time::Duration;

use windlass_config::hosts::{Hosts, Plan};
use windlass_config::{ConfigFile, CredentialSearch, Proxies, trust};
use windlass_core::config::{Concurrency, RegistrySettings};
use windlass_core::{Config, Reference, Registry};
use windlass_driver::{Credentials, Settings, TimeLimits, TlsRoots};

use super::Context;
use crate::args::Common;
use crate::authentication::For;
use crate::client::Client;
use crate::exit::Problem;
use crate::scheme;

impl Context {
    /// Builds a client for `references`, with credentials from the command line and those that are found.
    pub(super) fn client(
        &self,
        references: &[&Reference],
        given: &[For<'_>],
    ) -> Result<Client, Problem> {
        let find = |file: Option<&ConfigFile>, plan: &Plan| {
            let printer = Arc::clone(&self.printer);
            let search = self.common.authentication.search(given, file, plan)?;
            let search = search.on_failure(move |why| printer.warning(why));
            let search: Arc<dyn Credentials> = Arc::new(search);
            Ok(Arc::clone(self.credentials.get_or_init(|| search)))
        };
        self.client_for(references, find)
    }

    /// Builds a client for a registry, with these credentials only.
    pub(super) fn client_with(
        &self,
        registry: &Registry,
        credentials: Arc<CredentialSearch>,
    ) -> Result<Client, Problem> {
        // No file names it, so that only what is for the registry as a whole counts.
        let anything = format!("{registry}/windlass/login").parse::<Reference>();
        let anything = anything.map_err(|error| Problem::Usage(error.to_string()))?;
        self.client_for(&[&anything], |_, _| Ok(credentials))
    }

    /// The credentials that no option gives, for commands that need no client.
    pub(super) fn found_elsewhere(&self) -> Result<CredentialSearch, Problem> {
        let file = self.common.hosts.file()?;
        let file = file.as_deref();
        let helpers = self.common.hosts.credential_helpers(file)?;
        self.common.authentication.found(file, &helpers)
    }

    fn client_for(
        &self,
        references: &[&Reference],
        credentials: impl FnOnce(Option<&ConfigFile>, &Plan) -> Result<Arc<dyn Credentials>, Problem>,
    ) -> Result<Client, Problem> {
        let Prepared {
            file,
            config,
            plan,
            proxies,
        } = self.prepare(references)?;
        let file = file.as_deref();
        for finding in plan.findings().iter().filter(|finding| finding.is_warning) {
            self.printer.warning(&finding.to_string());
        }
        for origin in plan.planned().iter().flat_map(|planned| &planned.origins) {
            let checked = proxies.check(origin);
            checked.map_err(|error| Problem::Usage(error.to_string()))?;
        }
        let mut settings = Settings::default();
        settings.config = config;
        settings.credentials = credentials(file, &plan)?;
        settings.roots = self.common.roots(file)?;
        settings.hosts = Arc::new(plan);
        settings.proxies = Arc::new(proxies);
        settings.time_limits = self.common.time_limits(file);
        settings.tape = self.tape()?;
        settings.uploads = self.uploads.get().map(|it| Arc::clone(it) as _);
        // Only now, so that Ctrl-C ends the process while it waits for the password.
        self.watch()?;
        self.connect(settings)
    }

    /// Reads what says how these references are reached.
    pub(super) fn prepare(&self, references: &[&Reference]) -> Result<Prepared, Problem> {
        let registries: Vec<&Registry> = references.iter().map(|it| it.registry()).collect();
        let file = self.common.hosts.file()?;
        let mut config = self.common.config(&registries, file.as_deref())?;
        let proxies = proxies(file.as_deref())?;
        let hosts = &self.common.hosts;
        let options = hosts.options(&registries, file.as_deref(), &proxies)?;
        let mut hosts = Hosts::new(options);
        if let Some(file) = &file {
            hosts = hosts.with_file(Arc::clone(file));
        }
        let wanted: Vec<Reference> = references.iter().copied().cloned().collect();
        let plan = hosts.plan(&wanted, &config);
        let plan = plan.map_err(|error| Problem::Usage(error.to_string()))?;
        config.routes = plan.routes().to_vec();
        Ok(Prepared {
            file,
            config,
            plan,
            proxies,
        })
    }
}

/// How references are reached.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) file: Option<Arc<ConfigFile>>,
    pub(super) config: Config,
    pub(super) plan: Plan,
    pub(super) proxies: Proxies,
}

/// The proxies of variables, and of windlass' own file.
fn proxies(file: Option<&ConfigFile>) -> Result<Proxies, Problem> {
    let variables = |name: &str| std::env::var_os(name);
    match file {
        Some(file) => {
            let proxies = file.proxies(variables);
            proxies.map_err(|error| Problem::Usage(error.to_string()))
        }
        None => Ok(Proxies::from_variables(variables)),
    }
}

impl Common {
    pub(super) fn config(
        &self,
        registries: &[&Registry],
        file: Option<&ConfigFile>,
    ) -> Result<Config, Problem> {
        let mut config = Config::default();
        if let Some(file) = file {
            file.apply(&mut config);
        }
        let endpoints = scheme::endpoints(&self.tls, &self.plain_http, registries);
        config.endpoints.extend(endpoints.map_err(Problem::Usage)?);
        config
            .trusted_realms
            .extend(self.trust_realm.iter().cloned());
        if let Some(jobs) = self.jobs {
            config.in_flight = Concurrency::at_most(jobs);
        }
        config.manifests = self.manifests.or(config.manifests);
        if let Some(retries) = self.retries {
            config.retry.attempts = retries + 1;
        }
        config.chunk_size = self.chunk_size;
        for settings in &mut config.registries {
            self.come_before(settings);
        }
        if let Some(parts) = self.parts {
            config.parts.most = parts;
        }
        let by_file = file.and_then(ConfigFile::anonymous_fallback);
        config.anonymous_fallback = self.anonymous_fallback || by_file.unwrap_or(false);
        Ok(config)
    }

    /// Takes what an option says out of what the file says for some registries: options are for all of them.
    fn come_before(&self, settings: &mut RegistrySettings) {
        if self.jobs.is_some() {
            settings.in_flight = None;
        }
        if self.manifests.is_some() {
            settings.manifests = None;
        }
        if let (Some(retries), Some(retry)) = (self.retries, &mut settings.retry) {
            retry.attempts = retries + 1;
        }
        if self.chunk_size.is_some() {
            settings.chunk_size = None;
        }
    }

    /// The certificate authorities for all hosts.
    fn roots(&self, file: Option<&ConfigFile>) -> Result<TlsRoots, Problem> {
        let (mut extra, is_alone) = file.map(ConfigFile::authorities).unwrap_or_default();
        extra.extend(self.ca_cert.iter().cloned());
        // Alone, they replace those that the variables name, too.
        let variables = |name: &str| match is_alone {
            true => None,
            false => std::env::var_os(name),
        };
        let roots = trust(&extra, variables);
        let mut roots = roots.map_err(|error| Problem::Usage(error.to_string()))?;
        if is_alone {
            roots.roots = Some(Arc::default());
        }
        Ok(roots)
    }

    pub(super) fn time_limits(&self, file: Option<&ConfigFile>) -> TimeLimits {
        let mut limits = TimeLimits::default();
        if let Some(file) = file {
            file.apply_time_limits(&mut limits);
        }
        if let Some(seconds) = self.timeout {
            limits.idle = Duration::from_secs(seconds);
            limits.connect = limits.connect.min(limits.idle);
        }
        limits
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    fn common(options: &[&str]) -> Common {
        let words = ["windlass", "demo"].iter().chain(options);
        Args::try_parse_from(words).expect("good options").common
    }

    fn file(text: &str) -> ConfigFile {
        ConfigFile::parse(Path::new("/c.toml"), text).expect("a good file")
    }

    #[test]
    fn options_reach_the_configuration() {
        let common = common(&[
            "--jobs=3",
            "--retries=0",
            "--timeout=7",
            "--chunk-size=1M",
            "--parts=1",
        ]);
        let config = common.config(&[], None).expect("good options");
        assert_eq!(config.chunk_size, Some(1 << 20));
        assert_eq!(config.parts.most, 1);
        assert_eq!(config.in_flight, Concurrency::at_most(3));
        assert_eq!(config.retry.attempts, 1);
        assert_eq!(common.time_limits(None).idle, Duration::from_secs(7));
        assert_eq!(
            common.time_limits(None).connect,
            Duration::from_secs(7),
            "the shorter one"
        );
    }

    #[test]
    fn options_come_before_the_file() {
        let text = "[limits]\njobs = 2\nretries = 9\nidle-timeout = \"1s\"\nanswer-timeout = \"2s\"\n\
                    [host.\"r.example\"]\nplain-http = true\n";
        let file = file(text);
        let registry: Registry = "r.example".parse().expect("a registry");
        let with_options = common(&["--jobs=3", "--timeout=7", "--tls=r.example"]);
        let config = with_options
            .config(&[&registry], Some(&file))
            .expect("good");
        assert_eq!((config.in_flight.max, config.retry.attempts), (3, 10));
        assert_eq!(config.origin(&registry).to_string(), "https://r.example");
        let limits = with_options.time_limits(Some(&file));
        assert_eq!((limits.idle.as_secs(), limits.answer.as_secs()), (7, 2));
        let config = common(&[]).config(&[&registry], Some(&file)).expect("good");
        assert_eq!(config.in_flight.max, 2);
        assert_eq!(config.origin(&registry).to_string(), "http://r.example");
    }

    #[test]
    fn options_come_before_the_sections_of_registries() {
        let text = "[registry.\"r.example\"]\njobs = 2\nretries = 9\nchunk-size = 1048576\n\
                    manifests = \"1/h\"\n";
        let file = file(text);
        let registry: Registry = "r.example".parse().expect("a registry");
        let said = |options: &[&str]| {
            let common = common(options);
            let config = common.config(&[&registry], Some(&file)).expect("good");
            (
                config.in_flight_for(&registry).max,
                config.retry_for(&registry).attempts,
                config.chunk_size_for(&registry),
                config.manifests_for(&registry).map(|it| it.to_string()),
            )
        };
        assert_eq!(said(&[]), (2, 10, 1 << 20, Some("1/1h".into())));
        let options = [
            "--jobs=3",
            "--retries=1",
            "--chunk-size=2M",
            "--manifests=5/m",
        ];
        assert_eq!(said(&options), (3, 2, 2 << 20, Some("5/1m".into())));
    }
}
