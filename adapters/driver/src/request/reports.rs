//! The reports of requests, by kind, and what they are made of. The crates of clients re-export all of them.

pub use windlass_core::{
    BlobDelivery, BlobFound, BlobPut, BlobRange, Carried, Catalog, Checked, Deleted, Descriptor,
    Fetched, ImageLayer, Manifest, NotCarried, OpenedImage, Put, Referrers, ReferrersSource,
    Report, Tags, TaskReport, Unlisted,
};
use windlass_core::{Error, Failure};

use super::TypedReport;

/// For requests whose kind is known only when they run.
impl TypedReport for TaskReport {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        Ok(report)
    }
}

impl TypedReport for Report {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.copied().ok_or_else(another_kind)
    }
}

/// Whether a registry accepts credentials.
impl TypedReport for Checked {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.checked().ok_or_else(another_kind)
    }
}

impl TypedReport for Fetched {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.fetched().ok_or_else(another_kind)
    }
}

impl TypedReport for OpenedImage {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.opened().ok_or_else(another_kind)
    }
}

impl TypedReport for BlobRange {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.range().ok_or_else(another_kind)
    }
}

/// What a reference stands for.
impl TypedReport for Descriptor {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.resolved().ok_or_else(another_kind)
    }
}

impl TypedReport for Tags {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.tags().ok_or_else(another_kind)
    }
}

impl TypedReport for Catalog {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.catalog().ok_or_else(another_kind)
    }
}

impl TypedReport for Manifest {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.manifest().ok_or_else(another_kind)
    }
}

impl TypedReport for Put {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.put().ok_or_else(another_kind)
    }
}

impl TypedReport for Deleted {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.deleted().ok_or_else(another_kind)
    }
}

impl TypedReport for BlobFound {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.blob_found().ok_or_else(another_kind)
    }
}

impl TypedReport for BlobPut {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.blob_put().ok_or_else(another_kind)
    }
}

impl TypedReport for Referrers {
    fn of(report: TaskReport) -> Result<Self, Failure> {
        report.referrers().ok_or_else(another_kind)
    }
}

fn another_kind() -> Failure {
    let what = "a task ended with the report of another kind of task".into();
    Failure::new(vec![Error::Internal { what }])
}
