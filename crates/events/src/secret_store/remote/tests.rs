use super::*;

fn known<'a>(token: &'a str, version: Option<&'a str>) -> Known<'a> {
    Known {
        secret: Uuid::from_u128(7),
        version_here: 3,
        pushes: 1,
        token,
        version,
        overwrite: false,
    }
}

#[test]
fn what_we_wrote_is_known_by_its_name_and_nothing_else_is_replaced() {
    let secret = Uuid::from_u128(7);
    let own = token(secret, 3, 1);
    // A version that was written, and whose answer was lost.
    for (version, pushes) in [(3, 1), (3, 0), (2, 1), (1, 0)] {
        assert!(known(&own, None).may_replace(&token(secret, version, pushes)));
    }
    let others = [
        token(secret, 4, 1),
        token(secret, 3, 2),
        token(Uuid::from_u128(8), 3, 1),
        Uuid::new_v4().to_string(),
        String::new(),
    ];
    for other in &others {
        assert!(!known(&own, Some("x")).may_replace(other), "{other}");
    }
    assert!(known(&own, Some(&others[0])).may_replace(&others[0]));
    let pushed = Known {
        overwrite: true,
        ..known(&own, None)
    };
    assert!(pushed.may_replace(&others[3]));
}

#[test]
fn a_name_there_fits_what_the_services_want() {
    let name = token(Uuid::from_u128(7), 1, 0);
    // 32 to 64 characters.
    assert_eq!(name.len(), 36);
    assert_eq!(name, token(Uuid::from_u128(7), 1, 0));
}
