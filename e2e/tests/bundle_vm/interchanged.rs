//! `--storage` and `--input-storage`: the whole store of one machine becomes that of another.

use std::collections::BTreeSet;
use std::fs;

use anyhow::Result;
use e2e::guest;
use e2e::person::Person;
use e2e::trials::Trials;
use vcontainer_guest::{Arch, Engine};

pub fn add(trials: &mut Trials) {
    for engine in Engine::ALL {
        trials.anywhere(&format!("interchanged::{engine}_goes_on_elsewhere"), move || {
            goes_on(engine)
        });
    }
}

fn goes_on(engine: Engine) -> Result<()> {
    let person = guest::owner(&[(engine, Arch::Aarch64)])?;
    guest::layout(&person, Arch::Aarch64, "app")?;
    let tool = || person.command(engine.tool()).args(["-a", "aarch64"]);
    let app = match engine {
        Engine::Docker => "app:1",
        Engine::Podman => "localhost/app:1",
    };
    // As the document has it; the machine is not up.
    tool()
        .args(["--storage", "first.tar", "vimport", "app", "app:1"])
        .output()?;
    // The machine is up.
    let words = [
        "run",
        "--name",
        "kept",
        "--network=none",
        app,
        "sh",
        "-c",
        "echo kept > /tmp/kept; exit 7",
    ];
    assert_eq!(tool().args(words).outcome()?.status.code(), Some(7));
    tool()
        .args(["--storage", "second.tar", "ps", "--all", "--format", "{{.Names}}"])
        .ends(0, "kept\n", "")?;
    // No file of a store that changes while it is read.
    tool()
        .args([
            "run",
            "--detach",
            "--rm",
            "--name",
            "runs",
            "--network=none",
            app,
            "sleep",
            "600",
        ])
        .output()?;
    tool()
        .args(["--storage", "third.tar", "ps", "--quiet", "--filter", "name=kept"])
        .ends(
            1,
            "",
            &format!(
                "[{}] error: the store cannot be written while containers run (1 do): stop them first\n",
                engine.tool()
            ),
        )?;
    tool().args(["kill", "runs"]).output()?;
    // A command that fails is no reason for a file.
    let failed = tool()
        .args(["--storage", "third.tar", "rmi", "none:1"])
        .outcome()?;
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    let notice = format!(
        "[{}] `{}` was not written, because the command failed\n",
        engine.tool(),
        person.path("work/third.tar").display()
    );
    assert!(failed.stderr.ends_with(&notice), "{failed:?}");
    tool().args(["vmemres", "stop"]).output()?;
    // The machine is suspended.
    tool().args(["--storage", "fourth.tar", "rm", "kept"]).output()?;
    tool().args(["vmemres", "stop"]).output()?;
    let mut made: Vec<String> = fs::read_dir(person.path("work"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_>>()?;
    made.sort();
    assert_eq!(made, ["app", "first.tar", "fourth.tar", "second.tar"]);
    has_the_documented_top(&person, engine, "first.tar")?;
    // In other machines.
    let with = |store: &str| tool().args(["--input-storage", store]);
    with("first.tar")
        .args(["ps", "--all", "--quiet"])
        .ends(0, "", "")?;
    let copied = person.command("sh").arg("-c").arg(format!(
        "{} -a aarch64 --input-storage second.tar cp kept:/tmp/kept - | tar -xO",
        engine.tool()
    ));
    copied.ends(0, "kept\n", "")?;
    with("fourth.tar")
        .args(["run", "--rm", "--network=none", app, "uname", "-m"])
        .ends(0, "aarch64\n", "")?;
    person.alone()
}

/// Docker's tar has one folder at its top, which is unpacked in `/var/lib`; Podman's is the store itself.
fn has_the_documented_top(person: &Person, engine: Engine, archive: &str) -> Result<()> {
    let list = person.command("tar").args(["-tf", archive]).output()?;
    let tops: BTreeSet<&str> = list
        .lines()
        .filter_map(|name| name.trim_start_matches("./").split('/').next())
        .filter(|name| !name.is_empty())
        .collect();
    match engine {
        Engine::Docker => assert_eq!(tops, BTreeSet::from(["docker"])),
        Engine::Podman => {
            for name in ["overlay", "overlay-images", "overlay-layers"] {
                assert!(tops.contains(name), "{name} is not in {tops:?}");
            }
        }
    }
    Ok(())
}
