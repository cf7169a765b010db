"""Exim as server and as client."""

from collections.abc import Mapping, Sequence

from messages import Mail
from network import Host

PACKAGE = "exim4-daemon-light"

_CONFIGURATION = """\
primary_hostname = {host.hostname}
domainlist own = {host.domain}
keep_environment =
log_file_path = /var/log/exim4/%slog
rfc1413_query_timeout = 0s
host_lookup =
never_users =
untrusted_set_sender = *
local_from_check = false
acl_smtp_rcpt = recipient
{main}
begin acl
recipient:
  accept domains = +own
         local_parts = bob
  deny message = Unrouteable address
begin retry
* * F,2h,15m; G,16h,1h,1.5; F,4d,6h
begin routers
own:
  driver = redirect
  domains = +own
  data = :blackhole:
r1:
  driver = manualroute
  route_list = * "{relay}" byname
  self = send
  transport = remote_smtp
begin transports
remote_smtp:
  driver = smtp
  hosts_try_dane =
  {transport}
"""


def serve(host: Host, settings: Mapping[str, str]) -> None:
    _configure(host, relay="", main={"tls_advertise_hosts": ""} | dict(settings), transport={})
    host.start("exim4", "-bdf", "-q1h")
    host.wait_for_listener()


def deliver(
    host: Host,
    relay: str,
    mails: Sequence[Mail],
    settings: Mapping[str, str],
    *,
    user: str = "alice",
    main: Mapping[str, str] = {},
) -> None:
    """`settings` are the transport's, `main` those of the main section."""
    _configure(host, relay, main=dict(main), transport={"hosts_avoid_tls": "*"} | dict(settings))
    for mail in mails:
        host.run("exim4", "-odf", "-i", "-f", mail.sender, *mail.recipients, user=user, stdin=mail.data)


def _configure(host: Host, relay: str, main: dict[str, str], transport: dict[str, str]) -> None:
    def lines(settings: Mapping[str, str]) -> str:
        return "\n  ".join(f"{name} = {value}" for name, value in settings.items())

    text = _CONFIGURATION.format(host=host, relay=relay, main=lines(main), transport=lines(transport))
    host.write("/etc/exim4/exim4.conf", text)
