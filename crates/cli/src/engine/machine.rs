//! The machine that a command runs in, as far as commands need it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use vcontainer_guest::{Engine, GuestFiles};
use vcontainer_vm::{Accelerator, BootFiles, Client, MachineSpec, Place, Presence, Progress};
use vcontainer_wire::message::Machine as Description;
use vcontainer_wire::{Mux, Reply, Request, Status};

use crate::engine::console::Console;
use crate::engine::settings::Settings;

/// A machine that is up.
pub struct Machine {
    client: Client,
    engine: Engine,
}

/// Whether the machine of a folder is there.
pub enum Found {
    /// It is up.
    Up(Machine),
    /// This process starts it.
    Starting(u32),
    /// It is not up.
    Down,
}

impl Machine {
    /// The machine of these settings, started if it is not up.
    ///
    /// # Errors
    /// Guest files are missing, or the machine cannot be started.
    pub fn connect(settings: &Settings, console: &Console) -> Result<Self> {
        let spec = spec(settings)?;
        console.detail(&match &spec.place {
            Place::Persistent(folder) => format!("the machine of {}", folder.display()),
            Place::Stateless => "a machine that leaves nothing behind".to_owned(),
        });
        let arch = settings.arch;
        let mut show = |progress: Progress| match progress {
            Progress::WaitingForOther => {
                console.progress("waiting for another command that starts or suspends the machine")
            }
            Progress::Probing => console.progress("trying whether KVM works here"),
            Progress::MakingTemplate => {
                console.progress(&format!(
                    "first boot of these {arch} guest files, which is done once"
                ));
            }
            Progress::Booting => console.progress(&format!("booting the {arch} machine")),
            Progress::Resuming => console.progress(&format!("resuming the {arch} machine")),
            Progress::Notice(text) => console.notice(&text),
        };
        let client = Client::connect(&spec, &mut show)
            .with_context(|| format!("the {arch} machine cannot be started"))?;
        if !client.started && !settings.at_start.is_empty() {
            console.notice(&format!(
                "the machine was up already: {} will count when it starts again (`{} vmemres stop` suspends it)",
                settings.at_start.join(", "),
                settings.tool.name()
            ));
        }
        console.detail("the machine is up");
        Ok(Self {
            client,
            engine: settings.tool.engine,
        })
    }

    /// Looks for the machine in a folder; starts none, and does not wait for one that starts.
    ///
    /// # Errors
    /// It does not answer.
    pub fn find(state: &Path, engine: Engine) -> Result<Found> {
        let found = Client::running(state)
            .with_context(|| format!("the machine of `{}` does not answer", state.display()))?;
        Ok(match found {
            Presence::Up(client) => Found::Up(Self { client, engine }),
            Presence::Starting(pid) => Found::Starting(pid),
            Presence::Down => Found::Down,
        })
    }

    /// The conversation with it.
    #[must_use]
    pub fn mux(&self) -> &Mux {
        &self.client.mux
    }

    /// The engine in it.
    #[must_use]
    pub fn engine(&self) -> Engine {
        self.engine
    }

    /// What the guest is doing.
    ///
    /// # Errors
    /// It does not answer.
    pub fn status(&self) -> Result<Status> {
        match self
            .client
            .ask(Request::Status, "asking the machine for its status")?
        {
            Reply::Status(status) => Ok(status),
            other => bail!("the machine answered a question for its status with {other:?}"),
        }
    }

    /// Which machine it is.
    ///
    /// # Errors
    /// It does not answer.
    pub fn describe(&self) -> Result<Description> {
        Ok(self.client.describe()?)
    }

    /// Keeps it up until it is stopped.
    ///
    /// # Errors
    /// It does not answer.
    pub fn stay(&self) -> Result<()> {
        Ok(self.client.stay()?)
    }

    /// Suspends it.
    ///
    /// # Errors
    /// It cannot be suspended.
    pub fn stop(&self) -> Result<()> {
        Ok(self.client.stop()?)
    }

    /// Stops the engine's services.
    ///
    /// # Errors
    /// They do not stop.
    pub fn stop_engine(&self) -> Result<()> {
        self.client.ask(Request::StopEngine, "stopping the engine")?;
        Ok(())
    }

    /// Starts the engine's services and waits until they are ready.
    ///
    /// # Errors
    /// They do not start.
    pub fn start_engine(&self) -> Result<()> {
        self.client.ask(Request::StartEngine, "starting the engine")?;
        Ok(())
    }

    /// Makes `port` of the guest's loopback this computer's. When the guest cannot listen there, it says why.
    ///
    /// # Errors
    /// The machine breaks.
    pub fn forward(&self, port: u16) -> Result<Option<String>> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        match self.client.forward_to_host(address, address) {
            Ok(()) => Ok(None),
            Err(vcontainer_vm::Error::Refused { message, .. }) => Ok(Some(message)),
            Err(error) => Err(error.into()),
        }
    }
}

fn spec(settings: &Settings) -> Result<MachineSpec> {
    let program = std::env::current_exe().context("cannot find out which program this is")?;
    let guest = GuestFiles::find(
        &guest_folders(settings, &program),
        settings.tool.engine,
        settings.arch,
    )?;
    guest.verify(&settings.cache)?;
    let memory = settings.memory >> 20;
    Ok(MachineSpec {
        engine: settings.tool.engine,
        arch: settings.arch,
        guest: BootFiles::from(&guest),
        cpus: settings.cpus,
        memory: u32::try_from(memory).ok().with_context(|| {
            format!("{memory} MiB of memory are more than a machine can have: see --memory")
        })?,
        disk: settings.disk,
        accelerator: if settings.kvm {
            Accelerator::Auto
        } else {
            Accelerator::Tcg
        },
        network: settings.network,
        place: match &settings.state {
            Some(folder) => Place::Persistent(folder.clone()),
            None => Place::Stateless,
        },
        cache: settings.cache.clone(),
        linger: settings.linger,
        program,
        search_path: std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).collect())
            .unwrap_or_default(),
    })
}

/// Where guest files of the tool may be: where the user says, else in the user's own folder, else beside the program.
fn guest_folders(settings: &Settings, program: &Path) -> Vec<PathBuf> {
    if let Some(folder) = &settings.blob_dir {
        return vec![folder.clone()];
    }
    let tool = settings.tool.name();
    let mut folders = vec![settings.data.join(tool)];
    if let Some(share) = std::env::var_os("VCONTAINER_SHARE") {
        folders.push(PathBuf::from(share).join(tool));
    } else if let Some(prefix) = program.parent().and_then(Path::parent) {
        folders.push(prefix.join("share/vcontainer").join(tool));
    }
    folders
}
