//! A conversation with registries: logins, redirects, tries.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use vcontainer_image::{DOCKER_MANIFEST, DOCKER_MANIFEST_LIST, Digest, OCI_INDEX, OCI_MANIFEST};

use crate::address::{Address, Scheme, host_of, is_loopback};
use crate::challenge::{Bearer, Challenge, parse};
use crate::credentials::{AuthFiles, Credential};
use crate::error::Error;
use crate::event::{Event, Observer};
use crate::fault::Fault;
use crate::http::{Answer, Headers, Http, Timeouts};
use crate::place::Place;
use crate::proxy::Proxies;
use crate::retry::Retries;
use crate::token::{question, token};
use crate::trust::Trust;

/// How many redirects are followed.
const MOST_REDIRECTS: usize = 5;
/// The largest answer of a token service, in bytes.
const MOST_TOKEN: u64 = 1 << 20;

/// How registries are reached.
#[derive(Default)]
pub struct Network {
    /// Where credentials are.
    pub credentials: AuthFiles,
    /// Whose certificates count.
    pub trust: Trust,
    /// Through which proxies.
    pub proxies: Proxies,
    /// Registries that have no TLS. Those on this computer (`localhost`, 127.0.0.0/8, `[::1]`) are asked whether they have.
    pub plain_http: BTreeSet<String>,
    /// How long is waited for a server.
    pub timeouts: Timeouts,
    /// How often it is tried.
    pub retries: Retries,
}

/// What is asked of a registry.
pub(crate) enum Wanted<'a> {
    /// A manifest or an index, by digest or tag.
    Manifest(&'a str),
    /// A blob from this byte on.
    Blob(Digest, u64),
}

/// Speaks to registries.
pub(crate) struct Client<'a> {
    network: &'a Network,
    http: Http<'a>,
    observer: &'a dyn Observer,
    schemes: Mutex<BTreeMap<String, Scheme>>,
    logins: Mutex<BTreeMap<Place, String>>,
    /// Mirrors that are of no use in this run.
    useless: Mutex<BTreeSet<Place>>,
}

impl<'a> Client<'a> {
    pub fn new(network: &'a Network, observer: &'a dyn Observer) -> Self {
        Self {
            network,
            http: Http::new(&network.trust, &network.proxies, network.timeouts),
            observer,
            schemes: Mutex::default(),
            logins: Mutex::default(),
            useless: Mutex::default(),
        }
    }

    /// Tries each place in turn, each as often as is useful. `attempt` also tells whether it came further than the one
    /// before; what is further counts as a fresh start. `goes_on` says whether anybody still waits for it.
    pub fn try_places<T>(
        &self,
        what: &str,
        places: &[Place],
        goes_on: &dyn Fn() -> bool,
        mut attempt: impl FnMut(&Place) -> (Result<T, Fault>, bool),
    ) -> Result<T, Error> {
        let mut last = Error::GivenUp;
        for (number, place) in places.iter().enumerate() {
            let is_last = number + 1 == places.len();
            if !is_last && self.useless().contains(place) {
                continue;
            }
            let mut failures = 0;
            let fault = loop {
                if !goes_on() {
                    return Err(Error::GivenUp);
                }
                let (result, further) = attempt(place);
                let fault = match result {
                    Ok(found) => return Ok(found),
                    // A mirror's own login is no reason to give up.
                    Err(Fault::Here(error)) if is_last || !matches!(*error, Error::Helper { .. }) => {
                        return Err(*error);
                    }
                    Err(fault) => fault,
                };
                failures = if further { 1 } else { failures + 1 };
                let wait = fault
                    .may_pass()
                    .and_then(|asked| self.network.retries.wait(failures, asked));
                let Some(wait) = wait else { break fault };
                self.observer.event(Event::Again {
                    what,
                    fault: &fault,
                    wait,
                });
                sleep(wait, goes_on);
            };
            if !is_last {
                if !matches!(fault, Fault::Status { code: 404, .. }) {
                    self.useless().insert(place.clone());
                }
                let place = &place.to_string();
                self.observer.event(Event::OtherPlace {
                    what,
                    place,
                    fault: &fault,
                });
            }
            last = Error::Registry {
                what: what.to_owned(),
                place: place.to_string(),
                tries: failures,
                source: Box::new(fault),
            };
        }
        Err(last)
    }

    /// Asks once, logs in if need be, follows redirects. The answer is 200 or 206.
    pub fn get(&self, place: &Place, wanted: &Wanted<'_>) -> Result<Answer, Fault> {
        let (target, accept, from) = match wanted {
            Wanted::Manifest(name) => {
                let types = [OCI_INDEX, OCI_MANIFEST, DOCKER_MANIFEST_LIST, DOCKER_MANIFEST];
                (place.manifest(name), Some(types.join(", ")), 0)
            }
            Wanted::Blob(digest, from) => (place.blob(*digest), None, *from),
        };
        let authority = place.authority();
        let scheme = self.scheme(place)?;
        let address = Address::new(scheme, authority, &target);
        let login = self.login(place);
        let mut headers = Headers {
            accept,
            authorization: login,
            from,
            form: None,
        };
        let mut answer = self.follow(&address, &headers)?;
        if answer.code == 401 && answer.server == address.authority {
            // A token that was good before may have expired; one that is new is refused for good.
            let (authorization, origin) = self.log_in(place, scheme, answer)?;
            headers.authorization = Some(authorization.clone());
            answer = self.follow(&address, &headers)?;
            if answer.code == 401 || (answer.code == 403 && matches!(origin, Origin::Helper(_))) {
                return Err(refused(place, answer, origin));
            }
            self.remember(place, authorization);
        }
        match answer.code {
            200 | 206 => Ok(answer),
            _ => Err(answer.into_fault()),
        }
    }

