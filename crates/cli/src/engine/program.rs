//! One binary, several names: what its name says.

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};
use vcontainer_guest::{Arch, Engine};

/// What a program of this name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `vcontainer`, and every name that is not known.
    Vcontainer,
    /// `vdkr` or `vpdmn`.
    Tool(Tool),
}

/// An engine under its tool's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// Whose commands it runs.
    pub engine: Engine,
    /// The architecture that the name ends with: `vdkr-aarch64`.
    pub arch: Option<Arch>,
}

impl Tool {
    /// Both.
    pub const ALL: [Self; 2] = [
        Self {
            engine: Engine::Docker,
            arch: None,
        },
        Self {
            engine: Engine::Podman,
            arch: None,
        },
    ];

    /// `vdkr` or `vpdmn`.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.engine.tool()
    }

    /// The engine's own command.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self.engine {
            Engine::Docker => "docker",
            Engine::Podman => "podman",
        }
    }

    /// The environment variable `suffix` of this tool: `VDKR_ARCH`.
    #[must_use]
    pub fn variable(self, suffix: &str) -> String {
        format!("{}_{suffix}", self.name().to_ascii_uppercase())
    }
}

impl Program {
    /// What the program was called as.
    ///
    /// # Errors
    /// A tool's name with an architecture that is not known.
    pub fn from_name(argv0: &OsStr) -> Result<Self> {
        let name = Path::new(argv0).file_name().unwrap_or_default().to_string_lossy();
        for engine in [Engine::Docker, Engine::Podman] {
            let Some(rest) = name.strip_prefix(engine.tool()) else {
                continue;
            };
            if rest.is_empty() {
                return Ok(Self::Tool(Tool { engine, arch: None }));
            }
            if let Some(arch) = rest.strip_prefix('-') {
                let Ok(arch) = arch.parse() else {
                    bail!(
                        "the program's name `{name}` ends with `{arch}`, which is no known architecture: link it as \
                         {tool}-aarch64 or {tool}-x86_64, or as {tool} and choose with --arch",
                        tool = engine.tool()
                    );
                };
                return Ok(Self::Tool(Tool {
                    engine,
                    arch: Some(arch),
                }));
            }
        }
        Ok(Self::Vcontainer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str) -> Program {
        Program::from_name(OsStr::new(name)).unwrap()
    }

    #[test]
    fn the_name_says_engine_and_architecture() {
        let tool = |engine, arch| Program::Tool(Tool { engine, arch });
        assert_eq!(program("vdkr"), tool(Engine::Docker, None));
        assert_eq!(program("/opt/a b/vpdmn"), tool(Engine::Podman, None));
        assert_eq!(
            program("./vdkr-aarch64"),
            tool(Engine::Docker, Some(Arch::Aarch64))
        );
        assert_eq!(program("vpdmn-x86_64"), tool(Engine::Podman, Some(Arch::X86_64)));
        for other in ["vcontainer", "", "vdkrx", "docker", "target/debug/vcontainer"] {
            assert_eq!(program(other), Program::Vcontainer, "{other}");
        }
    }

    #[test]
    fn an_unknown_architecture_in_the_name_is_an_error() {
        let error = Program::from_name(OsStr::new("vdkr-sparc"))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("`vdkr-sparc`") && error.contains("vdkr-aarch64"),
            "{error}"
        );
    }

    #[test]
    fn variables_carry_the_name_of_the_tool() {
        let Program::Tool(tool) = program("vpdmn") else {
            panic!()
        };
        assert_eq!(tool.variable("STATE_DIR"), "VPDMN_STATE_DIR");
    }
}
