//! A registry on this computer's loopback is one in the machine as well.

use anyhow::{Result, ensure};
use e2e::layout::digest;
use e2e::registry::HostRegistry;
use vcontainer_guest::{Arch, Engine};

use crate::user::User;

pub fn images_come_from_it_and_go_back(engine: Engine, arch: Arch) -> Result<()> {
    let user = User::new(engine, arch)?;
    let image = user.image()?;
    user.layout("oci", &image)?;
    let registry = HostRegistry::start(&user.person)?;
    let port = registry.port();
    registry.push("oci", "team/myapp")?;
    let host = match engine {
        Engine::Docker => "localhost",
        Engine::Podman => "127.0.0.1",
    };
    let name = format!("{host}:{port}/team/myapp");
    let id = digest(&image.configuration());
    let pulled = format!("{name}:latest {id}");

    // Before a resume, and after one.
    user.output(&["vmemres", "start"])?;
    user.output(&["pull", &name])?;
    ensure!(user.images()?.contains(&pulled), "{:?}", user.images()?);
    user.stop()?;
    user.output(&["vmemres", "start"])?;
    user.output(&["rmi", &name])?;
    ensure!(user.images()?.is_empty(), "{:?}", user.images()?);
    user.output(&["pull", &name])?;
    ensure!(user.images()?.contains(&pulled), "{:?}", user.images()?);

    let back = format!("{host}:{port}/back:1");
    user.prints(&["tag", &name, &back], "")?;
    user.output(&["push", &back])?;
    ensure!(registry.configuration("back:1")? == image.configuration());

    // This computer as the guest and its containers see it.
    let asked = format!("wget -q -O - http://10.0.2.2:{port}/v2/");
    let shell = user.command(&["vshell"]).outcome_with(asked.as_bytes())?;
    shell.is(0, "{}", "")?;
    let words = ["run", "--rm", &name, "sh", "-c", &asked];
    user.prints(&words, "{}")?;

    // Once the registry is gone, it is gone in the machine, too.
    drop(registry);
    let outcome = user.call(&["pull", &name])?;
    ensure!(!outcome.status.success(), "{outcome:?}");
    user.leave()
}
