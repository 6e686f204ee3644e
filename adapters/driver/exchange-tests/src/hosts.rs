//! Hosts that are reached in ways of their own.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use windlass_core::call::{Interrupted, TransportErrorKind};
use windlass_driver::{Authorities, HostSettings, Identity, TlsRoots};

use crate::servers::{OK, head, identity, proxy, server, tls_listening};
use crate::{Exchange, Setup, get, kind};

/// What a TLS server has seen of a request.
struct Seen {
    /// The name that it was asked for (SNI).
    name: Option<String>,
    /// Whether the client has shown a certificate.
    is_known: bool,
    head: String,
}

/// A server whose certificate is for `name`, and what signs it.
struct Server {
    base: String,
    seen: Receiver<Seen>,
    certificate: Vec<u8>,
}

/// A client's certificate.
struct Shown {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Shown {
    fn new() -> Self {
        Self::named("client")
    }

    /// A certificate that this name is the issuer of, too.
    fn named(name: &str) -> Self {
        let mut params = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let names = &mut params.distinguished_name;
        names.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        Self {
            certificate: params.self_signed(&key).unwrap().der().to_vec(),
            key: key.serialize_der(),
        }
    }

    fn identity(&self) -> Identity {
        Identity::new(vec![self.certificate.clone()], self.key.clone())
    }
}

/// A server that takes this client's certificate, and needs none.
fn seeing(name: &str, client: &Shown) -> Server {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut known = RootCertStore::empty();
    known
        .add(CertificateDer::from(client.certificate.clone()))
        .unwrap();
    let known = WebPkiClientVerifier::builder_with_provider(Arc::new(known), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(known.allow_unauthenticated().build().unwrap())
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let (sender, seen) = channel();
    let base = server(move |_, stream| {
        let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut stream = StreamOwned::new(connection, stream);
        loop {
            let head = head(&mut stream);
            if head.is_empty() {
                return;
            }
            let name = stream.conn.server_name().map(ToOwned::to_owned);
            let is_known = stream.conn.peer_certificates().is_some();
            // The test may be over.
            let _ = sender.send(Seen {
                name,
                is_known,
                head,
            });
            std::io::Write::write_all(&mut stream, OK).unwrap();
        }
    });
    Server {
        base: base.replace("http://127.0.0.1", "https://localhost"),
        seen,
        certificate: made.cert.der().to_vec(),
    }
}

/// No certificate authority that any server has.
fn nothing() -> TlsRoots {
    let (_, roots) = identity("elsewhere");
    roots
}

fn fetch<E: Exchange>(setup: &Setup, base: &str) -> Result<u16, Interrupted> {
    let answer = E::new(setup).send(&get(&format!("{base}/v2/")));
    answer.map(|answer| answer.status)
}

/// Certificate authorities of a host are trusted for that host, beside the client's or alone.
pub fn a_host_has_authorities_of_its_own<E: Exchange>() {
    let client = Shown::new();
    let (one, other) = (seeing("localhost", &client), seeing("localhost", &client));
    let settings = |authorities| HostSettings::default().authorities(authorities);
    let trusting_other = TlsRoots::only(vec![other.certificate.clone()]);
    let also = settings(Authorities::Also(vec![one.certificate.clone()]));
    let only = settings(Authorities::Only(vec![one.certificate.clone()]));
    let setup = Setup::patient().trusting(trusting_other);
    for own in [also, only.clone()] {
        let setup = setup.clone().host(&one.base, own);
        assert_eq!(fetch::<E>(&setup, &one.base).unwrap(), 200);
        // The client's hold everywhere else, and the host's own do not.
        assert_eq!(fetch::<E>(&setup, &other.base).unwrap(), 200);
        let third = seeing("localhost", &client);
        let result = fetch::<E>(&setup, &third.base);
        assert_eq!(kind(result), TransportErrorKind::Tls);
    }
    // With authorities of its own alone, the client's are not trusted for the host.
    let setup = setup.host(&other.base, only);
    let result = fetch::<E>(&setup, &other.base);
    assert_eq!(kind(result), TransportErrorKind::Tls);
}

/// HOSTS-24: what is for one host is shown to no other, whatever that asks for.
pub fn a_client_certificate_is_for_one_host<E: Exchange>() {
    let client = Shown::new();
    let (one, other) = (seeing("localhost", &client), seeing("localhost", &client));
    let roots = TlsRoots::only(vec![one.certificate.clone(), other.certificate.clone()]);
    let settings = HostSettings::default().identity(client.identity());
    let setup = Setup::patient().trusting(roots).host(&one.base, settings);
    let driver = E::new(&setup);
    for _ in 0..2 {
        for (server, is_known) in [(&one, true), (&other, false)] {
            let answer = driver.send(&get(&format!("{}/v2/", server.base)));
            assert_eq!(answer.unwrap().status, 200);
            assert_eq!(server.seen.recv().unwrap().is_known, is_known);
        }
    }
}

/// Of several client certificates each server gets the one whose issuer it names, as docker does it.
pub fn a_host_chooses_among_client_certificates<E: Exchange>() {
    let clients = ["one", "two", "three"].map(Shown::named);
    let servers = clients.each_ref().map(|client| seeing("localhost", client));
    let roots = servers.each_ref().map(|it| it.certificate.clone());
    let roots = TlsRoots::only(roots.to_vec());
    let all = clients.iter().fold(HostSettings::default(), |all, client| {
        all.identity(client.identity())
    });
    for server in &servers {
        let setup = Setup::patient().trusting(roots.clone());
        let setup = setup.host(&server.base, all.clone());
        assert_eq!(fetch::<E>(&setup, &server.base).unwrap(), 200);
        assert!(server.seen.recv().unwrap().is_known);
    }
}

/// Any certificate is good for one host, and for no other.
pub fn verification_is_skipped_for_one_host<E: Exchange>() {
    let client = Shown::new();
    let (one, other) = (seeing("elsewhere", &client), seeing("elsewhere", &client));
    let settings = HostSettings::default().skip_verification();
    let setup = Setup::patient()
        .trusting(nothing())
        .host(&one.base, settings);
    let driver = E::new(&setup);
    for _ in 0..2 {
        let answer = driver.send(&get(&format!("{}/v2/", one.base)));
        assert_eq!(answer.unwrap().status, 200);
        let refused = driver.send(&get(&format!("{}/v2/", other.base)));
        assert_eq!(kind(refused), TransportErrorKind::Tls);
    }
    assert!(other.seen.try_recv().is_err(), "nothing was sent");
}

/// The server is asked for another name than the URL's, and shows a certificate for that. The request is the
/// same.
pub fn a_server_is_asked_for_another_name<E: Exchange>() {
    let client = Shown::new();
    let server = seeing("registry.example", &client);
    let own = Authorities::Only(vec![server.certificate.clone()]);
    let settings = HostSettings::default().authorities(own);
    let setup = Setup::patient().trusting(nothing());
    let plain = setup.clone().host(&server.base, settings.clone());
    assert_eq!(
        kind(fetch::<E>(&plain, &server.base)),
        TransportErrorKind::Tls
    );
    let named = setup.host(&server.base, settings.server_name("registry.example"));
    assert_eq!(fetch::<E>(&named, &server.base).unwrap(), 200);
    let seen = server.seen.recv().unwrap();
    assert_eq!(seen.name.as_deref(), Some("registry.example"));
    let host = server.base.replace("https://", "host: ");
    let head = seen.head.to_ascii_lowercase();
    assert!(head.contains(&format!("{host}\r\n")), "{head}");
    assert!(!head.contains("registry.example"), "{head}");
}

/// A mirror that does not answer at once is given up at once, while others have time.
pub fn a_host_has_a_time_to_connect_of_its_own<E: Exchange>() {
    // Accepts connections and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("https://{}", silent.local_addr().unwrap());
    let settings = HostSettings::default().connect(Duration::from_millis(200));
    let setup = Setup::patient().trusting(nothing()).host(&base, settings);
    let begun = Instant::now();
    assert_eq!(kind(fetch::<E>(&setup, &base)), TransportErrorKind::Connect);
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
}

/// A host whose settings cannot be used is not contacted without them.
pub fn settings_that_cannot_be_used_send_nothing<E: Exchange>() {
    let (config, roots) = identity("localhost");
    let (base, heads) = tls_listening(config);
    let broken = Identity::new(vec![b"none".to_vec()], b"none".to_vec());
    for settings in [
        HostSettings::default().identity(broken),
        HostSettings::default().server_name("10.0.0.1"),
    ] {
        let setup = Setup::patient()
            .trusting(roots.clone())
            .host(&base, settings);
        let why = fetch::<E>(&setup, &base).unwrap_err();
        let (Interrupted::NotSent(error) | Interrupted::Transport(error)) = why else {
            panic!("{why:?}");
        };
        assert_eq!(error.kind, TransportErrorKind::Tls);
        assert!(heads.try_recv().is_err(), "nothing was sent");
    }
}

/// A host's settings hold for what is behind a tunnel, not for the proxy.
pub fn settings_hold_behind_a_proxy<E: Exchange>() {
    let client = Shown::new();
    let server = seeing("elsewhere", &client);
    let (url, asked) = proxy();
    let settings = HostSettings::default()
        .skip_verification()
        .identity(client.identity());
    let setup = Setup::patient().trusting(nothing()).through(url);
    let setup = setup.host(&server.base, settings);
    assert_eq!(fetch::<E>(&setup, &server.base).unwrap(), 200);
    assert!(asked.recv().unwrap().starts_with("CONNECT localhost:"));
    assert!(server.seen.recv().unwrap().is_known);
}
