//! The registries of a world: who may do what there, and in which of the ways that are met.
//!
//! Responsible for drawing what a correct registry may be like. Must not know what is in it (`plan`).

use std::time::Duration;

use http::StatusCode;
use windlass_testbed::{
    Announced, Auth, Basic, Bearer, BlobHeads, Labels, Location, Options, Ranges, Signature, Stale,
    Storage, Unions, UnreadableMount, UploadRange, User,
};

use super::choose::Choose;
use super::echoed;
use super::mortal::Life;
use super::plan::small;
use super::secrets::mark;

/// The most that a registry sends at once of a blob that is asked for from somewhere on.
pub(crate) const SHORTENED: u64 = 100_000;

/// How a registry knows its callers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Access {
    Open,
    Basic,
    Bearer,
    /// With an identity token in place of a password.
    Refresh,
    /// The token service is on another host that is trusted.
    Elsewhere,
    /// It is on another host that is not: what is asked of it is asked anonymously.
    Untrusted,
}

/// A registry to be.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) access: Access,
    pub(crate) options: Options,
    /// It is open, and there are credentials for it all the same.
    pub(crate) leftover: bool,
    /// It repeats what requests present, in the header of this number (`echoed`).
    pub(crate) echoes: Option<usize>,
    /// How long its credentials live, if they die by themselves.
    pub(crate) life: Option<Life>,
    /// Nothing about it costs more requests than usual.
    pub(crate) plain: bool,
}

/// Any registry; one that is written to knows who writes.
pub(crate) fn setting(choose: &mut dyn Choose, registry: usize, written: bool) -> Setting {
    let access = match choose.below(8) {
        0 | 1 => Access::Open,
        2 => Access::Basic,
        3 | 4 => Access::Bearer,
        5 => Access::Refresh,
        6 => Access::Elsewhere,
        _ if written => Access::Elsewhere,
        _ => Access::Untrusted,
    };
    let mut options = options(registry, access);
    let mut plain = true;
    if let Auth::Bearer(bearer) = &mut options.auth {
        bearer.life = Duration::from_secs([300, 300, 61, 3600][small(choose, 4)]);
        bearer.announced = match choose.below(5) {
            0 | 1 => Announced::Real,
            2 => Announced::Omitted,
            // AUTH-41: it counts as a minute.
            3 => Announced::Seconds(0),
            _ => Announced::Seconds(3600),
        };
        bearer.unions = [
            Unions::Granted,
            Unions::Granted,
            Unions::RefusedAtRealm,
            Unions::RefusedAtRegistry,
        ][small(choose, 4)];
        if choose.below(4) == 3 {
            bearer.insufficient = StatusCode::FORBIDDEN;
        }
        plain = bearer.unions == Unions::Granted;
    }
    if choose.below(3) == 2 {
        let mut storage = Storage::new(format!("https://cdn{registry}.example"));
        match choose.below(3) {
            0 => {}
            1 => storage.signature = Signature::OneTime,
            // Shorter than what registries ask their clients to wait.
            _ => storage.signature = Signature::Life(Duration::from_secs(5)),
        }
        options.storage = Some(storage);
        plain = false;
    }
    match choose.below(6) {
        4 => options.ranges = Ranges::Ignored,
        5 => options.ranges = Ranges::Shortened(SHORTENED),
        _ => {}
    }
    options.uploads.location = match choose.below(4) {
        0 | 1 => Location::Relative,
        2 => Location::Absolute,
        _ => Location::Elsewhere(format!("https://up{registry}.example")),
    };
    options.uploads.signed_location = choose.below(2) == 1;
    options.uploads.stale = [Stale::OutOfRange, Stale::Invalid][small(choose, 2)];
    options.uploads.keep_partial = choose.below(2) == 0;
    if choose.below(2) == 1 {
        options.uploads.unreadable_mount = UnreadableMount::Session;
    }
    if choose.below(6) == 5 {
        options.uploads.put_bodies = false;
        plain = false;
    }
    if choose.below(6) == 5 {
        options.uploads.redirects = Some(format!("https://put{registry}.example"));
        plain = false;
    }
    options.uploads.range = match choose.below(6) {
        0..=2 => UploadRange::Correct,
        3 => UploadRange::ChunkOnly,
        4 => UploadRange::OffByOne,
        _ => UploadRange::Absent,
    };
    options.uploads.help_on_416 = choose.below(2) == 1;
    match choose.below(8) {
        6 => options.uploads.chunk_min_length = Some(100 * 1024),
        // A proxy's limit: chunks are smaller than that.
        7 => {
            options.max_body = Some(100 * 1024);
            plain = false;
        }
        _ => {}
    }
    plain &= !chunks(choose, &mut options);
    options.digest_header = choose.below(5) < 4;
    options.check_references = choose.below(2) == 0;
    plain &= !shortcuts(choose, &mut options);
    options.labels = labels(choose);
    options.referrers_api = choose.below(2) == 0;
    options.conditions = choose.below(2) == 1;
    // Only where the credentials can be shown as the challenge wants it.
    if !matches!(access, Access::Open | Access::Untrusted) {
        options.hidden = match choose.below(8) {
            5 => Some(StatusCode::NOT_FOUND),
            6 => Some(StatusCode::FORBIDDEN),
            7 => Some(StatusCode::UNAUTHORIZED),
            _ => None,
        };
        plain &= options.hidden.is_none();
    }
    if access == Access::Basic && choose.below(3) == 2 {
        options.expired_login = Some(StatusCode::FORBIDDEN);
    }
    let leftover = access == Access::Open && choose.below(4) == 3;
    let echoes = (choose.below(6) == 5).then(|| small(choose, echoed::COUNT));
    let life = match access {
        Access::Open | Access::Untrusted => None,
        Access::Basic | Access::Bearer | Access::Refresh | Access::Elsewhere => Life::draw(choose),
    };
    plain &= !leftover && echoes.is_none() && life.is_none();
    Setting {
        access,
        options,
        leftover,
        echoes,
        life,
        plain,
    }
}

