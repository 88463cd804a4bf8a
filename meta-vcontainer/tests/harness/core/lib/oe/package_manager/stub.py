"""A package manager with the methods that oe-core's have. A package is a tar file in DEPLOY_DIR_STUB; what is
installed is listed in /var/lib/opkg/status, which the tool knows as state of a package manager."""

import os
import shutil
import subprocess

import bb
import oe.packagedata

STATUS = "var/lib/opkg/status"


class StubPM:
    def __init__(self, d, target_rootfs, stub_repo_workdir="oe-rootfs-repo"):
        self.d = d
        self.target_rootfs = target_rootfs
        os.makedirs(os.path.join(target_rootfs, "var/lib/opkg"), exist_ok=True)

    def create_configs(self):
        pass

    def write_index(self):
        pass

    def update(self):
        pass

    def list_installed(self):
        try:
            with open(os.path.join(self.target_rootfs, STATUS)) as file:
                return {line.strip(): {} for line in file}
        except FileNotFoundError:
            return {}

    def install(self, pkgs, attempt_only=False, hard_depends_only=False):
        for package in pkgs:
            if package in self.list_installed():
                continue
            data = oe.packagedata.read_subpkgdata_dict(package, self.d)
            if not data:
                bb.fatal("Unable to install packages: nothing provides " + package)
            bb.note("stub: installing " + package)
            self.install(data["RDEPENDS"].split())
            archive = self.d.expand("${DEPLOY_DIR_STUB}/" + package + ".tar")
            subprocess.run(["tar", "-C", self.target_rootfs, "--xattrs", "--xattrs-include=*", "-xpf", archive, "--numeric-owner"], check=True)
            with open(os.path.join(self.target_rootfs, STATUS), "a") as file:
                file.write(package + "\n")

    def remove_packaging_data(self):
        shutil.rmtree(os.path.join(self.target_rootfs, os.path.dirname(STATUS)))
