//! `windlass explain`: what this machine's files and variables mean for a reference.

use serde_json::{Value, json};
use windlass_config::{ReferenceExplanation, SourceExplanation, explain};

use super::Context;
use super::build::Prepared;
use crate::admission;
use crate::args::Explain;
use crate::exit::Problem;
use crate::location::Location;

pub(super) fn run(context: &Context, words: &Explain) -> Result<(), Problem> {
    let reference = &words.reference;
    let registry = reference.registry();
    let authentication = &context.common.authentication;
    let given = authentication.owned_by(Some(registry))?;
    let Prepared {
        file,
        config,
        plan,
        proxies,
    } = context.prepare(&[reference])?;
    let search = authentication.search(&given, file.as_deref(), &plan)?;
    let explained = explain(reference, &config, &plan, &search, &proxies);
    let location = Location::Registry(reference.clone());
    let policy = admission::explain(&words.admission, file.as_deref(), &location)?;
    let own = file.as_ref().map(|file| file.path().display().to_string());
    if context.printer.is_json() {
        let line = json_of(&explained, own, &policy).to_string();
        return context.printer.result(&line).map_err(Problem::Output);
    }
    for finding in plan.findings() {
        context.printer.note(&finding.to_string());
    }
    let own = own.unwrap_or_else(|| "none".to_owned());
    let lines = format!("windlass' own file: {own}\n{explained}\npolicy: {policy}");
    for line in lines.lines() {
        context.printer.result(line).map_err(Problem::Output)?;
    }
    Ok(())
}

fn json_of(explained: &ReferenceExplanation, own: Option<String>, policy: &str) -> Value {
    let files = explained.files.iter();
    let files = files.map(|(path, is_there)| json!({"path": path, "isThere": is_there}));
    let mut value = json!({
        "reference": explained.reference.to_string(),
        "configFile": own,
        "rule": explained.rule,
        "policy": policy,
        "files": files.collect::<Vec<_>>(),
    });
    match &explained.sources {
        Ok(sources) => value["sources"] = sources.iter().map(source).collect(),
        Err(why) => value["refused"] = json!(why),
    }
    if let Some(credential) = &explained.write_credential {
        let found = credential.found().map(ToString::to_string);
        value["writeCredential"] = json!(found);
    }
    match &explained.destination {
        Ok(url) => value["destination"] = json!(url),
        Err(why) => value["pushRefused"] = json!(why),
    }
    value
}

fn source(source: &SourceExplanation) -> Value {
    let found = source.credential.found();
    let consulted = source.credential.consulted.iter();
    let mut value = json!({
        "url": source.url,
        "isMirror": source.is_mirror,
        "capabilities": source.capabilities,
        "headers": source.headers,
        "credential": found.map(ToString::to_string),
        "consulted": consulted.map(ToString::to_string).collect::<Vec<_>>(),
        "kind": source.kind.map(|kind| kind.to_string()),
        "settings": source.settings,
        "trustedRealms": source.realms,
        "proxy": source.proxy.to_string(),
    });
    match &source.tls {
        Ok(facts) => {
            let facts = facts.iter();
            let facts = facts.map(|fact| json!({"what": fact.what, "from": fact.from}));
            value["tls"] = facts.collect();
        }
        Err(why) => value["tlsError"] = json!(why),
    }
    value
}
