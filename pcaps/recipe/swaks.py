"""swaks as client: sends addresses and text as they stand, where an MTA would mend or refuse them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from messages import Mail
from network import Host

PACKAGE = "swaks"


def deliver(host: Host, relay: str, mails: Sequence[Mail], settings: Mapping[str, str]) -> None:
    data = Path("/run/swaks-data")
    for mail in mails:
        data.write_bytes(mail.data.removesuffix(b"\n"))  # swaks adds the line end before the dot
        options = [word for pair in settings.items() for word in pair]
        host.run(
            "swaks",
            "--server",
            relay,
            "--helo",
            host.hostname,
            "--from",
            mail.sender,
            "--to",
            ",".join(mail.recipients),
            "--data",
            f"@{data}",
            *options,
        )
