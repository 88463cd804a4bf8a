"""OCI images: what image-oci reads from variables, and the order of work of its task."""

import contextlib
import glob
import os
import re
import shlex
from typing import Callable, Dict, List

import bb
import bb.parse

from . import config, entries, layers, packages, tool
from .bundle import fatal, settings, switch

MODES = ("single", "multi")


def defined_layers(d) -> List[layers.Layer]:
    """OCI_LAYERS, when OCI_LAYER_MODE asks for them; wrong definitions are fatal."""
    if d.getVar("OCI_LAYER_MODE") != "multi":
        return []
    try:
        return layers.parse_list(d.getVar("OCI_LAYERS"))
    except layers.LayerError as error:
        fatal(d, "OCI_LAYERS", str(error))
        return []


def base_kind(base: str) -> str:
    """What OCI_BASE_IMAGE is: `path`, `remote`, `recipe`, or empty."""
    if not base:
        return ""
    if base.startswith("/"):
        return "path"
    return "remote" if re.search("[/.:@]", base) else "recipe"


def foreign_types(d) -> str:
    """What appends and overrides of the configuration make of IMAGE_FSTYPES, asked before the recipe has said anything. Empty when
    they name oci: then they are meant for this recipe."""
    every = (d.getVar("IMAGE_FSTYPES") or "").split()
    plain = _plain_types(d)
    return "" if "oci" in every else " ".join(name for name in every if name not in plain)


def _plain_types(d) -> List[str]:
    """IMAGE_FSTYPES without appends and overrides."""
    return d.expand(d.getVar("IMAGE_FSTYPES", False, parsing=True) or "").split()


def drop_foreign_types(d) -> None:
    """Takes these types out of IMAGE_FSTYPES, which no assignment of the class can. What the recipe assigns stays."""
    foreign = (d.getVar("OCI_FOREIGN_FSTYPES") or "").split()
    if foreign:
        own = _plain_types(d)
        more = [name for name in (d.getVar("IMAGE_FSTYPES") or "").split() if name not in own + foreign]
        d.setVar("IMAGE_FSTYPES", " ".join(own + more))


def prepare(d) -> None:
    """The parse-time half of image-oci: checks, packages of layers, dependencies of do_image_oci."""
    mode = d.getVar("OCI_LAYER_MODE")
    if mode not in MODES:
        fatal(d, "OCI_LAYER_MODE", '`%s` is not a mode: write "single" or "multi"' % mode)
    if mode == "multi" and not (d.getVar("OCI_LAYERS") or "").split():
        fatal(d, "OCI_LAYERS", 'it is empty, and OCI_LAYER_MODE is "multi": define layers as name:type:content')
    found = defined_layers(d)
    host = [layer for layer in found if layer.kind == "host"]
    if host:
        bb.warn("%s: OCI_LAYERS: the image depends on this machine, and nobody else can make it again: %s" % (
            d.getVar("PN"), ", ".join("%s takes %s" % (layer.name, " ".join(layer.host_sources())) for layer in host)))
    named = layers.packages(found)
    if named:
        have = (d.getVar("IMAGE_INSTALL") or "").split()
        more = [name for name in named if name not in have]
        if more:
            d.appendVar("IMAGE_INSTALL", " " + " ".join(more))
        native, _write = packages.tasks(d.getVar("IMAGE_PKGTYPE"))
        d.appendVarFlag("do_image_oci", "depends", " " + native)
        lock = packages.lock_files(d.getVar("IMAGE_PKGTYPE"))
        if lock:
            d.appendVarFlag("do_image_oci", "lockfiles", " " + lock)
    if d.getVar("IMAGE_FSTYPES").split() == ["oci"]:
        # How QEMU would boot it, with places of this build.
        bb.build.deltask("do_write_qemuboot_conf", d)
    _prepare_base(d)
    for variable in ("OCI_IMAGE_TAR_OUTPUT", "OCI_LAYER_CACHE", "OCI_IMAGE_AUTO_LABELS"):
        switch(d, variable)
    for variable in ("OCI_IMAGE_TAG", "OCI_BASE_IMAGE_TAG"):
        checked(d, variable, config.tag, d.getVar(variable) or "latest")
    _texts(d)
    _check_foreign(d)


