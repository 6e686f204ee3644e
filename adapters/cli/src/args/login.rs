//! `login` and `logout`.
//!
//! Responsible for the registry, and for the help about where credentials come from. Must not know the options for
//! them (`crate::authentication`).

use clap::Args as ClapArgs;
use windlass_core::Registry;

use crate::location;

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
The first source that has a credential for a registry is used:
  1. --username, --token-stdin, --token-file; of a copy also --src-… and --dest-…
  2. WINDLASS_AUTH_<HOST>_USERNAME with …_PASSWORD; …_TOKEN or …_TOKEN_FILE. <HOST> is host[:port]
     in capitals, with __ for - and _ for . and : as in WINDLASS_AUTH_GHCR_IO_TOKEN
  3. DOCKER_AUTH_CONFIG, the text of a config.json
  4. --authfile or REGISTRY_AUTH_FILE, instead of 5
  5. containers/auth.json in XDG_RUNTIME_DIR, then in XDG_CONFIG_HOME (~/.config);
     config.json in DOCKER_CONFIG (~/.docker); ~/.dockercfg
A file may name credential helpers: programs docker-credential-NAME in PATH.

Examples:
  windlass login registry.example --username me --password-stdin < password
  windlass login docker.io --username me --password-stdin --authfile auth.json < token")]
pub(crate) struct Login {
    /// The registry: host[:port], or docker.io
    #[arg(value_name = "HOST", value_parser = location::login_host)]
    pub(crate) registry: Registry,
}

#[derive(ClapArgs, Debug)]
#[command(after_help = "\
Example:
  windlass logout registry.example")]
pub(crate) struct Logout {
    /// The registry: host[:port], or docker.io
    #[arg(value_name = "HOST", value_parser = location::login_host)]
    pub(crate) registry: Registry,
}
