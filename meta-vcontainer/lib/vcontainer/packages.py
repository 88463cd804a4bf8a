"""oe-core's package managers: the only module that knows their classes, and what pkgdata tells about packages."""

import hashlib
import os
import re
import subprocess
from typing import Dict, List, Set, Tuple

import bb

# What each keeps in a root filesystem to know what is installed. The tool leaves all of it out of layers.
STATE = {
    "deb": ["var/lib/dpkg"],
    "rpm": ["etc/rpm", "etc/rpmrc", "etc/dnf", "var/lib/rpm", "var/lib/dnf", "var/cache/dnf"],
    "ipk": ["var/lib/opkg", "usr/lib/opkg"],
    "stub": ["var/lib/opkg"],
}

# The tasks that packages come from, and what the package managers need of the build.
NATIVE = {
    "deb": "dpkg-native:do_populate_sysroot apt-native:do_populate_sysroot",
    "rpm": "rpm-native:do_populate_sysroot dnf-native:do_populate_sysroot createrepo-c-native:do_populate_sysroot",
    "ipk": "opkg-native:do_populate_sysroot opkg-utils-native:do_populate_sysroot",
    "stub": "",
}

# The layers of a merged-usr root filesystem begin with these.
MERGED_USR = ("bin", "sbin", "lib")


class Root:
    """One root filesystem that grows, layer by layer, by the package manager of the build."""

    def __init__(self, d, root: str) -> None:
        self.d = d
        self.root = root
        self.kind = d.getVar("IMAGE_PKGTYPE")
        self._manager = None
        bb.utils.mkdirhier(root)
        os.chmod(root, 0o755)
        if "usrmerge" in (d.getVar("DISTRO_FEATURES") or "").split():
            for name in MERGED_USR:
                bb.utils.mkdirhier(os.path.join(root, "usr", name))
                os.symlink("usr/" + name, os.path.join(root, name))

    def restore(self, blob: str, state: str) -> None:
        """Puts in what a cached layer holds, and the package manager's state after it."""
        unpack(blob, self.root)
        if state:
            for path in STATE[self.kind]:
                bb.utils.remove(os.path.join(self.root, path), recurse=True)
            unpack(state, self.root)

    def install(self, packages: List[str]) -> None:
        """Installs packages with what they depend on, and runs their scripts. That one is missing is fatal."""
        manager = self._get()
        before = set(manager.list_installed())
        manager.install(packages)
        if self.kind == "deb":
            self._finish_deb(manager, before)
        if hasattr(manager, "run_intercepts"):
            manager.run_intercepts()

    def save(self, path: str) -> None:
        """Writes the package manager's state to a tar file."""
        there = [name for name in STATE[self.kind] if os.path.lexists(os.path.join(self.root, name))]
        _tar(["--numeric-owner", "--sort=name", "-cf", path, "-C", self.root] + there)

    def _get(self):
        if self._manager is None:
            self._manager = manager(self.d, self.root, self.kind)
            self._manager.write_index()
            self._manager.update()
        return self._manager

    def _finish_deb(self, pm, before: Set[str]) -> None:
        """dpkg only unpacks here. oe-core's method runs the scripts of all packages: those that have run are put aside."""
        pm.mark_packages("installed")
        folder = os.path.join(self.root, "var/lib/dpkg/info")
        aside = []
        for name in sorted(before):
            for ending in (".preinst", ".postinst"):
                path = os.path.join(folder, name + ending)
                if os.path.exists(path):
                    os.rename(path, path + ".aside")
                    aside.append(path)
        pm.run_pre_post_installs()
        for path in aside:
            os.rename(path + ".aside", path)


def manager(d, root: str, kind: str):
    """oe-core's package manager of this kind, for a root filesystem, with a feed of the recipe's own dependencies."""
    work = d.getVar("WORKDIR")
    if kind == "deb":
        from oe.package_manager.deb import DpkgPM

        for name in ("alternatives", "info", "updates"):
            bb.utils.mkdirhier(os.path.join(root, "var/lib/dpkg", name))
        return DpkgPM(d, root, d.getVar("PACKAGE_ARCHS"), d.getVar("DPKG_ARCH"),
                      apt_conf_dir=os.path.join(work, "oci-apt"), deb_repo_workdir="oci-repo")
    if kind == "rpm":
        from oe.package_manager.rpm import RpmPM

        made = RpmPM(d, root, d.getVar("TARGET_VENDOR"), task_name="oci", rpm_repo_workdir="oci-repo")
        made.create_configs()
        return made
    if kind == "ipk":
        from oe.package_manager.ipk import OpkgPM

        return OpkgPM(d, root, os.path.join(work, "oci-opkg.conf"), d.getVar("PACKAGE_ARCHS"), task_name="oci",
                      ipk_repo_workdir="oci-repo")
    from oe.package_manager.stub import StubPM

    return StubPM(d, root, stub_repo_workdir="oci-repo")


