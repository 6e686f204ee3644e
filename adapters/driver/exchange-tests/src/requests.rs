//! What arrives of a request, and over which connection.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier};
use std::thread;

use windlass_core::call::{Payload, TransportErrorKind};

use crate::servers::{CREATED, OK, after_head, head, listening, server};
use crate::{Exchange, Setup, Zeros, get, kind, put, request};

/// The target as it is, and no header that was not asked for.
pub fn headers_and_targets_arrive_byte_for_byte<E: Exchange>() {
    let (base, heads) = listening();
    let target = "/v2//a/%2F/%2f;p/x?_state=a+b%2F%2f%27c&d=;e&digest=sha256:0//";
    let mut odd = get(&format!("{base}{target}"));
    for (name, value) in [
        ("accept-encoding", "identity"),
        ("accept", "a/b"),
        ("range", "bytes=500-1233"),
    ] {
        odd.headers_mut().insert(name, value.parse().unwrap());
    }
    E::new(&Setup::patient()).send(&odd).unwrap();
    let head = heads.recv().unwrap();
    let mut lines: Vec<_> = head.trim_end().split("\r\n").collect();
    assert_eq!(lines.remove(0), format!("GET {target} HTTP/1.1"));
    lines.sort_unstable();
    let host = format!("host: {}", base.trim_start_matches("http://"));
    let expected = [
        "accept-encoding: identity",
        "accept: a/b",
        &host,
        "range: bytes=500-1233",
    ];
    assert_eq!(lines, expected);
}

/// Registries answer 411 otherwise.
pub fn an_empty_post_sends_its_length_and_nothing_else<E: Exchange>() {
    let (base, heads) = listening();
    let driver = E::new(&Setup::patient());
    for method in ["POST", "PUT"] {
        let empty = request(method, &format!("{base}/x"), Payload::Empty);
        driver.send(&empty).unwrap();
        let head = heads.recv().unwrap().to_lowercase();
        assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(head.matches("content-length").count(), 1, "{head}");
    }
}

/// Neither documents nor blobs.
pub fn bodies_are_not_chunked<E: Exchange>() {
    let (sender, requests) = channel();
    let base = server(move |_, mut stream| {
        let head = head(&mut stream);
        let mut body = [7; 3];
        stream.read_exact(&mut body).unwrap();
        sender.send((head, body)).unwrap();
        stream.write_all(CREATED).unwrap();
    });
    let driver = E::new(&Setup::patient());
    let document = Payload::Bytes(Arc::from(&b"{ }"[..]));
    driver.send(&request("PUT", &base, document)).unwrap();
    // The server closes its connections without a word: on a kept one the bytes may be read twice.
    let driver = E::new(&Setup::patient());
    let uploaded = driver.upload(&put(&base, 3), Zeros::new(3));
    assert_eq!((uploaded.status, uploaded.read), (Ok(201), 3));
    for expected in [b"{ }", &[0; 3]] {
        let (head, body) = requests.recv().unwrap();
        assert!(head.contains("content-length: 3\r\n"), "{head}");
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(&body, expected);
    }
}

/// One after the other they share a connection.
pub fn connections_are_kept<E: Exchange>() {
    let (sender, counts) = channel();
    let base = server(move |count, mut stream| {
        while !head(&mut stream).is_empty() {
            sender.send(count).unwrap();
            stream.write_all(OK).unwrap();
        }
    });
    let driver = E::new(&Setup::patient());
    let mut used = BTreeSet::new();
    for _ in 0..10 {
        let answer = driver.send(&get(&base)).unwrap();
        assert_eq!((answer.status, answer.body), (200, b"hello".to_vec()));
        used.insert(counts.recv().unwrap());
    }
    // A client may dial before it sees that the connection of the last answer is free again.
    assert!(used.len() < 10, "{used:?}");
}

/// Whatever the method is: the request was not looked at.
pub fn a_kept_connection_that_closes_is_replaced_silently<E: Exchange>() {
    // Every connection takes two requests, but answers one only.
    let base = after_head(|stream| {
        stream.write_all(OK).unwrap();
        head(stream);
    });
    let driver = E::new(&Setup::patient());
    for method in ["GET", "POST", "GET", "DELETE"] {
        let request = request(method, &base, Payload::Empty);
        assert_eq!(driver.send(&request).unwrap().body, b"hello");
    }
}

/// PUSHB-40: what may change an upload is sent once, also on a kept connection that closes. The next one does not
/// take a kept connection to such a server.
pub fn what_changes_an_upload_is_sent_once<E: Exchange>() {
    for method in ["PUT", "PATCH"] {
        // Every connection takes two requests, but answers one only.
        let (sender, seen) = channel();
        let base = server(move |_, mut stream| {
            for answers in [true, false] {
                let head = head(&mut stream);
                if !head.is_empty() && !head.starts_with("GET") {
                    sender.send(()).unwrap();
                }
                if answers {
                    stream.write_all(OK).unwrap();
                }
            }
        });
        let driver = E::new(&Setup::patient());
        let end = request(method, &base, Payload::Empty);
        driver.send(&get(&base)).unwrap();
        let broken = driver.send(&end).map(drop);
        assert_eq!(kind(broken), TransportErrorKind::Reset, "{method}");
        driver.send(&get(&base)).unwrap();
        assert_eq!(driver.send(&end).unwrap().body, b"hello", "{method}");
        assert_eq!(seen.try_iter().count(), 2, "{method}");
    }
}

/// The second try takes a fresh connection, whatever others are kept, and so does every body after
/// that, so that it is not sent to a dead connection.
pub fn a_body_goes_again_on_a_fresh_connection<E: Exchange>() {
    // Connections take two requests each, but answer one. The first two are answered when both are there.
    let (sender, puts) = channel();
    let both = Arc::new(Barrier::new(2));
    let base = server(move |count, mut stream| {
        for answers in [true, false] {
            if head(&mut stream).starts_with("PUT") {
                drop(stream.read_exact(&mut [0; 1000]));
                sender.send(count).unwrap();
            } else if answers {
                both.wait();
            }
            if answers {
                stream.write_all(OK).unwrap();
            }
        }
    });
    let driver = E::new(&Setup::patient());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| driver.send(&get(&base)).unwrap());
        }
    });
    for opened in [2, 1] {
        let uploaded = driver.upload(&put(&base, 1000), Zeros::new(1000));
        assert_eq!((uploaded.status, uploaded.opened), (Ok(200), opened));
    }
    let puts: Vec<_> = puts.try_iter().collect();
    assert!(puts[0] < 2 && puts[1..] == [2, 3], "{puts:?}");
}

/// A fresh connection that breaks is a failure: the session decides what follows.
pub fn a_body_is_sent_twice_at_the_most<E: Exchange>() {
    let base = server(|count, mut stream| {
        head(&mut stream);
        if count == 0 {
            stream.write_all(OK).unwrap();
            head(&mut stream);
        }
    });
    let driver = E::new(&Setup::patient());
    driver.send(&get(&base)).unwrap();
    let uploaded = driver.upload(&put(&base, 5), Zeros::new(5));
    assert_eq!(kind(uploaded.status), TransportErrorKind::Reset);
    assert_eq!(uploaded.opened, 2);
}
