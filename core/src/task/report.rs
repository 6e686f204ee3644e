//! What finished tasks did.

use core::fmt;

#[cfg(doc)]
use super::Task;
use super::{
    BlobDelivery, BlobFound, BlobPut, BlobRange, Catalog, Deleted, Fetched, Manifest, OpenedImage,
    Put, Referrers, ReferrersSource, Report, Tags,
};
use crate::descriptor::Descriptor;

/// What a finished task did: a report for each kind of task.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TaskReport {
    /// [`Task::check`]: the registry accepts the credentials for it.
    Checked(Checked),
    /// [`Task::tags`].
    Tags(Tags),
    /// [`Task::catalog`].
    Catalog(Catalog),
    /// [`Task::manifest`].
    Manifest(Manifest),
    /// [`Task::put_manifest`] and [`Task::tag`].
    Put(Put),
    /// [`Task::referrers`].
    Referrers(Referrers),
    /// [`Task::find_blob`].
    BlobFound(BlobFound),
    /// [`Task::put_blob`], [`Task::put_stream`] and [`Task::mount_blob`].
    BlobPut(BlobPut),
    /// [`Task::delete`], [`Task::delete_manifest`] and [`Task::delete_blob`].
    Deleted(Deleted),
    /// [`Task::resolve`]: what the reference stands for.
    Resolved(Descriptor),
    /// [`Task::pull`], [`Task::push`] and [`Task::copy`].
    Copied(Report),
    /// [`Task::fetch_blob`].
    Fetched(Fetched),
    /// [`Task::open`].
    Opened(OpenedImage),
    /// [`Task::read_range`].
    Range(BlobRange),
}

impl TaskReport {
    /// What a reference stands for, if the task was to find that out.
    pub fn resolved(self) -> Option<Descriptor> {
        if let Self::Resolved(root) = self {
            return Some(root);
        }
        None
    }

    /// What a copy did, if the task was one.
    pub fn copied(self) -> Option<Report> {
        if let Self::Copied(report) = self {
            return Some(report);
        }
        None
    }

    /// What a check found out, if the task was one.
    pub fn checked(self) -> Option<Checked> {
        if let Self::Checked(checked) = self {
            return Some(checked);
        }
        None
    }

    /// The tags of a repository, if the task was to list them.
    pub fn tags(self) -> Option<Tags> {
        if let Self::Tags(tags) = self {
            return Some(tags);
        }
        None
    }

    /// An image, if the task was to open one.
    pub fn opened(self) -> Option<OpenedImage> {
        if let Self::Opened(image) = self {
            return Some(image);
        }
        None
    }

    /// How a blob was fetched, if the task was to do that.
    pub fn fetched(self) -> Option<Fetched> {
        if let Self::Fetched(fetched) = self {
            return Some(fetched);
        }
        None
    }

    /// The repositories of a registry, if the task was to list them.
    pub fn catalog(self) -> Option<Catalog> {
        if let Self::Catalog(catalog) = self {
            return Some(catalog);
        }
        None
    }

    /// A manifest, if the task was to read one.
    pub fn manifest(self) -> Option<Manifest> {
        if let Self::Manifest(manifest) = self {
            return Some(manifest);
        }
        None
    }

    /// What became of a manifest, if the task was to put or tag one.
    pub fn put(self) -> Option<Put> {
        if let Self::Put(put) = self {
            return Some(put);
        }
        None
    }

    /// What refers to a manifest, if the task was to list that.
    pub fn referrers(self) -> Option<Referrers> {
        if let Self::Referrers(referrers) = self {
            return Some(referrers);
        }
        None
    }

    /// A blob, if the task was to find one.
    pub fn blob_found(self) -> Option<BlobFound> {
        if let Self::BlobFound(found) = self {
            return Some(found);
        }
        None
    }

    /// What became of a blob, if the task was to put or mount one.
    pub fn blob_put(self) -> Option<BlobPut> {
        if let Self::BlobPut(put) = self {
            return Some(put);
        }
        None
    }

    /// What was deleted, if the task was to delete something.
    pub fn deleted(self) -> Option<Deleted> {
        if let Self::Deleted(deleted) = self {
            return Some(deleted);
        }
        None
    }

    /// The bytes of a blob, if the task was to read some.
    pub fn range(self) -> Option<BlobRange> {
        if let Self::Range(range) = self {
            return Some(range);
        }
        None
    }

