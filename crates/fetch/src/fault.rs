//! What can go wrong when a registry is asked once, and whether asking again may help.

use std::io;
use std::time::Duration;

use serde::Deserialize;
use vcontainer_image::Digest;

use crate::error::Error;

/// How much of what a registry says is shown, in characters.
const MOST_SHOWN: usize = 300;

/// Why a registry did not give what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The connection failed or was cut.
    #[error("the connection to {server} failed: {fault}")]
    Connection {
        /// The server.
        server: String,
        /// What is wrong.
        fault: String,
    },
    /// Nothing came for too long.
    #[error("{server} does not answer: {fault}")]
    TimedOut {
        /// The server.
        server: String,
        /// What was waited for.
        fault: String,
    },
    /// The server does not prove who it is.
    #[error(
        "{server} shows a certificate that is not trusted: {fault}. If its CA is your own, give it with --ca FILE or put it \
         to /etc/containers/certs.d/{server}/ca.crt"
    )]
    Certificate {
        /// The server.
        server: String,
        /// What is wrong.
        fault: String,
    },
    /// No TLS connection is possible.
    #[error("{server} cannot be spoken to over TLS: {fault}. If it has no TLS, say --plain-http {server}")]
    Tls {
        /// The server.
        server: String,
        /// What is wrong.
        fault: String,
    },
    /// The proxy cannot be used.
    #[error("the proxy for {server} cannot be used: {fault}")]
    Proxy {
        /// The server behind it.
        server: String,
        /// What is wrong.
        fault: String,
    },
    /// There is nothing to log in with.
    #[error(
        "{server} asks for a login ({code}){}: log in with `skopeo login {registry}`, or give a file with --authfile",
        said(message)
    )]
    NoCredentials {
        /// The server.
        server: String,
        /// The registry, as credentials name it.
        registry: String,
        /// 401, or 403 of a token service.
        code: u16,
        /// What the registry says.
        message: String,
    },
    /// The credentials are refused.
    #[error(
        "{server} does not accept the credentials from `{file}` ({code}){}: log in again with `skopeo login {registry}`",
        said(message)
    )]
    BadCredentials {
        /// The server.
        server: String,
        /// The registry, as credentials name it.
        registry: String,
        /// 401, or 403 of a token service.
        code: u16,
        /// Where they are from.
        file: String,
        /// What the registry says.
        message: String,
    },
    /// A way to log in that is not known, or not safe.
    #[error("{server} asks for a login in a way that cannot be used: {fault}")]
    Login {
        /// The server.
        server: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Another answer than the content.
    #[error("{server} answers {code}{}{}", said(message), advice(*code))]
    Status {
        /// The server.
        server: String,
        /// The HTTP status.
        code: u16,
        /// What the registry says.
        message: String,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// A redirect that is not followed.
    #[error("{server} points to another place in a way that is not followed: {fault}")]
    Redirect {
        /// The server.
        server: String,
        /// What is wrong with it.
        fault: String,
    },
    /// Less than announced.
    #[error("the connection to {server} was cut after {received} of {expected} bytes")]
    Cut {
        /// The server.
        server: String,
        /// What came, in bytes.
        received: u64,
        /// What should have come, in bytes.
        expected: u64,
    },
    /// More than announced, or than any such document has.
    #[error("{server} sends more than {limit} bytes")]
    TooLarge {
        /// The server.
        server: String,
        /// How many there may be.
        limit: u64,
    },
    /// Other bytes than those asked for.
    #[error("{server} sends other bytes: their digest is {found}, and {wanted} was asked for")]
    WrongBytes {
        /// The server.
        server: String,
        /// What was asked for.
        wanted: Digest,
        /// What came.
        found: Digest,
    },
    /// Something on this machine.
    #[error(transparent)]
    Here(Box<Error>),
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Here(Box::new(error))
    }
}

impl Fault {
    /// Whether asking again may help; then how long the registry asks to wait.
    #[must_use]
    pub fn may_pass(&self) -> Option<Option<Duration>> {
        match self {
            Self::Connection { .. } | Self::TimedOut { .. } | Self::Cut { .. } | Self::WrongBytes { .. } => {
                Some(None)
            }
            Self::Status {
                code, retry_after, ..
            } => (*code >= 500 || matches!(code, 408 | 416 | 425 | 429)).then_some(*retry_after),
            _ => None,
        }
    }

