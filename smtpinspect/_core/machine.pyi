from smtpinspect._core.tape import _Listener
from smtpinspect._core.verdicts import Verdicts

class Machine:
    def __init__(self, verdicts: Verdicts, tape: _Listener | None = None) -> None: ...
