//! The help of the whole command.
//!
//! Responsible for the text around the lists of subcommands and options. Must not know the options of a subcommand, which
//! have their help beside them.

pub(super) const ABOUT: &str = "Pull, push and copy container images and artifacts";

pub(super) const LONG_ABOUT: &str = "\
Pull, push and copy container images and artifacts between OCI registries and image layouts.

To resume an interrupted transfer, run the same command again. All content is verified against its \
digest before it is committed. Needs no daemon and no root.";

/// What both helps have.
macro_rules! examples {
    () => {
        "\
Examples:
  windlass pull alpine:3.20 oci:images
  windlass push oci:images:3.20 registry.example/team/alpine:3.20
  windlass copy ghcr.io/org/app:1.2 registry.example/mirror/app:1.2
  windlass digest ubuntu:24.04
  windlass tags ghcr.io/org/app
  windlass --tape bug.tape pull alpine:3.20 oci:images && windlass replay bug.tape
  windlass demo

Places:
  alpine, ghcr.io/org/app:1.2, host:5000/app@sha256:…    an image in a registry
  docker://REF                                           the same, explicit
  oci:DIR[:NAME], oci:DIR@sha256:…                       an image in an OCI image layout"
    };
}

pub(super) const EXAMPLES: &str = concat!(
    examples!(),
    "\n\n`windlass help` has the other options, where credentials come from, and the exit codes."
);

pub(super) const LONG_EXAMPLES: &str = concat!(
    examples!(),
    "\n\n\
Credentials come from options, variables, podman's and docker's files, and the credential helpers
that these name; `windlass login --help` has the order.
Proxies come from HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, certificate authorities from
SSL_CERT_FILE and SSL_CERT_DIR if set, otherwise from the system. Mirrors and certificates of single
hosts come from hosts.toml, registries.conf and certs.d. `windlass help` has the options for these.

Exit codes:
    0  success
    1  permanent failure, or a tape that does not replay as recorded
    2  invalid command line, reference, configuration or tape
    3  not found
    4  authentication failed or access denied
    5  temporary failure; retry later
    6  content does not match its digest; it was not kept
  129  hangup (SIGHUP), unless ignored, as under nohup
  130  interrupted (Ctrl-C); received data is kept for the next run
  143  terminated (SIGTERM); received data is kept for the next run

The first Ctrl-C stops within a second, the second at once."
);
