# Three commands: `make demo`, `make serve` and `make test`. Each makes .venv first if it is not there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# What is imported is compiled then, and kept: quicker than compiling all that is installed.
INSTALL := $(VENV)/bin/python -m pip -q --disable-pip-version-check install --no-compile -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo serve test format reference clean

demo: $(VENV)/engine-installed
	$(VENV)/bin/foreword demo

serve: $(VENV)/server-installed
	$(VENV)/bin/foreword serve $(MODEL)

test: $(VENV)/dev-installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

format: $(VENV)/dev-installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

reference: $(VENV)/dev-installed
	$(VENV)/bin/python -m foreword.cli.reference docs/reference

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/engine-installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[engine]'
	touch $@

$(VENV)/server-installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[server]'
	touch $@

$(VENV)/dev-installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(INSTALL) -e '.[engine,server,training,plots,dev]'
	command -v chromium || apt-get install -qy chromium || echo 'Without Chromium the tests of the dashboard are skipped.'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