def _check_foreign(d) -> None:
    """Variables of meta-virtualization's class that choose nothing here."""
    system = d.getVar("OCI_IMAGE_OS") or "linux"
    if system != "linux":
        fatal(d, "OCI_IMAGE_OS", '`%s` is not supported: images are for Linux; leave it out, or write "linux"' % system)
    backend = d.getVar("OCI_IMAGE_BACKEND")
    if backend:
        bb.note("%s: OCI_IMAGE_BACKEND: `%s` has no effect: vcontainer makes the image" % (d.getVar("PN"), backend))


def _prepare_base(d) -> None:
    base = d.getVar("OCI_BASE_IMAGE") or ""
    kind = base_kind(base)
    if kind == "recipe":
        d.appendVarFlag("do_image_oci", "depends", " %s:do_image_complete" % base)
    elif kind == "path":
        index = os.path.join(base, "index.json")
        d.appendVarFlag("do_image_oci", "file-checksums", " %s:%s" % (index, os.path.exists(index)))
    elif kind == "remote":
        full = base if base.count("/") > 1 else ("docker.io/library/" + base if "/" not in base else base)
        name = full.rpartition("/")[2].split(":")[0].split("@")[0] + "-oci-base"
        fatal(d, "OCI_BASE_IMAGE", "`%s` is a remote image, which a recipe of its own fetches:\n\n    # %s_1.0.bb\n    inherit container-bundle\n"
              '    CONTAINER_BUNDLES = "%s"\n    CONTAINER_DIGESTS[%s] = "sha256:..."\n    CONTAINER_BUNDLE_DEPLOY = "1"\n\n'
              'and here: OCI_BASE_IMAGE = "%s"' % (base, name, full, entries.key(full), name))


def checked(d, variable: str, check: Callable[[str], str], value: str) -> str:
    """A value that a function of `config` lets pass; another is fatal."""
    try:
        return check(value)
    except ValueError as error:
        fatal(d, variable, str(error))
        return ""


def words(d, variable: str) -> List[str]:
    """A variable split as a shell does it, so that values may have spaces in quotes; what cannot be split is fatal."""
    try:
        return shlex.split(d.getVar(variable) or "")
    except ValueError as error:
        fatal(d, variable, "%s in `%s`" % (error, d.getVar(variable)))
        return []


def pairs(d, variable: str) -> Dict[str, str]:
    """A list of NAME=VALUE; a word without `=` is fatal."""
    found = {}
    for word in words(d, variable):
        name, equals, value = word.partition("=")
        if not equals or not name:
            fatal(d, variable, "`%s` is no NAME=VALUE" % word)
        found[name] = value
    return found


def _base_path(d) -> str:
    base = d.getVar("OCI_BASE_IMAGE") or ""
    if base_kind(base) != "recipe":
        return base
    tag = (d.getVar("OCI_BASE_IMAGE_TAG") or "latest").replace(":", "_")
    path = os.path.join(d.getVar("DEPLOY_DIR_IMAGE"), "%s-%s-oci" % (base, tag))
    if not os.path.exists(os.path.join(path, "index.json")):
        fatal(d, "OCI_BASE_IMAGE", "`%s` has made no `%s`: does it inherit image-oci (or container-bundle with CONTAINER_BUNDLE_DEPLOY),"
              " with the tag of OCI_BASE_IMAGE_TAG?" % (base, path))
    return path


def description(d, found: List[layers.Layer], content_only: bool = False) -> str:
    """The image.toml for the tool."""
    values: Dict[str, object] = {
        "arch": d.getVar("OCI_IMAGE_ARCH"),
        "variant": d.getVar("OCI_IMAGE_SUBARCH"),
        "rootfs": d.getVar("IMAGE_ROOTFS"),
        "base": _base_path(d),
        "layers": [layer.text for layer in found],
    }
    if not content_only:
        values.update(_texts(d))
    return tool.toml(values)


