//! Short names: `fedora` for `registry.fedoraproject.org/fedora`, by the aliases of `registries.conf`, where that is
//! asked for.
//!
//! Responsible for what a reference of the command line stands for. Must not know the subcommands: a reference is
//! parsed with the options, before it is known which of them are given. So the command line is parsed once more
//! when it turns out that short names are wanted.

use std::collections::BTreeSet;
use std::sync::{Mutex, OnceLock, PoisonError};

use clap::Parser as _;
use windlass_config::hosts::registries::RegistriesFiles;
use windlass_core::Reference;

use crate::args::Args;
use crate::exit::{self, Exit};
use crate::printer::{Chatter, OutputFormat, Printer};

/// The aliases of this process.
static ALIASES: OnceLock<Aliases> = OnceLock::new();

struct Aliases {
    files: RegistriesFiles,
    /// What was found, for people.
    told: Mutex<BTreeSet<String>>,
}

/// Parses the command line.
pub(crate) fn args() -> Result<Args, Exit> {
    let args = Args::try_parse().map_err(exit::usage)?;
    match args.common.hosts.short_names() {
        Ok(None) => Ok(args),
        Ok(Some(files)) => {
            let told = Mutex::default();
            ALIASES.get_or_init(|| Aliases { files, told });
            Args::try_parse().map_err(exit::usage)
        }
        Err(problem) => {
            problem.tell(&Printer::new(Chatter::Lines, OutputFormat::Text));
            Err(problem.exit())
        }
    }
}

/// Which names stand for others, for people.
pub(crate) fn told() -> Vec<String> {
    let Some(aliases) = ALIASES.get() else {
        return Vec::new();
    };
    // A set is whole between two calls.
    let told = aliases.told.lock().unwrap_or_else(PoisonError::into_inner);
    told.iter().cloned().collect()
}

/// Parses a reference.
pub(crate) fn reference(text: &str) -> Result<Reference, String> {
    if let Some(aliases) = ALIASES.get()
        && let Some(found) = aliases.find(text)?
    {
        return Ok(found);
    }
    text.parse().map_err(|error| format!("{error}"))
}

impl Aliases {
    fn find(&self, text: &str) -> Result<Option<Reference>, String> {
        let conf = self.files.read().map_err(|error| error.to_string())?;
        let Some(found) = conf.alias(text).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        let told = format!("the short name {text} stands for {found}");
        self.told
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(told);
        Ok(Some(found))
    }
}
