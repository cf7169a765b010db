"""The command line: which command, and how it ends. Modules that a command does not need are not imported by it."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Final

import smtpinspect
from smtpinspect.commands.arguments import COMMANDS
from smtpinspect.commands.console import BROKEN_PIPE, DONE, PROG, STOPPED, USAGE, complain, give_up_output
from smtpinspect.errors import UsageError

OBJECTS: Final = 100_000  # made since the last look for garbage until the next
MAIN_HELP: Final = """\
usage: smtpinspect COMMAND ...
       smtpinspect FILE...          the command that fits: of captures replay,
                                    of logs diagnose, of messages check

Reads SMTP out of captures and tells which rule of which mail firewall would
alter or break which mail, with the evidence. Only inline and probe send.

what broke a mail:
  diagnose     which rule of which firewall, how sure, and what to change: from
               captures, log lines, months of logs, bounces, firewall logs
  check        which rules a stored message would trip
  simulate     what both servers see, log and do next when a flow breaks
  probe        is a MailGuard on the way to a server, and which generation

what passes:
  replay       what happened to each mail, and what would behind each firewall
  live         the same of an interface, as the packets come
  transcript   the dialogues: commands with their replies, messages, their parts
  compare      two captures, before and after a change: is it worse?
  anonymise    a capture that can be shown to others, with the same verdicts

firewalls:
  rules        the rules of the emulated firewalls; one of them on a screen
  config       what a firewall's own configuration says about SMTP
  inline       enforces one firewall's rules upon what passes this machine
  bench        how fast a capture is read, and what each rule costs

  -h, --help      this text; smtpinspect COMMAND --help for a command
  -V, --version   the version

examples:
  smtpinspect diagnose --log 'SMTP timeout after end of data'
  smtpinspect diagnose mail.pcap
  smtpinspect check invoice.eml
  smtpinspect replay mail.pcap -i mailguard:asa-8 -i stormshield:high
  smtpinspect replay --format eve mail.pcap | jq 'select(.event_type=="alert")'
  tcpdump -i eth0 -s 0 -w - port 25 | smtpinspect replay -
  smtpinspect live eth0 -i stormshield
  smtpinspect simulate --mta exim --at databody --break drop
  smtpinspect rules stormshield.smtp-231

exit status: 0 done; 1 --fail-on matched; 2 wrong usage or configuration;
3 a capture could not be read to its end, or is none; 130 after Ctrl-C
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; its exit status. Without `argv` that of the process, which ends with it."""
    if argv is None:
        # What is imported stays: to look through it for garbage takes longer than a small capture.
        gc.set_threshold(OBJECTS)
        try:
            return _main(sys.argv[1:])
        finally:
            gc.freeze()
    return _main(list(argv))


def _main(words: list[str]) -> int:
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
        give_up_output()
        return BROKEN_PIPE
    except OSError as error:
        # Of what is read, only a CaptureError tells: this is the disk, or whatever else is written to.
        give_up_output()
        return complain(f"cannot write: {error.strerror or error}", USAGE)


def _dispatch(words: list[str]) -> int:
    first = words[0] if words else ""
    if first in ("-h", "--help", "help"):
        if first == "help" and len(words) > 1 and words[1] in COMMANDS:
            return _command(words[1])(["--help"])
        print(MAIN_HELP, end="")
        return DONE
    if first in ("-V", "--version"):
        print(f"{PROG} {smtpinspect.__version__}")
        return DONE
    if not words:
        print(MAIN_HELP, end="", file=sys.stderr)
        return USAGE
    if first in COMMANDS:
        return _command(first)(words[1:])
    from smtpinspect.commands.fitting import run

    return run(words)


def _command(name: str) -> Callable[[list[str]], int]:
    made: Callable[[list[str]], int] = import_module(f"smtpinspect.commands.{name}").run
    return made
