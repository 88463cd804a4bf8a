"""Containers in root filesystems: what container-cross-install and container-bundle have in common and do."""

import os
import shutil
from typing import Dict, List, Optional, Set, Tuple

import bb
import bb.build
import bb.fetch2
import bb.parse

from . import entries, fetcher, multiconfig, times, tool

FOLDER = "container-bundles"
# What the class says when the recipe says nothing.
LICENSE = "LicenseRef-container-contents"
# Where remote containers are unpacked, below UNPACKDIR.
REMOTE = "remote-containers"
MULTICONFIGS = {
    "aarch64": ("vruntime-aarch64", "qemuarm64"),
    "x86_64": ("vruntime-x86-64", "qemux86-64"),
}
GUESTS = {"docker": "vdkr", "podman": "vpdmn"}
# What the class says of how an image merges containers, wherever they are from.
SETTINGS = {"VCONTAINER_TARGET_CHECK": "1", "VCONTAINER_DOCKER_STORE": ""}
# What runs machines, qemu-img included. ASSUME_PROVIDED and HOSTTOOLS take those of the build machine instead.
QEMU = "qemu-system-native"


def fatal(d, variable: str, problem: str) -> None:
    """Ends the task or the parsing with the recipe and the variable in front of the problem."""
    bb.fatal("%s: %s: %s" % (d.getVar("PN"), variable, problem))


def switch(d, variable: str) -> bool:
    """A variable that is on or off; another value is fatal. Empty is off."""
    value = d.getVar(variable) or ""
    try:
        return bb.utils.to_boolean(value, False)
    except ValueError:
        fatal(d, variable, '`%s` is neither on nor off: write "1" or "0"' % value)
        return False


def parsed(d, variable: str) -> List[entries.Entry]:
    """The entries of a variable; wrong ones are fatal."""
    try:
        return entries.parse_list(d.getVar(variable))
    except entries.EntryError as error:
        fatal(d, variable, str(error))
        return []


def runtime_of(d, entry: entries.Entry, variable: str) -> str:
    """The engine of an entry, or what `variable` names for those without."""
    runtime = entry.runtime or d.getVar(variable) or ""
    if runtime not in entries.RUNTIMES:
        fatal(d, variable, "`%s` is not a runtime: write %s" % (runtime, " or ".join(entries.RUNTIMES)))
    return runtime


def engines(d) -> List[str]:
    """The default engine, and those of BUNDLED_CONTAINERS."""
    named = {runtime_of(d, entry, "CONTAINER_DEFAULT_RUNTIME") for entry in parsed(d, "BUNDLED_CONTAINERS")}
    return sorted(named | {d.getVar("CONTAINER_DEFAULT_RUNTIME")})


def service_flags(entry: entries.Entry) -> Tuple[str, str, str]:
    """The flags of CONTAINER_SERVICE_FILE that are for an entry; the first that is set counts."""
    return entry.source, entries.key(entry.source), entries.image_of(entry).rpartition(":")[0]


def service_files(d, found: List[entries.Entry], expand: bool = True) -> Dict[str, str]:
    """CONTAINER_SERVICE_FILE of the entries: path by source. Flags of others are not looked at: they may be for other recipes."""
    flags = d.getVarFlags("CONTAINER_SERVICE_FILE", expand=[] if not expand else None) or {}
    files = {}
    for entry in found:
        for name in service_flags(entry):
            if flags.get(name):
                files[entry.source] = d.getVarFlag("CONTAINER_SERVICE_FILE", name, expand)
                break
    return files


def service_map(d, variable: str) -> str:
    """The same as one text without paths of this build: what tasks depend on."""
    files = service_files(d, parsed(d, variable), expand=False)
    return " ".join("%s=%s" % pair for pair in sorted(files.items()))


def depend_on_service_files(d, task: str, found: List[entries.Entry]) -> bool:
    """Puts the content of service files that do not come by SRC_URI into the signature of a task. Whether there are any at all."""
    files = service_files(d, found, expand=False)
    for path in sorted(files.values()):
        expanded = d.expand(path)
        if not expanded.startswith((d.getVar("WORKDIR"), d.getVar("UNPACKDIR"))):
            d.appendVarFlag(task, "file-checksums", " %s:%s" % (expanded, os.path.exists(expanded)))
    return bool(files)


