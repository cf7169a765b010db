"""Plays one scenario and records it. Run as the first process of fresh namespaces, whose end ends every MTA.

lab.py NAME FILE
"""

import subprocess
import sys
from pathlib import Path

import mailguard
import network
import roots
import telnet
from capture import Capture
from network import Host
from scenario import Scenario
from scenarios import SCENARIOS, SERVER_KEY

NAMESPACES = ["unshare", "--mount", "--uts", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
HOSTS = """\
127.0.0.1 localhost
198.51.100.7 mail.example.org
2001:db8:1::7 mail.example.org
203.0.113.25 mx.example.net
2001:db8:2::25 mx.example.net
"""


def record(scenario: Scenario, file: Path) -> bool:
    """Play a scenario in namespaces of its own and write what its client saw; whether it came to its end."""
    command = [*NAMESPACES, sys.executable, __file__, scenario.name, str(file)]
    return subprocess.run(command, check=False).returncode == 0


def main() -> None:
    name, file = sys.argv[1:]
    scenario = next(row for row in SCENARIOS if row.name == name)
    subprocess.run(["hostname", "lab.example.org"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)  # roots and logs: gone at the end
    try:
        _play(scenario, Path(file))
    except Exception:
        _show_logs()
        raise


def _show_logs() -> None:
    logs = [*Path("/run").glob("*.log"), *Path("/run").glob("*/files/var/log/**/*log")]
    for log in logs:
        print(f"== {log}\n{log.read_text(errors='replace')}", file=sys.stderr)


def _play(scenario: Scenario, file: Path) -> None:
    client_package = scenario.client.PACKAGE if scenario.client is not None else ""
    roots_of = {"client": _root("client", client_package), "server": _root("server", scenario.server.PACKAGE)}
    client = Host("client", "mail.example.org", "198.51.100.7", "2001:db8:1::7", roots_of["client"])
    server = Host("server", "mx.example.net", "203.0.113.25", "2001:db8:2::25", roots_of["server"])
    network.build(client, server, cut=scenario.edit is not None)
    if scenario.edit is not None:
        mailguard.Filter("outside", "inside", scenario.edit)
    if scenario.certificate:
        certify(server)
    scenario.server.serve(server, scenario.server_settings)
    relay = server.address6 if scenario.ipv6 else server.address
    with Capture(client, file, nanoseconds=scenario.nanoseconds):
        if scenario.client is None:
            telnet.type_lines(client, relay, scenario.typed)
        else:
            mails = [text.mail() for text in scenario.mails]
            scenario.client.deliver(client, relay, mails, scenario.client_settings)


def _root(name: str, package: str) -> Path | None:
    """An MTA's own root, told only the names of this network; None for a program of the machine itself."""
    if package not in roots.MTAS:
        return None
    root = roots.mount(package, Path("/run") / name)
    for path, text in (("etc/hosts", HOSTS), ("etc/resolv.conf", ""), ("etc/hostname", "lab.example.org\n")):
        (root / path).unlink(missing_ok=True)  # may be a link that leads out of the root
        (root / path).write_text(text)
    return root


def certify(server: Host) -> None:
    """Give it a key with a certificate signed by itself."""
    assert server.root is not None
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "-"]
    command += ["-days", "365", "-subj", f"/CN={server.hostname}"]
    pair = subprocess.run(command, check=True, capture_output=True, env=roots.ENVIRONMENT)
    (server.root / SERVER_KEY.lstrip("/")).write_bytes(pair.stdout)


if __name__ == "__main__":
    main()
