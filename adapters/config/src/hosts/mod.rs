//! How registries are reached: mirrors, other addresses, blocked names, and TLS of single hosts, from the files
//! that containerd, podman and docker read, and from windlass' own.
//!
//! # What counts
//!
//! *Where* a reference is looked for is what one rule says, and rules are not mixed. The first of these that has
//! one for the reference counts:
//!
//! 1. `[mirror]` in windlass' own file ([`ConfigFile`](crate::ConfigFile));
//! 2. `hosts.toml` in the registry's folder below [`HostsOptions::hosts_dir`], as containerd has it
//!    ([`containerd`]);
//! 3. `[[registry]]` in `registries.conf`, as podman has it: the longest prefix ([`registries`]);
//! 4. `hosts.toml` in the folder `_default`, which is for all registries without a folder.
//!
//! *How* a host is reached is put together field by field (certificate authorities, client certificate,
//! verification, server name, time to connect). Each field is that of the first of these that has it:
//!
//! 1. [`HostsOptions::hosts`], the caller's own: options of the command;
//! 2. `[host]` in windlass' own file;
//! 3. the rule from above that names the host: fields of `hosts.toml`, `insecure` of `registries.conf`;
//! 4. certificates in the registry's folder below `hosts_dir`, if it has no `hosts.toml` (HOSTS-06);
//! 5. `certs.d` ([`certs`]): the first folder for the host.
//!
//! Settings belong to one origin: nothing that is for a registry is used for its token service on another host,
//! nor where a redirect leads (HOSTS-24). A token service with a private authority needs a folder in
//! `certs.d`, or a `[host]`, of its own.
//!
//! A file that is broken is an error only where it is needed: see [`Hosts::plan`].

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::VariableError;

pub mod certs;
pub mod containerd;
mod plan;
mod probe;
pub mod registries;
mod route;
mod rule;
mod url;

pub use self::plan::{Hosts, HostsError, Plan, Planned};
pub use self::probe::Probe;
pub use self::rule::{Fact, HostName, HostRule, RuleError};
pub use self::url::ApiUrl;

/// Which files are read, and what the caller says itself. The default reads nothing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct HostsOptions {
    /// The folder with a folder for each registry, `config_path` of containerd.
    pub hosts_dir: Option<PathBuf>,
    /// `registries.conf` and its drop-ins.
    pub registries: Option<registries::RegistriesFiles>,
    /// Roots of `certs.d`, the most important first.
    pub cert_roots: Vec<PathBuf>,
    /// What the caller says about single hosts, with what it is called in messages: an option, a program.
    pub hosts: BTreeMap<HostName, (HostRule, String)>,
    /// How to find out whether an `insecure` registry of `registries.conf` speaks TLS. Without it, both are
    /// tried for pulls, and TLS alone for pushes.
    pub probe: Option<Probe>,
}

impl HostsOptions {
    /// The files that other tools read on this machine: containerd's tree if it is at
    /// [`HOSTS_DIR`](containerd::HOSTS_DIR), `registries.conf` and `certs.d` where podman and docker have
    /// them.
    ///
    /// # Errors
    ///
    /// If the value of a variable is not valid text.
    pub fn from_variables(
        variables: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, VariableError> {
        let tree = PathBuf::from(containerd::HOSTS_DIR);
        Ok(Self {
            hosts_dir: tree.is_dir().then_some(tree),
            registries: Some(registries::RegistriesFiles::from_variables(&variables)?),
            cert_roots: certs::roots(&variables)?,
            hosts: BTreeMap::new(),
            probe: None,
        })
    }
}
