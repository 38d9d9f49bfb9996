//! `kill -9` at any moment: what was acknowledged is there afterwards, what was revoked stays
//! revoked. `PORTCULLIS_KILL_ROUNDS` makes more rounds, `PORTCULLIS_FAULT_SEED` other ones.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{CHANGE, Dice, GENEROUS, LOGIN, LOGOUT, ME, OTHER_PASSWORD, in_time, rounds};
use crate::support::{Answer, Browser, Gateway, GatewayBuilder, PASSWORD, Upstream, signal};

const PEOPLE: usize = 3;

/// What is known of one account. `None`: an act was under way when the gate died, and either holds.
#[derive(Debug, Clone, Default)]
struct Account {
    id: String,
    password: Option<&'static str>,
    /// Session cookies that were handed out and not ended.
    live: Vec<String>,
    /// Those that were acknowledged as ended. Never again may one open anything.
    ended: Vec<String>,
    role: Option<&'static str>,
    /// Acts that were acknowledged since the last start: the trail's name of each, and its request.
    acts: Vec<(&'static str, String)>,
}

type Ledger = Arc<Mutex<Vec<Account>>>;

fn email(person: usize) -> String {
    format!("person{person}@corp.test")
}

fn id_of(answer: &Answer) -> String {
    answer.header("x-request-id").unwrap().to_owned()
}

fn is_session(gateway: &Gateway, token: &str) -> impl Future<Output = u16> {
    let request = gateway.client().get(ME);
    let request = request.header("cookie", &format!("session={token}"));
    async move { in_time("a request", request.send()).await.status.as_u16() }
}

async fn sign_in(gateway: &Gateway, person: usize, password: &str) -> (u16, Option<String>) {
    let browser = gateway.browser();
    let body = serde_json::json!({ "email": email(person), "password": password });
    let answer = in_time("a sign-in", browser.post(LOGIN).json(&body).send()).await;
    (answer.status.as_u16(), browser.cookie("session"))
}

/// Does one act after the other until the gate is gone, and writes down what was acknowledged.
async fn live(address: std::net::SocketAddr, person: usize, ledger: Ledger, mut dice: Dice) {
    loop {
        let account = ledger.lock().unwrap()[person].clone();
        let note = |change: &dyn Fn(&mut Account)| change(&mut ledger.lock().unwrap()[person]);
        let Some(password) = account.password else {
            return;
        };
        let browser = Browser::at(address);
        let body = serde_json::json!({ "email": email(person), "password": password });
        let Some(answer) = browser.post(LOGIN).json(&body).try_send().await else {
            return;
        };
        assert_eq!(answer.status, 200, "{}", answer.text());
        let token = browser.cookie("session").unwrap();
        note(&|account| {
            account.live.push(token.clone());
            account.acts.push(("login.succeeded", id_of(&answer)));
        });
        match dice.below(3) {
            0 => {
                // From here on it may be over, or may not be.
                note(&|account| account.live.retain(|live| *live != token));
                let Some(answer) = browser.post(LOGOUT).try_send().await else {
                    return;
                };
                assert_eq!(answer.status, 204, "{}", answer.text());
                note(&|account| {
                    account.ended.push(token.clone());
                    account.acts.push(("logout", id_of(&answer)));
                });
            }
            1 => {
                let new = if password == PASSWORD {
                    OTHER_PASSWORD
                } else {
                    PASSWORD
                };
                let before = std::mem::take(&mut ledger.lock().unwrap()[person].live);
                note(&|account| account.password = None);
                let body = serde_json::json!({ "old_password": password, "new_password": new });
                let Some(answer) = browser.post(CHANGE).json(&body).try_send().await else {
                    return;
                };
                // A change that a kill broke off counts as an attempt, and there are three.
                if answer.status == 429 {
                    note(&|account| {
                        account.password = Some(password);
                        account.live.clone_from(&before);
                    });
                    continue;
                }
                assert_eq!(answer.status, 200, "{}", answer.text());
                note(&|account| {
                    account.password = Some(new);
                    account.ended.extend(before.iter().cloned());
                    account.live = vec![browser.cookie("session").unwrap()];
                    account.acts.push(("password.changed", id_of(&answer)));
                });
            }
            _ => {}
        }
    }
}

/// Everything that the ledger says, asked of a gate that has just started.
async fn assert_kept(gateway: &Gateway, ledger: &Ledger) {
    let accounts = ledger.lock().unwrap().clone();
    for (person, account) in accounts.iter().enumerate() {
        for token in &account.ended {
            assert_eq!(
                is_session(gateway, token).await,
                401,
                "a session of {} that was ended lives again",
                email(person)
            );
        }
        for token in account.live.iter().rev().take(3) {
            assert_eq!(
                is_session(gateway, token).await,
                200,
                "an acknowledged session of {} is gone",
                email(person)
            );
        }
        let found = if let Some(password) = account.password {
            password
        } else {
            // The change was under way: exactly one of the two is the password.
            let (status, _) = sign_in(gateway, person, PASSWORD).await;
            if status == 200 {
                PASSWORD
            } else {
                OTHER_PASSWORD
            }
        };
        let (status, token) = sign_in(gateway, person, found).await;
        assert_eq!(
            status,
            200,
            "the acknowledged password of {}",
            email(person)
        );
        let mut ledger = ledger.lock().unwrap();
        let account = &mut ledger[person];
        account.password = Some(found);
        // What came of sessions under way is known to nobody; from here on only this one counts.
        account.live = token.into_iter().collect();
    }
    let trail = trail(gateway);
    for (person, account) in ledger.lock().unwrap().iter_mut().enumerate() {
        for (act, request) in account.acts.drain(..) {
            assert!(
                trail.contains(&(act.to_owned(), account.id.clone(), request.clone())),
                "{act} of {} was acknowledged ({request}) and is not in the trail",
                email(person)
            );
        }
        let output = gateway.cli(&["--output", "json", "users", "list"]);
        let users: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let user = users
            .as_array()
            .unwrap()
            .iter()
            .find(|user| user["id"] == account.id.as_str())
            .unwrap();
        if let Some(role) = account.role {
            assert_eq!(user["roles"][0], role, "roles of {}", email(person));
        }
    }
}

/// Action, actor and request of the newest events.
fn trail(gateway: &Gateway) -> BTreeSet<(String, String, String)> {
    let output = gateway.cli(&["--output", "json", "audit", "list", "--limit", "1000"]);
    let events: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    events
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            (
                text(&event["action"]),
                text(&event["actor_id"]),
                text(&event["request_id"]),
            )
        })
        .collect()
}