def order_service_files(d, task: str, found: List[entries.Entry]) -> None:
    """Makes a task of an image depend on service files: image.bbclass switches do_fetch and do_unpack off."""
    if not depend_on_service_files(d, task, found) or not (d.getVar("SRC_URI") or "").split():
        return
    for name in ("do_fetch", "do_unpack"):
        d.delVarFlag(name, "noexec")
    d.appendVarFlag(task, "depends", " %s:do_unpack" % d.getVar("PN"))
    # do_rootfs empties S, which some recipes set to the directory that files are unpacked into.
    if os.path.normpath(d.getVar("S")) == os.path.normpath(d.getVar("UNPACKDIR")):
        d.setVarFlag(task, "cleandirs", (d.getVarFlag(task, "cleandirs", False) or "").replace("${S}", ""))


def is_host(d) -> bool:
    """Whether BUNDLED_CONTAINERS is meant for this recipe: not for containers, and not for what boots the host."""
    if bb.data.inherits_class("image-oci", d) or d.getVar("PN") == d.getVar("INITRAMFS_IMAGE"):
        return False
    # Live images and others name theirs where it does not see it.
    if "${INITRAMFS_FSTYPES}" in (d.getVar("IMAGE_FSTYPES", False) or ""):
        return False
    own = {entries.recipe(entry.source) for entry in parsed(d, "BUNDLED_CONTAINERS")}
    return d.getVar("PN") not in own


def prepare_host(d) -> None:
    """The parse-time half of container-cross-install: dependencies of do_rootfs, and what its signature is made of."""
    found = parsed(d, "BUNDLED_CONTAINERS") if is_host(d) else []
    if not found:
        # A bundle package brings the tool and its signature along: nothing here may change those of other images.
        d.setVarFlag("ROOTFS_POSTPROCESS_COMMAND", "vardepvalueexclude", " vcontainer_bundle_containers")
        d.appendVarFlag("ROOTFS_POSTPROCESS_COMMAND", "vardepsexclude", " vcontainer_bundle_containers")
        # What a package cannot bring along. Nobody knows here which images will install one.
        changed = [variable for variable, default in SETTINGS.items() if d.getVar(variable) != default]
        d.appendVarFlag("do_rootfs", "vardeps", " " + " ".join(changed))
        return
    depends = ["vcontainer-native:do_populate_sysroot"]
    for entry in found:
        if entry.remote:
            fatal(d, "BUNDLED_CONTAINERS", "entry `%s`: remote containers are not supported here: put `%s` into CONTAINER_BUNDLES"
                  " of a recipe with `inherit container-bundle`, and its package into IMAGE_INSTALL" % (entry.text, entry.source))
        if not entry.external:
            depends.append("%s:do_image_complete" % entries.recipe(entry.source))
    _check_settings(d)
    d.setVar("CONTAINER_SERVICE_FILE_MAP", service_map(d, "BUNDLED_CONTAINERS"))
    if order_import(d, "do_rootfs", {runtime_of(d, entry, "CONTAINER_DEFAULT_RUNTIME") for entry in found}):
        depends.append(QEMU + ":do_populate_sysroot")
    d.appendVarFlag("do_rootfs", "depends", " " + " ".join(dict.fromkeys(depends)))
    d.appendVarFlag("do_rootfs", "vardeps", " vcontainer_bundle_containers " + d.getVar("VCONTAINER_BUNDLE_VARS"))
    order_service_files(d, "do_rootfs", found)


def _check_settings(d) -> None:
    switch(d, "VCONTAINER_TARGET_CHECK")
    store = d.getVar("VCONTAINER_DOCKER_STORE")
    if store and store not in tool.DOCKER_STORES:
        fatal(d, "VCONTAINER_DOCKER_STORE", "`%s` is not a store of Docker: write %s" % (store, " or ".join(tool.DOCKER_STORES)))


