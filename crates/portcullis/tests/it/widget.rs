//! The widget in a real browser (W3): on a page of the tenant's it opens with little and keeps its token
//! to itself; on other pages it does not open; and frames that lie are not heard.

use axum::body::Body;
use axum::http::Response;
use serde_json::{Value, json};

use crate::support::{Gateway, Upstream, chromium};
use crate::visitors::done;

const ROUTES: &str = r#"
[hosts]
allow = ["gate.corp.test"]

[limits.default]
rate = "10000/minute"

[limits.visits]
rate = "1000/minute"

[visitors]
features = ["microphone"]

[[route]]
path = "/widget/{tenant}"
allow = "public"
framing = { tenant = "tenant" }

[[route]]
path = "/around"
allow = "public"

[[route]]
path = "/inner"
allow = "public"
framing = "same-origin"

[[route]]
path = "/app.js"
allow = "public"

[[route]]
path = "/visits/{visitor}"
allow = { action = "read", owner = "visitor" }
callers = ["visitor"]
"#;

/// The product's page in the frame.
const PAGE: &str = r#"<!doctype html><html lang="en"><title>Chat</title>
<script src="/.portcullis/widget/acme/frame.js"></script><script src="/app.js"></script>"#;

/// Its script: who am I, and what is mine?
const APP: &str = r#"
window.started = true;
if (!location.search) PortcullisVisitor.session().then(async ({ id }) => {
  const mine = await PortcullisVisitor.fetch(`/visits/${id}`);
  const theirs = await PortcullisVisitor.fetch("/visits/0191d3a0-0000-7000-8000-000000000000");
  window.outcome = { id, mine: mine.status, theirs: theirs.status };
});
// Of the gate's origin as well, and all the same not the widget.
else setInterval(() => parent.postMessage({ portcullis: 1, type: "close" }, location.ancestorOrigins[0]), 25);"#;

fn html(text: String) -> Response<Body> {
    Response::builder()
        .header("content-type", "text/html")
        .body(Body::from(text))
        .unwrap()
}

/// What a liar's frame does, ten times a second: it speaks as the widget to the page, and as the page to
/// the widget.
const LIES: &str = r#"<!doctype html><script>
const planted = "0191d3a0-0000-7000-8000-0000000000ff";
setInterval(() => {
  for (const message of [{ type: "begin" }, { type: "close" }, { type: "resize", height: 130 }])
    parent.postMessage({ portcullis: 1, ...message }, "*");
  const session = { portcullis: 1, type: "session", id: planted,
    token: "pcv_" + "A".repeat(43), expires_at: "2999-01-01T00:00:00Z" };
  for (let at = 0; at < parent.frames.length; at += 1) parent.frames[at].postMessage(session, "*");
}, 20);
</script>"#;

/// What came into the frame in place of the widget.
const IN_THE_FRAME: &str = r#"<!doctype html><script>
// The liars talk to every frame; the page around this one has nothing to say.
onmessage = (event) => { if (event.source === parent) fetch("/heard"); };
setInterval(() => parent.postMessage({ portcullis: 1, type: "begin" }, "*"), 20);
setTimeout(() => fetch("/asks"), 200);
</script>"#;

/// All other sites, told apart by their host.
async fn sites(gate: &Gateway) -> Upstream {
    let gate = format!("http://gate.corp.test:{}", gate.address.port());
    Upstream::answering(move |request| {
        let host = request.header("host").unwrap();
        let port = host.rsplit(':').next().unwrap();
        let embed = format!(
            "<!doctype html><html lang=en><title>a site</title><body><script src=\"{gate}/.portcullis/widget.js\" data-tenant=\"acme\"></script>"
        );
        let frame = |source: &str, more: &str| format!("<iframe {more} src=\"{source}\"></iframe>");
        html(match request.target.as_str() {
            "/" | "/embed" => embed,
            "/with-liars" => [
                frame(&format!("http://evil.test:{port}/lies"), ""),
                // Another page of the tenant's own, which is not the page around the widget.
                frame(&format!("http://www.acme.test:{port}/lies"), ""),
                // Its origin is `null`.
                frame(&format!("http://shop.acme.test:{port}/lies"), "sandbox=\"allow-scripts\""),
                frame(&format!("{gate}/widget/acme?second"), ""),
                embed,
            ]
            .concat(),
            "/by-hand" => format!(
                "<!doctype html><title>a site</title><script>onmessage = () => {{ window.asked = true; }};</script>{}",
                frame(&format!("{gate}/widget/acme"), "title=Chat")
            ),
            "/lies" => LIES.to_owned(),
            "/in-the-frame" => IN_THE_FRAME.to_owned(),
            _ => String::new(),
        })
    })
    .await
}