    /// Sends, and follows redirects. Who asks is told to nobody but the registry itself.
    fn follow(&self, registry: &Address, headers: &Headers) -> Result<Answer, Fault> {
        let mut address = registry.clone();
        for _ in 0..=MOST_REDIRECTS {
            let sent = Headers {
                accept: headers.accept.clone(),
                authorization: headers
                    .authorization
                    .clone()
                    .filter(|_| address.is_same_server(registry)),
                from: headers.from,
                form: None,
            };
            let answer = self.http.send(&address, &sent)?;
            if !matches!(answer.code, 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let next = address.follow(answer.header("location").unwrap_or_default());
            let next = next.map_err(|fault| Fault::Redirect {
                server: answer.server.clone(),
                fault: fault.to_owned(),
            })?;
            address = next;
        }
        Err(Fault::Redirect {
            server: address.authority,
            fault: "there are too many redirects".into(),
        })
    }

    /// Finds what a registry wants to see instead of a 401, and where it is from.
    fn log_in(&self, place: &Place, scheme: Scheme, answer: Answer) -> Result<(String, Origin), Fault> {
        let challenges = parse(answer.header("www-authenticate").unwrap_or_default());
        let (credential, origin) = match self.network.credentials.find(place) {
            Ok(Some((credential, path))) => (Some(credential), Origin::File(path.display().to_string())),
            Ok(None) => (None, Origin::Nobody),
            // What is public needs no credentials, whoever keeps them.
            Err(error @ Error::Helper { .. }) => (None, Origin::Helper(Box::new(error))),
            Err(error) => return Err(error.into()),
        };
        let server = answer.server.clone();
        let bearer = challenges.iter().find_map(|challenge| match challenge {
            Challenge::Bearer(bearer) => Some(bearer),
            Challenge::Basic => None,
        });
        if let Some(bearer) = bearer {
            let (token, origin) = self.token(place, scheme, bearer, credential.as_ref(), origin)?;
            return Ok((format!("Bearer {token}"), origin));
        }
        if !challenges.contains(&Challenge::Basic) {
            return Err(Fault::Login {
                server,
                fault: "it offers neither Basic nor Bearer".into(),
            });
        }
        match credential {
            None => Err(refused(place, answer, origin)),
            Some(credential) => match credential.basic() {
                Some(basic) => Ok((basic, origin)),
                None => Err(Fault::Login {
                    server,
                    fault: "it wants a password, and there is only an identity token".into(),
                }),
            },
        }
    }

    fn token(
        &self,
        place: &Place,
        scheme: Scheme,
        bearer: &Bearer,
        credential: Option<&Credential>,
        origin: Origin,
    ) -> Result<(String, Origin), Fault> {
        let login = |fault: &str| Fault::Login {
            server: place.authority().to_owned(),
            fault: fault.to_owned(),
        };
        let question = question(bearer, &place.repository, credential, scheme)
            .ok_or_else(|| login("its token service has no address with TLS"))?;
        let headers = Headers {
            authorization: question.authorization,
            form: question.form,
            ..Headers::default()
        };
        let answer = self.http.send(&question.address, &headers)?;
        match answer.code {
            200 => match token(&answer.read(MOST_TOKEN)?) {
                Some(token) => Ok((token, origin)),
                None => Err(login("its token service gives no token")),
            },
            401 | 403 => Err(refused(place, answer, origin)),
            300..=399 => Err(login("its token service points elsewhere")),
            _ => Err(answer.into_fault()),
        }
    }

    /// How a registry is spoken to.
    fn scheme(&self, place: &Place) -> Result<Scheme, Fault> {
        let authority = place.authority();
        if self.network.plain_http.contains(&place.registry) {
            return Ok(Scheme::Http);
        }
        if !is_loopback(host_of(authority)) {
            return Ok(Scheme::Https);
        }
        let mut schemes = self.schemes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scheme) = schemes.get(authority) {
            return Ok(*scheme);
        }
        let scheme = match self.http.speaks_tls(authority)? {
            true => Scheme::Https,
            false => Scheme::Http,
        };
        schemes.insert(authority.to_owned(), scheme);
        Ok(scheme)
    }

    fn useless(&self) -> MutexGuard<'_, BTreeSet<Place>> {
        self.useless.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn login(&self, place: &Place) -> Option<String> {
        let logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.get(place).cloned()
    }

    fn remember(&self, place: &Place, authorization: String) {
        let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
        logins.insert(place.clone(), authorization);
    }
}

/// Where credentials are from.
enum Origin {
    /// There are none.
    Nobody,
    /// A file.
    File(String),
    /// Only a program has them: the error that says so.
    Helper(Box<Error>),
}

fn refused(place: &Place, answer: Answer, origin: Origin) -> Fault {
    let server = answer.server.clone();
    let registry = place.registry.clone();
    let code = answer.code;
    let message = answer.message();
    match origin {
        Origin::Helper(error) => Fault::Here(error),
        Origin::File(file) => Fault::BadCredentials {
            server,
            registry,
            code,
            file,
            message,
        },
        Origin::Nobody => Fault::NoCredentials {
            server,
            registry,
            code,
            message,
        },
    }
}

/// Sleeps, and looks now and then whether anybody still waits.
pub(crate) fn sleep(wait: Duration, goes_on: &dyn Fn() -> bool) {
    const STEP: Duration = Duration::from_millis(50);
    let end = Instant::now() + wait;
    while goes_on() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        thread::sleep(left.min(STEP));
    }
}
