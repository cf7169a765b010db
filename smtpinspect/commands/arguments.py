"""What the arguments of several commands share."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NoReturn

from smtpinspect.commands.console import PROG, USAGE, columns, complain

COMMANDS: Final = (
    "replay", "live", "transcript", "diagnose", "check", "compare", "anonymise", "simulate",
    "inline", "rules", "config", "probe", "bench",
)  # fmt: skip
PORTS: Final = (25, 587, 465, 2525)


MEANT: Final[Mapping[str, tuple[str, ...]]] = {  # words of the pages to those of the options
    "cut": ("break",),
    "rule": ("alert",),
    "client": ("sender",),
    "server": ("receiver",),
}
_CHOICE: Final = re.compile(r"invalid choice: '([^']*)' \(choose from (.*)\)")  # argparse's words


class Parser(argparse.ArgumentParser):
    """Tells errors as the rest of the program does."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2]
        for word in unknown.split():
            if word.startswith("-") and (near := nearest(word, self._option_string_actions)):
                message += f". Did you mean {near}?"
                break
        chosen = _CHOICE.search(message)
        if chosen is not None:
            known = [each.strip(" '") for each in chosen[2].split(",")]
            near = next((each for each in known if each in MEANT.get(chosen[1], ())), "") or nearest(chosen[1], known)
            message += f". Did you mean {near}?" if near else ""
        raise SystemExit(complain(message, USAGE, f"Help: {self.prog} --help"))


def nearest(word: str, known: Iterable[str]) -> str:
    """The option that this may stand for, without its value; "" for none that is near."""
    from smtpinspect.inspectors.settings import nearest

    return nearest(word.partition("=")[0], known)


class Help(argparse.RawDescriptionHelpFormatter):
    """argparse's own way to ask for the width imports shutil at every start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=columns() - 2)


def parser_of(command: str, description: str, epilog: str, prog: str = "") -> Parser:
    """A parser that tells its errors as the rest of the program does; `prog` where it is not that of a command."""
    return Parser(
        prog=prog or f"{PROG} {command}",
        description=description,
        epilog=epilog,
        formatter_class=Help,
        allow_abbrev=False,
    )


def sources(parser: Parser, *, secrets: bool = True) -> None:
    """Captures, and what `outputs` adds."""
    parser.add_argument(
        "captures",
        nargs="+",
        metavar="CAPTURE",
        help="pcap or pcapng, plain or packed; - reads standard input",
    )
    outputs(parser, secrets=secrets)


def outputs(parser: Parser, *, secrets: bool = True) -> None:
    """Where the report goes, the server ports; `secrets`: whether what AUTH carries is masked."""
    output(parser)
    ports(parser)
    if secrets:
        parser.add_argument("--show-secrets", action="store_true", help="do not mask what AUTH carries")


def output(parser: Parser) -> None:
    """-o: where the report goes."""
    parser.add_argument("-o", dest="out", metavar="FILE", help="write the report there, not to standard output")


def ports(parser: Parser) -> None:
    """--port: server ports, beside those that are found by their greeting."""
    parser.add_argument(
        "--port",
        type=number(1, 65_535),
        action="append",
        metavar="N",
        help="server port, may be repeated (default: 25 587 465 2525; a 220 greeting is found on any port)",
    )


def text_or_json(parser: Parser, told: str = "") -> None:
    """`told`: what the JSON is."""
    more = f"; json: {told}" if told else ""
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help=f"text for people (default){more}"
    )


def inspectors_of(parser: Parser) -> None:
    """-i: which firewalls are emulated."""
    parser.add_argument(
        "-i",
        dest="inspectors",
        action="append",
        metavar="INSPECTOR",
        help="a firewall to emulate, may be repeated (default: all built in, as if you had not said which)",
    )


def number(low: int, high: int) -> Callable[[str], int]:
    """A type of argument: a whole number in these bounds."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {low:,} to {high:,}")
        return int(text)

    return number


def openable(path: str) -> None:
    """Wrong usage is told before anything is read."""
    from smtpinspect.source import open_source

    if path != "-":
        open_source(path).close()


def source_of(captures: Sequence[str]) -> str | list[str]:
    """One capture, or several that are read as one."""
    return captures[0] if len(captures) == 1 else list(captures)
