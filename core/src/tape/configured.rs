//! How a session's configuration is written.
//!
//! Responsible for reading it back within what a session can work with. It holds no secret:
//! endpoints and realms are origins, which have no user name.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Config, InFlight, Limits, Retry};
use crate::registry::{Origin, Registry};
use crate::written::Text;

type Pair = (Text<Registry>, Text<Origin>);

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ConfigForm {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<Pair>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    trusted_realms: Vec<Pair>,
    in_flight: InFlightForm,
    retry: RetryForm,
    limits: LimitsForm,
    user_agent: String,
}

#[derive(Debug, Deserialize, Serialize)]
struct InFlightForm {
    first: u32,
    most: u32,
    least: u32,
}

/// Times in microseconds.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct RetryForm {
    attempts: u32,
    base: u64,
    cap: u64,
    retry_after_cap: u64,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct LimitsForm {
    document: u64,
    documents: u64,
    objects: u64,
    depth: u64,
    error_body: u64,
    token_body: u64,
    redirects: u64,
}

/// More at once than anybody wants; what counts up to it cannot overflow.
const IN_FLIGHT: u32 = 1 << 16;

impl From<&Config> for ConfigForm {
    fn from(config: &Config) -> Self {
        let pair =
            |registry: &Registry, origin: &Origin| (Text(registry.clone()), Text(origin.clone()));
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let Config {
            endpoints,
            trusted_realms,
            in_flight,
            retry,
            limits,
            user_agent,
        } = config;
        Self {
            endpoints: endpoints.iter().map(|(r, o)| pair(r, o)).collect(),
            trusted_realms: trusted_realms.iter().map(|(r, o)| pair(r, o)).collect(),
            in_flight: InFlightForm {
                first: in_flight.first,
                most: in_flight.most,
                least: in_flight.least,
            },
            retry: RetryForm {
                attempts: retry.attempts,
                base: micros(retry.base),
                cap: micros(retry.cap),
                retry_after_cap: micros(retry.retry_after_cap),
            },
            limits: LimitsForm {
                document: limits.document,
                documents: limits.documents,
                objects: count(limits.objects),
                depth: count(limits.depth),
                error_body: limits.error_body,
                token_body: limits.token_body,
                redirects: count(limits.redirects),
            },
            user_agent: user_agent.clone(),
        }
    }
}

impl From<ConfigForm> for Config {
    fn from(form: ConfigForm) -> Self {
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let slots = |slots: u32| slots.clamp(1, IN_FLIGHT);
        let ConfigForm {
            endpoints,
            trusted_realms,
            in_flight,
            retry,
            limits,
            user_agent,
        } = form;
        let pair = |(Text(registry), Text(origin)): Pair| (registry, origin);
        Self {
            endpoints: endpoints.into_iter().map(pair).collect(),
            trusted_realms: trusted_realms.into_iter().map(pair).collect(),
            in_flight: InFlight {
                first: slots(in_flight.first),
                most: slots(in_flight.most),
                least: slots(in_flight.least),
            },
            retry: Retry {
                attempts: retry.attempts,
                base: Duration::from_micros(retry.base),
                cap: Duration::from_micros(retry.cap),
                retry_after_cap: Duration::from_micros(retry.retry_after_cap),
            },
            limits: Limits {
                document: limits.document,
                documents: limits.documents,
                objects: count(limits.objects),
                depth: count(limits.depth),
                error_body: limits.error_body,
                token_body: limits.token_body,
                redirects: count(limits.redirects),
            },
            user_agent,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn a_configuration_is_read_as_it_was_written() {
        let registry: Registry = "reg.example:5000".parse().expect("a registry");
        let origin: Origin = "http://[::1]:5000".parse().expect("an origin");
        let config = Config {
            endpoints: [(registry.clone(), origin.clone())].into(),
            trusted_realms: alloc::vec![(registry, origin)],
            in_flight: InFlight::at_most(3),
            retry: Retry {
                attempts: 7,
                base: Duration::from_micros(1),
                cap: Duration::from_secs(2),
                retry_after_cap: Duration::from_secs(3),
            },
            limits: Limits {
                document: 1,
                documents: 2,
                objects: 3,
                depth: 4,
                error_body: 5,
                token_body: 6,
                redirects: 7,
            },
            user_agent: "a \"b\"".into(),
        };
        for config in [Config::default(), config] {
            let written = serde_json::to_string(&ConfigForm::from(&config)).expect("JSON");
            let form: ConfigForm = serde_json::from_str(&written).expect("it was written");
            assert_eq!(format!("{:?}", Config::from(form)), format!("{config:?}"));
        }
    }

    #[test]
    fn a_session_that_could_not_move_is_not_read() {
        let config = Config {
            in_flight: InFlight {
                first: 0,
                most: u32::MAX,
                least: 0,
            },
            ..Config::default()
        };
        let form = ConfigForm::from(&config);
        let read = Config::from(form).in_flight;
        assert_eq!((read.first, read.most, read.least), (1, IN_FLIGHT, 1));
    }
}