/// Which chunks it takes, beside those that it asks for and those that a proxy lets through. Whether not all.
fn chunks(choose: &mut dyn Choose, options: &mut Options) -> bool {
    let is_said = options.uploads.chunk_min_length.is_some() || options.max_body.is_some();
    let uploads = &mut options.uploads;
    match choose.below(16) {
        10 => uploads.patch_status = StatusCode::CREATED,
        11 => uploads.patch_status = StatusCode::NO_CONTENT,
        12 if !is_said => uploads.untold_least_chunk = Some(100 * 1024),
        13 if !is_said => uploads.several_chunks = false,
        14 if !is_said => uploads.whole_chunks = false,
        15 if !is_said => uploads.chunk_max_length = Some(64 * 1024),
        _ => return false,
    }
    uploads.patch_status == StatusCode::ACCEPTED
}

/// Heads and mounts that are refused, or answered with what is not true. Whether there are some.
fn shortcuts(choose: &mut dyn Choose, options: &mut Options) -> bool {
    match choose.below(8) {
        5 => {
            let codes = [403, 405, 400, 404, 500, 501];
            let status = super::exchange::status(codes[small(choose, codes.len())]);
            options.blob_heads = BlobHeads::Refused(status);
        }
        6 if options.storage.is_some() => options.blob_heads = BlobHeads::Redirected,
        7 => {
            options.vouches = true;
            // A client cannot find out where it does not look.
            options.check_references = true;
        }
        _ => {}
    }
    options.uploads.mounts = choose.below(4) < 3;
    options.vouches || options.blob_heads != BlobHeads::Answered || !options.uploads.mounts
}

/// What it says beside content: mostly what is right.
fn labels(choose: &mut dyn Choose) -> Labels {
    let types = [
        "",
        "text/html",
        "binary/octet-stream",
        "application/json",
        "garbage",
    ];
    let encodings = ["aws-chunked", "gzip", "identity", ""];
    Labels {
        manifest_type: (choose.below(5) == 4).then(|| types[small(choose, 5)].to_owned()),
        encoding: (choose.below(5) == 4).then(|| encodings[small(choose, 4)].to_owned()),
        unescaped: choose.below(5) == 4,
        odd_tokens: choose.below(5) == 4,
    }
}

/// The usual options of a registry.
pub(crate) fn options(registry: usize, access: Access) -> Options {
    let mark = mark(registry);
    let users = [("alice".to_owned(), User::new(format!("{mark}password")))];
    let realm = match access {
        Access::Elsewhere | Access::Untrusted => format!("https://auth{registry}.example/token"),
        Access::Open | Access::Basic | Access::Bearer | Access::Refresh => {
            "https://{host}/token".to_owned()
        }
    };
    let auth = match access {
        Access::Open => Auth::Open,
        Access::Basic => Auth::Basic(Basic {
            users: users.into(),
            anonymous_pull: false,
        }),
        Access::Bearer | Access::Refresh | Access::Elsewhere | Access::Untrusted => {
            Auth::Bearer(Bearer {
                realm,
                users: users.into(),
                anonymous_pull: access == Access::Untrusted,
                ..Bearer::default()
            })
        }
    };
    Options {
        auth,
        scheme: "https",
        mark,
        ..Options::default()
    }
}
