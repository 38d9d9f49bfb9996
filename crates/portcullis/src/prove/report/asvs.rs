//! OWASP ASVS 5.0 by number, for whoever audits: what this run shows of each requirement of that standard, and by
//! number what it does not show and who has to.

use std::fmt::{self, Write as _};

use super::Report;
use crate::prove::numbers::{ALL, CHAPTERS, Number, Who};
use crate::prove::probe::Verdict;
use crate::prove::requirement::Id;

/// The document without its signature.
pub(super) fn document(report: &Report) -> String {
    let mut text = String::new();
    // Writing into a String cannot fail.
    let _always_ok = write(&mut text, report);
    text
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "# OWASP ASVS 5.0, by number\n")?;
    writeln!(
        out,
        "Written by `portcullis prove` on {} from what the gate of {} ({} mode) answered. A number is held where every id that answers it held in this run, and in part where those ids show a part of it: what they leave to others stands beside it. What each probe saw, `portcullis prove --format md` says.",
        report.at, report.gate, report.mode
    )?;
    summary(out, report)?;
    answered(out, report)?;
    writeln!(out, "\n## The product's own to answer\n")?;
    writeln!(
        out,
        "A gate cannot see it. Of levels 1 and 2, and of level 3 below."
    )?;
    table(out, "about", &of(Who::Product, |level| level < 3))?;
    let third = of(Who::Product, |level| level == 3);
    let third: Vec<&str> = third.iter().map(|number| number.text).collect();
    writeln!(out, "\nLevel 3: {}.", third.join(", "))?;
    writeln!(out, "\n## Answered by nobody here\n")?;
    writeln!(
        out,
        "**NOT PROVEN** by any run: here is a control, or the beginning of one, and no id tries it. Its own tests do."
    )?;
    table(out, "here", &of(Who::Untried, |_| true))?;
    writeln!(out, "\n**Not here:** the standard asks for it.")?;
    table(out, "missing", &of(Who::Nobody, |_| true))?;
    writeln!(out, "\n## About what is not here\n")?;
    writeln!(
        out,
        "If the product has such a thing of its own, these are the product's to answer."
    )?;
    table(out, "why", &of(Who::Outside, |_| true))?;
    writeln!(out, "\n## Beyond the standard\n")?;
    let beyond: Vec<&str> = Id::ALL
        .iter()
        .filter(|id| id.asvs().is_empty())
        .map(|id| id.as_str())
        .collect();
    writeln!(
        out,
        "It has no number for what these promise: {}.",
        beyond.join(", ")
    )
}

fn of(who: Who, level: impl Fn(u8) -> bool) -> Vec<&'static Number> {
    let wanted = |number: &&Number| number.who == who && level(number.level);
    ALL.iter().filter(wanted).collect()
}

/// What became of one id. One that this run left out is not proven by it.
fn verdict_of(report: &Report, id: Id) -> Verdict {
    let found = report.findings.iter().find(|found| found.id == id);
    found.map_or(Verdict::NotProven, |found| found.verdict)
}

/// What this run says of a number; nothing of one that no id answers.
fn verdict(report: &Report, number: &Number) -> Option<Verdict> {
    let rank = |verdict: &Verdict| match verdict {
        Verdict::Failed => 0,
        Verdict::NotProven => 1,
        Verdict::NotConfigured => 2,
        Verdict::Held => 3,
    };
    let verdicts = number.ids().map(|id| verdict_of(report, id));
    verdicts.min_by_key(rank)
}

/// As loud as the other documents say it.
fn word(verdict: Verdict, who: Who) -> &'static str {
    match (verdict, who) {
        (Verdict::Failed, _) => "**FAILED**",
        (Verdict::NotProven, _) => "**NOT PROVEN**",
        (Verdict::NotConfigured, _) => "**not configured**",
        (Verdict::Held, Who::Gate) => "held",
        (Verdict::Held, Who::Part | Who::Untried | Who::Product | Who::Nobody | Who::Outside) => {
            "held in part"
        }
    }
}

fn standing(report: &Report, number: &Number) -> &'static str {
    match (verdict(report, number), number.who) {
        (Some(verdict), who) => word(verdict, who),
        (None, Who::Product) => "the product's own",
        (None, Who::Outside) => "about what is not here",
        (None, Who::Gate | Who::Part | Who::Untried | Who::Nobody) => "answered by nobody here",
    }
}

fn summary(out: &mut String, report: &Report) -> fmt::Result {
    const STANDINGS: [&str; 8] = [
        "held",
        "held in part",
        "**FAILED**",
        "**NOT PROVEN**",
        "**not configured**",
        "the product's own",
        "answered by nobody here",
        "about what is not here",
    ];
    writeln!(
        out,
        "\n| | level 1 | level 2 | level 3 |\n|---|---|---|---|"
    )?;
    for name in STANDINGS {
        let count = |level| {
            let of_it = ALL.iter().filter(|number| number.level == level);
            of_it
                .filter(|number| standing(report, number) == name)
                .count()
        };
        let [one, two, three] = [1, 2, 3].map(count);
        writeln!(out, "| {name} | {one} | {two} | {three} |")?;
    }
    Ok(())
}

