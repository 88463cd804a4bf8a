"""The variables' grammar, against the tables of the guide that the tool's own tests read."""

import pathlib
import re
import sys

import pytest

LAYER = pathlib.Path(__file__).resolve().parents[1]
GUIDE = LAYER.parent / "docs/guide/naming.md"
sys.path.insert(0, str(LAYER / "lib"))

from vcontainer import entries, layers  # noqa: E402


def table(name):
    """The cells of the table after the marker of this name, without its head."""
    lines = GUIDE.read_text().split("<!-- table: %s -->" % name, 1)[1].strip().splitlines()
    rows = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("`", "") for cell in line.strip("|").split("|")])
    assert len(rows) > 3
    return rows


@pytest.mark.parametrize("text,source,runtime,policy,external", table("entries"))
def test_entries_of_the_guide(text, source, runtime, policy, external):
    entry = entries.parse(text)
    assert "%s %s" % ("remote" if entry.remote else "local", entry.source) == source
    assert (entry.runtime or "-", entry.policy or "-", "yes" if entry.external else "-") == (runtime, policy, external)


@pytest.mark.parametrize("text,says", table("wrong entries"))
def test_wrong_entries_of_the_guide(text, says):
    with pytest.raises(entries.EntryError) as error:
        entries.parse(text)
    message = str(error.value)
    assert message.startswith("entry `%s`: " % text)
    assert says in message.replace("`", "")


@pytest.mark.parametrize("name,looked_for,image,container", table("local names"))
def test_local_names_of_the_guide(name, looked_for, image, container):
    assert entries.candidates(name) == looked_for.split(", ")
    assert entries.image_of(entries.parse(name)) == image
    assert entries.container_name(entries.image_name(name)[0]) == container


@pytest.mark.parametrize("reference,key", table("keys"))
def test_keys_of_the_guide(reference, key):
    assert entries.key(entries.parse(reference).source) == key


@pytest.mark.parametrize(
    "name,recipe",
    [
        ("container-base", "container-base"),
        ("container-base-latest-oci", "container-base"),
        ("myapp-oci", "myapp"),
        ("myapp-2", "myapp-2"),
    ],
)
def test_recipes(name, recipe):
    assert entries.recipe(name) == recipe


def test_remote_names():
    digest = "sha256:" + "0" * 64
    redis = "docker.io/library/redis"
    assert entries.image_of(entries.parse(redis)) == redis + ":latest"
    assert entries.image_of(entries.parse(redis + ":7:docker")) == redis + ":7"
    assert entries.image_of(entries.parse("localhost:5000/x:1")) == "localhost:5000/x:1"
    assert entries.pinned(redis + ":7", digest) == (redis + ":7", digest)
    assert entries.pinned(redis + ":7@" + digest, "sha256:...") == (redis + ":7", digest)
    assert entries.pinned(redis + ":7", None) == (redis + ":7", "")
    assert entries.name_and_tag(redis + ":7@" + digest) == ("redis", "7")
    assert entries.name_and_tag("localhost:5000/x") == ("x", "latest")
    assert entries.is_reference("localhost:5000/x:1") and not entries.is_reference("redis:7")
    assert entries.repository(redis + ":7@" + digest) == redis


@pytest.mark.parametrize("reference,rest", [
    ("docker.io/library/redis:7", "?repository_url=docker.io/library/redis&tag=7"),
    ("localhost:5000/team/redis", "?repository_url=localhost:5000/team/redis"),
    ("localhost:5000/team/redis:7@sha256:" + "1" * 64, "?repository_url=localhost:5000/team/redis&tag=7"),
])
def test_package_urls(reference, rest):
    assert entries.package_url(reference, "sha256:" + "0" * 64) == "pkg:oci/redis@sha256%3A" + "0" * 64 + rest


def test_lists_are_separated_by_white_space():
    text = "container-base:docker \\\n\tmyapp-container:podman:autostart ".replace("\\", "")
    assert [entry.source for entry in entries.parse_list(text)] == ["container-base", "myapp-container"]
    assert entries.parse_list(None) == []


def test_layers():
    text = "base:packages:base-files+base-passwd+netbase shell:packages:busybox app:directories:/opt/a+/etc c:files:/etc/b h:host:a:b:/c"
    found = layers.parse_list(text)
    assert [(layer.name, layer.kind) for layer in found] == [
        ("base", "packages"),
        ("shell", "packages"),
        ("app", "directories"),
        ("c", "files"),
        ("h", "host"),
    ]
    assert layers.packages(found) == ["base-files", "base-passwd", "busybox", "netbase"]
    assert found[2].items == ("/opt/a", "/etc")
    assert found[4].host_sources() == ["a:b"]
    assert layers.parse("a:packages:g+++libstdc++6+make+").items == ("g++", "libstdc++6", "make")


@pytest.mark.parametrize(
    "text,says",
    [
        ("app", "too few fields"),
        (":files:/a", "is no name of a layer"),
        ("app:file:/a", "`file` is no type of layer"),
        ("app:files:", "no content"),
        ("app:files:a", "`a` is no absolute path"),
        ("app:directories:/", "root of everything"),
        ("app:host:/a", "is no pair"),
        ("app:host:/a:b", "no absolute path"),
        ("app:packages:-o", "`-o` is no name of a package"),
        ("app:packages:curl-", "`curl-` is no name of a package"),
        ("a:files:/a a:files:/b", "another layer `a`"),
    ],
)
def test_wrong_layers(text, says):
    with pytest.raises(layers.LayerError, match=re.escape(says)):
        layers.parse_list(text)
