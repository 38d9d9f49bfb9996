//! The floor under `portcullis scrub`: a scan of standard input for the engine's literals alone, which
//! decides nothing and writes nothing. With `--rules` it prints the rules as JSON, for others to use.
//!
//! `cargo run --release --package portcullis-events --example literal_scan < some.log`

use std::io::{Read as _, Write as _};

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use portcullis_events::redact::{Engine, PROVIDERS, Rules};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let engine = Engine::for_files(Rules::default());
    let mut out = std::io::stdout().lock();
    if std::env::args().any(|argument| argument == "--rules") {
        let keys: Vec<_> = PROVIDERS
            .iter()
            .map(|provider| {
                let set = provider.made.as_set();
                serde_json::json!([provider.prefix, set, provider.least])
            })
            .collect();
        let literals: Vec<&str> = engine.literals().collect();
        let rules = serde_json::json!({ "keys": keys, "literals": literals });
        writeln!(out, "{rules}")?;
        return Ok(());
    }
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build(engine.literals())?;
    let mut input = std::io::stdin().lock();
    let mut chunk = vec![0; 128 * 1024];
    let mut hits = 0_usize;
    loop {
        let count = input.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        let read = chunk.get(..count).unwrap_or_default();
        hits += automaton.find_iter(read).count();
    }
    writeln!(out, "{hits}")?;
    Ok(())
}
