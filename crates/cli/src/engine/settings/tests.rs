use super::*;
use vcontainer_guest::Engine;

const DOCKER: Tool = Tool {
    engine: Engine::Docker,
    arch: None,
};

struct Case<'a> {
    tool: Tool,
    options: Options,
    config: &'a [(&'a str, &'a str)],
    variables: &'a [(&'a str, &'a str)],
}

impl Default for Case<'_> {
    fn default() -> Self {
        Self {
            tool: DOCKER,
            options: Options::default(),
            config: &[],
            variables: &[],
        }
    }
}

impl Case<'_> {
    fn settings(&self) -> Result<Settings> {
        let folder = tempfile::tempdir().unwrap();
        let text: String = self
            .config
            .iter()
            .map(|(key, value)| format!("{key}={value}\n"))
            .collect();
        std::fs::write(folder.path().join("config"), text).unwrap();
        let variable = |name: &str| {
            let given = self.variables.iter().find(|(given, _)| *given == name);
            given
                .map(|(_, value)| OsString::from(value))
                .or_else(|| (name == "HOME").then(|| "/home/u".into()))
        };
        let around = Surroundings {
            variable: &variable,
            machine: "x86_64",
            folder: Path::new("/work dir"),
        };
        Settings::new(
            self.tool,
            &self.options,
            &ConfigFile::read(folder.path())?,
            &around,
        )
    }
}

fn state(case: &Case<'_>) -> String {
    case.settings().unwrap().state.unwrap().display().to_string()
}

#[test]
fn architectures_are_chosen_in_the_documented_order() {
    let named = Tool {
        arch: Some(Arch::X86_64),
        ..DOCKER
    };
    let option = Options {
        arch: Some(Arch::Aarch64),
        ..Options::default()
    };
    let of = |case: Case<'_>| case.settings().unwrap().arch;
    let config = &[("arch", "aarch64")][..];
    let variable = &[("VDKR_ARCH", "aarch64")][..];
    assert_eq!(of(Case::default()), Arch::X86_64);
    assert_eq!(
        of(Case {
            config,
            ..Case::default()
        }),
        Arch::Aarch64
    );
    let against = &[("arch", "x86_64")][..];
    assert_eq!(
        of(Case {
            config: against,
            variables: variable,
            ..Case::default()
        }),
        Arch::Aarch64
    );
    assert_eq!(
        of(Case {
            tool: named,
            config,
            variables: variable,
            ..Case::default()
        }),
        Arch::X86_64
    );
    assert_eq!(
        of(Case {
            tool: named,
            options: option,
            ..Case::default()
        }),
        Arch::Aarch64
    );
    // The other tool's variable is not ours, and an empty one is none.
    let others = &[("VPDMN_ARCH", "aarch64"), ("VDKR_ARCH", "")][..];
    assert_eq!(
        of(Case {
            variables: others,
            ..Case::default()
        }),
        Arch::X86_64
    );
}

#[test]
fn state_is_where_the_document_says() {
    let options = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options
    };
    assert_eq!(state(&Case::default()), "/home/u/.vdkr/x86_64");
    let podman = Tool {
        engine: Engine::Podman,
        arch: Some(Arch::Aarch64),
    };
    assert_eq!(
        state(&Case {
            tool: podman,
            ..Case::default()
        }),
        "/home/u/.vpdmn/aarch64"
    );
    let instance = options(|options| options.instance = Some("web".to_owned()));
    assert_eq!(
        state(&Case {
            options: instance.clone(),
            ..Case::default()
        }),
        "/home/u/.vdkr/web"
    );
    let variables = &[("VDKR_STATE_DIR", "/s t")][..];
    assert_eq!(
        state(&Case {
            variables,
            ..Case::default()
        }),
        "/s t/x86_64"
    );
    assert_eq!(
        state(&Case {
            options: instance,
            variables,
            ..Case::default()
        }),
        "/s t/web"
    );
    let given = options(|options| options.state_dir = Some("mine".into()));
    assert_eq!(
        state(&Case {
            options: given,
            variables,
            ..Case::default()
        }),
        "/work dir/mine"
    );
    let config = &[("state-dir", "/c")][..];
    assert_eq!(
        state(&Case {
            config,
            ..Case::default()
        }),
        "/c/x86_64"
    );
    assert_eq!(
        state(&Case {
            config,
            variables,
            ..Case::default()
        }),
        "/s t/x86_64"
    );
}

#[test]
fn stateless_machines_have_no_folder() {
    let stateless = Options {
        stateless: true,
        ..Options::default()
    };
    let of = |case: Case<'_>| case.settings().unwrap().state;
    assert_eq!(
        of(Case {
            options: stateless.clone(),
            ..Case::default()
        }),
        None
    );
    let variables = &[("VDKR_STATELESS", "true")][..];
    assert_eq!(
        of(Case {
            variables,
            ..Case::default()
        }),
        None
    );
    let input = Options {
        input_storage: Some("x.tar".into()),
        ..Options::default()
    };
    let settings = Case {
        options: input,
        ..Case::default()
    }
    .settings()
    .unwrap();
    assert_eq!(
        (settings.state, settings.input_storage),
        (None, Some("/work dir/x.tar".into()))
    );
    // What is said on the command line is stronger than the environment.
    let given = Options {
        state_dir: Some("/d".into()),
        ..Options::default()
    };
    assert_eq!(
        of(Case {
            options: given,
            variables,
            ..Case::default()
        }),
        Some("/d".into())
    );
    let both = Options {
        instance: Some("x".to_owned()),
        ..stateless
    };
    let error = Case {
        options: both,
        ..Case::default()
    }
    .settings()
    .unwrap_err()
    .to_string();
    assert!(error.contains("only one"), "{error}");
}

#[test]
fn sizes_come_from_the_next_best_place() {
    let config = &[("cpus", "3"), ("memory", "1G"), ("idle-timeout", "7")][..];
    let variables = &[("VDKR_CPUS", "4"), ("VDKR_DISK", "10G")][..];
    let settings = Case {
        config,
        variables,
        ..Case::default()
    }
    .settings()
    .unwrap();
    assert_eq!(
        (settings.cpus, settings.memory, settings.disk),
        (4, 1 << 30, 10 << 30)
    );
    assert_eq!(settings.linger, Duration::from_secs(7));
    let config = &[("auto-daemon", "false"), ("idle-timeout", "7")][..];
    assert_eq!(
        Case {
            config,
            ..Case::default()
        }
        .settings()
        .unwrap()
        .linger,
        Duration::ZERO
    );
    let usual = Case::default().settings().unwrap();
    assert!(usual.cpus >= 1 && usual.memory >= 512 << 20 && usual.linger > Duration::ZERO);
}

#[test]
fn wrong_values_name_where_they_stand() {
    for (variables, part) in [
        (&[("VDKR_ARCH", "vax")][..], "VDKR_ARCH"),
        (&[("VDKR_CPUS", "many")], "VDKR_CPUS"),
        (&[("VDKR_MEMORY", "x")], "VDKR_MEMORY"),
        (&[("VDKR_STATELESS", "perhaps")], "VDKR_STATELESS"),
        (&[("HOME", "")], "HOME is not set"),
    ] {
        let error = Case {
            variables,
            ..Case::default()
        }
        .settings()
        .unwrap_err();
        assert!(format!("{error:#}").contains(part), "{error:#}");
    }
}
