//! What an answer tells about the budget: draft-ietf-httpapi-ratelimit-headers-11, as RFC 9651
//! lists of strings with parameters.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use portcullis_core::header_names::NameList;
use portcullis_core::limit::{Rate, Spent};
use portcullis_core::{Problem, Span, problem};

use portcullis_store::counters::Charge;

use super::{Entry, Limits};

const RATELIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATELIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const LEGACY_LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const LEGACY_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const LEGACY_RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");

static ALL: LazyLock<NameList> = LazyLock::new(|| {
    NameList::new([
        RATELIMIT,
        RATELIMIT_POLICY,
        LEGACY_LIMIT,
        LEGACY_REMAINING,
        LEGACY_RESET,
    ])
});

/// Room for four limits, so that most answers allocate once.
const EXPECTED: usize = 192;

/// `"default";q=60;w=60`: a quota of requests in a window of seconds.
pub(super) fn policy(name: &str, rate: Rate) -> String {
    // Names and route patterns are ASCII; anything else could not stand in a string (section 3.3.3).
    let name: String = name
        .chars()
        .map(|c| match c {
            '"' | '\\' => '_',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '_',
        })
        .collect();
    format!(
        "\"{name}\";q={};w={}",
        rate.count(),
        rate.per().as_seconds_ceil().max(1)
    )
}

/// Writes the budget of every charge that was taken. The upstream's own words on it are replaced.
/// `spent` stands in the order of `charges`.
pub fn write_headers(
    limits: &Limits,
    charges: &[Charge],
    spent: &[Spent],
    headers: &mut HeaderMap,
) {
    let mut policies = Vec::with_capacity(EXPECTED);
    let mut budgets = Vec::with_capacity(EXPECTED);
    let mut digits = itoa::Buffer::new();
    let mut tightest: Option<(&Entry, u32, u64)> = None;
    for (charge, spent) in charges.iter().zip(spent) {
        let Some(entry) = limits.entry(charge.limit) else {
            continue;
        };
        let (remaining, reset) = budget(spent);
        if !policies.is_empty() {
            policies.extend_from_slice(b", ");
            budgets.extend_from_slice(b", ");
        }
        policies.extend_from_slice(entry.policy.as_bytes());
        budgets.extend_from_slice(entry.name().as_bytes());
        budgets.extend_from_slice(b";r=");
        budgets.extend_from_slice(digits.format(remaining).as_bytes());
        budgets.extend_from_slice(b";t=");
        budgets.extend_from_slice(digits.format(reset).as_bytes());
        if entry.legacy && tightest.is_none_or(|(_, least, _)| remaining < least) {
            tightest = Some((entry, remaining, reset));
        }
    }
    ALL.remove_from(headers);
    if !policies.is_empty()
        && let (Ok(policies), Ok(budgets)) = (
            HeaderValue::from_maybe_shared(Bytes::from(policies)),
            HeaderValue::from_maybe_shared(Bytes::from(budgets)),
        )
    {
        headers.insert(RATELIMIT_POLICY, policies);
        headers.insert(RATELIMIT, budgets);
    }
    if let Some((entry, remaining, reset)) = tightest {
        headers.insert(LEGACY_LIMIT, entry.rate.count().into());
        headers.insert(LEGACY_REMAINING, remaining.into());
        headers.insert(LEGACY_RESET, reset.into());
    }
}

/// The answer to a request that was refused: 429 with the longest wait of all its limits.
pub fn refusal(limits: &Limits, charges: &[Charge], spent: &[Spent]) -> Problem {
    let wait = spent
        .iter()
        .filter_map(|spent| match spent {
            Spent::Refused { retry_after, .. } => Some(*retry_after),
            Spent::Allowed { .. } => None,
        })
        .max()
        .unwrap_or(Span::from_seconds(1));
    let mut headers = HeaderMap::new();
    write_headers(limits, charges, spent, &mut headers);
    let mut problem = Problem::new(&problem::RATE_LIMITED).retry_after(wait);
    for (name, value) in headers {
        if let Some(name) = name {
            problem = problem.header(name, value);
        }
    }
    problem
}

/// Requests left, and seconds until more are.
fn budget(spent: &Spent) -> (u32, u64) {
    match spent {
        Spent::Allowed {
            remaining,
            reset_after,
            ..
        } => (*remaining, reset_after.as_seconds_ceil()),
        Spent::Refused { retry_after, .. } => (0, retry_after.as_seconds_ceil().max(1)),
    }
}
