//! Files with one token or password, such as those that Kubernetes projects.
//!
//! Responsible for reading one. It is read for each question, so that it may change. Must not know
//! what its content is for.

use std::path::Path;

use windlass_driver::read_file;

/// More than any token has.
const LARGEST: u64 = 1 << 20;

/// The content, without white space around it.
pub(super) fn read(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let bytes = read_file(path, LARGEST)
        .map_err(|error| format!("cannot read the token file {shown}: {error}"))?;
    let text =
        String::from_utf8(bytes).map_err(|_| format!("the token file {shown} is not text"))?;
    match text.trim() {
        "" => Err(format!("the token file {shown} is empty")),
        token => Ok(token.to_owned()),
    }
}
