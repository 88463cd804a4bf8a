//! What `--help` of `vdkr` and `vpdmn` shows.

use crate::engine::program::Tool;
use vcontainer_guest::Engine;

/// What help is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The tool as a whole.
    Tool,
    /// `vimport`.
    Vimport,
    /// `vrun`.
    Vrun,
    /// `vshell`.
    Vshell,
    /// `clean`.
    Clean,
    /// `vmemres`.
    Vmemres,
    /// `vstorage`.
    Vstorage,
    /// `vconfig`.
    Vconfig,
}

impl Topic {
    /// Those that are about one command.
    pub const OF_COMMANDS: [Self; 7] = [
        Self::Vimport,
        Self::Vrun,
        Self::Vshell,
        Self::Clean,
        Self::Vmemres,
        Self::Vstorage,
        Self::Vconfig,
    ];

    /// The topic of a command of the tool.
    #[must_use]
    pub fn of(command: &str) -> Option<Self> {
        Some(match command {
            "vimport" => Self::Vimport,
            "vrun" => Self::Vrun,
            "vshell" => Self::Vshell,
            "clean" => Self::Clean,
            "vmemres" | "memres" => Self::Vmemres,
            "vstorage" => Self::Vstorage,
            "vconfig" => Self::Vconfig,
            _ => return None,
        })
    }
}

/// The text of a topic.
#[must_use]
pub fn text(topic: Topic, tool: Tool) -> String {
    let text = match topic {
        Topic::Tool => TOOL,
        Topic::Vimport => VIMPORT,
        Topic::Vrun => VRUN,
        Topic::Vshell => VSHELL,
        Topic::Clean => CLEAN,
        Topic::Vmemres => VMEMRES,
        Topic::Vstorage => VSTORAGE,
        Topic::Vconfig => VCONFIG,
    };
    let (engine, kind) = match tool.engine {
        Engine::Docker => ("Docker", "docker"),
        Engine::Podman => ("Podman", "podman"),
    };
    text.replace("{tool}", tool.name())
        .replace("{PREFIX}", &tool.name().to_ascii_uppercase())
        .replace("{Engine}", engine)
        .replace("{engine}", kind)
}

const TOOL: &str = "\
{tool}: the real {Engine} of another architecture, as a command on this computer

Usage: {tool} [OPTIONS] COMMAND [WORDS]

Every command of {Engine} works: {tool} images, {tool} run --rm IMAGE uname -m, and so on
It runs in a small machine (QEMU) that boots once and is resumed from then on.
All words after the command belong to {Engine}. Files of load, save, export and
import, and standard input and output, are this computer's.

Commands of {tool} itself (`{tool} COMMAND --help` tells more):
  vimport PATH [NAME:TAG]     import an OCI directory, an image archive or a root filesystem tarball
  vrun [OPTIONS] IMAGE [CMD]  run and remove; a command replaces the image's entrypoint
  vmemres start|stop|status   keep the machine up, suspend it, ask for it (restart, list)
  vshell                      a shell in the machine (after vmemres start)
  clean                       remove the machine and everything in it
  vstorage                    where the machines are and what room they take (path, df, clean)
  vconfig [KEY [VALUE]]       show or set what is usual

