# make book | make test | make lab | make clean | make lock
# Each target sets up .venv by itself: Python >= 3.11 and make are all that is needed.

PYTHON ?= python3
UV ?= uv
VENV := .venv
READY := $(VENV)/.ready
ONE_THREAD := OMP_NUM_THREADS=1

.PHONY: book test lab clean lock
.DELETE_ON_ERROR:

book: $(READY)
	@$(VENV)/bin/frl book

test: $(READY)
	@$(VENV)/bin/ruff check .
	@$(ONE_THREAD) $(VENV)/bin/python -m pytest

lab: $(READY)
	@$(VENV)/bin/jupytext --sync notebooks/*.md
	@$(VENV)/bin/jupyter lab notebooks

# Removes what can be made again; runs and downloads in data/ stay.
clean:
	rm -rf _build $(VENV) frlcore.egg-info .pytest_cache .ruff_cache .hypothesis .coverage
	find frlcore tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted installation starts again where it stopped.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "frlcore needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV): about 6 GB on disk and a few minutes, once. The packages are those of requirements.lock."
	@rm -f $@
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock
	@$(VENV)/bin/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

# Resolve all versions anew (needs uv). `make lock LOCK_ARGS=--upgrade` moves to the newest ones.
lock:
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	@env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(UV) pip compile pyproject.toml \
	  --extra book --extra eval --extra test --group build \
	  --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
	  --no-emit-index-url --no-emit-find-links $(LOCK_ARGS) -o requirements.lock
	@{ printf '%s\n' "# Exact versions and hashes of the package with its extras [book], [eval] and [test]; written by 'make lock'."; \
	  grep -v '^# Exact versions' requirements.lock; } > requirements.lock.new && mv requirements.lock.new requirements.lock
