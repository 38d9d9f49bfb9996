//! clamd, by its `INSTREAM` command (clamd(8)).
//!
//! Written here rather than taken: the client libraries wait without end and read answers without a bound,
//! and a scanner that hangs or that is not one must not hold or fill the gate. An answer counts if it is to
//! the letter what clamd says.

use std::io;
use std::time::Duration;

use portcullis_core::Span;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

/// How long it may take until a connection stands.
const CONNECT: Duration = Duration::from_secs(2);
/// How long a short question may take.
const ASK: Duration = Duration::from_secs(5);
/// Longer than any answer.
const LONGEST_ANSWER: u64 = 1024;
/// What is sent in one piece.
const PIECE: usize = 64 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the scanner (uploads.scanner) cannot be connected to")]
    Connect(#[source] io::Error),
    #[error("the scanner broke off")]
    Broken(#[source] io::Error),
    #[error("the scanner (uploads.scanner) did not answer in time")]
    Timeout,
    #[error("the answer is none that clamd gives")]
    Unreadable,
}

/// Who reads the files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scanner {
    /// Nobody, on purpose.
    None,
    Clamd(Clamd),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clamd {
    at: At,
    scan_timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    Tcp(Box<str>),
    Unix(Box<str>),
}

/// What the scanner says of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    Clean,
    Found(String),
    /// It did not read to the end.
    Limit(String),
}

impl Scanner {
    pub(super) fn parse(written: Option<&str>, scan_timeout: Span) -> Result<Self, &'static str> {
        let at = match written {
            None | Some("none") => return Ok(Scanner::None),
            Some(written) => match written.strip_prefix("unix:") {
                Some(path) if path.starts_with('/') => At::Unix(path.into()),
                Some(_) => return Err("the socket's path does not begin with `/`"),
                None => {
                    let port = written
                        .rsplit_once(':')
                        .map(|(host, port)| (host, port.parse::<u16>()));
                    match port {
                        Some((host, Ok(1..))) if is_host(host) => At::Tcp(written.into()),
                        Some((_, Ok(_) | Err(_))) | None => return Err("it is no `host:port`"),
                    }
                }
            },
        };
        Ok(Scanner::Clamd(Clamd {
            at,
            scan_timeout: scan_timeout.as_duration(),
        }))
    }

    /// One that never answers.
    pub(super) fn unreachable() -> Self {
        Scanner::Clamd(Clamd {
            at: At::Unix("/nonexistent".into()),
            scan_timeout: CONNECT,
        })
    }

    /// The scanner and the age of its signatures, in its own words. Nothing where nothing is scanned.
    pub async fn version(&self) -> Result<Option<String>, Error> {
        match self {
            Scanner::None => Ok(None),
            Scanner::Clamd(clamd) => clamd.version().await.map(Some),
        }
    }
}

impl Clamd {
    /// What clamd calls itself: `ClamAV 1.4.3/27500/Mon Nov 24 09:01:02 2026`, without the signatures' number
    /// and date where it has none of its makers.
    async fn version(&self) -> Result<String, Error> {
        let answer = timeout(ASK.min(self.scan_timeout), async {
            let mut stream = self.connect().await?;
            stream
                .write_all(b"zVERSION\0")
                .await
                .map_err(Error::Broken)?;
            answer(&mut stream).await
        });
        let answer = answer.await.map_err(|_| Error::Timeout)??;
        let is_version =
            answer.starts_with("ClamAV ") && answer.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if is_version {
            Ok(answer)
        } else {
            Err(Error::Unreadable)
        }
    }

    /// Has it read `length` bytes of `file`, from where that stands.
    pub(super) async fn scan(
        &self,
        file: &mut tokio::fs::File,
        length: u64,
    ) -> Result<Answer, Error> {
        timeout(self.scan_timeout, self.ask_about(file, length))
            .await
            .map_err(|_| Error::Timeout)?
    }

