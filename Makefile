# Every target does its own set-up. `make` alone lists them.

.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3

# docker where an engine and Compose answer, otherwise local; RUNTIME=docker or RUNTIME=local forces one.
ifndef RUNTIME
RUNTIME := $(shell docker compose version >/dev/null 2>&1 && docker info >/dev/null 2>&1 && echo docker || echo local)
RUNTIME_NOTE = $(if $(filter local,$(RUNTIME)),No Docker engine answers: using the local runtime (RUNTIME=docker forces Docker).)
endif
ifeq ($(filter $(RUNTIME),docker local),)
$(error RUNTIME=$(RUNTIME) is not a runtime: use docker or local)
endif
export RUNTIME

# Many images set it, and with it each start compiles all of the project again.
unexport PYTHONDONTWRITEBYTECODE

# In Docker the machine's own Python is enough, so no tools are installed.
TOOLS = $(if $(filter docker,$(RUNTIME)),.env app/variables.env,setup)
ARGS ?=
SERVICE = $(shell sed -n '/^name = /{s///;p;q}' app/lowtide.toml)
STACK = $(if $(filter docker,$(RUNTIME)),$(PYTHON),.venv/bin/python) -m stack

# A virtual environment contains its own path and its Python's version. So it is made again in a checkout that was moved or
# copied, with another PYTHON, when the system's Python was upgraded, and after an installation that did not finish.
VENV_PYTHON = $(if $(filter file,$(origin PYTHON)),.venv/bin/python,$(PYTHON))
VENV_IS_FOR := $(CURDIR) $(shell $(VENV_PYTHON) -c 'import sys; print(*sys.version_info[:2], sep=".")' 2>/dev/null)
VENV_WAS_FOR := $(shell cat .venv/.installed 2>/dev/null) $(shell sed -nE 's/^version = ([0-9]+\.[0-9]+).*/\1/p' .venv/pyvenv.cfg 2>/dev/null)
ifneq ($(VENV_WAS_FOR),$(VENV_IS_FOR))
.PHONY: .venv/.installed
endif
.venv/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: PYTHON=python3.x make ..." >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { echo "Python's venv module is missing: on Debian or Ubuntu, apt-get install python3-venv" >&2; exit 2; }
	@$(PYTHON) -m lowtide.application python >/dev/null
	@echo "Installing the tools into .venv"
	@test "$(VENV_WAS_FOR)" = "$(VENV_IS_FOR)" || $(PYTHON) -m venv --clear .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@echo "$(CURDIR)" > $@

.venv-deploy/.installed: requirements/deploy.txt .venv/.installed
	@echo "Installing the checks of deploy/ into .venv-deploy"
	@test "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" || .venv/bin/python -m venv --clear .venv-deploy
	@.venv-deploy/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/deploy.txt
	@echo "$(CURDIR)" > $@

.venv-audit/.installed: requirements/audit.txt .venv/.installed
	@echo "Installing pip-audit and cyclonedx-bom into .venv-audit"
	@test "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" || .venv/bin/python -m venv --clear .venv-audit
	@.venv-audit/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt
	@echo "$(CURDIR)" > $@

.env:
	@$(PYTHON) -m stack.write_env

# Compose reads here which of the application's variables to pass on.
app/variables.env: app/lowtide.toml
	@$(PYTHON) -m lowtide.application names >$@.new
	@mv $@.new $@

.PHONY: note
note:
	@$(if $(RUNTIME_NOTE),echo "$(RUNTIME_NOTE)",:)

#@ Start here

.PHONY: up
up: note $(TOOLS) ## Build, migrate, start, and wait until the site answers
	@$(STACK) up

