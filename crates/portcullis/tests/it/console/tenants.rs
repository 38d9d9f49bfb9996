//! Tenants, their members and their roles, by hand.

use serde_json::Value;

use super::{
    ANA, CONSOLE, EVE, HOSTILE, ROOT, account, assert_harmless, builder, done, gate, json,
};
use crate::support::{Browser, Gateway, Upstream};

/// Ana administers acme, Eve is a member of it; Root runs the gate and belongs nowhere.
async fn acme() -> (Gateway, Browser) {
    let gateway = gate().await;
    done(&gateway, &["tenants", "create", "acme"]);
    done(&gateway, &["tenants", "set-roles", "acme", ANA, "admin"]);
    done(&gateway, &["tenants", "set-roles", "acme", EVE, "user"]);
    let ana = gateway.signed_in(ANA).await;
    (gateway, ana)
}

fn below(page: &str) -> String {
    format!("{CONSOLE}/tenants/acme/{page}")
}

fn members(gateway: &Gateway) -> Vec<Value> {
    let list = json(gateway, &["tenants", "members", "acme"]);
    list.as_array().unwrap().clone()
}

#[tokio::test]
async fn whoever_runs_the_gate_makes_suspends_and_resumes_tenants() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let new = root.open(&format!("{CONSOLE}/tenants/new")).await;
    let fields = [
        ("slug", "acme"),
        ("name", "Acme & Sons"),
        ("email", ANA),
        ("roles", "admin"),
    ];
    let made = root.fill(&new, "/tenants", &fields).await;
    assert_eq!(made.answer.status, 201, "{}", made.text);
    let token = made.secret();
    let again = root.fill(&new, "/tenants", &fields).await;
    assert_eq!(again.answer.status, 409);
    let second = root.open(&format!("{CONSOLE}/tenants/new")).await;
    let second = root.fill(&second, "/tenants", &fields).await;
    assert_eq!(second.answer.status, 422);
    assert!(
        second.text.contains("This short name is taken"),
        "{}",
        second.text
    );
    assert!(second.text.contains("value=\"Acme &amp; Sons\""));
    let bad = root.fill(&second, "/tenants", &[("slug", "No Name")]).await;
    assert!(
        bad.text.contains("The short name must be 2 to 63"),
        "{}",
        bad.text
    );

    let ana = gateway.signed_in(ANA).await;
    let redeem = ana.post("/.portcullis/auth/invitation");
    let redeem = redeem
        .json(&serde_json::json!({ "token": token }))
        .send()
        .await;
    assert_eq!(redeem.status, 200, "{}", redeem.text());
    let overview = ana.open(CONSOLE).await.text;
    assert!(overview.contains(&below("members")), "{overview}");
    assert_eq!(ana.open(&below("members")).await.answer.status, 200);

    let list = root.open(&format!("{CONSOLE}/tenants")).await;
    let id = list.ids_below(&format!("{CONSOLE}/tenants")).remove(0);
    let at = format!("{CONSOLE}/tenants/{id}");
    let off = root.fill(&root.open(&at).await, "/suspend", &[]).await;
    let page = root.follow(&off).await;
    assert!(page.text.contains("suspended"));
    assert_eq!(
        ana.get("/anything").send().await.problem(),
        "tenant-suspended"
    );
    assert_eq!(
        ana.get(&below("members")).send().await.problem(),
        "tenant-suspended"
    );
    let on = root.fill(&page, "/resume", &[]).await;
    assert_eq!(root.follow(&on).await.answer.status, 200);
    assert_eq!(ana.get("/anything").send().await.status, 200);
    // A first member who cannot be invited: the tenant is there, and that is what is said.
    let new = root.open(&format!("{CONSOLE}/tenants/new")).await;
    let fields = [("slug", "globex"), ("email", "no address")];
    let half = root.fill(&new, "/tenants", &fields).await;
    assert_eq!(half.answer.status, 422);
    assert!(
        half.text.contains("<h1>globex</h1>") && half.text.contains("must be an e-mail address")
    );
}

