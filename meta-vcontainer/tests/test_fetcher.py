"""docker:// in SRC_URI. BitBake's own code calls the fetcher, in this process; a registry and mirrors are on the loopback."""

import base64
import contextlib
import importlib
import json
import logging
import os
import pathlib
import shutil
import subprocess

import pytest

from harness import servers, setup

PINNED = "sha256:" + "0" * 64


class Site:
    """A build folder whose recipe has the image of a registry in SRC_URI, and mirrors before it or behind it."""

    def __init__(self, build, url, **variables):
        bin_directory = build.top / "tmp/sysroot-native/usr/bin"
        bin_directory.mkdir(parents=True)
        (bin_directory / "vcontainer").symlink_to(setup.tool())
        build.recipe("app", "SRC_URI = \"%s\"\n" % url + "".join("%s = \"%s\"\n" % pair for pair in variables.items()))
        self.url = url
        self.recipe = build.parse("app")
        self.downloads = build.top / "downloads"
        self.downloads.mkdir()
        self.sources = build.top / "sources"

    def fetch(self):
        """do_fetch; the path of the file in DL_DIR."""
        import bb.fetch2

        fetcher = bb.fetch2.Fetch([self.url], self.recipe.d)
        before = os.getcwd()
        try:
            fetcher.download()
        finally:
            os.chdir(before)
        return pathlib.Path(fetcher.localpath(self.url))

    def unpack(self):
        """do_unpack; the names of what it makes."""
        import bb.fetch2

        shutil.rmtree(self.sources, ignore_errors=True)
        self.sources.mkdir()
        bb.fetch2.Fetch([self.url], self.recipe.d).unpack(str(self.sources))
        return sorted(path.name for path in self.sources.iterdir())

    def names(self):
        """What is in DL_DIR."""
        return sorted(path.name for path in self.downloads.iterdir() if not path.name.endswith(".lock"))


@pytest.fixture
def image(registry, tmp_path):
    """An image for two platforms in the registry: its URL, pinned by the digest of its index."""
    layout = servers.two_platforms(tmp_path / "images")
    return "docker://%s;digest=%s" % (registry.push(layout, "team/app:1.0"), servers.digest_of(layout))


@pytest.fixture
def new_site(new_build):
    def make(url, machine="qemuarm64", conf="", **variables):
        return Site(new_build(machine=machine, conf=conf), url, **variables)

    return make


def fails(site, says):
    import bb.fetch2

    with pytest.raises(bb.fetch2.BBFetchException) as error:
        site.fetch()
    assert says in str(error.value)


def name_of(url, arch="aarch64"):
    return "docker_app_%s_%s.tar" % (url.rpartition("sha256:")[2][:64], arch)


def premirror(place):
    return {"PREMIRRORS": "docker://.*/.* " + place, "BB_FETCH_PREMIRRORONLY": "1"}


def test_an_image_is_fetched_and_unpacked(new_site, image, registry):
    site = new_site(image)
    path = site.fetch()
    assert site.names() == [name_of(image), name_of(image) + ".done"] and path == site.downloads / name_of(image)
    assert site.unpack() == ["app-1.0-oci"]
    verified = subprocess.run([setup.tool(), "oci", "verify", site.sources / "app-1.0-oci"], capture_output=True, text=True, check=True)
    assert "linux/arm64" in verified.stdout and "amd64" not in verified.stdout
    asked = registry.asked("/blobs/")
    site.fetch()
    assert registry.asked("/blobs/") == asked
    # Another architecture is another file; the same one has the same bytes wherever it is made.
    other = new_site(image, machine="qemux86-64")
    assert other.fetch().name == name_of(image, "x86_64")
    again = new_site(image + ";arch=aarch64;subdir=a/b;destsuffix=layout", machine="qemux86-64")
    assert again.fetch().read_bytes() == path.read_bytes()
    again.unpack()
    assert (again.sources / "a/b/layout/index.json").read_bytes() == (site.sources / "app-1.0-oci/index.json").read_bytes()


@pytest.mark.parametrize("url,says", [
    ("docker://docker.io;digest=" + PINNED, "Write docker://REGISTRY/PATH[:TAG];digest=sha256:..."),
    ("docker://redis:7;digest=" + PINNED, "Write docker://"),
    ("docker://docker.io/library/redis@" + PINNED, "Write docker://"),
    ("docker://user:secret@docker.io/library/redis;digest=" + PINNED, "Write docker://"),
    ("docker://docker.io/library/redis;arch=a/b;digest=" + PINNED, "`a/b` is not an architecture"),
])
def test_wrong_urls(new_site, url, says):
    fails(new_site(url), says)


@pytest.mark.parametrize("digest", ["", ";digest=sha256:...", ";digest=sha512:" + "0" * 128, ";digest=" + PINNED[:-1]])
def test_without_a_digest_recipes_parse_and_are_not_fetched(new_site, digest):
    site = new_site("docker://docker.io/library/redis:7" + digest, PREMIRRORS="docker://.*/.* file:///nowhere")
    assert "vcontainer-native:do_populate_sysroot" in site.recipe.words("do_fetch", "depends")
    fails(site, "skopeo inspect docker://docker.io/library/redis:7 | jq -r .Digest")
    assert site.names() == []


