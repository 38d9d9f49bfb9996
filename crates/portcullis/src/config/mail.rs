//! The `[mail]` table: how letters leave the house.

use std::path::PathBuf;

use portcullis_core::finding::Finding;
use portcullis_core::{Mode, Secret};
use portcullis_edge::mail::{BadSettings, Mailer, Server};
use portcullis_identity::accounts::Registration;
use serde::Deserialize;

use super::secrets::SecretRef;
use super::{Config, Loaded};

/// `[mail]`
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(crate) struct MailConfig {
    /// The SMTP server: `"smtps://mail.example.com:465"`, or `"smtp://mail.example.com:587"`, which
    /// has to offer STARTTLS. Only on this machine (`"smtp://127.0.0.1:25"`) letters go without TLS.
    /// Default none: no letters, and so no link to a new password.
    pub(crate) server: Option<String>,
    /// The name to sign in to the server with. Default none: the server knows the gate otherwise.
    pub(crate) user: Option<String>,
    /// Its password, by reference: `{ env = "SMTP_PASSWORD" }` or `{ file = "path" }`.
    pub(crate) password: Option<SecretRef>,
    /// The sender, such as `"Shop <no-reply@shop.example>"`. Required where letters are sent.
    pub(crate) from: String,
    /// A file of certificates (PEM) that the server's may be signed by, beside those that the system
    /// believes. Default none.
    pub(crate) ca: Option<PathBuf>,
    /// A folder that letters are written into instead of being sent, for development. Default none.
    /// Whoever reads it can set the password of every account.
    pub(crate) folder: Option<PathBuf>,
}

impl MailConfig {
    /// Whether letters leave at all.
    pub(crate) const fn is_on(&self) -> bool {
        self.server.is_some() || self.folder.is_some()
    }
}

/// The mailer that the configuration asks for; nothing where there is none, or where findings say
/// what is wrong with it.
pub(crate) fn compile(
    whole: &Config,
    loaded: &Loaded,
    findings: &mut Vec<Finding>,
) -> Option<Mailer> {
    let config = &whole.mail;
    let wrong = |key: &str, message: String| Finding::error("mail", format!("mail.{key}"), message);
    if !config.is_on() {
        if whole.accounts.registration == Registration::Confirmed {
            let key = "accounts.registration";
            let message = "accounts are opened by a link in a letter, and no letter leaves";
            let remedy = "add [mail] with server = \"smtps://mail.example.com:465\"";
            findings.push(Finding::error("registration", key, message).remedy(remedy));
        }
        if *config != MailConfig::default() {
            findings.push(
                wrong(
                    "server",
                    "there is neither a server nor a folder".to_owned(),
                )
                .remedy("write server = \"smtps://mail.example.com:465\""),
            );
        }
        return None;
    }
    findings.extend(origin(whole));
    if let (Some(_), Mode::Production) = (&config.folder, whole.mode) {
        findings.push(
            wrong(
                "folder",
                "letters in a folder are for development: nobody gets them".to_owned(),
            )
            .remedy("write server = \"smtps://mail.example.com:465\" instead"),
        );
        return None;
    }
    match mailer(config, loaded) {
        Ok(mailer) => Some(mailer),
        Err((key, message)) => {
            findings.push(wrong(key, message));
            None
        }
    }
}

fn mailer(config: &MailConfig, loaded: &Loaded) -> Result<Mailer, (&'static str, String)> {
    if config.from.is_empty() {
        return Err((
            "from",
            "say who the letters are from, such as `Shop <no-reply@shop.example>`".to_owned(),
        ));
    }
    let said = |error: BadSettings| {
        let key = match error {
            BadSettings::Server(_) | BadSettings::Userinfo | BadSettings::PasswordInTheClear => {
                "server"
            }
            BadSettings::From(_) => "from",
            BadSettings::Certificates(_) => "ca",
        };
        (key, error.to_string())
    };
    let address = match (&config.server, &config.folder) {
        (Some(address), None) => address,
        (None, Some(folder)) => {
            return Mailer::folder(&config.from, loaded.path(folder)).map_err(said);
        }
        (Some(_), Some(_)) => {
            return Err(("folder", "take either a server or a folder".to_owned()));
        }
        (None, None) => return Err(("server", "there is none".to_owned())),
    };
    let certificates = match &config.ca {
        None => None,
        Some(file) => Some(
            std::fs::read(loaded.path(file))
                .map_err(|error| ("ca", format!("`{}`: {error}", file.display())))?,
        ),
    };
    let password: Option<&Secret> = loaded.secrets.mail_password.as_ref();
    let user = match (config.user.as_deref(), password) {
        (None, None) => None,
        (Some(user), Some(password)) => Some((user, password)),
        (Some(_), None) => return Err(("password", "a user needs a password".to_owned())),
        (None, Some(_)) => return Err(("user", "a password needs a user".to_owned())),
    };
    let server = Server {
        address,
        user,
        certificates: certificates.as_deref(),
    };
    Mailer::smtp(&config.from, &server).map_err(said)
}

/// What is wrong with the origin that links begin with.
fn origin(config: &Config) -> Option<Finding> {
    let key = "accounts.origin";
    let remedy = "write the address that people know, without a path: \"https://shop.example\"";
    let Some(origin) = &config.accounts.origin else {
        let message = "links in letters need the address that people reach the gate at";
        return Some(Finding::error("origin", key, message).remedy(remedy));
    };
    portcullis_identity::accounts::origin(origin, config.mode == Mode::Production)
        .err()
        .map(|message| Finding::error("origin", key, message).remedy(remedy))
}
