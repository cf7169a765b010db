# make demo    replay the captures in pcaps/ and show the verdicts
# make test    all tests, and the checks of the sources
# Both build first, into .venv; a second run builds only what has changed.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
SOURCES = pyproject.toml setup.py $(wildcard ext/smtpinspect/_core/*.p* ext/smtpinspect/_core/*.h)

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export SMTPINSPECT_JOBS ?= $(JOBS)
# The C compiler runs on all cores too.
export DIST_EXTRA_CONFIG = $(CURDIR)/$(VENV)/build.cfg

# --no-build-isolation: objects of the last build are used again. compat: a plain path, nothing runs at start-up.
INSTALL = $(BIN)/pip install --quiet --no-build-isolation --config-settings editable_mode=compat --editable

.PHONY: demo test lint bench clean

demo: $(VENV)/built
	@$(BIN)/smtpinspect replay --each pcaps/*.pcap

test: $(VENV)/built-for-tests
	$(BIN)/pytest
	@$(MAKE) --no-print-directory lint

lint: $(VENV)/built-for-tests
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint ext

# BENCH="--profiles mixed --size 100M" for a quick look
bench: $(VENV)/built
	$(BIN)/python benchmarks/compare.py $(BENCH)

$(VENV)/ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is wanted; PYTHON=... names another one" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "No virtual environment. On Debian: apt-get install python3-venv python3-dev gcc" >&2; exit 1; }
	@printf '[build_ext]\nparallel = %s\n' $(SMTPINSPECT_JOBS) > $(VENV)/build.cfg
	@$(BIN)/pip install --quiet 'setuptools>=68' 'cython>=3.1'
	@touch $@

$(VENV)/built: $(VENV)/ready $(SOURCES)
	@echo "building (once, a minute or two) ..."
	@$(INSTALL) .
	@touch $@

$(VENV)/built-for-tests: $(VENV)/ready $(SOURCES)
	@echo "building and getting what the tests need (once, a few minutes) ..."
	@$(INSTALL) '.[test]'
	@touch $(VENV)/built $@

clean:
	rm -rf $(VENV) build dist *.egg-info smtpinspect/_core/*.so ext/smtpinspect/_core/*.c
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks tests/.hypothesis tests/.pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
