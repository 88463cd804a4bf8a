"""OCI_LAYERS: `name:type:content`, separated by white space, items of the content by `+`."""

import re
from dataclasses import dataclass
from typing import List, Tuple

TYPES = ("packages", "directories", "files", "host")

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\Z")
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~-]*\Z")


class LayerError(ValueError):
    """A definition that cannot be one. The message names it, the word that is wrong, and what can stand there."""

    def __init__(self, text: str, problem: str) -> None:
        super().__init__("layer `%s`: %s" % (text, problem))


@dataclass(frozen=True)
class Layer:
    """One layer: its name, its type, the items of its content, and the text that says so."""

    text: str
    name: str
    kind: str
    items: Tuple[str, ...]

    def host_sources(self) -> List[str]:
        """What a layer of type `host` takes from the build machine."""
        return [item.rpartition(":")[0] for item in self.items] if self.kind == "host" else []


def parse(text: str) -> Layer:
    """The layer that a definition names. Raises LayerError."""
    fields = text.split(":", 2)
    if len(fields) < 3:
        raise LayerError(text, "it has too few fields: write name:type:content, such as app:directories:/opt/app")
    name, kind, content = fields
    if not _NAME.match(name):
        raise LayerError(text, "`%s` is no name of a layer: use letters, digits, `-`, `_` and `.`" % name)
    if kind not in TYPES:
        raise LayerError(text, "`%s` is no type of layer: use packages, directories, files or host" % kind)
    items = _packages(content) if kind == "packages" else [item for item in content.split("+") if item]
    if not items:
        raise LayerError(text, "it has no content")
    for item in items:
        _check(text, kind, item)
    return Layer(text, name, kind, tuple(items))


def parse_list(text: str) -> List[Layer]:
    """All layers of OCI_LAYERS, lowest first. Raises LayerError, also when two have one name."""
    layers: List[Layer] = []
    names = set()
    for word in (text or "").split():
        layer = parse(word)
        if layer.name in names:
            raise LayerError(word, "there is another layer `%s`: names are unique" % layer.name)
        names.add(layer.name)
        layers.append(layer)
    return layers


def packages(layers: List[Layer]) -> List[str]:
    """The packages of all layers, sorted: what the build has to make."""
    return sorted({item for layer in layers if layer.kind == "packages" for item in layer.items})


def _packages(content: str) -> List[str]:
    """Names with `+` between them. Two in a row belong to a name: `g+++libstdc++6` is `g++` and `libstdc++6`."""
    names: List[str] = []
    name = ""
    at = 0
    while at < len(content):
        if content.startswith("++", at):
            name += "++"
            at += 2
        elif content[at] == "+":
            names.append(name)
            name = ""
            at += 1
        else:
            name += content[at]
            at += 1
    names.append(name)
    return [name for name in names if name]


def _check(text: str, kind: str, item: str) -> None:
    if kind == "packages":
        if not _PACKAGE.match(item) or item.endswith("-"):
            raise LayerError(text, "`%s` is no name of a package" % item)
        return
    path = item
    if kind == "host":
        source, colon, path = item.rpartition(":")
        if not colon or not source:
            raise LayerError(text, "`%s` is no pair: write SOURCE:PLACE" % item)
    if not path.startswith("/"):
        raise LayerError(text, "`%s` is no absolute path" % path)
    if path.strip("/.") == "":
        raise LayerError(text, "`%s` is the root of everything: that is what an image without layers has" % path)
