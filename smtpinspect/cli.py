"""Arguments → one call → a report. Modules that a command does not need are not imported by it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, TextIO, cast

import smtpinspect
from smtpinspect.errors import CaptureError, UsageError

if TYPE_CHECKING:
    from smtpinspect.engine import Engine, Stats
    from smtpinspect.report.summary import Summary
    from smtpinspect.report.terminal import Style

DONE: Final = 0
MATCHED: Final = 1  # --fail-on
USAGE: Final = 2
UNREADABLE: Final = 3
STOPPED: Final = 130  # 128 + SIGINT, as a shell tells it
BROKEN_PIPE: Final = 141  # 128 + SIGPIPE
RECORDS: Final = ("mail", "alert", "flow")
PORTS: Final = (25, 587, 465, 2525)
BIG: Final = 4_000_000  # octets from which a progress line is worth its import
PIECE: Final = 512  # octets of a file that tell what it is
MAGICS: Final = tuple(
    bytes.fromhex(magic) for magic in ("a1b2c3d4", "d4c3b2a1", "a1b23c4d", "4d3cb2a1", "0a0d0d0a")
)
PROG: Final = "smtpinspect"

MAIN_HELP: Final = """\
usage: smtpinspect COMMAND ...
       smtpinspect CAPTURE...       the same as replay

Reads SMTP out of captures and tells which rule of which mail firewall would
alter or break which mail, with the evidence. It sends nothing.

commands:
  replay       what happened to each mail, and what would behind each firewall
  transcript   the dialogues: commands with their replies, messages, their parts
  rules        the rules of the emulated firewalls; one of them on a screen

  -h, --help   this text; smtpinspect COMMAND --help for a command
  --version    the version

examples:
  smtpinspect mail.pcap
  smtpinspect replay mail.pcap -i mailguard:asa-8 -i stormshield:high
  smtpinspect replay --format eve mail.pcap | jq 'select(.event_type=="alert")'
  tcpdump -i eth0 -s 0 -w - port 25 | smtpinspect replay -
  smtpinspect rules stormshield.smtp-231

exit status: 0 done; 1 --fail-on matched; 2 wrong usage or configuration;
3 a capture could not be read to its end, or is none
"""

REPLAY_HELP: Final = """\
INSPECTOR is NAME[:PROFILE][,key=value]...
  mailguard    pix-4.0 pix-4.4 pix-5 pix-6 fwsm-3 asa-7.0 asa-8 asa-9-tls
               (pix-6); RULE.action=pass|alarm|drop-flow...
  stormshield  low medium high internet (high); level=firewall|ids|ips;
               RULE.action=pass|block
  off=RULE+RULE switches rules off
  Others come with packages that you install. Without -i: all built in.

observed, in the capture:
  accepted   the server took the mail (2xx to the end of data)
  refused    the reply tells: 4xx, 5xx
  aborted    RSET, EHLO or QUIT before the text
  stalled    silence until the client gave up or the capture ends
  reset      an RST ended it       closed  a FIN ended it, without a reply
  encrypted  TLS                   unknown the capture does not show it

