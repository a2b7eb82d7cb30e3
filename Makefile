# New users need make setup, make demo and make test. `make help` lists all targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
LOCK   := requirements/dev.txt
STAMP  := $(VENV)/.installed
# TORCH=cpu omits the CUDA packages (4 GB) on a Linux machine without a GPU
TORCH  ?= default
PHOTOS ?=
# `make test-rest` runs the folders and files that are not in this list. Tests of one file run in one process, which
# lets them share what is costly to start.
TESTS  := tests/unit tests/postgres tests/system/deployment tests/system/end_to_end/test_workers.py
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

# Without bytecode files, every command compiles the libraries again if PYTHONDONTWRITEBYTECODE is set
export UV_COMPILE_BYTECODE := 1

.DEFAULT_GOAL := help
.PHONY: help setup demo console demo-fhir demo-training test test-rest test-interop test-browser test-all test-random chaos check format lint types schemas pages chart play-pods deploy-check image-report contracts bench gpu fuzz fuzz-errors notices lock audit sbom clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

setup: $(STAMP)  ## make .venv from pinned packages; TORCH=cpu omits the CUDA packages

$(STAMP): $(LOCK) requirements/uv.txt requirements/torch-cpu.txt pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make setup PYTHON=python3.11")'
	@echo "setup: creating $(VENV) with $$($(PYTHON) --version)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "setup: installing uv, hash checked"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
ifeq ($(TORCH),cpu)
	@echo "setup: installing the pinned packages, hash checked"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes --no-deps -r requirements/dev-without-torch.txt
	@echo "setup: installing the CPU build of torch from PyTorch's index"
	@UV=$(BIN)/uv requirements/install-torch-cpu $(BIN)/python --quiet
else
	@echo "setup: installing the pinned packages, hash checked (on Linux torch brings 4 GB of CUDA; TORCH=cpu leaves that out)"
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes $(LOCK)
endif
	@echo "setup: installing the triage command"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q triage worker migrations
	@touch $@
	@echo "setup: done; the command is $(BIN)/triage"

demo: setup  ## score sample photos end to end; PHOTOS=folder for your own, ALL=1 for all of them
	@$(BIN)/triage demo $(if $(PHOTOS),"$(PHOTOS)") $(if $(ALL),--all)

demo-fhir: $(VENV)/interop/.installed  ## show the way from an EHR's FHIR server and back, step by step
	@$(BIN)/python -m recipes.demo_fhir

demo-training: setup  ## show the way from a REDCap export of drawn photos to a live model, step by step
	@$(BIN)/python -m recipes.demo_training

test: setup  ## run the tests that verify an installation; ARGS="tests/unit -x" selects
	@$(PYTEST) $(or $(ARGS),$(TESTS))

console: setup  ## open the staff console on drawn photos; Ctrl-C ends everything
	@$(BIN)/triage console --demo

# These tests mostly wait for processes.
test-rest: setup  ## run the tests that `make test` leaves out
	@$(PYTEST) --numprocesses 4 tests $(TESTS:%=--ignore=%) --ignore=tests/interop --ignore=tests/browser

# Third-party software, some of it from npm: never run by CI.
test-interop: $(VENV)/interop/.installed $(VENV)/mlflow/.installed  ## test against third-party clients, servers and libraries
	@$(PYTEST) tests/interop

# Foreign programs in an environment of their own: their dependencies are not those of the product.
$(VENV)/interop/.installed: requirements/interop.txt $(STAMP)
	@$(BIN)/uv venv --quiet --clear $(VENV)/interop
	@$(BIN)/uv pip sync --quiet --python $(VENV)/interop/bin/python --require-hashes requirements/interop.txt
	@touch $@

$(VENV)/mlflow/.installed: requirements/mlflow.txt $(STAMP)
	@$(BIN)/uv venv --quiet --clear $(VENV)/mlflow
	@$(BIN)/uv pip sync --quiet --python $(VENV)/mlflow/bin/python --require-hashes requirements/mlflow.txt
	@touch $@

# The staff console in Debian's Chromium: skipped where it is missing, and never run by CI.
test-browser: setup  ## test the staff console in Chromium
	@$(BIN)/python -m pytest tests/browser

test-all: test test-rest test-interop test-browser  ## run all tests

test-random: setup  ## run all tests in random order, whose seed is printed; ARGS="tests --randomly-seed=7" repeats
	@$(PYTEST) -p randomly $(or $(ARGS),tests)

chaos: setup  ## inject every fault, 1,000 photos each, half an hour; ARGS="kills --json chaos.json" selects
	@$(BIN)/python -m tests.system.chaos $(ARGS)

