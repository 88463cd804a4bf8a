"""The tool `vcontainer`: its command lines, and what it says into BitBake's log. No other module knows its options."""

import json
import os
import re
import subprocess
import tempfile
from typing import Callable, Dict, List, Optional

import bb

TOOL = "vcontainer"
DOCKER_STORES = ("overlay2", "containerd")

# What the tool tells its users to write, and what those of the layer write instead.
_OPTIONS = (
    ("--no-target-check", 'VCONTAINER_TARGET_CHECK = "0"'),
    ("--docker-store containerd", 'VCONTAINER_DOCKER_STORE = "containerd"'),
    ("--docker-store overlay2", 'VCONTAINER_DOCKER_STORE = "overlay2"'),
    ("--import native", 'VCONTAINER_IMPORT = "native"'),
    ("--import vm", 'VCONTAINER_IMPORT = "vm"'),
)

_QUIET_ABOUT = ("OCI: Pre-installed",)


class ToolError(Exception):
    """The tool has failed; the message is its own, with what to do."""


def run(words: List[str], settings: Optional[Dict[str, str]] = None, directory: Optional[str] = None,
        wanted: Optional[Callable[[str], bool]] = None) -> str:
    """Runs the tool and returns what it wrote to standard output.

    What it tells goes to the log line by line, warnings as warnings; `wanted` may leave lines out. Secrets belong into
    `settings` (its environment), never into `words`. Raises ToolError.
    """
    environment = dict(os.environ)
    environment.update(settings or {})
    bb.debug(1, "running %s %s" % (TOOL, " ".join(words)))
    with tempfile.TemporaryFile() as output:
        try:
            child = subprocess.Popen(
                [TOOL] + words, stdout=output, stderr=subprocess.PIPE, env=environment, cwd=directory,
                stdin=subprocess.DEVNULL, encoding="utf-8", errors="replace",
            )
        except FileNotFoundError as error:
            raise ToolError("`%s` is not on PATH: is vcontainer-native built?" % TOOL) from error
        told: List[str] = []
        with child:
            for line in child.stderr:
                told = _tell(line.rstrip("\n"), told, wanted)
        if child.returncode != 0:
            raise ToolError(_as_variables("\n".join(told)) or "`%s %s` has failed (%d)" % (TOOL, words[0], child.returncode))
        output.seek(0)
        return output.read().decode("utf-8", "replace")


def _tell(line: str, told: List[str], wanted: Optional[Callable[[str], bool]]) -> List[str]:
    """Logs one line. Returns the lines of the error, which begins with `error:`."""
    if told or line.startswith("error: "):
        return told + [line[len("error: "):] if not told else line]
    if line.startswith("warning: "):
        bb.warn(_as_variables(line[len("warning: "):]))
    elif line and (wanted is None or wanted(line)):
        bb.note(line)
    return []


def _as_variables(text: str) -> str:
    for option, variable in _OPTIONS:
        text = text.replace(option, variable)
    return text


def about_layers(line: str) -> bool:
    """The lines of `oci cache save` that its caller has not said already."""
    return not line.startswith(_QUIET_ABOUT) and "HIT: Layer" not in line


def bundle(config: str, origins: List[str], rootfs: str, arch: str, options: List[str], settings: Dict[str, str]) -> None:
    """Puts the containers of a bundle.toml into the stores of a root filesystem, beside what is there.

    `origins` says of each where it comes from, as whoever reads an error knows it. Raises ToolError.
    """
    try:
        run(["bundle", "--config", config, "--rootfs", rootfs, "--arch", arch] + options, settings)
    except ToolError as error:
        # The tool knows them by their numbers.
        known = re.compile(r"container ([0-9]+) \(`[^`]*`\) of %s" % re.escape(config))
        raise ToolError(known.sub(lambda match: origins[int(match.group(1)) - 1], str(error))) from error


def lookup(config: str, options: List[str], settings: Dict[str, str]) -> List[dict]:
    """Which layers of an image.toml are in the cache: `layer`, `type`, `key`, `hit`, `blob`, `state` of each."""
    return json.loads(run(["oci", "cache", "lookup", "--format", "json", "--quiet", "--config", config] + options, settings))


def save(config: str, options: List[str], settings: Dict[str, str]) -> None:
    """Puts the layers of an image.toml into the cache. Raises ToolError."""
    run(["oci", "cache", "save", "--config", config] + options, settings, wanted=about_layers)


def build(config: str, name: str, output: str, layout: str, options: List[str], settings: Dict[str, str],
          directory: str, wanted: Optional[Callable[[str], bool]] = None) -> None:
    """Makes the image `name` of an image.toml as the directory `layout` in `output`. Raises ToolError.

    `directory` is where git is asked for the labels of revision and branch.
    """
    words = ["oci", "build", "--config", config, "--output", output, "--layout-name", layout]
    run(words + options + [name], settings, directory, wanted)


def index(name: str, layouts: List[str], output: str, layout: str, settings: Dict[str, str]) -> None:
    """Makes one image `name` of layouts for a platform each, as the directory `layout` in `output`. Raises ToolError."""
    run(["oci", "index", "--quiet", "--output", output, "--layout-name", layout, name] + layouts, settings)


def fetch_blobs(reference: str, arch: str, cache: str, settings: Dict[str, str]) -> None:
    """Fetches the blobs of a remote image by its digest, for one architecture, into a cache. Raises ToolError.

    Credentials come from the files and variables that the tool looks at, not from here.
    """
    run(["fetch", "--cache-only", "--arch", arch, "--cache", cache, reference], settings)


def fetch_layout(reference: str, arch: str, cache: str, output: str, layout: str, settings: Dict[str, str]) -> None:
    """Makes the layout `output/layout` of a cache that has all blobs of an image, without network. Raises ToolError."""
    words = ["fetch", "--offline", "--arch", arch, "--cache", cache, "--output", output, "--layout-name", layout]
    run(words + [reference], settings)


def toml(values: Dict[str, object]) -> str:
    """A flat table as TOML: texts, numbers, truth values and lists of texts. What is None or empty is left out."""
    lines = []
    for name, value in values.items():
        if value is None or value == "" or value == []:
            continue
        if isinstance(value, dict):
            continue
        # JSON's texts, numbers and lists are TOML's.
        lines.append("%s = %s" % (name, json.dumps(value, ensure_ascii=False)))
    for name, value in values.items():
        if isinstance(value, dict) and value:
            lines.append("\n[%s]" % name)
            lines += ["%s = %s" % (json.dumps(k, ensure_ascii=False), json.dumps(v, ensure_ascii=False)) for k, v in value.items()]
    return "\n".join(lines) + "\n"
