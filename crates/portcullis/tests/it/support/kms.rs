//! The key management services of the test set-up, each behind a line that can be cut.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{Answer, Client, GatewayBuilder, required};

/// What becomes of a connection.
#[derive(Clone)]
pub(crate) enum Line {
    Open,
    /// Taken, and never answered.
    Hung,
    /// Answered with this, whatever was asked.
    Answers(Vec<u8>),
    /// What has one of these in its head is done there, and nobody hears of it; all else is as ever.
    Mutes(&'static [&'static str]),
}

/// Stands before a service.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    target: SocketAddr,
    line: Arc<Mutex<Line>>,
    serving: JoinHandle<()>,
}

impl Relay {
    pub(crate) async fn before(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let line = Arc::new(Mutex::new(Line::Open));
        let serving = tokio::spawn(serve(listener, target, Arc::clone(&line)));
        Relay {
            address,
            target,
            line,
            serving,
        }
    }

    pub(crate) fn is(&self, line: Line) {
        *self.line.lock().unwrap() = line;
    }

    /// Nobody listens any more.
    pub(crate) async fn stop(&mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    pub(crate) async fn start_again(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serving = tokio::spawn(serve(listener, self.target, Arc::clone(&self.line)));
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, line: Arc<Mutex<Line>>) {
    let mut held = Vec::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        let now = line.lock().unwrap().clone();
        match now {
            Line::Open => {
                tokio::spawn(async move {
                    let mut there = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
                });
            }
            Line::Hung => held.push(stream),
            Line::Mutes(words) => {
                tokio::spawn(mute(stream, target, words));
            }
            Line::Answers(bytes) => {
                tokio::spawn(async move {
                    let mut asked = [0; 16_384];
                    let _ = stream.read(&mut asked).await;
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.shutdown().await;
                });
            }
        }
    }
}

async fn mute(mut stream: TcpStream, target: SocketAddr, words: &[&str]) {
    let mut asked = vec![0; 16_384];
    let length = stream.read(&mut asked).await.unwrap_or(0);
    let mut there = TcpStream::connect(target).await.unwrap();
    let _ = there.write_all(&asked[..length]).await;
    let head = String::from_utf8_lossy(&asked[..length]).into_owned();
    if !words.iter().any(|word| head.contains(word)) {
        let _ = tokio::io::copy_bidirectional(&mut stream, &mut there).await;
        return;
    }
    let (mut from, _to) = stream.split();
    let (mut back, mut on) = there.split();
    let mut nobody = tokio::io::sink();
    let _ = tokio::join!(
        tokio::io::copy(&mut from, &mut on),
        tokio::io::copy(&mut back, &mut nobody)
    );
}

pub(crate) fn address(variable: &str) -> SocketAddr {
    let url = required(variable);
    url.strip_prefix("http://").unwrap().parse().unwrap()
}

/// A transit engine of the test's own in the OpenBao server, with one key.
pub(crate) struct Bao {
    client: Client,
    pub(crate) mount: String,
    pub(crate) relay: Relay,
}

impl Bao {
    pub(crate) async fn start() -> Self {
        let address = address("PORTCULLIS_TEST_OPENBAO");
        let bao = Bao {
            client: Client::to(address),
            mount: format!("transit-{}", uuid::Uuid::new_v4().simple()),
            relay: Relay::before(address).await,
        };
        let mount = &bao.mount;
        bao.ask(
            &format!("sys/mounts/{mount}"),
            &json!({ "type": "transit" }),
        )
        .await;
        bao.ask(&format!("{mount}/keys/portcullis"), &json!({}))
            .await;
        let policy = format!(
            r#"path "{mount}/encrypt/portcullis" {{ capabilities = ["update"] }}
path "{mount}/decrypt/portcullis" {{ capabilities = ["update"] }}"#
        );
        bao.ask(
            &format!("sys/policies/acl/{mount}"),
            &json!({ "policy": policy }),
        )
        .await;
        bao
    }

    /// As the server's owner.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Value {
        let request = self.client.post(&format!("/v1/{path}"));
        let token = required("PORTCULLIS_TEST_OPENBAO_TOKEN");
        let request = request.header("x-vault-token", &token).json(body);
        told(path, &request.send().await)
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let token = required("PORTCULLIS_TEST_OPENBAO_TOKEN");
        let request = self.client.get(&format!("/v1/{path}"));
        let request = request.header("x-vault-token", &token);
        told(path, &request.send().await)
    }

