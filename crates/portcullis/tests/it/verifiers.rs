//! Products that verify the assertion: the examples for FastAPI and Node, behind the running gate
//! and asked around it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use portcullis_vault::signing::{ASSERTION_TYPE, SigningKey};
use serde_json::{Value, json};

use crate::support::signer::{ed25519, seed_of};
use crate::support::{Client, Gateway, Program, Upstream, required};

fn examples(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(name)
}

fn fastapi(gate: &str, port: u16, _scratch: &Path) -> Command {
    let mut command = Command::new(required("PORTCULLIS_TEST_PYTHON"));
    command
        .args([
            "-B",
            "-m",
            "uvicorn",
            "app:app",
            "--host",
            "127.0.0.1",
            "--port",
            &port.to_string(),
        ])
        .args(["--log-level", "warning"])
        .current_dir(examples("fastapi"))
        .env("PORTCULLIS_URL", gate);
    command
}

/// Node looks for packages of modules beside their file only, so the example is copied beside them.
fn node(gate: &str, port: u16, scratch: &Path) -> Command {
    for file in ["portcullis.mjs", "server.mjs", "package.json"] {
        std::fs::copy(examples("node").join(file), scratch.join(file)).unwrap();
    }
    let packages = scratch.join("node_modules");
    if !packages.exists() {
        std::os::unix::fs::symlink(required("PORTCULLIS_TEST_NODE_PATH"), packages).unwrap();
    }
    let mut command = Command::new(required("PORTCULLIS_TEST_NODE"));
    command
        .arg("server.mjs")
        .current_dir(scratch)
        .env("PORTCULLIS_URL", gate)
        .env("PORT", port.to_string());
    command
}

#[tokio::test]
async fn the_example_for_fastapi_believes_the_gate_and_nobody_else() {
    believes_the_gate_alone(fastapi).await;
}

#[tokio::test]
async fn the_example_for_node_believes_the_gate_and_nobody_else() {
    believes_the_gate_alone(node).await;
}

async fn believes_the_gate_alone(product: impl Fn(&str, u16, &Path) -> Command) {
    // The gate has to know the product's address and the product the gate's: the address of the
    // product is handed over by a relay.
    let relay = Relay::start().await;
    let placeholder = Upstream::start().await;
    let gateway = Gateway::builder_usual(&placeholder)
        .await
        .replace(&placeholder.url(), &format!("http://{}", relay.address))
        .user("ana@corp.test", &["user"])
        .user("root@corp.test", &["admin"])
        .start()
        .await;
    let gate = format!("http://{}", gateway.address);
    let product = Program::start(|address| product(&gate, address.port(), &gateway.folder)).await;
    relay.to(product.address);

    let ana = gateway.signed_in("ana@corp.test").await;
    let root = gateway.signed_in("root@corp.test").await;
    let me = ana.get("/.portcullis/auth/me").send().await.json();
    let told = ana.get("/whoami").send().await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert_eq!(
        told.json(),
        json!({ "subject": me["id"], "roles": ["user"] })
    );
    assert_eq!(
        root.get("/whoami").send().await.json()["roles"],
        json!(["admin"])
    );
    assert_eq!(root.get("/reports").send().await.status, 200);
    assert_eq!(ana.get("/reports").send().await.status, 403);
    let forged = ana
        .get("/whoami")
        .header("x-portcullis-assertion", "forged")
        .send()
        .await;
    assert_eq!(forged.json()["subject"], me["id"]);

    let direct = Client::to(product.address);
    let seed = seed_of(&gateway.folder).await;
    let signer = SigningKey::from_seed(&seed).unwrap();
    let good = signer.sign(ASSERTION_TYPE, &claims()).unwrap();
    let answer = direct
        .get("/whoami")
        .header("x-portcullis-assertion", &good)
        .send()
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["subject"].as_str()),
        (200, Some("u1")),
        "{}",
        answer.text()
    );

    let nothing = direct.get("/whoami").send().await;
    assert_eq!(nothing.status, 401, "without an assertion");
    let twice = direct
        .get("/whoami")
        .header("x-portcullis-assertion", &good)
        .header("x-portcullis-assertion", &good)
        .send()
        .await;
    assert_eq!(twice.status, 401, "with two assertions");
    for (what, assertion) in bad_assertions(&signer, &seed, &good) {
        let answer = direct
            .get("/whoami")
            .header("x-portcullis-assertion", &assertion)
            .send()
            .await;
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

/// What the gate would say.
fn claims() -> Value {
    json!({ "iss": "portcullis", "aud": "app", "sub": "u1", "roles": ["user"], "iat": now(), "exp": now() + 60, "jti": "1" })
}

/// The claims with one of them replaced, or taken out by `null`.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    let object = claims.as_object_mut().unwrap();
    match value {
        Value::Null => object.remove(name),
        value => object.insert(name.to_owned(), value),
    };
    claims
}

