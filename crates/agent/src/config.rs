//! `/etc/vcontainer/guest.conf`: what this guest is, a directive a line. Pure.

use std::collections::BTreeMap;

use vcontainer_wire::Failure;

use crate::failure::failure;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `engine`: the engine's name, for people.
    pub engine: String,
    /// `state`: where the state disk is mounted.
    pub state: Option<String>,
    /// `module`: kernel modules to load before the services start.
    pub modules: Vec<String>,
    /// `sysctl KEY=VALUE`, in order.
    pub sysctls: Vec<(String, String)>,
    /// `env NAME=VALUE`: what every program in the guest gets.
    pub environment: BTreeMap<String, String>,
    /// `service WORD WORD …`: started in order; each is ready when it says so.
    pub services: Vec<Vec<String>>,
    /// `runtime-dir`: directories to make at every boot.
    pub runtime_directories: Vec<String>,
}

impl Config {
    /// # Errors
    /// A line that is no directive.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let mut config = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = || {
                failure(format!(
                    "line {} of guest.conf is not understood: {line}",
                    number + 1
                ))
            };
            let (directive, rest) = line.split_once(char::is_whitespace).ok_or_else(wrong)?;
            let rest = rest.trim();
            let pair = || {
                let (name, value) = rest.split_once('=').ok_or_else(wrong)?;
                Ok::<_, Failure>((name.trim().to_owned(), value.trim().to_owned()))
            };
            match directive {
                "engine" => rest.clone_into(&mut config.engine),
                "state" => config.state = Some(rest.to_owned()),
                "module" => config.modules.push(rest.to_owned()),
                "sysctl" => config.sysctls.push(pair()?),
                "env" => config.environment.extend([pair()?]),
                "service" => config
                    .services
                    .push(rest.split_whitespace().map(str::to_owned).collect()),
                "runtime-dir" => config.runtime_directories.push(rest.to_owned()),
                _ => return Err(wrong()),
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive() {
        let config = Config::parse(
            "# a guest\nengine docker\nstate /var/lib/docker\nmodule overlay\nsysctl net.ipv4.ip_forward=1\n\
             env A=b=c\nservice /usr/sbin/dockerd -D\nruntime-dir /run/lock\n\n",
        )
        .unwrap();
        assert_eq!(config.state.as_deref(), Some("/var/lib/docker"));
        assert_eq!(config.environment["A"], "b=c");
        assert_eq!(config.services, [["/usr/sbin/dockerd", "-D"]]);
        assert_eq!(config.sysctls, [("net.ipv4.ip_forward".into(), "1".into())]);
        let error = Config::parse("engine x\nbogus y").unwrap_err();
        assert!(error.message.contains("line 2"), "{error}");
    }
}
