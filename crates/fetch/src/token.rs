//! Tokens: what their service is asked, and what it answers.
//!
//! Source: distribution's "Token Authentication Specification" and "Token Authentication OAuth2".

use serde::Deserialize;

use crate::address::{Address, Scheme, form, is_loopback};
use crate::challenge::Bearer;
use crate::credentials::Credential;

/// The name by which services know this program.
const CLIENT: &str = "vcontainer";

/// A request for a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Question {
    /// Where it goes.
    pub address: Address,
    /// The value of its `Authorization` header.
    pub authorization: Option<String>,
    /// What is posted; `None` for a GET.
    pub form: Option<String>,
}

/// What to ask for a token that may pull from `repository`; `None` when the service is no safe place to ask.
pub(crate) fn question(
    bearer: &Bearer,
    repository: &str,
    credential: Option<&Credential>,
    registry: Scheme,
) -> Option<Question> {
    let address = Address::parse(&bearer.realm)?;
    // A password must not go in clear to where the registry points, unless all of it is in clear or on this computer.
    if address.scheme == Scheme::Http && registry == Scheme::Https && !is_loopback(address.host()) {
        return None;
    }
    let scope = bearer.scope.clone();
    let scope = scope.unwrap_or_else(|| format!("repository:{repository}:pull"));
    let mut pairs = vec![("scope", scope.as_str())];
    pairs.extend(bearer.service.as_deref().map(|service| ("service", service)));
    Some(match credential {
        Some(Credential::IdentityToken(token)) => {
            pairs.extend([
                ("grant_type", "refresh_token"),
                ("client_id", CLIENT),
                ("refresh_token", token),
            ]);
            Question {
                form: Some(form(&pairs)),
                address,
                authorization: None,
            }
        }
        credential => {
            if let Some(Credential::Password { user, .. }) = credential {
                pairs.push(("account", user));
            }
            Question {
                address: address.with_query(&pairs),
                authorization: credential.and_then(Credential::basic),
                form: None,
            }
        }
    })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// The token in an answer; `None` when there is none that can be sent.
pub(crate) fn token(answer: &[u8]) -> Option<String> {
    let answer: Answer = serde_json::from_slice(answer).ok()?;
    let token = answer
        .token
        .filter(|token| !token.is_empty())
        .or(answer.access_token)?;
    let usable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_with_what_there_is() {
        let bearer = Bearer {
            realm: "https://auth.example/token?x=1".into(),
            service: Some("r.example".into()),
            scope: None,
        };
        let anonymous = question(&bearer, "a/b", None, Scheme::Https).unwrap();
        assert_eq!(
            anonymous.address.whole(),
            "https://auth.example/token?x=1&scope=repository%3Aa%2Fb%3Apull&service=r.example"
        );
        assert_eq!((anonymous.authorization, anonymous.form), (None, None));
        let password = Credential::Password {
            user: "u".into(),
            password: "secret".into(),
        };
        let asked = question(&bearer, "a/b", Some(&password), Scheme::Https).unwrap();
        assert!(asked.address.whole().ends_with("&account=u") && !asked.address.whole().contains("secret"));
        assert!(asked.authorization.unwrap().starts_with("Basic "));
        let identity = Credential::IdentityToken("i t".into());
        let asked = question(&bearer, "a/b", Some(&identity), Scheme::Https).unwrap();
        assert_eq!(asked.address.whole(), bearer.realm);
        assert!(
            asked
                .form
                .unwrap()
                .contains("grant_type=refresh_token&client_id=vcontainer&refresh_token=i%20t")
        );
    }

    #[test]
    fn a_service_in_clear_is_for_registries_in_clear() {
        let at = |realm: &str, registry| {
            let bearer = Bearer {
                realm: realm.into(),
                ..Bearer::default()
            };
            question(&bearer, "x", None, registry).is_some()
        };
        assert!(!at("http://auth.example/", Scheme::Https));
        assert!(at("http://auth.example/", Scheme::Http));
        assert!(at("http://127.0.0.1:5001/", Scheme::Https));
        assert!(!at("file:///etc/passwd", Scheme::Https) && !at("", Scheme::Http));
    }

    #[test]
    fn tokens_are_found_and_must_fit_a_header() {
        assert_eq!(
            token(br#"{"token":"a","access_token":"b","expires_in":60}"#).as_deref(),
            Some("a")
        );
        assert_eq!(token(br#"{"token":"","access_token":"b"}"#).as_deref(), Some("b"));
        for none in [
            &b"{}"[..],
            b"",
            br#"{"token":"a\nX: y"}"#,
            br#"{"token":1}"#,
            br#"{"token":""}"#,
        ] {
            assert_eq!(token(none), None);
        }
    }
}
