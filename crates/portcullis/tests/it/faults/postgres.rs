//! PostgreSQL away: whoever is known stays known for as long as news of revocations is fresh, then
//! 503; never somebody unknown, never somebody signed out, and no act that is half done.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::service::Postgres;
use super::{
    GENEROUS, ME, OTHER_PASSWORD, assert_unavailable, audited, change_password, get, in_time,
    login, logout, metric, readyz, until,
};
use crate::support::database;
use crate::support::{Browser, Gateway, PASSWORD, Upstream};

const ANA: &str = "ana@corp.test";
const BEN: &str = "ben@corp.test";

/// As [`portcullis_store::revocations::FRESH_FOR`], and a second for the answer to be on its way.
const TRUSTED_FOR: Duration = Duration::from_secs(6);

async fn gate(url: &str) -> Gateway {
    let upstream = Upstream::start().await;
    Gateway::builder_usual(&upstream)
        .await
        .stores(url, None)
        .replace(
            "[state]",
            "[state]\nconnections = 4\nacquire-timeout = \"500ms\"\nstatement-timeout = \"1s\"",
        )
        .replace("[upstream.app]", &format!("{GENEROUS}\n[upstream.app]"))
        .user(ANA, &["user"])
        .user(BEN, &["user"])
        .start()
        .await
}

