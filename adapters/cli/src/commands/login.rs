//! `windlass login` and `windlass logout`: credentials that docker, podman and windlass find later.

use std::sync::Arc;

use serde_json::json;
use windlass_config::credentials::{Consulted, Kept, LoginFile};
use windlass_config::{CredentialSearch, Explicit};
use windlass_core::Registry;
use windlass_core::credential::Secret;

use super::Context;
use crate::args::{Login, Logout};
use crate::authentication::secret;
use crate::exit::Problem;
use crate::progress::Progress;

/// Keeps a user name and password that the registry accepts.
pub(super) fn login(context: &Context, login: &Login) -> Result<(), Problem> {
    let registry = &login.registry;
    let options = &context.common.authentication;
    let file = file(context)?;
    if options.token_stdin {
        let why = "login keeps a user name and a password; a token without a user name is given with each command";
        return Err(Problem::Usage(why.to_owned()));
    }
    let (Some(username), None) = (&options.username, &options.token_file) else {
        let why = "login needs --username and --password-stdin";
        return Err(Problem::Usage(why.to_owned()));
    };
    if username.is_empty() || username.contains(':') {
        let why = "a user name is not empty and has no `:`; HTTP Basic authentication has no form for such a one";
        return Err(Problem::Usage(why.to_owned()));
    }
    let password = secret("password")?;
    let explicit = Explicit::password(registry.clone(), username, password.clone());
    let credentials = Arc::new(CredentialSearch::empty().explicit(explicit));
    let client = context.client_with(registry, credentials)?;
    let observer = Arc::new(Progress::new(Arc::clone(&context.printer)));
    let checked = client.check(registry, observer, &context.cancel)?;
    if checked.anonymous && checked.asked {
        return Err(Problem::NotChecked(format!(
            "{registry} asked for credentials, but the password was not sent to its token service, which gave \
             an anonymous token; it is not known whether the password is right, and it was not kept"
        )));
    }
    if checked.anonymous {
        context.printer.warning(&format!(
            "{registry} accepts requests without credentials, so these are not verified"
        ));
    }
    keep(
        context,
        &file,
        registry,
        username,
        &password,
        !checked.anonymous,
    )
}

fn keep(
    context: &Context,
    file: &LoginFile,
    registry: &Registry,
    username: &str,
    password: &Secret,
    is_verified: bool,
) -> Result<(), Problem> {
    let kept = file.store(registry, username, password);
    let kept = kept.map_err(Problem::Login)?;
    let encrypted = match &kept {
        Kept::File(_) => ", unencrypted and for you only",
        Kept::Helper(_) | _ => "",
    };
    context.printer.note(&format!(
        "logged in to {registry} as {username}; the password is kept in {kept}{encrypted}"
    ));
    // Something before it in the order of sources hides it.
    let found = context.found_elsewhere()?;
    let found = found.explain(registry, None);
    let found = found.found().filter(|found| !is_kept(&kept, found));
    if let Some(other) = found {
        let place = other.place();
        context
            .printer
            .warning(&format!("for {registry}, windlass uses {place} instead"));
    }
    if context.printer.is_json() {
        let line = json!({
            "registry": registry.as_str(),
            "username": username,
            "kept": kept.to_string(),
            "verified": is_verified,
        });
        return context
            .printer
            .result(&line.to_string())
            .map_err(Problem::Output);
    }
    Ok(())
}

/// Whether a source is the one that the login was kept in.
fn is_kept(kept: &Kept, found: &Consulted) -> bool {
    match kept {
        Kept::Helper(name) => {
            let program = format!("docker-credential-{name}");
            found.helper.as_deref() == Some(program.as_str())
        }
        Kept::File(path) => found.helper.is_none() && found.source == path.display().to_string(),
        // Places that later versions add.
        _ => true,
    }
}

/// Erases what a login has kept.
pub(super) fn logout(context: &Context, logout: &Logout) -> Result<(), Problem> {
    let registry = &logout.registry;
    let options = &context.common.authentication;
    if options.given().is_any() {
        let why = "logout needs no credentials";
        return Err(Problem::Usage(why.to_owned()));
    }
    let file = file(context)?;
    // Ctrl-C at a terminal does not reach helpers.
    context.watch()?;
    let erased = file.erase(registry);
    let erased = erased.map_err(Problem::Login)?;
    let places: Vec<_> = erased.iter().map(ToString::to_string).collect();
    context.printer.note(&match places.as_slice() {
        [] => format!(
            "not logged in to {registry}, as {} has it",
            file.path().display()
        ),
        places => format!(
            "logged out of {registry}: erased from {}",
            places.join(" and ")
        ),
    });
    let remaining = context.found_elsewhere()?.explain(registry, None);
    let remaining = remaining.found().map(Consulted::place);
    if let Some(place) = &remaining {
        context.printer.warning(&format!(
            "there are still credentials for {registry}: {place}"
        ));
    }
    if context.printer.is_json() {
        let line = json!({
            "registry": registry.as_str(),
            "erased": places,
            "remaining": remaining,
        });
        return context
            .printer
            .result(&line.to_string())
            .map_err(Problem::Output);
    }
    Ok(())
}

fn file(context: &Context) -> Result<LoginFile, Problem> {
    let own = context.common.hosts.file()?;
    let authfile = context.common.authentication.authfile(own.as_deref());
    let file = LoginFile::from_variables(authfile, |name| std::env::var_os(name));
    file.map_err(|error| Problem::Usage(error.to_string()))?
        .ok_or_else(|| {
            let why = "there is no home folder for docker's config.json; use --authfile";
            Problem::Usage(why.to_owned())
        })
}
