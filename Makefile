# make demo: pretrain on glyphs, finetune on real digits, offline.   make test: all checks.   make bench: speed (BENCH='survey --root DIR').   make docs: the tables of conf/README.md.   make gpu: what a GPU must do right, and how fast (GPU='--root DIR').   make fuzz: damaged files for every reader (FUZZ='--minutes 10 table').   make kills: runs killed at random moments.   All set themselves up.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
PRETRAINED := outputs/demo-pretrain
FINETUNED := outputs/demo-finetune

.PHONY: demo test bench gpu docs fuzz kills lint format clean

demo: $(VENV)/.installed
	rm -rf $(PRETRAINED) $(FINETUNED)
	$(BIN)/ptft stage=pretrain hydra.run.dir=$(PRETRAINED)
	$(BIN)/ptft stage=finetune ckpt=$(PRETRAINED) dataset.per_class=10 hydra.run.dir=$(FINETUNED)

# A process a core, and a thread a process: threads of two processes on the same cores wait for each other. A file's
# tests run in one process, which makes what they share.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

bench: $(VENV)/.tools
	$(BIN)/python -m tests.benchmarks $(BENCH)

gpu: $(VENV)/.tools
	$(BIN)/python -m tests.gpu $(GPU)

docs: $(VENV)/.tools
	$(BIN)/python -m tests.helpers.conf_readme

fuzz: $(VENV)/.tools
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults.fuzzing $(FUZZ)

kills: $(VENV)/.tools
	$(BIN)/python -m tests.faults.random_kills $(KILLS)

lint: $(VENV)/.tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache
