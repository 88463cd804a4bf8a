"""Entries of BUNDLED_CONTAINERS and CONTAINER_BUNDLES, and the names that follow from them.

The tool has the same grammar; docs/guide/naming.md lists its cases, and the tests of both read that page.
"""

import re
from dataclasses import dataclass
from typing import List, Optional, Tuple

RUNTIMES = ("docker", "podman")
POLICIES = ("autostart", "always", "unless-stopped", "on-failure", "no")
FORM = "name[:runtime[:policy]][:external]"

_RUNTIME_WORDS = ", ".join(RUNTIMES)
_POLICY_WORDS = ", ".join(POLICIES)
_LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*\Z")
_REFERENCE = re.compile(
    r"(?P<registry>[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?|\[[0-9a-fA-F:]+\](:[0-9]+)?)"
    r"/(?P<path>[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*)"
    r"(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?"
    r"(@(?P<digest>sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}))?\Z"
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_VERSION = re.compile(r"latest\Z|[0-9]+\Z|v?[0-9]+\.[0-9]+(\.[0-9]+)?\Z")


class EntryError(ValueError):
    """A text that is no entry. The message names the entry and the field that is wrong, and says what can stand there."""

    def __init__(self, entry: str, problem: str) -> None:
        super().__init__("entry `%s`: %s" % (entry, problem))
        self.entry = entry


@dataclass(frozen=True)
class Entry:
    """One entry, parsed: a source, and what is to become of its image."""

    text: str
    source: str
    remote: bool
    runtime: Optional[str]
    policy: Optional[str]
    external: bool


def parse(text: str) -> Entry:
    """The entry that a text is.

    Raises EntryError when it is none.
    """
    source, remote, fields = _split(text)
    runtime: Optional[str] = None
    policy: Optional[str] = None
    external = False
    for index, word in enumerate(fields):
        if not word:
            raise EntryError(text, "field %d is empty; leave out the colon as well" % (index + 2))
        if word == "external" and not external:
            external = True
        elif word in RUNTIMES and runtime is None and policy is None:
            runtime = word
        elif word in POLICIES and policy is None:
            policy = word
        elif _is_field(word) or policy is not None:
            raise EntryError(text, "`%s` is one field too many: the form is %s" % (word, FORM))
        else:
            raise EntryError(text, _unknown(source, remote, runtime, word))
    return Entry(text, source, remote, runtime, policy, external)


def parse_list(text: str) -> List[Entry]:
    """All entries of a variable's value, separated by white space. Raises EntryError."""
    return [parse(word) for word in (text or "").split()]


def key(source: str) -> str:
    """The source as a file name: the flag of CONTAINER_DIGESTS and the name of the directory of a fetched image."""
    return source.replace("/", "_").replace(":", "_")


def is_digest(text: str) -> bool:
    """Whether a text is a digest by which images are fetched."""
    return _DIGEST.match(text) is not None


def pinned(reference: str, digest: Optional[str]) -> Tuple[str, str]:
    """A reference without its digest, and the digest that pins it: its own, else the given one, else an empty text."""
    without, _at, own = reference.partition("@")
    return without, own or digest or ""


def is_reference(text: str) -> bool:
    """Whether a text is a remote reference: registry/path, and perhaps a tag and a digest."""
    return _REFERENCE.match(text) is not None


def name_and_tag(reference: str) -> Tuple[str, str]:
    """What a remote image is called without its registry: the end of its path, and its tag. Raises EntryError when it is none."""
    match = _REFERENCE.match(reference)
    if match is None:
        raise EntryError(reference, "it is not an image reference")
    return match.group("path").rpartition("/")[2], match.group("tag") or "latest"


def repository(reference: str) -> str:
    """A remote reference without its tag and its digest. Raises EntryError when it is none."""
    match = _REFERENCE.match(reference)
    if match is None:
        raise EntryError(reference, "it is not an image reference")
    return "%s/%s" % (match.group("registry"), match.group("path"))


def package_url(reference: str, digest: str) -> str:
    """A remote image as a package URL (purl, type oci), as SBOMs name it. Raises EntryError when the reference is none."""
    name, _tag = name_and_tag(reference)
    without = reference.partition("@")[0]
    place = repository(reference)
    tag = without[len(place) + 1:]
    return "pkg:oci/%s@%s?repository_url=%s%s" % (name, digest.replace(":", "%3A"), place, "&tag=" + tag if tag else "")


def image_of(entry: Entry) -> str:
    """The image's name and tag in the stores, as `vcontainer bundle` would derive them from the entry."""
    if not entry.remote:
        return "%s:%s" % image_name(entry.source)
    reference = entry.source.partition("@")[0]
    if entry.source != reference and ":" not in reference.rpartition("/")[2]:
        return entry.source
    return reference if ":" in reference.rpartition("/")[2] else reference + ":latest"


def candidates(name: str) -> List[str]:
    """The directories that may hold the layout of a local name, in the order in which they are looked for."""
    if name.endswith("-oci"):
        return [name]
    return [name + "-latest-oci", name + "-oci", name]


def recipe(name: str) -> str:
    """The recipe that makes the layout of a local name, also when it is the name of the directory (legacy form)."""
    for ending in ("-latest-oci", "-oci"):
        if name.endswith(ending) and name != ending[1:]:
            return name[: -len(ending)]
    return name


def image_name(name: str) -> Tuple[str, str]:
    """Name and tag of the image that a local name stands for. Only the directory form carries a tag."""
    if not name.endswith("-oci"):
        return name, "latest"
    stem = name[: -len("-oci")]
    front, dash, tag = stem.rpartition("-")
    if dash and front and _VERSION.match(tag):
        return front, tag
    return stem, "latest"


def container_name(image: str) -> str:
    """The name of the container and of its unit."""
    last = image.rpartition("/")[2].lower()
    return re.sub(r"[^a-z0-9_-]", "-", last)


def _is_field(word: str) -> bool:
    return word == "external" or word in RUNTIMES or word in POLICIES


def _split(text: str) -> Tuple[str, bool, List[str]]:
    """Source, whether it is remote, and the words after it."""
    if text.startswith(("/", ".")):
        path = text.split(":")[0]
        raise EntryError(
            text,
            "`%s` is a path, and entries take names: write `--image NAME=%s` for the tool, or the name of an OCI layout"
            " in DEPLOY_DIR_IMAGE with `:external`" % (path, path),
        )
    slash = text.rfind("/")
    if slash < 0:
        name, *fields = text.split(":")
        if not name:
            raise EntryError(text, "it has no name; the form is " + FORM)
        if not _LOCAL.match(name):
            raise EntryError(
                text,
                "`%s` is not a name: only letters, digits and `.`, `_`, `+`, `-` can be in it, a letter or digit first"
                % name,
            )
        return name, False, fields
    # A port can only stand before the last slash, so the colons after it are those of tag, digest and fields.
    first, *fields = text[slash:].split(":")
    source = text[:slash] + first
    if "@" not in source and fields and fields[0] and not _is_field(fields[0]):
        source += ":" + fields.pop(0)
    if "@" in source and fields:
        source += ":" + fields.pop(0)
    if not _REFERENCE.match(source):
        raise EntryError(text, "`%s` is not an image reference: registry/path[:tag][@sha256:...]" % source)
    return source, True, fields


def _unknown(source: str, remote: bool, runtime: Optional[str], word: str) -> str:
    if runtime is not None:
        return "`%s` is not a policy (%s) or `external`" % (word, _POLICY_WORDS)
    if not remote and (word[0].isdigit() or word == "latest"):
        return (
            "`%s` is not a runtime (%s) or a policy (%s); if it is the tag of a remote image, write the image with its"
            " registry, such as docker.io/library/%s:%s" % (word, _RUNTIME_WORDS, _POLICY_WORDS, source, word)
        )
    return "`%s` is not a runtime (%s), a policy (%s) or `external`; the form is %s" % (
        word,
        _RUNTIME_WORDS,
        _POLICY_WORDS,
        FORM,
    )
