//! Files that are read whole, and standard input in their place.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::exit::Problem;

/// Whether the path stands for standard input.
pub(super) fn is_standard(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Reads a file, or standard input for `-`, of at most `most` bytes.
pub(super) fn read(path: &Path, most: u64) -> Result<Vec<u8>, Problem> {
    let (name, read) = if is_standard(path) {
        ("standard input".into(), up_to(io::stdin().lock(), most))
    } else {
        let file = File::open(path).and_then(|file| up_to(file, most));
        (path.display().to_string(), file)
    };
    read.map_err(|error| Problem::Usage(format!("cannot read {name}: {error}")))
}

fn up_to(input: impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    input.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let what = format!("it has more than {most} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    Ok(bytes)
}
