"""The archive of vcontainer-tarball, made by bitbake with real guest files, installed and used by an ordinary user."""

import os
import shutil
import subprocess
import sys

import pytest

from harness import setup, tools

# Somebody who has no account and no rights.
NOBODY = ["setpriv", "--reuid=54322", "--regid=54322", "--clear-groups"]

USE = """
set -eu
%(installer)s -d %(place)s -y
source %(place)s/init-env.sh
for tool in vdkr vpdmn; do
    test "$(command -v $tool)" = %(place)s/$tool
    $tool -a %(arch)s images
    $tool-%(arch)s vmemres stop
    $tool-%(arch)s clean
done
"""


@pytest.mark.machine
@pytest.mark.slow
@pytest.mark.xdist_group("tarball")
def test_slow_installed_tools_pass_their_tests(new_build, tmp_path, new_open_folder, request):
    arch = request.config.getoption("--arch")
    guests = set()
    for name in tools.ENGINES:
        why = tools.obstacle(name, arch)
        if why:
            pytest.skip(why)
        guests.add(tools.own_guests(name).parent)
    assert len(guests) == 1, "guest files of vdkr and vpdmn have to lie beside each other: %s" % guests
    # Without what a debugger wants, it is a third as big.
    program = tmp_path / "vcontainer"
    subprocess.run(["strip", "-o", program, setup.tool()], check=True)
    build = new_build(conf='VCONTAINER_PREBUILT = "%s"\nVCONTAINER_GUEST_DIR = "%s"\nVCONTAINER_ARCHITECTURES = "%s"\n'
                      % (program, guests.pop(), arch))
    build.recipe("xz-native_1.0", "inherit native\n")
    build.bitbake("vcontainer-tarball")

    as_nobody = NOBODY if os.getuid() == 0 else []
    open_folder = new_open_folder()
    home = open_folder / "home"
    home.mkdir()
    if as_nobody:
        os.chown(home, 54322, 54322)
    installer = shutil.move(build.top / "tmp/deploy/sdk/vcontainer-standalone.sh", open_folder)
    place = home / "vcontainer"
    script = USE % {"installer": installer, "place": place, "arch": arch}
    environment = {"HOME": str(home), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    used = subprocess.run([*as_nobody, "bash", "-c", script], cwd=home, env=environment, text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=1200)
    assert used.returncode == 0, used.stdout
    assert used.stdout.count("REPOSITORY") == 2 and used.stdout.count("State cleaned.") == 2, used.stdout

    # The document's command, with the installed folder.
    words = ["tests/test_vdkr.py", "tests/test_vpdmn.py", "-v", "--vdkr-dir", str(place), "--arch", arch, "-m", "core", "-p", "no:cacheprovider"]
    suite = subprocess.run([sys.executable, "-m", "pytest", *words], cwd=setup.LAYER, text=True, check=False, timeout=1800,
                           env={**environment, "XDG_CACHE_HOME": str(home / ".cache"), "PYTHONPYCACHEPREFIX": str(tmp_path / "pycache")},
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert suite.returncode == 0 and "skipped" not in suite.stdout, suite.stdout

