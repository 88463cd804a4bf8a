//! What programs inside a running container see of odd files: `stat` of busybox and Debian's `getfattr`.

use anyhow::Result;
use e2e::debian::Suite;
use e2e::docker::{Docker, Store};
use e2e::engine::Engine;
use e2e::layout::{Compression, Layout};
use e2e::machine::scratch_directory;
use e2e::podman::Podman;
use e2e::probe;
use e2e::tool::Target;
use e2e::trials::Trials;

/// Prints both, in the order given.
const SCRIPT: &str = "cd /odd; \
    stat -c '%F %a %u:%g %s %h %t:%T %Y %n' setuid setgid sticky no-permissions char block fifo hard-1 hard-2 \
        dangling subsecond; \
    /getfattr/ld.so --library-path /getfattr /getfattr/getfattr -h -d -m - -e hex \
        capability attribute attribute-dir setuid";

pub fn add(trials: &mut Trials, suite: Suite) {
    trials.engine(suite, "docker_container_prints_stat_and_getfattr", move || {
        let target = bundled(suite, "odd:docker")?;
        let machine = target.machine().start()?;
        let docker = Docker::start(&machine, Store::Overlay2)?;
        prints(&docker)?;
        docker.stop()
    });
    trials.engine(suite, "podman_container_prints_stat_and_getfattr", move || {
        let target = bundled(suite, "odd:podman")?;
        let machine = target.machine().start()?;
        prints(&Podman::new(&machine)?)
    });
}

fn bundled(suite: Suite, entry: &str) -> Result<Target> {
    let directory = scratch_directory()?;
    let image = probe::with_getfattr(&probe::image("amd64", &suite.busybox()?), &suite.getfattr()?);
    let mut layout = Layout::create(directory.path().join("odd"))?;
    let descriptor = layout.add(&image, Compression::Gzip)?;
    layout.name(&descriptor, Some("latest"))?;
    let target = Target::new(suite)?;
    let images = directory.path().to_string_lossy();
    target.bundle(&["--arch", "x86_64", "--images", &images, entry])?;
    Ok(target)
}

fn prints(engine: &impl Engine) -> Result<()> {
    let expected = format!(
        "regular file 4755 1:2 7 1 0:0 1600000000 setuid\n\
         regular file 2711 70000:70001 7 1 0:0 1600000000 setgid\n\
         directory 1770 3:4 SIZE LINKS 0:0 1600000000 sticky\n\
         regular empty file 0 0:0 0 1 0:0 1600000000 no-permissions\n\
         character special file 620 0:5 0 1 1:3 1600000000 char\n\
         block special file 660 0:6 0 1 7:12c 1600000000 block\n\
         fifo 604 0:0 0 1 0:0 1600000000 fifo\n\
         regular file 640 8:9 7 2 0:0 1600000000 hard-1\n\
         regular file 640 8:9 7 2 0:0 1600000000 hard-2\n\
         symbolic link 777 0:0 15 1 0:0 1600000000 dangling\n\
         regular file 644 0:0 5 1 0:0 1600000001 subsecond\n\
         # file: capability\nsecurity.capability=0x{}\n\n\
         # file: attribute\nuser.note=0x{}\n\n\
         # file: attribute-dir\nuser.note=0x{}\n\n",
        hexadecimal(probe::CAPABILITY),
        hexadecimal(probe::NOTE),
        hexadecimal(b"of a directory"),
    );
    let printed = engine.run("odd", &["/bin/sh", "-c", SCRIPT])?;
    // Size and number of links of a directory are the file system's own.
    let printed: String = printed
        .lines()
        .map(|line| match line.split(' ').collect::<Vec<_>>()[..] {
            ["directory", mode, owner, _, _, device, time, name] => {
                format!("directory {mode} {owner} SIZE LINKS {device} {time} {name}\n")
            }
            _ => format!("{line}\n"),
        })
        .collect();
    assert_eq!(printed, expected);
    Ok(())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
