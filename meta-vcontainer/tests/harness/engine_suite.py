"""Tests of vdkr and vpdmn, which differ in the engine only: test_vdkr.py and test_vpdmn.py have them.

The machine of `tool` is up, and `small` is an image in it: a shell, with GREETING in its environment.
"""

import json
import subprocess

import pytest

from . import tools

# Says something on both streams, and ends with 3 when it is told to; there is a file when it is so far.
SERVICE = "trap 'exit 3' TERM; echo started; echo warned >&2; touch /ready; while :; do sleep 0.1; done"
READY = "until test -e /ready; do sleep 0.1; done"


class TestMemoryResident:
    """vmemres: the machine that stays up."""

    @pytest.mark.core
    def test_status(self, tool):
        said = tool.text("vmemres", "status")
        for line in ("Daemon running (PID: ", "Socket: %s/.%s/" % (tool.home, tool.name), "Architecture: " + tool.arch, "Engine: " + tool.engine):
            assert line in said

    def test_start_again(self, tool):
        assert tool.text("vmemres", "start") == tool.text("vmemres", "status")

    def test_list(self, tool):
        (line,) = [line for line in tool.text("vmemres", "list").splitlines() if line.startswith("  " + tool.arch)]
        assert " PID " in line

    @pytest.mark.core
    def test_stop_and_start(self, tool, small):
        """The machine goes on where it was: what is in it stays."""
        tool.call("vmemres", "stop").success()
        stopped = tool.call("vmemres", "status")
        assert (stopped.code, stopped.text) == (1, "Daemon not running\n")
        tool.call("vmemres", "stop").success()
        assert "Daemon running (PID: " in tool.text("memres", "start")
        assert small in tool.names()

    @pytest.mark.parametrize("words,says", [(["vmemres"], "requires a subcommand"), (["memres", "begin"], "Unknown memres subcommand")])
    def test_wrong_words(self, tool, words, says):
        outcome = tool.call(*words)
        assert outcome.code == 1 and says in outcome.said

    def test_vshell(self, tool):
        """A shell in the machine, not in a container."""
        outcome = tool.call("vshell", stdin=b"uname -m; echo warned >&2; exit 5\n")
        assert (outcome.code, outcome.text, outcome.said) == (5, tool.arch + "\n", "warned\n")


class TestImages:
    """images, vimport, tag, rmi, inspect."""

    def test_columns(self, tool):
        assert tool.text("images").splitlines()[0].split() == "REPOSITORY TAG IMAGE ID CREATED SIZE".split()

    @pytest.mark.core
    def test_vimport(self, tool, layout):
        """A folder; the images are listed afterwards."""
        assert "imported-one" in tool.text("vimport", "./%s/" % layout.name, "imported-one:1.2")
        assert "imported-one:1.2" in tool.names()

    def test_vimport_without_a_name(self, tool, layout):
        tool.call("vimport", str(layout)).success()
        assert "imported:latest" in tool.names()

    def test_vimport_of_an_archive(self, tool, layout):
        subprocess.run(["tar", "-C", layout, "-cf", tool.work / "layout.tar", "."], check=True)
        tool.call("vimport", "layout.tar", "archive:1").success()
        assert "archive:1" in tool.names()

    def test_vimport_chooses_the_platform(self, tool, layout, foreign):
        tool.vcontainer("oci", "index", "--quiet", "both", str(layout), str(foreign))
        tool.call("vimport", "both-latest-oci", "both:1").success()
        assert tool.text("image", "inspect", "--format", "{{.Architecture}}", "both:1").strip() == tools.OCI_ARCH[tool.arch]

    def test_vimport_refuses_another_architecture(self, tool, foreign):
        outcome = tool.call("vimport", str(foreign), "foreign:1")
        assert outcome.code == 1
        for word in (*tools.OCI_ARCH.values(), "--arch"):
            assert word in outcome.said
        assert "foreign:1" not in tool.names()

    def test_vimport_of_nothing(self, tool):
        outcome = tool.call("vimport", "no-such-folder")
        assert outcome.code == 1 and "no-such-folder" in outcome.said

    def test_tag_and_rmi(self, tool, small):
        tool.call("tag", small, "other:2").success()
        assert "other:2" in tool.names()
        tool.call("rmi", "other:2").success()
        assert "other:2" not in tool.names()
        assert small in tool.names()

    def test_inspect(self, tool, small):
        """Nothing but JSON on standard output."""
        (image,) = json.loads(tool.text("inspect", small))
        assert "GREETING=good morning" in image["Config"]["Env"]


