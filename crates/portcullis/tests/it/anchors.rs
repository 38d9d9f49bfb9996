//! Checkpoints of the audit log outside of the database (A1, A7): in a file, and in a bucket of what moto plays of
//! S3. A log that does not go on from the last one adds nothing.

use crate::faults::metric;
use crate::support::kms::{Kms, Relay, address};
use crate::support::{Client, Gateway, GatewayBuilder, Upstream, eventually, eventually_asked};

const FAILED: &str = "portcullis_audit_anchor_failures_total";
const REFUSED: &str = "the audit log's checkpoint could not be kept outside";
/// moto asks who somebody is, and takes anybody's word for it.
const ANYBODY: &str = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";

/// A bucket of the test's own.
struct Bucket {
    name: String,
    relay: Relay,
    client: Client,
}

impl Bucket {
    async fn start() -> Self {
        let address = address("PORTCULLIS_TEST_MOTO");
        let bucket = Bucket {
            name: format!("audit-{}", uuid::Uuid::new_v4().simple()),
            relay: Relay::before(address).await,
            client: Client::to(address),
        };
        let made = bucket
            .client
            .request(http::Method::PUT, &format!("/{}", bucket.name));
        let made = made.header("authorization", ANYBODY).send().await;
        assert_eq!(made.status, 200, "{}", made.text());
        bucket
    }

    fn under(&self, builder: GatewayBuilder) -> GatewayBuilder {
        let (name, address) = (&self.name, self.relay.address);
        Kms::credentials(builder).more(&format!(
            "\n[audit.anchor-bucket]\nname = \"{name}\"\nregion = \"us-east-1\"\nendpoint = \"http://{address}\"\ncredentials-file = \"aws-credentials\"\n"
        ))
    }

    async fn object(&self, key: &str) -> Option<String> {
        let request = self.client.get(&format!("/{}/portcullis/{key}", self.name));
        let answer = request.header("authorization", ANYBODY).send().await;
        (answer.status == 200).then(|| answer.text())
    }

    /// The newest checkpoint, once there is one of more events than `before`.
    async fn newest(&self, before: u64) -> (u64, String) {
        let is_newer = async || {
            let latest = self.object("latest").await;
            latest.is_some_and(|note| size(&note) > before)
        };
        eventually_asked("a checkpoint is in the bucket", is_newer).await;
        let note = self.object("latest").await.unwrap();
        (size(&note), note)
    }
}

/// Of a checkpoint: its second line.
fn size(note: &str) -> u64 {
    note.lines().nth(1).unwrap().parse().unwrap()
}

/// Events of a gate's own that are signed.
fn signed(gateway: &Gateway, name: &str) {
    let email = format!("{name}@corp.test");
    let made = gateway.cli(&["users", "create", "--email", &email]);
    assert!(made.status.success());
    assert!(gateway.cli(&["audit", "checkpoint"]).status.success());
}

