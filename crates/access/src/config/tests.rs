use super::*;

fn parse(text: &str) -> Result<AccessConfig, toml::de::Error> {
    toml::from_str(text)
}

fn allow(text: &str) -> Result<Allow, toml::de::Error> {
    parse(&format!("[[route]]\npath = \"/\"\nallow = {text}\n"))
        .map(|config| config.routes[0].allow.clone().unwrap())
}

#[test]
fn every_form_of_allow_is_read_and_written_alike() {
    for (text, expected) in [
        ("\"public\"", Allow::Public),
        ("\"user\"", Allow::User),
        ("\"closed\"", Allow::Closed),
        (
            "{ role = [\"admin\", \"moderator\"] }",
            Allow::Role(vec!["admin".to_owned(), "moderator".to_owned()]),
        ),
        (
            "{ permission = \"manage:users\" }",
            Allow::Permission("manage:users".to_owned()),
        ),
        (
            "{ action = \"read\", owner = \"user_id\" }",
            Allow::Owned {
                action: "read".to_owned(),
                owner: "user_id".to_owned(),
            },
        ),
    ] {
        assert_eq!(allow(text).unwrap(), expected);
        assert_eq!(expected.to_string(), text);
    }
    assert_eq!(
        allow("{ role = \"admin\" }").unwrap(),
        Allow::Role(vec!["admin".to_owned()])
    );
}

#[test]
fn an_allow_that_says_two_things_or_none_is_refused() {
    for text in [
        "\"admin\"",
        "\"Public\"",
        "true",
        "[]",
        "{}",
        "{ role = [\"admin\"], permission = \"manage:users\" }",
        "{ action = \"read\" }",
        "{ owner = \"id\" }",
        "{ role = [\"admin\"], public = true }",
        "{ user = true }",
    ] {
        assert!(allow(text).is_err(), "{text}");
    }
}

#[test]
fn unknown_keys_are_refused() {
    assert!(parse("[[route]]\npath = \"/\"\nallow = \"user\"\nalow = \"public\"\n").is_err());
    assert!(parse("[[routes]]\npath = \"/\"\nallow = \"user\"\n").is_err());
    assert!(parse("[roles.admin]\npermission = []\n").is_err());
}

#[test]
fn defaults_are_the_safe_values() {
    let config = parse("[[route]]\npath = \"/\"\n").unwrap();
    let route = &config.routes[0];
    assert!(route.csrf);
    assert!(route.cors);
    assert_eq!(route.allow, None);
    assert_eq!(config.roles(), default_roles());
}

#[test]
fn routes_remember_their_lines() {
    let source = "# a comment\n[[route]]\npath = \"/\"\nallow = \"user\"\n\n[roles.admin]\n\n[[route]]\npath = \"/a\"\nallow = \"user\"\n";
    let mut config = parse(source).unwrap();
    config.locate(source);
    let lines: Vec<_> = config.routes.iter().map(|route| route.line).collect();
    assert_eq!(lines, [Some(2), Some(8)]);
}

#[test]
fn a_config_survives_writing_and_reading() {
    let mut config = AccessConfig {
        roles: Some(default_roles()),
        routes: vec![RouteConfig {
            methods: Some(vec!["GET".to_owned()]),
            csrf: false,
            callers: vec![CallerKind::User, CallerKind::ApiKey],
            framing: Some(Framing::SameOrigin),
            max_body: Some(ByteSize::mib(10)),
            timeout: Some(Span::from_seconds(30)),
            ..RouteConfig::new("/a/{id}", Allow::Role(vec!["admin".to_owned()]))
        }],
    };
    config.routes[0].limits.push("auth".to_owned());
    let text = toml::to_string(&config).unwrap();
    assert_eq!(parse(&text).unwrap(), config, "{text}");
}
