"""A capture anonymised, and its verdicts compared with those of the original."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Sequence
from ipaddress import ip_address
from typing import NamedTuple

from smtpinspect.diagnose.anonymise.packets import write
from smtpinspect.diagnose.anonymise.streams import lay
from smtpinspect.diagnose.anonymise.texts import Texts
from smtpinspect.diagnose.anonymise.verdicts import Compared, compare
from smtpinspect.engine import PORTS
from smtpinspect.errors import CaptureError, UsageError


class Anonymised(NamedTuple):
    """What was written: nothing where there was no SMTP connection. `left_out`: frames of no such connection; `fault`:
    why IN could not be read to its end."""

    packets: int
    left_out: int
    encrypted: int  # connections with TLS: what it carries is zeros
    compared: Compared
    fault: CaptureError | None


def key_of(word: str | None) -> bytes:
    """A key from what the user says, a random one without."""
    return secrets.token_bytes(32) if word is None else hashlib.blake2b(word.encode(), digest_size=32).digest()


def anonymise(
    path: str,
    out: str,
    *,
    key: bytes,
    inspectors: Sequence[str] | None = None,
    ports: Sequence[int] = PORTS,
) -> Anonymised:
    """Write `out` anew from the capture `path`, which is read several times; memory is that of a replay.

    Octets wait in temporary files, twice what the SMTP streams hold. Raises UsageError for what cannot be opened.
    """
    texts = Texts(key)
    laid = lay(path, texts, ports)
    try:
        if not laid.flows:
            return Anonymised(0, 0, 0, Compared(0, 0, 0, ()), laid.fault)
        try:
            with open(out, "wb") as file:
                written = write(path, file, laid, texts)
        except OSError as error:
            raise UsageError(f"{out}: cannot be written: {error.strerror}") from None
    finally:
        laid.spool.close()

    def name(end: str) -> str:
        address, _, port = end.rpartition(":")
        made = ip_address(texts.addresses.binary(ip_address(address.strip("[]")).packed))
        return f"[{made}]:{port}" if made.version == 6 else f"{made}:{port}"

    compared = compare(path, os.fspath(out), inspectors, ports, name)
    return Anonymised(written.packets, written.left_out, len(laid.encrypted), compared, laid.fault)
