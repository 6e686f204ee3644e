//! A registry model and a loopback registry server for tests and demos.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::net::TcpStream;
//!
//! use windlass_testbed::{Model, Options, Server, image};
//!
//! // A model holds the registry; a server puts it on a loopback port.
//! let mut model = Model::new(Options::default());
//! let image = image(&[b"first layer".to_vec(), b"second layer".to_vec()]);
//! model.put_image("team/app", Some("latest"), &image);
//! let server = Server::start(model)?;
//!
//! // Any client can talk to it.
//! let mut stream = TcpStream::connect(server.addr())?;
//! write!(stream, "GET /v2/ HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.host())?;
//! let mut answer = String::new();
//! stream.read_to_string(&mut answer)?;
//! assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"));
//!
//! // And the test sees what the client did.
//! assert_eq!(server.requests()[0].line(), "GET /v2/ 200");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # The parts
//!
//! ```text
//!   Request, time ──▶ Model ──▶ Answer            pure: no IO, no clock, no randomness
//!                       ▲
//!   TCP ──▶ Server ─────┘──▶ Interceptor ──▶ TCP  threads, and faults on the way back
//! ```
//!
//! A [`Model`] is a whole registry with its token service and its storage service. It follows the
//! OCI distribution spec, and [`Options`] make it behave like registries that do not. A simulation
//! uses it directly; a [`Server`] gives it ports, and an [`Interceptor`] breaks what it delivers.
//!
//! Responsible for: being right about the protocol, on its own.
//! Must not know: any client. It uses no other crate of windlass, so that an error in windlass cannot
//! hide in its own test.

mod digest;
mod image;
mod model;
mod server;

pub use digest::Digest;
pub use image::{
    Image, Index, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, descriptor, image, image_for,
    index,
};
pub use model::{
    Announced, Answer, Auth, Basic, Bearer, BlobHeads, Credentials, Deletes, Entry, Filter, Labels,
    Location, Model, Options, Pages, Ranges, Request, Signature, Stale, Storage, Token, Unions,
    UnreadableMount, UploadRange, Uploads, User,
};
pub use server::{Delivery, Interceptor, Plain, Server};
