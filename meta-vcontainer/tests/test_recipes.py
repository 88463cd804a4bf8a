"""Recipes of the layer: that they parse with the stub, and that what is generated is up to date."""

import importlib.util

import pytest

from harness import setup

RECIPES = sorted(str(path.relative_to(setup.LAYER)) for path in setup.LAYER.glob("recipes-*/*/*.bb"))


@pytest.mark.parametrize("path", RECIPES)
def test_recipes_parse(new_build, machine, path):
    build = new_build(machine=machine, conf='VCONTAINER_GUEST_DIR = "/srv/guests"\n')
    recipe = build.parse(str(setup.LAYER / path))
    assert len(recipe["SUMMARY"]) <= 80
    assert recipe["LICENSE"] == "MIT"


def test_crates_are_those_of_cargo_lock():
    spec = importlib.util.spec_from_file_location("crates", setup.LAYER / "scripts/update-crates.py")
    crates = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(crates)
    assert crates.TARGET.read_text() == crates.text(), "run meta-vcontainer/scripts/update-crates.py"


def test_the_prebuilt_tool_counts_by_its_content(new_build):
    """Another place of the same program is no reason to make anything again."""
    path = str(setup.LAYER / "recipes-containers/vcontainer/vcontainer-native_0.1.0.bb")
    first = new_build().parse(path)
    second = new_build(conf='VCONTAINER_PREBUILT = "/usr/bin/true"\n').parse(path)
    assert first.hash("do_install") == second.hash("do_install")
    assert second.words("do_install", "file-checksums") == ["/usr/bin/true:True"]


def test_multiconfigs(new_build):
    for name, machine in (("vruntime-aarch64", "qemuarm64"), ("vruntime-x86-64", "qemux86-64")):
        text = (setup.LAYER / "conf/multiconfig" / (name + ".conf")).read_text()
        assert 'MACHINE = "%s"' % machine in text and 'TMPDIR = "${TOPDIR}/tmp-%s"' % name in text
