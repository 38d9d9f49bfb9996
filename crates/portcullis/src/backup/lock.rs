//! Who can open a backup: recipients or a passphrase, as age has them.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::{DecryptError, Decryptor, Encryptor, Identity, Recipient, scrypt, x25519};
use anyhow::Context as _;
use portcullis_core::Secret;
use serde::Serialize;
use zeroize::Zeroizing;

use super::format::Error;
use crate::cli::output::{self, Format};
use crate::cli::{Usage, backup};
use crate::verbs::now;

/// A passphrase may be guessed at by everybody who has the file, for ever.
const SHORTEST_PASSPHRASE: usize = 16;

/// A recipient, or what is wrong with it.
pub(super) fn recipient(text: &str) -> Result<x25519::Recipient, String> {
    let said = |fault: &str| format!("`{text}` is no recipient of age: {fault}");
    if text.starts_with("AGE-SECRET-KEY-") {
        return Err("this is a private key: it belongs to nobody but its owner".to_owned());
    }
    text.parse().map_err(said)
}

/// What a backup is locked with, and what the trial opens it with.
pub(super) struct Lock {
    recipients: Vec<Box<dyn Recipient>>,
    pub(super) keys: Keys,
}

/// What opens a backup.
pub(super) struct Keys {
    identities: Vec<Box<dyn Identity>>,
    pub(super) kind: KeyKind,
}

/// With which kind of key a backup was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum KeyKind {
    Identity,
    Passphrase,
    /// One that was made for the trial, and is forgotten with it.
    OfThisRun,
}

impl Lock {
    /// Of the command line, or else of `[backup]`.
    pub(super) fn of(args: &backup::Make, configured: &[String]) -> anyhow::Result<Lock> {
        if let Some(file) = &args.passphrase_file {
            let passphrase = passphrase(file)?;
            if passphrase.expose().chars().count() < SHORTEST_PASSPHRASE {
                return Err(Usage::error(format!(
                    "the passphrase in `{}` has less than {SHORTEST_PASSPHRASE} characters: who has the backup can try them all",
                    file.display()
                )));
            }
            return Ok(Lock {
                recipients: vec![Box::new(scrypt::Recipient::new(secret(&passphrase)))],
                keys: Keys::of_passphrase(&passphrase),
            });
        }
        let named = if args.recipients.is_empty() {
            configured
        } else {
            args.recipients.as_slice()
        };
        if named.is_empty() {
            return Err(Usage::error(
                "nobody could open this backup: name a --recipient (`portcullis backup keygen` makes one) or a --passphrase-file, or write `recipients` under [backup]",
            ));
        }
        let mut recipients: Vec<Box<dyn Recipient>> = Vec::new();
        for text in named {
            recipients.push(Box::new(recipient(text).map_err(Usage::error)?));
        }
        let keys = if let Some(file) = &args.identity_file {
            Keys::of_file(file)?
        } else {
            // SECURITY: one more recipient, whose private key exists in this process and until the
            // trial is over. Nobody else can have it.
            let own = x25519::Identity::generate();
            recipients.push(Box::new(own.to_public()));
            Keys {
                identities: vec![Box::new(own)],
                kind: KeyKind::OfThisRun,
            }
        };
        Ok(Lock { recipients, keys })
    }

    pub(super) fn encrypting(&self) -> anyhow::Result<Encryptor> {
        let recipients = self.recipients.iter().map(|one| &**one as &dyn Recipient);
        Encryptor::with_recipients(recipients).context("the backup cannot be encrypted")
    }
}

impl Keys {
    /// Of the command line.
    pub(super) fn of(args: &backup::Restore) -> anyhow::Result<Keys> {
        match (&args.identity_file, &args.passphrase_file) {
            (Some(file), _) => Keys::of_file(file),
            (None, Some(file)) => Ok(Keys::of_passphrase(&passphrase(file)?)),
            (None, None) => Err(Usage::error(
                "name an --identity-file or a --passphrase-file",
            )),
        }
    }

