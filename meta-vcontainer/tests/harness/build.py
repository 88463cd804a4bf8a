"""A build folder: layers, configuration, recipes of a test; parsing in this process (level A) and builds by the real
bitbake command (level B)."""

import logging
import os
import pathlib
import shutil
import subprocess
import sys
import textwrap
from typing import Dict, List, Optional

import pytest

from . import setup

CORE = setup.HARNESS / "core"


class ParseError(Exception):
    """What bitbake says about a recipe or a configuration that it does not take."""


class Recipe:
    """A parsed recipe."""

    def __init__(self, d, path: str, hashes: Dict[str, str], warnings: List[str]) -> None:
        self.d = d
        self.path = path
        self.hashes = hashes
        self.warnings = warnings

    def __getitem__(self, name: str) -> str:
        return self.d.getVar(name)

    def flag(self, name: str, flag: str) -> str:
        return self.d.getVarFlag(name, flag) or ""

    def words(self, name: str, flag: str) -> List[str]:
        return self.flag(name, flag).split()

    def tasks(self) -> List[str]:
        import bb.build

        return bb.build.listtasks(self.d)

    def signed(self, task: str) -> Dict[str, str]:
        """What the task's own part of its signature is made of: values by name."""
        values = self.d.getVar("__siggen_varvals")
        depends = self.d.getVar("__siggen_taskdeps")[task]
        return {name: values.get(name) for name in [task, *depends]}

    def hash(self, task: str) -> str:
        """The task's own part of its signature, without its dependencies'."""
        return self.hashes["%s:%s" % (self.path, task)]


class Build:
    """One build folder."""

    def __init__(self, top: pathlib.Path, machine: str = "qemux86-64", conf: str = "", features: str = "vcontainer",
                 layers: Optional[List[pathlib.Path]] = None) -> None:
        self.top = top
        self.machine = machine
        self.layer = top / "meta-test"
        self.write("meta-test/conf/layer.conf", """\
            BBPATH .= ":${LAYERDIR}"
            BBFILES += "${LAYERDIR}/recipes/*.bb"
            BBFILE_COLLECTIONS += "test"
            BBFILE_PATTERN_test = "^${LAYERDIR}/"
            BBFILE_PRIORITY_test = "20"
            LAYERSERIES_COMPAT_test = "blacksail"
            """)
        (self.layer / "recipes").mkdir(exist_ok=True)
        used = [CORE, setup.LAYER, self.layer] + (layers or [])
        self.write("conf/bblayers.conf", 'BBPATH = "${TOPDIR}"\nBBFILES ?= ""\nBBLAYERS = "%s"\n' % " ".join(map(str, used)))
        self.conf = textwrap.dedent(conf)
        self.write("conf/local.conf", "")
        self.write("conf/test.conf", """\
            DISTRO_FEATURES = "%s"
            VCONTAINER_PREBUILT = "%s"
            """ % (features, setup.tool()))
        self.configure(conf)

    def configure(self, conf: str) -> None:
        """Sets local.conf."""
        self.write("conf/local.conf", "require conf/test.conf\n" + textwrap.dedent(conf))

    def write(self, path: str, text: str) -> pathlib.Path:
        file = self.top / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
        return file

    def recipe(self, name: str, text: str) -> pathlib.Path:
        """Adds a recipe; `name` is PN or PN_PV."""
        return self.write("meta-test/recipes/%s.bb" % name, 'LICENSE ?= "MIT"\n' + textwrap.dedent(text))

    def package(self, name: str, files: Dict[str, str], depends: str = "", version: str = "1.0", owner: str = "0:0",
                revision: str = "r0") -> None:
        """Adds a recipe of one package with these files."""
        lines = []
        for path, content in files.items():
            lines.append("    install -d ${D}%s" % os.path.dirname(path))
            lines.append("    printf '%%s\\n' '%s' > ${D}%s" % (content, path))
            lines.append("    chown %s ${D}%s" % (owner, path))
        for old in (self.layer / "recipes").glob(name + "_*.bb"):
            old.unlink()
        self.recipe("%s_%s" % (name, version), 'PR = "%s"\nRDEPENDS:${PN} = "%s"\nfakeroot do_install() {\n%s\n}\n'
                    % (revision, depends, "\n".join(lines)))

    def parse(self, name: str) -> Recipe:
        """Parses a recipe of the test (PN or PN_PV), or of the layer by its path, in this process. Raises ParseError."""
        path = pathlib.Path(name) if name.endswith(".bb") else self.layer / "recipes" / (name + ".bb")
        root = setup.bitbake()
        for place in (root / "lib", root / "stubs"):
            if str(place) not in sys.path:
                sys.path.insert(0, str(place))
        import bb
        import bb.cookerdata
        import bb.event
        import bb.parse

        messages = _Messages()
        logger = logging.getLogger("BitBake")
        logger.addHandler(messages)
        before = os.getcwd()
        environment = dict(os.environ)
        os.environ["MACHINE"] = self.machine
        os.environ["BB_ENV_PASSTHROUGH_ADDITIONS"] = "MACHINE"
        os.chdir(self.top)
        try:
            configuration = bb.cookerdata.CookerConfiguration()
            configuration.env = {"MACHINE": self.machine, "PATH": os.environ["PATH"]}
            builder = bb.cookerdata.CookerDataBuilder(configuration)
            builder.parseBaseConfiguration()
            builder.data.setVar("__bbclasstype", "recipe")
            d = builder.parseRecipe(str(path), [], "test")
            if d.getVar("__SKIPPED"):
                raise ParseError(d.getVar("__SKIPPED"))
            return Recipe(d, str(path), dict(bb.parse.siggen.basehash), messages.lines)
        except bb.BBHandledException as error:
            raise ParseError("\n".join(messages.lines)) from error
        finally:
            logger.removeHandler(messages)
            os.chdir(before)
            os.environ.clear()
            os.environ.update(environment)

    def bitbake(self, *words: str, fails: bool = False, environment: Optional[Dict[str, str]] = None) -> str:
        """Runs the bitbake command; its output. A failure is an error of the test unless it `fails`."""
        if not shutil.which("pseudo"):
            pytest.skip("needs pseudo, which this Debian does not have")
        root = setup.bitbake()
        settings = {
            "PATH": "%s:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin" % (root / "bin"),
            "HOME": str(self.top),
            "LC_ALL": "C.UTF-8",
            "MACHINE": self.machine,
            "BB_ENV_PASSTHROUGH_ADDITIONS": "MACHINE",
            "BB_SERVER_TIMEOUT": "0",
        }
        settings.update(environment or {})
        done = subprocess.run(
            [sys.executable, str(root / "bin/bitbake"), *words], cwd=self.top, env=settings, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900, check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def log(self, recipe: str, task: str) -> str:
        """The newest log of a task."""
        found = sorted(self.top.glob("tmp/work/*/%s/*/temp/log.%s" % (recipe, task)))
        assert found, "%s:%s has no log" % (recipe, task)
        return found[-1].read_text(errors="replace")

    @property
    def deploy(self) -> pathlib.Path:
        return self.top / "tmp/deploy/images" / self.machine


class _Messages(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: List[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
