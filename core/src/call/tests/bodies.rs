//! Parts of blobs on their way out, and the hash that goes on from one to the next.

use super::*;

/// A body of eight bytes, or of those from `offset` on.
fn body(offset: u64) -> Payload {
    Payload::Body(Body {
        source: Source::Stored {
            store: StoreId(3),
            digest: digest(),
        },
        offset,
        len: 8 - offset,
        size: 8,
    })
}

fn sends(payload: Payload) -> Call {
    call_of(Method::PUT, payload, Expect::Head)
}

#[test]
fn a_body_goes_out_through_its_meter() {
    let begins = || Some(Hashing::new(Algorithm::Sha256));
    assert!(sends(Payload::Empty).outgoing().is_none());
    let bytes = Payload::Bytes(b"x"[..].into());
    let small = sends(bytes).for_transfer(TransferId(2), begins().map(Into::into));
    assert!(small.outgoing().is_none());
    assert!(sends(body(0)).outgoing().is_none(), "it has no hash");
    let other = Some(Hashing::new(Algorithm::Sha512));
    let other = sends(body(0)).for_transfer(TransferId(2), other.map(Into::into));
    assert!(other.outgoing().is_none(), "of another algorithm");
    let call = sends(body(5)).for_transfer(TransferId(2), begins().map(Into::into));
    assert_eq!(call.transfer(), Some(TransferId(2)));
    assert_eq!(call.starts_at(), 5);
    assert_eq!(call.origin(), &origin());
    let meter = call.outgoing().expect("a blob goes out");
    assert_eq!((meter.size(), meter.part()), (8, 5..8));
    assert_eq!(meter.position(), 0, "what is not hashed is read first");
}

/// The hash comes home in the result, and the request for the next part goes on with it.
#[test]
fn a_hash_goes_on_from_one_part_to_the_next() {
    let first = Payload::Body(Body {
        source: Source::Stored {
            store: StoreId(3),
            digest: digest(),
        },
        offset: 0,
        len: 5,
        size: 8,
    });
    let begins = Some(Hashing::new(Algorithm::Sha256));
    let mut call = sends(first).for_transfer(TransferId(2), begins.map(Into::into));
    let mut meter = call.outgoing().expect("a blob goes out");
    assert_eq!(meter.hash(b"12345"), Ok(5), "nothing of it is held back");
    call.sent(meter);
    call.head(head(202, &[]));
    let exchanged = ended(call);
    assert_eq!(exchanged.sent, 5);
    let hashed = exchanged.hashed.expect("it came home");
    assert_eq!(hashed.len(), 5);

    let mut call = sends(body(5)).for_transfer(TransferId(2), Some(hashed.clone().into()));
    let mut meter = call.outgoing().expect("a blob goes out");
    assert_eq!((meter.position(), meter.held_from()), (5, 5));
    assert_eq!(meter.hash(b"67"), Ok(5), "it is held back");
    assert_eq!(meter.hash(b"8"), Ok(8));
    call.sent(meter);
    let exchanged = ended(call);
    assert_eq!(exchanged.sent, 3);
    let hashed_all = exchanged.hashed.expect("it came home");
    assert_eq!(hashed_all.digest(), digest());

    // Without it the first part is hashed, and not sent.
    let begins = Some(Hashing::new(Algorithm::Sha256));
    let call = sends(body(5)).for_transfer(TransferId(2), begins.map(Into::into));
    let mut meter = call.outgoing().expect("a blob goes out");
    assert_eq!(meter.hash(b"1234"), Ok(5));
    assert_eq!(meter.hash(b"5678"), Ok(8));
    let exchanged = ended(call);
    assert_eq!((exchanged.sent, exchanged.hashed.is_none()), (3, true));

    // It starts over where some of a part was sent before: the blob may be damaged since then.
    for (blob, is_good) in [(b"12345678", true), (b"1234x678", false)] {
        let call = sends(body(3)).for_transfer(TransferId(2), Some(hashed.clone().into()));
        let mut meter = call.outgoing().expect("a blob goes out");
        assert_eq!(meter.position(), 0);
        assert_eq!(meter.hash(blob).is_ok(), is_good);
    }

    // The last part is not sent if the whole is not what it should be.
    let mut call = sends(body(5)).for_transfer(TransferId(2), Some(hashed.into()));
    let mut meter = call.outgoing().expect("a blob goes out");
    let found = Some(Digest::of(Algorithm::Sha256, b"12345xyz"));
    let damaged = Err(Interrupted::Damaged { found });
    assert_eq!(meter.hash(b"xyz"), damaged);
    call.sent(meter);
    assert_eq!(ended(call).sent, 0);
}

