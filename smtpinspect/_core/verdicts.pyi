from smtpinspect._core.records import Sink
from smtpinspect._core.rows import Program

class Verdicts:
    def __init__(self, program: Program, sink: Sink) -> None: ...
