//! Evidence of an incident that witnesses signed as well: their word goes with the file, and counts for whoever has
//! their keys (A1, N2).

use serde_json::Value;

use super::{Mood, NAME, Witness, log, pair, public, text, told, vkey};
use crate::support::{GatewayBuilder, database};

const WANTED: &str = "0 witnesses signed it, and 1 are wanted";

/// A log with an incident in it: the incident's id, and the log's key.
async fn incident() -> (GatewayBuilder, std::sync::Arc<Witness>, String, String) {
    let (builder, witness) = log("").await;
    let open = [
        "--output",
        "json",
        "incident",
        "open",
        "--title",
        "a laptop is gone",
        "--severity",
        "high",
    ];
    let opened: Value = serde_json::from_str(&text(&builder.cli(&open))).unwrap();
    let id = opened["id"].as_str().unwrap().to_owned();
    let keys = text(&builder.cli(&["audit", "key"]));
    let key = keys.lines().next().unwrap().to_owned();
    (builder, witness, id, key)
}

fn bundle(builder: &GatewayBuilder, id: &str, name: &str) -> String {
    text(&builder.cli(&["incident", "bundle", id, "--to", name]));
    std::fs::read_to_string(builder.folder().join(name)).unwrap()
}

/// As somebody does who has the file, some keys and this program, and neither configuration nor database.
fn elsewhere(file: &str, arguments: &[&str]) -> (Option<i32>, String) {
    let folder = GatewayBuilder::empty();
    std::fs::write(folder.folder().join("evidence"), file).unwrap();
    told(&folder.run(&[&["audit", "verify", "evidence"], arguments].concat()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bundle_bears_the_word_of_its_witness_and_is_short_of_it_where_it_has_none() {
    let (builder, witness, id, key) = incident().await;
    let ours = witness.vkey();
    let by_both = ["--key", &key, "--witness", &ours];

    // Nobody signs: it is as good as the log's own word, and whoever asks for more is told.
    witness.is(Mood::Says(503, ""));
    let bare = bundle(&builder, &id, "bare");
    assert!(!bare.contains(NAME));
    let (code, said) = elsewhere(&bare, &["--key", &key]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = elsewhere(&bare, &by_both);
    assert!(code == Some(1) && said.contains(WANTED), "{said}");
    let (code, said) = told(&builder.cli(&["audit", "verify", "bare"]));
    assert!(code == Some(1) && said.contains(WANTED), "{said}");

    // It is asked when the file is written.
    witness.is(Mood::Honest);
    let signed = bundle(&builder, &id, "signed");
    let (code, said) = elsewhere(&signed, &[&by_both[..], &["--output", "json"]].concat());
    assert_eq!(code, Some(0), "{said}");
    let read: Value = serde_json::from_str(&said).unwrap();
    let names = read["witnesses"].as_array().unwrap();
    assert_eq!(names.len(), 1, "{said}");
    assert!(names[0].as_str().unwrap().starts_with(NAME), "{said}");
    let (code, said) = told(&builder.cli(&["audit", "verify", "signed"]));
    assert!(code == Some(0) && said.contains(NAME), "{said}");

    // By somebody else's key it is nobody's word, even in the same name.
    let stranger = vkey(NAME, &public(&pair(8)));
    let (code, said) = elsewhere(&signed, &["--key", &key, "--witness", &stranger]);
    assert!(code == Some(1) && said.contains(WANTED), "{said}");
    let two = [&by_both[..], &["--witness", &stranger]].concat();
    let (code, said) = elsewhere(&signed, &two);
    assert!(
        code == Some(1) && said.contains("1 witnesses signed it, and 2 are wanted"),
        "{said}"
    );
    let one_of_two = [&two[..], &["--witnesses-wanted", "1"]].concat();
    assert_eq!(elsewhere(&signed, &one_of_two).0, Some(0));

    // Nothing of it is changed, taken out or put under another file.
    let from = signed.find(NAME).unwrap() + NAME.len() + 1;
    let line = signed[from..].split("\\n").next().unwrap();
    let other = line.replacen(
        &line[20..21],
        if &line[20..21] == "A" { "B" } else { "A" },
        1,
    );
    for changed in [
        signed.replace(line, &other),
        signed.replace(&format!("— {NAME} {line}\\n"), ""),
    ] {
        assert_ne!(changed, signed);
        for keys in [&by_both[..], &by_both[..2]] {
            let (code, said) = elsewhere(&changed, keys);
            assert_eq!(code, Some(1), "{said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_put_into_a_witnesss_place_is_found_in_the_bundle() {
    let (builder, witness, id, key) = incident().await;
    text(&builder.cli(&["audit", "witness"]));
    let checkpoint = text(&builder.cli(&["audit", "checkpoint", "--witnessed"]));
    let (note, _) = checkpoint.split_once("\n\n").unwrap();
    let forged = witness.line(&format!("{note}\n"), NAME, &pair(98), 1_800_000_000);
    let sql = format!("UPDATE audit_cosignature SET line = '{forged}'");
    database::execute(builder.folder(), &sql).await;
    witness.is(Mood::Says(503, ""));
    let file = bundle(&builder, &id, "forged");
    assert!(file.contains(NAME));
    let ours = witness.vkey();
    let (code, said) = elsewhere(&file, &["--key", &key, "--witness", &ours]);
    assert!(
        code == Some(1) && said.contains("the word of a witness"),
        "{said}"
    );
    let (code, said) = told(&builder.cli(&["audit", "verify", "forged"]));
    assert!(
        code == Some(1) && said.contains("the word of a witness"),
        "{said}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sealed_for_a_recipient_bears_the_word_of_its_witness_within() {
    let (builder, witness, id, key) = incident().await;
    let keygen = ["--output", "json", "backup", "keygen", "--to", "identity"];
    let made: Value = serde_json::from_str(&text(&builder.cli(&keygen))).unwrap();
    let recipient = made["recipient"].as_str().unwrap();
    let verify = |name: &str, signers: &[&str]| {
        let first = ["audit", "verify", name, "--key", &key];
        told(&builder.cli(&[&first[..], signers].concat()))
    };
    let (ours, stranger) = (witness.vkey(), vkey(NAME, &public(&pair(8))));
    for (name, mood, is_signed) in [
        ("bare", Mood::Says(503, ""), false),
        ("signed", Mood::Honest, true),
    ] {
        witness.is(mood);
        text(&builder.cli(&[
            "incident",
            "bundle",
            &id,
            "--to",
            name,
            "--recipient",
            recipient,
        ]));
        let file = std::fs::read(builder.folder().join(name)).unwrap();
        assert!(!String::from_utf8_lossy(&file).contains(NAME));
        let open = ["--identity-file", "identity", "--witness"];
        let (code, said) = verify(name, &[&open[..], &[&ours]].concat());
        if is_signed {
            assert!(code == Some(0) && said.contains(NAME), "{said}");
        } else {
            assert!(code == Some(1) && said.contains(WANTED), "{said}");
        }
        let (code, said) = verify(name, &[&open[..], &[&stranger]].concat());
        assert!(code == Some(1) && said.contains(WANTED), "{said}");
        // A witness's key opens nothing.
        let (code, said) = verify(name, &["--witness", &ours]);
        assert_eq!(code, Some(2), "{said}");
    }
}
