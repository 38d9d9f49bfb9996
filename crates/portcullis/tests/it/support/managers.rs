//! The stores that secrets are carried to, each behind a line that can be cut: the KV engine of an OpenBao
//! server, and what moto plays of AWS Secrets Manager.

use serde_json::{Value, json};

use super::kms::{Kms, Relay, address, told};
use super::{Answer, Client, GatewayBuilder, required};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Aws,
    Bao,
}

/// A place of the test's own in one of them.
pub(crate) struct Manager {
    pub(crate) kind: Kind,
    /// The prefix, and for OpenBao the mount as well.
    pub(crate) place: String,
    pub(crate) relay: Relay,
    client: Client,
}

impl Manager {
    pub(crate) async fn start(kind: Kind) -> Self {
        let address = address(match kind {
            Kind::Aws => "PORTCULLIS_TEST_MOTO",
            Kind::Bao => "PORTCULLIS_TEST_OPENBAO",
        });
        let manager = Manager {
            kind,
            place: format!("kv-{}", uuid::Uuid::new_v4().simple()),
            relay: Relay::before(address).await,
            client: Client::to(address),
        };
        if kind == Kind::Bao {
            let body = json!({ "type": "kv", "options": { "version": "2" } });
            let mount = format!("sys/mounts/{}", manager.place);
            told("mount", &manager.bao(&mount, &body).await);
            manager.allow(&["create", "update", "read"]).await;
        }
        manager
    }

    /// What a write has in its head.
    pub(crate) const WRITES: &'static [&'static str] =
        &["POST /v1/kv-", "CreateSecret", "PutSecretValue"];

    /// As the server's owner.
    async fn bao(&self, path: &str, body: &Value) -> Answer {
        let token = required("PORTCULLIS_TEST_OPENBAO_TOKEN");
        let path = format!("/v1/{path}");
        let request = if body.is_null() {
            self.client.get(&path)
        } else {
            self.client.post(&path).json(body)
        };
        request.header("x-vault-token", &token).send().await
    }

    /// What the gate may do with values there.
    pub(crate) async fn allow(&self, capabilities: &[&str]) {
        let place = &self.place;
        let policy = format!(
            r#"path "{place}/data/{place}/*" {{ capabilities = {capabilities:?} }}
path "{place}/metadata/{place}/*" {{ capabilities = ["read"] }}"#
        );
        let body = json!({ "policy": policy });
        let answer = self.bao(&format!("sys/policies/acl/{place}"), &body).await;
        told("policy", &answer);
    }

    async fn aws(&self, operation: &str, body: &Value) -> Answer {
        let request = self.client.post("/");
        request
            .header("x-amz-target", &format!("secretsmanager.{operation}"))
            .header("authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/secretsmanager/aws4_request, SignedHeaders=host, Signature=0")
            .header("content-type", "application/x-amz-json-1.1")
            .body(body.to_string())
            .send()
            .await
    }

    /// Has the gate's secrets carried there.
    pub(crate) async fn under(&self, builder: GatewayBuilder, more: &str) -> GatewayBuilder {
        let (address, place) = (self.relay.address, &self.place);
        let table = format!("\n[secret-store.remote]\nprefix = \"{place}\"\n{more}");
        match self.kind {
            Kind::Aws => Kms::credentials(builder).more(&format!(
                "{table}kind = \"aws-secrets-manager\"\nregion = \"eu-central-1\"\nendpoint = \"http://{address}\"\ncredentials-file = \"aws-credentials\"\n"
            )),
            Kind::Bao => {
                let body = json!({ "policies": [place], "no_default_policy": true, "ttl": "1h" });
                let made = told("token", &self.bao("auth/token/create", &body).await);
                let token = made["auth"]["client_token"].as_str().unwrap().to_owned();
                builder.file("kv-token", &token).more(&format!(
                    "{table}kind = \"openbao-kv\"\naddress = \"http://{address}\"\nmount = \"{place}\"\ntoken = {{ file = \"kv-token\" }}\n"
                ))
            }
        }
    }

    /// What is there, by `product/NAME` or `tenants/ID/NAME`; nothing where there is none.
    pub(crate) async fn value(&self, name: &str) -> Option<String> {
        let place = &self.place;
        let (answer, value) = match self.kind {
            Kind::Aws => {
                let body = json!({ "SecretId": format!("{place}/{name}") });
                (self.aws("GetSecretValue", &body).await, "/SecretString")
            }
            Kind::Bao => {
                let path = format!("{place}/data/{place}/{name}");
                (self.bao(&path, &Value::Null).await, "/data/data/value")
            }
        };
        if answer.status == 404 {
            return None;
        }
        let value = told(name, &answer).pointer(value).unwrap().clone();
        Some(value.as_str().unwrap().to_owned())
    }

    /// How many versions of it there are.
    pub(crate) async fn versions(&self, name: &str) -> usize {
        let place = &self.place;
        match self.kind {
            Kind::Aws => {
                let body =
                    json!({ "SecretId": format!("{place}/{name}"), "IncludeDeprecated": true });
                let answer = self.aws("ListSecretVersionIds", &body).await;
                told(name, &answer)["Versions"].as_array().unwrap().len()
            }
            Kind::Bao => {
                let path = format!("{place}/metadata/{place}/{name}");
                let all = told(name, &self.bao(&path, &Value::Null).await);
                all["data"]["versions"].as_object().unwrap().len()
            }
        }
    }

    /// Somebody else writes it there.
    pub(crate) async fn change(&self, name: &str, value: &str) {
        let place = &self.place;
        match self.kind {
            Kind::Aws => {
                let mut body =
                    json!({ "SecretId": format!("{place}/{name}"), "SecretString": value });
                let operation = if self.value(name).await.is_some() {
                    "PutSecretValue"
                } else {
                    body["Name"] = body["SecretId"].take();
                    "CreateSecret"
                };
                told(name, &self.aws(operation, &body).await);
            }
            Kind::Bao => {
                let path = format!("{place}/data/{place}/{name}");
                let body = json!({ "data": { "value": value } });
                told(name, &self.bao(&path, &body).await);
            }
        }
    }

    /// Somebody else deletes it there.
    pub(crate) async fn delete(&self, name: &str) {
        let place = &self.place;
        match self.kind {
            Kind::Aws => {
                let body = json!({ "SecretId": format!("{place}/{name}") });
                told(name, &self.aws("DeleteSecret", &body).await);
            }
            Kind::Bao => {
                let path = format!("{place}/delete/{place}/{name}");
                let body = json!({ "versions": [1, 2, 3] });
                told(name, &self.bao(&path, &body).await);
            }
        }
    }
}
