"""oe.packagedata: what packages of this build are, in PKGDATA_DIR, in oe-core's format."""

import os


def write(package, d):
    folder = d.expand("${PKGDATA_DIR}/runtime")
    os.makedirs(folder, exist_ok=True)
    values = {
        "PN": d.getVar("PN"),
        "PV": d.getVar("PV"),
        "PR": d.getVar("PR"),
        "PKGV": d.getVar("PKGV"),
        "PKGR": d.getVar("PKGR"),
        "PKG:" + package: package,
        "RDEPENDS:" + package: d.getVar("RDEPENDS:" + package) or d.getVar("RDEPENDS") or "",
    }
    with open(os.path.join(folder, package), "w") as file:
        for key, value in values.items():
            file.write("%s: %s\n" % (key, value))
    open(os.path.join(folder, package + ".packaged"), "w").close()


def read_subpkgdata_dict(package, d):
    path = d.expand("${PKGDATA_DIR}/runtime/" + package)
    values = {}
    try:
        with open(path) as file:
            for line in file:
                key, _, value = line.partition(":")
                if key.endswith(":" + package):
                    key = key[: -len(package) - 1]
                if value.startswith(package + ": "):
                    value = value[len(package) + 1 :]
                values[key] = value.strip()
    except FileNotFoundError:
        return {}
    return values


def packaged(package, d):
    return os.access(d.expand("${PKGDATA_DIR}/runtime/" + package + ".packaged"), os.R_OK)
