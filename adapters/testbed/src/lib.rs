//! A registry model and a loopback registry server for tests and demos.

mod digest;
mod image;
mod model;

pub use digest::Digest;
pub use image::{
    Image, Index, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, descriptor, image, image_for,
    index,
};
pub use model::{
    Announced, Answer, Auth, Basic, Bearer, Credentials, Deletes, Entry, Location, Model, Options,
    Pages, Ranges, Request, Signature, Stale, Storage, Token, Unions, UnreadableMount, UploadRange,
    Uploads, User,
};
