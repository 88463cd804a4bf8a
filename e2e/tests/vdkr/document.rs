//! The commands that the user's document shows, as they stand there but for paths of the document's own machine.

use anyhow::{Result, ensure};
use e2e::process::Command;
use e2e::registry::HostRegistry;
use vcontainer_guest::{Arch, Engine};

use crate::user::{User, holds};

const QUICK_START: &str = "\
# List images
vdkr images
# Import an OCI container
vdkr vimport ./my-container-oci/ myapp:latest
# Export storage for deployment
vdkr --storage /tmp/docker-storage.tar vimport ./container-oci/ myapp:latest
# Clean persistent state
vdkr clean
";

const MEMORY_RESIDENT: &str = "\
vdkr vmemres start # Start daemon
vdkr images # Fast!
vdkr pull alpine:latest # Fast!
vdkr vmemres stop # Stop daemon
";

const QUICK_REFERENCE: &str = "\
vdkr images
vdkr vimport /path/to/container-base-latest-oci/ test:latest
vdkr vmemres start
vdkr images
vdkr vmemres stop
vdkr clean
";

/// The table of ways to choose an architecture, each with a machine in which it can be seen.
const ARCHITECTURE: [&str; 4] = [
    "vdkr -a aarch64 images",
    "vdkr-aarch64 images",
    "export VDKR_ARCH=aarch64; vdkr images",
    "mkdir -p ~/.config/vdkr; echo aarch64 > ~/.config/vdkr/arch; vdkr images",
];

/// What is printed before the images.
const HEADER: &str = "REPOSITORY TAG IMAGE ID CREATED SIZE";

/// On the architecture of this computer, which nobody names.
pub fn every_line_works() -> Result<()> {
    let user = User::new(Engine::Docker, std::env::consts::ARCH.parse()?)?;
    let image = user.image()?;
    for name in ["my-container-oci", "container-oci", "container-base-latest-oci"] {
        user.layout(name, &image)?;
    }
    let registry = HostRegistry::start(&user.person)?;
    registry.push("my-container-oci", "alpine")?;
    let alpine = format!("localhost:{}/alpine", registry.port());
    let work = user.person.path("work");
    let work = work.to_string_lossy();
    let run = |lines: &str| {
        let lines = lines
            .replace("/tmp/", &format!("{work}/"))
            .replace("/path/to/", &format!("{work}/"))
            .replace("alpine:latest", &format!("{alpine}:latest"));
        let printed = user.person.command("sh").args(["-euc", &lines]).output()?;
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        anyhow::Ok(printed.lines().map(|line| words(line) + "\n").collect::<String>())
    };

    let printed = run(QUICK_START)?;
    let listed = "\nmyapp latest ";
    holds(&printed, &[HEADER, listed, "State cleaned."])?;
    assert_eq!(printed.matches(HEADER).count(), 3, "{printed}");
    assert_eq!(printed.matches(listed).count(), 2, "{printed}");
    ensure!(!user.state().exists());
    let names = Command::new("tar")
        .arg("-tf")
        .arg(format!("{work}/docker-storage.tar"));
    let names = names.output()?;
    holds(&names, &["docker/image/overlay2/repositories.json\n"])?;
    ensure!(names.lines().all(|name| name.starts_with("docker/")), "{names}");

    let printed = run(MEMORY_RESIDENT)?;
    holds(
        &printed,
        &["Daemon running (PID: ", HEADER, "Downloaded newer image for"],
    )?;
    let id = e2e::layout::digest(&image.configuration());
    assert_eq!(user.images()?, [format!("{alpine}:latest {id}")].into());

    let printed = run(QUICK_REFERENCE)?;
    holds(
        &printed,
        &["\ntest latest ", "Daemon running (PID: ", "State cleaned."],
    )?;
    assert_eq!(printed.matches("\ntest latest ").count(), 2, "{printed}");
    ensure!(!user.state().exists());
    drop(registry);
    user.person.alone()
}

pub fn every_way_to_choose_an_architecture_works() -> Result<()> {
    let user = User::new(Engine::Docker, Arch::Aarch64)?;
    user.layout("oci", &user.image()?)?;
    user.output(&["vimport", "oci", "myapp"])?;
    let expected = user.output(&["images"])?;
    for line in ARCHITECTURE {
        let outcome = user.person.command("sh").args(["-euc", line]).outcome()?;
        outcome.is(0, &expected, "")?;
    }
    user.leave()
}
