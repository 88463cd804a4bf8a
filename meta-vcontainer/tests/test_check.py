"""What is said about containers and nothing reads: the warnings of container-check, and that no signature knows of it."""

import pytest

from harness.hosts import CONTAINER, HOST, prepare

FEATURE = 'DISTRO_FEATURES:append = " vcontainer"'
BUNDLED = 'BUNDLED_CONTAINERS = "myapp:docker mydb:podman"\n'
FLAG = 'CONTAINER_SERVICE_FILE[%s] = "/srv/a.service"\n'


def parse(new_build, text=HOST, conf="", **settings):
    build = new_build(conf=conf, **settings)
    build.recipe("host", text)
    return build.parse("host")


def warnings(output):
    """bitbake's, each with the lines that belong to it. That the stub has no recipes is none of them."""
    found = []
    for line in output.splitlines():
        if line.startswith("WARNING: ") and "No bb files" not in line:
            found.append(line[len("WARNING: "):])
        elif found and line.startswith("    "):
            found[-1] += line
    return found


def test_bundled_containers_without_the_feature(new_build):
    """Said once, however many images there are, and however often nothing is parsed anew."""
    build = new_build(features="", conf=BUNDLED)
    for name in ("one", "two"):
        build.recipe(name, HOST.replace('"etc"', '""'))
    for _ in range(2):
        (said,) = warnings(build.bitbake("one"))
        assert said.startswith("BUNDLED_CONTAINERS is set, and images do not have these containers")
        assert said.endswith("    " + FEATURE)
    build.configure(BUNDLED + FEATURE + "\n")
    assert warnings(build.bitbake("-p")) == []
    build.configure("")
    assert warnings(build.bitbake("-p")) == []


@pytest.mark.parametrize("text", [HOST + BUNDLED, HOST])
def test_images_of_their_own_without_the_feature(new_build, text):
    """In the recipe, or by an override: not said of images that have what local.conf says for all."""
    conf = "" if text != HOST else BUNDLED.replace(" =", ":pn-host =")
    (said,) = parse(new_build, text, conf, features="").warnings
    assert said.startswith("host: BUNDLED_CONTAINERS is set for this recipe") and said.endswith(FEATURE)
    assert parse(new_build, text + "inherit container-cross-install\n", conf, features="").warnings == []
    assert parse(new_build, text, conf).warnings == []
    assert parse(new_build, HOST, BUNDLED, features="").warnings == []
    assert parse(new_build, text + "inherit image-oci\n", conf, features="").warnings == []


def test_packages_that_nothing_merges(new_build):
    build = new_build(machine="qemuarm64", features="")
    prepare(build)
    build.recipe("app-bundle_1.0", 'inherit container-bundle\nCONTAINER_BUNDLES = "container-base"\n')
    build.recipe("host", HOST.replace('"etc"', '"app-bundle"'))
    build.recipe("other", HOST)
    (said,) = warnings(build.bitbake("host", "other"))
    assert "host: the containers of app-bundle are in no store" in said and said.endswith(FEATURE)
    build.configure(FEATURE + "\n")
    assert warnings(build.bitbake("host")) == []


@pytest.mark.parametrize("text,variable", [
    (HOST + BUNDLED, "BUNDLED_CONTAINERS"),
    ('inherit container-bundle\nCONTAINER_BUNDLES = "myapp mydb:autostart"\n', "CONTAINER_BUNDLES"),
])
def test_service_files_of_nothing(new_build, text, variable):
    (said,) = parse(new_build, text + FLAG % "mydb" + FLAG % "myap").warnings
    assert said == "host: CONTAINER_SERVICE_FILE[myap] is for none of %s: myapp, mydb" % variable
    # In local.conf it may be for other recipes.
    assert parse(new_build, text, FLAG % "myap").warnings == []
    assert parse(new_build, text + FLAG % "myapp" + 'CONTAINER_SERVICE_FILE[old] = ""\n').warnings == []


def test_service_files_of_nothing_in_local_conf(new_build):
    build = new_build(conf=BUNDLED + FLAG % "mydb" + FLAG % "myap")
    (said,) = warnings(build.bitbake("-p"))
    assert said.startswith("CONTAINER_SERVICE_FILE[myap] is for none of BUNDLED_CONTAINERS: myapp, mydb.")
    build.configure(FLAG % "myap")
    assert warnings(build.bitbake("-p")) == []


@pytest.mark.slow
def test_slow_without_the_feature(new_oe_build):
    build = new_oe_build(conf='DISTRO_FEATURES:remove = "vcontainer"\n' + BUNDLED)
    layer = build.top / "meta-plain"
    (layer / "conf").mkdir(parents=True)
    (layer / "conf/layer.conf").write_text('BBFILES += "${LAYERDIR}/*.bb"\nBBFILE_COLLECTIONS += "plain"\nBBFILE_PATTERN_plain = "^${LAYERDIR}/"\n'
                                           'LAYERSERIES_COMPAT_plain = "wrynose blacksail"\n')
    (layer / "plain.bb").write_text('LICENSE = "MIT"\ninherit core-image\nIMAGE_INSTALL = "example-container-bundle"\nIMAGE_FSTYPES = "tar"\n')
    layers = build.top / "conf/bblayers.conf"
    layers.write_text(layers.read_text() + 'BBLAYERS += "%s"\n' % layer)
    said = [text for text in warnings(build.bitbake("plain")) if FEATURE in text]
    assert len(said) == 2
    assert said[0].startswith("BUNDLED_CONTAINERS is set, and images do not have these containers")
    assert "plain: the containers of example-container-bundle are in no store" in said[1]


@pytest.mark.parametrize("text", [HOST, 'SRC_URI = "file://x"\n', CONTAINER % "app"])
def test_no_signature_knows_of_it(new_build, text):
    found = []
    for conf in ("", FLAG % "a"):
        build = new_build(features="", conf=conf)
        build.write("meta-test/recipes/files/x", "")
        build.recipe("host", text)
        found.append(build.parse("host"))
    for task in found[0].tasks():
        assert found[0].signed(task) == found[1].signed(task), task
        assert "container_check" not in str(found[0].signed(task))
