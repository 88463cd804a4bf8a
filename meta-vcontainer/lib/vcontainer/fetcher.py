"""A fetcher of BitBake: images of registries in SRC_URI.

    docker://REGISTRY/PATH[:TAG];digest=sha256:HEX[;arch=ARCH][;subdir=DIR][;destsuffix=NAME]

`digest` is that of the image's index or manifest; the tag is for people. `arch` is written as TARGET_ARCH, which is its default.
What is unpacked is the OCI layout NAME (IMAGE-TAG-oci if not given) below DIR.

In DL_DIR there is one file for each digest and architecture, `docker_IMAGE_HEX_ARCH.tar` (`archive` says what is in it). To
BitBake's mirrors it is what git's mirror tarball is: other kinds of URL get its name, and another registry gets the URL as it is.
"""

import contextlib
import os
import re
import shutil
import tempfile
import urllib.parse
from typing import Dict

import bb
import bb.fetch2
import bb.utils

from . import archive, entries, tool

TYPE = "docker"
TOOL_RECIPE = "vcontainer-native:do_populate_sysroot"

_ARCH = re.compile(r"[A-Za-z0-9_.-]+\Z")


class Docker(bb.fetch2.FetchMethod):
    """Brings images by their digests, and makes layouts of them."""

    def supports(self, ud, d) -> bool:
        return ud.type == TYPE

    def supports_checksum(self, urldata) -> bool:
        # The digest is the checksum. (With True, mirrors that are registries would be asked for the name of our file.)
        return False

    def urldata_init(self, ud, d) -> None:
        """Takes the URL apart. A digest that is missing or none is told when it is needed: recipes with a placeholder parse."""
        written = urllib.parse.unquote(d.expand(ud.url).partition(";")[0][len(TYPE + "://"):])
        if "@" in written or not entries.is_reference(written):
            raise bb.fetch2.ParameterError("Write %s://REGISTRY/PATH[:TAG];digest=sha256:..." % TYPE, ud.url)
        ud.reference = written
        ud.digest = ud.parm.get("digest", "")
        ud.arch = ud.parm.get("arch") or d.getVar("TARGET_ARCH") or ""
        if not _ARCH.match(ud.arch):
            raise bb.fetch2.ParameterError("`%s` is not an architecture: write arch= as TARGET_ARCH" % ud.arch, ud.url)
        name, tag = entries.name_and_tag(written)
        ud.layout = ud.parm.get("destsuffix") or "%s-%s-oci" % (name, tag)
        # Registry and tag are left out: the same content has the same name, wherever it comes from.
        known = ud.digest.partition(":")[2] if entries.is_digest(ud.digest) else "unpinned"
        ud.localfile = "%s_%s_%s_%s.tar" % (TYPE, name, known, ud.arch)
        ud.mirrortarballs = [ud.localfile]

    def verify_donestamp(self, ud, d) -> bool:
        """Whether the file is there and whole. The first that BitBake asks, so a missing digest ends it here."""
        if not entries.is_digest(ud.digest):
            raise bb.fetch2.FetchError("There is no digest (digest=%s), and what a tag stands for can change. Add ;digest=sha256:... to"
                                       " the URL. This prints it: skopeo inspect docker://%s | jq -r .Digest" % (
                                           ud.digest, ud.reference), ud.url)
        if not os.path.exists(ud.localpath):
            bb.utils.remove(ud.donestamp)
            return False
        try:
            self.update_donestamp(ud, d)
        except bb.fetch2.ChecksumError:
            return False
        return True

    def update_donestamp(self, ud, d) -> None:
        """Checks the file, and notes that. Raises ChecksumError when it is damaged, and puts it out of the way."""
        if _is_stamped(ud):
            # It is in use. In somebody else's DL_DIR that is not noted.
            with contextlib.suppress(OSError):
                os.utime(ud.donestamp)
            return
        try:
            archive.check(ud.localpath, ud.digest)
        except archive.Damaged as error:
            bb.warn("%s is damaged: %s" % (ud.localpath, error))
            found = bb.utils.sha256_file(ud.localpath)
            bb.fetch2.rename_bad_checksum(ud, found)
            bb.utils.remove(ud.donestamp)
            raise bb.fetch2.ChecksumError(str(error), ud.url, found) from error
        _stamp(ud)

    def cleanup_upon_failure(self) -> bool:
        # What has been received is for the next time.
        return False

    def download(self, ud, d) -> None:
        """Fetches the blobs, each once however often it is cut off, and makes the archive of them."""
        bb.fetch2.check_network_access(d, "vcontainer fetch %s" % _pinned(ud), ud.url)
        parts = _parts(ud)
        bb.utils.mkdirhier(parts)
        try:
            tool.fetch_blobs(_pinned(ud), ud.arch, parts, _environment(d))
            archive.write(parts, ud.localpath)
        except archive.Damaged as error:
            shutil.rmtree(parts, ignore_errors=True)
            raise bb.fetch2.FetchError("%s: %s; it is removed, try again" % (parts, error), ud.url) from error
        except (tool.ToolError, OSError) as error:
            raise bb.fetch2.FetchError(str(error), ud.url) from error
        _stamp(ud)

    def unpack(self, ud, rootdir: str, d) -> None:
        """Makes the layout, of verified blobs only and without network."""
        output = os.path.join(rootdir, ud.parm.get("subdir", ""))
        layout = os.path.realpath(os.path.join(output, ud.layout))
        if os.path.dirname(layout) != os.path.realpath(output) or not _is_below(layout, rootdir):
            raise bb.fetch2.UnpackError("subdir and destsuffix have to name a new directory below %s" % rootdir, ud.url)
        bb.utils.mkdirhier(output)
        ud.unpack_tracer.unpack("archive-extract", layout)
        try:
            with tempfile.TemporaryDirectory(prefix="docker-", dir=rootdir) as cache:
                archive.extract(ud.localpath, cache)
                tool.fetch_layout(_pinned(ud), ud.arch, cache, output, ud.layout, {"PATH": d.getVar("PATH")})
        except (archive.Damaged, tool.ToolError, OSError) as error:
            raise bb.fetch2.UnpackError("%s\nIf the file %s is damaged: remove it, and fetch again (bitbake -f -c fetch %s)" % (
                error, ud.localpath, d.getVar("PN")), ud.url) from error

    def clean(self, ud, d) -> None:
        super().clean(ud, d)
        shutil.rmtree(_parts(ud), ignore_errors=True)


