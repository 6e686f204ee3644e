//! Files with one token or password, such as those that Kubernetes projects.
//!
//! Responsible for reading one, and for how long its content counts. Must not know what the content is for.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use windlass_core::credential::{CredentialAnswer, Secret, TimedAnswer};
use windlass_driver::read_file;

use super::entry::{basic, bearer};

/// How long the content of a file is used before it is read again. Kubernetes replaces a token when a fifth of
/// its life, of ten minutes at least, is left. To find out that a file is unchanged costs as much as to read it.
pub(super) const KEEP: Duration = Duration::from_secs(60);

/// More than any token has.
const LARGEST: u64 = 1 << 20;

/// A file that may change, or a pipe, which can be read only once.
#[derive(Debug)]
pub(super) struct TokenFile {
    path: PathBuf,
    /// What came through the pipe. The lock is held while it is read.
    piped: Mutex<Option<Secret>>,
}

impl TokenFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self {
            path,
            piped: Mutex::new(None),
        }
    }

    /// The password of a user, or a token.
    pub(super) fn answer(&self, username: Option<&str>) -> TimedAnswer {
        // A secret is set as a whole.
        let mut piped = self.piped.lock().unwrap_or_else(PoisonError::into_inner);
        let is_file = self.path.metadata().is_ok_and(|it| it.is_file());
        let secret = match &*piped {
            Some(secret) => Ok(secret.clone()),
            None => read(&self.path).map(Secret::new),
        };
        let secret = match secret {
            Ok(secret) => secret,
            Err(why) => return CredentialAnswer::Failed(why).into(),
        };
        let answer = match username {
            Some(username) => basic(username, secret.expose()),
            None => bearer(secret.expose()),
        };
        if is_file {
            return answer.valid_for(KEEP);
        }
        *piped = Some(secret);
        answer.into()
    }
}

/// The content, without white space around it.
fn read(path: &Path) -> Result<String, String> {
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