def _texts(d) -> Dict[str, object]:
    """What an image.toml says besides the content; what is wrong is fatal."""
    labels = pairs(d, "OCI_IMAGE_LABELS")
    if d.getVar("OCI_IMAGE_BUILD_DATE"):
        labels.setdefault("org.opencontainers.image.created", d.getVar("OCI_IMAGE_BUILD_DATE"))
    return {
        "entrypoint": words(d, "OCI_IMAGE_ENTRYPOINT"),
        "cmd": words(d, "OCI_IMAGE_ENTRYPOINT_ARGS") or words(d, "OCI_IMAGE_CMD"),
        "user": checked(d, "OCI_IMAGE_RUNTIME_UID", config.user, d.getVar("OCI_IMAGE_RUNTIME_UID") or ""),
        "working-dir": checked(d, "OCI_IMAGE_WORKINGDIR", config.directory, d.getVar("OCI_IMAGE_WORKINGDIR") or ""),
        "stop-signal": checked(d, "OCI_IMAGE_STOPSIGNAL", config.stop_signal, d.getVar("OCI_IMAGE_STOPSIGNAL") or ""),
        "ports": [checked(d, "OCI_IMAGE_PORTS", config.port, word) for word in words(d, "OCI_IMAGE_PORTS")],
        "author": config.author(d.getVar("OCI_IMAGE_AUTHOR") or "", d.getVar("OCI_IMAGE_AUTHOR_EMAIL") or ""),
        "labels": labels,
        "env": pairs(d, "OCI_IMAGE_ENV_VARS"),
    }


@bb.parse.vardepsexclude("TOPDIR")
def build(d) -> None:
    """Makes the image in IMGDEPLOYDIR. Runs under pseudo, after do_rootfs."""
    work = d.expand("${WORKDIR}/oci")
    # do_rootfs empties IMGDEPLOYDIR, and does not always run before.
    for directory in [work, d.getVar("OCI_LAYER_ROOTFS"), *_layouts(d, d.getVar("IMGDEPLOYDIR"))]:
        bb.utils.remove(directory, recurse=True)
    bb.utils.mkdirhier(work)
    found = defined_layers(d)
    try:
        cache = _cache_options(d, work)
        announced = Layers(d, work, found, cache).install() if layers.packages(found) else set()
        config = _write(work, "image.toml", description(d, found))
        name = "%s:%s" % (d.getVar("IMAGE_BASENAME"), (d.getVar("OCI_IMAGE_TAG") or "latest").replace(":", "_"))
        tool.build(config, name, d.getVar("IMGDEPLOYDIR"), d.getVar("IMAGE_NAME") + ".oci", cache + _options(d, found), settings(d),
                   d.getVar("TOPDIR"), lambda line: line not in announced and "Pre-installed" not in line)
    except tool.ToolError as error:
        bb.fatal("%s: the image cannot be made: %s" % (d.getVar("PN"), error))


def _layouts(d, folder: str) -> List[str]:
    """What this recipe has made in a folder, each named after its time."""
    return glob.glob(os.path.join(glob.escape(folder), glob.escape(d.getVar("IMAGE_LINK_NAME")) + "-*.oci"))


def clear_former_layouts(d) -> None:
    """Removes the folders of this recipe's former layouts from DEPLOY_DIR_IMAGE, where nothing is in them any more."""
    for layout in _layouts(d, d.getVar("DEPLOY_DIR_IMAGE")):
        for folder in ("blobs/sha256", "blobs", ""):
            with contextlib.suppress(OSError):
                os.rmdir(os.path.join(layout, folder))


def _cache_options(d, work: str) -> List[str]:
    cached = switch(d, "OCI_LAYER_CACHE")
    directory = d.getVar("OCI_LAYER_CACHE_DIR") if cached else os.path.join(work, "cache")
    bb.utils.mkdirhier(directory)
    return ["--layer-cache", directory, "--temp-dir", d.getVar("T")]


