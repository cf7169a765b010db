"""Octets of chance, seeded: what makes captures (targets), what must hold of each (checks), a driver (__main__).

    PYTHONPATH=tests python -m fuzz                       every target for 20 seconds
    PYTHONPATH=tests python -m fuzz mime bdat --runs 500  these targets, so many captures each
    PYTHONPATH=tests python -m fuzz mime --seed 4711      the one capture that a failure named

A build under AddressSanitizer (SMTPINSPECT_SANITIZE=1, its runtime preloaded) finds more with the same
commands.
"""