async fn watched() -> Value {
    let product = Upstream::answering(|request| match request.target.as_str() {
        "/app.js" => Response::builder()
            .header("content-type", "text/javascript")
            .body(Body::from(APP))
            .unwrap(),
        target if target.starts_with("/widget/") => html(PAGE.to_owned()),
        "/inner" => html(PAGE.to_owned()),
        "/around" => html("<!doctype html><iframe src=\"/inner\"></iframe>".to_owned()),
        _ => Response::new(Body::from("a conversation")),
    })
    .await;
    let gateway = Gateway::builder(&product, ROUTES).await.start().await;
    let sites = sites(&gateway).await;
    let (gate_port, site_port) = (
        gateway.address.port().to_string(),
        sites.address().port().to_string(),
    );
    done(&gateway, &["tenants", "create", "acme"]);
    let [shop, www] = ["shop", "www"].map(|name| format!("http://{name}.acme.test:{site_port}"));
    done(&gateway, &["visitors", "set-origins", "acme", &shop, &www]);
    let mut told = chromium::drive("widget.cjs", &[&gate_port, &site_port]).await;
    let leaked = gateway.printed();
    assert!(!leaked.contains("pcv_"), "a token is in the log");
    let list = done(&gateway, &["--output", "json", "visitors", "list", "acme"]);
    told["visits"] = serde_json::from_str(&list).unwrap();
    told["shop"] = json!(shop);
    told
}

#[tokio::test]
async fn the_widget_opens_for_the_tenants_pages_with_little_and_hears_nobody_else() {
    let told = watched().await;
    assert_eq!(
        told["before"],
        json!({ "begun": 0, "frames": 1 }),
        "nothing before it is opened"
    );

    let allowed = &told["allowed"];
    assert_eq!(allowed["first"]["mine"], 200, "{allowed:#}");
    assert_eq!(allowed["first"]["theirs"], 404);
    assert_eq!(
        allowed["again"]["id"], allowed["first"]["id"],
        "the visit goes on"
    );
    assert_eq!(allowed["begun"], 1);
    let attributes = &allowed["attributes"];
    assert_eq!(
        attributes["sandbox"],
        "allow-scripts allow-same-origin allow-forms"
    );
    assert_eq!(attributes["allow"], "microphone");
    assert_eq!(attributes["referrerpolicy"], "no-referrer");
    assert_eq!(allowed["referrer"], "");
    assert_eq!(allowed["token_in_addresses"], 0);
    assert_eq!(allowed["keeps_token"], true);
    assert_eq!(
        allowed["reads"],
        json!({ "storage": "{}", "frame": "refused" })
    );
    let height: u32 = allowed["height"]
        .as_str()
        .unwrap()
        .trim_end_matches("px")
        .parse()
        .unwrap();
    assert!((120..=900).contains(&height), "{height}");
    assert_eq!(allowed["anew"], true);
    assert_eq!(
        allowed["elsewhere"],
        "portcullis: only paths of this origin"
    );

    let hostile = &told["hostile"];
    assert_eq!(
        hostile["frames"],
        json!(["chrome-error://chromewebdata/"]),
        "{hostile:#}"
    );
    assert_eq!(hostile["byHand"], "TypeError", "it reads no answer");
    assert_eq!(hostile["frameScript"], "refused");

    // One of the five that tenants' pages begin was ended and begun anew; what others began is nowhere.
    let visits = told["visits"].as_array().unwrap();
    assert_eq!(visits.len(), 5, "{visits:?}");
    assert!(visits.iter().all(|visit| visit["origin"] == told["shop"]));

    let lying = &told["lying"];
    assert_eq!(lying["begun_before"], 0, "{lying:#}");
    assert_eq!(
        (&lying["begun"], &lying["shown"]),
        (&json!(1), &json!(true))
    );
    assert_ne!(lying["height"], "130px");
    assert_eq!(lying["kept"], lying["outcome"]["id"]);
    assert_ne!(lying["kept"], "0191d3a0-0000-7000-8000-0000000000ff");
    assert_eq!(lying["heard_elsewhere"], 0);
    assert_eq!(lying["begun_elsewhere"], 0);

    // Each way in which a message can be wrong, and nothing else wrong with it.
    let right = json!({ "begun": 1, "shown": true, "same": true });
    assert_eq!(told["shapesUp"], right, "what the widget says");
    // Also what the gate refused, and the frame forgot again, was never shown to it.
    let right = json!({ "planted": [], "shown": [], "own": true, "unasked": false });
    assert_eq!(told["shapesDown"], right, "what the page says");
    let right = json!({ "kept": null, "shown": [] });
    assert_eq!(
        told["foreignParent"], right,
        "a page that is not the tenant's"
    );
    let right = json!({ "status": 201, "heard": 0 });
    assert_eq!(told["awayMeanwhile"], right, "whoever came into the frame");
}