# Only HOST on make's own command line names a deployment, because many shells set a HOST of their own.
SITE = $(if $(filter command,$(origin HOST)),--host '$(HOST)' --memory-from '$(MEMORY_FROM)')
# What a site was asked, in place of the requests of app/lowtide.toml: FROM=access.log, and WRITES=1 for those that change data.
RECORDED = $(if $(filter command,$(origin FROM)),LOADTEST_FROM='$(FROM)' LOADTEST_WRITES='$(WRITES)')
.PHONY: loadtest
loadtest: $(if $(SITE),,note) setup ## Measure memory with and without the fix: VARIANTS="without lowtide" SCENARIO=article QUICK=1, HOST=https://...
	@$(RECORDED) .venv/bin/python -m loadtest $(SITE) $(ARGS)

.PHONY: down
down: $(TOOLS) ## Stop; data stays
	@$(STACK) down

.PHONY: replace
replace: $(TOOLS) ## Bring the present version into the running site without refusing a request (Docker); memory for two meanwhile
	@$(STACK) replace

.PHONY: adopt
adopt: setup ## Put your Django project in place of the sample application: make adopt PROJECT=../myservice
	@$(if $(PROJECT),,echo "Say which project: make adopt PROJECT=../myservice" >&2; exit 2;) .venv/bin/python -m stack.adopt '$(PROJECT)' $(if $(MANAGE),--manage '$(MANAGE)') $(ARGS)

#@ The running stack

.PHONY: logs
logs: $(TOOLS) ## Follow the logs
	@$(STACK) logs

.PHONY: shell
shell: $(TOOLS) ## A shell where the application runs
	@$(STACK) shell

.PHONY: manage
manage: $(TOOLS) ## Run manage.py: make manage ARGS="createsuperuser"
	@$(STACK) manage $(ARGS)

.PHONY: psql
psql: $(TOOLS) ## The database's prompt: make psql ARGS="-c 'SELECT 1'" (SQLite's, where that is the database)
	@$(STACK) psql $(ARGS)

.PHONY: backup
backup: $(TOOLS) ## Write the database into a file below var/backups, or TO=file
	@$(STACK) backup $(if $(TO),'$(TO)')

.PHONY: restore
restore: $(TOOLS) ## Put a backup back: make restore FROM=file, and OVERWRITE=yes where there is data
	@$(if $(FROM),,echo "Say which file: make restore FROM=var/backups/..." >&2; exit 2;) $(STACK) restore '$(FROM)' $(if $(filter yes,$(OVERWRITE)),--overwrite)

.PHONY: top
top: $(TOOLS) ## Which requests take the memory of the running server: make top ARGS="--once --routes"
	@$(STACK) run python -m lowtide top $(ARGS)

#@ More measurements (docs/loadtest.md)

.PHONY: compare
compare: note setup ## Every remedy, allocator and other server under the same load: QUICK=1 ROUNDS=5
	@VARIANTS="$${VARIANTS:-all}" .venv/bin/python -m loadtest $(ARGS)

.PHONY: sweep
sweep: note setup ## Memory against number of workers, share and size of large requests: about 20 minutes, QUICK=1 for 12
	@.venv/bin/python -m loadtest.commands.sweep $(ARGS)

.PHONY: agree
agree: setup ## Whether results/latest says the same as the published run: make agree ARGS=--markdown
	@.venv/bin/python -m loadtest.commands.agree $(ARGS)

.PHONY: publish
publish: setup ## Put the last result into README and docs: make publish ARGS=results/20261126-191910
	@.venv/bin/python -m loadtest.commands.publish $(ARGS)

.PHONY: limit
limit: setup ## How each variant ends in a container of 1.5 times the floor, with Docker: about 15 minutes
	@.venv/bin/python -m loadtest.commands.limit $(ARGS)

.PHONY: soak
soak: setup ## Whether it holds out under load and faults: make soak MINUTES=60 SEED=2
	@.venv/bin/python -m loadtest.commands.soak $(ARGS)

.PHONY: forks
forks: setup ## What a fork costs, in memory and in first requests, by what is done before it
	@.venv/bin/python -m loadtest.commands.forks $(ARGS)

