//! The engines that guests run.

use std::fmt;
use std::str::FromStr;

/// A container engine in a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engine {
    /// Docker: dockerd and containerd run as services.
    Docker,
    /// Podman, which has no service.
    Podman,
}

/// A text that names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no engine: use docker or podman")]
pub struct UnknownEngine(String);

impl Engine {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Docker, Self::Podman];

    /// The name of the command that runs it in a machine: `vdkr` or `vpdmn`.
    #[must_use]
    pub fn tool(self) -> &'static str {
        match self {
            Self::Docker => "vdkr",
            Self::Podman => "vpdmn",
        }
    }
}

/// The engine's own command.
impl fmt::Display for Engine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        })
    }
}

impl FromStr for Engine {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        Self::ALL
            .into_iter()
            .find(|engine| engine.to_string() == text)
            .ok_or_else(|| UnknownEngine(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for engine in Engine::ALL {
            assert_eq!(engine.to_string().parse(), Ok(engine));
        }
        assert!("vdkr".parse::<Engine>().is_err());
    }
}
