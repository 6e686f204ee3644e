//! Files that people name: configuration, certificates, tapes.
//!
//! Responsible for reading them within bounds on bytes and time, whatever stands at the path. Must not
//! know what is in them.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;

/// How long a pipe may take to give all that comes through it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long to wait before a pipe that gives nothing is read again.
const PAUSE: Duration = Duration::from_millis(5);

/// Reads a whole file of at most `most` bytes.
///
/// What stands at the path may be a pipe, as in `--ca-cert <(command)`: it has to give something, and all
/// of it within seconds. A pipe that nothing writes to is not waited for.
///
/// # Errors
///
/// Those of the system; [`ErrorKind::InvalidData`] for more than `most` bytes, [`ErrorKind::TimedOut`] for
/// a pipe that gives nothing or too slowly.
pub fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    // Without it, a pipe without a writer is waited for while it is opened.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = options.read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() && metadata.len() > most {
        return Err(too_large(most));
    }
    // One more than there are, so that the end is found without more room.
    let room = if metadata.is_file() {
        metadata.len() + 1
    } else {
        0
    };
    let bytes = read(&file, room, most, Instant::now() + PATIENCE)?;
    if bytes.is_empty() && !metadata.is_file() {
        let what = "it is empty and not a regular file";
        return Err(io::Error::new(ErrorKind::TimedOut, what));
    }
    Ok(bytes)
}

fn read(file: &File, room: u64, most: u64, until: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    let mut file = file.take(most.saturating_add(1));
    loop {
        match file.read_to_end(&mut bytes) {
            Ok(_) if bytes.len() as u64 > most => return Err(too_large(most)),
            Ok(_) => return Ok(bytes),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if Instant::now() >= until {
                    let seconds = PATIENCE.as_secs();
                    let what = format!("it did not end within {seconds} seconds");
                    return Err(io::Error::new(ErrorKind::TimedOut, what));
                }
                std::thread::sleep(PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

fn too_large(most: u64) -> io::Error {
    let what = format!("it has more than {} MiB", most >> 20);
    io::Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::PathBuf;

    use super::*;

    const MOST: u64 = 1 << 20;

    fn fifo(folder: &tempfile::TempDir) -> PathBuf {
        let path = folder.path().join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.is_ok_and(|status| status.success()), "a pipe");
        path
    }

    #[test]
    fn files_are_read_up_to_the_limit() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        let whole = vec![7; 1 << 20];
        for (content, fits) in [
            (&b""[..], true),
            (b"some", true),
            (&whole, true),
            (&[whole.as_slice(), b"x"].concat(), false),
        ] {
            fs::write(&path, content).expect("it is written");
            match read_file(&path, MOST) {
                Ok(bytes) => assert!(fits && bytes == content, "{} bytes", content.len()),
                Err(error) => {
                    assert!(!fits, "{error}");
                    assert_eq!(error.kind(), ErrorKind::InvalidData);
                    assert_eq!(error.to_string(), "it has more than 1 MiB");
                }
            }
        }
        // Its size is known before a byte is read.
        let sparse = File::options()
            .write(true)
            .open(&path)
            .expect("it is there");
        sparse.set_len(1 << 40).expect("no bytes are needed");
        let error = read_file(&path, MOST).expect_err("too large");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn what_is_no_file_is_bounded() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = read_file(folder.path(), MOST).expect_err("a folder");
        assert_eq!(error.kind(), ErrorKind::IsADirectory);
        let error = read_file(&folder.path().join("absent"), MOST).expect_err("nothing");
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let error = read_file(Path::new("/dev/zero"), MOST).expect_err("no end");
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        for path in [Path::new("/dev/null"), &fifo(&folder)] {
            let error = read_file(path, MOST).expect_err("nothing comes");
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{}", path.display());
        }
    }

    #[test]
    fn a_pipe_is_read_to_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = fifo(&folder);
        // Open on both sides before it is read.
        let open = || File::options().read(true).write(true).open(&path);
        let (kept, mut writer) = (open().expect("a pipe"), open().expect("a pipe"));
        writer.write_all(b"some").expect("it fits");
        let writing = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            writer.write_all(b" more").expect("it fits");
            drop((kept, writer));
        });
        assert_eq!(read_file(&path, MOST).expect("it ends"), b"some more");
        writing.join().expect("no panic");
    }

    #[test]
    fn a_pipe_without_end_is_given_up() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = fifo(&folder);
        let writer = File::options().read(true).write(true).open(&path);
        let mut options = OpenOptions::new();
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let reader = options.read(true).custom_flags(flags).open(&path);
        let error = read(&reader.expect("a pipe"), 0, MOST, Instant::now());
        assert_eq!(error.expect_err("no end").kind(), ErrorKind::TimedOut);
        drop(writer);
    }
}
