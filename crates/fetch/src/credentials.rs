//! Credentials from the files that skopeo, podman and docker keep them in.
//!
//! Sources: containers-auth.json(5); Docker's `config.json` (`auths`, `credHelpers`, `credsStore`).

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use crate::error::Error;
use crate::place::Place;

/// The largest file of credentials, in bytes: `vdkr --config` has the same limit.
const MAX_FILE: u64 = 1 << 20;
/// The names under which the credentials of Docker Hub are kept.
const DOCKER_HUB: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];

/// What proves to a registry who asks.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A user and a password.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// A token that its service exchanges for others.
    IdentityToken(String),
}

/// Nothing of a secret is ever shown.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "a password",
            Self::IdentityToken(_) => "an identity token",
        })
    }
}

impl Credential {
    /// The value of an `Authorization` header; `None` for a token, which only its service takes.
    #[must_use]
    pub fn basic(&self) -> Option<String> {
        match self {
            Self::Password { user, password } => Some(format!(
                "Basic {}",
                base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
            )),
            Self::IdentityToken(_) => None,
        }
    }
}

/// What a file says of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// The credentials themselves.
    Credential(Credential),
    /// That the program `docker-credential-NAME` has them.
    Helper(String),
}

/// A file of credentials, read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthFile {
    #[serde(default)]
    auths: Option<BTreeMap<String, Entry>>,
    #[serde(default)]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(default)]
    creds_store: Option<String>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
}

impl AuthFile {
    /// Reads the JSON of a file. Errors tell the place in it and nothing of its content.
    ///
    /// # Errors
    /// It is not of this form.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        // serde's own message may quote a value.
        serde_json::from_slice(bytes).map_err(|error: serde_json::Error| {
            format!(
                "it is no JSON of that form (line {}, column {})",
                error.line(),
                error.column()
            )
        })
    }

    /// What the file has for a place: the longest key that is a beginning of it.
    #[must_use]
    pub fn find(&self, place: &Place) -> Option<Found> {
        let auths: BTreeMap<String, &Entry> = self
            .auths
            .iter()
            .flatten()
            .map(|(key, entry)| (normal(key), entry))
            .collect();
        let registries = match DOCKER_HUB.contains(&place.registry.as_str()) {
            true => DOCKER_HUB,
            false => &[place.registry.as_str()],
        };
        let helpers = self.cred_helpers.iter().flatten();
        let mut helper = helpers
            .filter(|(key, _)| registries.contains(&normal(key).as_str()))
            .map(|(_, name)| name.clone())
            .next();
        let mut repository = Some(place.repository.as_str());
        let mut keys = Vec::new();
        while let Some(path) = repository {
            keys.extend(registries.iter().map(|registry| format!("{registry}/{path}")));
            repository = path.rsplit_once('/').map(|(above, _)| above);
        }
        keys.extend(registries.iter().map(|registry| (*registry).to_owned()));
        for key in keys {
            let Some(entry) = auths.get(&key) else { continue };
            if let Some(credential) = entry.credential() {
                return Some(Found::Credential(credential));
            }
            // Docker leaves an empty entry for what its store has.
            helper = helper.or_else(|| self.creds_store.clone());
        }
        helper.filter(|name| !name.is_empty()).map(Found::Helper)
    }
}

impl Entry {
    fn credential(&self) -> Option<Credential> {
        let given = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Some(Credential::IdentityToken(token));
        }
        if let (Some(user), Some(password)) = (given(&self.username), given(&self.password)) {
            return Some(Credential::Password { user, password });
        }
        let padding = DecodePaddingMode::Indifferent;
        let lenient = GeneralPurpose::new(
            &STANDARD,
            GeneralPurposeConfig::new().with_decode_padding_mode(padding),
        );
        let decoded = lenient.decode(given(&self.auth)?.trim()).ok()?;
        let decoded = String::from_utf8(decoded).ok()?;
        let (user, password) = decoded.split_once(':')?;
        Some(Credential::Password {
            user: user.to_owned(),
            // Some old writers filled it up.
            password: password.trim_end_matches('\0').to_owned(),
        })
    }
}

/// A key as it is compared: Docker writes addresses (`https://index.docker.io/v1/`), of which the host counts.
fn normal(key: &str) -> String {
    let address = ["https://", "http://"]
        .iter()
        .find_map(|scheme| key.strip_prefix(scheme));
    match address {
        Some(address) => address.split('/').next().unwrap_or_default().to_owned(),
        None => key.trim_end_matches('/').to_owned(),
    }
}

/// The files in which credentials are looked for.
#[derive(Debug, Clone, Default)]
pub struct AuthFiles {
    /// The one that the user has named, which must be there; no other is looked at then.
    pub given: Option<PathBuf>,
    /// Otherwise these, in this order, if they are there.
    pub usual: Vec<PathBuf>,
}