def order_import(d, task: str, runtimes: Set[str]) -> bool:
    """Whether machines import (VCONTAINER_IMPORT = "vm"). What those of these engines boot is then made before the task, and is in
    its signature."""
    how = d.getVar("VCONTAINER_IMPORT")
    if how not in ("native", "vm"):
        fatal(d, "VCONTAINER_IMPORT", '`%s` is not a way to import: write "native" or "vm"' % how)
    if how == "native":
        return False
    arch = d.getVar("TARGET_ARCH")
    if arch not in MULTICONFIGS:
        fatal(d, "VCONTAINER_IMPORT", '"vm" has no machine for TARGET_ARCH `%s`: write "native"' % arch)
    name, _machine = MULTICONFIGS[arch]
    guests = sorted(GUESTS[runtime] for runtime in runtimes)
    if multiconfig.is_there(d, name):
        for guest in guests:
            multiconfig.depend(d, task, name, guest + "-initramfs-create:do_deploy")
    elif d.getVar("VCONTAINER_GUEST_DIR"):
        for guest in guests:
            # It has the digests of all the files beside it.
            manifest = d.expand("${VCONTAINER_GUEST_DIR}/%s/%s/manifest.json" % (guest, arch))
            d.appendVarFlag(task, "file-checksums", " %s:%s" % (manifest, os.path.exists(manifest)))
    else:
        fatal(d, "VCONTAINER_IMPORT", '"vm" needs VCONTAINER_GUEST_DIR in local.conf, with what `vcontainer guest build --output DIR`'
              ' has made, or BBMULTICONFIG = "%s" and recipes that make it' % name)
    return True


def find_layout(d, entry: entries.Entry, variable: str) -> str:
    """The layout of a local container in DEPLOY_DIR_IMAGE; that there is none is fatal."""
    directory = d.getVar("DEPLOY_DIR_IMAGE")
    searched = [os.path.join(directory, name) for name in entries.candidates(entry.source)]
    for path in searched:
        if os.path.exists(os.path.join(path, "index.json")):
            return path
    rule = "=" * 72
    command = "MACHINE=%s bitbake %s" % (d.getVar("MACHINE"), entries.recipe(entry.source))
    what = ("It is `external`: put its OCI layout there." if entry.external else "Build it with\n    %s" % command)
    bb.fatal("\n%s\nMISSING CONTAINER: %s\n%s\n%s: %s = `%s`\nNone of these is an OCI layout:\n%s\n%s\n%s" % (
        rule, entry.source, rule, d.getVar("PN"), variable, entry.text, "\n".join("    " + path for path in searched), what, rule))
    return ""


def bundle_host(d) -> None:
    """Puts BUNDLED_CONTAINERS and installed bundle packages into the stores of IMAGE_ROOTFS. Runs under pseudo."""
    bb.utils.remove(_times_record(d))
    rootfs = d.getVar("IMAGE_ROOTFS")
    folder = rootfs + d.expand("${datadir}/" + FOLDER)
    found = parsed(d, "BUNDLED_CONTAINERS") if is_host(d) else []
    named = [("entry `%s` of BUNDLED_CONTAINERS" % entry.text, _bundled(d, entry)) for entry in found]
    services = service_files(d, found)
    for entry, (_origin, container) in zip(found, named):
        if entry.source in services:
            container["service"] = services[entry.source]
            if not os.path.isfile(container["service"]):
                fatal(d, "CONTAINER_SERVICE_FILE[%s]" % entry.source, "there is no file `%s`: is it in SRC_URI?" % container["service"])
    named = _once(named + _installed(folder))
    if not named:
        return
    config = os.path.join(d.getVar("WORKDIR"), "vcontainer", "bundle.toml")
    bb.utils.mkdirhier(os.path.dirname(config))
    before = times.names(rootfs)
    with open(config, "w", encoding="utf-8") as file:
        for _origin, container in named:
            file.write("[[container]]\n" + tool.toml(container) + "\n")
    try:
        tool.bundle(config, [origin for origin, _container in named], rootfs, d.getVar("TARGET_ARCH"), _options(d),
                    {**settings(d), **guest_settings(d)})
    except tool.ToolError as error:
        bb.fatal("%s: containers cannot be bundled: %s" % (d.getVar("PN"), error))
    if os.path.isdir(folder):
        shutil.rmtree(folder)
    times.save(rootfs, before, _times_record(d))
    bb.note("vcontainer: %d containers in the stores of %s" % (len(named), d.getVar("PN")))


