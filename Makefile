# Three commands: `make demo`, `make serve` and `make test`. Each makes .venv first if it is not there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
PIP := $(VENV)/bin/python -m pip -q --disable-pip-version-check

.PHONY: demo serve test format clean

demo: $(VENV)/engine-installed
	$(VENV)/bin/foreword demo

serve: $(VENV)/server-installed
	$(VENV)/bin/foreword serve $(MODEL)

test: $(VENV)/dev-installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports
	$(VENV)/bin/python -m pytest

format: $(VENV)/dev-installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

$(VENV)/engine-installed: pyproject.toml constraints.txt
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install -c constraints.txt torch
	$(PIP) install -c constraints.txt -e '.[engine]'
	touch $@

$(VENV)/server-installed: $(VENV)/engine-installed
	$(PIP) install -c constraints.txt -e '.[server]'
	touch $@

$(VENV)/dev-installed: $(VENV)/engine-installed
	$(PIP) install -c constraints.txt -e '.[engine,server,training,plots,dev]'
	command -v chromium || apt-get install -qy chromium || echo 'Without Chromium the tests of the dashboard are skipped.'
	touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