    /// What went wrong with a request to `server`.
    pub(crate) fn of_request(error: &ureq::Error, server: &str) -> Self {
        let server = server.to_owned();
        if let Some(fault) = tls(error) {
            return match fault {
                rustls::Error::InvalidCertificate(fault) => Self::Certificate {
                    server,
                    fault: certificate(fault),
                },
                rustls::Error::AlertReceived(_)
                | rustls::Error::PeerIncompatible(_)
                | rustls::Error::InvalidMessage(_)
                | rustls::Error::NoCertificatesPresented => Self::Tls {
                    server,
                    fault: fault.to_string(),
                },
                other => Self::Connection {
                    server,
                    fault: other.to_string(),
                },
            };
        }
        match error {
            ureq::Error::Timeout(what) => Self::TimedOut {
                server,
                fault: format!("time is up ({what})"),
            },
            ureq::Error::Io(error) if is_timeout(error) => Self::TimedOut {
                server,
                fault: "nothing came for too long".into(),
            },
            ureq::Error::Io(error) => Self::Connection {
                server,
                fault: shown(&error.to_string()),
            },
            ureq::Error::HostNotFound => Self::Connection {
                server,
                fault: "no such host is known".into(),
            },
            ureq::Error::ConnectProxyFailed(fault) => Self::Proxy {
                server,
                fault: shown(fault),
            },
            ureq::Error::InvalidProxyUrl => Self::Proxy {
                server,
                fault: "its address is none; write http://HOST:PORT".into(),
            },
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Self::Connection {
                server,
                fault: "its name is none of a server".into(),
            },
            other => Self::Connection {
                server,
                fault: shown(&other.to_string()),
            },
        }
    }

    /// What went wrong while content was read.
    pub(crate) fn of_reading(error: &io::Error, server: &str) -> Self {
        let server = server.to_owned();
        match is_timeout(error) || error.to_string().contains("timeout") {
            true => Self::TimedOut {
                server,
                fault: "nothing came for too long".into(),
            },
            false => Self::Connection {
                server,
                fault: shown(&error.to_string()),
            },
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// The fault of TLS in an error, however deep.
pub(crate) fn tls(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn certificate(fault: &rustls::CertificateError) -> String {
    use rustls::CertificateError as Is;
    match fault {
        Is::UnknownIssuer => "its issuer is not known here".into(),
        Is::Expired | Is::ExpiredContext { .. } => "it has expired".into(),
        Is::NotValidYet | Is::NotValidYetContext { .. } => "it is not valid yet".into(),
        Is::NotValidForName | Is::NotValidForNameContext { .. } => {
            "it is for another name (names stand in subjectAltName)".into()
        }
        other => shown(&other.to_string()),
    }
}

fn said(message: &str) -> String {
    match message.is_empty() {
        true => String::new(),
        false => format!(" and says \"{message}\""),
    }
}

fn advice(code: u16) -> &'static str {
    match code {
        403 => ": whoever logs in must be allowed to pull from there",
        404 => ": is the name right, and has it not been deleted there?",
        429 => ": too much was asked of it in too short a time; wait, or log in where that raises the limit",
        _ => "",
    }
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Vec<OneError>,
    /// Of token services.
    #[serde(default)]
    details: Option<String>,
}

#[derive(Deserialize)]
struct OneError {
    #[serde(default)]
    code: Option<String>,
    #[serde(default)]
    message: Option<String>,
}

/// What a registry says in the body of an error, in one short line. Source: OCI distribution-spec, "Error codes".
pub(crate) fn message(body: &[u8]) -> String {
    let Ok(said) = serde_json::from_slice::<Errors>(body) else {
        return String::new();
    };
    let first = said.errors.into_iter().next();
    let text = first.and_then(|error| error.message.filter(|text| !text.is_empty()).or(error.code));
    shown(&text.or(said.details).unwrap_or_default())
}

/// A foreign text in one short line.
fn shown(text: &str) -> String {
    let line: String = text.trim().chars().take(MOST_SHOWN).collect();
    line.escape_debug()
        .to_string()
        .replace("\\\"", "\"")
        .replace("\\'", "'")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_registries_say_is_shown_in_a_line() {
        let body = br#"{"errors":[{"code":"DENIED","message":"no \u001b[2J \"way\"\n"}]}"#;
        assert_eq!(message(body), "no \\u{1b}[2J \"way\"");
        assert_eq!(message(br#"{"errors":[{"code":"DENIED"}]}"#), "DENIED");
        assert_eq!(
            message(br#"{"details":"incorrect username or password"}"#),
            "incorrect username or password"
        );
        assert_eq!(message(b"<html>"), "");
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        let status = |code, seconds: Option<u64>| Fault::Status {
            server: "r.example".into(),
            code,
            message: String::new(),
            retry_after: seconds.map(Duration::from_secs),
        };
        for code in [400, 401, 403, 404, 410, 451] {
            assert_eq!(status(code, Some(1)).may_pass(), None, "{code}");
        }
        for code in [429, 500, 502, 503, 504] {
            assert_eq!(
                status(code, Some(7)).may_pass(),
                Some(Some(Duration::from_secs(7))),
                "{code}"
            );
        }
        assert!(status(404, None).to_string().contains("is the name right"));
    }

    proptest! {
        #[test]
        fn any_body_is_one_short_line(body in proptest::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,400}|[\0-\x1f]{0,400}") {
            let _ = message(&body);
            let json = serde_json::json!({"errors": [{"message": text}]}).to_string();
            prop_assert!(!message(json.as_bytes()).contains(char::is_control));
        }
    }
}
