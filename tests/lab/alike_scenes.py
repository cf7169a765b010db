"""The look-alikes: a scene each, with what is done to the way or to the server, and what `diagnose` should find."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from messages import Mail
from network import Host, wait_until
from rows import PIECES, Row
from texts import compose

HERE = Path(__file__).resolve().parent
BURST = "tbf rate 400kbit burst 3000 latency 400ms"  # slow enough that something can happen amid a mail


@dataclass(frozen=True)
class Lab:
    """The hosts of a scene; the calling namespace is the router between them. `over`: the client has ended."""

    client: Host
    server: Host
    over: threading.Event


Step = Callable[[Lab], None]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """`client`, `server`: names of look-alikes one of which is due near the top, in that side's capture; (): any; None:
    that capture is not judged. `here`: what the capture of all the router's interfaces shows that this one did to
    packets (kinds of differences); None: its queue is too short, and may drop any. `before`: ere the server starts;
    `prepare`: ere the client does; `meanwhile`: beside it.
    """

    name: str
    sender: str = "exim"
    receiver: str = "postfix"
    client: tuple[str, ...] | None = ()
    server: tuple[str, ...] | None = ()
    here: tuple[str, ...] | None = ()
    size: int = 2_000
    mails: int = 1
    serves: bool = True
    pieces: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    server_settings: Mapping[str, str] = field(default_factory=dict)
    before: Step | None = None
    prepare: Step | None = None
    meanwhile: Step | None = None
    linger: float = 1.0
    box: tuple[str, ...] = ()  # arguments of `smtpinspect inline`
    letters: tuple[tuple[str, str], ...] = ()  # names of mails and the server's address for each; none: plain mails

    @property
    def row(self) -> Row:
        return Row(
            name=self.name, group="alikes", judged="", client=PIECES if self.pieces else self.sender,
            server=self.receiver, size=self.size, typed=self.pieces, settings=self.settings,
            server_settings=self.server_settings, box=self.box,
        )  # fmt: skip


def mail_of(scene: Scene, client: Host, number: int) -> Mail:
    recipient = "u@example.net" if scene.receiver == "scripted" else "bob@example.net"
    name = scene.letters[number][0] if scene.letters else ""
    return compose(name, scene.size, f"a{number}@{client.hostname}", recipient)


# --- the way ---------------------------------------------------------------------------------------------------


def filters(*rules: str) -> Step:
    """Rules for iptables on the router."""

    def step(lab: Lab) -> None:
        for rule in rules:
            subprocess.run([os.environ["LAB_IPTABLES"], *rule.split()], check=True)

    return step


def narrow(lab: Lab) -> None:
    """A link of 1,280 octets behind the router, whose ICMP nobody gets."""
    subprocess.run("ip link set dev inside mtu 1280".split(), check=True)
    filters("-A OUTPUT -p icmp -j DROP")(lab)


def narrow_told(lab: Lab) -> None:
    """The same, and the ICMP reaches a client that does not heed it."""
    filters("-A OUTPUT -p icmp -j ACCEPT")(lab)
    subprocess.run("ip link set dev inside mtu 1280".split(), check=True)
    lab.client.run("sysctl", "-qw", "net.ipv4.route.min_pmtu=1500", check=False)


def second_way(lab: Lab) -> None:
    """To another address of the server the box is not asked."""
    for part in ("-n server address add 10.9.2.3/24 dev eth0", "route replace 10.9.2.3/32 dev inside",
                 "-n client route add 10.9.2.3/32 dev eth0 via 10.9.1.254 onlink"):  # fmt: skip
        subprocess.run(["ip", *part.split()], check=True)
    filters("-t mangle -I FORWARD -d 10.9.2.3 -j ACCEPT", "-t mangle -I FORWARD -s 10.9.2.3 -j ACCEPT")(lab)


def slow(lab: Lab) -> None:
    subprocess.run(f"tc qdisc add dev inside root {BURST}".split(), check=True)


def forgets(lab: Lab) -> None:
    """A router that forgets a connection behind 10 s of silence and drops what does not belong to one it knows."""
    Path("/proc/sys/net/netfilter/nf_conntrack_tcp_loose").write_text("0")
    filters(
        "-A FORWARD -p tcp -m conntrack --ctstate INVALID -j DROP",
        "-A FORWARD -p tcp ! --syn -m conntrack --ctstate NEW -j DROP",
    )(lab)
    for name in ("established", "unacknowledged", "close_wait", "fin_wait", "last_ack"):
        Path(f"/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_{name}").write_text("10")


def two_servers(lab: Lab) -> None:
    """Behind the address of the server stands another one, for every second connection: it never answers a text."""
    script = Path("/run/ill.py")
    script.write_text(ILL)
    subprocess.Popen([sys.executable, str(script)], stdin=subprocess.DEVNULL)
    second = "-m statistic --mode nth --every 2 --packet 1"
    filters(f"-t nat -A PREROUTING -p tcp --dport 25 {second} -j REDIRECT --to-ports 2525")(lab)
    time.sleep(0.5)


def loses(lab: Lab) -> None:
    """A slow line that loses every fifth packet."""
    slow(lab)
    filters("-A FORWARD -p tcp -m statistic --mode nth --every 5 --packet 4 -j DROP")(lab)


def loses_most_amid(lab: Lab) -> None:
    """It gets worse when the text is on its way: nearly nothing comes through, and the mail never ends."""
    _amid(lab, 20_000)
    seldom = "-m statistic --mode nth --every 25 --packet 0"
    filters("-I FORWARD -p tcp -j DROP", f"-I FORWARD -p tcp {seldom} -j ACCEPT")(lab)


def breaks_amid(lab: Lab) -> None:
    """The line goes down for good when the text is on its way."""
    _amid(lab, 20_000)
    subprocess.run("ip link set dev inside down".split(), check=True)


# --- the server ------------------------------------------------------------------------------------------------


def stopped_amid(lab: Lab) -> None:
    """What reads the text is stopped; the kernel goes on taking it until its room is filled."""
    _amid(lab, 20_000)
    for pid in _serving(lab):
        os.kill(pid, signal.SIGSTOP)


def killed_amid(lab: Lab) -> None:
    """The server is killed, all of it, and is not there for the next mail."""
    _amid(lab, 20_000)
    mine = {pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _root_of(pid) == str(lab.server.root)}
    for pid in mine:
        os.kill(pid, signal.SIGKILL)
    time.sleep(1)
    again = "import socket; socket.create_connection(('10.9.2.2', 25), 2)"
    lab.client.run(sys.executable, "-c", again, check=False)


def full(lab: Lab) -> None:
    """The spool is a file system without room."""
    spool = f"{lab.server.root}/var/spool/exim4"
    owner = os.stat(spool)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", spool], check=True)
    os.chown(spool, owner.st_uid, owner.st_gid)
    (Path(spool) / "filler").write_bytes(bytes(200_000))


def hangs(how: str) -> Step:
    """A server by script, that has an illness."""

    def step(lab: Lab) -> None:
        script = Path(f"/run/{how}.py")
        script.write_text(ILL.replace("2525", "25").replace("HOW = 'silent'", f"HOW = {how!r}"))
        lab.server.start(sys.executable, str(script))
        lab.server.wait_for_listener()

    return step


ILL = """
import socket, time
HOW = 'silent'
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if HOW == 'narrow':
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2304)
listener.bind(('', 2525))
listener.listen(8)
while True:
    peer, _ = listener.accept()
    lines = peer.makefile('rb')
    peer.sendall(b'220 ill.example.net ESMTP\\r\\n')
    while line := lines.readline():
        verb = line[:4].upper()
        peer.sendall(b'354 go on\\r\\n' if verb == b'DATA' else b'250 Ok\\r\\n')
        if verb == b'DATA':
            if HOW == 'narrow':
                time.sleep(60)
            while (line := lines.readline()) not in (b'.\\r\\n', b''):
                pass
            time.sleep(60)
