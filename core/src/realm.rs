//! Which token services may receive credentials, or be asked at all (AUTH-80 to AUTH-85).
//!
//! Responsible for that decision alone: without it, a registry could collect credentials by naming
//! a realm of its choice (CVE-2026-24845 and similar).

use alloc::format;
use alloc::string::String;

use crate::registry::{Origin, Registry, Scheme};

/// What may be sent to a token service.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Judgement {
    /// Credentials.
    Trusted,
    /// Anonymous requests.
    Anonymous,
    /// Nothing, for this reason.
    Refused(String),
}

/// Registries with a known token service on another host: (registry, host of the realm). From
/// users.md 1.3: Docker Hub, GitLab, lscr.io (which is GHCR), NVIDIA's NGC.
const KNOWN: &[(&str, &str)] = &[
    ("docker.io", "auth.docker.io"),
    ("lscr.io", "ghcr.io"),
    ("nvcr.io", "authn.nvidia.com"),
    ("registry.gitlab.com", "gitlab.com"),
];

/// Decides what may be sent to the token service at `realm` on behalf of `registry`.
pub(crate) fn judge(
    registry: &Registry,
    origin: &Origin,
    realm: &Origin,
    trusted: &[(Registry, Origin)],
) -> Judgement {
    if origin.scheme() == Scheme::Https && realm.scheme() == Scheme::Http {
        return Judgement::Refused(format!(
            "the token service {realm} is not https, and the registry is; no setting allows that"
        ));
    }
    let same_host = origin.host() == realm.host();
    if same_host {
        return Judgement::Trusted;
    }
    let configured = trusted
        .iter()
        .any(|(name, host)| name.credential_key() == registry.credential_key() && host == realm);
    if configured {
        return Judgement::Trusted;
    }
    if realm.is_private() && !origin.is_private() {
        return Judgement::Refused(format!(
            "the token service {realm} is at a private address; if that is right, allow it with \
             `--trust-realm {registry}={realm}`"
        ));
    }
    let known = realm.scheme() == Scheme::Https
        && realm.port() == Scheme::Https.default_port()
        && KNOWN.iter().any(|(name, host)| {
            registry.credential_key() == known_key(name) && realm.host() == *host
        });
    if known {
        Judgement::Trusted
    } else {
        Judgement::Anonymous
    }
}

fn known_key(name: &str) -> crate::registry::CredentialKey {
    name.parse::<Registry>()
        .expect("the table holds registries")
        .credential_key()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(registry: &str, origin: &str, realm: &str) -> Judgement {
        let pair = (
            "reg.example".parse().expect("a registry"),
            "https://id.example".parse().expect("an origin"),
        );
        judge(
            &registry.parse().expect("a registry"),
            &origin.parse().expect("an origin"),
            &realm.parse().expect("an origin"),
            &[pair],
        )
    }

    #[test]
    fn credentials_go_to_the_same_host_and_to_known_pairs_only() {
        use Judgement::{Anonymous, Trusted};
        let hub = "https://registry-1.docker.io";
        for (registry, origin, realm, expected) in [
            (
                "reg.example",
                "https://reg.example",
                "https://reg.example",
                Trusted,
            ),
            (
                "reg.example",
                "https://reg.example",
                "https://REG.example:8443",
                Trusted,
            ),
            (
                "reg.example",
                "http://reg.example",
                "https://reg.example",
                Trusted,
            ),
            (
                "reg.example",
                "https://reg.example",
                "https://id.example",
                Trusted,
            ),
            (
                "reg.example",
                "https://reg.example",
                "https://id.example:8443",
                Anonymous,
            ),
            (
                "other.example",
                "https://other.example",
                "https://id.example",
                Anonymous,
            ),
            ("docker.io", hub, "https://auth.docker.io", Trusted),
            (
                "registry.hub.docker.com",
                hub,
                "https://auth.docker.io",
                Trusted,
            ),
            (
                "registry-1.docker.io",
                hub,
                "https://auth.docker.io",
                Trusted,
            ),
            (
                "hub.docker.com",
                "https://hub.docker.com",
                "https://auth.docker.io",
                Anonymous,
            ),
            ("docker.io", hub, "https://auth.docker.io:8443", Anonymous),
            (
                "docker.io",
                hub,
                "https://auth.docker.io.evil.example",
                Anonymous,
            ),
            (
                "evil.example",
                "https://evil.example",
                "https://auth.docker.io",
                Anonymous,
            ),
            (
                "localhost:5000",
                "http://localhost:5000",
                "http://localhost:5001",
                Trusted,
            ),
            (
                "localhost:5000",
                "http://localhost:5000",
                "http://127.0.0.1:5001",
                Anonymous,
            ),
        ] {
            assert_eq!(
                judged(registry, origin, realm),
                expected,
                "{registry} -> {realm}"
            );
        }
    }

    /// AUTH-81, AUTH-82.
    #[test]
    fn a_realm_is_never_plain_http_or_private_for_a_public_registry() {
        for realm in [
            "http://reg.example",
            "http://id.example",
            "https://169.254.169.254",
            "https://10.0.0.1",
        ] {
            let judgement = judged("reg.example", "https://reg.example", realm);
            assert!(
                matches!(judgement, Judgement::Refused(_)),
                "{realm}: {judgement:?}"
            );
        }
    }
}
