//! What the letters say. Plain words, one link, and what to do when it was not you.

use portcullis_core::{Secret, Span};
use portcullis_edge::mail::Letter;

use crate::outbox::News;

/// The letter with the link to a new password.
pub(super) fn reset(to: &str, origin: &str, link: &Secret<String>, lifetime: Span) -> Letter {
    Letter {
        to: to.to_owned(),
        subject: "Choose a new password".to_owned(),
        text: format!(
            "Somebody, probably you, asked for a new password for your account at {origin}.\n\nChoose one here:\n\n{}\n\nThe link works once, for {}. If it was not you, do nothing: your password stays as it is.\n",
            link.expose(),
            words(lifetime),
        ),
    }
}

/// The letter with the link that proves the address.
pub(super) fn verify(to: &str, origin: &str, link: &Secret<String>, lifetime: Span) -> Letter {
    Letter {
        to: to.to_owned(),
        subject: "Confirm your e-mail address".to_owned(),
        text: format!(
            "Please confirm that this is the e-mail address of your account at {origin}:\n\n{}\n\nThe link works once, for {}. If you have no account there, do nothing.\n",
            link.expose(),
            words(lifetime),
        ),
    }
}

/// The letter with the link that opens an account.
pub(super) fn register(to: &str, origin: &str, link: &Secret<String>, lifetime: Span) -> Letter {
    Letter {
        to: to.to_owned(),
        subject: "Open your account".to_owned(),
        text: format!(
            "Somebody, probably you, asked for an account at {origin} with this address.\n\nChoose a password and open it here:\n\n{}\n\nThe link works once, for {}. If it was not you, do nothing: no account is opened.\n",
            link.expose(),
            words(lifetime),
        ),
    }
}

/// The letter to somebody who asked for an account and has one.
pub(super) fn has_account(to: &str, origin: &str, mount: &str) -> Letter {
    Letter {
        to: to.to_owned(),
        subject: "You have an account already".to_owned(),
        text: format!(
            "Somebody, probably you, asked for an account at {origin} with this address. There is one already. Sign in:\n\n{origin}{mount}/sign-in\n\nIf you do not know the password any more, choose a new one: {origin}{mount}/forgot-password\n\nIf it was not you, do nothing: your account stays as it is.\n"
        ),
    }
}

/// The letter that tells of something that was done.
pub(super) fn told(to: &str, origin: &str, news: News) -> Letter {
    let (subject, what) = match news {
        News::PasswordReset => (
            "Your password was changed",
            "The password of your account was replaced by means of a link that was sent to this address, and everybody who was signed in has been signed out.",
        ),
        News::SecondFactorAdded => (
            "A second factor was added",
            "A second factor was added to your account. From now on it is asked for when you sign in.",
        ),
        News::SecondFactorRemoved => (
            "A second factor was removed",
            "A second factor was removed from your account.",
        ),
        News::PasskeyAdded => (
            "A passkey was added",
            "A passkey was added to your account. Whoever holds it can sign in.",
        ),
        News::PasskeyRemoved => (
            "A passkey was removed",
            "A passkey was removed from your account. It does not sign in any more.",
        ),
        News::PasskeyCloned => (
            "A passkey of yours seems to exist twice",
            "Somebody used one of your passkeys, and the counter in it says that another device holds a copy. They were not let in. Remove that passkey, and make a new one.",
        ),
        News::RecoveryCodeUsed => (
            "A recovery code was used",
            "One of your recovery codes was used to sign in to your account. It does not work again.",
        ),
        News::RecoveryCodesMade => (
            "You have new recovery codes",
            "New recovery codes were made for your account. The old ones do not work any more.",
        ),
        News::SecondFactorsReset => (
            "Your second factors were removed",
            "An operator removed the second factors of your account, and everybody who was signed in has been signed out.",
        ),
        News::SessionElsewhere => (
            "Somebody tried to use your session",
            "A session of your account turned up in another browser or on another device than the one that signed in. It was refused there. Your account's page says what was seen, and lets you end all sessions.",
        ),
    };
    Letter {
        to: to.to_owned(),
        subject: subject.to_owned(),
        text: format!(
            "{what}\n\nThis is about your account at {origin}. If it was not you, choose a new password at once, and tell whoever runs the site.\n"
        ),
    }
}

fn words(span: Span) -> String {
    let minutes = span.as_seconds().div_ceil(60);
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} minutes"),
        (1, 0) => "an hour".to_owned(),
        (hours, 0) => format!("{hours} hours"),
        (_, _) => format!("{minutes} minutes"),
    }
}