Which machine:
  -a, --arch ARCH          aarch64 or x86_64 [default: the program's name, such as {tool}-aarch64;
                           {PREFIX}_ARCH; ~/.config/{tool}/arch; this computer's own]
  -I, --instance NAME      another machine beside the usual one, in ~/.{tool}/NAME
      --state-dir DIR      the machine of this folder [default: ~/.{tool}/ARCH]
      --stateless          a pristine machine that leaves nothing behind
      --input-storage TAR  a machine of its own whose store is this tar
      --storage FILE       write the whole store to a tar after the command

What kind of machine:
      --cpus N             processors [default: this computer's, at most 4]; an emulated x86_64 has one
      --memory SIZE        memory [default: 1G]
      --disk SIZE          size of a new state disk; unused room takes none [default: 64G]
      --idle-timeout SECS  stay up so long after a command; 0: suspend at once [default: 60]
      --no-daemon          the same as --idle-timeout 0
      --no-kvm             do not try KVM
      --no-network         without network
      --blob-dir DIR       guest files, as made by `vcontainer guest build`
      --config-dir DIR     configuration [default: ~/.config/{tool}]

  -it                      before run, vrun and exec: the same as behind them
  -v, --verbose            tell what is being done
  -h, --help               this
      --version            the version
      --                   what follows is {Engine}'s: {tool} -- --log-level debug info

Environment: {PREFIX}_ARCH, {PREFIX}_STATE_DIR (default ~/.{tool}), {PREFIX}_STATELESS, {PREFIX}_BLOB_DIR,
{PREFIX}_CONFIG_DIR, {PREFIX}_VERBOSE, {PREFIX}_CPUS, {PREFIX}_MEMORY, {PREFIX}_DISK, {PREFIX}_IDLE_TIMEOUT.

Exit status: that of {engine} in the machine. 1 when the command line or a file of this computer is
wrong, 125 when the machine cannot be started or breaks, 130 for Ctrl-C before the command began.

When something does not work:
  {tool} -v images            tells every step
  {tool} vstorage path        where qemu.log and console.log are
  {tool} vmemres stop         suspends the machine
  {tool} clean                starts all over
";

const VIMPORT: &str = "\
Usage: {tool} vimport PATH [NAME:TAG]

Imports an image from this computer and lists the images afterwards. PATH is what it is by its
content:
  - an OCI layout directory, of one platform or several (the machine's own is taken)
  - an OCI archive or a `docker save` archive (tar, tar.gz, tar.zst)
  - a tarball of a root filesystem

NAME:TAG is imported:latest unless given. An image for another architecture is an error before
anything is sent. Options of {tool} may stand behind the command as well.

Examples:
  {tool} vimport ./my-container-oci/ myapp:latest
  {tool} --storage /tmp/{engine}-storage.tar vimport ./container-oci/ myapp:latest
";

const VRUN: &str = "\
Usage: {tool} vrun [OPTIONS] IMAGE [COMMAND [WORDS]]

The same as `{tool} run --rm`, and the image's entrypoint is cleared when a command is given, so that
exactly this command runs. OPTIONS are those of `run`; --no-network is a container without network.

Examples:
  {tool} vrun myapp:latest /bin/ls -l /
  {tool} vrun -it myapp:latest /bin/sh
";

const VSHELL: &str = "\
Usage: {tool} vshell

Opens a shell in the machine itself, not in a container. The machine must have been started with
`{tool} vmemres start`. On a terminal it is interactive; else commands are read from standard input.
";

const CLEAN: &str = "\
Usage: {tool} clean

Stops the machine, waits for it, and removes its state: images, containers, volumes. Only files of
the machine are removed, never anything else in the folder. The next command starts fresh.
";

const VMEMRES: &str = "\
Usage: {tool} vmemres start|stop|restart|status|list       (memres is the same)

  start              start the machine and keep it up until it is stopped
  stop               suspend it: the next command resumes it within a second or so
  restart [--clean]  stop and start; with --clean from an empty state
  status             exit status 0 when it is up, 1 when it is not
  list               all machines of {tool} that are up

Without `start` a machine suspends itself some time after the last command (--idle-timeout).
";

const VSTORAGE: &str = "\
Usage: {tool} vstorage [list | path [NAME] | df | clean [NAME | --all]]

  list          every machine's folder, its size, and whether it is up (also without any word)
  path [NAME]   the folder of the machine in force, or of this architecture or instance
  df            what takes how much room
  clean         remove the machine in force (the same as `{tool} clean`), the one called NAME, or
                with --all every machine of {tool}; nothing outside of these folders is touched
";

const VCONFIG: &str = "\
Usage: {tool} vconfig [KEY [VALUE | --reset]]

Shows all keys, shows one, sets one, or makes one as if nobody had set it. They stand in
~/.config/{tool}/config, one KEY=VALUE a line.

  arch          aarch64 or x86_64       state-dir  folder of all machines
  idle-timeout  seconds                 blob-dir   folder of the guest files
  auto-daemon   false: suspend at once  cpus, memory, disk
  verbose       true or false
";

#[cfg(test)]
mod tests {
    use super::*;

    const TOPICS: [(&str, Topic); 7] = [
        ("vimport", Topic::Vimport),
        ("vrun", Topic::Vrun),
        ("vshell", Topic::Vshell),
        ("clean", Topic::Clean),
        ("vmemres", Topic::Vmemres),
        ("vstorage", Topic::Vstorage),
        ("vconfig", Topic::Vconfig),
    ];

    fn podman() -> Tool {
        Tool {
            engine: Engine::Podman,
            arch: None,
        }
    }

    #[test]
    fn every_command_is_in_the_help_and_has_its_own() {
        let all = text(Topic::Tool, podman());
        for (name, topic) in TOPICS {
            assert_eq!(Topic::of(name), Some(topic));
            assert!(all.contains(&format!("\n  {name} ")), "{name}");
            assert!(
                text(topic, podman()).starts_with(&format!("Usage: vpdmn {name}")),
                "{name}"
            );
        }
    }

    #[test]
    fn help_speaks_of_the_tool_that_was_called_and_fits_a_terminal() {
        for (_, topic) in TOPICS.into_iter().chain([("", Topic::Tool)]) {
            let text = text(topic, podman());
            assert!(!text.contains('{') && !text.contains("vdkr"), "{text}");
            let longest = text.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(105), "{topic:?}: {longest:?}");
        }
    }
}
