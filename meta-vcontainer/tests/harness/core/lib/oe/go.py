"""oe.go"""

MAP = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}


def map_arch(arch):
    return MAP.get(arch, arch)
