//! What can go wrong with accounts, and what whoever asked is told of it.

use portcullis_core::{Problem, Span, problem};
use portcullis_vault::{fields, passwords, seal, tokens};

use crate::addresses;
use crate::email::NotAnEmail;
use crate::factors::{self, Challenge};
use crate::password_policy::Weak;
use crate::{outbox, sessions};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// One answer for a wrong password, an unknown address and a closed account.
    #[error("the credentials were refused")]
    Refused,
    #[error("too many attempts")]
    Throttled { retry_after: Span },
    #[error("registration is closed")]
    RegistrationClosed,
    #[error("accounts are opened by a link in a letter")]
    RegistrationByLink,
    #[error(transparent)]
    NotAnEmail(#[from] NotAnEmail),
    #[error("the address has an account")]
    EmailTaken,
    #[error("the display name is not acceptable")]
    DisplayName,
    #[error("{1}")]
    Weak(&'static str, #[source] Weak),
    #[error("the old password is not right")]
    OldPassword,
    #[error("the new password is the old one")]
    SamePassword,
    #[error("there is no such session or account")]
    NotFound,
    /// The account holds, or would hold, what whoever acts does not.
    #[error("the role `{0}` is more than whoever acts may give or take")]
    Outranked(String),
    /// The password was right, and the account asks for more: here is what the rest of the sign-in
    /// is known by. Whoever does not know what to do with it refuses.
    #[error("a second factor is asked for")]
    SecondFactor(Challenge),
    #[error("this wants a second factor")]
    SecondFactorMissing,
    #[error("this wants a proof that is no older than {0}")]
    TooLongAgo(Span),
    /// One answer for a code that is wrong, too old, or was used.
    #[error("the code is not right")]
    WrongCode,
    #[error("the sign-in is over")]
    ChallengeOver,
    #[error("a token cannot prove a second factor")]
    NeedsSession,
    #[error("there is such a factor already")]
    FactorExists,
    #[error("the account's role asks for a factor, and this is the last")]
    LastFactor,
    #[error(
        "there are no passkeys here: `accounts.origin` names no domain, the program was built without them, or the account has none"
    )]
    NoPasskeys,
    #[error("the account has {0} passkeys")]
    TooManyPasskeys(usize),
    #[error("the name of a passkey is not acceptable")]
    PasskeyName,
    /// One answer for a passkey that is unknown, somebody else's, or answered another question.
    #[error("the passkey was refused")]
    PasskeyRefused,
    /// The same, where it would have been the whole sign-in.
    #[error("the passkey opens no account")]
    PasskeyUnknown,
    #[error(transparent)]
    Seal(#[from] seal::Error),
    #[error(transparent)]
    Vault(#[from] fields::Error),
    #[error(transparent)]
    Unusable(#[from] factors::Unusable),
    /// One answer for a link that is unknown, used up, expired or of a closed account.
    #[error("the link is not valid")]
    LinkSpent,
    #[error(transparent)]
    Outbox(#[from] outbox::Error),
    #[error(transparent)]
    Passwords(#[from] passwords::Error),
    #[error(transparent)]
    Address(#[from] addresses::Error),
    #[error(transparent)]
    Sessions(#[from] sessions::Error),
    #[error(transparent)]
    Randomness(#[from] tokens::Error),
    #[error(transparent)]
    Trail(#[from] portcullis_events::audit::Error),
    #[error(transparent)]
    Store(#[from] portcullis_store::Error),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let invalid = |field, message| Problem::new(&problem::INVALID_INPUT).field(field, message);
        match error {
            Error::Refused => Problem::new(&problem::CREDENTIALS_REFUSED),
            Error::Throttled { retry_after } => Problem::new(&problem::RATE_LIMITED)
                .detail("Too many attempts for this account. Wait before the next one.")
                .retry_after(retry_after),
            Error::RegistrationClosed => Problem::new(&problem::REGISTRATION_CLOSED),
            Error::RegistrationByLink => Problem::new(&problem::REGISTRATION_CLOSED).detail(
                "Accounts are opened by a link in a letter. Ask for one at `request-registration`.",
            ),
            Error::NotAnEmail(_) => invalid("email", "must be an e-mail address"),
            Error::EmailTaken => Problem::new(&problem::CONFLICT)
                .detail("There is an account with this e-mail address."),
            Error::DisplayName => invalid(
                "display_name",
                "must be 1 to 100 characters without control characters",
            ),
            Error::Weak(field, weak) => weak.into_problem(field),
            Error::OldPassword => invalid("old_password", "is not right"),
            Error::SamePassword => invalid("new_password", "must differ from the old one"),
            Error::Outranked(role) => Problem::new(&problem::NOT_PERMITTED).detail(format!(
                "The role `{role}` gives more than you hold: it is not yours to give, to take, or to rule over."
            )),
            Error::NotFound | Error::NoPasskeys => Problem::new(&problem::NOT_FOUND),
            Error::SecondFactor(_) | Error::SecondFactorMissing => {
                Problem::second_factor_required()
            }
            Error::TooLongAgo(limit) => Problem::reauthentication_required(limit),
            Error::WrongCode => invalid("code", "is not right, or was used already"),
            Error::ChallengeOver => Problem::new(&problem::AUTHENTICATION_REQUIRED)
                .detail("The sign-in took too long, or is over. Sign in again."),
            Error::NeedsSession => Problem::new(&problem::NOT_PERMITTED)
                .detail("Sign in with both factors to get a token that has both."),
            Error::FactorExists => Problem::new(&problem::CONFLICT)
                .detail("There is such a factor already. Remove it first."),
            Error::LastFactor => Problem::new(&problem::CONFLICT).detail(
                "Your role asks for a second factor. Add another one before you remove the last.",
            ),
            Error::TooManyPasskeys(most) => Problem::new(&problem::CONFLICT)
                .detail(format!("There can be {most} passkeys. Remove one first.")),
            Error::PasskeyName => invalid(
                "name",
                "must be 1 to 100 characters without control characters",
            ),
            Error::PasskeyRefused => invalid("credential", "was not accepted. Try again"),
            Error::PasskeyUnknown => Problem::new(&problem::CREDENTIALS_REFUSED)
                .detail("This passkey is not known here, or the sign-in took too long."),
            Error::Seal(error) => error.into(),
            Error::Vault(error) => error.into(),
            Error::Unusable(error) => error.into(),
            Error::LinkSpent => Problem::new(&problem::LINK_NOT_VALID),
            Error::Outbox(error) => error.into(),
            Error::Passwords(error) => error.into(),
            Error::Address(error) => error.into(),
            Error::Sessions(error) => error.into(),
            Error::Randomness(error) => error.into(),
            Error::Trail(error) => error.into(),
            Error::Store(error) => error.into(),
        }
    }
}
