//! Many tags of a copy at once.

use clap::Args as ClapArgs;

const ALL_TAGS_HELP: &str = "\
Copy all tags of a repository, or all names of an image layout

SRC and DST are repositories without a tag, or oci:DIR. Each tag is an image of its own: if one cannot be copied, the \
others are, and the exit code is that of the first failure. Content that several tags share is moved once. Tags that \
hold lists of referrers are left out; --referrers copies what is in them. One line is printed for each tag, with its \
digest; with --json an object, with `tag`, and with `error` in place of the rest if it was not copied.";

/// Which tags of a repository are copied.
#[derive(ClapArgs, Debug)]
pub(crate) struct ManyTags {
    #[arg(
        long,
        help = "Copy all tags of the repository SRC to the repository DST",
        long_help = ALL_TAGS_HELP
    )]
    pub(crate) all_tags: bool,
    /// Copy the tags that match GLOB, with `*` and `?` (repeatable)
    #[arg(long, value_name = "GLOB", conflicts_with = "all_tags")]
    pub(crate) tags: Vec<String>,
}

impl ManyTags {
    /// Whether several tags are meant, and not one image.
    pub(crate) fn is_many(&self) -> bool {
        self.all_tags || !self.tags.is_empty()
    }

    /// Whether a tag is meant.
    pub(crate) fn is_meant(&self, tag: &str) -> bool {
        self.all_tags || self.tags.iter().any(|glob| matches(glob, tag))
    }
}

/// Whether a name is what a pattern says: `*` stands for any text, `?` for one character.
fn matches(glob: &str, name: &str) -> bool {
    let (glob, name): (Vec<char>, Vec<char>) = (glob.chars().collect(), name.chars().collect());
    let (mut at, mut in_name) = (0, 0);
    // Where the last `*` is, and how much of the name it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match glob.get(at) {
            Some('*') => {
                star = Some((at, in_name));
                at += 1;
            }
            Some(c) if *c == '?' || *c == name[in_name] => {
                at += 1;
                in_name += 1;
            }
            Some(_) | None => {
                let Some((star_at, end)) = star else {
                    return false;
                };
                star = Some((star_at, end + 1));
                at = star_at + 1;
                in_name = end + 1;
            }
        }
    }
    glob[at..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (glob, name, is_match) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("v*", "v1.2", true),
            ("v*", "1.2", false),
            ("*-rc?", "1.0-rc1", true),
            ("*-rc?", "1.0-rc12", false),
            ("?.*.0", "1.27.0", true),
            ("?.*.0", "1.0", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("1.27", "1.27", true),
        ] {
            assert_eq!(matches(glob, name), is_match, "{glob} {name}");
        }
    }
}