    async fn ask_about(&self, file: &mut tokio::fs::File, length: u64) -> Result<Answer, Error> {
        let stream = self.connect().await?;
        let (mut answers, mut questions) = tokio::io::split(stream);
        // Both at once: a scanner that has heard enough says so while we still send, and closes.
        let sending = send(file, length, &mut questions);
        let (sent, answer) = tokio::join!(sending, answer(&mut answers));
        let answer = read(&answer?)?;
        match (sent, &answer) {
            // SECURITY: it cannot know what it was not sent.
            (Err(error), Answer::Clean) => Err(Error::Broken(error)),
            (Ok(()), Answer::Clean | Answer::Found(_) | Answer::Limit(_))
            | (Err(_), Answer::Found(_) | Answer::Limit(_)) => Ok(answer),
        }
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, Error> {
        let connecting = async {
            Ok::<Box<dyn Stream>, io::Error>(match &self.at {
                At::Tcp(at) => Box::new(TcpStream::connect(&**at).await?),
                At::Unix(path) => Box::new(UnixStream::connect(&**path).await?),
            })
        };
        timeout(CONNECT, connecting)
            .await
            .map_err(|_| Error::Timeout)?
            .map_err(Error::Connect)
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// `zINSTREAM`, then pieces with their lengths, then a piece of none.
async fn send(
    file: &mut tokio::fs::File,
    length: u64,
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    to.write_all(b"zINSTREAM\0").await?;
    let mut left = length;
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let room = piece.get_mut(..most).unwrap_or_default();
        let count = file.read(room).await.map_err(io::Error::other)?;
        let data = room.get(..count).unwrap_or_default();
        if data.is_empty() {
            return Err(io::Error::other(
                "the quarantined file is shorter than it was",
            ));
        }
        let size = u32::try_from(count).map_err(io::Error::other)?;
        to.write_all(&size.to_be_bytes()).await?;
        to.write_all(data).await?;
        left = left.saturating_sub(u64::from(size));
    }
    to.write_all(&[0; 4]).await?;
    to.flush().await
}

/// One answer: up to its NUL, never more than [`LONGEST_ANSWER`].
async fn answer(from: &mut (impl AsyncRead + Unpin)) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let mut from = from.take(LONGEST_ANSWER);
    loop {
        let count = from.read_buf(&mut bytes).await.map_err(Error::Broken)?;
        if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
            bytes.truncate(end);
            return String::from_utf8(bytes).map_err(|_| Error::Unreadable);
        }
        if count == 0 {
            let end = io::ErrorKind::UnexpectedEof;
            return Err(if bytes.is_empty() {
                Error::Broken(end.into())
            } else {
                Error::Unreadable
            });
        }
    }
}

/// SECURITY: clean is one answer, to the letter. Whatever is not understood is not clean.
fn read(answer: &str) -> Result<Answer, Error> {
    if answer == "stream: OK" {
        return Ok(Answer::Clean);
    }
    let found = answer
        .strip_prefix("stream: ")
        .and_then(|rest| rest.strip_suffix(" FOUND"));
    if let Some(signature) = found {
        let is_limit = signature.starts_with("Heuristics.Limits.Exceeded");
        let signature: String = signature
            .chars()
            .filter(char::is_ascii_graphic)
            .take(128)
            .collect();
        return Ok(if is_limit {
            Answer::Limit(signature)
        } else {
            Answer::Found(signature)
        });
    }
    if answer == "INSTREAM size limit exceeded. ERROR" {
        return Ok(Answer::Limit("StreamMaxLength".to_owned()));
    }
    Err(Error::Unreadable)
}

/// A name or an address, and no URL.
fn is_host(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    !text.is_empty() && text.bytes().all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_is_one_answer_and_no_other() {
        assert_eq!(read("stream: OK").unwrap(), Answer::Clean);
        for other in [
            "",
            "OK",
            "stream: OK ",
            "stream: ok",
            "stream:OK",
            "stream: OK\n",
            "1: stream: OK",
            "stream: OK ERROR",
        ] {
            assert!(read(other).is_err(), "{other:?}");
        }
        assert_eq!(
            read("stream: Eicar-Test FOUND").unwrap(),
            Answer::Found("Eicar-Test".to_owned())
        );
        assert!(matches!(
            read("INSTREAM size limit exceeded. ERROR"),
            Ok(Answer::Limit(_))
        ));
        assert!(matches!(
            read("stream: Heuristics.Limits.Exceeded.MaxFileSize FOUND"),
            Ok(Answer::Limit(_))
        ));
    }

    #[test]
    fn addresses_are_of_two_forms() {
        let parse = |written| Scanner::parse(Some(written), Span::from_seconds(1));
        for right in [
            "127.0.0.1:3310",
            "clamd:3310",
            "[::1]:3310",
            "unix:/run/clamav/clamd.ctl",
        ] {
            assert!(matches!(parse(right), Ok(Scanner::Clamd(_))), "{right}");
        }
        assert_eq!(parse("none"), Ok(Scanner::None));
        for wrong in [
            "",
            "clamd",
            ":3310",
            "clamd:0",
            "clamd:x",
            "unix:clamd.ctl",
            "tcp://clamd:3310",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