class TestFiles:
    """save, load, import: files and streams of this computer."""

    @pytest.mark.core
    def test_save_and_load(self, tool, small):
        tool.call("tag", small, "saved:1").success()
        assert tool.text("save", "-o", "my image.tar", "saved:1").startswith("Saved to my image.tar (")
        tool.call("rmi", "saved:1").success()
        assert "saved:1" in tool.text("load", "-i", "my image.tar")
        assert "saved:1" in tool.names()

    def test_save_and_load_through_pipes(self, tool, small):
        tool.call("tag", small, "piped:1").success()
        tool.shell("$TOOL save piped:1 | gzip > piped.tar.gz; $TOOL rmi piped:1; $TOOL load < piped.tar.gz")
        assert "piped:1" in tool.names()

    def test_load_of_nothing(self, tool):
        outcome = tool.call("load", "-i", "nothing.tar")
        assert outcome.code == 1 and "nothing.tar" in outcome.said

    def test_import(self, tool, root):
        subprocess.run(["tar", "-C", root, "-cf", tool.work / "root.tar", "."], check=True)
        tool.call("import", "root.tar", "plain:1").success()
        assert tool.text("run", "--rm", "plain:1", "/bin/uname", "-m") == tool.arch + "\n"


class TestRun:
    """run and vrun: programs in containers."""

    @pytest.mark.core
    def test_architecture(self, tool, small):
        assert tool.text("run", "--rm", small, "uname", "-m") == tool.arch + "\n"
        assert tool.text("ps", "-aq") == ""

    def test_words_arrive_as_they_are(self, tool, small):
        odd = ["a  b", "", ";", "one\ntwo", "'", '"$GREETING"', "*", "--help", "-a"]
        printed = tool.text("run", "--rm", small, "sh", "-c", 'printf "[%s]" "$@"', "sh", *odd)
        assert printed == "".join("[%s]" % word for word in odd)

    @pytest.mark.parametrize("code", [pytest.param(7, marks=pytest.mark.core), 255])
    def test_exit_codes(self, tool, small, code):
        outcome = tool.call("run", "--rm", small, "sh", "-c", "echo out; echo warned >&2; exit %d" % code)
        assert (outcome.code, outcome.text, outcome.said) == (code, "out\n", "warned\n")

    def test_a_program_that_is_not_there(self, tool, small):
        assert tool.call("run", "--rm", small, "no-such-program").code == 127

    @pytest.mark.core
    def test_standard_input(self, tool, small):
        data = bytes(range(256)) * 4000
        assert tool.call("run", "--rm", "-i", small, "cat", stdin=data).success().stdout == data

    def test_environment(self, tool, small):
        assert tool.text("run", "--rm", "-e", "NAME=a b", small, "sh", "-c", 'echo "$GREETING, $NAME"') == "good morning, a b\n"

    def test_entrypoint(self, tool, root):
        """`run` goes through it, `vrun` with a command around it."""
        layout = tool.image("entry:1", root, "--entrypoint", "/bin/echo entered", "--env", "PATH=/bin")
        tool.call("vimport", str(layout), "entry:1").success()
        assert tool.text("run", "--rm", "entry:1", "sh") == "entered sh\n"
        assert tool.text("vrun", "entry:1", "echo", "x y") == "x y\n"

    def test_volumes(self, tool, small):
        """What one container writes into a named volume, another reads."""
        tool.call("run", "--rm", "-v", "data:/data", small, "sh", "-c", "echo kept > /data/file").success()
        assert tool.text("run", "--rm", "-v", "data:/data", small, "cat", "/data/file") == "kept\n"
        tool.call("volume", "rm", "data").success()

    def test_folders_of_this_computer(self, tool, small):
        """They are refused, and nothing else is taken for them."""
        outcome = tool.call("run", "--rm", "-v", "%s:/here" % tool.work, small, "true")
        assert outcome.code == 1 and str(tool.work) in outcome.said and "named volume" in outcome.said

    def test_ports(self, tool, small):
        """They are published in the machine, and a notice says so."""
        outcome = tool.call("run", "--rm", "-p", "8080:80", small, "echo", "runs").success()
        assert outcome.text == "runs\n" and "published in the machine" in outcome.said


class TestContainers:
    """A container from its start to its end: run -d, ps, logs, exec, stop, start, rm."""

    @pytest.fixture
    def service(self, tool, small):
        tool.call("run", "-d", "--name", "service", small, "sh", "-c", SERVICE).success()
        tool.call("exec", "service", "sh", "-c", READY).success()
        yield "service"
        tool.call("rm", "-f", "service").success()

    def test_ps_and_logs(self, tool, service):
        assert tool.text("ps", "--format", "{{.Names}}").split() == [service]
        logs = tool.call("logs", service).success()
        assert (logs.text, logs.said) == ("started\n", "warned\n")

    def test_exec(self, tool, service):
        outcome = tool.call("exec", service, "sh", "-c", "echo $GREETING; exit 9")
        assert (outcome.code, outcome.text) == (9, "good morning\n")
        assert tool.text("exec", "-i", service, "cat", stdin=b"through\0cat") == "through\0cat"

    def test_stop_and_start(self, tool, service):
        tool.call("stop", service).success()
        assert tool.text("ps", "-q") == ""
        assert tool.text("inspect", "--format", "{{.State.ExitCode}}", service) == "3\n"
        tool.call("start", service).success()
        assert tool.text("ps", "--format", "{{.Names}}").split() == [service]