/// Those that an id answers, by chapter and section.
fn answered(out: &mut String, report: &Report) -> fmt::Result {
    for (chapter, title) in (1_usize..).zip(CHAPTERS) {
        let chapter = chapter.to_string();
        let mut heading = Some(format!(
            "\n## {chapter}. {title}\n\n| section | number | level | result | answered by | not shown by these |\n|---|---|---|---|---|---|"
        ));
        for number in ALL.iter().filter(|number| number.chapter() == chapter) {
            let Some(verdict) = verdict(report, number) else {
                continue;
            };
            if let Some(heading) = heading.take() {
                writeln!(out, "{heading}")?;
            }
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} |",
                number.section(),
                number.text,
                number.level,
                word(verdict, number.who),
                by(report, number),
                number.note
            )?;
        }
    }
    Ok(())
}

/// The ids of a number; beside one that did not hold, what became of it.
fn by(report: &Report, number: &Number) -> String {
    let one = |id: Id| match report.findings.iter().find(|found| found.id == id) {
        None => format!("{id} (not asked)"),
        Some(found) => match found.verdict {
            Verdict::Held => id.to_string(),
            Verdict::Failed | Verdict::NotProven | Verdict::NotConfigured => {
                format!("{id} ({})", found.verdict.as_str())
            }
        },
    };
    number.ids().map(one).collect::<Vec<_>>().join(", ")
}

fn table(out: &mut String, what: &str, numbers: &[&Number]) -> fmt::Result {
    writeln!(out, "\n| number | level | {what} |\n|---|---|---|")?;
    for number in numbers {
        writeln!(
            out,
            "| {} | {} | {} |",
            number.text, number.level, number.note
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::probe::{Finding, Held, Place, Probed, Short};
    use crate::prove::wire::{Addresses, Target};

    fn report(of: impl Fn(Id) -> Option<Probed>) -> Report {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let target = Target::new(
            address,
            "gate.test".to_owned(),
            "https://gate.test".to_owned(),
            Addresses::One,
        );
        let findings = Id::ALL
            .iter()
            .filter_map(|id| Some(Finding::of(*id, of(*id)?, 0)));
        Report::outside(&target).with(findings.collect())
    }

    fn seen() -> Held {
        Held::at(Place::Gate, "seen")
    }

    fn row(text: &str, number: &str) -> String {
        let cell = format!("| {number} |");
        let mut rows = text.lines().filter(|line| line.contains(&cell));
        let row = rows.next().unwrap_or_else(|| panic!("no {number}"));
        assert_eq!(rows.next(), None, "{number} stands twice");
        row.to_owned()
    }

    #[test]
    fn a_number_is_held_where_all_of_its_ids_held_and_loud_otherwise() {
        let text = document(&report(|_| Some(Ok(seen()))));
        assert_eq!(row(&text, "6.2.3"), "| 6.2 | 6.2.3 | 1 | held | I3 |  |");
        assert!(
            row(&text, "1.2.4").contains("| held in part | H12 | the product's own statements |")
        );
        assert!(text.contains("| **FAILED** | 0 | 0 | 0 |"));
        // One of several that did not hold is enough, and what is worse is said.
        let held = || Ok(seen());
        let failed = || Err(Short::failed("it got through", "a key"));
        let unproven = || Err(Short::not_proven("nobody knows"));
        let absent = || Err(Short::not_configured("a key"));
        for (worst, others, word) in [
            (
                failed as fn() -> Probed,
                unproven as fn() -> Probed,
                "FAILED",
            ),
            (unproven, absent, "NOT PROVEN"),
            (absent, held, "not configured"),
        ] {
            let text = document(&report(|id| match id {
                Id::I3 => Some(Ok(seen())),
                Id::I4 => Some(worst()),
                Id::L2 => Some(others()),
                _ => None,
            }));
            let row = row(&text, "6.3.1");
            assert!(
                row.contains(&format!("| **{word}** | I3, I4 ({word})")),
                "{row}"
            );
        }
        // What a run leaves out is not proven by it.
        let text = document(&report(|id| (id != Id::L2).then(|| Ok(seen()))));
        assert!(row(&text, "6.3.1").contains("| **NOT PROVEN** | I3, I4, L2 (not asked) |"));
    }

    #[test]
    fn every_number_stands_in_the_document_once() {
        let text = document(&report(|_| Some(Ok(seen()))));
        let third = text.lines().find_map(|line| line.strip_prefix("Level 3: "));
        let third: Vec<&str> = third.unwrap().trim_end_matches('.').split(", ").collect();
        for number in ALL {
            if number.who == Who::Product && number.level == 3 {
                assert!(third.contains(&number.text), "{}", number.text);
            } else {
                row(&text, number.text);
            }
        }
        let counted: usize = text
            .lines()
            .skip_while(|line| !line.starts_with("| | level 1"))
            .skip(2)
            .take(8)
            .flat_map(|line| line.split(" | ").skip(1))
            .map(|cell| cell.trim_end_matches(" |").parse::<usize>().unwrap())
            .sum();
        assert_eq!(counted, ALL.len());
    }
}
