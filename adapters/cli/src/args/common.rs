//! Options that may stand before or after the subcommand.
//!
//! Responsible for authentication, connections and output, which all subcommands have in common. Must not know which
//! subcommand it is: one that has no use for an option ignores or refuses it.

use std::path::PathBuf;

use clap::Args as ClapArgs;
use windlass_core::config::Budget;
use windlass_core::{Origin, Registry};

use super::file;
use crate::authentication::Authentication;
use crate::commands::json_help;
use crate::hosts::HostArgs;
use crate::location;
use crate::scheme::{self, Whom};

const FALLBACK_HELP: &str = "\
Read without credentials if the credentials are refused

A public image can then be pulled in spite of credentials that have expired, with a warning. Never for a \
push, nor for the destination of a copy. By default refused credentials end the command with exit \
code 4.";

const REALM_HELP: &str = "\
Send REGISTRY's credentials to the token service at REALM (repeatable)

REALM is host[:port] (https) or a URL. By default credentials go only to the registry's own host and \
to the token services of well-known registries. Any other token service is asked anonymously, with \
a warning that names the value to give here.";

const TAPE_HELP: &str = "\
Record the session to FILE, without secrets, for `windlass replay`

Attach a tape to a bug report. Passwords, tokens, your user name and queries of URLs are redacted, \
and it holds no bytes of blobs. It does hold names of hosts, repositories and images, manifests, error \
messages and local paths. An existing FILE of yours is replaced. Only you can read the file.";

const TLS_HELP: &str = "\
Use TLS, also on loopback; with =HOST for that registry only

HOST is host[:port] as in the reference. Separate several by commas.";

const PLAIN_HELP: &str = "\
Use plain HTTP; with =HOST for that registry only

Plain HTTP is insecure, and the default only on loopback, except on port 443. A copy between two \
registries needs HOST, for instance --plain-http=registry.lan:5000; the other registry stays on TLS. \
Docker Hub is never contacted over plain HTTP.";

/// Options that may stand before or after the subcommand.
#[derive(ClapArgs, Debug)]
#[command(mut_args(|arg| arg.global(true)))]
pub(crate) struct Common {
    #[command(flatten)]
    pub(crate) authentication: Authentication,
    #[command(flatten)]
    pub(crate) hosts: HostArgs,
    #[arg(
        long,
        hide_short_help = true,
        help = "Read without credentials if the credentials are refused",
        long_help = FALLBACK_HELP,
        help_heading = "Authentication"
    )]
    pub(crate) anonymous_fallback: bool,
    #[arg(
        long,
        value_name = "REGISTRY=REALM",
        value_parser = location::trusted_realm,
        help = "Send REGISTRY's credentials to the token service at REALM (repeatable)",
        long_help = REALM_HELP,
        help_heading = "Authentication"
    )]
    pub(crate) trust_realm: Vec<(Registry, Origin)>,

    #[arg(
        long,
        value_name = "HOST",
        value_parser = scheme::whom,
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = scheme::ALL,
        help = "Use TLS, also on loopback; with =HOST for that registry only",
        long_help = TLS_HELP,
        help_heading = "Connection"
    )]
    pub(crate) tls: Vec<Whom>,
    #[arg(
        long,
        value_name = "HOST",
        value_parser = scheme::whom,
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = scheme::ALL,
        help = "Use plain HTTP; with =HOST for that registry only",
        long_help = PLAIN_HELP,
        help_heading = "Connection"
    )]
    pub(crate) plain_http: Vec<Whom>,
    /// Also trust the certificate authorities in FILE, PEM or DER (repeatable)
    #[arg(
        long,
        value_name = "FILE",
        value_parser = file(),
        help_heading = "Connection"
    )]
    pub(crate) ca_cert: Vec<PathBuf>,
    /// Run at most N requests per registry at once [default: 64]
    ///
    /// By default more than 16 run only where answers are quick.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=256),
        help_heading = "Connection"
    )]
    pub(crate) jobs: Option<u32>,
    /// Get at most N manifests per TIME from each registry, such as 100/6h or 5/m
    ///
    /// Those beyond that wait until their time comes.
    #[arg(
        long,
        value_name = "N/TIME",
        hide_short_help = true,
        help_heading = "Connection"
    )]
    pub(crate) manifests: Option<Budget>,
    /// Retry a failed request N times; progress resets the count [default: 4]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(0..=100),
        hide_short_help = true,
        help_heading = "Connection"
    )]
    pub(crate) retries: Option<u32>,
    /// Upload larger blobs in chunks of SIZE bytes [default: as the registry needs]
    ///
    /// SIZE may end in K, M or G, as in 512K or 5M. The least is 64K.
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = chunk_size,
        hide_short_help = true,
        help_heading = "Connection"
    )]
    pub(crate) chunk_size: Option<u64>,
    /// Download a large blob in up to N parts at once [default: 12]
    ///
    /// With 1 it is a single stream.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=64),
        hide_short_help = true,
        help_heading = "Connection"
    )]
    pub(crate) parts: Option<u32>,
    /// Time out a connection on which nothing moves for this long [default: 60]
    #[arg(
        long,
        value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=86_400),
        help_heading = "Connection"
    )]
    pub(crate) timeout: Option<u64>,

    #[arg(
        long,
        help = "Print a JSON object instead of a digest",
        long_help = json_help(),
        help_heading = "Output"
    )]
    pub(crate) json: bool,
    /// Print errors only
    #[arg(long, short, help_heading = "Output")]
    pub(crate) quiet: bool,
    /// Print requests, responses and events, without secrets, instead of progress
    #[arg(long, help_heading = "Output")]
    pub(crate) trace: bool,
    #[arg(
        long,
        value_name = "FILE",
        value_parser = file(),
        help = "Record the session to FILE, without secrets, for `windlass replay`",
        long_help = TAPE_HELP,
        help_heading = "Output"
    )]
    pub(crate) tape: Option<PathBuf>,
}

/// A number of bytes, with K, M or G for powers of 1024.
fn chunk_size(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix(['K', 'k']) {
        Some(number) => (number, 1 << 10),
        None => match text.strip_suffix(['M', 'm']) {
            Some(number) => (number, 1 << 20),
            None => match text.strip_suffix(['G', 'g']) {
                Some(number) => (number, 1 << 30),
                None => (text, 1_u64),
            },
        },
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let size = number.parse::<u64>().ok().filter(|_| is_number);
    match size.and_then(|size| size.checked_mul(unit)) {
        Some(size) if size >= 64 << 10 => Ok(size),
        Some(_) => Err("chunks have at least 64K".into()),
        None => Err("not a number of bytes, such as 5M".into()),
    }
}

#[cfg(test)]
mod tests {
    /// PUSHB-35: no chunk is so small that the registry's count of it could mean another.
    #[test]
    fn sizes_of_chunks() {
        for (text, expected) in [
            ("65536", Some(65536)),
            ("64K", Some(65536)),
            ("5M", Some(5 << 20)),
            ("1g", Some(1 << 30)),
            ("1", None),
            ("63K", None),
            ("", None),
            ("M", None),
            ("+5M", None),
            ("5MB", None),
            ("17179869184G", None),
        ] {
            assert_eq!(super::chunk_size(text).ok(), expected, "{text}");
        }
    }
}