class TestArchitecture:
    """The ways to choose one: `small` is in this machine, and there is no other."""

    def test_name_of_the_program(self, tool, small):
        assert "small" in tool.run(["%s-%s" % (tool.name, tool.arch), "images"]).success().text

    @pytest.mark.parametrize("option", ["--arch", "-a"])
    def test_option(self, tool, small, option):
        """It wins against the name and the environment."""
        (other,) = set(tools.OCI_ARCH) - {tool.arch}
        words = ["%s-%s" % (tool.name, other), option, tool.arch, "images"]
        assert "small" in tool.run(words, environment={tool.name.upper() + "_ARCH": other}).success().text

    def test_environment(self, tool, small):
        listed = tool.run([tool.name, "images"], environment={tool.name.upper() + "_ARCH": tool.arch})
        assert "small" in listed.success().text

    def test_vconfig(self, tool, small):
        tool.run([tool.name, "vconfig", "arch", tool.arch]).success()
        assert tool.run([tool.name, "vconfig", "arch"]).success().text == tool.arch + "\n"
        assert "small" in tool.run([tool.name, "images"]).success().text
        assert tool.run([tool.name, "vconfig", "arch", "--reset"]).success().text.startswith("Reset arch to default: ")

    def test_configuration_file(self, tool, small):
        file = tool.home / ".config" / tool.name / "arch"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(tool.arch + "\n")
        assert "small" in tool.run([tool.name, "images"]).success().text
        file.unlink()

    def test_an_unknown_one(self, tool):
        outcome = tool.run([tool.name, "-a", "mips", "images"])
        assert outcome.code == 1 and "mips" in outcome.said


class TestCommandLine:
    """Help, version, and what is no command."""

    def test_version(self, tool):
        assert tool.call("--version").success().text.startswith(tool.name + " version ")

    def test_help(self, tool):
        said = tool.call("--help").success().text
        for command in ("vimport", "vrun", "vshell", "clean", "vmemres", "vstorage", "vconfig"):
            assert command in said

    def test_help_of_the_engine(self, tool):
        """Words behind a command are the engine's."""
        assert "%s image" % tool.engine in tool.text("images", "--help")

    def test_an_unknown_command(self, tool):
        outcome = tool.call("no-such-command")
        assert outcome.code != 0 and "no-such-command" in outcome.said


class TestStorage:
    """vstorage, clean, and the whole store as a tar."""

    def test_list_and_path(self, tool):
        folder = "%s/.%s/%s" % (tool.home, tool.name, tool.arch)
        listed = tool.text("vstorage", "list")
        assert listed.startswith("%s storage directories:\n" % tool.name)
        assert folder in listed and "Status: memres running (PID " in listed
        assert tool.text("vstorage", "path") == folder + "\n"
        assert "state disk" in tool.text("vstorage", "df")

    def test_wrong_words(self, tool):
        outcome = tool.call("vstorage", "empty")
        assert outcome.code == 1 and "Unknown vstorage subcommand" in outcome.said

    def test_storage(self, tool, small):
        tool.call("--storage", "store.tar", "tag", small, "stored:1").success()
        names = subprocess.run(["tar", "-tf", tool.work / "store.tar"], check=True, capture_output=True, text=True).stdout.splitlines()
        index = {"docker": "docker/image/overlay2/repositories.json", "podman": "./overlay-images/images.json"}[tool.engine]
        assert index in names

    @pytest.mark.slow
    def test_slow_input_storage(self, tool, small):
        """A machine of its own with this store, beside the one that is up."""
        tool.call("--storage", "all.tar", "tag", small, "moved:1").success()
        assert tool.text("--input-storage", "all.tar", "run", "--rm", "moved:1", "uname", "-m") == tool.arch + "\n"

    @pytest.mark.slow
    def test_slow_stateless(self, tool, layout):
        before = tool.names()
        assert "gone" in tool.text("--stateless", "vimport", str(layout), "gone:1")
        assert tool.names() == before

    @pytest.mark.slow
    def test_slow_instance_and_clean(self, tool, layout, small):
        """Another machine beside the usual one, started by its first command; `clean` removes it and nothing else."""
        assert "apart" in tool.text("-I", "other", "vimport", str(layout), "apart:1")
        assert "apart:1" not in tool.names()
        assert (tool.home / (".%s/other" % tool.name)).is_dir()
        assert tool.text("-I", "other", "clean") == "State cleaned. Next run will start fresh.\n"
        assert not (tool.home / (".%s/other" % tool.name)).exists()
        assert tool.text("-I", "other", "clean").startswith("No state directory found")
        assert small in tool.names()
