"""Why a mail broke: rules that fit, ranked with what else it may be; what would let it pass; what to do and to ask."""

from smtpinspect.diagnose.causes.questions import questions
from smtpinspect.diagnose.causes.ranking import rank
from smtpinspect.diagnose.causes.whatif import sweep, what_if

__all__ = ["questions", "rank", "sweep", "what_if"]