def test_other_recipes_are_as_without(new_build):
    build = new_build()
    build.recipe("app", "")
    recipe = build.parse("app")
    assert recipe.flag("do_fetch", "depends") == "" == recipe.flag("do_unpack", "depends")
    assert "TARGET_ARCH" not in recipe.signed("do_fetch")


def test_package_urls_have_the_digests(new_build):
    """create-spdx has them in the SBOM; ours come before what is there."""
    build = new_build(conf='SPDX_PACKAGE_URLS ?= "${@bb.utils.contains(\'A\', \'b\', \'x\', \'pkg:generic/x\', d)}"\n')
    uri = "docker://docker.io/library/%s:7;digest=" + PINNED
    build.recipe("two", 'SRC_URI = "%s %s docker://docker.io/library/unpinned:1 file://x"\n' % (uri % "redis", uri % "postgres"))
    build.write("meta-test/recipes/files/x", "")
    found = build.parse("two")["SPDX_PACKAGE_URLS"].split()
    first = "pkg:oci/redis@%s?repository_url=docker.io/library/redis&tag=7" % PINNED.replace(":", "%3A")
    assert sorted(found) == sorted([first, first.replace("redis", "postgres"), "pkg:generic/x"]) and found[-1] == "pkg:generic/x"
    build.recipe("app-bundle", 'inherit container-bundle\nCONTAINER_BUNDLES = "docker.io/library/redis:7@%s"\n' % PINNED)
    assert build.parse("app-bundle")["SPDX_PACKAGE_URLS"].split() == [first, "pkg:generic/x"]


def test_signatures(new_build):
    def hash_of(url, task, machine="qemuarm64"):
        build = new_build(machine=machine)
        build.recipe("app", 'SRC_URI = "%s"\n' % url)
        return build.parse("app").hash(task)

    url = "docker://docker.io/library/redis:7;digest="
    for task in ("do_fetch", "do_unpack"):
        assert hash_of(url + PINNED, task) == hash_of(url + PINNED, task)
        assert hash_of(url + PINNED, task) != hash_of(url + PINNED, task, "qemux86-64")
    assert hash_of(url + PINNED, "do_fetch") != hash_of(url + PINNED.replace("0", "1"), "do_fetch")


def test_it_is_registered_once(new_site):
    new_site("docker://docker.io/library/redis:7;digest=" + PINNED)
    import bb.fetch2
    from vcontainer import fetcher

    importlib.reload(fetcher)
    fetcher.register()
    known = [method for method in bb.fetch2.methods if type(method).__name__ == "Docker"]
    assert len(known) == 1 and isinstance(known[0], fetcher.Docker)


def test_unpacking_stays_below(new_site, image):
    import bb.fetch2

    site = new_site(image)
    site.fetch()
    for where in ("subdir=..", "destsuffix=..", "destsuffix=.", "destsuffix=a/b", "subdir=/tmp"):
        other = new_site(image + ";" + where)
        shutil.copytree(site.downloads, other.downloads, dirs_exist_ok=True)
        with pytest.raises(bb.fetch2.UnpackError, match="subdir and destsuffix have to name a new directory below"):
            other.unpack()


def test_no_network(new_site, image, registry):
    fails(new_site(image, BB_NO_NETWORK="1"), "Network access disabled through BB_NO_NETWORK")
    fails(new_site(image, BB_ALLOWED_NETWORKS="example.org"), "Unable to fetch URL from any source.")
    assert registry.asked("/v2/team") == 0
    first = new_site(image)
    first.fetch()
    registry.close()
    second = new_site(image, BB_NO_NETWORK="1")
    # A stamp is not needed.
    shutil.copy(first.downloads / name_of(image), second.downloads)
    second.fetch()
    assert second.unpack() == ["app-1.0-oci"]


def test_passwords(new_site, tmp_path):
    # `user` with the password `hunter2`.
    users = "user:$2b$04$e3sgWBKnZJo4pNEui.2fOOEg26oRl1J6Y7DD.iuhWOzm.k26Cu47y\n"
    (tmp_path / "registry").mkdir()
    with contextlib.closing(servers.Registry(tmp_path / "registry", users)) as registry:
        authfile = tmp_path / "auth.json"
        authfile.write_text(json.dumps({"auths": {registry.place: {"auth": base64.b64encode(b"user:hunter2").decode()}}}))
        layout = servers.two_platforms(tmp_path / "images")
        reference = registry.push(layout, "team/app:1.0", ["--dest-authfile=%s" % authfile])
        image = "docker://%s;digest=%s" % (reference, servers.digest_of(layout))
        fails(new_site(image), "Unable to fetch URL from any source.")
        new_site(image, CONTAINER_REGISTRY_AUTHFILE=authfile).fetch()


