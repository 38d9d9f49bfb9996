//! The demo's policy: a little of everything that the gate does, so that `portcullis prove` has something to ask
//! for each requirement.

use std::net::SocketAddr;

use super::NONCE;

/// Where everything of the demo listens.
pub(super) struct Places {
    pub(super) gate: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) app: SocketAddr,
    pub(super) scanner: SocketAddr,
}

/// Secrets that the policy names, each a file beside it.
pub(super) const SECRETS: [&str; 3] = ["master", "provider", "stripe"];

#[expect(clippy::too_many_lines, reason = "it is a file")]
pub(super) fn text(places: &Places) -> String {
    let Places {
        gate,
        admin,
        app,
        scanner,
    } = places;
    format!(
        r#"mode = "development"

[listen]
address = "{gate}"

[admin]
address = "{admin}"

[secrets]
master = {{ file = "master" }}

[upstream.board]
url = "http://{app}"

[headers]
nonces = "placeholder"
placeholder = "{NONCE}"

[log]
level = "warn"
format = "text"

# Pages of a partner may read what is public.
[cors]
allow-origins = ["https://partner.demo.test"]

[accounts]
origin = "http://{gate}"

# Letters are written into a folder: nobody gets them.
[mail]
folder = "letters"
from = "Demo <demo@demo.test>"

# Tokens for clients that are no browsers, and those of two other issuers.
[tokens]

[issuer.project]
profile = "supabase"
issuer = "https://project.demo.test/auth/v1"
secret = {{ file = "provider" }}
jwks = ""
administrators = ["boss@demo.test"]

[issuer.company]
profile = "clerk"
issuer = "http://{app}"
authorized-parties = ["https://company.demo.test"]
loopback = true

# Where somebody who finds a weakness reports it.
[security-txt]
contact = ["mailto:security@demo.test"]

# What is personal, and what people are asked to agree to.
[[data]]
field = "profiles.full_name"
kind = "personal"
location = "memory of the demo's application"
seen-by = ["admin", "moderator"]
retention = "until the demo ends"

[[data]]
field = "profiles.iban"
kind = "personal"
location = "memory of the demo's application, sealed"
seen-by = []
sealed = true
retention = "until the demo ends"

[[purpose]]
name = "news"
version = "2026-11"
about = "News of the board by letter"

# Visitors of a widget, fields and files that the gate seals, named secrets.
[visitors]
page = "/widget/{{tenant}}"

[vault]

[secret-store]

[upload-store]

[uploads]
scanner = "{scanner}"

[error-reports]
dsn = {{ file = "reports" }}

# Who is told of what is conspicuous: here the application, which takes it and does nothing.
[[alert]]
name = "room"
slack = {{ file = "alerts" }}

# Scans that have to be there: the demo hands in the first two when it starts, `prove` its own.
[[scan]]
name = "configuration"
covers = "code"
every = "1d"

[[scan]]
name = "components"
covers = "dependencies"

[[scan]]
name = "prove"
covers = "proof"
every = "30d"

[roles.user]
permissions = ["read:own", "write:own", "delete:own"]

[roles.premium]
inherits = ["user"]
permissions = ["export:own"]

[roles.moderator]
permissions = ["read:all", "write:own", "delete:reported", "moderate:content"]

[roles.admin]
permissions = ["read:all", "write:all", "delete:all", "manage:users", "manage:keys", "manage:secrets", "manage:uploads", "manage:audit", "manage:system", "record:scans", "export:users", "erase:users"]
may-give = ["user", "premium", "moderator"]

# What programs may be given.
[roles.service]
permissions = ["seal:vault", "open:vault", "open:secrets", "open:uploads", "consents:write", "consents:read", "export:subjects", "erase:subjects"]

[limits.flood]
rate = "900/minute"
everywhere = true
exempt = ["/health"]

[[webhook]]
name = "payments"
path = "/webhooks/payments"
scheme = "stripe"
secrets = [{{ file = "stripe" }}]

[[route]]
path = "/"
methods = ["GET"]
allow = "public"

[[route]]
path = "/board"
methods = ["GET"]
allow = "user"

[[route]]
path = "/api/notes"
methods = ["GET", "POST"]
allow = "user"

[[route]]
path = "/api/notes/clear"
methods = ["POST"]
allow = {{ role = ["admin"] }}

[[route]]
path = "/api/internal/debug"
allow = "closed"

# For whoever agreed to it.
[[route]]
path = "/api/news"
methods = ["GET"]
allow = "user"
consent = "news"

# One's own record, and administrators'.
[[route]]
path = "/api/profiles/{{user}}"
methods = ["GET"]
allow = {{ action = "read", owner = "user" }}

# Members of the organization that the path names.
[[route]]
path = "/orgs/{{org}}/notes"
methods = ["GET"]
allow = "user"
tenant = {{ path = "org" }}

# Programs as well.
[[route]]
path = "/api/export"
methods = ["GET"]
allow = "user"
callers = ["user", "api-key"]

[[route]]
path = "/api/files"
methods = ["POST"]
allow = "user"
upload = {{ store = true }}

# The page in a widget's frame, and what a visitor may call.
[[route]]
path = "/widget/{{tenant}}"
methods = ["GET"]
allow = "public"
framing = {{ tenant = "tenant" }}

[[route]]
path = "/api/visits/{{visitor}}"
methods = ["GET"]
allow = {{ action = "read", owner = "visitor" }}
callers = ["visitor"]
"#
    )
}