    /// Somebody deletes the key.
    pub(crate) async fn delete_key(&self) {
        let key = format!("{}/keys/portcullis", self.mount);
        self.ask(
            &format!("{key}/config"),
            &json!({ "deletion_allowed": true }),
        )
        .await;
        let request = self
            .client
            .request(http::Method::DELETE, &format!("/v1/{key}"));
        let token = required("PORTCULLIS_TEST_OPENBAO_TOKEN");
        told(&key, &request.header("x-vault-token", &token).send().await);
    }

    /// A token that may use the key and do nothing else.
    pub(crate) async fn token(&self) -> String {
        let body = json!({ "policies": [self.mount], "no_default_policy": true, "ttl": "1h" });
        let answer = self.ask("auth/token/create", &body).await;
        answer["auth"]["client_token"].as_str().unwrap().to_owned()
    }

    /// A role that may, by its id and its secret.
    pub(crate) async fn role(&self) -> (String, String) {
        let request = self.client.post("/v1/sys/auth/approle");
        let token = required("PORTCULLIS_TEST_OPENBAO_TOKEN");
        let request = request.header("x-vault-token", &token);
        // Another test may have done it.
        let _ = request.json(&json!({ "type": "approle" })).send().await;
        let role = format!("auth/approle/role/{}", self.mount);
        let body = json!({ "token_policies": [self.mount], "token_ttl": "1h" });
        self.ask(&role, &body).await;
        let id = self.get(&format!("{role}/role-id")).await;
        let secret = self.ask(&format!("{role}/secret-id"), &json!({})).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (
            text(&id["data"]["role_id"]),
            text(&secret["data"]["secret_id"]),
        )
    }

    /// `[kek]`, or `[[previous-kek]]`, with what stands below it in every case.
    pub(crate) fn table(&self, name: &str) -> String {
        let (address, mount) = (self.relay.address, &self.mount);
        format!(
            "\n{name}\nkind = \"transit\"\naddress = \"http://{address}\"\nmount = \"{mount}\"\nkey = \"portcullis\"\ntoken = {{ file = \"bao-token\" }}\n"
        )
    }

    /// As the KEK of this gate.
    pub(crate) async fn under(&self, builder: GatewayBuilder, more: &str) -> GatewayBuilder {
        let token = self.token().await;
        let table = self.table("[kek]");
        builder
            .file("bao-token", &token)
            .more(&format!("{table}{more}"))
    }
}

pub(super) fn told(path: &str, answer: &Answer) -> Value {
    assert!(answer.status.is_success(), "{path}: {}", answer.text());
    if answer.body.is_empty() {
        Value::Null
    } else {
        answer.json()
    }
}

/// A key of the test's own in what moto plays of AWS.
pub(crate) struct Kms {
    pub(crate) arn: String,
    pub(crate) relay: Relay,
}

impl Kms {
    pub(crate) async fn start() -> Self {
        let address = address("PORTCULLIS_TEST_MOTO");
        let request = Client::to(address).post("/");
        let answer = request
            .header("x-amz-target", "TrentService.CreateKey")
            .header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/kms/aws4_request, SignedHeaders=host, Signature=0")
            .header("content-type", "application/x-amz-json-1.1")
            .body("{}".to_owned())
            .send()
            .await;
        let made = told("CreateKey", &answer);
        Kms {
            arn: made["KeyMetadata"]["Arn"].as_str().unwrap().to_owned(),
            relay: Relay::before(address).await,
        }
    }

    pub(crate) fn table(&self, name: &str) -> String {
        let (address, arn) = (self.relay.address, &self.arn);
        format!(
            "\n{name}\nkind = \"aws-kms\"\nkey = \"{arn}\"\nendpoint = \"http://{address}\"\ncredentials-file = \"aws-credentials\"\n"
        )
    }

    pub(crate) fn under(&self, builder: GatewayBuilder, more: &str) -> GatewayBuilder {
        let table = self.table("[kek]");
        Kms::credentials(builder).more(&format!("{table}{more}"))
    }

    pub(crate) fn credentials(builder: GatewayBuilder) -> GatewayBuilder {
        let profile = "[default]\naws_access_key_id = test\naws_secret_access_key = test\n";
        builder.file("aws-credentials", profile)
    }
}