async fn start(builder: GatewayBuilder) -> Gateway {
    in_time("the start", builder.start()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_acts_survive_a_kill_at_any_moment() {
    let upstream = Upstream::start().await;
    let mut builder = Gateway::builder_usual(&upstream)
        .await
        .replace("[upstream.app]", &format!("{GENEROUS}\n[upstream.app]"));
    for person in 0..PEOPLE {
        builder = builder.user(&email(person), &["user"]);
    }
    let mut gateway = start(builder).await;
    let mut dice = Dice::seeded();
    let ledger: Ledger = Arc::new(Mutex::new(vec![
        Account {
            password: Some(PASSWORD),
            role: Some("user"),
            ..Account::default()
        };
        PEOPLE
    ]));
    for person in 0..PEOPLE {
        let browser = gateway.signed_in(&email(person)).await;
        let me = browser.get(ME).send().await.json();
        let mut ledger = ledger.lock().unwrap();
        ledger[person].id = me["id"].as_str().unwrap().to_owned();
        ledger[person].live.push(browser.cookie("session").unwrap());
    }
    let mut acts = 0;
    for round in 0..rounds("PORTCULLIS_KILL_ROUNDS", 6) {
        let workers: Vec<_> = (0..PEOPLE)
            .map(|person| {
                let dice = Dice(dice.roll() | 1);
                tokio::spawn(live(gateway.address, person, Arc::clone(&ledger), dice))
            })
            .collect();
        // A role changes beside them, by a process of its own.
        let person = usize::try_from(round).unwrap() % PEOPLE;
        let role = if dice.chance(2) { "admin" } else { "user" };
        let id = ledger.lock().unwrap()[person].id.clone();
        let output = gateway.cli(&["users", "set-roles", &id, role]);
        assert!(output.status.success());
        ledger.lock().unwrap()[person].role = Some(role);
        tokio::time::sleep(Duration::from_millis(dice.below(700))).await;
        let pid = gateway.pid();
        signal(pid, "KILL");
        for worker in workers {
            worker.await.unwrap();
        }
        gateway = start(gateway.kill()).await;
        acts += ledger
            .lock()
            .unwrap()
            .iter()
            .map(|account| account.acts.len())
            .sum::<usize>();
        assert_kept(&gateway, &ledger).await;
    }
    assert!(
        acts > PEOPLE,
        "nothing was acknowledged: the loop showed nothing"
    );
}
