//! Which compiler makes a static agent: the one that `VCONTAINER_AGENT_RUSTC` names, else rustup's when it has the
//! target's standard library, else Debian's.

use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use e2e::cache;
use e2e::process::Command;

/// A compiler and what cargo must tell it.
pub(super) struct Compiler {
    /// The target triple.
    pub(super) target: String,
    /// The program, when it isn't cargo's own.
    pub(super) rustc: Option<PathBuf>,
    pub(super) linker: Option<String>,
    pub(super) flags: Vec<&'static str>,
    name: &'static str,
}

impl fmt::Display for Compiler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.name, self.target)
    }
}

impl Compiler {
    /// # Errors
    /// There is none; the error says how to get one.
    pub(super) fn find(architecture: &str) -> Result<Self> {
        let glibc = format!("{architecture}-unknown-linux-gnu");
        let musl = format!("{architecture}-unknown-linux-musl");
        if let Some(rustc) = setting("VCONTAINER_AGENT_RUSTC") {
            let mut compiler = Self::glibc(architecture, "the compiler in VCONTAINER_AGENT_RUSTC");
            compiler.rustc = Some(rustc.into());
            if let Some(target) = setting("VCONTAINER_AGENT_TARGET") {
                compiler.target = target;
            }
            return Ok(compiler);
        }
        if has_std("rustc", &musl) {
            return Ok(Self {
                target: musl,
                rustc: None,
                // Comes with the compiler and needs nothing of the system.
                linker: Some(setting("VCONTAINER_AGENT_LINKER").unwrap_or_else(|| "rust-lld".into())),
                flags: vec!["-C target-feature=+crt-static"],
                name: "rustup's compiler",
            });
        }
        let mut compiler = Self::glibc(architecture, "rustup's compiler");
        if !has_std("rustc", &glibc) {
            compiler.name = "Debian's compiler";
            compiler.rustc = Some(debian(architecture).with_context(|| {
                format!(
                    "no compiler here makes static programs for {architecture} (`rustup target add {musl}` gets one), \
                     and Debian's cannot be had"
                )
            })?);
        }
        if let Some(linker) = &compiler.linker
            && !Command::exists(linker)
        {
            bail!("linking the agent for {architecture} needs {linker}: `cargo xtask setup` installs it");
        }
        Ok(compiler)
    }

    fn glibc(architecture: &str, name: &'static str) -> Self {
        let foreign = architecture != std::env::consts::ARCH;
        let cross = foreign.then(|| format!("{}-linux-gnu-gcc", architecture));
        Self {
            target: format!("{architecture}-unknown-linux-gnu"),
            rustc: None,
            linker: setting("VCONTAINER_AGENT_LINKER").or(cross),
            flags: vec!["-C target-feature=+crt-static", "-C relocation-model=static"],
            name,
        }
    }
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether this compiler has the standard library of that target.
fn has_std(rustc: &str, target: &str) -> bool {
    Command::new(rustc)
        .args(["--print", "target-libdir", "--target", target])
        .output()
        .ok()
        .and_then(|folder| fs::read_dir(folder.trim()).ok())
        .is_some_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"))
        })
}

