//! The store of a machine goes on in another one, with its containers.

use anyhow::Result;
use e2e::guest;
use e2e::trials::Trials;
use vcontainer_guest::{Arch, Engine};

pub fn add(trials: &mut Trials) {
    for engine in Engine::ALL {
        trials.anywhere(
            &format!("interchanged::{engine}_goes_on_with_its_containers"),
            move || goes_on(engine),
        );
    }
}

fn goes_on(engine: Engine) -> Result<()> {
    let person = guest::owner(&[(engine, Arch::Aarch64)])?;
    guest::layout(&person, Arch::Aarch64, "app")?;
    let tool = || person.command(engine.tool()).args(["-a", "aarch64"]);
    tool().args(["vimport", "app", "app:1"]).output()?;
    let script = "echo kept > /tmp/kept; exit 7";
    let words = [
        "run",
        "--name",
        "kept",
        "--network=none",
        "app:1",
        "sh",
        "-c",
        script,
    ];
    tool().args(words).ends(7, "", "")?;
    tool().args(["vmemres", "stop"]).output()?;
    // The machine was suspended.
    let list = ["ps", "--all", "--format", "{{.Names}}"];
    tool()
        .args(["--storage", "store.tar"])
        .args(list)
        .ends(0, "kept\n", "")?;
    tool().args(["vmemres", "stop"]).output()?;
    let copy = format!(
        "{} -a aarch64 --input-storage store.tar cp kept:/tmp/kept - | tar -xO",
        engine.tool()
    );
    person.command("sh").args(["-c", &copy]).ends(0, "kept\n", "")?;
    person.alone()
}
