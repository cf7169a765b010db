"""Two hosts on a wire, each in a network namespace; optionally a wire that is cut for a filter to sit in."""

import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import roots


@dataclass(frozen=True)
class Host:
    """A network namespace, and the root its programs run in: the machine's own when no MTA was asked for."""

    namespace: str
    hostname: str
    address: str
    address6: str
    root: Path | None = None

    @property
    def domain(self) -> str:
        return self.hostname.partition(".")[2]

    def tool(self, *arguments: str) -> list[str]:
        """The command that runs a tool of the machine on this host's network."""
        return ["ip", "netns", "exec", self.namespace, *arguments]

    def command(self, *arguments: str, user: str | None = None) -> list[str]:
        """The command that runs a program of this host, in its root."""
        if self.root is None:
            return self.tool(*arguments)
        return self.tool("chroot", *([f"--userspec={user}"] if user else []), str(self.root), *arguments)

    def run(self, *arguments: str, user: str | None = None, stdin: bytes = b"", check: bool = True) -> str:
        """Run a program to its end; its output. Raises RuntimeError when it fails, unless that may be."""
        command = self.command(*arguments, user=user)
        done = subprocess.run(command, input=stdin, capture_output=True, env=roots.ENVIRONMENT, check=False)
        output = (done.stdout + done.stderr).decode(errors="replace")
        if check and done.returncode:
            raise RuntimeError(f"{self.namespace}: {' '.join(arguments)}: status {done.returncode}\n{output}")
        return output

    @property
    def output(self) -> Path:
        """What the daemons of this host write to standard output and error."""
        return Path(f"/run/{self.namespace}.log")

    def start(self, *arguments: str) -> None:
        """Start a daemon; it ends with the process namespace of the scenario."""
        command = self.command(*arguments)
        with self.output.open("ab") as log:
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=roots.ENVIRONMENT)

    def write(self, path: str, text: str) -> None:
        assert self.root is not None
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)  # may be a link that leads out of the root
        target.write_text(text)

    def wait_for_listener(self, port: int = 25) -> None:
        """Wait without connecting: a probe would be in the capture."""
        command = self.tool("ss", "-Hltn", f"sport = :{port}")
        wait_until(
            lambda: subprocess.run(command, check=True, capture_output=True).stdout != b"",
            f"{self.namespace} listens",
        )


def wait_until(condition: Callable[[], bool], what: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.05)


def build(client: Host, server: Host, *, cut: bool = False, routed: bool = False) -> None:
    """Join the hosts by one veth pair, or by two with a filter between `outside` and `inside`.

    routed: the namespace of the caller forwards IP packets between the two.
    """
    for host in (client, server):
        _ip("netns", "add", host.namespace)
    if cut or routed:
        _ip("link", "add", "client0", "type", "veth", "peer", "name", "outside")
        _ip("link", "add", "server0", "type", "veth", "peer", "name", "inside")
        for name in ("outside", "inside"):
            _prepare(name)
    else:
        _ip("link", "add", "client0", "type", "veth", "peer", "name", "server0")
    for number, (host, peer) in enumerate(((client, server), (server, client))):
        _attach(host, peer, f"00:00:5e:00:53:{number + 1:02x}")  # RFC 7042 2.1.2: octets for documentation
    if routed:
        _ip("link", "set", "lo", "up")
        for name, host, peer in (("outside", client, server), ("inside", server, client)):
            gateway = f"{host.address.rpartition('.')[0]}.254"
            _ip("address", "add", f"{gateway}/24", "dev", name)
            _ip("-n", host.namespace, "route", "replace", f"{peer.address}/32", "via", gateway)
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")


def _attach(host: Host, peer: Host, mac: str) -> None:
    device = f"{host.namespace}0"
    _ip("link", "set", device, "address", mac, "netns", host.namespace)
    inside = ("-n", host.namespace)
    _ip(*inside, "link", "set", device, "name", "eth0")
    _ip(*inside, "link", "set", "lo", "up")
    _ip(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
    _ip(*inside, "address", "add", f"{host.address6}/64", "dev", "eth0", "nodad")
    _prepare("eth0", *host.tool())
    _ip(*inside, "route", "add", f"{peer.address}/32", "dev", "eth0")
    _ip(*inside, "route", "add", f"{peer.address6}/128", "dev", "eth0")


def _prepare(device: str, *enter: str) -> None:
    """Offloads off: a captured segment is then one that a real wire would carry, its checksum filled in."""
    offloads = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"]
    subprocess.run([*enter, "ethtool", "-K", device, *offloads], check=True, capture_output=True)
    subprocess.run([*enter, "ip", "link", "set", device, "up"], check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