/// The end is held back until the digest matches.
#[test]
fn a_meter_releases_all_but_the_end() {
    let held = usize::try_from(Outgoing::HELD_BACK).expect("it is small");
    let content = vec![7; held + 10];
    let len = content.len() as u64;
    let sent = outgoing::Sent::default();
    let meter = |digest| {
        let hashing = Hashing::new(Algorithm::Sha256);
        let mut meter = Outgoing::new(digest, len, 0..len, hashing).expect("a meter");
        meter.sent = sent.clone();
        meter
    };
    let ours = Digest::of(Algorithm::Sha256, &content);
    let other = Digest::of(Algorithm::Sha256, b"x");

    let mut good = meter(ours.clone());
    assert_eq!(good.held_from(), 10);
    assert_eq!(good.hash(&content[..4]), Ok(4), "nothing of it is the end");
    assert_eq!(good.hash(&content[4..20]), Ok(10), "the end is held back");
    assert_eq!(good.hash(&content[20..]), Ok(len));
    let damaged = |found| Err(Interrupted::Damaged { found });
    assert_eq!(good.hash(b"x"), damaged(None), "it is over");
    assert_eq!(sent.bytes(), len);

    let mut bad = meter(other);
    assert_eq!(bad.hash(&content[..20]), Ok(10));
    for rest in [&content[20..], &[]] {
        assert_eq!(bad.hash(rest), damaged(Some(ours.clone())));
    }
    assert_eq!(sent.bytes(), len + 10, "of all meters of one call");

    let mut long = meter(ours);
    assert_eq!(long.hash(&content), Ok(len));
    let mut long = meter(Digest::of(Algorithm::Sha256, b"x"));
    assert_eq!(long.hash(&vec![7; held + 11]), damaged(None));
}

#[test]
fn a_meter_is_for_a_part_of_its_blob() {
    let meter = |part, hashed: &[u8]| {
        let mut hashing = Hashing::new(Algorithm::Sha256);
        hashing.update(hashed);
        Outgoing::new(digest(), 8, part, hashing).is_some()
    };
    assert!(meter(0..8, b"") && meter(8..8, b"12345678") && meter(0..0, b"1"));
    assert!(!meter(0..9, b""), "it ends behind the blob");
    let backwards = Range { start: 5, end: 4 };
    assert!(!meter(backwards, b""));
    assert!(
        !meter(0..8, b"123456789"),
        "the hash is over more than the blob"
    );
}

/// A part of a body was sent before, and the request broke off. The bytes that are read again must be
/// those that were sent, or the peer has others than those that are hashed.
#[test]
fn what_was_sent_before_is_read_as_it_was() {
    let mut read = Hashing::new(Algorithm::Sha256);
    read.update(b"12345");
    let before = |earlier: &Hashing| Before {
        hashing: Hashing::new(Algorithm::Sha256),
        earlier: alloc::vec![earlier.clone()],
    };
    let changed = Err(Interrupted::Damaged { found: None });
    for (pieces, expected) in [
        (&[&b"12345678"[..]][..], Ok(8)),
        (&[b"123", b"45", b"678"], Ok(8)),
        (&[b"1234", b"5678"], Ok(8)),
    ] {
        let call = sends(body(3)).for_transfer(TransferId(2), Some(before(&read)));
        let mut meter = call.outgoing().expect("a blob goes out");
        let mut last = Ok(0);
        for piece in pieces {
            last = meter.hash(piece);
        }
        assert_eq!(last, expected);
    }
    // The earlier request read other bytes than there are now, which are the right ones.
    let mut other = Hashing::new(Algorithm::Sha256);
    other.update(b"1x345");
    for pieces in [&[&b"12345678"[..]][..], &[b"1234", b"5678"]] {
        let call = sends(body(3)).for_transfer(TransferId(2), Some(before(&other)));
        let mut meter = call.outgoing().expect("a blob goes out");
        let mut last = Ok(0);
        for piece in pieces {
            last = meter.hash(piece);
        }
        assert_eq!(last, changed);
    }
}

/// The same after several requests that broke off: each may have sent bytes that the peer has.
#[test]
fn what_several_requests_sent_is_read_as_it_was() {
    let over = |bytes: &[u8]| {
        let mut hashing = Hashing::new(Algorithm::Sha256);
        hashing.update(bytes);
        hashing
    };
    let changed = Err(Interrupted::Damaged { found: None });
    for (reads, expected) in [
        ([&b"123456"[..], b"1234", b"12345"], Ok(8)),
        ([b"x23456", b"1234", b"12345"], changed.clone()),
        ([b"123456", b"123x", b"12345"], changed.clone()),
        ([b"123456", b"1234", b"1x345"], changed),
    ] {
        for pieces in [
            &[&b"12345678"[..]][..],
            &[b"1234", b"5678"],
            &[b"123", b"456", b"78"],
        ] {
            let before = Before {
                hashing: over(b"1"),
                earlier: reads.map(over).to_vec(),
            };
            let call = sends(body(3)).for_transfer(TransferId(2), Some(before));
            let mut meter = call.outgoing().expect("a blob goes out");
            assert_eq!(meter.position(), 1);
            let mut at = 0;
            let mut last = Ok(0);
            for piece in pieces {
                let position = usize::try_from(meter.position()).expect("small");
                let next = &piece[position.saturating_sub(at).min(piece.len())..];
                at += piece.len();
                last = last.and_then(|_| meter.hash(next));
            }
            assert_eq!(last, expected, "{reads:?} {pieces:?}");
        }
    }
}