verdict, what the emulated firewall would do, weakest first:
  pass, alarm, detach (looks no further), rewrite (octets overwritten),
  answer (replies in the server's place), drop (this packet), drop-flow
  (nothing passes any more), reset. From drop on the flow breaks without an
  SMTP code.

confidence, what the capture cannot show:
  one-direction gap snaplen super-segments mid-stream cut-off encrypted
  overlap cap end-mark-disputed     (the report explains those that it uses)

examples:
  smtpinspect replay mail.pcap
  smtpinspect replay --each *.pcap
  smtpinspect replay mail.pcap -i mailguard:pix-6,deny_style=noop
  smtpinspect replay mail.pcap -i stormshield,off=smtp-231
  smtpinspect replay --format eve --records mail -o mails.json big.pcap.gz
  smtpinspect replay mail.pcap -i stormshield --fail-on break

exit status: 0 done; 1 --fail-on matched; 2 wrong usage or configuration;
3 a capture could not be read to its end, or is none (what was read has been
reported); 130 stopped by Ctrl-C (likewise)
"""

TRANSCRIPT_HELP: Final = """\
examples:
  smtpinspect transcript mail.pcap
  smtpinspect transcript --format json mail.pcap | jq '.[].commands'

exit status: 0 done; 2 wrong usage; 3 a capture could not be read to its end,
or is none (what was read has been reported)
"""

RULES_HELP: Final = """\
RULE is a full id (stormshield.smtp-217.header), a family (stormshield.smtp-217)
or a short form (smtp-217, smtp:217, 217).

examples:
  smtpinspect rules
  smtpinspect rules -i mailguard:asa-8
  smtpinspect rules stormshield.smtp-231
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; its exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        # Text of strangers goes out whatever the terminal can show.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = _dispatch(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except UsageError as error:
        return complain(str(error), USAGE)
    except KeyboardInterrupt:
        return complain("stopped", STOPPED)
    except BrokenPipeError:
        # Who reads has seen enough.
        _give_up_output()
        return BROKEN_PIPE
    except OSError as error:
        # Of what is read, only a CaptureError tells: this is the disk, or whatever else is written to.
        _give_up_output()
        return complain(f"cannot write: {error.strerror or error}", USAGE)


def _give_up_output() -> None:
    """The interpreter's own flush at exit must not complain."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def complain(text: str, status: int, *more: str) -> int:
    """Say on standard error what is wrong; the status."""
    lead = f"{PROG}: "
    lines = [lead + text, *(" " * len(lead) + line for line in more)]
    print("\n".join(lines) + f"   (exit status {status})", file=sys.stderr)
    return status


def _dispatch(words: list[str]) -> int:
    commands: dict[str, Callable[[list[str]], int]] = {
        "replay": _replay,
        "transcript": _transcript,
        "rules": _rules,
    }
    first = words[0] if words else ""
    if first in ("-h", "--help", "help"):
        if first == "help" and len(words) > 1 and words[1] in commands:
            return commands[words[1]](["--help"])
        print(MAIN_HELP, end="")
        return DONE
    if first == "--version":
        print(f"{PROG} {smtpinspect.__version__}")
        return DONE
    if not words:
        print(MAIN_HELP, end="", file=sys.stderr)
        return USAGE
    if first in commands:
        return commands[first](words[1:])
    return _replay(words, PROG)


class _Parser(argparse.ArgumentParser):
    """Tells errors as the rest of the program does."""

    def error(self, message: str) -> NoReturn:
        unknown = message.partition("unrecognized arguments: ")[2]
        for word in unknown.split():
            if word.startswith("-") and (near := _nearest(word, self._option_string_actions)):
                message += f". Did you mean {near}?"
                break
        raise SystemExit(complain(message, USAGE, f"Help: {self.prog} --help"))


def _nearest(word: str, known: Iterable[str]) -> str:
    from smtpinspect.inspectors.settings import nearest

    return nearest(word.partition("=")[0], known)


class _Help(argparse.RawDescriptionHelpFormatter):
    """argparse's own way to ask for the width imports shutil at every start."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """Of the terminal; COLUMNS goes before, 80 where there is none."""
    told = os.environ.get("COLUMNS", "")
    if told.isascii() and told.isdigit() and int(told):
        return max(int(told), 40)
    try:
        return max(os.get_terminal_size(sys.__stdout__.fileno() if sys.__stdout__ else 1).columns, 40)
    except (OSError, ValueError):
        return 80


def _parser(command: str, description: str, epilog: str, prog: str = "") -> _Parser:
    return _Parser(
        prog=prog or f"{PROG} {command}",
        description=description,
        epilog=epilog,
        formatter_class=_Help,
        allow_abbrev=False,
    )


def _sources(parser: _Parser) -> None:
    parser.add_argument(
        "captures",
        nargs="+",
        metavar="CAPTURE",
        help="pcap or pcapng, plain or packed; - reads standard input",
    )
    parser.add_argument(
        "-o", dest="out", metavar="FILE", help="write the report there, not to standard output"
    )
    parser.add_argument(
        "--port",
        type=_number(1, 65_535),
        action="append",
        metavar="N",
        help="server port, may be repeated (default: 25 587 465 2525; a 220 greeting is found on any port)",
    )
    parser.add_argument("--show-secrets", action="store_true", help="do not mask what AUTH carries")


def _number(low: int, high: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and low <= int(text) <= high):
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {low:,} to {high:,}")
        return int(text)

    return number


def _records(text: str) -> frozenset[str]:
    words = frozenset(text.split(","))
    if unknown := sorted(words - set(RECORDS)):
        raise argparse.ArgumentTypeError(f"no such records: {', '.join(unknown)}. Known: {' '.join(RECORDS)}")
    return words


# --- replay


def _replay(words: list[str], prog: str = "") -> int:
    parser = _parser(
        "replay",
        "Reads captures and reports; sends nothing. Several captures are one stream.",
        REPLAY_HELP,
        prog,
    )
    _sources(parser)
    parser.add_argument(
        "-i",
        dest="inspectors",
        action="append",
        metavar="INSPECTOR",
        help="a firewall to emulate, may be repeated (default: all built in, as if you had not said which)",
    )
    parser.add_argument(
        "--format",
        choices=("text", "eve"),
        default="text",
        help="text for people (default); eve: a JSON object per line, with Suricata's field names",
    )
    parser.add_argument(
        "--records",
        type=_records,
        default=frozenset(RECORDS),
        metavar="LIST",
        help="of mail,alert,flow (default: all)",
    )
    parser.add_argument(
        "--each", action="store_true", help="text: each capture by itself, its name in the first column"
    )
    parser.add_argument(
        "--fail-on",
        choices=("alert", "break"),
        help="exit status 1 when a rule fired; when one that breaks the flow did",
    )
    parser.add_argument(
        "--threads",
        type=_number(1, 1_024),
        default=1,
        metavar="N",
        help="accepted; one thread is used (the records are the same for any number)",
    )
    given = parser.parse_intermixed_args(words)
    if given.each and given.format != "text":
        raise UsageError("--each is for --format text; EVE records have the packet number over all captures")
    if prog:
        _look_at(given.captures)
    _check_output(given.out, given.captures)

    from smtpinspect.engine import Engine

    engine = Engine(given.inspectors, ports=given.port or PORTS, secrets=given.show_secrets)
    return _replay_eve(engine, given) if given.format == "eve" else _replay_text(engine, given)


def _look_at(captures: Sequence[str]) -> None:
    """`smtpinspect FILE...`: what is it? Anything but a capture is told by its name."""
    from smtpinspect.source.unpack import packing_of

    for path in captures:
        if path == "-" or os.path.isdir(path):
            continue
        if not os.path.lexists(path) and os.sep not in path and "." not in path:
            near = _nearest(path, ("replay", "transcript", "rules"))
            guess = f" Did you mean {near}?" if near else ""
            raise UsageError(
                f"{path}: neither a command nor a file.{guess} Commands: replay transcript rules"
            )
        try:
            if not os.path.isfile(path):
                continue
            with open(path, "rb") as file:
                head = file.read(PIECE)
        except OSError:
            continue  # the reader tells why
        if not head.startswith(MAGICS) and packing_of(head) is None:
            from smtpinspect._core.pcapfile import looks_like

            why = f"{path}: not a capture: {looks_like(head)}."
            raise SystemExit(
                complain(why, UNREADABLE, "This version reads captures: pcap and pcapng, plain or packed.")
            )


def _replay_eve(engine: Engine, given: argparse.Namespace) -> int:
    status = DONE
    stats: Stats | None = None
    with _binary(given.out) as out, _progress(engine, given.captures, out):
        try:
            stats = engine.write_eve(_source(given.captures), out, set(given.records))
            _unread(stats, _source(given.captures))
        except CaptureError as error:
            status = _unreadable(error)
            stats = getattr(error, "stats", None)
        except KeyboardInterrupt:
            told = f"stopped after {engine.progress[2]:,} packets; what was read has been reported"
            status = complain(told, STOPPED)
    if status or not given.fail_on or stats is None:
        return status
    if given.fail_on == "alert":
        return MATCHED if stats.alerts else DONE
    breaking = {row.id for made in engine.inspectors for row in made.table() if row.ends_flow}
    return MATCHED if breaking & stats.alerts.keys() else DONE


def _replay_text(engine: Engine, given: argparse.Namespace) -> int:
    from smtpinspect.report.summary import Summary
    from smtpinspect.report.text import Text, products

    summary = Summary(engine.labels, each=given.each, records=given.records)
    captures = given.captures
    status = DONE
    with _progress(engine, captures, None):
        if given.each:
            for path in captures:
                _openable(path)
            for path, name in zip(captures, _names(captures), strict=True):
                summary.begin(name, path)
                status = max(status, _feed(engine, path, summary))
                if status == STOPPED:
                    break
        else:
            summary.begin("", captures[0] if len(captures) == 1 else "", len(captures))
            status = _feed(engine, _source(captures), summary)
    columns = products(engine.inspectors, engine.labels, given.inspectors or ())
    with _text(given.out) as (out, width, style):
        text = Text(summary, columns, width=width, style=style, ports=engine.ports)
        for line in text.lines():
            print(line, file=out)
    if status:
        return status
    matched = {"alert": summary.alerts, "break": summary.breaks, None: 0}[given.fail_on]
    return MATCHED if matched else DONE


def _feed(engine: Engine, source: str | list[str], summary: Summary) -> int:
    from smtpinspect.engine import Stats

    try:
        for record in engine.run(source):
            summary.take(record)
            if isinstance(record, Stats):
                _unread(record, source)
    except CaptureError as error:
        summary.fault(error)
        return _unreadable(error)
    except KeyboardInterrupt:
        summary.stop(engine.progress[2])
        return complain("stopped; what was read is reported", STOPPED)
    return DONE


def _unread(stats: Stats, source: str | list[str]) -> None:
    """Packets of which nothing is known look like none: say so."""
    if not stats.unknown_links:
        return
    from smtpinspect.grammar import linktypes

    name = source if isinstance(source, str) else "the captures"
    links = ", ".join(linktypes.named(number) for number in sorted(stats.unknown_links))
    print(f"{PROG}: {name}: packets of {links} were not read.", file=sys.stderr)
    print(f"{' ' * len(PROG)}  Read are: {linktypes.readable()}.", file=sys.stderr)


def _openable(path: str) -> None:
    """Wrong usage is told before anything is read."""
    from smtpinspect.source import open_source

    if path != "-":
        open_source(path).close()


def _source(captures: Sequence[str]) -> str | list[str]:
    return captures[0] if len(captures) == 1 else list(captures)


def _names(captures: Sequence[str]) -> list[str]:
    """The captures' names as a column; with their folders where names alone are not enough."""
    names = []
    for path in captures:
        name = "standard input" if path == "-" else os.path.basename(path)
        for suffix in (".gz", ".zst", ".xz", ".bz2", ".lz4", ".pcap", ".pcapng", ".cap"):
            name = name.removesuffix(suffix) or name
        names.append(name)
    from smtpinspect.report.terminal import safe

    return [safe(name) for name in (names if len(set(names)) == len(names) else captures)]


def _unreadable(error: CaptureError) -> int:
    before = error.record - 1
    those = "The record before it was" if before == 1 else f"The {before:,} records before it were"
    more = [f"{those} processed."] if before > 0 else []
    return complain(f"{str(error).rstrip('.')}.", UNREADABLE, *more)


# --- transcript


def _transcript(words: list[str]) -> int:
    parser = _parser(
        "transcript",
        "Dialogues of captures: commands with their replies, messages, their parts.",
        TRANSCRIPT_HELP,
    )
    _sources(parser)
    parser.add_argument(
        "--format",
        choices=("text", "json"),
        default="text",
        help="text for people (default); json: one array, one object per connection",
    )
    given = parser.parse_intermixed_args(words)
    _check_output(given.out, given.captures)

    from smtpinspect.transcripts import transcript

    status = DONE
    try:
        talks = transcript(_source(given.captures), ports=given.port or PORTS, secrets=given.show_secrets)
    except CaptureError as error:
        status = _unreadable(error)
        talks = getattr(error, "partial", None) or []
    with _text(given.out) as (out, width, style):
        if given.format == "json":
            import json

            json.dump(talks, out, ensure_ascii=True, indent=1)
            out.write("\n")
            return status
        from smtpinspect.report.transcript_text import lines

        for line in lines(talks, width, style):
            print(line, file=out)
        if not talks and status == DONE:
            print("no SMTP in this capture. Other server ports: --port N", file=out)
    return status


# --- rules


def _rules(words: list[str]) -> int:
    parser = _parser("rules", "The rules of the emulated firewalls; one of them on a screen.", RULES_HELP)
    parser.add_argument("rules", nargs="*", metavar="RULE", help="tell all about this rule")
    parser.add_argument(
        "-i",
        dest="inspectors",
        action="append",
        metavar="INSPECTOR",
        help="rules as they are in this profile, with these settings; may be repeated",
    )
    given = parser.parse_intermixed_args(words)

    from smtpinspect.inspectors import registry
    from smtpinspect.report import rules_page

    made = tuple(registry.load(spec) for spec in given.inspectors) if given.inspectors else None
    width = _columns() if sys.stdout is not None and sys.stdout.isatty() else None
    if not given.rules:
        print(rules_page.listing(registry.every() if made is None else made, width), end="")
    # All pages are made before one is printed: a wrong name gives an error and nothing else.
    pages = [rules_page.page(rule, made, width) for rule in given.rules]
    print("\n".join(pages), end="")
    return DONE


# --- where to


def _check_output(out: str | None, captures: Sequence[str]) -> None:
    """Never write over what is to be read."""
    for path in captures:
        if (
            out
            and path != "-"
            and os.path.exists(out)
            and os.path.exists(path)
            and os.path.samefile(out, path)
        ):
            raise UsageError(f"-o {out}: that is the capture itself")


def _opened(path: str, mode: str, **more: Any) -> Any:
    try:
        return open(path, mode, **more)
    except OSError as error:
        raise UsageError(f"-o {path}: cannot be written: {error.strerror}") from None


def _stdout() -> TextIO:
    if sys.stdout is None:
        raise UsageError("standard output is closed; -o FILE writes to a file")
    return sys.stdout


@contextmanager
def _binary(path: str | None) -> Iterator[BinaryIO]:
    if path is None:
        out = _stdout()
        yield cast(BinaryIO, getattr(out, "buffer", out))
        out.flush()
        return
    with _opened(path, "wb") as file:
        yield file


@contextmanager
def _text(path: str | None) -> Iterator[tuple[TextIO, int | None, Style]]:
    """Where text goes, how wide it may be (None: as wide as it is), and its colours."""
    from smtpinspect.report.terminal import Style, wants_colour

    if path is not None:
        with _opened(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file, None, Style(False)
        return
    out = _stdout()
    yield out, _columns() if out.isatty() else None, Style(wants_colour(out))


def _progress(
    engine: Engine, captures: Sequence[str], out: BinaryIO | None
) -> AbstractContextManager[object]:
    """A line on standard error while a large capture is read, for a person only."""
    if sys.stderr is None or not sys.stderr.isatty() or (out is not None and out.isatty()):
        return nullcontext()
    total = sum(os.path.getsize(path) for path in captures if os.path.isfile(path))
    if total < BIG and "-" not in captures:
        return nullcontext()
    from smtpinspect.report.progress import progress

    return progress(engine)
