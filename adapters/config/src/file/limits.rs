//! `[limits]`: concurrency, retries and time limits.

use std::time::Duration;

use serde::Deserialize;
use windlass_core::config::{Budget, Concurrency, Config};
use windlass_driver::TimeLimits;

use super::content::DurationText;

/// Concurrency, retries and time limits.
#[derive(Clone, Debug, Default, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct LimitsSection {
    /// Requests per registry at once at most, from 1 to 256. By default 64: more than 16 only where answers stay quick.
    #[cfg_attr(test, schemars(range(min = 1, max = 256)))]
    pub(super) jobs: Option<Jobs>,
    /// GETs of manifests from one registry in a time, such as "100/6h": those that exceed it wait. By default any number.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) manifests: Option<BudgetText>,
    /// How often a failed request is sent again, from 0 to 100. By default 4; progress resets the count.
    #[cfg_attr(test, schemars(range(min = 0, max = 100)))]
    pub(super) retries: Option<Retries>,
    /// The longest Retry-After that is obeyed, such as "60s". A longer one ends the command.
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) retry_after: Option<DurationText>,
    /// How long a connection may take to be made. By default "30s".
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) connect_timeout: Option<DurationText>,
    /// How long nothing may move on a connection. By default "60s".
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) idle_timeout: Option<DurationText>,
    /// How long a server may take to answer a request that was sent. By default "10m".
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) answer_timeout: Option<DurationText>,
    /// How long after it was written a list of referrers is read again where the registry ignores If-Match, so that
    /// another client's writing is noticed. By default "1s".
    #[cfg_attr(test, schemars(with = "Option<String>"))]
    pub(super) settle: Option<DurationText>,
    /// Bytes of a manifest or index. By default 4194304.
    #[cfg_attr(test, schemars(range(min = 1024, max = 1_073_741_824)))]
    pub(super) manifest_size: Option<ManifestSize>,
}

super::content::texts! {
    /// A number of requests in a time.
    BudgetText(Budget) Eq PartialEq;
}

macro_rules! within {
    ($($name:ident($type:ty) from $least:literal to $most:literal;)*) => {$(
        /// A number within bounds.
        #[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[cfg_attr(test, schemars(inline))]
        #[serde(try_from = "i64")]
        pub(super) struct $name(pub(super) $type);

        impl TryFrom<i64> for $name {
            type Error = &'static str;

            fn try_from(number: i64) -> Result<Self, &'static str> {
                let wrong = concat!("must be a number from ", $least, " to ", $most);
                if !($least..=$most).contains(&number) {
                    return Err(wrong);
                }
                <$type>::try_from(number).map(Self).map_err(|_| wrong)
            }
        }
    )*};
}

within! {
    Jobs(u32) from 1 to 256;
    Retries(u32) from 0 to 100;
    ChunkSize(u64) from 65_536 to 1_099_511_627_776;
    ManifestSize(u64) from 1024 to 1_073_741_824;
}

impl LimitsSection {
    pub(super) fn apply(&self, config: &mut Config) {
        if let Some(Jobs(jobs)) = self.jobs {
            config.in_flight = Concurrency::at_most(jobs);
        }
        if let Some(BudgetText(budget)) = self.manifests {
            config.manifests = Some(budget);
        }
        if let Some(Retries(retries)) = self.retries {
            config.retry.attempts = retries + 1;
        }
        if let Some(DurationText(longest)) = self.retry_after {
            config.retry.retry_after_cap = longest;
        }
        if let Some(DurationText(after)) = self.settle {
            config.settle = after;
        }
        if let Some(ManifestSize(bytes)) = self.manifest_size {
            config.limits.document = bytes;
            config.limits.documents = config.limits.documents.max(bytes);
        }
    }

    pub(super) fn apply_time_limits(&self, limits: &mut TimeLimits) {
        // No time at all would fail everything.
        let at_least = |limit: DurationText| limit.0.max(Duration::from_millis(1));
        if let Some(limit) = self.connect_timeout {
            limits.connect = at_least(limit);
        }
        if let Some(limit) = self.idle_timeout {
            limits.idle = at_least(limit);
        }
        if let Some(limit) = self.answer_timeout {
            limits.answer = at_least(limit);
        }
    }
}
