//! The names of the files in an artifact.
//!
//! Responsible for which names may become files: the one who made the artifact chose them, and they must not lead out
//! of the folder into which it is pulled, nor stand for two files. Must not know files.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::TITLE;
use crate::descriptor::Descriptor;
use crate::sanitize::{escape, is_harmful};

/// What begins the names in a folder that are windlass' own, while an artifact is pulled into it.
pub const RESERVED: &str = ".windlass-";

/// The parts of an artifact that are files, and those that have no name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Titled {
    /// The files, in the order of the manifest: the name, which [`check_title`] has accepted, and the part.
    pub files: Vec<(String, Descriptor)>,
    /// The parts without a name.
    pub untitled: Vec<Descriptor>,
}

/// Sorts the parts of an artifact by whether they are files: those with a [`TITLE`].
///
/// # Errors
///
/// [`TitleError`] if a name is not accepted, if two parts have the same, or if one name is a folder in another. Upper and
/// lower case count as the same, since they do on many disks.
pub fn titled(parts: &[Descriptor]) -> Result<Titled, TitleError> {
    let mut titled = Titled::default();
    for part in parts {
        match part.annotations.get(TITLE) {
            Some(title) => {
                check_title(title)?;
                titled.files.push((title.clone(), part.clone()));
            }
            None => titled.untitled.push(part.clone()),
        }
    }
    let mut names: BTreeMap<Vec<String>, &str> = BTreeMap::new();
    for (title, _) in &titled.files {
        let (known, title) = match names.insert(title.split('/').map(folded).collect(), title) {
            Some(known) => (shown(known), shown(title)),
            None => continue,
        };
        return Err(if known == title {
            TitleError::Twice { title }
        } else {
            TitleError::Alike { title, known }
        });
    }
    // In this order what is in a folder follows the name of the folder.
    for ((folder, title), (inner, _)) in names.iter().zip(names.iter().skip(1)) {
        if inner.starts_with(folder) {
            return Err(TitleError::Folder {
                title: shown(title),
            });
        }
    }
    Ok(titled)
}

/// Accepts the name of a file, with `/` between folders: relative, without `..`, and without anything that a system
/// or a terminal reads in its own way (MT-07).
///
/// # Errors
///
/// [`TitleError`].
pub fn check_title(title: &str) -> Result<(), TitleError> {
    /// What file systems allow for one name.
    const NAME: usize = 255;
    /// And for a path.
    const PATH: usize = 4000;
    let why = if title.is_empty() {
        "it is empty"
    } else if title.starts_with('/') {
        "it is an absolute path"
    } else if title.chars().any(char::is_control) {
        "it has control characters"
    } else if title.chars().any(is_harmful) {
        // A terminal shows another name than the one that the file gets.
        "it has characters that change the order of others"
    } else if title.contains(['\\', ':']) {
        // A separator, and what follows a drive, elsewhere.
        "it has a backslash or a colon"
    } else if title.split('/').any(|name| name == "..") {
        "it leads out of the folder"
    } else if title.split('/').any(|name| name.is_empty() || name == ".") {
        "it is no plain path"
    } else if title.len() > PATH || title.split('/').any(|name| name.len() > NAME) {
        "it is too long"
    } else if title
        .split('/')
        .any(|name| folded(name).starts_with(RESERVED))
    {
        "it is for files of windlass"
    } else {
        return Ok(());
    };
    Err(TitleError::Refused {
        title: shown(title),
        why,
    })
}

/// A name as disks compare it that do not tell upper from lower case. Some letters have two lower cases, and one upper;
/// some disks ignore joiners.
fn folded(name: &str) -> String {
    let is_ignored =
        |char: &char| matches!(char, '\u{200c}' | '\u{200d}' | '\u{206a}'..='\u{206f}');
    let upper = name
        .chars()
        .filter(|it| !is_ignored(it))
        .flat_map(char::to_uppercase);
    upper.flat_map(char::to_lowercase).collect()
}

fn shown(title: &str) -> String {
    escape(title, 200)
}

