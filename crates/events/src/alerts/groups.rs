//! One alert of a source and subject in a destination's `group` time, and a summary of what came meanwhile.

use portcullis_core::Timestamp;
use portcullis_store::{Row, Tx};

use super::config::Destination;
use super::queue::{self, Kind, New};
use super::{Alerts, Error, Notice, silence};
use crate::anomalies::Severity;

/// So many subjects of a source are told one by one in a destination's `group` time.
const MOST_SUBJECTS: i64 = 20;
const OTHERS: &str = "others";

/// The notice, or one of all the other subjects of its source where there are many.
pub(super) async fn crowded(
    tx: &mut Tx,
    destination: &Destination,
    notice: &Notice,
) -> Result<Notice, Error> {
    const SQL: &str = "SELECT count(*) AS others, CAST(coalesce(max(CASE WHEN subject = $3 THEN 1 ELSE 0 END), 0) AS BIGINT) AS known FROM alert_group WHERE destination = $1 AND source = $2";
    let args = [
        (&destination.name).into(),
        (&notice.source).into(),
        (&notice.subject).into(),
    ];
    let mut notice = notice.clone();
    if let Some(row) = tx.fetch_optional(SQL, &args).await?
        && row.int("others")? >= MOST_SUBJECTS
        && row.int("known")? == 0
    {
        OTHERS.clone_into(&mut notice.subject);
        "more subjects than are told one by one: `portcullis anomalies list --open`"
            .clone_into(&mut notice.told);
    }
    Ok(notice)
}

/// True where it is the first of its group, and to be told. Otherwise it is counted.
pub(super) async fn enter(
    tx: &mut Tx,
    destination: &Destination,
    notice: &Notice,
    now: Timestamp,
) -> Result<bool, Error> {
    const SQL: &str = "INSERT INTO alert_group (destination, source, subject, severity, told, opened_at, until_at, notices, events) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8) ON CONFLICT (destination, source, subject) DO UPDATE SET notices = alert_group.notices + 1, told = excluded.told RETURNING notices";
    let count = i64::try_from(notice.count).unwrap_or(i64::MAX);
    let args = [
        (&destination.name).into(),
        (&notice.source).into(),
        (&notice.subject).into(),
        notice.severity.as_str().into(),
        (&notice.told).into(),
        now.into(),
        (now + destination.group).into(),
        count.into(),
    ];
    let row = tx.fetch_optional(SQL, &args).await?;
    let notices = row.map(|row| row.int("notices")).transpose()?;
    Ok(notices == Some(1))
}

struct Group {
    destination: String,
    source: String,
    subject: String,
    severity: Severity,
    told: String,
    opened_at: Timestamp,
    until: Timestamp,
    notices: i64,
    events: i64,
}

fn group(row: &Row) -> Result<Group, Error> {
    Ok(Group {
        destination: row.text("destination")?,
        source: row.text("source")?,
        subject: row.text("subject")?,
        severity: Severity::parse(&row.text("severity")?).ok_or(Error::Unreadable)?,
        told: row.text("told")?,
        opened_at: row.timestamp("opened_at")?,
        until: row.timestamp("until_at")?,
        notices: row.int("notices")?,
        events: row.int("events")?,
    })
}

pub(super) async fn settle(alerts: &Alerts, now: Timestamp) -> Result<(), Error> {
    const DUE: &str = "SELECT destination, source, subject, severity, told, opened_at, until_at, notices, events FROM alert_group WHERE until_at <= $1 ORDER BY until_at LIMIT 200";
    let rows = alerts.db.fetch_all(DUE, &[now.into()]).await?;
    for row in &rows {
        let group = group(row)?;
        let mut tx = alerts.db.begin().await?;
        sum_up(alerts, &mut tx, &group, now).await?;
        tx.commit().await?;
    }
    if !rows.is_empty() {
        alerts.arrived.notify_waiters();
    }
    Ok(())
}

async fn sum_up(alerts: &Alerts, tx: &mut Tx, group: &Group, now: Timestamp) -> Result<(), Error> {
    const OVER: &str = "DELETE FROM alert_group WHERE destination = $1 AND source = $2 AND subject = $3 AND until_at = $4";
    const ON: &str = "UPDATE alert_group SET opened_at = $5, until_at = $6, notices = 1, events = $7 WHERE destination = $1 AND source = $2 AND subject = $3 AND until_at = $4";
    let named = alerts.destinations.iter();
    let destination = named
        .into_iter()
        .find(|destination| destination.name == group.destination);
    let (events, goes_on) = events(tx, group).await?;
    let more = events > group.events;
    let key = [
        (&group.destination).into(),
        (&group.source).into(),
        (&group.subject).into(),
        group.until.into(),
    ];
    let moved = match destination {
        Some(destination) if goes_on => {
            let [name, source, subject, until] = key;
            let next = now + destination.group;
            let args = [
                name,
                source,
                subject,
                until,
                now.into(),
                next.into(),
                events.into(),
            ];
            tx.execute(ON, &args).await?
        }
        Some(_) | None => tx.execute(OVER, &key).await?,
    };
    let Some(destination) = destination.filter(|_| moved == 1) else {
        return Ok(());
    };
    if group.notices <= 1 && !more {
        return Ok(());
    }
    let notice = Notice {
        source: group.source.clone(),
        severity: group.severity,
        subject: group.subject.clone(),
        told: group.told.clone(),
        at: now,
        count: 1,
    };
    let new = New {
        destination,
        kind: Kind::Summary,
        source: &group.source,
        severity: group.severity,
        subject: &group.subject,
        told: told(group, events, goes_on, now),
        is_silenced: silence::is_silenced(tx, &notice, now).await?,
    };
    queue::insert(tx, &new, now).await
}

/// How many events anomalies of the group have counted, and whether one goes on.
async fn events(tx: &mut Tx, group: &Group) -> Result<(i64, bool), Error> {
    const SQL: &str = "SELECT CAST(coalesce(sum(count), 0) AS BIGINT) AS events, count(*) - count(ended_at) AS open FROM anomaly WHERE detector = $1 AND subject = $2 AND last_at >= $3";
    // What began the group lies a little before it.
    let since = group.opened_at - portcullis_core::Span::from_minutes(2);
    let args = [
        (&group.source).into(),
        (&group.subject).into(),
        since.into(),
    ];
    match tx.fetch_optional(SQL, &args).await? {
        None => Ok((0, false)),
        Some(row) => Ok((row.int("events")?, row.int("open")? > 0)),
    }
}

fn told(group: &Group, events: i64, goes_on: bool, now: Timestamp) -> String {
    let span = portcullis_core::Span::from_seconds(now.since(group.opened_at).as_seconds());
    let more = group.notices.saturating_sub(1);
    let state = if goes_on {
        "it goes on"
    } else {
        "nothing more now"
    };
    let counted = if events > 0 {
        format!(", {events} events")
    } else {
        String::new()
    };
    format!(
        "{}: {more} more within {span}{counted}; {state}. Last: {}",
        crate::redact::subject(&group.subject),
        crate::redact::text(&group.told)
    )
}