#[tokio::test]
async fn tenants_are_listed_to_the_last() {
    let gateway = gate().await;
    let root = gateway.signed_in(ROOT).await;
    let api = "/.portcullis/admin/v1/tenants";
    for number in 0..53 {
        let new = serde_json::json!({ "slug": format!("t{number:02}"), "name": "T" });
        assert_eq!(root.post(api).json(&new).send().await.status, 201);
    }
    let at = format!("{CONSOLE}/tenants");
    let first = root.open(&at).await;
    let second = root.open(&format!("{at}?after=t49")).await;
    assert!(
        first
            .text
            .contains(&format!("href=\"{at}?after=t49\" rel=\"next\""))
    );
    assert_eq!(first.ids_below(&at).len(), 50);
    assert_eq!(second.ids_below(&at).len(), 3);
    assert!(!second.text.contains("rel=\"next\"") && second.text.contains("First page"));
}

#[tokio::test]
async fn an_administrator_of_a_tenant_looks_after_its_members_and_of_no_other() {
    let (gateway, ana) = acme().await;
    done(&gateway, &["tenants", "create", "globex"]);
    let eve = gateway.signed_in(EVE).await;
    let id = account(&gateway, EVE);
    let list = ana.open(&below("members")).await;
    assert!(list.text.contains(EVE) && list.text.contains(ANA));
    let page = ana.open(&below(&format!("members/{id}"))).await;
    let saved = ana
        .fill(&page, &format!("/members/{id}"), &[("roles", "premium")])
        .await;
    assert!(
        ana.follow(&saved)
            .await
            .text
            .contains("value=\"premium\" checked")
    );
    let more = ana
        .fill(&page, &format!("/members/{id}"), &[("roles", "king")])
        .await;
    assert_eq!(more.answer.status, 422);
    assert!(
        more.text.contains("`king` is not a role here"),
        "{}",
        more.text
    );
    assert!(
        members(&gateway)
            .iter()
            .any(|member| member["roles"][0] == "premium")
    );

    // The list of the whole gate, and other tenants, are not theirs.
    for path in ["/users", "/keys", "/tenants"] {
        let page = ana.get(&format!("{CONSOLE}{path}")).send().await;
        assert_eq!(page.problem(), "not-permitted", "{path}");
    }
    let other = ana
        .get(&format!("{CONSOLE}/tenants/globex/members"))
        .send()
        .await;
    assert_eq!(other.problem(), "not-found");
    let root = account(&gateway, ROOT);
    let stranger = ana.get(&below(&format!("members/{root}"))).send().await;
    assert_eq!(stranger.problem(), "not-found");

    let gone = ana.fill(&page, "/remove", &[]).await;
    assert!(!ana.follow(&gone).await.text.contains(EVE));
    assert_eq!(
        eve.get(&below("members")).send().await.problem(),
        "tenant-required"
    );
    assert_eq!(members(&gateway).len(), 1);
}

#[tokio::test]
async fn invitations_are_written_shown_once_and_revoked() {
    let (gateway, ana) = acme().await;
    let list = ana.open(&below("invitations")).await;
    let fields = [("email", ROOT), ("roles", "user")];
    let made = ana.fill(&list, "/invitations", &fields).await;
    assert_eq!(made.answer.status, 201, "{}", made.text);
    let token = made.secret();
    let again = ana.fill(&list, "/invitations", &fields).await;
    assert_eq!(again.answer.status, 409);
    let list = ana.open(&below("invitations")).await;
    assert_eq!(list.text.matches("/revoke\"").count(), 1);
    assert!(list.text.contains(ROOT) && !list.text.contains(&token));
    let refused = ana
        .fill(
            &list,
            "/invitations",
            &[("email", "none"), ("roles", "user")],
        )
        .await;
    assert_eq!(refused.answer.status, 422);
    assert!(refused.text.contains("must be an e-mail address"));
    assert!(
        refused.text.contains("value=\"none\"") && refused.text.contains("value=\"user\" checked")
    );
    let revoked = ana.fill(&list, "/revoke", &[]).await;
    assert!(ana.follow(&revoked).await.text.contains("There are none."));
    let root = gateway.signed_in(ROOT).await;
    let redeem = root.post("/.portcullis/auth/invitation");
    let redeem = redeem
        .json(&serde_json::json!({ "token": token }))
        .send()
        .await;
    assert_eq!(redeem.problem(), "not-found");
}