// The line before the bucket works while the command line does.
#[tokio::test(flavor = "multi_thread")]
async fn every_checkpoint_in_a_bucket_holds_the_log_to_it() {
    let upstream = Upstream::start().await;
    let bucket = Bucket::start().await;
    let gateway = bucket.under(Gateway::builder_usual(&upstream).await);
    let gateway = gateway.start().await;
    signed(&gateway, "ada");
    // A gate that starts puts what there is at once.
    let gateway = gateway.end().await.start().await;
    let (first, note) = bucket.newest(0).await;
    signed(&gateway, "ben");
    let gateway = gateway.end().await.start().await;
    let (second, _) = bucket.newest(first).await;
    for size in [first, second] {
        let key = format!("checkpoints/{size:020}");
        let kept = bucket.object(&key).await.unwrap();
        let file = gateway.folder.join("kept");
        std::fs::write(&file, kept).unwrap();
        let file = file.to_str().unwrap().to_owned();
        let verified = gateway.cli(&["audit", "verify", "--checkpoint", &file]);
        let said = String::from_utf8_lossy(&verified.stdout).into_owned();
        assert!(verified.status.success(), "{said}");
    }
    let doctor = String::from_utf8(gateway.cli(&["doctor"]).stdout).unwrap();
    assert!(
        doctor.contains("bucket of checkpoints: answers"),
        "{doctor}"
    );

    // Another log, such as one that was begun anew, adds nothing to this one's.
    let (size, before) = bucket.newest(first).await;
    let other = bucket.under(Gateway::builder_usual(&upstream).await);
    let other = other.start().await;
    for name in ["eve", "mallory", "oscar"] {
        signed(&other, name);
    }
    let other = other.end().await.start().await;
    other.wait_until_printed(REFUSED).await;
    eventually_asked("it is counted", async || {
        metric(&other, FAILED).await > Some(0.0)
    })
    .await;
    assert_eq!(bucket.newest(0).await, (size, before));
    assert!(note.starts_with("portcullis"), "{note}");
}

#[tokio::test]
async fn a_bucket_that_is_away_is_counted_and_gets_its_checkpoint_when_it_is_back() {
    let upstream = Upstream::start().await;
    let mut bucket = Bucket::start().await;
    let gateway = bucket.under(Gateway::builder_usual(&upstream).await);
    let gateway = gateway.start().await;
    signed(&gateway, "ada");
    let ended = gateway.end().await;
    bucket.relay.stop().await;
    let gateway = ended.start().await;
    gateway.wait_until_printed(REFUSED).await;
    eventually_asked("it is counted", async || {
        metric(&gateway, FAILED).await > Some(0.0)
    })
    .await;
    let doctor = String::from_utf8(gateway.cli(&["doctor"]).stdout).unwrap();
    assert!(doctor.contains("see [audit.anchor-bucket]"), "{doctor}");
    // Nobody waits for it.
    assert_eq!(gateway.client().get("/public").send().await.status, 200);
    let ended = gateway.end().await;
    bucket.relay.start_again().await;
    let _gateway = ended.start().await;
    bucket.newest(0).await;
}

#[tokio::test]
async fn a_file_of_checkpoints_is_added_to() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream).await;
    let gateway = builder.more("\n[audit]\nanchor-file = \"kept\"\n");
    let gateway = gateway.start().await;
    signed(&gateway, "ada");
    let gateway = gateway.end().await.start().await;
    let file = gateway.folder.join("kept");
    eventually("a checkpoint is in the file", || file.exists()).await;
    let verified = gateway.cli(&["audit", "verify", "--checkpoint", "kept"]);
    assert!(verified.status.success());
    let said = String::from_utf8(gateway.cli(&["doctor"]).stdout).unwrap();
    assert!(said.contains("file of checkpoints: has"), "{said}");
    // What is no checkpoint of this log stays as it is.
    let ended = gateway.end().await;
    std::fs::write(&file, "something else\n").unwrap();
    let gateway = ended.start().await;
    gateway.wait_until_printed(REFUSED).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "something else\n");
    let said = String::from_utf8(gateway.cli(&["doctor"]).stdout).unwrap();
    assert!(said.contains("does not end with a checkpoint"), "{said}");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_one_is_named_before_the_start() {
    let upstream = Upstream::start().await;
    let builder = Gateway::builder_usual(&upstream).await;
    for (line, key) in [
        ("name = \"a.b.c\"", "audit.anchor-bucket.name"),
        ("name = \"audit\"", "audit.anchor-bucket.region"),
        (
            "name = \"audit\"\nregion = \"eu-central-1\"",
            "audit.anchor-bucket.credentials-file",
        ),
    ] {
        let table = format!("\n[audit.anchor-bucket]\n{line}\n");
        let output = builder.clone().more(&table).cli(&["check"]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(key), "{key}: {said}");
    }
}
