"""Plays one row in fresh namespaces, whose end ends every program in them.

    play.py ROW FOLDER BASES

ROW is JSON (`rows.Row`); FOLDER gets the captures of both sides, the logs and the mails; above BASES lie the roots
of the MTAs.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import network
import roots
import telnet
from lab import certify
from network import Host, wait_until
from receivers import RECEIVERS
from rows import LARGE, PIECES, SCRIPTED, TIMEOUTS, TYPED, Row
from scenarios import SERVER_KEY
from senders import SENDERS
from texts import compose

HERE = Path(__file__).resolve().parent
CLIENT, SERVER, PAST = "10.9.1.1", "10.9.2.2", "10.9.3.2"  # PAST: the server's too, and the box does not look there
QUEUE = "5"
HOSTS = """\
127.0.0.1 localhost
10.9.1.1 {client}
10.9.2.2 mx.example.net
"""
FIREWALL_LOG = Path("/run/firewall.log")
# What stands around the commands for iptables in what `smtpinspect inline` says at its start.
BEGINS, ENDS = "# with iptables, to begin:\n", "# and to end:\n"


def main() -> None:
    row = Row(**json.loads(sys.argv[1]))
    folder, bases = Path(sys.argv[2]), Path(sys.argv[3])
    hostname = SENDERS[row.client].hostname if row.client in SENDERS else "out.example.com"
    subprocess.run(["hostname", hostname], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)  # roots and logs: gone at the end
    client, server = hosts(row, hostname, bases)
    network.build(client, server, routed=True)
    mails = folder / "received"
    mails.mkdir()
    try:
        serve(row, server, mails)
        stand_between(row)
        kept = 400 if row.size >= LARGE else 0  # of a large mail without most of its text
        with recorded(client, folder, length=kept), recorded(server, folder, length=kept):
            begin = time.monotonic()
            said = send(row, client, folder)
            seconds = time.monotonic() - begin
            wait_for_server(row, server)
            time.sleep(0.5)  # what is logged a moment later, and the last segments
    finally:
        keep_logs(row, client, server, folder)
    if row.client not in SENDERS:
        (folder / "sender.log").write_text(said)
    result = {"seconds": round(seconds, 2), "said": said, "rule": row.fires, "box": row.box}
    (folder / "result.json").write_text(json.dumps(result))


def hosts(row: Row, hostname: str, bases: Path) -> tuple[Host, Host]:
    text = HOSTS.format(client=hostname)
    below = {
        name: root(name, table.package, bases, text)
        for name, table in (("client", SENDERS.get(row.client)), ("server", RECEIVERS.get(row.server)))
        if table is not None
    }
    client = Host("client", hostname, CLIENT, "2001:db8:1::7", below.get("client"))
    return client, Host("server", "mx.example.net", SERVER, "2001:db8:2::25", below.get("server"))


def root(name: str, package: str, bases: Path, hosts: str) -> Path:
    """An MTA's own root, told only the names of this network."""
    place = roots.mount(package, Path("/run") / name, bases)
    for path, text in (("etc/hosts", hosts), ("etc/resolv.conf", ""), ("etc/hostname", "lab.example.com\n")):
        (place / path).unlink(missing_ok=True)  # may be a link that leads out of the root
        (place / path).write_text(text)
    return place


def serve(row: Row, server: Host, mails: Path) -> None:
    receiver = RECEIVERS.get(row.server)
    if receiver is None:
        words = ["PIPELINING"] * row.pipelining + [*row.offers]
        words += [f"{verb}={reply}" for verb, reply in row.replies.items()]
        if row.mixed:
            _past(server)
            server.start(sys.executable, str(HERE / "scripted.py"), PAST, str(mails), *words)
            server.wait_for_listener()
        server.start(sys.executable, str(HERE / "scripted.py"), SERVER, str(mails), *words)
        server.wait_for_listener()
    else:
        settings = receiver.shortened(TIMEOUTS["command"]) | dict(row.server_settings)
        if SERVER_KEY in settings.values():
            certify(server)
        receiver.serve(server, settings)


def _past(server: Host) -> None:
    """A second address of the server, on the same way."""
    for words in (
        f"-n {server.namespace} address add {PAST}/32 dev eth0",
        f"route add {PAST}/32 via {SERVER} dev inside",
        f"-n client route add {PAST}/32 via 10.9.1.254",
    ):
        subprocess.run(["ip", *words.split()], check=True)


