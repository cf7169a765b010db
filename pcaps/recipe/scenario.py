"""What a row of `scenarios.py` says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import postfix
from mailguard import Edit
from messages import Mail, Text
from network import Host


class Server(Protocol):
    """A module that starts an MTA."""

    PACKAGE: str

    def serve(self, host: Host, settings: Mapping[str, str]) -> None: ...


class Client(Protocol):
    """A module that has a program deliver mails."""

    PACKAGE: str

    def deliver(self, host: Host, relay: str, mails: Sequence[Mail], settings: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One capture: a client sends `mails`, or without a client a person types the lines `typed`."""

    name: str
    shows: str
    made: str
    server: Server = postfix
    client: Client | None = postfix
    mails: tuple[Text, ...] = (Text(),)
    typed: tuple[str, ...] = ()
    server_settings: Mapping[str, str] = field(default_factory=dict)
    client_settings: Mapping[str, str] = field(default_factory=dict)
    edit: Edit | None = None
    certificate: bool = False
    ipv6: bool = False
    nanoseconds: bool = False