impl AuthFiles {
    /// The credentials for a place, and which file they are from.
    ///
    /// # Errors
    /// A file cannot be used, or only says which program has them.
    pub fn find(&self, place: &Place) -> Result<Option<(Credential, PathBuf)>, Error> {
        let files = match &self.given {
            Some(given) => std::slice::from_ref(given),
            None => &self.usual,
        };
        let mut helper = None;
        for path in files {
            let bytes = match read(path) {
                Err(error) if self.given.is_none() && error.kind() == io::ErrorKind::NotFound => continue,
                result => result.map_err(|source| Error::io("reading", path, source))?,
            };
            let file = AuthFile::parse(&bytes).map_err(|fault| Error::AuthFile {
                path: path.clone(),
                fault,
            })?;
            match file.find(place) {
                Some(Found::Credential(credential)) => return Ok(Some((credential, path.clone()))),
                Some(Found::Helper(name)) => helper = helper.or(Some((name, path.clone()))),
                None => {}
            }
        }
        match helper {
            Some((helper, path)) => Err(Error::Helper {
                registry: place.registry.clone(),
                path,
                helper,
            }),
            None => Ok(None),
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_FILE {
        true => Err(io::Error::other(
            "it is larger than 1 MiB, which no file of credentials is",
        )),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place(reference: &str) -> Place {
        Place::of(&reference.parse().unwrap())
    }

    fn find(json: &str, reference: &str) -> Option<Found> {
        AuthFile::parse(json.as_bytes()).unwrap().find(&place(reference))
    }

    fn password(user: &str, password: &str) -> Option<Found> {
        Some(Found::Credential(Credential::Password {
            user: user.into(),
            password: password.into(),
        }))
    }

    #[test]
    fn the_longest_key_wins() {
        // user:pa:ss, team:t, app:a
        let json = r#"{"auths": {
            "registry.example:5000": {"auth": "dXNlcjpwYTpzcw=="},
            "registry.example:5000/team": {"auth": "dGVhbTp0"},
            "registry.example:5000/team/app": {"auth": "YXBwOmE"},
            "registry.example:5000/empty": {},
            "https://index.docker.io/v1/": {"username": "hub", "password": "h"},
            "https://old.example/v2/": {"identitytoken": "secret", "auth": "dXNlcjo="}
        }}"#;
        assert_eq!(find(json, "registry.example:5000/x"), password("user", "pa:ss"));
        assert_eq!(
            find(json, "registry.example:5000/team/other/x"),
            password("team", "t")
        );
        assert_eq!(find(json, "registry.example:5000/team/app"), password("app", "a"));
        assert_eq!(
            find(json, "registry.example:5000/teams"),
            password("user", "pa:ss")
        );
        assert_eq!(
            find(json, "registry.example:5000/empty"),
            password("user", "pa:ss")
        );
        assert_eq!(find(json, "redis"), password("hub", "h"));
        assert_eq!(find(json, "registry.example/team/app"), None);
        let token = Found::Credential(Credential::IdentityToken("secret".into()));
        assert_eq!(find(json, "old.example/x"), Some(token.clone()));
        assert!(!format!("{token:?}").contains("secret"));
    }

    #[test]
    fn helpers_are_told_only_where_they_count() {
        let json = r#"{"auths": {"a.example": {}, "b.example": {"auth": "dTpw"}},
            "credHelpers": {"c.example": "gcloud", "b.example": "other"}, "credsStore": "desktop"}"#;
        assert_eq!(find(json, "a.example/x"), Some(Found::Helper("desktop".into())));
        assert_eq!(find(json, "b.example/x"), password("u", "p"));
        assert_eq!(find(json, "c.example/x"), Some(Found::Helper("gcloud".into())));
        assert_eq!(find(json, "d.example/x"), None);
    }

    #[test]
    fn files_are_asked_in_their_order() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, json: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, json).unwrap();
            path
        };
        let helper = file("helper", r#"{"credHelpers": {"r.example": "h"}}"#);
        let password = file("password", r#"{"auths": {"r.example": {"auth": "dTpw"}}}"#);
        let broken = file("broken", r#"{"auths": {"r.example": {"auth": ["hunter2"]}}}"#);
        let missing = folder.path().join("missing");
        let place = place("r.example/x");
        let usual = |usual: &[&PathBuf]| AuthFiles {
            given: None,
            usual: usual.iter().map(|path| (*path).clone()).collect(),
        };
        let found = usual(&[&missing, &helper, &password])
            .find(&place)
            .unwrap()
            .unwrap();
        assert_eq!(found.1, password);
        let only_helper = usual(&[&helper]).find(&place).unwrap_err().to_string();
        assert!(only_helper.contains("docker-credential-h"), "{only_helper}");
        let message = usual(&[&broken]).find(&place).unwrap_err().to_string();
        assert!(
            message.contains("line 1") && !message.contains("hunter2"),
            "{message}"
        );
        let given = AuthFiles {
            given: Some(missing),
            usual: vec![password],
        };
        assert!(given.find(&place).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80), auth in "\\PC{0,20}") {
            let _ = AuthFile::parse(&bytes);
            let json = serde_json::json!({"auths": {"r.example": {"auth": auth}}}).to_string();
            let _ = find(&json, "r.example/x");
        }
    }
}
