"""What the laboratory needs of the machine, what of it is missing, and how that is installed."""

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

import roots
from receivers import RECEIVERS
from senders import SENDERS

MTAS = tuple(sorted({row.package for row in SENDERS.values()} | {row.package for row in RECEIVERS.values()}))
TOOLS = {"ip": "iproute2", "ss": "iproute2", "tcpdump": "tcpdump", "ethtool": "ethtool", "unshare": "util-linux"}
PATH = roots.ENVIRONMENT["PATH"]
# The one that speaks to the kernel's own tables first: nftables may be absent from a kernel.
IPTABLES = ("iptables-legacy", "iptables")
_MOUNT = 'mount -t tmpfs tmpfs "$1" && mkdir "$1/up" "$1/work" "$1/all" && mount -t overlay overlay "$1/all" -o '
_MOUNT += '"lowerdir=/,upperdir=$1/up,workdir=$1/work"'


def missing() -> list[str]:
    """What is missing, in words; nothing when the laboratory can be built."""
    if os.geteuid() != 0:
        return ["root: network namespaces, mounts and packet queues are root's"]
    lacking = [f"package {name}" for name in roots.missing(MTAS, TOOLS)]
    if iptables() is None:
        lacking.append("package iptables")
    if importlib.util.find_spec("netfilterqueue") is None:
        lacking.append("Python package NetfilterQueue (pip install '.[inline]'; needs libnetfilter-queue-dev)")
    return lacking or list(_refused())


def install() -> None:
    """Packages into the machine, and each MTA into a layer of its own."""
    roots.install(MTAS, sorted({*TOOLS.values(), "iptables"}))


def iptables() -> str | None:
    """The program that sends packets to a queue."""
    return next((name for name in IPTABLES if shutil.which(name, path=PATH)), None)


def _refused() -> Iterator[str]:
    """What the kernel does not do."""
    matches = "-p tcp -m multiport --dports 25,587 -m mark ! --mark 1".split()
    with_queue = [str(iptables()), "-t", "mangle", "-A", "FORWARD", *matches, "-j", "NFQUEUE", "--queue-num", "1"]
    tries: tuple[tuple[str, Callable[[], list[str]]], ...] = (
        ("network namespaces", lambda: ["unshare", "--net", "--mount", "true"]),
        ("iptables with NFQUEUE", lambda: ["unshare", "--net", *with_queue]),
        ("overlay file systems", lambda: ["unshare", "--mount", "sh", "-c", _MOUNT, "sh", "/mnt"]),
    )
    for what, command in tries:
        done = subprocess.run(command(), capture_output=True, text=True, check=False, env=roots.ENVIRONMENT)
        if done.returncode:
            yield f"{what}: the kernel refuses: {done.stderr.strip().splitlines()[-1:]}"
