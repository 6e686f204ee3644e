//! Checks an image layout with another library, `ocidir`, and prints how many blobs it verified.

use ocidir::cap_std::ambient_authority;
use ocidir::cap_std::fs::Dir;
use ocidir::{OciDir, OciRead as _};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: FOLDER")?;
    let folder = Dir::open_ambient_dir(folder, ambient_authority())?;
    println!("{}", OciDir::open(folder)?.fsck()?);
    Ok(())
}