def stand_between(row: Row) -> None:
    """Start the box, for which this namespace is there, and send it the packets as it says at its start."""
    if not row.box:
        return
    command = [sys.executable, "-m", "smtpinspect", "inline", "--queue", QUEUE, *row.box]
    with FIREWALL_LOG.open("wb") as log:
        box = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    queues = Path("/proc/net/netfilter/nfnetlink_queue")
    wait_until(lambda: box.poll() is not None or QUEUE in queues.read_text().split()[:1], "the box takes packets")
    wait_until(lambda: box.poll() is not None or ENDS in FIREWALL_LOG.read_text(), "the box says what to do")
    if box.poll() is not None:
        raise RuntimeError(f"the box ended: {FIREWALL_LOG.read_text()}")
    said = FIREWALL_LOG.read_text().partition(BEGINS)[2].partition(ENDS)[0]
    rules = [line for line in said.splitlines() if line.startswith("iptables ")]
    if not rules:
        raise RuntimeError(f"the box does not say how to send it packets: {FIREWALL_LOG.read_text()}")
    if row.mixed:
        rules = [f"{rule} {'-d' if '--dports' in rule else '-s'} {SERVER}" for rule in rules]
    for rule in rules:
        subprocess.run([os.environ["LAB_IPTABLES"], *rule.split()[1:]], check=True)


@contextmanager
def recorded(host: Host, folder: Path, *, length: int = 0, what: str = "tcp") -> Iterator[None]:
    """What this host sends and gets; so many octets of each packet (0: all), of the packets that tcpdump takes so."""
    with capturing(host.tool(), "eth0", folder / f"{host.namespace}.pcap", length=length, what=what):
        yield


@contextmanager
def capturing(where: list[str], interface: str, file: Path, *, length: int = 0, what: str = "tcp") -> Iterator[None]:
    """`where`: a command that enters a namespace. `any` wants a length: its buffer holds few of the longest frames."""
    options = f"-i {interface} -s {length} -U --immediate-mode -Z root -w {file}".split()
    process = subprocess.Popen([*where, "tcpdump", *options, what], stderr=subprocess.PIPE)
    assert process.stderr is not None
    while b"listening on" not in (line := process.stderr.readline()):
        if not line:
            raise RuntimeError("tcpdump did not start")
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def send(row: Row, client: Host, folder: Path | None = None) -> str:
    """Have the mail sent, until its client knows how the attempt ended; what a typed dialogue was answered.

    The mail as it was queued goes to FOLDER/mail.eml.
    """
    if row.client == TYPED:
        return telnet.type_lines(client, SERVER, row.typed)
    if row.client == PIECES:
        command = [sys.executable, str(HERE / "pieces.py"), SERVER, str(TIMEOUTS["command"])]
        return client.run(*command, stdin=json.dumps(row.typed).encode())
    sender = SENDERS[row.client]
    if row.mixed:
        for name in row.mixed:
            for address in (SERVER, PAST):
                _forget(client)
                mail = compose(name, row.size, f"a@{client.hostname}", "u@example.net")
                sender.deliver(client, address, [mail], sender.shortened(TIMEOUTS) | dict(row.settings), user="root")
        return ""
    recipient = "u@example.net" if row.server == SCRIPTED else "bob@example.net"
    mail = compose(row.mail, row.size, row.mail_from or f"a@{client.hostname}", *(row.recipients or (recipient,)))
    if folder is not None:
        (folder / "mail.eml").write_bytes(mail.data)
    sender.deliver(client, SERVER, [mail], sender.shortened(TIMEOUTS) | dict(row.settings), user="root")
    wait_until(lambda: sender.is_over(client, row.phase), "the attempt ends", sender.patience)
    return ""


def _forget(client: Host) -> None:
    """What Exim remembers of hosts that did not answer: it would not try them again so soon."""
    assert client.root is not None
    for file in (client.root / "var/spool/exim4/db").glob("*"):
        file.unlink()


def wait_for_server(row: Row, server: Host) -> None:
    """After a silent break the server gives up by its own time-out; not every break is logged."""
    receiver = RECEIVERS.get(row.server)
    if receiver is None:
        return
    file, over = receiver.log_file(server), receiver.over
    seconds = 2 if row.kind != "drop" else 310 if row.slow else 2 + TIMEOUTS["command"]
    end = time.monotonic() + seconds
    while time.monotonic() < end and not (over and over.search(file.read_text(errors="replace"))):
        time.sleep(0.1)


def keep_logs(row: Row, client: Host, server: Host, folder: Path) -> None:
    logs = {f"{host.namespace}-output.log": host.output for host in (client, server)}
    logs["firewall.log"] = FIREWALL_LOG
    if row.client in SENDERS:
        logs["sender.log"] = SENDERS[row.client].log_file(client)
    if row.server in RECEIVERS:
        logs["receiver.log"] = RECEIVERS[row.server].log_file(server)
    for name, file in logs.items():
        (folder / name).write_bytes(file.read_bytes() if file.exists() else b"")


if __name__ == "__main__":
    main()
