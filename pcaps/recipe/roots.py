"""One root file system per MTA: Debian lets a machine have only one of Postfix, Exim and OpenSMTPD."""

import os
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LAYERS = Path("/var/cache/smtp-captures")
BASES = Path("/run/base")
# The MTAs of the captures, each by the package whose layer it is; LAYER names what else goes into a layer.
MTAS = ("postfix", "exim4-daemon-light", "opensmtpd")
SENDMAIL = "sendmail-bin"
LAYER = {SENDMAIL: (SENDMAIL, "sendmail-cf")}
# The program that needs it, and its package. These go into the machine itself.
TOOLS = {"ip": "iproute2", "tcpdump": "tcpdump", "ethtool": "ethtool", "openssl": "openssl", "swaks": "swaks"}
# What a root has in /dev: without the machine's /dev/log, what it logs there does not get into the machine's log.
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
# The whole environment of every program started here: nothing of the caller's gets into a capture.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "TZ": "UTC", "LC_ALL": "C"}

_INSTALL = """
set -e
hostname lab
mkdir -p "$1/files" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/files,workdir=$1/work" "$1/root"
mount -t proc proc "$1/root/proc"
mount --bind /dev "$1/root/dev"
layer=$1
shift
printf '#!/bin/sh\\nexit 101\\n' > "$layer/root/usr/sbin/policy-rc.d"  # the package must not start its service
chmod 755 "$layer/root/usr/sbin/policy-rc.d"
chroot "$layer/root" apt-get install -y --no-install-recommends "$@"
chroot "$layer/root" useradd --uid 5001 --create-home alice
chroot "$layer/root" useradd --uid 5002 --create-home bob
"""


def missing(mtas: Sequence[str] = MTAS, tools: Mapping[str, str] = TOOLS) -> list[str]:
    """The packages without which nothing can be captured."""
    lacking = [tool for tool in tools if shutil.which(tool, path=ENVIRONMENT["PATH"]) is None]
    return [tools[tool] for tool in lacking] + [mta for mta in mtas if not (LAYERS / mta / "complete").exists()]


def install(mtas: Sequence[str] = MTAS, packages: Collection[str] = TOOLS.values()) -> None:
    """Install the tools into the machine, and each MTA into a layer of its own above the machine's root."""
    environment = os.environ | ENVIRONMENT | {"DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update"], check=True, env=environment)
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    subprocess.run(command, check=True, env=environment)
    with ThreadPoolExecutor() as pool:
        list(pool.map(_install, mtas))


def _install(mta: str) -> None:
    layer = LAYERS / mta
    if (layer / "complete").exists():
        return
    shutil.rmtree(layer, ignore_errors=True)
    command = ["unshare", "--mount", "--uts", "sh", "-c", _INSTALL, "sh", str(layer), *LAYER.get(mta, (mta,))]
    subprocess.run(command, check=True, env=os.environ | ENVIRONMENT | {"DEBIAN_FRONTEND": "noninteractive"})
    (layer / "complete").touch()


def version(package: str) -> str:
    """The Debian version of an MTA or tool, as installed."""
    layer = LAYERS / package / "files/var/lib/dpkg"
    database = layer if layer.exists() else Path("/var/lib/dpkg")
    command = ["dpkg-query", f"--admindir={database}", "--showformat=${Version}", "--show", package]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def mount(mta: str, place: Path, bases: Path = BASES) -> Path:
    """A fresh, throw-away root of an MTA below `place`; what is written into it lies in memory."""
    root = _overlay(base(mta, bases), place)
    _mount("-t", "proc", "proc", str(root / "proc"))
    for folder in ("dev", "run"):
        _mount("-t", "tmpfs", "-o", "mode=755", "tmpfs", str(root / folder))
    for device in DEVICES:
        (root / "dev" / device).touch()
        _mount("--bind", f"/dev/{device}", str(root / "dev" / device))
    return root


def base(mta: str, bases: Path = BASES) -> Path:
    """The machine's root with the layer of an MTA above it, as left by the installation."""
    place = bases / mta
    if not place.exists():
        place.mkdir(parents=True)
        layer = LAYERS / mta
        options = f"lowerdir=/,upperdir={layer / 'files'},workdir={layer / 'work'}"
        _mount("-t", "overlay", "overlay", "-o", options, str(place))
    return place


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
