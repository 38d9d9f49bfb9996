//! The gate's own certificate: whether clients take it today, for how long, and under which names.

use std::fmt::Display;

use portcullis_core::{Span, Timestamp};
use portcullis_edge::certificate::{Shown, Validity};

use super::{Trial, trial};
use crate::config::Loaded;

/// What renews certificates by itself does so a month before their end: later than this, it did not.
const SOON: Span = Span::from_days(21);

pub(super) fn trials(loaded: &Loaded, now: Timestamp) -> Vec<Trial> {
    let listen = loaded.listen();
    let Some(tls) = &listen.tls else {
        return Vec::new();
    };
    let mut trials = vec![trial("certificate".to_owned(), belongs(loaded))];
    // What cannot be read is told above.
    let Ok(shown) = Shown::read(tls) else {
        return trials;
    };
    let file = tls.cert.display();
    let validity = shown.validity().map_err(|finding| finding.to_string());
    trials.push(match validity {
        Ok(validity) => in_time(&validity, now, &file),
        Err(error) => trial(VALIDITY.to_owned(), Err(error)),
    });
    trials.extend(strangers(loaded, &shown).map(|host| Trial {
        what: format!("certificate for `{host}`"),
        ok: true,
        warning: true,
        detail: format!("`{file}` is for other names: browsers that ask for this one turn away; see listen.tls.cert and hosts.allow"),
    }));
    trials
}

const VALIDITY: &str = "validity of the certificate";

fn belongs(loaded: &Loaded) -> Result<String, String> {
    portcullis_edge::Settings::compile(&loaded.listen(), 1)
        .map(|_| "certificate and key are there and belong together".to_owned())
        .map_err(|findings| {
            let said = findings.iter().map(ToString::to_string);
            said.collect::<Vec<_>>().join("; ")
        })
}

fn in_time(validity: &Validity, now: Timestamp, file: &dyn Display) -> Trial {
    let Validity {
        not_before,
        not_after,
    } = validity;
    let outcome = if now < *not_before {
        Err(format!(
            "`{file}` is not valid before {not_before}; see listen.tls.cert, and the clock"
        ))
    } else if *not_after < now {
        Err(format!(
            "`{file}` expired at {not_after}: clients refuse it; replace it (listen.tls.cert)"
        ))
    } else {
        Ok(format!("`{file}` is valid until {not_after}"))
    };
    Trial {
        warning: outcome.is_ok() && *not_after < now + SOON,
        ..trial(VALIDITY.to_owned(), outcome)
    }
}

/// Hosts that the gate answers to, and that clients would refuse this certificate for.
fn strangers<'a>(loaded: &'a Loaded, shown: &'a Shown) -> impl Iterator<Item = String> + 'a {
    let config = &loaded.config;
    let origin = config.accounts.origin.as_deref();
    let origin = origin.and_then(|origin| url::Url::parse(origin).ok());
    let origin = origin.and_then(|url| url.host_str().map(str::to_owned));
    let hosts = config.hosts.allow.iter().map(|host| without_port(host));
    let mut hosts: Vec<String> = hosts.map(str::to_owned).chain(origin).collect();
    hosts.sort_unstable();
    hosts.dedup();
    hosts.into_iter().filter(|host| !shown.covers(host))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        Some(_) | None => host,
    }
}
