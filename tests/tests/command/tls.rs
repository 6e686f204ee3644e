//! The command and certificates: which authorities it takes, and what it says about the others.
#![allow(clippy::unwrap_used, reason = "it panics into the test's output")]

use windlass_tests::certs::Ca;
use windlass_tests::command::{REFUSED, Windlass};
use windlass_tests::hostile::{Good, Hostile};
use windlass_tests::images::{Image, Layout};

/// A registry behind TLS with one image, and the image.
fn registry(ca: &Ca) -> (Hostile, Image) {
    let (layout, image) = Layout::with_image(2, 2000, 1);
    let good = Good::serving(&layout, &image);
    let server = Hostile::start_tls(ca, move |request| good.answer(request));
    (server, image)
}

/// `SSL_CERT_FILE`, `SSL_CERT_DIR` (folders as in `PATH`, with what else lies there) and `--ca-cert`.
#[test]
fn authorities_come_from_options_and_variables() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (server, image) = registry(&ca);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("README"), "no certificate").unwrap();
    std::fs::copy(&ca.pem, folder.path().join("0123abcd.0")).unwrap();
    let path = format!("/nonexistent:{}", folder.path().display());
    let digest = || Windlass::new(["digest", &server.reference("a:latest"), "--tls"]);
    let ca_cert = ["--ca-cert".as_ref(), ca.pem.as_os_str()];
    for command in [
        digest().env("SSL_CERT_DIR", &path),
        digest().env("SSL_CERT_FILE", &ca.pem),
        digest()
            .env("SSL_CERT_FILE", &other.pem)
            .env("SSL_CERT_DIR", &path),
        digest().env("SSL_CERT_FILE", &other.pem).args(ca_cert),
    ] {
        assert_eq!(command.run().digest(), image.manifest.digest);
    }
    // Another name than that of the authority, or it would be a wrong signature of that one.
    let stranger = other.leaf().cert;
    let done = digest().env("SSL_CERT_FILE", stranger).run();
    done.failed(REFUSED, "UnknownIssuer");
    done.failed(
        REFUSED,
        "hint: if the certificate is from a private authority",
    );
    done.failed(REFUSED, "--ca-cert FILE");
}

/// What only those who wrote the library can read is put into words.
#[test]
fn an_authoritys_own_certificate_is_none_for_a_server() {
    let ca = Ca::new();
    let server =
        Hostile::start_with_certificate(ca.itself(), |_| unreachable!("nobody gets so far"));
    let words = ["digest", &server.reference("a:latest")];
    let done = Windlass::new(words).tls(&ca.pem).run();
    done.failed(REFUSED, "it is the certificate of an authority");
    done.failed(
        REFUSED,
        "hint: the server must use a certificate issued by the authority",
    );
    assert!(!done.stderr.contains("Other("), "{done}");
}

/// One side of a copy on loopback in plain HTTP, the other behind TLS.
#[test]
fn tls_on_one_side_of_a_copy() {
    let ca = Ca::new();
    let (from, image) = registry(&ca);
    let good = Good::new();
    let to = Hostile::start(move |request| good.answer(request));
    let words = ["copy", &from.reference("a:latest"), &to.reference("b:v1")];
    let tls = format!("--tls={}", from.host());
    let command = Windlass::new(words).args([tls.as_str()]);
    let done = command
        .args(["--ca-cert".as_ref(), ca.pem.as_os_str()])
        .run();
    assert_eq!(done.digest(), image.manifest.digest);
    assert!(to.requests().iter().any(|request| request.method == "PUT"));
}
