# Everything sets itself up: Python 3.11+, make and the package registries are enough.
PYTHON ?= python3
TOOLS := .venv/bin
ARGS ?=
# Certificates of this machine, so that a company's own registry mirror is trusted.
export UV_SYSTEM_CERTS := true

.PHONY: setup demo test live check bench bench-demo bench-detect bench-diagnose bench-loop bench-healthy bench-laws bench-overhead bench-simulate bench-review lock clean

setup: .venv/.ready

.venv/.ready: pyproject.toml requirements.lock
	@echo "Setting up .venv (once; about a minute) ..."
	@test -x .uv/bin/uv || { $(PYTHON) -m venv .uv && .uv/bin/python -m pip install --quiet --disable-pip-version-check uv; }
	@.uv/bin/uv venv --quiet --allow-existing --python $(PYTHON) .venv
	@.uv/bin/uv pip sync --quiet --compile-bytecode --python .venv --require-hashes requirements.lock
	@.uv/bin/uv pip install --quiet --python .venv --no-deps --editable .
	@touch $@

demo: setup
	@$(TOOLS)/levelhead demo $(ARGS)

test: setup
	@$(TOOLS)/python -m pytest -n 3 --dist loadscope $(ARGS)

live: setup
	@$(TOOLS)/python -m pytest tests/live $(ARGS)

check: setup
	@$(TOOLS)/ruff check src tests bench
	@$(TOOLS)/mypy
	@$(TOOLS)/lint-imports
	@$(TOOLS)/python -m pytest tests/test_docs.py tests/test_shape.py

bench: bench-healthy bench-demo bench-overhead bench-simulate

bench-overhead: setup
	@$(TOOLS)/python bench/overhead.py $(ARGS)

bench-demo: setup
	@$(TOOLS)/python bench/demo.py $(ARGS)

bench-detect: setup
	@$(TOOLS)/python bench/detect.py $(ARGS)

bench-diagnose: setup
	@$(TOOLS)/python bench/diagnose.py $(ARGS)

bench-loop: setup
	@$(TOOLS)/python bench/loop.py $(ARGS)

bench-healthy: setup
	@$(TOOLS)/python bench/healthy.py $(ARGS)

bench-laws: setup
	@$(TOOLS)/python bench/laws.py $(ARGS)

bench-simulate: setup
	@$(TOOLS)/python bench/simulate.py $(ARGS)

bench-review: setup
	@$(TOOLS)/python -m bench.review $(ARGS)

lock: setup
	@.uv/bin/uv pip compile --quiet --universal --generate-hashes --group dev --no-header --no-annotate pyproject.toml -o requirements.lock

clean:
	rm -rf .venv .uv
