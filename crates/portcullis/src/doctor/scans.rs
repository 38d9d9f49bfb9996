//! The scans that the policy wants, each as it stands in the database.

use portcullis_core::Clock as _;
use portcullis_core::time::SystemClock;
use portcullis_events::scans::{self, Standing};
use portcullis_store::Condition;

use super::{Trial, in_time, trial};
use crate::config::Loaded;

/// One for each `[[scan]]`: a failure where it is missing, overdue or over its level. Nothing is written.
pub(super) async fn trials(loaded: &Loaded) -> Vec<Trial> {
    let (wanted, state) = (&loaded.config.scans, &loaded.config.state);
    let Some(url) = loaded.secrets.database.as_ref() else {
        return Vec::new();
    };
    if wanted.is_empty() {
        return Vec::new();
    }
    // Before the first start, and where it does not answer, the line of the database says so.
    let Ok((_, Condition::UpToDate)) = portcullis_store::inspect(state, url).await else {
        return Vec::new();
    };
    let looked = in_time(async {
        let looked = scans::look_at(wanted, state, url, SystemClock.now()).await;
        looked.map_err(|error| error.to_string())
    });
    match looked.await {
        Ok(standings) => standings
            .iter()
            .map(|(standing, is_awaited)| told(standing, *is_awaited))
            .collect(),
        Err(error) => vec![trial("scans".to_owned(), Err(error))],
    }
}

fn told(standing: &Standing, is_awaited: bool) -> Trial {
    let what = format!("[[scan]] `{}`", standing.scan.name);
    if is_awaited {
        return Trial {
            what,
            ok: true,
            warning: true,
            detail: standing.to_string(),
        };
    }
    let said = if standing.verdict.is_clean() {
        Ok(standing.to_string())
    } else {
        let verdict = standing.verdict.as_str();
        Err(format!(
            "{verdict}: {standing}; `portcullis scan list` shows it"
        ))
    };
    trial(what, said)
}
