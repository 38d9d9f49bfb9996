//! Letters on their way out: to an SMTP server, or into a folder while one develops.
//!
//! - TLS always (`smtps://`, or `smtp://` with STARTTLS that must succeed), except to a server on
//!   this very machine. A password never goes where there is no TLS.
//! - One connection per letter, and a time limit on the whole of it: a server that hangs holds up
//!   one letter, and nobody who waits for an answer of the gate.
//! - A letter is plain text, marked as written by a program (RFC 3834), so that no vacation notice
//!   answers it.
//!
//! Letters are not queued or tried again here: that is the outbox's work.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::Uri;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use portcullis_core::Secret;
use tokio::io::AsyncWriteExt as _;
use uuid::Uuid;

/// Longest time that one letter may take.
const LIMIT: Duration = Duration::from_secs(30);
/// Longest time that one answer of the server may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// What is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSettings {
    #[error("`{0}` is not an address of a server, such as smtps://mail.example.com:465")]
    Server(String),
    #[error("user and password stand in keys of their own, not in the server's address")]
    Userinfo,
    #[error("`{0}` is not a sender, such as `Shop <no-reply@shop.example>`")]
    From(String),
    #[error("the certificates cannot be read: {0}")]
    Certificates(String),
    #[error("a password is not sent without TLS: write smtps:// or another host")]
    PasswordInTheClear,
}

/// An SMTP server.
#[derive(Debug)]
pub struct Server<'a> {
    /// `smtps://host:port` or `smtp://host:port`.
    pub address: &'a str,
    pub user: Option<(&'a str, &'a Secret)>,
    /// Certificates (PEM) to believe beside the system's own.
    pub certificates: Option<&'a [u8]>,
}

/// One letter.
pub struct Letter {
    pub to: String,
    pub subject: String,
    pub text: String,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It will not get better: the address or the letter is refused.
    #[error("the letter was refused: {0}")]
    Refused(String),
    /// The server is away, or says that it may work later.
    #[error("the letter could not be handed over: {0}")]
    Unavailable(String),
}

/// Hands letters over.
pub struct Mailer {
    from: Mailbox,
    way: Way,
}

enum Way {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Folder(PathBuf),
}

impl Mailer {
    pub fn smtp(from: &str, server: &Server<'_>) -> Result<Self, BadSettings> {
        let bad = || BadSettings::Server(server.address.to_owned());
        let uri: Uri = server.address.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?;
        if authority.as_str().contains('@') {
            return Err(BadSettings::Userinfo);
        }
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() || !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad());
        }
        // SECURITY: only here may a letter, with its link, travel in the clear.
        let (tls, port) = match uri.scheme_str() {
            Some("smtps") => (Tls::Wrapper(tls(host, server)?), 465),
            Some("smtp") if is_loopback(host) => (Tls::None, 25),
            Some("smtp") => (Tls::Required(tls(host, server)?), 587),
            Some(_) | None => return Err(bad()),
        };
        let is_clear = matches!(tls, Tls::None);
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(host)
            .port(authority.port_u16().unwrap_or(port))
            .tls(tls)
            .timeout(Some(ANSWER_LIMIT));
        if let Some((user, password)) = server.user {
            if is_clear {
                return Err(BadSettings::PasswordInTheClear);
            }
            let credentials = Credentials::new(user.to_owned(), password.expose().clone());
            builder = builder.credentials(credentials);
        }
        Ok(Mailer {
            from: sender(from)?,
            way: Way::Smtp(builder.build()),
        })
    }

    /// Each letter becomes a file `<id>.eml`, readable by its owner alone.
    pub fn folder(from: &str, folder: PathBuf) -> Result<Self, BadSettings> {
        Ok(Mailer {
            from: sender(from)?,
            way: Way::Folder(folder),
        })
    }

    /// Hands one letter over. Dropped half way, the letter may have been delivered.
    pub async fn send(&self, letter: &Letter) -> Result<(), Error> {
        let message = self.compose(letter)?;
        let sending = async {
            match &self.way {
                Way::Smtp(transport) => match transport.send(message).await {
                    Ok(_) => Ok(()),
                    Err(error) if error.is_permanent() => Err(Error::Refused(error.to_string())),
                    Err(error) => Err(Error::Unavailable(reason(&error))),
                },
                Way::Folder(folder) => write(folder, &message.formatted())
                    .await
                    .map_err(|error| Error::Unavailable(error.to_string())),
            }
        };
        match tokio::time::timeout(LIMIT, sending).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Unavailable("it took too long".to_owned())),
        }
    }

    fn compose(&self, letter: &Letter) -> Result<Message, Error> {
        let to: Address = letter
            .to
            .parse()
            .map_err(|_| Error::Refused("the address is none for mail".to_owned()))?;
        let domain = self.from.email.domain();
        builder(self.from.clone(), Mailbox::new(None, to))
            .subject(&letter.subject)
            .message_id(Some(format!("<{}@{domain}>", Uuid::new_v4())))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.clone())
            .map_err(|error| Error::Refused(error.to_string()))
    }
}