def unpack(archive: str, root: str) -> None:
    """Unpacks a layer's blob or a saved state, with owners and attributes; what a layer takes away goes."""
    _tar(["-C", root, "-xpf", archive, "--numeric-owner", "--xattrs", "--xattrs-include=*"])
    for folder, directories, files in os.walk(root):
        for name in [name for name in files if name.startswith(".wh.")]:
            os.remove(os.path.join(folder, name))
            gone = name[len(".wh."):]
            if gone and gone != ".wh..opq":
                bb.utils.remove(os.path.join(folder, gone), recurse=True)
                if gone in directories:
                    directories.remove(gone)


def _tar(words: List[str]) -> None:
    done = subprocess.run(["tar"] + words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        bb.fatal("tar %s: %s" % (" ".join(words), done.stdout.decode("utf-8", "replace")))


def version(d, package: str) -> str:
    """PKGV of a package as pkgdata has it; empty when this build makes no such package."""
    return _read(d, package).get("PKGV", "")


def closure(d, packages: List[str]) -> str:
    """A digest of all packages that these bring along: names, full versions, and the hashes of the tasks that made them."""
    hashes = _task_hashes(d)
    seen: Dict[str, str] = {}
    wanted = sorted(packages)
    while wanted:
        name = wanted.pop()
        for real in _providers(d, name):
            if real in seen:
                continue
            data = _read(d, real)
            full = "%s:%s-%s" % (data.get("PKGE", ""), data.get("PKGV", ""), data.get("PKGR", ""))
            seen[real] = "%s=%s %s" % (real, full, hashes.get(data.get("PN", ""), ""))
            for field in ("RDEPENDS", "RRECOMMENDS"):
                wanted += _names(data.get(field, ""))
    rules = ["%s=%s" % (name, d.getVar(name) or "") for name in
             ("IMAGE_PKGTYPE", "NO_RECOMMENDATIONS", "BAD_RECOMMENDATIONS", "PACKAGE_EXCLUDE", "PACKAGE_ARCHS")]
    merged = "usrmerge" in (d.getVar("DISTRO_FEATURES") or "").split()
    text = "\n".join([seen[name] for name in sorted(seen)] + rules + ["usrmerge=%s" % merged])
    return hashlib.sha256(text.encode()).hexdigest()


def _task_hashes(d) -> Dict[str, str]:
    """By recipe, the hash of the task that wrote its packages, of those that this task depends on."""
    found: Dict[str, str] = {}
    task = "do_package_write_" + (d.getVar("IMAGE_PKGTYPE") or "")
    for name, data in (d.getVar("BB_TASKDEPDATA", False) or {}).items():
        if data[1] == task:
            # oe-core's sstate knows tasks by the last of these fields, too.
            found[data[0]] = str(data[6] if len(data) > 6 else name)
    return found


def _names(depends: str) -> List[str]:
    return re.sub(r"\([^)]*\)", " ", depends or "").split()


def _providers(d, name: str) -> List[str]:
    """The packages of this build that a name stands for: itself, one that was renamed to it, or all that provide it."""
    folder = d.getVar("PKGDATA_DIR")
    if os.path.exists(os.path.join(folder, "runtime", name)):
        return [name]
    renamed = os.path.join(folder, "runtime-reverse", name)
    if os.path.exists(renamed):
        return [os.path.basename(os.path.realpath(renamed))]
    provided = os.path.join(folder, "runtime-rprovides", name)
    return sorted(os.listdir(provided)) if os.path.isdir(provided) else []


def _read(d, package: str) -> Dict[str, str]:
    import oe.packagedata

    for real in _providers(d, package)[:1]:
        return oe.packagedata.read_subpkgdata_dict(real, d)
    return {}


def missing(d, packages: List[str]) -> List[str]:
    """Those of the packages that this build does not make."""
    return [name for name in packages if not _providers(d, name)]


def lock_files(kind: str) -> str:
    """What do_rootfs locks while it writes indexes, and this must lock as well."""
    return "${DEPLOY_DIR_DEB}/deb.lock" if kind == "deb" else ""


def tasks(kind: str) -> Tuple[str, str]:
    """Tasks of native recipes that the package manager needs, and the task that writes packages."""
    return NATIVE.get(kind, ""), "do_package_write_" + kind
