"""Sendmail as server and as client."""

import socket
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from messages import Mail
from network import Host

PACKAGE = "sendmail-bin"
LOG = "/var/log/mail.log"
QUEUE = "/var/spool/lab"

_MACROS = Path("/usr/share/sendmail/cf")
_COMMON = """\
OSTYPE(`debian')dnl
define(`confDOMAIN_NAME', `{host.hostname}')dnl
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
"""

# In /etc/mail and in the usual queue the files are smmta's: not even root may write to them, says Sendmail.
_OWN = {
    "QueueDirectory": QUEUE,
    "HostStatusDirectory": f"{QUEUE}/.hoststat",
    "AliasFile": f"{QUEUE}/aliases",
    "PidFile": f"{QUEUE}/sendmail.pid",
    # However busy the machine is, mail is sent and taken.
    "QueueLA": "1000",
    "RefuseLA": "1000",
}

_SERVER = """\
DAEMON_OPTIONS(`Addr={host.address}, Name=MTA')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
LOCAL_CONFIG
Cw{host.domain}
"""

_CLIENT = """\
define(`SMART_HOST', `smtp:[{relay}]')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
"""


def serve(host: Host, settings: Mapping[str, str]) -> None:
    _configure(host, _SERVER, settings, relay="")
    host.write(f"{QUEUE}/aliases", "bob: /dev/null\n")
    host.run("sendmail", "-bi", check=False)  # it complains that there was no database, and makes one
    host.start("/usr/sbin/sendmail", "-bD", "-q1h")
    host.wait_for_listener()


def deliver(
    host: Host, relay: str, mails: Sequence[Mail], settings: Mapping[str, str], *, user: str = "root"
) -> None:
    """As root, since the queue of the server program (-Am) is root's. A failed attempt may be its exit status."""
    _configure(host, _CLIENT, settings, relay=relay)
    for mail in mails:
        command = ["sendmail", "-Am", "-odi", "-i", "-f", mail.sender, *mail.recipients]
        host.run(*command, user=user, stdin=mail.data, check=False)


def _configure(host: Host, own: str, settings: Mapping[str, str], relay: str) -> None:
    _listen(host)
    host.run("mkdir", "-p", "-m", "700", QUEUE, f"{QUEUE}/.hoststat")
    host.write("/etc/mail/service.switch", "hosts files\naliases files\n")
    host.write("/etc/mail/lab.mc", (_COMMON + own).format(host=host, relay=relay))
    text = host.run("m4", f"-D_CF_DIR_={_MACROS}/", str(_MACROS / "m4/cf.m4"), "/etc/mail/lab.mc")
    text += "".join(f"O {name}={value}\n" for name, value in (_OWN | dict(settings)).items())  # the last one counts
    host.write("/etc/mail/sendmail.cf", text)


def _listen(host: Host) -> None:
    """Sendmail logs to syslog only: take what it says in its own /dev, and write it to a file."""
    assert host.root is not None
    ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    place = host.root / "dev/log"
    ear.bind(str(place))
    place.chmod(0o666)
    file = host.root / LOG.lstrip("/")

    def note() -> None:
        while said := ear.recv(65536):
            with file.open("ab") as log:
                log.write(said.rstrip(b"\0\n") + b"\n")

    threading.Thread(target=note, daemon=True).start()