def test_mirrors_have_the_file_of_another_build(new_site, image, registry):
    path = new_site(image).fetch()
    registry.forget()
    with servers.files(path.parent) as place:
        for mirror in (place, place + "/", path.parent.as_uri()):
            site = new_site(image, **premirror(mirror))
            assert site.fetch().read_bytes() == path.read_bytes()
            assert site.unpack() == ["app-1.0-oci"]
        # Tried last, after the registry.
        site = new_site(image, MIRRORS="docker://.*/.* " + place)
        assert site.fetch().read_bytes() == path.read_bytes()
        fails(new_site(image + "0", **premirror(place)), "There is no digest")
        elsewhere = image.replace(image[-64:], "0" * 64)
        fails(new_site(elsewhere, **premirror(place)), "Network access disabled through BB_NO_NETWORK")


def test_own_mirrors(new_site, new_build, image):
    """oe-core's class does not know docker://; with it, SOURCE_MIRROR_URL is asked all the same."""
    path = new_site(image).fetch()
    build = new_build(machine="qemuarm64")
    build.write("meta-test/classes/own-mirrors.bbclass", 'PREMIRRORS:prepend = "https?://.*/.* ${SOURCE_MIRROR_URL} "\n')
    build.configure('INHERIT += "own-mirrors"\nSOURCE_MIRROR_URL = "%s"\nBB_FETCH_PREMIRRORONLY = "1"\n' % path.parent.as_uri())
    assert Site(build, image).fetch().is_symlink()


def test_another_registry_is_a_mirror(new_site, image, registry):
    """Where an image is is of no account: digests are the same everywhere."""
    upstream = image.replace("/team/app:1.0", "/elsewhere/app:1.0")
    mirrors = "docker://%s/elsewhere/.* docker://%s/team/BASENAME" % (registry.place, registry.place)
    for variable in ("PREMIRRORS", "MIRRORS"):
        site = new_site(upstream, **{variable: mirrors})
        assert site.fetch() == site.downloads / name_of(image)
        assert not site.fetch().is_symlink()
        assert site.unpack() == ["app-1.0-oci"]


def flip(path):
    """Damages the last layer of the file."""
    content = bytearray(path.read_bytes())
    content[content.rindex(b"blobs/sha256/") + 600] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:3000])


def replace(path):
    path.write_bytes(b"<html>503</html>" * 1000)


@pytest.mark.parametrize("damage", [flip, cut, replace])
@pytest.mark.parametrize("kind", ["http", "file"])
def test_a_damaged_file_of_a_mirror_is_not_used(new_site, image, registry, caplog, damage, kind):
    first = new_site(image)
    path = first.fetch()
    whole = path.read_bytes()
    damage(path)
    damaged = path.read_bytes()
    with servers.files(path.parent) as place:
        mirror = place if kind == "http" else path.parent.as_uri()
        # Then the registry has it.
        caplog.set_level(logging.WARNING)
        site = new_site(image, PREMIRRORS="docker://.*/.* " + mirror)
        assert site.fetch().read_bytes() == whole and not site.fetch().is_symlink()
        assert "%s is damaged" % (site.downloads / path.name) in caplog.text
        assert [name for name in site.names() if "_bad-checksum_" in name]
        # And when nobody has, that is an error.
        fails(new_site(image, **premirror(mirror)), "Network access disabled through BB_NO_NETWORK")
        registry.forget()
        site = new_site(image, MIRRORS="docker://.*/.* " + mirror)
        fails(site, "is damaged" if damage == flip else "no whole tar file")
        assert path.name not in site.names() and path.name + ".done" not in site.names()
    assert path.read_bytes() == damaged, "the mirror is as it was"


def test_a_damaged_file_in_dl_dir(new_site, image):
    import bb.fetch2

    site = new_site(image)
    path = site.fetch()
    whole, stamp = path.read_bytes(), path.with_name(path.name + ".done")
    flip(path)
    os.utime(path, (stamp.stat().st_mtime + 1,) * 2)
    # Newer than its stamp: it is looked at again.
    assert site.fetch().read_bytes() == whole
    flip(path)
    os.utime(path, (1, 1))
    site.fetch()
    with pytest.raises(bb.fetch2.UnpackError) as error:
        site.unpack()
    assert "is damaged in the cache" in str(error.value) and "remove it, and fetch again (bitbake -f -c fetch app)" in str(error.value)
    assert list(site.sources.iterdir()) == []


def test_what_was_received_is_kept_for_the_next_time(new_site, image, registry):
    import bb.fetch2

    site = new_site(image)
    # Those that are compressed.
    layers = [path for path in registry.blobs() if path.read_bytes().startswith(b"\x1f\x8b")]
    assert len(layers) == 2
    for path in layers:
        path.rename(path.with_name("lost"))
    fails(site, "Unable to fetch URL from any source.")
    assert site.names() == [name_of(image) + ".parts"]
    for path in layers:
        path.with_name("lost").rename(path)
    asked = registry.asked("/manifests/")
    site.fetch()
    assert registry.asked("/manifests/") == asked
    assert site.names() == [name_of(image), name_of(image) + ".done"]
    # What is removed is removed whole.
    (site.downloads / (name_of(image) + ".parts")).mkdir()
    bb.fetch2.Fetch([site.url], site.recipe.d).clean()
    assert site.names() == []