def keep_times(d) -> None:
    """Gives what bundle_host has written its times back, at the end of do_image. Runs under pseudo."""
    if os.path.exists(_times_record(d)):
        times.restore(_times_record(d))


def _times_record(d) -> str:
    return d.expand("${WORKDIR}/vcontainer/times.json")


def _once(named: List[Tuple[str, dict]]) -> List[Tuple[str, dict]]:
    """Without those that BUNDLED_CONTAINERS says twice in the same words."""
    seen: List[Tuple[str, dict]] = []
    for origin, container in named:
        if container not in [other for _origin, other in seen]:
            seen.append((origin, container))
    return seen


def _bundled(d, entry: entries.Entry) -> dict:
    return {
        "source": find_layout(d, entry, "BUNDLED_CONTAINERS"),
        "name": entries.image_of(entry),
        "runtime": runtime_of(d, entry, "CONTAINER_DEFAULT_RUNTIME"),
        "policy": entry.policy,
    }


def installed_packages(folder: str) -> List[Tuple[str, str]]:
    """Runtime and name of the bundle packages that are installed in the root filesystem, in its folder for them."""
    found = []
    for runtime in entries.RUNTIMES:
        base = os.path.join(folder, runtime)
        names = sorted(os.listdir(base)) if os.path.isdir(base) else []
        found += [(runtime, name[: -len(".meta")]) for name in names if name.endswith(".meta")]
    return found


def _installed(folder: str) -> List[Tuple[str, dict]]:
    """Their containers, each with the words for where it comes from."""
    containers = []
    for runtime, package in installed_packages(folder):
        base = os.path.join(folder, runtime)
        with open(os.path.join(base, package + ".meta"), encoding="utf-8") as file:
            for entry in entries.parse_list(file.read()):
                origin = "`%s` of the package `%s`" % (entry.source, package)
                containers.append((origin, _package_container(base, package, runtime, entry)))
    return containers


def _package_container(base: str, package: str, runtime: str, entry: entries.Entry) -> dict:
    key = entries.key(entry.source)
    container: dict = {
        "source": os.path.join(base, "oci", package, key),
        "name": entries.image_of(entry),
        "runtime": runtime,
        "policy": entry.policy,
    }
    for ending in (".service", ".container"):
        path = os.path.join(base, "services", package, key + ending)
        if os.path.exists(path):
            container["service"] = path
    return container


def _options(d) -> List[str]:
    options = ["--temp-dir", d.getVar("T")]
    if not switch(d, "VCONTAINER_TARGET_CHECK"):
        options.append("--no-target-check")
    if d.getVar("VCONTAINER_DOCKER_STORE"):
        options += ["--docker-store", d.getVar("VCONTAINER_DOCKER_STORE")]
    if d.getVar("VCONTAINER_IMPORT") == "vm":
        options += ["--import", "vm"]
    return options


def settings(d) -> Dict[str, str]:
    """The environment of the tool: reproducible times."""
    return {"SOURCE_DATE_EPOCH": epoch(d)}


@bb.parse.vardepsexclude("PERSISTENT_DIR")
def guest_settings(d) -> Dict[str, str]:
    """Where the tool finds the files that a machine boots, when images are imported by one.

    What it keeps for later (a machine as after its first boot) is the build folder's, not the user's.
    """
    if d.getVar("VCONTAINER_IMPORT") != "vm":
        return {}
    name, machine = MULTICONFIGS[d.getVar("TARGET_ARCH")]
    guests = d.getVar("VCONTAINER_GUEST_DIR")
    if multiconfig.is_there(d, name):
        guests = multiconfig.deploy_dir(d, name, machine)
    places = {guest.upper() + "_BLOB_DIR": os.path.join(guests, guest) for guest in GUESTS.values()}
    return {**places, "XDG_CACHE_HOME": d.getVar("PERSISTENT_DIR")}


