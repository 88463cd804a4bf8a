//! Addresses on the web, as far as registries need them: where a request goes, and what may be sent along.

use std::fmt;
use std::net::IpAddr;

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// As it is written in front of `://`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    const fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// An absolute address. It never holds a user or a password.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// How its server is spoken to.
    pub scheme: Scheme,
    /// The server: host and, if it is not the usual one, port.
    pub authority: String,
    /// What is asked for, with its query; it starts with a slash.
    target: String,
}

impl Address {
    /// An address of these parts. `target` starts with a slash.
    #[must_use]
    pub fn new(scheme: Scheme, authority: &str, target: &str) -> Self {
        Self {
            scheme,
            authority: authority.to_ascii_lowercase(),
            target: target.to_owned(),
        }
    }

    /// Reads an absolute address; `None` for whatever else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        // Whatever a server sends gets into our requests: nothing in it may end a line of them.
        if text.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = match target.starts_with('/') {
            true => target.to_owned(),
            false => format!("/{target}"),
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        let (host, port) = split_port(authority);
        let usable = !host.is_empty()
            && authority.chars().all(plain)
            && port.is_none_or(|port| port.parse::<u16>().is_ok());
        usable.then(|| Self::new(scheme, authority, &target))
    }

    /// Where a `Location` header leads from here.
    #[must_use]
    pub fn join(&self, location: &str) -> Option<Self> {
        if location.bytes().any(|byte| !byte.is_ascii_graphic()) {
            return None;
        }
        let location = location.split('#').next().unwrap_or_default();
        if let Some(rest) = location.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme.name()));
        }
        let before_query = location.split('?').next().unwrap_or_default();
        if before_query.contains("://") {
            return Self::parse(location);
        }
        let target = match location {
            rooted if rooted.starts_with('/') => rooted.to_owned(),
            "" => return None,
            relative => {
                let path = self.target.split('?').next().unwrap_or_default();
                let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
                format!("{folder}/{relative}")
            }
        };
        Some(Self {
            target,
            ..self.clone()
        })
    }

    /// Where a redirect with this `Location` may be followed to.
    ///
    /// # Errors
    /// It leads to no address, or out of TLS.
    pub fn follow(&self, location: &str) -> Result<Self, &'static str> {
        match (self.scheme, self.join(location)) {
            (_, None) => Err("it names no address on the web"),
            (Scheme::Https, Some(next)) if next.scheme == Scheme::Http => {
                Err("from TLS to a connection without")
            }
            (_, Some(next)) => Ok(next),
        }
    }

    /// The same with these pairs added to its query.
    #[must_use]
    pub fn with_query(&self, pairs: &[(&str, &str)]) -> Self {
        let mut target = self.target.clone();
        if !pairs.is_empty() {
            target.push(if target.contains('?') { '&' } else { '?' });
            target.push_str(&form(pairs));
        }
        Self {
            target,
            ..self.clone()
        }
    }

    /// The server's host without the port, an IPv6 address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        host_of(&self.authority)
    }

    /// The server's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = split_port(&self.authority).1;
        port.and_then(|port| port.parse().ok())
            .unwrap_or_else(|| self.scheme.port())
    }

    /// Whether both are on one server: only there may secrets for it be sent.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        (self.scheme, self.host(), self.port()) == (other.scheme, other.host(), other.port())
    }

    /// All of it, for the request. Its query may be a secret: storage services sign their addresses.
    #[must_use]
    pub fn whole(&self) -> String {
        format!("{}://{}{}", self.scheme.name(), self.authority, self.target)
    }
}

/// Without the query, which may be a secret.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.target.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme.name(), self.authority)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The host of `HOST[:PORT]`, an IPv6 address without brackets.
#[must_use]
pub fn host_of(authority: &str) -> &str {
    split_port(authority)
        .0
        .trim_start_matches('[')
        .trim_end_matches(']')
}

/// Whether a host is this computer.
#[must_use]
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    match authority.rfind(':') {
        Some(colon) if colon >= after_brackets => {
            let (host, port) = authority.split_at(colon);
            (host, port.strip_prefix(':'))
        }
        _ => (authority, None),
    }
}

/// Pairs as HTML forms and queries write them.
#[must_use]
pub fn form(pairs: &[(&str, &str)]) -> String {
    let encode = |text: &str| {
        text.bytes().fold(String::new(), |mut encoded, byte| {
            match byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                true => encoded.push(char::from(byte)),
                false => encoded.push_str(&format!("%{byte:02X}")),
            }
            encoded
        })
    };
    let pairs: Vec<String> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
        .collect();
    pairs.join("&")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    #[test]
    fn locations_lead_where_browsers_go() {
        let here = address("https://registry.example:5000/v2/app/blobs/x?a=b");
        for (location, there) in [
            (
                "https://storage.example/x?sig=1",
                "https://storage.example/x?sig=1",
            ),
            ("//storage.example/x", "https://storage.example/x"),
            ("/other", "https://registry.example:5000/other"),
            (
                "other?u=http://x",
                "https://registry.example:5000/v2/app/blobs/other?u=http://x",
            ),
            ("HTTP://UPPER.example", "http://upper.example/"),
        ] {
            assert_eq!(here.join(location).unwrap().whole(), there, "{location}");
        }
        for wrong in [
            "",
            "ftp://x/",
            "https://user:secret@x/",
            "https://",
            "/a b",
            "/a\r\nX: y",
            "https://x:port/",
        ] {
            assert_eq!(here.join(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_redirect_leads_out_of_tls() {
        let (tls, plain) = (address("https://r.example/"), address("http://r.example/"));
        assert!(tls.follow("http://r.example/x").is_err() && tls.follow("").is_err());
        assert!(tls.follow("https://other.example/x").is_ok() && tls.follow("/x").is_ok());
        assert!(plain.follow("http://r.example/x").is_ok() && plain.follow("https://r.example/x").is_ok());
    }

    #[test]
    fn a_server_is_scheme_host_and_port() {
        let here = address("https://registry.example/v2/");
        assert!(here.is_same_server(&address("https://registry.example:443/other")));
        for other in [
            "http://registry.example/",
            "https://registry.example:5000/",
            "https://example/",
        ] {
            assert!(!here.is_same_server(&address(other)), "{other}");
        }
        let six = address("http://[::1]:5000/");
        assert_eq!((six.host(), six.port()), ("::1", 5000));
        assert!(
            ["localhost", "127.0.0.1", "127.1.2.3", "::1"]
                .into_iter()
                .all(is_loopback)
        );
        assert!(
            !["localhost.example", "10.0.0.1", "128.0.0.1"]
                .into_iter()
                .any(is_loopback)
        );
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let signed = address("https://s.example/x").with_query(&[("sig", "a b&c")]);
        assert_eq!(signed.whole(), "https://s.example/x?sig=a%20b%26c");
        assert_eq!(
            format!("{signed} {signed:?}"),
            "https://s.example/x https://s.example/x"
        );
    }

    proptest! {
        #[test]
        fn what_is_read_is_read_again_as_the_same(text in "(https?://)?[ -~é\r\n]{0,40}") {
            if let Some(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.whole()), Some(address.clone()));
                prop_assert!(address.whole().bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(!address.authority.contains('@'));
            }
        }

        #[test]
        fn no_location_breaks_out_of_a_request(location in "\\PC{0,40}|[ -~\r\n]{0,40}") {
            if let Some(there) = address("https://r.example/v2/x").join(&location) {
                prop_assert!(there.whole().bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
