# make book | make pdf | make test | make fuzz | make lab | make setup | make clean | make lock | make sbom
# Each target sets up .venv by itself: Python >= 3.11 and make are all that is needed.

PYTHON ?= python3
UV ?= uv
VENV := .venv
PIP = $(VENV)/bin/python -m pip
ONE_THREAD := OMP_NUM_THREADS=1

# A stamp's name holds the digest of what it stands for, so that no clock and no file's time matters.
digest = $(shell (pwd -P; cat $(1)) | (sha256sum 2>/dev/null || shasum -a 256) | cut -c 1-16)
LOCKED := $(VENV)/.locked-$(call digest,requirements.lock)
READY := $(VENV)/.ready-$(call digest,requirements.lock pyproject.toml)

.PHONY: book pdf test fuzz lab setup clean lock sbom anew

book: $(READY)
	@$(VENV)/bin/frl book

# The same and _build/book.pdf, printed by the system's chromium.
pdf: $(READY)
	@$(VENV)/bin/frl book --pdf

test: $(READY)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/python -m mypy --no-error-summary
	@$(ONE_THREAD) $(VENV)/bin/python -m pytest -n auto --dist worksteal

# The tests that draw their input at random, with fifty times as much of it.
fuzz: $(READY)
	@$(ONE_THREAD) $(VENV)/bin/python -m pytest --hypothesis-profile=long tests/fuzz

lab: $(READY)
	@$(VENV)/bin/python -m frlcore.repro.book.lab
	@JUPYTER_PATH="$(abspath $(VENV))/share/jupyter:$$JUPYTER_PATH" \
	  $(VENV)/bin/python -m jupyterlab notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

# Removes what can be made again; runs and downloads in data/ stay.
clean:
	rm -rf _build $(VENV) frlcore.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis .coverage
	find frlcore tests benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

setup: $(READY)

# The lock is complete, so nothing is resolved here (--no-deps): what appears on the registry later changes nothing.
# In hash mode pip would otherwise ask for a pin of every requirement with extras (pip's issues 9644 and 12345).
# With uv at hand the same packages come in a fifth of the time; `make setup UV=` does without it.
# To compile all modules takes longer than to unpack them, so each is compiled when it is first imported; only where Python
# may not write then, as in many containers, they are compiled here, or every process would compile its own.
# Stamps are written last, so an interrupted installation starts again; so does one whose Python has gone since.
$(LOCKED): $(if $(realpath $(VENV)/bin/python),,anew)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "frlcore needs Python 3.11 or newer; '$(PYTHON)' is not. Try: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV): about 6 GB on disk and a few minutes, once. The packages are those of requirements.lock."
	@$(PYTHON) -m venv --clear $(VENV)
	@if command -v "$(UV)" >/dev/null; then \
	  $(UV) pip sync --require-hashes --python $(VENV)/bin/python requirements.lock; \
	else \
	  $(PIP) install --disable-pip-version-check --no-compile --no-deps --require-hashes -r requirements.lock; \
	fi
	@$(if $(PYTHONDONTWRITEBYTECODE),$(VENV)/bin/python -m compileall -q -j 0 -x /tests/ $(VENV)/lib >/dev/null || true)
	@touch $@

$(READY): $(LOCKED)
	@$(PIP) install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@$(PIP) check
	@touch $@

# The bill of materials of all that the lock installs, then what is known of holes in it, with tools of their own. Both
# come from the package registry; pip-audit asks pypi.org, and fails where that does not know a package, for silence is no proof.
sbom:
	@$(PYTHON) -m venv --clear _build/sbom
	@_build/sbom/bin/python -m pip install --disable-pip-version-check --quiet cyclonedx-bom==7.5.0 pip-audit==2.10.1
	@_build/sbom/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o _build/sbom.json
	@echo "Wrote _build/sbom.json; now looking for known vulnerabilities, which needs the network"
	@_build/sbom/bin/pip-audit --strict --require-hashes --disable-pip -r requirements.lock

# Resolve all versions anew (needs uv). `make lock LOCK_ARGS=--upgrade` moves to the newest ones.
lock:
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: https://docs.astral.sh/uv/" >&2; exit 1; }
	@env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(UV) pip compile pyproject.toml \
	  --extra book --extra cluster --extra eval --extra test --group build \
	  --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet \
	  --no-emit-index-url --no-emit-find-links $(LOCK_ARGS) -o requirements.lock
	@{ printf '%s\n' "# Exact versions and hashes of the package with its extras [book], [cluster], [eval] and [test]; written by 'make lock'."; \
	  grep -v '^# Exact versions' requirements.lock; } > requirements.lock.new && mv requirements.lock.new requirements.lock