/// From the moment of the fault: 200 from memory for a while, then 503 and nothing else.
async fn assert_trust_runs_out(gateway: &Gateway, ana: &Browser) {
    let began = Instant::now();
    let mut refused = 0;
    until("memory is no longer trusted", || async {
        let asked = began.elapsed();
        let answer = get(ana, "/anything").await;
        match answer.status.as_u16() {
            200 => assert!(
                asked < TRUSTED_FOR,
                "a session from memory {asked:?} after the last news"
            ),
            503 => assert_unavailable(&answer),
            other => panic!("{other}: {}", answer.text()),
        }
        answer.status == 503
    })
    .await;
    while refused < 3 {
        assert_unavailable(&get(ana, "/anything").await);
        refused += 1;
    }
    let stranger = gateway.client().get("/anything").header(
        "cookie",
        "session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    );
    let answer = stranger.send().await;
    assert_eq!(
        answer.status,
        503,
        "nobody can know who that is: {}",
        answer.text()
    );
    let anonymous = gateway.client().get("/public").send().await;
    assert_eq!(anonymous.status, 200, "what needs no database goes on");
    let closed = gateway.client().get("/closed").send().await;
    assert_eq!(closed.problem(), "route-closed", "routes are in memory");
    let (status, document) = readyz(gateway).await;
    assert_eq!((status, document["database"].as_str()), (503, Some("down")));
    assert_eq!(
        metric(gateway, "portcullis_dependency_up{dependency=\"database\"}").await,
        Some(0.0)
    );
}

/// Acts are refused as not possible now.
async fn assert_no_acts(gateway: &Gateway, ana: &Browser) {
    assert_unavailable(&login(&gateway.browser(), BEN, PASSWORD).await);
    assert_unavailable(&login(&gateway.browser(), BEN, "not the password at all").await);
    assert_unavailable(&change_password(ana, PASSWORD, OTHER_PASSWORD).await);
    assert_unavailable(&logout(ana).await);
}

/// As if nothing had been: the same session, the same password, and everybody is who they were.
async fn assert_as_before(gateway: &Gateway, ana: &Browser) {
    until("the database is back", || async {
        get(ana, ME).await.status == 200
    })
    .await;
    assert_eq!(get(ana, ME).await.json()["email"], ANA);
    assert_eq!(
        login(&gateway.browser(), ANA, OTHER_PASSWORD).await.status,
        401
    );
    let ben = gateway.browser();
    assert_eq!(login(&ben, BEN, PASSWORD).await.status, 200);
    // Answers that came too late belong to nobody: each caller still gets their own.
    for _ in 0..4 {
        assert_eq!(get(&ben, ME).await.json()["email"], BEN);
        assert_eq!(get(ana, ME).await.json()["email"], ANA);
    }
    assert_eq!(readyz(gateway).await.0, 200);
    assert_eq!(audited(gateway, "password.changed"), 0);
    assert_eq!(logout(ana).await.status, 204);
}

#[tokio::test]
async fn postgres_that_is_stopped_refuses_and_signs_nobody_out() {
    let mut postgres = Postgres::start().await;
    let gateway = gate(&postgres.url()).await;
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(get(&ana, "/anything").await.status, 200);
    postgres.stop_immediately();
    assert_trust_runs_out(&gateway, &ana).await;
    assert_no_acts(&gateway, &ana).await;
    postgres.start_again().await;
    assert_as_before(&gateway, &ana).await;
}

/// A power cut loses what PostgreSQL acknowledged while `synchronous_commit` is off, whoever says so.
#[tokio::test]
async fn postgres_that_may_forget_acknowledged_acts_is_not_let() {
    let postgres = Postgres::start().await;
    let gateway = gate(&postgres.url()).await;
    // With the name of the gate's own database: what connects to it later is meant.
    for sql in [
        "ALTER DATABASE gate SET synchronous_commit = off",
        "ALTER ROLE gate SET synchronous_commit = off",
        "ALTER SYSTEM SET synchronous_commit = off",
        "SELECT pg_reload_conf()",
    ] {
        postgres.tell(sql).await;
    }
    let folder = gateway.folder.clone();
    let beside = database::text(&folder, "SELECT current_setting('synchronous_commit')").await;
    assert_eq!(beside, "off", "whoever does not ask for more");
    database::execute(
        &folder,
        "CREATE TABLE seen (what text, how text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO seen VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'));
            RETURN NEW;
         END $$;
         CREATE TRIGGER see BEFORE INSERT ON audit_event FOR EACH ROW EXECUTE FUNCTION see();
         CREATE TRIGGER see BEFORE INSERT ON session FOR EACH ROW EXECUTE FUNCTION see();
         CREATE TRIGGER see BEFORE INSERT ON revocation FOR EACH ROW EXECUTE FUNCTION see();",
    )
    .await;
    let seen = "SELECT string_agg(DISTINCT what || ' ' || how, ', ') FROM seen";
    let gateway = gateway.end().await.start().await;
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(logout(&ana).await.status, 204);
    assert_eq!(login(&ana, ANA, OTHER_PASSWORD).await.status, 401);
    assert_eq!(
        database::text(&folder, seen).await,
        "audit_event on, revocation on, session on"
    );
    // Who asks for more, gets more.
    postgres
        .tell("ALTER ROLE gate SET synchronous_commit = remote_apply")
        .await;
    let builder = gateway.end().await;
    database::execute(&folder, "TRUNCATE seen").await;
    let gateway = builder.start().await;
    gateway.signed_in(ANA).await;
    assert_eq!(
        database::text(&folder, seen).await,
        "audit_event remote_apply, session remote_apply"
    );
}

/// What the gate cannot ask for on a connection, the server's owner hears from `doctor`.
#[tokio::test]
async fn postgres_that_does_not_wait_for_its_disk_is_told_by_doctor() {
    let postgres = Postgres::start().await;
    let builder = gate(&postgres.url()).await.end().await;
    let told = || {
        let output = builder.cli(&["doctor"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let told = String::from_utf8(output.stdout).unwrap();
        let line = told.lines().find(|line| line.contains("power cut"));
        line.map(str::to_owned)
    };
    let line = told().unwrap();
    assert!(line.starts_with("warn  "), "{line}");
    assert!(line.ends_with("off on the server: fsync"), "{line}");
    postgres.tell("ALTER SYSTEM SET fsync = on").await;
    postgres.tell("SELECT pg_reload_conf()").await;
    until("all is well", || async { told().is_none() }).await;
    postgres
        .tell("ALTER SYSTEM SET full_page_writes = off")
        .await;
    postgres.tell("SELECT pg_reload_conf()").await;
    until("the other is told", || async {
        told().is_some_and(|line| line.ends_with(": full_page_writes"))
    })
    .await;
}

/// Connections that did not answer in time are closed: none is used again, none stays behind.
#[tokio::test]
async fn postgres_that_hangs_refuses_in_time_and_its_connections_are_given_up() {
    let postgres = Postgres::start().await;
    let gateway = gate(&postgres.url()).await;
    let ana = gateway.signed_in(ANA).await;
    assert_eq!(get(&ana, "/anything").await.status, 200);
    postgres.freeze();
    assert_trust_runs_out(&gateway, &ana).await;
    assert_no_acts(&gateway, &ana).await;
    postgres.thaw();
    assert_as_before(&gateway, &ana).await;
    until("the gate holds no more connections than it may", || async {
        postgres.connections().await <= 4
    })
    .await;
}

#[tokio::test]
async fn postgres_that_is_read_only_refuses_acts_and_knows_sessions() {
    let postgres = Postgres::start().await;
    let gateway = gate(&postgres.url()).await;
    let ana = gateway.signed_in(ANA).await;
    postgres
        .tell("ALTER SYSTEM SET default_transaction_read_only = on")
        .await;
    postgres.tell("SELECT pg_reload_conf()").await;
    until("PostgreSQL is read-only", || async {
        login(&gateway.browser(), BEN, PASSWORD).await.status == 503
    })
    .await;
    assert_no_acts(&gateway, &ana).await;
    assert_eq!(get(&ana, ME).await.status, 200);
    postgres
        .tell("ALTER ROLE gate SET default_transaction_read_only = off")
        .await;
    postgres
        .tell("ALTER DATABASE gate SET default_transaction_read_only = off")
        .await;
    // For connections that are open already.
    postgres
        .tell("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gate'")
        .await;
    assert_as_before(&gateway, &ana).await;
}

#[tokio::test]
async fn postgres_without_free_connections_refuses_and_signs_nobody_out() {
    let postgres = Postgres::start().await;
    let gateway = gate(&postgres.url()).await;
    let ana = gateway.signed_in(ANA).await;
    postgres.tell("ALTER ROLE gate CONNECTION LIMIT 0").await;
    postgres
        .tell("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gate'")
        .await;
    assert_trust_runs_out(&gateway, &ana).await;
    assert_no_acts(&gateway, &ana).await;
    postgres.tell("ALTER ROLE gate CONNECTION LIMIT -1").await;
    assert_as_before(&gateway, &ana).await;
}

/// The answer to a COMMIT can be lost: the caller is told 503, and it is done. What holds then: it
/// is done whole (password, sessions, audit trail together), and asking again is safe.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_is_503_and_done_whole() {
    let postgres = Postgres::start().await;
    let is_armed = Arc::new(AtomicBool::new(false));
    let between = lossy_road(postgres.port, Arc::clone(&is_armed)).await;
    let gateway = gate(&Postgres::url_at(between.port())).await;
    let ana = gateway.signed_in(ANA).await;
    let elsewhere = gateway.signed_in(ANA).await;
    is_armed.store(true, Ordering::SeqCst);
    let answer = change_password(&ana, PASSWORD, OTHER_PASSWORD).await;
    assert_unavailable(&answer);
    assert!(!is_armed.load(Ordering::SeqCst), "a COMMIT was seen");
    // Either all of it, or nothing.
    let new = login(&gateway.browser(), ANA, OTHER_PASSWORD).await.status;
    let old = login(&gateway.browser(), ANA, PASSWORD).await.status;
    let session = get(&elsewhere, ME).await.status;
    let events = audited(&gateway, "password.changed");
    assert_eq!(
        (new.as_u16(), old.as_u16(), session.as_u16(), events),
        (200, 401, 401, 1)
    );
}

/// A connection that fell silent in the middle of a statement (a firewall forgot it, a node is gone)
/// is given up. If it went back to the pool, four of them would be the end of the gate.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_connections_that_fall_silent_are_replaced() {
    let postgres = Postgres::start().await;
    let is_armed = Arc::new(AtomicBool::new(false));
    let between = silent_road(postgres.port, Arc::clone(&is_armed)).await;
    let gateway = gate(&Postgres::url_at(between.port())).await;
    is_armed.store(true, Ordering::SeqCst);
    let ask = async |number: usize| {
        let token = format!("{number:A<43}");
        let request = gateway.client().get("/anything");
        let request = request.header("cookie", &format!("session={token}"));
        in_time("a request", request.send()).await
    };
    for number in 1..=6 {
        assert_unavailable(&ask(number).await);
    }
    is_armed.store(false, Ordering::SeqCst);
    until("the gate has connections again", || async {
        ask(7).await.status == 401
    })
    .await;
}

/// A way to PostgreSQL that swallows whatever asks for a session, and the connection with it, while
/// armed; it stays open and says nothing any more.
async fn silent_road(to: u16, is_armed: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(silent(near, to, Arc::clone(&is_armed)));
        }
    });
    address
}

