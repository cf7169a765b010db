"""Postfix as server and as client."""

from collections.abc import Mapping, Sequence

from messages import Mail
from network import Host

PACKAGE = "postfix"

_COMMON = {
    "compatibility_level": "3.6",
    "mail_name": "Postfix",
    "inet_protocols": "all",
    "maillog_file": "/var/log/postfix.log",
    "alias_maps": "",
    "alias_database": "",
    "local_transport": "discard:",  # what happens behind the SMTP dialogue is in no capture
    "smtp_dns_support_level": "disabled",
    "smtp_host_lookup": "native",
    "smtp_tls_security_level": "none",
    "smtpd_tls_security_level": "none",
}

_SERVER = {
    "inet_interfaces": "all",
    "local_recipient_maps": "regexp:{{/^(bob|user[0-9]+|lists.archive)@/ OK}}",
    "smtpd_recipient_limit": "1000",
}

_CLIENT = {
    "inet_interfaces": "loopback-only",
    "smtp_skip_quit_response": "no",  # else the client may reset the connection while the 221 is on its way
}


def serve(host: Host, settings: Mapping[str, str]) -> None:
    _configure(host, _SERVER | dict(settings))
    host.start("postfix", "start-fg")
    host.wait_for_listener()


def deliver(
    host: Host, relay: str, mails: Sequence[Mail], settings: Mapping[str, str], *, user: str = "alice"
) -> None:
    """Queue the mails first, so that one run of the queue manager finds them all."""
    _configure(host, _CLIENT | {"relayhost": f"[{relay}]"} | dict(settings))
    host.run("postconf", "-M#", "smtp/inet")
    for mail in mails:
        host.run("sendmail", "-i", "-f", mail.sender, *mail.recipients, user=user, stdin=mail.data)
    host.start("postfix", "start-fg")


def _configure(host: Host, settings: Mapping[str, str]) -> None:
    own = {"myhostname": host.hostname, "mydestination": host.domain, "myorigin": host.domain}
    text = "".join(f"{name} = {value}\n" for name, value in (_COMMON | own | dict(settings)).items())
    host.write("/etc/postfix/main.cf", text)
    host.run("postconf", "-F", "*/*/chroot=n")