def epoch(d) -> str:
    """What everything without a time of its own is dated to: as the root filesystem's files, else the recipe's."""
    return d.getVar("REPRODUCIBLE_TIMESTAMP_ROOTFS") or d.getVar("SOURCE_DATE_EPOCH") or "0"


def prepare_bundle(d) -> None:
    """The parse-time half of container-bundle: what is fetched, and what has to be there before containers are collected."""
    d.setVar("CONTAINER_SERVICE_FILE_MAP", service_map(d, "CONTAINER_BUNDLES"))
    found = parsed(d, "CONTAINER_BUNDLES")
    has_files = (d.getVar("SRC_URI") or "").split() and d.getVar("LICENSE") != LICENSE
    if not has_files and not d.getVar("LIC_FILES_CHKSUM"):
        # Recipes with files and a licence of their own need one. Licences of remote containers are not in the files that are fetched.
        d.setVar("ERROR_QA:remove", "license-checksum")
    for entry in found:
        if entry.remote:
            reference, digest = _pinned(d, entry)
            # Without a digest check_remotes() ends do_fetch.
            if digest:
                arch = d.getVar("TARGET_ARCH")
                d.appendVar("SRC_URI", " " + fetcher.uri(reference, digest, arch, entries.key(entry.source), REMOTE))
        elif not entry.external:
            d.appendVarFlag("do_compile", "depends", " %s:do_image_complete" % entries.recipe(entry.source))
    # An image may have nothing else to merge, and depends on what its packages depend on.
    if order_import(d, "do_compile", {runtime_of(d, entry, "CONTAINER_BUNDLE_RUNTIME") for entry in found}):
        d.appendVar("PACKAGE_WRITE_DEPS", " " + QEMU)
    depend_on_service_files(d, "do_compile", found)


def prepare_deploy(d) -> None:
    """The parse-time half of do_deploy: what it depends on, and the task that images wait for which are built on top."""
    remote = _first_remote(d)
    reference, digest = _pinned(d, remote) if remote else ("", "")
    # Without them deploy_bundle() ends the task.
    if digest:
        d.setVar("CONTAINER_BUNDLE_DEPLOY_URI", fetcher.uri(reference, digest, d.getVar("TARGET_ARCH"), d.expand("${PN}-${PV}-oci")))
    bb.build.addtask("do_deploy", "do_build", "", d)
    bb.build.addtask("do_image_complete", "do_build", "do_deploy", d)
    d.appendVarFlag("do_deploy", "depends", " " + fetcher.TOOL_RECIPE)


def _first_remote(d) -> Optional[entries.Entry]:
    return next((entry for entry in parsed(d, "CONTAINER_BUNDLES") if entry.remote), None)


def check_remotes(d) -> None:
    """Ends do_fetch of a bundle recipe when a remote container has no digest, and tells of licences that nobody has looked at."""
    for entry in parsed(d, "CONTAINER_BUNDLES"):
        if entry.remote:
            _check_digest(d, entry)
            _acknowledge(d, entry)


def _check_digest(d, entry: entries.Entry) -> None:
    key = entries.key(entry.source)
    _reference, digest = _pinned(d, entry)
    if digest and not entries.is_digest(digest):
        variable = "CONTAINER_BUNDLES" if "@" in entry.source else "CONTAINER_DIGESTS[%s]" % key
        fatal(d, variable, "`%s` is not a digest: write sha256: and 64 hexadecimal digits" % digest)
    if not digest:
        known = sorted((d.getVarFlags("CONTAINER_DIGESTS") or {}).keys())
        fatal(d, "CONTAINER_BUNDLES", "entry `%s` has no digest. Add\n    CONTAINER_DIGESTS[%s] = \"sha256:...\"\nto the recipe; this prints"
              " it:\n    skopeo inspect docker://%s | jq -r '.Digest'%s" % (
                  entry.text, key, entry.source, "\nThere are digests for: " + ", ".join(known) if known else ""))


