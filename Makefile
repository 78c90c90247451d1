# `make test` and `make demo` set up all they need. Another Python: make PYTHON=python3.12 ...
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: test test-slow demo lint clean

test: lint
	$(BIN)/python -m pytest -m "not slow"

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

demo: $(READY)
	rm -rf runs/demo
	$(BIN)/glip fit --config recipes/demo.yaml --run runs/demo
	$(BIN)/glip predict runs/.shapes/test --detector runs/demo --out runs/demo/photos

# uv installs the 6 GB of PyTorch several times faster than pip does
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --python $(BIN)/python --constraints constraints.txt --group dev --editable .
	touch $@

clean:
	rm -rf $(VENV) runs