/// Everything that a product must not believe, each wrong in one thing alone.
fn bad_assertions(signer: &SigningKey, seed: &[u8; 32], good: &str) -> Vec<(String, String)> {
    let (kid, x) = (signer.kid(), signer.x());
    let mut bad: Vec<(String, String)> = [
        ("exp", json!(now() - 30)),
        ("iat", json!(now() + 3600)),
        ("aud", json!("another")),
        ("aud", json!(["app", "another"])),
        ("iss", json!("another")),
    ]
    .into_iter()
    .chain(["iss", "aud", "sub", "iat", "exp", "roles"].map(|name| (name, Value::Null)))
    .map(|(name, value)| {
        let what = format!("{name} is {value}");
        (
            what,
            signer.sign(ASSERTION_TYPE, &with(name, value)).unwrap(),
        )
    })
    .collect();
    let mut add = |what: &str, assertion: String| bad.push((what.to_owned(), assertion));

    let stranger = SigningKey::from_seed(&[1; 32]).unwrap();
    let of_stranger = stranger.sign(ASSERTION_TYPE, &claims()).unwrap();
    add("another key", of_stranger.clone());
    let [_, payload, signature] = parts(&of_stranger);
    let header = parts(good)[0];
    add(
        "another key under our kid",
        format!("{header}.{payload}.{signature}"),
    );
    let [header, _, signature] = parts(good);
    let richer = encode(&with("roles", json!(["admin"])));
    add("tampered", format!("{header}.{richer}.{signature}"));
    let claims = encode(&claims());
    let none = encode(&json!({ "alg": "none", "kid": kid, "typ": ASSERTION_TYPE }));
    add("alg none", format!("{none}.{claims}."));
    add("no signature", format!("{header}.{claims}."));
    for public in [x.as_bytes().to_vec(), URL_SAFE_NO_PAD.decode(x).unwrap()] {
        let key = EncodingKey::from_secret(&public);
        add(
            "HS256 with the public key",
            signed(Algorithm::HS256, ASSERTION_TYPE, kid, &key),
        );
    }
    // The true key, but for another kind of token.
    let key = ed25519(seed);
    add("another typ", signed(Algorithm::EdDSA, "JWT", kid, &key));
    add(
        "another kid",
        signed(Algorithm::EdDSA, ASSERTION_TYPE, "unknown", &key),
    );
    add("no token", "forged".to_owned());
    add("two in one line", format!("{good}, {good}"));
    bad
}

fn signed(algorithm: Algorithm, typ: &str, kid: &str, key: &EncodingKey) -> String {
    let header = Header {
        typ: Some(typ.to_owned()),
        kid: Some(kid.to_owned()),
        ..Header::new(algorithm)
    };
    jsonwebtoken::encode(&header, &claims(), key).unwrap()
}

fn parts(token: &str) -> [&str; 3] {
    let parts: Vec<&str> = token.split('.').collect();
    parts.try_into().unwrap()
}

fn encode(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// Passes connections on to an address that is known later.
struct Relay {
    address: std::net::SocketAddr,
    target: std::sync::Arc<std::sync::OnceLock<std::net::SocketAddr>>,
}

impl Relay {
    async fn start() -> Relay {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = std::sync::Arc::<std::sync::OnceLock<std::net::SocketAddr>>::default();
        let known = target.clone();
        tokio::spawn(async move {
            while let Ok((mut from, _)) = listener.accept().await {
                let Some(target) = known.get().copied() else {
                    continue;
                };
                tokio::spawn(async move {
                    let mut to = tokio::net::TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
        Relay { address, target }
    }

    fn to(&self, product: std::net::SocketAddr) {
        self.target.set(product).unwrap();
    }
}