def _pinned(d, entry: entries.Entry) -> Tuple[str, str]:
    """The reference of a remote container, and its digest; empty when there is none."""
    return entries.pinned(entry.source, d.getVarFlag("CONTAINER_DIGESTS", entries.key(entry.source)))


def _acknowledge(d, entry: entries.Entry) -> None:
    accepted = (d.getVar("CONTAINER_FLAGS_ACCEPTED") or "").split()
    if "*" in accepted or entry.source in accepted or entries.repository(entry.source) in accepted:
        bb.note("%s: the licences of what is in `%s` are acknowledged (CONTAINER_FLAGS_ACCEPTED)" % (d.getVar("PN"), entry.source))
    else:
        bb.warn("%s: `%s` comes with licences of its own, which this build does not know. When you have looked at them:"
                " CONTAINER_FLAGS_ACCEPTED += \"%s\"" % (d.getVar("PN"), entry.source, entry.source))


def collect_bundle(d) -> None:
    """Puts layouts, lists and service files of a bundle recipe together, as its package has them, into B."""
    package = d.getVar("PN")
    found = parsed(d, "CONTAINER_BUNDLES")
    services = service_files(d, found)
    lists: Dict[str, List[str]] = {}
    for entry in found:
        runtime = runtime_of(d, entry, "CONTAINER_BUNDLE_RUNTIME")
        key = entries.key(entry.source)
        base = os.path.join(d.getVar("B"), FOLDER, runtime)
        layout = _fetched(d, entry) if entry.remote else find_layout(d, entry, "CONTAINER_BUNDLES")
        copy_layout(layout, os.path.join(base, "oci", package, key))
        meta = entry.source + ":" + runtime + (":" + entry.policy if entry.policy else "")
        lists.setdefault(os.path.join(base, package + ".meta"), []).append(meta)
        lists.setdefault(os.path.join(base, package + ".refs"), []).append("%s/%s:%s" % (package, key, entries.image_of(entry)))
        if entry.source in services:
            _collect_service(d, entry, services[entry.source], os.path.join(base, "services", package, key))
    for path, lines in lists.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))


def _fetched(d, entry: entries.Entry) -> str:
    """Where do_unpack has put the layout of a remote container."""
    return os.path.join(d.getVar("UNPACKDIR"), REMOTE, entries.key(entry.source))


def _collect_service(d, entry: entries.Entry, path: str, target: str) -> None:
    ending = os.path.splitext(path)[1]
    if not os.path.isfile(path) or ending not in (".service", ".container"):
        fatal(d, "CONTAINER_SERVICE_FILE[%s]" % entry.source, "`%s` is no .service or .container file: is it in SRC_URI?" % path)
    bb.utils.mkdirhier(os.path.dirname(target))
    shutil.copyfile(path, target + ending)


def copy_layout(source: str, target: str) -> None:
    """Copies a layout with what its links lead to: contents, and nothing of owners and times. What is there already stays."""
    shutil.copytree(source, target, copy_function=shutil.copyfile, dirs_exist_ok=True)


def deploy_bundle(d) -> None:
    """Deploys the first remote container of a bundle recipe as `PN-latest-oci`, for OCI_BASE_IMAGE."""
    remote = _first_remote(d)
    if remote is None:
        fatal(d, "CONTAINER_BUNDLE_DEPLOY", "no entry of CONTAINER_BUNDLES is remote: local containers are deployed by their own recipes")
        return
    _check_digest(d, remote)
    try:
        fetch = bb.fetch2.Fetch([d.getVar("CONTAINER_BUNDLE_DEPLOY_URI")], d)
        fetch.download()
        fetch.unpack(d.getVar("DEPLOYDIR"))
    except bb.fetch2.BBFetchException as error:
        bb.fatal("%s: `%s` cannot be deployed: %s" % (d.getVar("PN"), remote.source, error))
    os.symlink(d.expand("${PN}-${PV}-oci"), d.expand("${DEPLOYDIR}/${PN}-latest-oci"))
