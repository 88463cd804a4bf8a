"""The file that stands for an image in DL_DIR: what is written, and what is not taken."""

import hashlib
import io
import tarfile

import pytest

from vcontainer import archive

BLOBS = [b"an index", b"a manifest", b"a layer" * 1000]


def hex_of(blob):
    return hashlib.sha256(blob).hexdigest()


DIGEST = "sha256:" + hex_of(BLOBS[0])


@pytest.fixture
def made(tmp_path):
    """An archive of the blobs."""
    folder = tmp_path / "cache" / archive.FOLDER
    folder.mkdir(parents=True)
    for blob in BLOBS:
        (folder / hex_of(blob)).write_bytes(blob)
    # What else the tool keeps there.
    (folder / (hex_of(b"other") + ".partial")).write_bytes(b"oth")
    archive.write(str(tmp_path / "cache"), str(tmp_path / "image.tar"))
    return tmp_path / "image.tar"


def test_blobs_come_back(made, tmp_path):
    archive.check(str(made), DIGEST)
    archive.extract(str(made), str(tmp_path / "again"))
    files = {path.name: path.read_bytes() for path in (tmp_path / "again" / archive.FOLDER).iterdir()}
    assert files == {hex_of(blob): blob for blob in BLOBS}


def test_the_same_blobs_give_the_same_bytes(made, tmp_path):
    first = made.read_bytes()
    archive.extract(str(made), str(tmp_path / "again"))
    archive.write(str(tmp_path / "again"), str(made))
    assert made.read_bytes() == first
    with tarfile.open(made) as tar:
        assert [member.name for member in tar] == sorted("blobs/sha256/" + hex_of(blob) for blob in BLOBS)
        assert {(member.mtime, member.uid, member.uname, member.mode) for member in tar} == {(0, 0, "", 0o644)}


def test_a_damaged_blob_is_not_packed(made, tmp_path):
    made.unlink()
    (tmp_path / "cache" / archive.FOLDER / hex_of(BLOBS[1])).write_bytes(b"a manifesT")
    with pytest.raises(archive.Damaged, match=hex_of(BLOBS[1])):
        archive.write(str(tmp_path / "cache"), str(made))
    assert not made.exists()


def member(name, content=b"", **fields):
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def good(blob):
    return member("blobs/sha256/" + hex_of(blob), blob)


def tar_of(*members, **options):
    """An archive of these members before and after the right ones."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as tar:
        for info, content in [*map(good, BLOBS), *members]:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


SPARSE = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.size": "1000000000000", "GNU.sparse.map": "0,1"}
NAME = "blobs/sha256/" + hex_of(b"x")


@pytest.mark.parametrize("content,says", [
    (tar_of(member("../../etc/passwd", b"root")), "'../../etc/passwd' is in it"),
    (tar_of(member("/" + NAME, b"x")), "is in it"),
    (tar_of(member("blobs/sha256/" + "A" * 64, b"x")), "is in it"),
    (tar_of(member(NAME + "\n", b"x")), "is in it"),
    (tar_of(member(NAME, type=tarfile.SYMTYPE, linkname="/etc/passwd")), "is in it"),
    (tar_of(member(NAME, type=tarfile.LNKTYPE, linkname="blobs/sha256/" + hex_of(BLOBS[0]))), "is in it"),
    (tar_of(member(NAME, type=tarfile.CHRTYPE)), "is in it"),
    (tar_of(member(NAME, type=tarfile.DIRTYPE)), "is in it"),
    (tar_of(member(NAME, b"x", pax_headers=SPARSE), format=tarfile.PAX_FORMAT), "is in it"),
    (tar_of(good(BLOBS[0])), "there twice"),
    (b"", "no whole tar file"),
    (bytes(512), DIGEST + " is not in it"),
    (b"<html>not found</html>" * 100, "no whole tar file"),
    (tar_of()[:1000], "no whole tar file"),
])
def test_hostile_files_are_refused(tmp_path, content, says):
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    with pytest.raises(archive.Damaged) as error:
        archive.check(str(path), DIGEST)
    assert says in str(error.value)
    if "not in it" not in says:
        with pytest.raises(archive.Damaged):
            archive.extract(str(path), str(tmp_path / "out"))
    assert all(path.is_file() and not path.is_symlink() for path in (tmp_path / "out" / archive.FOLDER).glob("*"))


def test_changes_are_found(made):
    whole = made.read_bytes()

    def refused(content, says, digest=DIGEST):
        made.write_bytes(content)
        with pytest.raises(archive.Damaged) as error:
            archive.check(str(made), digest)
        assert says in str(error.value)

    layer = whole.index(BLOBS[2])
    refused(whole[:layer] + b"A" + whole[layer + 1:], "blob sha256:%s is damaged" % hex_of(BLOBS[2]))
    refused(whole[:layer + 10], "no whole tar file")
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        last = tar.getmembers()[-1]
        end = last.offset_data + 512 * ((last.size + 511) // 512)
    refused(whole[:end], "its end is missing")
    refused(whole, "is not in it", "sha256:" + "0" * 64)
