# `make test` and `make demo` set up all they need. Another Python: make PYTHON=python3.12 ...
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := $(VENV)/.ready
# what the picture of the demo shows and what is looked for: pairs of words that the detector has never seen together
PHRASES ?= red heart. pink star. blue moon. orange drop
# in a browser with windows, where there is one; without TERM none that takes over the terminal
OPEN := TERM= $(BIN)/python -m webbrowser

.PHONY: test test-slow test-unchanged demo lint clean

# two processes of one thread each: most tests are too small for more threads
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" -n 2 --dist loadfile

test-slow: $(READY)
	$(BIN)/python -m pytest -m slow

# whether all detectors with all tunings come out as before, bit by bit: four minutes of one core
test-unchanged: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/support/unchanged.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyrefly check

# Called again, it goes on where it was stopped; `make clean` begins anew.
demo: $(READY)
	$(BIN)/python -m glip_lightning.shapes.phrase_picture "$(PHRASES)" runs/demo/things.jpg
	$(BIN)/glip predict runs/demo/things.jpg --phrases "$(PHRASES)" --detector glip-nano-c --out runs/demo/found
	WANDB_MODE=disabled $(BIN)/glip sweep recipes/sweeps/demo.yaml --dir runs/demo --workers 2
	$(BIN)/glip report runs/demo
	@$(OPEN) "file://$(CURDIR)/runs/demo/report.html" >/dev/null 2>&1 || true

# uv installs the 6 GB of PyTorch several times faster than pip does
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --python $(BIN)/python --constraints constraints.txt --group dev --editable '.[all]'
	touch $@

clean:
	rm -rf $(VENV) runs notebooks/runs
