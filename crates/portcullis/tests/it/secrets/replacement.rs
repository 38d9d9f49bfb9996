//! The six steps of a replacement on the command line (X5).

use std::process::Output;

use serde_json::{Value, json};

use super::{CANARY, ROOT, SECOND, read, reader, told, with_stripe, write};
use crate::support::{Gateway, Upstream};

fn step(gateway: &Gateway, more: &[&str], input: &str) -> (Output, Value) {
    let mut arguments = vec!["--output", "json", "secrets", "replace", "stripe"];
    arguments.extend(more);
    let output = gateway.cli_with_input(&arguments, input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let state = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{said}"));
    (output, state)
}

fn done(state: &Value) -> Vec<&str> {
    let steps = state["steps"].as_array().unwrap().iter();
    steps.map(|one| one["step"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_replacement_goes_through_its_six_steps_and_each_is_recorded() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let key = reader(&gateway, None);
    assert_eq!(read(&gateway, &key, "stripe").await.status, 200);

    let (output, state) = step(&gateway, &[], "");
    assert_eq!(
        output.status.code(),
        Some(1),
        "somebody has to do something"
    );
    assert_eq!(done(&state), ["identify"]);
    let identified = state["steps"][0]["result"].as_str().unwrap();
    assert!(
        identified.contains("payments") && identified.contains("api-key:"),
        "{identified}"
    );
    assert_eq!(state["waits_for"]["step"], "provider");
    // Not yet: each in its turn.
    let (_, state) = step(&gateway, &["--confirm", "redeploy"], "");
    assert_eq!(done(&state), ["identify"]);
    // The value is not there yet; the step before it stays done.
    let (output, state) = step(
        &gateway,
        &["--confirm", "provider", "--note", "ticket 12"],
        "",
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(done(&state), ["identify", "provider"]);
    assert_eq!(state["steps"][1]["result"], "ticket 12");
    assert_eq!(state["waits_for"]["step"], "stores");
    assert_eq!(read(&gateway, &key, "stripe").await.json()["version"], 1);

    let (output, state) = step(&gateway, &["--value-from", "-"], SECOND);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(done(&state), ["identify", "provider", "stores"]);
    assert_eq!(state["waits_for"]["step"], "redeploy");
    assert_eq!(read(&gateway, &key, "stripe").await.json()["value"], SECOND);
    let old = read(&gateway, &key, "stripe?version=previous").await;
    assert_eq!(
        old.json()["value"],
        CANARY,
        "the old one works until everything runs with the new"
    );
    crate::webhooks::delivered(&upstream, 1).await;
    // Brought again, it is not brought twice.
    let (_, state) = step(&gateway, &["--value-from", "-"], "something else");
    assert_eq!(done(&state).len(), 3);
    assert_eq!(read(&gateway, &key, "stripe").await.json()["version"], 2);

    let (output, state) = step(&gateway, &["--confirm", "redeploy", "--end-sessions"], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert_eq!(
        done(&state),
        [
            "identify",
            "provider",
            "stores",
            "redeploy",
            "invalidate",
            "audit"
        ]
    );
    assert_eq!(
        (&state["old_version"], &state["new_version"]),
        (&json!(1), &json!(2))
    );
    // Three times it was read, once of them after the new one was there.
    assert_eq!(state["uses"].as_array().unwrap().len(), 3, "{state}");
    assert_eq!(state["steps"][5]["done_by"], "operator");
    assert_eq!(
        read(&gateway, &key, "stripe?version=previous").await.status,
        404
    );
    let gone = async || admin.get("/.portcullis/auth/me").send().await.status == 401;
    crate::support::eventually_asked("the sessions have ended", gone).await;

    let events = told(
        &gateway,
        &["audit", "list", "--action", "secret.replacement"],
    );
    let steps: Vec<&str> = events
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|event| event["metadata"]["step"].as_str().unwrap())
        .collect();
    assert_eq!(steps, done(&state));
    for text in [output.stdout, gateway.printed().into_bytes()] {
        let text = String::from_utf8_lossy(&text).into_owned();
        assert!(!text.contains(CANARY) && !text.contains(SECOND));
    }
}

#[tokio::test]
async fn what_is_made_here_needs_a_person_for_the_deployment_alone() {
    let upstream = Upstream::start().await;
    let (gateway, admin) = with_stripe(&upstream).await;
    let random = json!({ "owner": "web", "purpose": "signs cookies", "made": "hex:32" });
    assert_eq!(write(&admin, "cookies", &random).await.status, 201);
    let run = |more: &[&str]| {
        let mut arguments = vec!["secrets", "replace", "cookies"];
        arguments.extend(more);
        gateway.cli(&arguments)
    };
    let output = run(&[]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("next  redeploy"), "{said}");
    // Left for a while, taken up by a gate that was started anew.
    let gateway = gateway.end().await.start().await;
    let output = gateway.cli(&["secrets", "replace", "cookies", "--confirm", "redeploy"]);
    assert!(output.status.success());
    let shown = told(&gateway, &["secrets", "show", "cookies"]);
    assert_eq!(shown["version"], 2);
    assert_eq!(shown["versions"][1]["state"], "retired");
    // Its sessions go on: nobody asked for their end.
    assert_eq!(
        gateway
            .signed_in(ROOT)
            .await
            .get("/.portcullis/auth/me")
            .send()
            .await
            .status,
        200
    );
}
