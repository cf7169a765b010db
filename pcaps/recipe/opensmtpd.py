"""OpenSMTPD as server and as client."""

from collections.abc import Mapping, Sequence

from messages import Mail
from network import Host, wait_until

PACKAGE = "opensmtpd"

_SERVER = """\
listen on {host.address} hostname {host.hostname}
action "own" mbox
match from any for domain "{host.domain}" action "own"
"""

_CLIENT = """\
listen on lo
action "own" mbox
action "others" relay {how}
match from local for domain "{host.domain}" action "own"
match from local for any action "others"
"""


def serve(host: Host, settings: Mapping[str, str]) -> None:
    _start(host, _SERVER, settings)
    host.wait_for_listener()


def deliver(
    host: Host,
    relay: str,
    mails: Sequence[Mail],
    settings: Mapping[str, str],
    *,
    user: str = "alice",
    tls: bool = False,
) -> None:
    """Without `tls` the relay is never asked for it, and the name in EHLO is the host's."""
    how = f'host "smtp://{relay}"' if tls else f'host "smtp+notls://{relay}" helo {host.hostname}'
    _start(host, _CLIENT, settings, how=how)
    wait_until(
        lambda: "MTA running" in host.run("smtpctl", "show", "status", check=False), "OpenSMTPD takes mail"
    )
    for mail in mails:
        host.run("sendmail", "-f", mail.sender, *mail.recipients, user=user, stdin=mail.data)


def _start(host: Host, configuration: str, settings: Mapping[str, str], **words: str) -> None:
    own = "".join(f"{name} {value}\n" for name, value in settings.items())
    host.write("/etc/smtpd.conf", own + configuration.format(host=host, **words))
    host.write("/etc/mailname", host.hostname + "\n")
    host.start("smtpd", "-d")