async fn silent(near: TcpStream, to: u16, is_armed: Arc<AtomicBool>) {
    const QUESTION: &[u8] = b"FROM session s JOIN users";
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let there = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = near_read.read(&mut buffer).await.unwrap_or(0);
            let said = &buffer[..count];
            let asks = said.windows(QUESTION.len()).any(|part| part == QUESTION);
            if asks && is_armed.load(Ordering::SeqCst) {
                // For as long as the test lives.
                std::future::pending::<()>().await;
            }
            if count == 0 || far_write.write_all(said).await.is_err() {
                return;
            }
        }
    };
    let back = tokio::io::copy(&mut far_read, &mut near_write);
    tokio::select! { () = there => {}, _ = back => {} }
}

/// A way to PostgreSQL that loses the answer to a change's COMMIT, once, when armed.
async fn lossy_road(to: u16, is_armed: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let is_armed = Arc::clone(&is_armed);
            tokio::spawn(lossy(near, to, is_armed));
        }
    });
    address
}

async fn lossy(mut near: TcpStream, to: u16, is_armed: Arc<AtomicBool>) {
    let mut far = TcpStream::connect((Ipv4Addr::LOCALHOST, to)).await.unwrap();
    let (mut out, mut back) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut changes = false;
    loop {
        tokio::select! {
            count = near.read(&mut out) => {
                let count = count.unwrap_or(0);
                if count == 0 || far.write_all(&out[..count]).await.is_err() {
                    return;
                }
                let has = |text: &[u8]| out[..count].windows(text.len()).any(|part| part == text);
                // The statement that records the change, in the transaction that is to be lost.
                changes |= has(b"password.changed");
                if changes && has(b"COMMIT") && is_armed.swap(false, Ordering::SeqCst) {
                    // It answers, so it is done; nobody hears of it.
                    let _ = far.read(&mut back).await;
                    return;
                }
            }
            count = far.read(&mut back) => {
                let count = count.unwrap_or(0);
                if count == 0 || near.write_all(&back[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}
