"""One root file system per MTA: Debian lets a machine have only one of Postfix, Exim and OpenSMTPD."""

import os
import shutil
import subprocess
from pathlib import Path

LAYERS = Path("/var/cache/smtp-captures")
MTAS = ("postfix", "exim4-daemon-light", "opensmtpd")
# The program that needs it, and its package. These go into the machine itself.
TOOLS = {"ip": "iproute2", "tcpdump": "tcpdump", "ethtool": "ethtool", "openssl": "openssl", "swaks": "swaks"}
# The whole environment of every program started here: nothing of the caller's gets into a capture.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC", "LC_ALL": "C"}

_INSTALL = """
set -e
hostname lab
mkdir -p "$1/files" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/files,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --bind /dev "$1/root/dev"
printf '#!/bin/sh\\nexit 101\\n' > "$1/root/usr/sbin/policy-rc.d"  # the package must not start its service
chmod 755 "$1/root/usr/sbin/policy-rc.d"
chroot "$1/root" apt-get install -y --no-install-recommends "$2"
chroot "$1/root" useradd --uid 5001 --create-home alice
chroot "$1/root" useradd --uid 5002 --create-home bob
"""


def missing() -> list[str]:
    """The packages without which nothing can be captured."""
    tools = [tool for tool in TOOLS if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None]
    return [TOOLS[tool] for tool in tools] + [mta for mta in MTAS if not (LAYERS / mta / "complete").exists()]


def install() -> None:
    """Install the tools into the machine, and each MTA into a layer of its own above the machine's root."""
    environment = os.environ | ENVIRONMENT | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update"], check=True, env=environment)
    command = ["apt-get", "install", "-y", "--no-install-recommends", *TOOLS.values()]
    subprocess.run(command, check=True, env=environment)
    for mta in MTAS:
        layer = LAYERS / mta
        if (layer / "complete").exists():
            continue
        shutil.rmtree(layer, ignore_errors=True)
        command = ["unshare", "--mount", "--uts", "sh", "-c", _INSTALL, "sh", str(layer), mta]
        subprocess.run(command, check=True, env=environment)
        (layer / "complete").touch()


def version(package: str) -> str:
    """The Debian version of an MTA or tool, as installed."""
    database = LAYERS / package / "files/var/lib/dpkg" if package in MTAS else Path("/var/lib/dpkg")
    command = ["dpkg-query", f"--admindir={database}", "--showformat=${Version}", "--show", package]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def mount(mta: str, place: Path) -> Path:
    """A fresh, throw-away root of an MTA below `place`; what is written into it lies in memory."""
    root = _overlay(_base(mta), place)
    _mount("-t", "proc", "proc", str(root / "proc"))
    _mount("--bind", "/dev", str(root / "dev"))
    _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / "run"))
    return root


def _base(mta: str) -> Path:
    """The machine's root with the layer of an MTA above it, as left by the installation."""
    base = Path("/run/base") / mta
    if not base.exists():
        base.mkdir(parents=True)
        layer = LAYERS / mta
        options = f"lowerdir=/,upperdir={layer / 'files'},workdir={layer / 'work'}"
        _mount("-t", "overlay", "overlay", "-o", options, str(base))
    return base


def _overlay(base: Path, place: Path) -> Path:
    place.mkdir()
    _mount("-t", "tmpfs", "tmpfs", str(place))
    for name in ("files", "work", "root"):
        (place / name).mkdir()
    options = f"lowerdir={base},upperdir={place / 'files'},workdir={place / 'work'}"
    _mount("-t", "overlay", "overlay", "-o", options, str(place / "root"))
    return place / "root"


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)
