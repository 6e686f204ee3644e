//! The blocking client.

use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

use windlass_core::{
    BlobRange, Descriptor, Digest, Failure, OpenedImage, Reference, Tags, TaskReport,
};
use windlass_driver::{BlobStream, Procedure};

use super::ask::{ClientRequest, asked, built, parse};
use super::{Ask, Driver, Setup, TapedReader, Ways};
use crate::tapes::Lines;

/// The blocking client.
#[derive(Clone, Debug)]
pub struct Blocking(pub windlass_blocking::Client, Arc<Lines>);

impl Blocking {
    fn taped<'a>(&self, reader: impl Read + 'a) -> Box<dyn Read + 'a> {
        TapedReader::around(reader, &self.1)
    }
}

impl Driver for Blocking {
    const NAME: &'static str = "blocking";

    fn new(setup: &Setup) -> Self {
        let tape = Arc::new(Lines::default());
        Self(built(setup, tape.clone()), tape)
    }

    fn finish(&self, ask: Ask) -> Result<TaskReport, Failure> {
        let result = match asked(&self.0, &ask) {
            ClientRequest::Check(request) => request.run().map(TaskReport::Checked),
            ClientRequest::Resolve(request) => request.run().map(TaskReport::Resolved),
            ClientRequest::Pull(request) => request.run().map(TaskReport::Copied),
            ClientRequest::Push(request) => request.run().map(TaskReport::Copied),
            ClientRequest::Copy(request) => request.run().map(TaskReport::Copied),
            ClientRequest::Other(request) => request.run(),
        };
        self.1.check();
        result
    }

    fn open(&self, reference: &str) -> Result<OpenedImage, Failure> {
        let image = self.0.open(&parse(reference)).run();
        self.1.check();
        image
    }

    fn follow<P: Procedure>(&self, procedure: P, how: Ways) -> Result<P::Report, Failure> {
        let result = how.tell(self.0.procedure(procedure)).run();
        self.1.check();
        result
    }

    fn reader(&self, repository: &str, blob: &Descriptor) -> Box<dyn Read + '_> {
        self.taped(self.0.blob(&parse(repository), blob).read())
    }

    fn unverified(
        &self,
        repository: &str,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Box<dyn Read + '_> {
        self.taped(self.0.blob(&parse(repository), blob).read_unverified(range))
    }

    fn decompressed(
        &self,
        repository: &str,
        blob: &Descriptor,
        diff_id: Option<&Digest>,
    ) -> Box<dyn Read + '_> {
        let reader = self.0.blob(&parse(repository), blob).read();
        self.taped(reader.decompressed(diff_id))
    }

    fn range(
        &self,
        repository: &str,
        blob: &Descriptor,
        range: Range<u64>,
    ) -> Result<BlobRange, Failure> {
        let bytes = self.0.blob(&parse(repository), blob).range(range).run();
        self.1.check();
        bytes
    }

    fn pages(&self, repository: &Reference, size: u32) -> Vec<Result<Tags, Failure>> {
        let pages = self.0.tags(repository).page_size(size).pages().collect();
        self.1.check();
        pages
    }

    fn stream(&self, reader: impl Read + Send + 'static) -> BlobStream {
        BlobStream::new(reader)
    }

    fn tape(&self) -> String {
        self.1.text()
    }
}
