//! Why an upload goes no further.

use std::io;

use portcullis_core::{Problem, Span, problem};

use super::scanner;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither a form nor a file as the gate reads them.
    #[error("the body cannot be read: {0}")]
    Malformed(&'static str),
    #[error("what the client calls it is not taken: {0}")]
    Called(&'static str),
    /// With the kinds that are taken.
    #[error("the kind of file is none of {0}")]
    Type(String),
    #[error("the name is refused: {0}")]
    Name(&'static str),
    #[error("the content is refused: {0}")]
    Content(&'static str),
    #[error("a file is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("there are more than {limit} files")]
    TooMany { limit: usize },
    #[error("the scanner found `{signature}`")]
    Infected { signature: String },
    #[error("the scanner does not read it to its end: {0}")]
    Unscannable(String),
    #[error("the scanner gave no verdict")]
    Scanner(#[source] scanner::Error),
    #[error("as many uploads are under way as may be")]
    Busy,
    #[error("the body ended early")]
    Aborted,
    #[error("the quarantine has no room")]
    Full(#[source] io::Error),
    #[error("the quarantine cannot be used")]
    Quarantine(#[source] io::Error),
    #[error("a task ended early")]
    Lost,
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Error::Full(error),
            _ => Error::Quarantine(error),
        }
    }
}

impl From<scanner::Error> for Error {
    fn from(error: scanner::Error) -> Self {
        Error::Scanner(error)
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Malformed(why) => Problem::new(&problem::MALFORMED_BODY).detail(why),
            Error::Called(why) => Problem::new(&problem::UPLOAD_TYPE_REFUSED).detail(why),
            Error::Type(taken) => Problem::new(&problem::UPLOAD_TYPE_REFUSED)
                .detail(format!("These kinds of files are taken here: {taken}.")),
            Error::Name(why) => Problem::new(&problem::UPLOAD_NAME_REFUSED).detail(why),
            Error::Content(why) => Problem::new(&problem::UPLOAD_CONTENT_REFUSED).detail(why),
            Error::TooLarge { limit } => Problem::new(&problem::BODY_TOO_LARGE)
                .detail(format!("A file may have {limit} bytes here.")),
            Error::TooMany { limit } => Problem::new(&problem::BODY_TOO_LARGE)
                .detail(format!("A form may bring {limit} files here.")),
            // What was found is for the record: whoever tries things out learns nothing from it.
            Error::Infected { .. } => Problem::new(&problem::UPLOAD_INFECTED),
            Error::Unscannable(_) => Problem::new(&problem::UPLOAD_NOT_SCANNABLE),
            Error::Busy => Problem::new(&problem::OVERLOADED).retry_after(Span::from_seconds(5)),
            Error::Aborted => Problem::new(&problem::MALFORMED_REQUEST),
            Error::Full(_) => Problem::new(&problem::QUARANTINE_FULL).caused_by(error),
            Error::Scanner(_) | Error::Quarantine(_) => Problem::unavailable(error),
            Error::Lost => Problem::internal(error),
        }
    }
}
