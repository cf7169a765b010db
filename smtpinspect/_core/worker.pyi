from smtpinspect._core.records import Sink
from smtpinspect._core.rows import Program
from smtpinspect._core.sources import Source
from smtpinspect._core.tape import _Listener

class Worker:
    def __init__(
        self, source: Source, program: Program, sink: Sink, tape: _Listener | None, secrets: bool
    ) -> None: ...