"""


def _amid(lab: Lab, octets: int) -> None:
    """Wait until so much of the mail has come."""
    wait_until(lambda: lab.over.is_set() or _received(lab) > octets, "the text is on its way", 20)


def _received(lab: Lab) -> int:
    told = lab.server.tool("ss", "-Htni", "state", "established", "( sport = :25 )")
    text = subprocess.run(told, capture_output=True, text=True, check=False).stdout
    return max((int(word.partition(":")[2]) for word in text.split() if word.startswith("bytes_received:")), default=0)


def _serving(lab: Lab) -> list[int]:
    """The processes of the server that hold a connection to its port."""
    told = lab.server.tool("ss", "-Htnp", "state", "established", "( sport = :25 )")
    text = subprocess.run(told, capture_output=True, text=True, check=True).stdout
    return [int(part.split(",")[0].split(")")[0]) for part in text.split("pid=")[1:]]


def _root_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/root")
    except OSError:
        return ""


# --- the scenes ------------------------------------------------------------------------------------------------

MAIL_FROM, RCPT = "MAIL FROM:<a@out.example.com>\r\n", "RCPT TO:<bob@example.net>\r\n"
ENVELOPE = ("EHLO out.example.com\r\n", MAIL_FROM, RCPT, "DATA\r\n")
TEXT = "Subject: test\r\n\r\nhello\r\nbye"
# Exim closes behind a QUIT that it sends with the text, and an Exim that sees that waits no longer.
STEPS = {"hosts_avoid_pipelining": "*"}
UNKNOWN = "unknown-filter"
TEXTS = "-m string --algo bm --string Subject:"  # packets with the header of a mail
PATIENT = {"command_timeout": "20s", "data_timeout": "20s", "final_timeout": "20s"}

SCENES = (
    Scene(name="mtu-1280", here=("dropped",), prepare=narrow, size=6_000, client=("path-mtu",), server=("path-mtu",),
          settings=PATIENT),
    Scene(name="mtu-1280-postfix", here=("dropped",), sender="postfix", receiver="exim", prepare=narrow, size=6_000,
          client=("path-mtu",), server=("path-mtu",)),
    Scene(name="mtu-1280-large", here=("dropped",), prepare=narrow, size=60_000, client=("path-mtu",), server=(),
          settings=PATIENT),
    Scene(name="server-stopped", here=None, prepare=slow, meanwhile=stopped_amid, size=900_000, client=("zero-window",),
          server=("zero-window",), settings=PATIENT),
    Scene(name="narrow-window", receiver="scripted", serves=False, before=hangs("narrow"), size=60_000,
          client=("zero-window",), server=("zero-window",)),
    Scene(name="slow-scanner", receiver="exim", server_settings={"acl_smtp_data": "accept delay = 15s"}, settings=STEPS,
          client=("slow-scanner", "sender-timeout"), server=("slow-scanner", "sender-timeout"), linger=12),
    Scene(name="slow-scanner-postfix", sender="postfix", receiver="exim", linger=12,
          server_settings={"acl_smtp_data": "accept delay = 15s"},
          client=("slow-scanner", "sender-timeout"), server=("slow-scanner", "sender-timeout")),
    Scene(name="never-answers", receiver="scripted", serves=False, before=hangs("silent"),
          client=("slow-scanner", "sender-timeout"), server=("slow-scanner", "sender-timeout")),
    Scene(name="server-killed", here=None, receiver="exim", prepare=slow, meanwhile=killed_amid, size=300_000,
          client=("server-gone",), server=("server-gone",), settings=PATIENT),
    Scene(name="disk-full", receiver="exim", before=full, client=("full-disk",), server=("full-disk",)),
    Scene(name="milter-gone", server_settings={"smtpd_milters": "inet:127.0.0.1:9"}, client=("milter",),
          server=("milter",)),
    Scene(name="greylisting", sender="postfix", receiver="exim", client=("greylisting",), server=("greylisting",),
          server_settings={"acl_smtp_mail": "defer message = Greylisted, come back in 5 minutes"}),
    Scene(name="slow-greeting", receiver="exim", server_settings={"acl_smtp_connect": "accept delay = 15s"},
          client=("tarpit", "sender-timeout"), server=("tarpit", "sender-timeout"), linger=12),
    Scene(name="idle-forgotten", here=("dropped",), receiver="exim", prepare=forgets,
          server_settings={"acl_smtp_data": "accept delay = 25s"}, settings={"final_timeout": "45s"} | STEPS,
          client=("idle-timeout", "slow-scanner"), server=None),
    Scene(name="loss", here=None, prepare=loses, meanwhile=loses_most_amid, size=300_000, client=("loss",),
          server=("loss",),
          settings=PATIENT),
    Scene(name="line-down", here=None, prepare=slow, meanwhile=breaks_amid, size=300_000, client=("outage",), server=(),
          settings=PATIENT),
    Scene(name="bare-lf-end", receiver="exim", pieces=(*ENVELOPE, f"{TEXT}\n.\n"), client=("strict-end",),
          server=("strict-end",)),
    Scene(name="no-crlf-before-dot", pieces=(*ENVELOPE, TEXT, ".\r\n"), client=("missing-crlf",),
          server=("missing-crlf",)),
    Scene(name="one-bad-mx", prepare=two_servers, mails=6, client=("one-bad-mx",), server=None),
    Scene(name="port-dropped", prepare=filters("-A FORWARD -p tcp --dport 25 -j DROP"), client=("port-filter",),
          server=None),
    Scene(name="port-prohibited", client=("port-filter",), server=None, prepare=filters(
          "-A FORWARD -p tcp --dport 25 -j REJECT --reject-with icmp-admin-prohibited")),
    Scene(name="router-drops", prepare=filters(f"-A FORWARD {TEXTS} -j DROP"), client=(UNKNOWN,), server=(UNKNOWN,),
          here=("dropped",), settings=PATIENT),
    Scene(name="router-resets", prepare=filters(f"-A FORWARD -p tcp {TEXTS} -j REJECT --reject-with tcp-reset"),
          client=(UNKNOWN,), server=None, here=("dropped", "injected"), settings=PATIENT),
    Scene(name="router-translates", client=(UNKNOWN,), server=(UNKNOWN,), here=("dropped",), settings=PATIENT,
          prepare=filters(f"-A FORWARD {TEXTS} -j DROP",
                          "-t nat -A PREROUTING -p tcp -d 10.9.1.254 --dport 25 -j DNAT --to-destination 10.9.2.2"),
          letters=(("minutes", "10.9.1.254"),)),
    Scene(name="router-box", box=("-i", "stormshield"), client=("stormshield.smtp-231",), server=None,
          here=("dropped",), settings=PATIENT, letters=(("raw-subject", "10.9.2.2"),)),
    Scene(name="port-closed", serves=False, client=("port-filter",), server=("port-filter",)),
)  # fmt: skip

# One way cuts raw 8-bit Subjects and lets long lines pass, the other is healthy.
CUT, HEALTHY = "10.9.2.2", "10.9.2.3"
CONTRAST = Scene(
    name="contrast", box=("-i", "stormshield,217.action=pass"), prepare=second_way,
    settings={"message_linelength_limit": "10000"},
    letters=(("minutes", CUT), ("long-line", CUT), ("raw-subject", HEALTHY), ("raw-subject-long", CUT),
             ("long-line", CUT), ("minutes", HEALTHY), ("raw-subject-long", HEALTHY)),
)  # fmt: skip