    /// The content that the task's source stood for, if it had one.
    pub const fn root(&self) -> Option<&Descriptor> {
        match self {
            Self::BlobFound(_)
            | Self::BlobPut(_)
            | Self::Checked(_)
            | Self::Tags(_)
            | Self::Catalog(_)
            | Self::Deleted(_)
            | Self::Fetched(_)
            | Self::Range(_)
            | Self::Referrers(_) => None,
            Self::Manifest(manifest) => Some(&manifest.descriptor),
            Self::Put(put) => Some(&put.descriptor),
            Self::Opened(image) => Some(&image.manifest.descriptor),
            Self::Resolved(root) => Some(root),
            Self::Copied(report) => Some(&report.root),
        }
    }
}

/// One line, as in transcripts: the digest, and for copies the numbers of blobs.
impl fmt::Display for TaskReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = match self {
            Self::Checked(Checked {
                anonymous: true, ..
            }) => {
                return f.write_str("accepted without credentials");
            }
            Self::Checked(Checked {
                anonymous: false, ..
            }) => return f.write_str("accepted"),
            Self::Resolved(root) => return root.digest.fmt(f),
            Self::Tags(Tags { tags, has_more, .. }) => {
                return listed(f, tags.len(), "tags", *has_more);
            }
            Self::Catalog(Catalog {
                repositories,
                has_more,
                ..
            }) => return listed(f, repositories.len(), "repositories", *has_more),
            Self::Manifest(manifest) => return manifest.descriptor.digest.fmt(f),
            Self::Referrers(Referrers {
                referrers, source, ..
            }) => {
                let by = match source {
                    ReferrersSource::Api => "",
                    ReferrersSource::Tag => " at the tag",
                    ReferrersSource::Nothing => ", without API or tag",
                };
                return write!(f, "{} referrers{by}", referrers.len());
            }
            Self::BlobFound(BlobFound { digest, size }) => {
                return write!(f, "{digest}: {size} bytes");
            }
            Self::BlobPut(BlobPut { digest, how, .. }) => {
                return match how {
                    BlobDelivery::Sent(bytes) => write!(f, "{digest}: {bytes} bytes sent"),
                    BlobDelivery::Mounted => write!(f, "{digest}: mounted"),
                    BlobDelivery::Present => write!(f, "{digest}: already there"),
                };
            }
            Self::Put(Put {
                descriptor,
                tags,
                unlisted,
            }) => {
                write!(f, "{}: {} tags", descriptor.digest, tags.len())?;
                return f.write_str(if unlisted.is_some() { ", unlisted" } else { "" });
            }
            Self::Deleted(Deleted { digest, unlisted }) => {
                f.write_str("deleted")?;
                if let Some(digest) = digest {
                    write!(f, " {digest}")?;
                }
                return f.write_str(if unlisted.is_some() {
                    ", still listed"
                } else {
                    ""
                });
            }
            Self::Fetched(fetched) => return fetched.fmt(f),
            Self::Opened(image) => {
                return write!(f, "{}: {} layers", image.digest(), image.layers.len());
            }
            Self::Range(range) => return write!(f, "{} bytes", range.bytes.len()),
            Self::Copied(report) => report,
        };
        write!(
            f,
            "{}: {} moved ({} bytes), {} mounted, {} present",
            report.root.digest, report.moved, report.bytes, report.mounted, report.present
        )?;
        if report.tags.len() > 1 {
            write!(f, ", {} tags", report.tags.len())?;
        }
        if report.left_out > 0 {
            write!(f, ", {} left out", report.left_out)?;
        }
        if report.absent > 0 {
            write!(f, ", {} entries absent", report.absent)?;
        }
        if !report.unlisted.is_empty() {
            write!(f, ", {} unlisted", report.unlisted.len())?;
        }
        if let Some(carried) = &report.carried {
            write!(f, ", carried {carried}")?;
        }
        Ok(())
    }
}

fn listed(f: &mut fmt::Formatter<'_>, len: usize, what: &str, has_more: bool) -> fmt::Result {
    let more = if has_more { ", and more" } else { "" };
    write!(f, "{len} {what}{more}")
}

/// What a check of a registry found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Checked {
    /// Whether the registry accepted a request without credentials, so that none were used.
    pub anonymous: bool,
    /// Whether the registry asked for credentials. If it did and [`anonymous`](Self::anonymous) is set, its
    /// token service gave an anonymous token: there were no credentials, or they could not be sent to it, and
    /// nothing is known about them.
    pub asked: bool,
}
