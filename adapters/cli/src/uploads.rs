//! Where unfinished uploads are kept.
//!
//! Responsible for the option and the folder. Must not know what is in it.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Args as ClapArgs;

/// Whether a push goes on where an earlier one was ended.
#[derive(ClapArgs, Debug)]
pub(crate) struct Resume {
    #[arg(
        long,
        help = "Do not resume or keep unfinished uploads",
        long_help = "Do not resume or keep unfinished uploads\n\n\
        By default the same command, run again after it was ended, goes on where the registry has each blob. For \
        that the addresses of unfinished uploads are kept in $XDG_STATE_HOME/windlass/uploads \
        (~/.local/state by default), in files that only their owner can read, for at most a week. \
        With this option, unfinished uploads are deleted at the registry."
    )]
    pub(crate) no_resume: bool,
}

impl Resume {
    /// The folder, unless nothing is kept or no variable says where.
    pub(crate) fn folder(&self, variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
        if self.no_resume {
            return None;
        }
        // The specification of these folders says to ignore relative ones.
        let absolute = |path: OsString| Some(PathBuf::from(path)).filter(|it| it.is_absolute());
        let state = variable("XDG_STATE_HOME").and_then(absolute);
        let home = || variable("HOME").and_then(absolute);
        let state = state.or_else(|| Some(home()?.join(".local/state")))?;
        Some(state.join("windlass/uploads"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_uploads_are_kept() {
        for (no_resume, state, home, expected) in [
            (false, Some("/s"), Some("/h"), Some("/s/windlass/uploads")),
            (
                false,
                None,
                Some("/h"),
                Some("/h/.local/state/windlass/uploads"),
            ),
            (
                false,
                Some(""),
                Some("/h"),
                Some("/h/.local/state/windlass/uploads"),
            ),
            (
                false,
                Some("s"),
                Some("/h"),
                Some("/h/.local/state/windlass/uploads"),
            ),
            (false, None, Some("h"), None),
            (false, None, None, None),
            (true, Some("/s"), Some("/h"), None),
        ] {
            let variable = |name: &str| match name {
                "XDG_STATE_HOME" => state.map(OsString::from),
                "HOME" => home.map(OsString::from),
                _ => None,
            };
            let found = Resume { no_resume }.folder(variable);
            assert_eq!(found, expected.map(PathBuf::from), "{state:?} {home:?}");
        }
    }
}
