//! Which proxy a request goes through.
//!
//! Source: the convention of curl and of Go's `http.ProxyFromEnvironment`, which skopeo, docker and podman follow.

use std::net::IpAddr;

use crate::address::{Address, Scheme, is_loopback};

/// The proxies of this machine, as its variables name them.
#[derive(Clone, Default)]
pub struct Proxies {
    /// For addresses without TLS: `http_proxy`.
    pub http: Option<String>,
    /// For addresses with TLS: `https_proxy`.
    pub https: Option<String>,
    /// What is reached without any: `no_proxy`, hosts with commas between.
    pub no_proxy: String,
}

impl Proxies {
    /// The proxy for an address; `None` when it is reached directly, as this computer always is.
    #[must_use]
    pub fn choose(&self, address: &Address) -> Option<&str> {
        let proxy = match address.scheme {
            Scheme::Http => &self.http,
            Scheme::Https => &self.https,
        };
        let proxy = proxy.as_deref().filter(|proxy| !proxy.is_empty())?;
        let direct = is_loopback(address.host())
            || self
                .no_proxy
                .split([',', ' '])
                .any(|entry| matches(entry.trim(), address));
        (!direct).then_some(proxy)
    }
}

/// Whether an entry of `no_proxy` means an address: `*`, a host with all below it, `.host` or `*.host` for those below it
/// only, an IP address, a network such as `10.0.0.0/8`; each may have a port.
fn matches(entry: &str, address: &Address) -> bool {
    let host = address.host().to_ascii_lowercase();
    let entry = entry.to_ascii_lowercase();
    let ip = host.parse::<IpAddr>().ok();
    if let (Some((network, bits)), Some(ip)) = (entry.split_once('/'), ip) {
        return is_in(ip, network, bits);
    }
    let (entry, port) = match entry.rsplit_once(':') {
        // More than one colon and no brackets: an IPv6 address.
        Some((name, port)) if !name.contains(':') || name.ends_with(']') => {
            (name.to_owned(), port.parse().ok())
        }
        _ => (entry, None),
    };
    if port.is_some_and(|port: u16| port != address.port()) {
        return false;
    }
    let entry = entry.trim_start_matches('[').trim_end_matches(']');
    match entry.strip_prefix('*').unwrap_or(entry) {
        "" => entry == "*",
        below if below.starts_with('.') => host.ends_with(below),
        name => host == name || (ip.is_none() && host.ends_with(&format!(".{name}"))),
    }
}

fn is_in(ip: IpAddr, network: &str, bits: &str) -> bool {
    let same = |a: &[u8], b: &[u8], bits: usize| {
        bits <= a.len() * 8
            && (0..bits).all(|bit| {
                let at = |bytes: &[u8]| bytes.get(bit / 8).map(|byte| byte >> (7 - bit % 8) & 1);
                at(a) == at(b)
            })
    };
    let Ok(bits) = bits.parse() else { return false };
    match (ip, network.parse()) {
        (IpAddr::V4(ip), Ok(IpAddr::V4(network))) => same(&ip.octets(), &network.octets(), bits),
        (IpAddr::V6(ip), Ok(IpAddr::V6(network))) => same(&ip.octets(), &network.octets(), bits),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(address: &str, no_proxy: &str) -> Option<String> {
        let proxies = Proxies {
            http: Some("http://plain".into()),
            https: Some("http://secure".into()),
            no_proxy: no_proxy.into(),
        };
        let address = Address::parse(address).unwrap();
        proxies.choose(&address).map(str::to_owned)
    }

    #[test]
    fn the_scheme_chooses_and_this_computer_needs_none() {
        assert_eq!(proxy("https://r.example/", ""), Some("http://secure".into()));
        assert_eq!(
            proxy("http://r.example/", "other.example"),
            Some("http://plain".into())
        );
        for direct in [
            "http://localhost:5000/",
            "https://127.0.0.1/",
            "http://[::1]:5000/",
        ] {
            assert_eq!(proxy(direct, ""), None, "{direct}");
        }
        let none = Proxies::default();
        assert_eq!(none.choose(&Address::parse("https://r.example/").unwrap()), None);
    }

    #[test]
    fn entries_mean_what_they_mean_to_curl_and_go() {
        for (host, entry, direct) in [
            ("r.example", "*", true),
            ("r.example", "r.example", true),
            ("r.example", "x, R.Example ,y", true),
            ("sub.r.example", "r.example", true),
            ("notr.example", "r.example", false),
            ("sub.r.example", ".r.example", true),
            ("r.example", ".r.example", false),
            ("sub.r.example", "*.r.example", true),
            ("r.example:5000", "r.example:5000", true),
            ("r.example:5001", "r.example:5000", false),
            ("10.1.2.3", "10.0.0.0/8", true),
            ("11.1.2.3", "10.0.0.0/8", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("[fd00::1]:5000", "fd00::1", true),
            ("[fd00::1]", "fd00::/16", true),
            ("r.example", "10.0.0.0/8", false),
            ("10.1.2.3", "10.0.0.0/99", false),
            ("r.example", "", false),
        ] {
            let chosen = proxy(&format!("https://{host}/"), entry);
            assert_eq!(chosen.is_none(), direct, "{host} by {entry}");
        }
    }
}