check: setup lint types contracts test-all  ## all checks and tests, before a commit

format: setup  ## format the code
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format .

lint: setup  ## formatting and ruff's rules
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .

types: setup  ## mypy, strict
	@$(BIN)/mypy

schemas: setup  ## write the JSON schemas of all documents into docs/schemas
	@$(BIN)/python -m worker.documents.schemas docs/schemas
	@$(BIN)/python -m worker.api.openapi docs/schemas/openapi.json

pages: setup  ## write the pages made from the settings: docs/operations/settings.md, deploy/env.example
	@$(BIN)/python -m worker.documents.settings_pages

chart: setup  ## write the Helm chart and the PrometheusRule from deploy/kubernetes and deploy/prometheus; needs kubectl
	@$(BIN)/python -m recipes.chart

play-pods: setup  ## run the pods of deploy/kubernetes with podman and score a photo in them; needs the images
	@$(BIN)/python -m recipes.play_pods

# Skipped where neither Docker nor podman answers, and never run by CI.
deploy-check: setup  ## run the image in Compose: first hour, then faults of containers, 25 minutes; IMAGE=name builds none, TORCH=cuda builds that one, ARGS="kill disk" selects
	@$(BIN)/python -m recipes.deploy_check $(if $(IMAGE),--image $(IMAGE)) $(if $(filter cuda,$(TORCH)),--torch cuda) $(ARGS)

image-report: setup  ## show the size of each layer of IMAGE=name, and check that it holds nothing that only building needs
	@$(BIN)/python -m recipes.image_report $(IMAGE)

contracts: setup  ## import contracts: worker runs triage, never the other way
	@$(BIN)/lint-imports

bench: setup  ## measure speed and memory, as ratios in one run; an hour and 12 GB of disk
	@$(BIN)/python -m benchmarks.startup
	@$(BIN)/python -m benchmarks.inbox
	@$(BIN)/python -m benchmarks.http
	@$(BIN)/python -m benchmarks.lane
	@$(BIN)/python -m benchmarks.formats
	@$(BIN)/python -m benchmarks.network
	@$(BIN)/python -m benchmarks.engines
	@$(BIN)/python -m benchmarks.memory
	@$(BIN)/python -m benchmarks.throughput
	@$(BIN)/python -m benchmarks.scaling.devices
	@$(BIN)/python -m benchmarks.scaling.postgres --direct
	@$(BIN)/python -m benchmarks.reports

gpu: setup  ## measure a GPU: exactness, speed, memory, faults, training; ARGS="--device cpu --small" tests the program
	@$(BIN)/python -m benchmarks.gpu $(ARGS)

fuzz: setup  ## attack the decoders with 20,000 damaged photos; ARGS="--inputs 100000 --first 20000" for others
	@$(BIN)/python -m tests.system.fuzz $(ARGS)

fuzz-errors: setup  ## call every use case, task, command and setting with 50 times the hostile values of `make test-all`
	@$(PYTEST) --hypothesis-profile=thorough tests/postgres/test_error_contract.py tests/system/cli/test_error_contract.py tests/system/cli/test_settings_contract.py

notices: setup  ## check the licences of what the images contain, and write THIRD-PARTY-NOTICES.md
	@$(BIN)/python -m recipes.licences

lock: setup  ## pin all packages again, with hashes
	@requirements/lock

# Tools in an environment of their own: their dependencies are not those of the product.
$(VENV)/audit/.installed: requirements/audit.txt $(STAMP)
	@$(BIN)/uv venv --quiet --clear $(VENV)/audit
	@$(BIN)/uv pip sync --quiet --python $(VENV)/audit/bin/python --require-hashes requirements/audit.txt
	@touch $@

audit: $(VENV)/audit/.installed  ## ask the vulnerability service of PyPI about every pinned package
	@for list in production production-without-torch dev uv audit; do \
	  echo "audit: requirements/$$list.txt"; \
	  $(VENV)/audit/bin/pip-audit --strict --progress-spinner off --disable-pip --require-hashes --requirement requirements/$$list.txt || exit 1; \
	done

sbom: $(VENV)/audit/.installed  ## write sbom.json (CycloneDX): every package of the image, with its hashes; TORCH=cpu of that one, EXTRAS="s3" with those
	@cat $(if $(filter cpu,$(TORCH)),requirements/production-without-torch.txt requirements/torch-cpu.txt,requirements/production.txt) $(EXTRAS:%=requirements/extras/%.txt) \
	| PYTHONWARNINGS=ignore $(VENV)/audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file sbom.json -
	@echo "sbom: sbom.json"

clean:  ## remove what setup made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis
