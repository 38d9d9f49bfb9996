//! The request that every contestant gets: 11 headers and about 586 bytes, as a browser's script sends it.

use std::net::SocketAddr;

/// The host that contestants answer to.
pub(super) const HOST: &str = "app.example.test";

/// Its path, which a contestant has to protect and hand on.
pub(super) const PATH: &str =
    "/api/v1/conversations/0190f3a2-7c1e-7b3a-9d54-5f0c2a6e8b11/messages?limit=50";

/// Who asks: a session cookie by its name and value, and the CSRF token that goes with it.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) cookie: String,
    pub(super) token: String,
    pub(super) csrf: String,
}

impl Session {
    /// The session number `n`, for contestants that know sessions by a file or not at all.
    pub(super) fn invented(n: usize) -> Self {
        let token = format!("{n:08}bench-session-token-of-43-characters-");
        let csrf = format!("{n:08}csrf-token-of-43-characters-for-bench");
        Self {
            cookie: "session".to_owned(),
            token: format!("{token:0<43.43}"),
            csrf: format!("{csrf:0<43.43}"),
        }
    }

    /// The whole request, to its empty line.
    pub(super) fn head(&self) -> String {
        self.request("GET", &[])
    }

    /// The same about another conversation, or a tenant: it is the segment that the route names.
    pub(super) fn head_of(&self, conversation: &str) -> String {
        const OTHER: &str = "0190f3a2-7c1e-7b3a-9d54-5f0c2a6e8b11";
        self.head().replacen(OTHER, conversation, 1)
    }

    /// The same as a change: with a body, and with what CSRF rules ask for.
    pub(super) fn post(&self) -> String {
        const BODY: &str = r#"{"text":"Is the bridge by the mill open on Sunday?","attachments":[],"silent":false}"#;
        let more = [
            format!("Origin: http://{HOST}"),
            "Content-Type: application/json".to_owned(),
            format!("Content-Length: {}", BODY.len()),
        ];
        self.request("POST", &more) + BODY
    }

    fn request(&self, method: &str, more: &[String]) -> String {
        let Self {
            cookie,
            token,
            csrf,
        } = self;
        let mut lines = vec![
            format!("{method} {PATH} HTTP/1.1"),
            format!("Host: {HOST}"),
            "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
                .to_owned(),
            "Accept: application/json".to_owned(),
            "Accept-Language: en-GB,en;q=0.5".to_owned(),
            "Accept-Encoding: gzip, deflate, br".to_owned(),
            format!("Referer: http://{HOST}/"),
            format!("Cookie: {cookie}={token}; csrf_token={csrf}"),
            format!("X-CSRF-Token: {csrf}"),
            "Sec-Fetch-Dest: empty".to_owned(),
            "Sec-Fetch-Mode: cors".to_owned(),
            "Sec-Fetch-Site: same-origin".to_owned(),
        ];
        lines.extend_from_slice(more);
        lines.push("\r\n".to_owned());
        lines.join("\r\n")
    }
}

/// One request on a connection of its own; the status of the answer and all of its text.
pub(super) fn send(address: SocketAddr, request: &str) -> std::io::Result<(u16, String)> {
    use std::io::{Error, Read as _, Write as _};
    use std::time::Duration;

    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let closing = request.replacen("\r\n", "\r\nConnection: close\r\n", 1);
    stream.write_all(closing.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status
        .map(|status| (status, answer))
        .ok_or_else(|| Error::other("the answer is not HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_has_the_agreed_shape() {
        let head = Session::invented(7).head();
        let headers = head.trim_end().lines().count() - 1;
        assert_eq!(headers, 11);
        assert!((570..=600).contains(&head.len()), "{} bytes", head.len());
        assert!(head.ends_with("\r\n\r\n") && !head.ends_with("\r\n\r\n\r\n"));
    }

    #[test]
    fn invented_sessions_differ() {
        assert_ne!(Session::invented(1).token, Session::invented(2).token);
        assert_eq!(Session::invented(1).token.len(), 43);
    }
}