/// The compiler that Debian keeps current for its browsers, with the standard library of that architecture, unpacked
/// in the cache: nothing is installed and nothing of the system's apt is changed.
fn debian(architecture: &str) -> Result<PathBuf> {
    let folder = cache::directory()?.join("rustc");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let lock = File::create(folder.join("lock")).context("making the lock of the compiler's cache")?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)
        .context("locking the compiler's cache")?;
    let root = folder.join("root");
    let rustc = root.join("rustc");
    let target = format!("{architecture}-unknown-linux-gnu");
    if rustc.is_file() && has_std(&rustc.to_string_lossy(), &target) {
        return Ok(rustc);
    }
    let apt = Apt::new(&folder.join("apt"), architecture)?;
    apt.get(&["-qq", "update"], &folder)?;
    let depends = |package: &str| apt.depends(package);
    let (version, compiler_needs) = depends("rustc-web")?;
    let mut names = vec![
        format!("rustc-web={version}"),
        format!("libstd-rust-web-dev={version}"),
    ];
    if !compiler_needs.iter().any(|name| name == "libstd-rust-web-dev") {
        bail!("rustc-web {version} does not come with its standard library");
    }
    let (_, library_needs) = depends("libstd-rust-web-dev")?;
    for library in library_needs
        .iter()
        .filter(|name| name.starts_with("libstd-rust-web-"))
    {
        names.push(format!("{library}={version}"));
        let (_, more) = depends(library)?;
        names.extend(more.into_iter().filter(|name| name.starts_with("libllvm")));
    }
    if architecture != std::env::consts::ARCH {
        names.push(format!(
            "libstd-rust-web-dev:{}={version}",
            debian_name(architecture)?
        ));
    }
    println!("downloading Debian's rustc-web {version}, once");
    let downloads = folder.join("packages");
    let _ = fs::remove_dir_all(&downloads);
    fs::create_dir_all(&downloads)?;
    let mut words = vec!["-qq", "download"];
    words.extend(names.iter().map(String::as_str));
    apt.get(&words, &downloads)?;
    // Another version's files must not lie among these.
    let fresh = folder.join("new");
    let _ = fs::remove_dir_all(&fresh);
    let keep = fs::read_to_string(root.join("version")).is_ok_and(|old| old == version);
    if keep {
        fs::rename(&root, &fresh)?;
    }
    for entry in fs::read_dir(&downloads)? {
        Command::new("dpkg")
            .arg("-x")
            .arg(entry?.path())
            .arg(&fresh)
            .run()?;
    }
    wrapper(&fresh, &root)?;
    fs::write(fresh.join("version"), version)?;
    let _ = fs::remove_dir_all(&root);
    fs::rename(&fresh, &root)?;
    fs::remove_dir_all(&downloads)?;
    if !has_std(&rustc.to_string_lossy(), &target) {
        bail!(
            "Debian's compiler was unpacked to {} and does not run",
            root.display()
        );
    }
    Ok(rustc)
}

/// Debian's compiler finds its own libraries only where the package would install them.
fn wrapper(folder: &Path, root: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let triple = format!("{}-linux-gnu", std::env::consts::ARCH);
    let root = root
        .to_str()
        .context("the path of the cache is not UTF-8")?
        .replace('\'', r"'\''");
    let script =
        format!("#!/bin/sh\nLD_LIBRARY_PATH='{root}/usr/lib/{triple}' exec '{root}/usr/bin/rustc' \"$@\"\n");
    let path = folder.join("rustc");
    fs::write(&path, script)?;
    Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?)
}

fn debian_name(architecture: &str) -> Result<&'static str> {
    match architecture {
        "aarch64" => Ok("arm64"),
        "x86_64" => Ok("amd64"),
        other => bail!("Debian's name of {other} is not known here"),
    }
}

/// apt with the machine's own sources and keys, and lists of its own that know a second architecture.
struct Apt {
    configuration: PathBuf,
}

impl Apt {
    fn new(folder: &Path, architecture: &str) -> Result<Self> {
        if !Command::exists("apt-get") {
            bail!("this machine has no apt-get");
        }
        for part in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        File::create(folder.join("status"))?;
        let (host, other) = (debian_name(std::env::consts::ARCH)?, debian_name(architecture)?);
        let place = folder.display();
        let text = format!(
            "#clear APT::Architectures;\nAPT::Architecture \"{host}\";\n\
             APT::Architectures {{ \"{host}\"; \"{other}\"; }};\n\
             Dir::State \"{place}/state\";\nDir::State::status \"{place}/status\";\nDir::Cache \"{place}/cache\";\n\
             APT::Sandbox::User \"\";\nAcquire::Languages \"none\";\n#clear APT::Update::Post-Invoke-Success;\n\
             #clear APT::Update::Post-Invoke;\n#clear DPkg::Post-Invoke;\n"
        );
        let configuration = folder.join("apt.conf");
        fs::write(&configuration, text)?;
        Ok(Self { configuration })
    }

    fn command(&self, program: &str) -> Command {
        // As an option, not as APT_CONFIG: that one is read before the machine's own files, which would win.
        Command::new(program).arg("-c").arg(&self.configuration)
    }

    fn get(&self, words: &[&str], folder: &Path) -> Result<()> {
        self.command("apt-get").args(words).directory(folder).run()
    }

    /// The newest version of a package, and the names that it depends on.
    fn depends(&self, package: &str) -> Result<(String, Vec<String>)> {
        let text = self
            .command("apt-cache")
            .args(["show", "--no-all-versions", package])
            .output()
            .with_context(|| format!("apt knows no package {package}"))?;
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .unwrap_or_default()
        };
        let version = field("Version").to_owned();
        if version.is_empty() {
            bail!("apt knows no package {package}");
        }
        let names = field("Depends")
            .split([',', '|'])
            .filter_map(|part| part.split_whitespace().next())
            .map(|name| name.split(':').next().unwrap_or(name).to_owned())
            .collect();
        Ok((version, names))
    }
}