#[tokio::test]
async fn invitations_are_listed_to_the_last() {
    let (_gateway, ana) = acme().await;
    for number in 0..53 {
        let api = "/.portcullis/admin/v1/tenants/acme/invitations";
        let new = serde_json::json!({ "email": format!("guest{number}@corp.test") });
        assert_eq!(ana.post(api).json(&new).send().await.status, 201);
    }
    let first = ana.open(&below("invitations")).await;
    assert_eq!(first.text.matches("/revoke\"").count(), 50);
    let next = format!("href=\"{}?after=50\" rel=\"next\"", below("invitations"));
    assert!(first.text.contains(&next), "{}", first.text);
    let second = ana.open(&below("invitations?after=50")).await;
    assert_eq!(second.text.matches("/revoke\"").count(), 3);
    assert!(!second.text.contains("rel=\"next\""));
}

#[tokio::test]
async fn roles_are_made_changed_borne_and_deleted() {
    let (gateway, ana) = acme().await;
    let list = ana.open(&below("roles")).await;
    let fields = [("name", "auditor"), ("permissions", "read:all")];
    let made = ana.fill(&list, "/roles", &fields).await;
    assert!(ana.follow(&made).await.text.contains("custom:auditor"));
    let twice = ana.fill(&list, "/roles", &fields).await;
    assert_eq!(twice.answer.status, 422);
    assert!(twice.text.contains("There is a role of this name already."));
    let named = ana
        .fill(
            &list,
            "/roles",
            &[("name", "Not A Name"), ("permissions", "read:all")],
        )
        .await;
    assert!(
        named.text.contains("1 to 63 lower-case letters"),
        "{}",
        named.text
    );
    assert!(
        named.text.contains("value=\"Not A Name\"")
            && named.text.contains("value=\"read:all\" checked")
    );
    // No more than they hold.
    let more = ana
        .fill(
            &list,
            "/roles",
            &[("name", "x"), ("permissions", "moderate:content")],
        )
        .await;
    assert_eq!(more.answer.status, 422, "{}", more.text);
    assert!(
        more.text.contains("You cannot give `moderate:content`"),
        "{}",
        more.text
    );

    let page = ana.open(&below("roles/auditor")).await;
    let changed = ana
        .fill(
            &page,
            "/roles/auditor",
            &[("permissions", "write:all"), ("inherits", "user")],
        )
        .await;
    let page = ana.follow(&changed).await;
    assert!(
        page.text.contains("value=\"write:all\" checked")
            && !page.text.contains("value=\"read:all\" checked")
    );
    assert_eq!(
        ana.get(&below("roles/nothing")).send().await.problem(),
        "not-found"
    );

    let eve = account(&gateway, EVE);
    let member = ana.open(&below(&format!("members/{eve}"))).await;
    let borne = ana
        .fill(
            &member,
            &format!("/members/{eve}"),
            &[("roles", "custom:auditor")],
        )
        .await;
    assert!(
        ana.follow(&borne)
            .await
            .text
            .contains("value=\"custom:auditor\" checked")
    );
    let gone = ana.fill(&page, "/roles/auditor/delete", &[]).await;
    assert!(ana.follow(&gone).await.text.contains("There are none yet."));
    let roles = members(&gateway);
    assert!(
        roles
            .iter()
            .all(|member| member["roles"] != serde_json::json!(["custom:auditor"]))
    );
}