def _options(d, found: List[layers.Layer]) -> List[str]:
    options = key_options(d, found)
    if switch(d, "OCI_IMAGE_TAR_OUTPUT"):
        options.append("--tar")
    if switch(d, "OCI_IMAGE_AUTO_LABELS"):
        options.append("--auto-labels")
        for variable, option in (("OCI_IMAGE_REVISION", "--revision"), ("OCI_IMAGE_BRANCH", "--branch")):
            if d.getVar(variable):
                options += [option, d.getVar(variable)]
    return options


def key_options(d, found: List[layers.Layer]) -> List[str]:
    """What the keys of layers depend on besides the definitions."""
    options = ["--machine", d.getVar("MACHINE"), "--tune", d.getVar("TUNE_PKGARCH") or ""]
    for name in layers.packages(found):
        options += ["--package-version", "%s=%s" % (name, packages.version(d, name))]
    for layer in found:
        if layer.kind == "packages":
            options += ["--layer-input", "%s=%s" % (layer.name, packages.closure(d, list(layer.items)))]
    return options


def _write(work: str, name: str, text: str) -> str:
    path = os.path.join(work, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


class Layers:
    """Layers of packages: asks the cache, installs what is missing, saves it, from the lowest to the highest."""

    def __init__(self, d, work: str, found: List[layers.Layer], cache: List[str]) -> None:
        self.d = d
        self.work = work
        self.found = found
        self.options = cache + key_options(d, found)
        for layer in found:
            absent = packages.missing(d, list(layer.items)) if layer.kind == "packages" else []
            if absent:
                fatal(d, "OCI_LAYERS", "layer `%s`: no recipe of this build makes the package `%s`" % (layer.name, "`, `".join(absent)))

    def install(self) -> set:
        """Does it. Returns the lines that have been logged, for the tool would say them again."""
        config = _write(self.work, "layers.toml", description(self.d, self.found, content_only=True))
        state = tool.lookup(config, self.options, settings(self.d))
        wanted = [index for index, layer in enumerate(self.found) if layer.kind == "packages"]
        missing = [index for index in wanted if not state[index]["hit"]]
        for index in wanted:
            if state[index]["hit"]:
                bb.note(self._hit(state[index]))
        if missing:
            self._grow(state, wanted, missing[-1])
        bb.note("OCI: Pre-installed packages for %d layers (cache: %d hits, %d misses)" % (
            len(wanted), len(wanted) - len(missing), len(missing)))
        after = tool.lookup(config, self.options, settings(self.d)) if missing else state
        return {self._hit(after[index]) for index in wanted}

    @staticmethod
    def _hit(entry: dict) -> str:
        return "OCI Cache HIT: Layer '%s' (%s)" % (entry["layer"], entry["key"])

    def _grow(self, state: List[dict], wanted: List[int], last: int) -> None:
        root = packages.Root(self.d, self.d.getVar("OCI_LAYER_ROOTFS"))
        for index in [index for index in wanted if index <= last]:
            layer = self.found[index]
            if state[index]["hit"]:
                root.restore(state[index]["blob"], state[index]["state"])
                continue
            root.install(list(layer.items))
            saved = os.path.join(self.work, layer.name + ".state")
            root.save(saved)
            config = _write(self.work, layer.name + ".toml", description(self.d, self.found[: index + 1], content_only=True))
            tool.save(config, self._up_to(index) + ["--installed", "%s=%s" % (layer.name, root.root),
                                                    "--layer-state", "%s=%s" % (layer.name, saved)], settings(self.d))

    def _up_to(self, index: int) -> List[str]:
        """The options without what is about layers above: the tool knows none of them then."""
        here = {layer.name for layer in self.found[: index + 1]}
        below = set(layers.packages(self.found[: index + 1]))
        kept: List[str] = []
        pairs_of = iter(self.options)
        for option in pairs_of:
            value = next(pairs_of)
            name = value.partition("=")[0]
            if (option == "--layer-input" and name not in here) or (option == "--package-version" and name not in below):
                continue
            kept += [option, value]
        return kept
