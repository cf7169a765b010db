"""Folders: what is in them, by what each file is. Nothing is read as what it is not."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from smtpinspect.commands.kinds import is_mail, is_maildir, kind_of
from smtpinspect.errors import UsageError
from smtpinspect.report.terminal import count, safe

SORTS: Final = (
    ("capture", "captures"),
    ("message", "messages"),
    ("mail server's log", "mail servers' logs"),
    ("firewall's log", "firewalls' logs"),
    ("other", "others"),
)
NAMED: Final = 4  # of a sort
PASTED: Final = 300  # characters of names in a command


class Folder(NamedTuple):
    """Names of a folder's files and folders, sorted by what they are; what begins with a dot is left out."""

    captures: tuple[str, ...]
    messages: tuple[str, ...]
    logs: tuple[str, ...]
    firewalls: tuple[str, ...]
    others: tuple[str, ...]

    def told(self, but: str = "") -> str:
        """How many there are of each, and their names; without those of one sort."""
        parts = []
        for field, (one, many), names in zip(self._fields, SORTS, self, strict=True):
            if names and field != but:
                more = ", ..." if len(names) > NAMED else ""
                parts.append(f"{count(len(names), one, many)} ({safe(', '.join(names[:NAMED]))}{more})")
        return ", ".join(parts)


def folder(path: str) -> Folder:
    """Raises UsageError for what cannot be listed."""
    found: dict[str, list[str]] = {field: [] for field in Folder._fields}
    for name in _listed(path):
        whole = os.path.join(path, name)
        kind = kind_of(whole) if os.path.isfile(whole) else "other"
        if os.path.isdir(whole):
            found["others"].append(f"{name}/")
        elif kind == "capture":
            found["captures"].append(name)
        elif is_mail(whole):
            found["messages"].append(name)
        elif kind == "firewall-log":
            found["firewalls"].append(name)
        else:
            found["logs" if kind == "log" else "others"].append(name)
    return Folder(*map(tuple, found.values()))


def _listed(path: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(path) if not name.startswith("."))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def refuse(paths: Sequence[str], prog: str = "smtpinspect") -> None:
    """Raises UsageError for a folder among captures: what is in it, and which commands are for that."""
    for path in paths:
        if not os.path.isdir(path):
            continue
        if is_maildir(path):
            raise UsageError(f"{path} holds messages, no capture: {prog} check {shlex.quote(path)}")
        found = folder(path)
        ways = [
            *_way(f"{prog} diagnose", path, found.captures, "*.pcap"),
            *(f"{prog} diagnose --log {shlex.quote(os.path.join(path, name))}" for name in found.logs[:1]),
            *([f"{prog} check {shlex.quote(path)}"] if found.messages else []),
        ]
        told = found.told() or "nothing in it"
        then = f". Name what is meant: {'; or: '.join(ways)}" if ways else ""
        raise UsageError(f"{path}: is a directory: {told}{then}")


def _way(command: str, path: str, names: Sequence[str], pattern: str) -> Iterator[str]:
    files = " ".join(shlex.quote(os.path.join(path, name)) for name in names)
    if files:
        yield f"{command} {files if len(files) <= PASTED else os.path.join(shlex.quote(path), pattern)}"


def mails(paths: Sequence[str]) -> tuple[list[str], list[str]]:
    """The files and Maildirs among these, of other folders their messages; and what is left out of each, in words.
    Raises UsageError for a folder without a message."""
    files: list[str] = []
    left: list[str] = []
    for path in paths:
        if path == "-" or not os.path.isdir(path) or is_maildir(path):
            files.append(path)
            continue
        found = folder(path)
        if not found.messages:
            told = found.told() or "nothing in it"
            raise UsageError(f"{path}: a directory without a message, and no Maildir: {told}")
        files += [os.path.join(path, name) for name in found.messages]
        if others := found.told("messages"):
            left.append(f"not looked at in {path}: {others}")
    return files, left
