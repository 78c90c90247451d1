# `make test` and `make demo` set up all they need. Another Python: make PYTHON=python3.12 ...
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: test test-slow demo lint clean

# two processes of one thread each: most tests are too small for more threads
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

demo: $(READY)
	rm -rf runs/demo
	$(BIN)/glip fit --config recipes/demo.yaml --run runs/demo
	$(BIN)/glip predict runs/.shapes/Blocks/test --detector runs/demo --out runs/demo/photos

# uv installs the 6 GB of PyTorch several times faster than pip does
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --python $(BIN)/python --constraints constraints.txt --group dev --editable .
	touch $@

clean:
	rm -rf $(VENV) runs
