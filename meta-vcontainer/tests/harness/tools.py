"""vdkr and vpdmn in a folder, called as a user calls them; a small image, made with what the folder has."""

import dataclasses
import io
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
from typing import Dict, Optional, Sequence, Set

from . import setup

ENGINES = {"vdkr": "docker", "vpdmn": "podman"}
# QEMU's program for an architecture of a machine, by the Debian package that has it.
QEMU = {"aarch64": "qemu-system-arm", "x86_64": "qemu-system-x86"}
# What OCI and Debian call these architectures.
OCI_ARCH = {"aarch64": "arm64", "x86_64": "amd64"}
APPLETS = "cat echo env false mkdir printf sh sleep test touch true uname wc".split()
# A command that takes this many seconds hangs. A first boot without KVM takes a minute at most.
HUNG = 600

# Writes the guest's own shell, with the libraries that it needs, as a tar stream.
SHELL = r"""
set -eu
cd /
loader=$(ls /lib/ld-linux-*.so.* /lib64/ld-linux-*.so.* 2> /dev/null | head -n 1)
tar -chf - bin/busybox $("$loader" --list /bin/busybox | grep -o '/[^ ]*' | sed 's,^/,,')
"""


@dataclasses.dataclass
class Outcome:
    """What a command has done."""

    words: Sequence[str]
    code: int
    stdout: bytes
    # What it said on standard error.
    said: str

    @property
    def text(self) -> str:
        return self.stdout.decode(errors="replace")

    def success(self) -> "Outcome":
        """The same, if the command succeeded."""
        assert self.code == 0, "%s ended with %d:\n%s%s" % (" ".join(self.words), self.code, self.text, self.said)
        return self


def own(folder: pathlib.Path) -> pathlib.Path:
    """A folder of tools: the program that cargo has built, under its names."""
    folder.mkdir()
    for name in ENGINES:
        for suffix in ("", "-aarch64", "-x86_64"):
            (folder / (name + suffix)).symlink_to(setup.tool())
    return folder


def own_guests(name: str) -> Optional[pathlib.Path]:
    """Guest files for what cargo has built: those that the tool's own variable names, else the newest that tests of the
    tool have made."""
    if os.environ.get(name.upper() + "_BLOB_DIR"):
        return pathlib.Path(os.environ[name.upper() + "_BLOB_DIR"])
    made = (setup.REPOSITORY / ".cache/guests").glob("*/%s/*/manifest.json" % name)
    newest = max(made, key=lambda path: path.stat().st_mtime, default=None)
    return newest and newest.parents[1]


def obstacle(name: str, arch: str) -> Optional[str]:
    """Why what cargo has built cannot run a machine here; None when it can."""
    guests = own_guests(name)
    if not guests or not (guests / arch / "manifest.json").is_file():
        return "%s needs guest files for %s: `cargo xtask test` makes them; or name installed tools by --vdkr-dir" % (name, arch)
    if not shutil.which("qemu-system-" + arch) or not shutil.which("qemu-img"):
        return "needs %s and qemu-utils" % QEMU[arch]
    return None


class Tool:
    """vdkr or vpdmn of a folder, for machines of one architecture, with a home of its own."""

    def __init__(self, folder: pathlib.Path, name: str, arch: str, home: pathlib.Path, guests: Optional[pathlib.Path] = None) -> None:
        if not (folder / name).exists():
            raise FileNotFoundError("there is no %s in %s: --vdkr-dir names a folder that holds vdkr and vpdmn" % (name, folder))
        self.folder = folder.resolve()
        self.name = name
        self.engine = ENGINES[name]
        self.arch = arch
        self.home = home
        self.work = home / "work"
        self.work.mkdir(parents=True)
        real = pathlib.Path.home()
        self.environment = {
            "PATH": "%s:%s" % (self.folder, os.environ["PATH"]),
            "HOME": str(home),
            "LC_ALL": "C.UTF-8",
            # Guest files of the user, and machines that they have booted before if they say where those are.
            "XDG_DATA_HOME": os.environ.get("XDG_DATA_HOME", str(real / ".local/share")),
        }
        for variable in ("XDG_CACHE_HOME", "VCONTAINER_SHARE", name.upper() + "_BLOB_DIR"):
            if os.environ.get(variable):
                self.environment[variable] = os.environ[variable]
        if guests:
            self.environment[name.upper() + "_BLOB_DIR"] = str(guests)

    def run(self, words: Sequence[str], stdin: bytes = b"", environment: Optional[Dict[str, str]] = None,
            program: Optional[pathlib.Path] = None) -> Outcome:
        """Runs a command of any kind; `program` when the first word is only its name."""
        done = subprocess.run(
            words, executable=program, input=stdin, capture_output=True, cwd=self.work, timeout=HUNG, check=False,
            env={**self.environment, **(environment or {})},
        )
        said = done.stderr.decode(errors="replace")
        if "the guest said: " in said:
            said += self.console()
        return Outcome(words, done.returncode, done.stdout, said)

    def console(self) -> str:
        """The end of what the guest's kernel said last, for who looks for the reason of a panic."""
        log = self.home / ("." + self.name) / self.arch / "console.log"
        return "".join(log.read_text(errors="replace").splitlines(keepends=True)[-100:]) if log.exists() else ""

    def call(self, *words: str, stdin: bytes = b"") -> Outcome:
        """`vdkr -a ARCH WORDS`."""
        return self.run([self.name, "-a", self.arch, *words], stdin)

    def text(self, *words: str, stdin: bytes = b"") -> str:
        """What the command prints; it must succeed."""
        return self.call(*words, stdin=stdin).success().text

    def shell(self, script: str) -> str:
        """What a script prints in which `$TOOL` is `vdkr -a ARCH`; it must succeed."""
        return self.run(["sh", "-euc", script], environment={"TOOL": "%s -a %s" % (self.name, self.arch)}).success().text

    def vcontainer(self, *words: str) -> str:
        """The program behind the tool under its other name."""
        return self.run(["vcontainer", *words], program=(self.folder / self.name).resolve()).success().text

    def names(self) -> Set[str]:
        """The images in the engine, `NAME:TAG`, by the names that the user gave."""
        listed = self.text("images", "--format", "{{.Repository}}:{{.Tag}}").split()
        return {re.sub("^localhost/", "", name) for name in listed}

    def root(self, name: str) -> pathlib.Path:
        """A root filesystem with a shell, taken from the machine, which must be up. No network is needed for it."""
        folder = self.work / name
        with tarfile.open(fileobj=io.BytesIO(self.call("vshell", stdin=SHELL.encode()).success().stdout)) as archive:
            # Our own machine made it; older Pythons know no `filter`.
            archive.extractall(folder)
        for applet in APPLETS:
            (folder / "bin" / applet).symlink_to("busybox")
        return folder

    def image(self, name: str, root: pathlib.Path, *options: str, arch: Optional[str] = None) -> pathlib.Path:
        """An OCI layout, made by the tool itself: `vcontainer oci build`."""
        self.vcontainer("oci", "build", "--quiet", "--no-layer-cache", "--arch", arch or self.arch, "--rootfs", str(root), *options, name)
        return self.work / (re.sub(":", "-", name) + ("" if ":" in name else "-latest") + "-oci")

    def leave(self) -> None:
        """Stops and removes every machine."""
        self.run([self.name, "vstorage", "clean", "--all"]).success()
        assert "(none)" in self.run([self.name, "vmemres", "list"]).success().text
