"""Builds with the real openembedded-core in which nothing is compiled: `--poky-dir` or OECORE_DIR names it."""

import os
import pathlib
import pwd
import shutil
import subprocess
from typing import Optional

from . import setup

STAND_INS = setup.HARNESS / "oecore"
# What the stand-ins are made of, by the Debian package that has it.
PROGRAMS = {
    "pseudo": "pseudo", "apt-ftparchive": "apt-utils", "chrpath": "chrpath", "diffstat": "diffstat", "gawk": "gawk",
    "cpio": "cpio", "dpkg-deb": "dpkg", "dnf": "dnf", "rpmbuild": "rpm", "createrepo_c": "createrepo-c", "lz4": "lz4",
    "zstd": "zstd", "rpcgen": "rpcsvc-proto", "wget": "wget", "file": "file", "gcc": "gcc", "g++": "g++", "make": "make",
}


def obstacle(folder: Optional[str]) -> Optional[str]:
    """Why no such build can run here; None when one can."""
    if not folder:
        return "needs openembedded-core: --poky-dir DIR, or OECORE_DIR"
    missing = sorted({package for program, package in PROGRAMS.items() if not shutil.which(program)})
    if missing:
        return "needs " + " ".join(missing)
    if not pathlib.Path("/bin/busybox").exists():
        return "needs busybox-static"
    if "en_US.utf8" not in subprocess.run(["locale", "-a"], capture_output=True, text=True, check=False).stdout:
        return "needs the locale en_US.UTF-8"
    if os.getuid() == 0 and not user():
        return "BitBake refuses root: be somebody else, or name a user in VCONTAINER_TEST_USER"
    return None


def opkg() -> Optional[str]:
    """The directory with opkg and opkg-utils, for package_ipk: no Debian package has them."""
    program = shutil.which("opkg")
    folder = os.path.dirname(program) if program else ""
    return folder if folder and shutil.which("opkg-make-index", path=folder) else None


def user() -> Optional[str]:
    """Whom builds run as when the tests are root's."""
    return os.environ.get("VCONTAINER_TEST_USER")


class OeBuild:
    """One build folder."""

    def __init__(self, top: pathlib.Path, oecore: str, machine: str, packages: str, conf: str, with_layer: bool) -> None:
        self.top = top
        self.oecore = pathlib.Path(oecore).resolve()
        self.machine = machine
        (top / "conf").mkdir(parents=True, exist_ok=True)
        layers = [self.oecore / "meta"] + ([setup.LAYER] if with_layer else []) + [STAND_INS]
        (top / "conf/bblayers.conf").write_text(
            'LCONF_VERSION = "7"\nBBPATH = "${TOPDIR}"\nBBFILES ?= ""\nBBLAYERS = "%s"\n' % " ".join(map(str, layers)))
        self.conf = 'CONF_VERSION = "2"\nMACHINE ??= "%s"\nPACKAGE_CLASSES = "package_%s"\nVCONTAINER_PREBUILT = "%s"\n' % (
            machine, packages, setup.tool()) + 'DISTRO_FEATURES:append = " virtualization vcontainer"\nrequire conf/uncompiled.conf\n'
        if opkg():
            self.conf += 'VCTEST_OPKG = "%s"\n' % opkg()
        self.configure(conf)

    def configure(self, conf: str) -> None:
        (self.top / "conf/local.conf").write_text(self.conf + conf)
        if os.getuid() == 0:
            account = pwd.getpwnam(user() or "")
            for path in [self.top, *self.top.rglob("conf*"), *self.top.glob("conf/*")]:
                os.chown(path, account.pw_uid, account.pw_gid)

    def bitbake(self, *words: str, fails: bool = False) -> str:
        """Runs the bitbake command; its output. A failure is an error of the test unless it `fails`."""
        return self.run(str(self.programs / "bitbake"), *words, fails=fails)

    @property
    def programs(self) -> pathlib.Path:
        """BitBake's programs: those beside openembedded-core, else those of PyPI."""
        own = self.oecore / "bitbake/bin"
        return own if own.is_dir() else setup.bitbake() / "bin"

    def run(self, *command: str, fails: Optional[bool] = False) -> str:
        """Runs a program in the build folder as oe-init-build-env would have it; `fails` as in bitbake, None for either."""
        environment = {
            "PATH": "%s:%s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" % (self.oecore / "scripts", self.programs),
            "LC_ALL": "en_US.UTF-8", "LANG": "en_US.UTF-8", "HOME": str(self.top), "BUILDDIR": str(self.top),
            "BB_ENV_PASSTHROUGH_ADDITIONS": "MACHINE", "MACHINE": self.machine, "BB_SERVER_TIMEOUT": "0",
        }
        if os.getuid() == 0:
            command = ("setpriv", "--reuid", user() or "", "--regid", user() or "", "--init-groups", *command)
        done = subprocess.run(command, cwd=self.top, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=900, check=False)
        assert fails is None or (done.returncode != 0) == fails, done.stdout[-8000:]
        return done.stdout

    def log(self, recipe: str, task: str) -> str:
        return max(self.top.glob("tmp/work/*/%s/*/temp/log.%s" % (recipe, task))).read_text(errors="replace")

    @property
    def deploy(self) -> pathlib.Path:
        return self.top / "tmp/deploy/images" / self.machine
