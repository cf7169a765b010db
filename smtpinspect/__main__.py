"""`python -m smtpinspect`."""

import sys

from smtpinspect.cli import main

sys.exit(main())
