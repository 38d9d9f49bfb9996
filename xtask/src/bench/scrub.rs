//! `portcullis scrub` beside a scan for its literals alone, and beside the same rules in Python's `re`.
//!
//! The literal scan is what one pass over the text costs with the same automaton: it decides nothing and writes nothing.
//! Figures are CPU time, from interleaved rounds, on a log of invented lines, of which one in thirty has a secret.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::cargo;
use super::table::median;
use super::usage;
use crate::process::{command, must, quietly};
use crate::{interrupt, say, workspace};

const LINES: u32 = 400_000;
/// Python gets so many of them: it would take minutes for all.
const LINES_FOR_PYTHON: usize = 20_000;
const REPEATS: u32 = 5;
const AIM_LITERAL: f64 = 0.6;
const AIM_PYTHON: f64 = 100.0;

pub(super) fn run(folder: &Path, python: &Path, rounds: u32) -> Result<()> {
    let mut build = cargo("build");
    build.args(["--package", "portcullis", "--bin", "portcullis"]);
    // The same program as the others measure, so that it is built once.
    build.args(["--features", "portcullis/full"]);
    build.args([
        "--package",
        "portcullis-events",
        "--example",
        "literal_scan",
    ]);
    must("the release build", &mut build)?;
    let release = workspace::root().join("target/release");
    let (gate, scan) = (
        release.join("portcullis"),
        release.join("examples/literal_scan"),
    );

    let log = folder.join("scrub.log");
    write_log(&log)?;
    let text = fs::read_to_string(&log)?;
    let part = folder.join("scrub.part.log");
    let lines: Vec<&str> = text.split_inclusive('\n').take(LINES_FOR_PYTHON).collect();
    fs::write(&part, lines.concat())?;
    let rules = folder.join("scrub.rules.json");
    fs::write(
        &rules,
        quietly("literal_scan", &mut command(&scan, ["--rules"]))?,
    )?;

    let megabytes = |file: &Path| -> Result<f64> {
        Ok(fs::metadata(file)
            .map(|data| f64::from(u32::try_from(data.len()).unwrap_or(u32::MAX)))?
            / 1e6)
    };
    let (whole, small) = (megabytes(&log)?, megabytes(&part)?);
    let (mut literal, mut ours, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        interrupt::check()?;
        literal.push(whole / cpu_of(&mut Command::new(&scan), &log)?.as_secs_f64());
        ours.push(whole / cpu_of(Command::new(&gate).arg("scrub"), &log)?.as_secs_f64());
        let mut regexes = command(python, [workspace::root().join("xtask/services/scrub.py")]);
        let told = quietly("scrub.py", regexes.arg(&rules).arg(&part))?;
        let seconds: f64 = told
            .split_whitespace()
            .next()
            .context("scrub.py says nothing")?
            .parse()?;
        theirs.push(small / seconds);
    }
    tell(&literal, &ours, &theirs);
    Ok(())
}

fn tell(literal: &[f64], ours: &[f64], theirs: &[f64]) {
    let ratio = |of: &[f64], against: &[f64]| {
        let ratios: Vec<f64> = of
            .iter()
            .zip(against)
            .map(|(of, against)| of / against)
            .collect();
        median(&ratios)
    };
    say::line("| scrub | MB per second of CPU | scrub ÷ it | aim | |");
    say::line("|---|--:|--:|--:|---|");
    say::line(format!("| portcullis scrub | {:.0} | | | |", median(ours)));
    for (name, other, aim) in [
        ("literals alone, nothing written", literal, AIM_LITERAL),
        ("the same rules in Python's re", theirs, AIM_PYTHON),
    ] {
        let ratio = ratio(ours, other);
        let met = if ratio >= aim { "met" } else { "MISSED" };
        say::line(format!(
            "| {name} | {:.1} | {ratio:.2} | {aim} | {met} |",
            median(other)
        ));
    }
}

/// The CPU time of a program that reads `input` and whose output nobody wants. It is counted in hundredths of a second,
/// so that the program runs several times.
fn cpu_of(program: &mut Command, input: &Path) -> Result<Duration> {
    let before = usage::cpu_time(std::process::id());
    for _ in 0..REPEATS {
        let status = program
            .stdin(Stdio::from(File::open(input)?))
            .stdout(Stdio::null())
            .status()?;
        if !status.success() {
            bail!("{program:?}: {status}");
        }
    }
    Ok(usage::cpu_time(std::process::id()).saturating_sub(before) / REPEATS)
}

/// Lines of three makes, always the same ones.
fn write_log(file: &Path) -> Result<()> {
    const WORDS: [&str; 16] = [
        "request",
        "served",
        "upstream",
        "handler",
        "cache",
        "miss",
        "order",
        "invoice",
        "worker",
        "queue",
        "retry",
        "connection",
        "pool",
        "closed",
        "finished",
        "scheduled",
    ];
    let mut out = BufWriter::new(File::create(file)?);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for line in 0..LINES {
        let time = format!(
            "2026-11-26T23:{:02}:{:02}.{:06}Z",
            draw() % 60,
            draw() % 60,
            draw() % 1_000_000
        );
        let mut words = String::new();
        for _ in 0..4 + draw() % 8 {
            let word = usize::try_from(draw() % 16)?;
            words.push_str(WORDS.get(word).copied().unwrap_or_default());
            words.push(' ');
        }
        let (id, number) = (draw(), draw() % 1_000_000);
        match draw() % 120 {
            0..60 => writeln!(
                out,
                r#"{{"time":"{time}","level":"info","message":"{words}","trace":"{id:016x}","duration_ms":{number},"path":"/api/v1/orders/{number}"}}"#
            )?,
            60..96 => writeln!(
                out,
                "{time} INFO worker[{number}]: {words}trace={id:016x} status=200"
            )?,
            96..116 => writeln!(
                out,
                r#"10.0.{}.{} - - [26/Nov/2026:23:01:02 +0000] "GET /api/v1/items/{number}?page={} HTTP/1.1" 200 {number} "https://shop.example/a" "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36""#,
                id % 255,
                number % 255,
                id % 99
            )?,
            116 => writeln!(
                out,
                r#"{{"time":"{time}","level":"warn","message":"{words}","user":"u{line}@corp.example"}}"#
            )?,
            117 => writeln!(
                out,
                r#"{{"time":"{time}","level":"warn","message":"{words}","authorization":"Bearer {id:016x}"}}"#
            )?,
            118 => writeln!(
                out,
                "{time} WARN {words}token={id:016x} card 4111 1111 1111 1111"
            )?,
            _ => writeln!(
                out,
                "{time} ERROR connect postgres://app:{id:x}@db:5432/x failed at /home/deploy/app/main.py:{number}"
            )?,
        }
    }
    out.flush()?;
    Ok(())
}
