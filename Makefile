# make demo    replay the captures in pcaps/ and show the verdicts
# make test    all tests, and the checks of the sources
# make lab     real mail servers with a break between them, against the prediction; needs root (tests/lab/README.md)
# make lab-alikes  what breaks a mail and is no firewall rule, shown to diagnose
# make lab-full    the whole matrix of breaks
# make lab-culprits    each rule breaks mails of real mail servers: does diagnose find it, and what lets them pass
# All build first, into .venv; a second run builds only what has changed.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
SOURCES = $(wildcard ext/smtpinspect/_core/*.p* ext/smtpinspect/_core/*.h)

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export SMTPINSPECT_JOBS ?= $(JOBS)
# The C compiler runs on all cores too.
export DIST_EXTRA_CONFIG = $(CURDIR)/$(VENV)/build.cfg

# compat: a plain path in site-packages; nothing of setuptools runs at start-up.
INSTALL = $(BIN)/pip install --quiet --no-build-isolation --config-settings editable_mode=compat --editable .
EXTRA = import sys, tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
        print(*p['optional-dependencies'][sys.argv[1]], sep='\n')

.PHONY: demo test lint lab lab-alikes lab-culprits lab-full bench clean

# tests wait nearly half as long as they reckon
WORKERS = $(shell echo $$(( $$(nproc) * 3 / 2 )))

demo: $(VENV)/built
	@$(BIN)/smtpinspect replay --each pcaps/*.pcap

test: $(VENV)/built $(VENV)/tools
	$(BIN)/pytest -n $(WORKERS)
	@$(MAKE) --no-print-directory lint

lint: $(VENV)/tools
	$(BIN)/ruff check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint ext

# LAB=--install installs what is missing first; LAB="--only PATTERN" plays some runs
lab: $(VENV)/built $(VENV)/inline
	$(BIN)/python tests/lab/run.py $(LAB)

lab-alikes: $(VENV)/built $(VENV)/inline
	$(BIN)/python tests/lab/alikes.py $(LAB)

lab-full: $(VENV)/built $(VENV)/inline
	$(BIN)/python tests/lab/run.py --full $(LAB)

lab-culprits: $(VENV)/built $(VENV)/inline
	$(BIN)/python tests/lab/run.py --culprits $(LAB)

# BENCH=--quick for a quick look; BENCH="--peer-root DIR" for peers that are not on the PATH
bench: $(VENV)/built
	$(BIN)/python benchmarks/compare.py $(BENCH)

$(VENV)/ready:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or later is wanted; PYTHON=... names another one" >&2; exit 1; }
	@echo '#include <zlib.h>' | $(CC) -E - >/dev/null 2>&1 \
	  || { echo "A C compiler and zlib's header are wanted. On Debian: apt-get install gcc zlib1g-dev" >&2; exit 1; }
	@test -e "$$($(PYTHON) -c 'import sysconfig; print(sysconfig.get_paths()["include"])')/Python.h" \
	  || { echo "Python's headers are wanted. On Debian: apt-get install python3-dev" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "No virtual environment. On Debian: apt-get install python3-venv python3-dev gcc zlib1g-dev" >&2; exit 1; }
	@printf '[build_ext]\nparallel = %s\n' $(SMTPINSPECT_JOBS) > $(VENV)/build.cfg
	@$(BIN)/pip install --quiet 'setuptools>=68' 'cython>=3.1'
	@touch $@

# pip compiles everything; after that setup.py compiles what has changed. Bytecode of an editable installation is
# nobody's business, and where PYTHONDONTWRITEBYTECODE is set, each start would compile the modules anew.
$(VENV)/installed: $(VENV)/ready pyproject.toml setup.py
	@echo "building (once, a minute or two) ..."
	@$(INSTALL)
	@rm -f $(VENV)/built
	@touch $@

$(VENV)/built: $(VENV)/installed $(SOURCES)
	@test ! -e $@ || $(BIN)/python setup.py --quiet build_ext --inplace
	@$(BIN)/python -m compileall -q smtpinspect
	@touch $@

$(VENV)/tools: $(VENV)/ready pyproject.toml
	@echo "getting what the tests need (once) ..."
	@$(BIN)/python -c "$(EXTRA)" test > $(VENV)/tools.txt
	@$(BIN)/pip install --quiet --requirement $(VENV)/tools.txt
	@touch $@

# Without the headers of libnetfilter_queue this fails; whoever needs it then says so.
$(VENV)/inline: $(VENV)/ready pyproject.toml
	@$(BIN)/python -c "$(EXTRA)" inline > $(VENV)/inline.txt
	@if $(BIN)/pip install --quiet --requirement $(VENV)/inline.txt; then touch $@; fi

clean:
	rm -rf $(VENV) build dist *.egg-info smtpinspect/_core/*.so ext/smtpinspect/_core/*.c
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks tests/.hypothesis tests/.pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