.PHONY: loadtest-ui
loadtest-ui: note setup ## Locust's web page on http://127.0.0.1:8089, against a stack that is started for it
	@.venv/bin/python -m loadtest.commands.ui $(ARGS)

#@ Questions about an application of your own

.PHONY: check
check: setup ## Say what uWSGI makes of uwsgi.ini: make check ARGS="--memory 1g other.ini"
	@.venv/bin/python -m stack env python -m lowtide.start .venv/bin/lowtide check $(or $(ARGS),uwsgi.ini --container docker-compose.yml --service app)

.PHONY: size
size: setup ## Say which numbers to set, from the last measurement: ARGS="--memory 512m", ARGS=--apply writes what was measured
	@status=0; .venv/bin/lowtide size $(or $(filter-out --apply,$(ARGS)),results/latest/summary.json --memory $$(.venv/bin/python -m stack env printenv APP_MEMORY)) \
	  $(if $(filter --apply,$(ARGS)),--apply app/lowtide.toml) || status=$$?; \
	  $(if $(filter --apply,$(ARGS)),[ $$status -gt 1 ] || .venv/bin/python -m deploy.memory || status=$$?;) exit $$status

.PHONY: diagnose
diagnose: setup ## Leak, retention, a cache or DEBUG? make diagnose ARGS="--path / --times 30"
	@.venv/bin/python -m loadtest.commands.diagnose $(ARGS)

#@ Into the cloud (docs/aws.md)

.PHONY: deploy-aws-plan
deploy-aws-plan: setup ## What deploy-aws would change; changes nothing: make deploy-aws-plan ENV=staging
	@$(if $(ENV),,echo "Say which environment: make $@ ENV=staging" >&2; exit 2;) .venv/bin/python -m deploy.aws plan $(ENV) $(ARGS)

.PHONY: deploy-aws
deploy-aws: setup ## Bring an environment to AWS: shows what will change, and asks: make deploy-aws ENV=staging
	@$(if $(ENV),,echo "Say which environment: make $@ ENV=staging" >&2; exit 2;) .venv/bin/python -m deploy.aws deploy $(ENV) $(ARGS)

#@ Work on the code

.PHONY: setup
setup: .venv/.installed .env app/variables.env ## Install the tools and make .env; every other target does this by itself
	@:

.PHONY: dev
dev: setup ## Django's own server with DEBUG and the debug toolbar; it loads changed code anew (docs/first-day.md)
	@.venv/bin/python -m stack dev

.PHONY: test
test: note setup $(if $(wildcard tests/deploy),.venv-deploy/.installed) ## Run the tests that this machine can run; FAST=1: unit tests and a smoke run of the stack; NIGHT=1: long proofs too
	@.venv/bin/pytest $(if $(FAST),-m "not slow and not night",$(if $(NIGHT),-m "")) $(ARGS)

# Python:Django, each. Debian 12 has Python 3.11, Debian 13 has 3.13, Ubuntu 24.04 has 3.12; Django 6 needs 3.12.
VERSIONS ?= 3.11:5.2 3.12:6.0 3.13:5.2 3.13:6.1
# Compiled as pip does it: otherwise each start compiles, and what that takes counts as memory of the packages.
UV = UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PYTHON_DOWNLOADS=never .venv/bin/uv
.PHONY: test-versions
test-versions: setup ## The unit tests of app/ and lowtide/ with each Python and Django: make test-versions VERSIONS="3.13:6.1"
	@set -e; for version in $(VERSIONS); do \
	  tools="var/versions/python$${version%:*}-django$${version#*:}"; echo "Python $${version%:*}, Django $${version#*:}"; \
	  $(UV) venv --quiet --clear --python "$${version%:*}" "$$tools"; \
	  $(UV) pip install --quiet --python "$$tools/bin/python" --require-hashes -r requirements/dev.txt; \
	  $(UV) pip install --quiet --python "$$tools/bin/python" "django~=$${version#*:}.0"; \
	  $(UV) pip install --quiet --python "$$tools/bin/python" --no-deps --no-build-isolation --editable .; \
	  "$$tools/bin/python" -m pytest -q --durations=0 --durations-min=60 --ignore=tests/lowtide/tools $(ARGS) tests/app tests/lowtide; \
	done

