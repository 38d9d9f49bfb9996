//! What a decision costs, with few tenants and users and with many: the same, within noise.
//!
//! `cargo run --release -p portcullis-core --example decision`
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a program for a person who measures"
)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use http::Method;
use portcullis_core::binding::{Asked, Binding, Place};
use portcullis_core::decision::{Access, Rule, decide};
use portcullis_core::principal::{Credential, Principal, Standing, User};
use portcullis_core::roles::{Roles, default_roles};
use portcullis_core::route::{Found, Methods, Pattern, RouteTable};
use portcullis_core::{SessionId, TenantId, Timestamp, UserId};

const ROUNDS: usize = 2_000_000;

fn main() {
    let roles = Roles::compile(&default_roles()).unwrap();
    let rule = Rule {
        tenant: Some(Binding::Path("org".to_owned())),
        ..Rule::new(Access::Permission {
            mask: roles.permission_mask("read:all").unwrap(),
            name: "read:all".to_owned(),
        })
    };
    let mut table = RouteTable::default();
    table
        .insert(Pattern::parse("/orgs/{org}").unwrap(), Methods::Any, ())
        .unwrap();
    for (tenants, users) in [(1, 1), (100, 10_000), (10_000, 1_000_000)] {
        let places: Vec<Place> = (0..tenants)
            .map(|number| Place {
                id: TenantId::new(),
                slug: format!("tenant-{number}").into(),
                is_suspended: false,
            })
            .collect();
        let paths: Vec<String> = places
            .iter()
            .map(|place| format!("/orgs/{}", place.slug))
            .collect();
        let standing = Arc::new(Standing {
            roles: Arc::from([Arc::from("custom:auditor"), Arc::from("user")]),
            permissions: Arc::from([Arc::from("read:all")]),
        });
        let nothing: Arc<[Arc<str>]> = Arc::from([]);
        let callers: Vec<Principal> = (0..users)
            .map(|number| {
                Principal::User(User {
                    id: UserId::new(),
                    credential: Credential::Session(SessionId::new()),
                    tenant: places.get(number % tenants).map(|place| place.id),
                    standing: Some(Arc::clone(&standing)),
                    roles: Arc::clone(&nothing),
                    authenticated_at: Timestamp::EPOCH,
                    second_factor_at: None,
                })
            })
            .collect();
        let began = Instant::now();
        // A step that visits callers far from each other, as requests do.
        let mut at = 0;
        for _ in 0..ROUNDS {
            at = (at + 7_919) % users;
            let here = at % tenants;
            let (Some(caller), Some(place), Some(path)) =
                (callers.get(at), places.get(here), paths.get(here))
            else {
                continue;
            };
            let Found::Route { params, .. } = table.find(&Method::GET, path) else {
                continue;
            };
            let asked = Asked {
                place: Some(place),
                ..Asked::path(&params, Timestamp::EPOCH)
            };
            assert!(black_box(decide(&rule, caller, &roles, &asked)).is_ok());
        }
        let each = began.elapsed().as_nanos() / ROUNDS as u128;
        println!("{tenants:>6} tenants {users:>8} users: {each} ns a decision, its route found");
    }
}
