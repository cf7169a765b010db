"""`smtpinspect transcript`: the dialogues of captures."""

from __future__ import annotations

from typing import Final

from smtpinspect.commands.arguments import PORTS, parser_of, source_of, sources, text_or_json
from smtpinspect.commands.console import DONE, check_output, text_out, unreadable, write_json
from smtpinspect.errors import CaptureError

TRANSCRIPT_HELP: Final = """\
examples:
  smtpinspect transcript mail.pcap
  smtpinspect transcript --format json mail.pcap | jq '.[].commands'

exit status: 0 done; 2 wrong usage; 3 a capture could not be read to its end,
or is none (what was read has been reported)
"""


def run(words: list[str]) -> int:
    """Run `smtpinspect transcript` with these words; its exit status."""
    parser = parser_of(
        "transcript",
        "Dialogues of captures: commands with their replies, messages, their parts.",
        TRANSCRIPT_HELP,
    )
    sources(parser)
    text_or_json(parser, "one array, one object per connection")
    given = parser.parse_intermixed_args(words)
    check_output(given.out, given.captures)

    from smtpinspect.transcripts import transcript

    status = DONE
    try:
        talks = transcript(source_of(given.captures), ports=given.port or PORTS, secrets=given.show_secrets)
    except CaptureError as error:
        status = unreadable(error)
        talks = getattr(error, "partial", None) or []
    with text_out(given.out) as (out, width, style):
        if given.format == "json":
            write_json(out, talks)
            return status
        from smtpinspect.report.transcript_text import lines

        for line in lines(talks, width, style):
            print(line, file=out)
        if not talks and status == DONE:
            print("no SMTP in this capture. Other server ports: --port N", file=out)
    return status