.PHONY: docs
docs: setup ## The docs as a site, in var/docs; links are checked
	@.venv/bin/python docs/build.py

# The application's files too, unless app/lowtide.toml says `lint = false`.
LINT_APP = $(shell grep -q '^lint *= *false' app/lowtide.toml || echo yes)
ALL_BUT = $(if $(LINT_APP),,$(1))
.PHONY: lint
lint: setup ## Run every linter
	.venv/bin/ruff check . $(call ALL_BUT,--extend-exclude app)
	.venv/bin/ruff format --check . $(call ALL_BUT,--extend-exclude app)
	SECRET_KEY=not-used DJANGO_SETTINGS_MODULE=$(if $(LINT_APP),$$(.venv/bin/python -m lowtide.application settings),tests.settings) .venv/bin/mypy $(call ALL_BUT,deploy lowtide loadtest stack tests)
	.venv/bin/lint-imports --no-cache
	git ls-files -z '*.yml' '*.yaml' $(call ALL_BUT,':!app') | xargs -0 .venv/bin/yamllint --strict
	git ls-files -z $(call ALL_BUT,':!app') | xargs -0 grep -lZE '^#!.*\bbash' | xargs -0 .venv/bin/shellcheck
	.venv/bin/hadolint Dockerfile $(wildcard .ci/*/Dockerfile .devcontainer/Dockerfile)
	nginx/lint

.PHONY: format
format: setup ## Let ruff lay out the code
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

.PHONY: lock
lock: setup ## Renew the hash-pinned requirements: all to the newest, or some: make lock ARGS="app" for what is missing
	@.venv/bin/python -m stack.lock $(or $(ARGS),--upgrade)

.PHONY: images
images: setup ## Pin the base images by digest, or renew their digests: asks the registries, downloads nothing
	@.venv/bin/python -m stack.images

.PHONY: audit
audit: .venv-audit/.installed ## Ask which Python packages of the images have known vulnerabilities: exit code 1, or 2 if nobody could say
	@.venv/bin/python -m stack.audit

.PHONY: sbom
sbom: .venv-audit/.installed ## List the Python packages of the application's image, as CycloneDX: var/sbom.cdx.json
	@mkdir -p var
	@.venv/bin/python -m stack.sbom | PYTHONWARNINGS=ignore .venv-audit/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible -o var/sbom.cdx.json -
	@echo "var/sbom.cdx.json"

.PHONY: fork
fork: setup ## A new project of this repository: make fork NAME=pulse DEST=../pulse AUTHOR="Ada Lovelace" (docs/fork.md)
	@$(if $(and $(NAME),$(DEST)),,echo 'Say which: make $@ NAME=pulse DEST=../pulse' >&2; exit 2;) .venv/bin/python -m stack.fork '$(NAME)' '$(DEST)' '$(AUTHOR)'

.PHONY: update
update: setup ## In a fork: bring in later versions of the template; REF=v1.2 for one of them (docs/fork.md)
	@test -e .copier-answers.yml || { echo "This is no fork: git pull brings later versions." >&2; exit 2; }
	@.venv/bin/copier update --trust --defaults $(if $(REF),--vcs-ref '$(REF)') $(ARGS)

.PHONY: rename
rename: ## Give the service another name, everywhere: make rename NAME=pulse
	@$(if $(NAME),,echo "Say which name: make $@ NAME=pulse" >&2; exit 2;) $(PYTHON) -m stack.rename '$(NAME)'

.PHONY: help
help: ## List the targets
	@echo $(SERVICE)
	@awk -F ':.*## ' '/^#@ / {printf "%s\n", substr($$0, 4)} /^[a-z.-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Runtime: $(RUNTIME). Settings: .env.example."