/// Why the parts of an artifact cannot become files.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TitleError {
    /// A name could lead elsewhere.
    #[error("the artifact has a file that is refused: `{title}`: {why}")]
    Refused {
        /// The name, safe to print.
        title: String,
        /// Why.
        why: &'static str,
    },
    /// Two parts have the same name.
    #[error("the artifact has two files `{title}`")]
    Twice {
        /// The name, safe to print.
        title: String,
    },
    /// Two parts have names that are one on disks which do not tell upper from lower case.
    #[error("the artifact has the files `{known}` and `{title}`, which are one on some disks")]
    Alike {
        /// The name, safe to print.
        title: String,
        /// The earlier one, safe to print.
        known: String,
    },
    /// A file has the name of a folder of another one.
    #[error("the artifact has a file `{title}` and another one in a folder of that name")]
    Folder {
        /// The name, safe to print.
        title: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Algorithm, Digest};

    fn part(title: Option<&str>) -> Descriptor {
        let mut part = Descriptor::new("a/b", Digest::of(Algorithm::Sha256, b""), 0);
        let title = title.map(|title| (TITLE.into(), title.into()));
        part.annotations.extend(title);
        part
    }

    #[test]
    fn names_of_files() {
        const REORDERED: &str = "it has characters that change the order of others";
        let long = "a".repeat(255);
        let deep = "ab/".repeat(1400) + "c";
        let table = [
            ("sbom.json", None),
            ("a/b/c.d", None),
            ("..a/b..", None),
            (".hidden", None),
            ("Grüße aus 東京.txt", None),
            (long.as_str(), None),
            ("", Some("it is empty")),
            ("/etc/passwd", Some("it is an absolute path")),
            ("../../x", Some("it leads out of the folder")),
            ("a/../b", Some("it leads out of the folder")),
            ("..", Some("it leads out of the folder")),
            (".", Some("it is no plain path")),
            ("a//b", Some("it is no plain path")),
            ("a/./b", Some("it is no plain path")),
            ("a/", Some("it is no plain path")),
            ("a\0b", Some("it has control characters")),
            ("a\x1b[2Jb", Some("it has control characters")),
            ("a\u{9b}b", Some("it has control characters")),
            (r"..\x", Some("it has a backslash or a colon")),
            ("C:x", Some("it has a backslash or a colon")),
            (".windlass-partial/x", Some("it is for files of windlass")),
            ("x/.windlass-copy", Some("it is for files of windlass")),
            ("x/.Windlass-y/z", Some("it is for files of windlass")),
            (".windla\u{17f}s-copy", Some("it is for files of windlass")),
            (".windlass", None),
            ("a\u{202e}b", Some(REORDERED)),
            ("a\u{2066}b", Some(REORDERED)),
            (".wind\u{200c}lass-x", Some("it is for files of windlass")),
            ("\u{1f469}\u{200d}\u{1f4bb}", None),
            (&*alloc::format!("{long}a"), Some("it is too long")),
            (&deep, Some("it is too long")),
        ];
        for (title, expected) in table {
            let found = match check_title(title) {
                Err(TitleError::Refused { why, .. }) => Some(why),
                _ => None,
            };
            assert_eq!(found, expected, "MT-07 {title:?}");
        }
    }

    #[test]
    fn parts_with_and_without_names() {
        let parts = [part(Some("b")), part(None), part(Some("a/b"))];
        let titled = titled(&parts).expect("plain names");
        let names: Vec<&str> = titled.files.iter().map(|(name, _)| &**name).collect();
        assert_eq!((names, titled.untitled.len()), (alloc::vec!["b", "a/b"], 1));
    }

    #[test]
    fn names_that_stand_for_two_files() {
        let of = |titles: &[&str]| {
            let parts: Vec<_> = titles.iter().map(|it| part(Some(it))).collect();
            titled(&parts).map(drop)
        };
        let folder = |title: &str| {
            Err(TitleError::Folder {
                title: title.into(),
            })
        };
        assert_eq!(of(&["a", "ab", "a-b", "ab/c/d", "ab2"]), folder("ab"));
        assert_eq!(of(&["a/b/c", "a!", "a"]), folder("a"));
        assert_eq!(of(&["a/b", "a!", "a.b/c"]), Ok(()));
        assert_eq!(
            of(&["x", "y", "x"]),
            Err(TitleError::Twice { title: "x".into() })
        );
        let alike = |known: &str, title: &str| {
            Err(TitleError::Alike {
                title: title.into(),
                known: known.into(),
            })
        };
        assert_eq!(of(&["x/a", "x/b", "X/A"]), alike("x/a", "X/A"));
        assert_eq!(of(&["\u{3c3}", "\u{3c2}"]), alike("\u{3c3}", "\u{3c2}"));
        assert_eq!(of(&["A/b", "a"]), folder("a"));
        let refused = of(&["x", "../y"]).expect_err("it leads out");
        assert_eq!(
            alloc::string::ToString::to_string(&refused),
            "the artifact has a file that is refused: `../y`: it leads out of the folder"
        );
    }
}