def register() -> None:
    """Makes BitBake know the fetcher; another time it takes the place of the one before."""
    others = [method for method in bb.fetch2.methods if type(method).__module__ != __name__]
    bb.fetch2.methods[:] = others + [Docker()]


def uri(reference: str, digest: str, arch: str, name: str, subdir: str = ".") -> str:
    """An image as an entry of SRC_URI, to be unpacked as the layout `subdir/name`."""
    return "%s://%s;digest=%s;arch=%s;subdir=%s;destsuffix=%s" % (TYPE, reference, digest, arch, subdir, name)


def prepare(d) -> None:
    """The parse-time half: what the tasks of a recipe with such entries in SRC_URI need, and their signatures are made of."""
    if TYPE + "://" not in (d.getVar("SRC_URI") or ""):
        return
    for task in ("do_fetch", "do_unpack"):
        if TOOL_RECIPE not in (d.getVarFlag(task, "depends") or "").split():
            d.appendVarFlag(task, "depends", " " + TOOL_RECIPE)
            d.appendVarFlag(task, "vardeps", " TARGET_ARCH")
    _name_in_sbom(d)


def _name_in_sbom(d) -> None:
    """Puts digests into the recipe's package URLs: of our sources, oe-core's SPDX has what comes before the parameters only."""
    known = d.getVar("SPDX_PACKAGE_URLS", False) or ""
    for url in (d.getVar("SRC_URI") or "").split():
        if not url.startswith(TYPE + "://"):
            continue
        place, *parameters = url[len(TYPE + "://"):].split(";")
        reference = urllib.parse.unquote(place)
        digest = dict(word.partition("=")[::2] for word in parameters).get("digest", "")
        # What is wrong is told when it is fetched.
        if entries.is_reference(reference) and entries.is_digest(digest):
            found = entries.package_url(reference, digest)
            if found not in known.split():
                known = found + " " + known
    d.setVar("SPDX_PACKAGE_URLS", known)


def _pinned(ud) -> str:
    return "%s@%s" % (ud.reference, ud.digest)


def _parts(ud) -> str:
    """Where blobs lie until the archive is there: beside it."""
    return ud.localpath + ".parts"


def _is_stamped(ud) -> bool:
    """Whether the file has been checked and is the same since. Stamps of BitBake itself are not empty; they say nothing here."""
    try:
        stamp = os.stat(ud.donestamp)
        return stamp.st_size == 0 and stamp.st_mtime > os.stat(ud.localpath).st_mtime
    except FileNotFoundError:
        return False


def _stamp(ud) -> None:
    with open(ud.donestamp, "wb"):
        pass
    os.utime(ud.donestamp)
    shutil.rmtree(_parts(ud), ignore_errors=True)


def _environment(d) -> Dict[str, str]:
    """Proxies and the like as BitBake's own fetchers get them, and where passwords of registries are."""
    values = dict(bb.fetch2.get_fetcher_environment(d))
    if d.getVar("CONTAINER_REGISTRY_AUTHFILE"):
        values["REGISTRY_AUTH_FILE"] = d.getVar("CONTAINER_REGISTRY_AUTHFILE")
    return values


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(os.path.realpath(folder) + os.sep)


register()