    fn of_file(file: &Path) -> anyhow::Result<Keys> {
        let unusable = |said: String| {
            Usage::error(format!(
                "`{}` holds no private key of age: {said}",
                file.display()
            ))
        };
        let text =
            Zeroizing::new(std::fs::read(file).map_err(|error| unusable(error.to_string()))?);
        let mut identities: Vec<Box<dyn Identity>> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = Zeroizing::new(line.map_err(|error| unusable(error.to_string()))?);
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            // Never the line itself: it may be a key.
            let identity: x25519::Identity = line
                .trim()
                .parse()
                .map_err(|_| unusable(format!("line {} is none", number + 1)))?;
            identities.push(Box::new(identity));
        }
        if identities.is_empty() {
            return Err(unusable("it is empty".to_owned()));
        }
        Ok(Keys {
            identities,
            kind: KeyKind::Identity,
        })
    }

    fn of_passphrase(passphrase: &Secret) -> Keys {
        Keys {
            identities: vec![Box::new(scrypt::Identity::new(secret(passphrase)))],
            kind: KeyKind::Passphrase,
        }
    }

    /// What is in the file, or why these keys do not open it.
    pub(super) fn open(&self, file: File) -> anyhow::Result<impl std::io::BufRead + use<>> {
        let refused = |error: DecryptError| -> anyhow::Error {
            match error {
                DecryptError::NoMatchingKeys => anyhow::anyhow!("it does not open with this key"),
                DecryptError::KeyDecryptionFailed | DecryptError::DecryptionFailed => {
                    anyhow::anyhow!("it does not open with this passphrase, or it was changed")
                }
                DecryptError::InvalidMac => anyhow::anyhow!("it was changed"),
                DecryptError::InvalidHeader => anyhow::anyhow!("it is no age file, or it is torn"),
                DecryptError::UnknownFormat => {
                    anyhow::anyhow!("it is an age file of a form that this program does not know")
                }
                DecryptError::Io(error) => of_reading(error).into(),
                other => anyhow::anyhow!("{other}"),
            }
        };
        let decryptor =
            Decryptor::new_buffered(BufReader::with_capacity(1 << 16, file)).map_err(refused)?;
        match (decryptor.is_scrypt(), self.kind) {
            (true, KeyKind::Identity | KeyKind::OfThisRun) => {
                anyhow::bail!("it is locked by a passphrase: give --passphrase-file")
            }
            (false, KeyKind::Passphrase) => {
                anyhow::bail!("it is locked for recipients: give --identity-file")
            }
            (true, KeyKind::Passphrase) | (false, KeyKind::Identity | KeyKind::OfThisRun) => {}
        }
        let identities = self.identities.iter().map(|one| &**one as &dyn Identity);
        let plain = decryptor.decrypt(identities).map_err(refused)?;
        Ok(BufReader::with_capacity(1 << 16, plain))
    }
}

/// What an error while reading says of the file.
pub(super) fn of_reading(error: std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Error::Torn,
        std::io::ErrorKind::InvalidData => {
            Error::Broken("a part of it does not decrypt".to_owned())
        }
        _ => Error::Io(error),
    }
}

/// This text, so that whoever has one of the recipients' private keys can read it.
pub(crate) fn seal_for(recipients: &[String], plain: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut known: Vec<Box<dyn Recipient>> = Vec::new();
    for text in recipients {
        known.push(Box::new(recipient(text).map_err(Usage::error)?));
    }
    let known = known.iter().map(|one| &**one as &dyn Recipient);
    let encryptor = Encryptor::with_recipients(known).context("it cannot be encrypted")?;
    let mut sealed = Vec::with_capacity(plain.len());
    let mut writer = encryptor.wrap_output(&mut sealed)?;
    writer.write_all(plain)?;
    writer.finish()?;
    Ok(sealed)
}

/// What is in a file that [`seal_for`] sealed, up to `most` bytes.
pub(crate) fn open_with(identity: &Path, file: File, most: u64) -> anyhow::Result<Vec<u8>> {
    let mut plain = Vec::new();
    let opened = Keys::of_file(identity)?.open(file)?;
    std::io::Read::take(opened, most).read_to_end(&mut plain)?;
    Ok(plain)
}

fn passphrase(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| Usage::error(format!("`{}` cannot be read: {error}", file.display())))?;
    let text = Zeroizing::new(text);
    Ok(Secret::new(text.trim_end_matches(['\r', '\n']).to_owned()))
}

fn secret(text: &Secret) -> SecretString {
    SecretString::from(text.expose().clone())
}

#[derive(Serialize)]
struct Made {
    recipient: String,
    file: String,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.recipient)?;
        write!(
            f,
            "Encrypt for it with `--recipient`, or under [backup]:\n  recipients = [\"{}\"]\n`{}` opens those backups. Keep it away from the gate's machine, and do not lose it.",
            self.recipient, self.file
        )
    }
}

/// `portcullis backup keygen`
pub(crate) fn keygen(format: Format, args: &backup::Keygen) -> anyhow::Result<bool> {
    let identity = x25519::Identity::generate();
    let recipient = identity.to_public().to_string();
    let secret = identity.to_string();
    // The form in which age's own tools write it.
    let text = Zeroizing::new(format!(
        "# created: {}\n# public key: {recipient}\n{}\n",
        now(),
        secret.expose_secret()
    ));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&args.to)
        .map_err(|error| {
            Usage::error(format!("`{}` cannot be made: {error}", args.to.display()))
        })?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let file = args.to.display().to_string();
    output::answer(format, &Made { recipient, file });
    Ok(true)
}
