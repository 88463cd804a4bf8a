//! What a registry asks for when it answers 401.
//!
//! Sources: RFC 9110 section 11.6.1 (`WWW-Authenticate`); distribution's "Token Authentication Specification" (`Bearer`
//! with `realm`, `service`, `scope`).

/// One way to log in that a registry offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// User and password with each request.
    Basic,
    /// A token from a service.
    Bearer(Bearer),
}

/// Where a token comes from and for what.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bearer {
    /// The address of the service, as the registry wrote it.
    pub realm: String,
    /// For which service the token is.
    pub service: Option<String>,
    /// What it allows.
    pub scope: Option<String>,
}

/// The challenges of a `WWW-Authenticate` header that are known here, in their order. Whatever breaks the grammar ends the
/// list.
#[must_use]
pub fn parse(header: &str) -> Vec<Challenge> {
    let mut rest = Rest(header);
    let mut found = Vec::new();
    loop {
        rest.skip(|c| c == ',' || c.is_ascii_whitespace());
        let scheme = rest.word();
        if scheme.is_empty() {
            return found;
        }
        let parameters = rest.parameters();
        let value = |name: &str| {
            let mut all = parameters.iter();
            let found = all.find(|(given, _)| given.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.clone())
        };
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => found.push(Challenge::Basic),
            "bearer" => found.extend(value("realm").map(|realm| {
                Challenge::Bearer(Bearer {
                    realm,
                    service: value("service"),
                    scope: value("scope"),
                })
            })),
            _ => {}
        }
    }
}

/// What of a header has not been read.
#[derive(Clone, Copy)]
struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn skip(&mut self, what: impl Fn(char) -> bool) {
        self.0 = self.0.trim_start_matches(what);
    }

    /// A token of RFC 9110, or the characters of its `token68`.
    fn word(&mut self) -> &'a str {
        let of_word = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~/".contains(c);
        let end = self.0.find(|c| !of_word(c)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(end);
        self.0 = rest;
        word
    }

    /// The parameters up to the next challenge.
    fn parameters(&mut self) -> Vec<(&'a str, String)> {
        let mut parameters = Vec::new();
        loop {
            let mut ahead = *self;
            ahead.skip(|c| c == ',' || c.is_ascii_whitespace());
            let name = ahead.word();
            ahead.skip(|c| c.is_ascii_whitespace());
            // A word without a value is the next scheme; `==` ends a token68, which nobody sends here.
            let Some(after) = ahead.0.strip_prefix('=').filter(|_| !name.is_empty()) else {
                return parameters;
            };
            ahead.0 = after;
            ahead.skip(|c| c == '=' || c.is_ascii_whitespace());
            let value = match ahead.0.strip_prefix('"') {
                Some(quoted) => {
                    ahead.0 = quoted;
                    ahead.quoted()
                }
                None => ahead.word().to_owned(),
            };
            parameters.push((name, value));
            *self = ahead;
        }
    }

    /// The rest of a quoted string. One without an end goes to the end.
    fn quoted(&mut self) -> String {
        let mut value = String::new();
        let mut characters = self.0.chars();
        while let Some(c) = characters.next() {
            match c {
                '"' => break,
                '\\' => value.extend(characters.next()),
                c => value.push(c),
            }
        }
        self.0 = characters.as_str();
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bearer(realm: &str, service: Option<&str>, scope: Option<&str>) -> Challenge {
        Challenge::Bearer(Bearer {
            realm: realm.into(),
            service: service.map(str::to_owned),
            scope: scope.map(str::to_owned),
        })
    }

    #[test]
    fn challenges_of_real_registries_are_read() {
        let hub = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\",\
                   scope=\"repository:library/redis:pull,push\"";
        let wanted = bearer(
            "https://auth.docker.io/token",
            Some("registry.docker.io"),
            Some("repository:library/redis:pull,push"),
        );
        assert_eq!(parse(hub), [wanted]);
        assert_eq!(parse("Basic realm=\"Registry\""), [Challenge::Basic]);
        assert_eq!(
            parse(
                "Negotiate, BASIC realm=\"a \\\"b\\\"\", bearer realm=x , scope = \"s\", Digest nonce=\"1\""
            ),
            [Challenge::Basic, bearer("x", None, Some("s"))]
        );
        assert_eq!(parse("Negotiate YII/abc==, Basic realm=x"), [Challenge::Basic]);
        assert_eq!(parse("Bearer service=\"x\""), []);
        assert_eq!(parse("Bearer realm=\"no end"), [bearer("no end", None, None)]);
        for nothing in ["", ",,", "\"", "=", "é"] {
            assert_eq!(parse(nothing), [], "{nothing}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in "\\PC{0,80}|[a-zB=\", \\\\]{0,80}") {
            let _ = parse(&header);
        }

        #[test]
        fn values_come_through_as_they_were(
            values in proptest::collection::vec(("[ -~]{0,12}", "[ -~]{0,12}"), 1..4),
        ) {
            let quote = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let header: Vec<String> = values
                .iter()
                .map(|(realm, scope)| format!("Bearer realm=\"{}\", scope=\"{}\"", quote(realm), quote(scope)))
                .collect();
            let expected: Vec<Challenge> =
                values.iter().map(|(realm, scope)| bearer(realm, None, Some(scope))).collect();
            prop_assert_eq!(parse(&header.join(", ")), expected);
        }
    }
}
