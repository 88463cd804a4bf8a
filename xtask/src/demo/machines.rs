//! Docker and Podman of Debian 13 in aarch64 machines, which start from the stores that were written: `vdkr` and `vpdmn`
//! as anybody calls them, with guest files, state and cache of the demo's own.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::engine::Saved;
use e2e::guest;
use e2e::process::Command;
use vcontainer_guest::{Arch, Engine, GuestFiles};

use super::images::Container;
use super::timed;

/// The tools, and where everything of theirs is.
pub(super) struct Machines {
    home: PathBuf,
    /// The directory of guest files. Its name changes with what they are made of.
    guests: PathBuf,
}

impl Machines {
    /// Makes the names of the tool.
    pub(super) fn new(home: &Path, tool: &Path) -> Result<Self> {
        let bin = home.join("bin");
        fs::create_dir_all(&bin).with_context(|| format!("making {}", bin.display()))?;
        for name in ["vcontainer", "vdkr", "vpdmn"] {
            let link = bin.join(name);
            if link.symlink_metadata().is_ok() {
                fs::remove_file(&link).with_context(|| format!("removing {}", link.display()))?;
            }
            symlink(tool, &link).with_context(|| format!("making {}", link.display()))?;
        }
        let key = guest::directory()?;
        let key = key.file_name().context("guest files have no key")?;
        Ok(Self {
            home: home.to_owned(),
            guests: home.join("guests").join(key),
        })
    }

    /// Makes the guest files that are not there from an earlier time, and removes those of older versions.
    pub(super) fn make_guests(&self) -> Result<()> {
        let all = self.home.join("guests");
        for entry in fs::read_dir(&all).into_iter().flatten() {
            let path = entry
                .with_context(|| format!("listing {}", all.display()))?
                .path();
            if path != self.guests {
                fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
            }
        }
        for engine in Engine::ALL {
            if GuestFiles::open(&self.guests.join(engine.tool()), engine, Arch::Aarch64).is_ok() {
                println!("  {engine}: they are there");
                continue;
            }
            self.command("vcontainer")
                .args(["guest", "build", "--quiet", "--arch", "aarch64"])
                .args(["--engine", &engine.to_string()])
                .arg("--output")
                .arg(&self.guests)
                .arg("--cache")
                .arg(self.home.join("guest-packages"))
                .run()?;
        }
        Ok(())
    }

    /// Where the store of an engine is packed.
    pub(super) fn store_of(&self, engine: Engine) -> PathBuf {
        self.home.join(format!("{engine}.tar"))
    }

    /// Lets the engine of a machine that starts from `store` list, run and save the image.
    pub(super) fn judge(&self, container: &Container, store: &Path) -> Result<()> {
        let engine = |words: &[&str]| {
            let tool = container.engine.tool();
            let archive = store.file_name().unwrap_or_default().to_string_lossy();
            let shown = format!(
                "$ {tool} -a aarch64 --input-storage {archive} {}",
                words.join(" ")
            );
            let command = self
                .command(tool)
                .args(["-a", "aarch64", "--input-storage"])
                .arg(store)
                .args(words);
            timed(&shown, || command.run())
        };
        engine(&["images", "--digests"])?;
        engine(&[&["run", "--rm", "--network=none", container.name], container.once].concat())?;
        let saved = self.home.join("saved.tar");
        engine(&["save", "-o", "saved.tar", container.name])?;
        let (_, image) = Saved::read(&saved)?.pop().context("the archive is empty")?;
        ensure!(
            image.config == container.config && image.layers == container.diff_ids,
            "{} saved other bytes than {} has: {image:?}",
            container.engine,
            container.name
        );
        println!("  configuration and {} layers are bit-exact", image.layers.len());
        fs::remove_file(&saved).with_context(|| format!("removing {}", saved.display()))
    }

    /// A name of the tool, with nothing of the user's own state and configuration.
    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.home.join("bin").join(name))
            .directory(&self.home)
            .env("XDG_CACHE_HOME", self.home.join("cache"));
        for engine in Engine::ALL {
            let tool = engine.tool();
            let variable = |what: &str| format!("{}_{what}", tool.to_uppercase());
            command = command
                .env(&variable("BLOB_DIR"), self.guests.join(tool))
                .env(&variable("STATE_DIR"), self.home.join("state").join(tool))
                .env(&variable("CONFIG_DIR"), self.home.join("config").join(tool));
        }
        command
    }
}
