//! One request to one server: no login, no redirect, no second try.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Agent, Body, Proxy};

use crate::address::{Address, Scheme};
use crate::error::Error;
use crate::fault::{Fault, message, tls};
use crate::proxy::Proxies;
use crate::retry::retry_after;
use crate::trust::Trust;

/// How much of the body of an error is read, in bytes.
const MOST_OF_ERROR: u64 = 64 << 10;

/// How long is waited for a server.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// For a connection.
    pub connect: Duration,
    /// For the next bytes.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            stall: Duration::from_secs(60),
        }
    }
}

/// Speaks to servers. Connections are kept for the next request.
pub(crate) struct Http<'a> {
    trust: &'a Trust,
    proxies: &'a Proxies,
    timeouts: Timeouts,
    agents: Mutex<BTreeMap<(Scheme, String), Agent>>,
}

/// What a request carries.
#[derive(Default)]
pub(crate) struct Headers {
    /// Media types that are understood.
    pub accept: Option<String>,
    /// Who asks.
    pub authorization: Option<String>,
    /// From which byte on.
    pub from: u64,
    /// A form that is posted.
    pub form: Option<String>,
}

/// What a server answers.
pub(crate) struct Answer {
    /// The server.
    pub server: String,
    /// The HTTP status.
    pub code: u16,
    headers: BTreeMap<String, String>,
    body: Body,
}

impl<'a> Http<'a> {
    pub fn new(trust: &'a Trust, proxies: &'a Proxies, timeouts: Timeouts) -> Self {
        Self {
            trust,
            proxies,
            timeouts,
            agents: Mutex::default(),
        }
    }

    /// Sends a request and waits for the start of the answer, whatever its status.
    pub fn send(&self, address: &Address, headers: &Headers) -> Result<Answer, Fault> {
        let answer = self.ask(address, headers)?;
        answer.map_err(|error| Fault::of_request(&error, &address.authority))
    }

    fn ask(&self, address: &Address, headers: &Headers) -> Result<Result<Answer, ureq::Error>, Fault> {
        let agent = self.agent(address)?;
        let whole = address.whole();
        let answer = match &headers.form {
            None => {
                let mut request = agent.get(whole).header("Accept-Encoding", "identity");
                if let Some(accept) = &headers.accept {
                    request = request.header("Accept", accept);
                }
                if let Some(authorization) = &headers.authorization {
                    request = request.header("Authorization", authorization);
                }
                if headers.from > 0 {
                    request = request.header("Range", format!("bytes={}-", headers.from));
                }
                request.call()
            }
            Some(form) => agent
                .post(whole)
                .header("Content-Type", "application/x-www-form-urlencoded")
                .send(form),
        };
        let (parts, body) = match answer {
            Ok(answer) => answer.into_parts(),
            Err(error) => return Ok(Err(error)),
        };
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &parts.headers {
            let Ok(value) = value.to_str() else { continue };
            let all = headers.entry(name.as_str().to_owned()).or_default();
            if !all.is_empty() {
                all.push_str(", ");
            }
            all.push_str(value);
        }
        Ok(Ok(Answer {
            server: address.authority.clone(),
            code: parts.status.as_u16(),
            headers,
            body,
        }))
    }

    /// Whether the server at an authority speaks TLS. What answers in another way doesn't, nor what hangs up.
    pub fn speaks_tls(&self, authority: &str) -> Result<bool, Fault> {
        let address = Address::new(Scheme::Https, authority, "/v2/");
        match self.ask(&address, &Headers::default())? {
            Ok(_) => Ok(true),
            Err(error) => match (tls(&error), &error) {
                (Some(rustls::Error::InvalidMessage(_)), _) => Ok(false),
                (None, ureq::Error::Io(error))
                    if matches!(
                        error.kind(),
                        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
                    ) =>
                {
                    Ok(false)
                }
                (Some(_), _) => Ok(true),
                (None, error) => Err(Fault::of_request(error, authority)),
            },
        }
    }

    fn agent(&self, address: &Address) -> Result<Agent, Fault> {
        let key = (address.scheme, address.authority.clone());
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(agent) = agents.get(&key) {
            return Ok(agent.clone());
        }
        let agent = self.new_agent(address)?;
        agents.insert(key, agent.clone());
        Ok(agent)
    }

    fn new_agent(&self, address: &Address) -> Result<Agent, Fault> {
        let proxy = match self.proxies.choose(address) {
            None => None,
            Some(proxy) => {
                let read = Proxy::new(proxy);
                Some(read.map_err(|error| Fault::of_request(&error, &address.authority))?)
            }
        };
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            // Who is asked next, and with which credentials, is decided by whoever sends.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("vcontainer/", env!("CARGO_PKG_VERSION")))
            .proxy(proxy)
            .timeout_resolve(Some(self.timeouts.connect))
            .timeout_connect(Some(self.timeouts.connect))
            .timeout_send_request(Some(self.timeouts.stall))
            .timeout_send_body(Some(self.timeouts.stall))
            .timeout_recv_response(Some(self.timeouts.stall))
            .timeout_per_read(Some(self.timeouts.stall));
        // A proxy may be spoken to over TLS as well.
        let roots = self.roots(&address.authority)?;
        config = config.tls_config(
            TlsConfig::builder()
                .root_certs(roots)
                .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
                .build(),
        );
        Ok(config.build().into())
    }

    fn roots(&self, authority: &str) -> Result<RootCerts, Error> {
        Ok(RootCerts::new_with_certs(&self.trust.roots(authority)?))
    }
}

impl Answer {
    /// A header by its lower-case name; several of one name are joined by commas.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The content, piece by piece.
    pub fn into_reader(self) -> impl Read {
        self.body.into_reader()
    }

    /// The whole content, if it is no longer than a limit.
    pub fn read(self, limit: u64) -> Result<Vec<u8>, Fault> {
        let server = self.server;
        let expected = self
            .headers
            .get("content-length")
            .and_then(|length| length.parse::<u64>().ok());
        let mut bytes = Vec::new();
        let mut reader = self.body.into_reader().take(limit + 1);
        match reader.read_to_end(&mut bytes) {
            Err(error) => Err(Fault::of_reading(&error, &server)),
            Ok(_) if bytes.len() as u64 > limit => Err(Fault::TooLarge { server, limit }),
            Ok(_) => match expected {
                Some(expected) if expected != bytes.len() as u64 => Err(Fault::Cut {
                    server,
                    received: bytes.len() as u64,
                    expected,
                }),
                _ => Ok(bytes),
            },
        }
    }

    /// What the server says in the body of an error.
    pub fn message(self) -> String {
        let mut body = Vec::new();
        // Half a message is none, and the status is what counts.
        let _ = self.body.into_reader().take(MOST_OF_ERROR).read_to_end(&mut body);
        message(&body)
    }

    /// The answer as a fault.
    pub fn into_fault(self) -> Fault {
        let asked = self.header("retry-after");
        let retry_after = asked.and_then(|asked| retry_after(asked, SystemTime::now()));
        Fault::Status {
            server: self.server.clone(),
            code: self.code,
            retry_after,
            message: self.message(),
        }
    }
}