#[tokio::test]
async fn permissions_are_lent_for_a_time_and_taken_back() {
    let (gateway, ana) = acme().await;
    let eve = gateway.signed_in(EVE).await;
    assert_eq!(
        eve.get(&below("members")).send().await.problem(),
        "not-permitted"
    );
    let list = ana.open(&below("grants")).await;
    let fields = [
        ("user_id", EVE),
        ("permission", "manage:users"),
        ("expires_in", "1h"),
    ];
    let lent = ana.fill(&list, "/grants", &fields).await;
    assert!(
        ana.follow(&lent)
            .await
            .text
            .contains("manage:users</strong> to eve@corp.test")
    );
    assert_eq!(eve.get(&below("members")).send().await.status, 200);
    let again = ana.fill(&list, "/grants", &fields).await;
    assert_eq!(again.answer.status, 409);
    let list = ana.open(&below("grants")).await;
    // Nobody in this tenant, and nobody at all, are one answer.
    for stranger in [ROOT, "nobody@corp.test", "nonsense"] {
        let list = ana.open(&below("grants")).await;
        let fields = [
            ("user_id", stranger),
            ("permission", "manage:users"),
            ("expires_in", "1h"),
        ];
        let refused = ana.fill(&list, "/grants", &fields).await;
        assert_eq!(refused.answer.status, 422, "{stranger}");
        assert!(
            refused
                .text
                .contains("No member of this tenant has this address.")
        );
        assert!(refused.text.contains(&format!("value=\"{stranger}\"")));
    }
    let more = ana.open(&below("grants")).await;
    let fields = [
        ("user_id", EVE),
        ("permission", "moderate:content"),
        ("expires_in", "1h"),
    ];
    let more = ana.fill(&more, "/grants", &fields).await;
    assert!(
        more.text.contains("You cannot give `moderate:content`"),
        "{}",
        more.text
    );
    let back = ana.fill(&list, "/take-back", &[]).await;
    assert!(ana.follow(&back).await.text.contains("Nothing."));
    assert_eq!(
        eve.get(&below("members")).send().await.problem(),
        "not-permitted"
    );
}

#[tokio::test]
async fn what_tenants_and_members_are_called_does_nothing_on_a_page() {
    let upstream = Upstream::start().await;
    let gateway = builder(&upstream).await.start().await;
    let root = gateway.signed_in(ROOT).await;
    let new = root.open(&format!("{CONSOLE}/tenants/new")).await;
    let made = root
        .fill(&new, "/tenants", &[("slug", "acme"), ("name", HOSTILE)])
        .await;
    assert_harmless(&root.follow(&made).await);
    assert_harmless(&root.open(&format!("{CONSOLE}/tenants")).await);
    let new = root.open(&format!("{CONSOLE}/users/new")).await;
    let fields = [("email", "x@corp.test"), ("display_name", HOSTILE)];
    assert_eq!(root.fill(&new, "/users", &fields).await.answer.status, 201);
    done(
        &gateway,
        &["tenants", "set-roles", "acme", "x@corp.test", "user"],
    );
    done(&gateway, &["tenants", "set-roles", "acme", ANA, "admin"]);
    let ana = gateway.signed_in(ANA).await;
    for page in ["members", "invitations", "roles"] {
        assert_harmless(&ana.open(&below(page)).await);
    }
    let x = account(&gateway, "x@corp.test");
    assert_harmless(&ana.open(&below(&format!("members/{x}"))).await);
    for (page, field) in [
        ("invitations", "email"),
        ("roles", "name"),
        ("grants", "user_id"),
    ] {
        let list = ana.open(&below(page)).await;
        assert_harmless(
            &ana.fill(&list, &format!("/{page}"), &[(field, HOSTILE)])
                .await,
        );
    }
}
