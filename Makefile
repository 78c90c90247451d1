# `make test` and `make demo` set up all they need. Another Python: make PYTHON=python3.12 ...
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
READY := $(VENV)/.ready
# what the picture of the demo shows and what is looked for: pairs of words that the detector has never seen together
PHRASES ?= white square. brown circle. red heart. orange drop
COINS := runs/demo/coins
# in a browser with windows, where there is one; without TERM none that takes over the terminal
OPEN := TERM= $(BIN)/python -m webbrowser

.PHONY: test test-slow test-unchanged demo coins docs lint clean

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
	$(MAKE) coins
	@$(OPEN) "file://$(CURDIR)/runs/demo/report.html" >/dev/null 2>&1 || true

# a real photo: half of it is learned in a minute, the other half tested before and after
coins: $(COINS)/before/result.json $(COINS)/after/result.json
	$(BIN)/python notebooks/coins.py compare $(COINS)/before $(COINS)/after $(COINS)/before_after.jpg

$(COINS)/photo/test/_annotations.coco.json: | $(READY)
	$(BIN)/python notebooks/coins.py photo $(COINS)/photo

# a run that was stopped begins anew: it takes a minute
$(COINS)/before/result.json: $(COINS)/photo/test/_annotations.coco.json
	rm -rf $(@D)
	WANDB_MODE=disabled $(BIN)/glip test --config custom_nano --data.root $(COINS)/photo --run $(@D)

$(COINS)/after/result.json: $(COINS)/photo/test/_annotations.coco.json
	rm -rf $(@D)
	WANDB_MODE=disabled $(BIN)/glip fit --config custom_nano --data.root $(COINS)/photo --data.copies 40 --trainer.max_steps 100 --run $(@D)

# uv installs the 6 GB of PyTorch several times faster than pip does
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --python $(BIN)/python --constraints constraints.txt --group dev --editable '.[all]'
	touch $@

# the site; strict: a link that leads nowhere fails. `.venv/bin/mkdocs serve` shows it, with search, while you write
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo site/index.html

clean:
	rm -rf $(VENV) runs notebooks/runs site