fn builder(from: Mailbox, to: Mailbox) -> MessageBuilder {
    let mut builder = Message::builder().from(from).to(to);
    for (name, value) in [
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "All"),
    ] {
        let name = HeaderName::new_from_ascii_str(name);
        builder = builder.raw_header(HeaderValue::new(name, value.to_owned()));
    }
    builder
}

fn sender(from: &str) -> Result<Mailbox, BadSettings> {
    from.parse().map_err(|_| BadSettings::From(from.to_owned()))
}

fn tls(host: &str, server: &Server<'_>) -> Result<TlsParameters, BadSettings> {
    let bad = |error: lettre::transport::smtp::Error| BadSettings::Certificates(error.to_string());
    let mut builder = TlsParameters::builder(host.to_owned());
    if let Some(pem) = server.certificates {
        builder = builder.add_root_certificate(Certificate::from_pem(pem).map_err(bad)?);
    }
    builder.build_rustls().map_err(bad)
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// The whole chain: the first link alone says "connection error".
fn reason(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

async fn write(folder: &std::path::Path, bytes: &[u8]) -> std::io::Result<()> {
    tokio::fs::create_dir_all(folder).await?;
    let name = Uuid::now_v7();
    // Complete or not there: whoever watches the folder sees no half letter.
    let (draft, file) = (
        folder.join(format!(".{name}")),
        folder.join(format!("{name}.eml")),
    );
    let mut opened = tokio::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .await?;
    opened.write_all(bytes).await?;
    opened.sync_all().await?;
    tokio::fs::rename(draft, file).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: &str = "Shop <no-reply@shop.example>";

    fn server(address: &str) -> Server<'_> {
        Server {
            address,
            user: None,
            certificates: None,
        }
    }

    #[test]
    fn only_this_machine_is_spoken_to_without_tls_and_never_with_a_password() {
        let password = Secret::new("hush".to_owned());
        for (address, is_right) in [
            ("smtp://127.0.0.1:25", false),
            ("smtp://localhost", false),
            ("smtp://[::1]:25", false),
            ("smtp://mail.example.com", true),
            ("smtps://mail.example.com:465", true),
            ("smtps://127.0.0.1:465", true),
        ] {
            let user = Some(("ana", &password));
            let made = Mailer::smtp(
                FROM,
                &Server {
                    user,
                    ..server(address)
                },
            );
            assert_eq!(made.is_ok(), is_right, "{address}");
            assert!(Mailer::smtp(FROM, &server(address)).is_ok(), "{address}");
        }
    }

    #[test]
    fn what_is_no_server_and_no_sender_is_said() {
        for address in [
            "",
            "mail.example.com",
            "http://mail.example.com",
            "smtp://",
            "smtps://a:b@mail.example.com",
            "smtps://mail.example.com/path",
            "smtps://mail.example.com?tls=none",
        ] {
            assert!(Mailer::smtp(FROM, &server(address)).is_err(), "{address}");
        }
        for from in ["", "shop", "Shop <>", "a@b\r\nBcc: c@d.example"] {
            assert!(Mailer::folder(from, PathBuf::new()).is_err(), "{from:?}");
        }
    }

    #[tokio::test]
    async fn a_letter_becomes_a_file_that_others_cannot_read() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let mailer = Mailer::folder(FROM, folder.path().join("mail")).unwrap();
        let letter = Letter {
            to: "ana@corp.test".to_owned(),
            subject: "Gr\u{fc}\u{df}e".to_owned(),
            text: "https://shop.example/?token=abc\n".to_owned(),
        };
        mailer.send(&letter).await.unwrap();
        let files: Vec<_> = std::fs::read_dir(folder.path().join("mail"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!(files.len(), 1);
        let mode = files[0].metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let text = std::fs::read_to_string(&files[0]).unwrap();
        for words in [
            "From: Shop <no-reply@shop.example>",
            "To: ana@corp.test",
            "Auto-Submitted: auto-generated",
            "https://shop.example/?token=abc",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }

    #[tokio::test]
    async fn an_address_with_a_line_break_is_refused() {
        let mailer = Mailer::folder(FROM, PathBuf::from("/nowhere")).unwrap();
        let letter = Letter {
            to: "ana@corp.test\r\nBcc: eve@corp.test".to_owned(),
            subject: String::new(),
            text: String::new(),
        };
        assert!(matches!(mailer.send(&letter).await, Err(Error::Refused(_))));
    }
}
