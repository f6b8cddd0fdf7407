# The two commands: `make demo` and `make test`. Each sets up all that it needs in .venv.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
DEMO := demo-out
MODEL := $(DEMO)/digits.onnx

.PHONY: demo test lint bench tour train clean

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): about a minute, of which torch is the most ..."
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -q -e ".[export,image,examples,dev]"
	@touch $@

demo: $(VENV)/installed ## the main job on the bundled trained checkpoint
	@echo; echo "== 1. What is in the checkpoint?"
	$(BIN)/dcd-deploy inspect examples/digits/dcd.pth.tar --input-size 32
	@echo; echo "== 2. Export it, verified at every stage, with its static twin"
	$(BIN)/dcd-deploy export examples/digits/dcd.pth.tar --out $(DEMO) --name digits --input-size 32 --resize 32 \
	    --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --labels examples/digits/labels.txt --with-baseline
	@echo; echo "== 3. Verify the file once more against the checkpoint, as anyone can at any time"
	$(BIN)/dcd-deploy verify $(MODEL) --checkpoint examples/digits/dcd.pth.tar
	@echo; echo "== 4. Predict one held-out digit (a seven)"
	$(BIN)/dcd-deploy predict $(MODEL) examples/digits/seven.png --top 3
	@echo; echo "== 5. Time it against the static twin"
	$(BIN)/dcd-deploy bench $(MODEL)
	@echo; echo "This network is a toy: at 1.3 M multiply-adds what one sees is the cost of starting each node. At 224x224 see the"
	@echo "table in README.md. Next, with a checkpoint of your own:"
	@echo; echo "    $(BIN)/dcd-deploy export model_best.pth.tar --out deploy --with-baseline"
	@echo "    $(BIN)/dcd-deploy bench deploy/*_224.onnx"

test: $(VENV)/installed lint ## lint, types, tests
	$(BIN)/python -m pytest

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed ## measure all networks and write the table into README.md (about five minutes)
	$(BIN)/python scripts/results.py

tour: $(VENV)/installed ## run the commands of README.md's tour and put their output there
	$(BIN)/python scripts/tour.py

train: $(VENV)/installed ## train the two bundled checkpoints anew (about seven minutes)
	$(BIN)/python examples/digits/train.py --arch mobilenetv2_dcd --out examples/digits/dcd.pth.tar
	$(BIN)/python examples/digits/train.py --arch mobilenetv2 --out examples/digits/static.pth.tar

clean:
	rm -rf $(VENV) $(DEMO) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
