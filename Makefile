# The two commands: `make demo` and `make test`. Each sets up all that it needs in .venv. Python compiles what is imported
# when it is (--no-compile): of what is installed here most never is, and compiling all takes half of the installation.
# It keeps what it compiled, also where a container says that it should not: torch takes three times as long to compile.
unexport PYTHONDONTWRITEBYTECODE

PYTHON ?= python3.11
VENV := .venv
OLD_VENV := .venv-tflite-runtime
KOTLIN := .venv-kotlin
ONNXRUNTIME := .venv-onnxruntime
BIN := $(VENV)/bin
DEMO := demo-out
MODEL := $(DEMO)/digits
PHOTOGRAPHS := examples/photographs

.PHONY: demo test test-long test-exhaustive test-all wheel lint bench tour docs train train-photographs clean

$(VENV)/installed: pyproject.toml constraints.txt
	@echo "Setting up $(VENV): one to three minutes, of which torch is the most ..."
	$(PYTHON) -m venv $(VENV)
	PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -q --no-compile -e ".[export,tflite-export,image,report,examples]"
	@touch $@

# What the tests and the documentation need more.
$(VENV)/developed: $(VENV)/installed
	@echo "Setting up what the tests need in $(VENV) ..."
	PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -q --no-compile -e ".[executorch,docs,dev]"
	@touch $@

# TFLite's older interpreter, and the standard reader of TFLite metadata, which wants libusb.
$(OLD_VENV)/installed: constraints-tflite-runtime.txt
	@echo "Setting up $(OLD_VENV) ..."
	@ldconfig -p | grep -q libusb-1.0.so.0 || { apt-get update -qq && apt-get install -y -qq libusb-1.0-0; }
	$(PYTHON) -m venv $(OLD_VENV)
	PIP_CONSTRAINT=constraints-tflite-runtime.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	    $(OLD_VENV)/bin/python -m pip install -q --no-compile tflite-runtime flatbuffers numpy
	PIP_CONSTRAINT=constraints-tflite-runtime.txt PIP_DISABLE_PIP_VERSION_CHECK=1 \
	    $(OLD_VENV)/bin/python -m pip install -q --no-compile --no-deps tflite-support
	@touch $@

# onnxruntime's package for Android, which an npm package for Unity carries: its C++ headers, its Java classes.
ONNXRUNTIME_PACKAGE := com.github.asus4.onnxruntime@0.4.9
ONNXRUNTIME_AAR := package/Plugins/Android/onnxruntime.aar
ONNXRUNTIME_SHA256 := 98cddbac92640b4a6af72a03c42e0491851f366d3da66bbaeb5dd66310946cf2
$(ONNXRUNTIME)/installed:
	@echo "Fetching onnxruntime's headers and Java classes (150 MB, of which 1 MB is kept) ..."
	@command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq npm; }
	rm -rf $(ONNXRUNTIME) && mkdir $(ONNXRUNTIME)
	npm pack --silent --pack-destination $(ONNXRUNTIME) $(ONNXRUNTIME_PACKAGE) >/dev/null
	tar -xzf $(ONNXRUNTIME)/*.tgz -C $(ONNXRUNTIME) --occurrence=1 $(ONNXRUNTIME_AAR) && rm $(ONNXRUNTIME)/*.tgz
	echo "$(ONNXRUNTIME_SHA256)  $(ONNXRUNTIME)/$(ONNXRUNTIME_AAR)" | sha256sum --check --quiet
	cd $(ONNXRUNTIME) && $(PYTHON) -c "from zipfile import ZipFile; aar = ZipFile('$(ONNXRUNTIME_AAR)'); \
	    aar.extractall('.', [name for name in aar.namelist() if name.startswith(('headers/', 'classes.jar'))])"
	mv $(ONNXRUNTIME)/classes.jar $(ONNXRUNTIME)/onnxruntime.jar && rm -r $(ONNXRUNTIME)/package
	@touch $@

demo: $(VENV)/installed ## the main job on the bundled trained checkpoint
	@echo; echo "== 1. What is in the checkpoint?"
	$(BIN)/dcd-deploy inspect examples/digits/dcd.pth.tar --input-size 32
	@echo; echo "== 2. Export it to ONNX and TFLite, verified at every stage, each with its static twin"
	$(BIN)/dcd-deploy export examples/digits/dcd.pth.tar --to onnx,tflite --out $(DEMO) --name digits --input-size 32 --resize 32 \
	    --mean 0.5,0.5,0.5 --std 0.5,0.5,0.5 --labels examples/digits/labels.txt --with-baseline
	@echo; echo "== 3. Verify the files once more against the checkpoint, as anyone can at any time"
	$(BIN)/dcd-deploy verify $(MODEL).onnx --checkpoint examples/digits/dcd.pth.tar
	$(BIN)/dcd-deploy verify $(MODEL).tflite --checkpoint examples/digits/dcd.pth.tar
	@echo; echo "== 4. Predict one held-out digit (a seven)"
	$(BIN)/dcd-deploy predict $(MODEL).onnx examples/digits/seven.png --top 3
	$(BIN)/dcd-deploy predict $(MODEL).tflite examples/digits/seven.png --top 3
	@echo; echo "== 5. Time them against their static twins"
	@echo "(This network is a toy of 1.3 M multiply-adds: what one sees here is the cost of starting 600 nodes, not of the"
	@echo "network. At 224x224 the ratio is 1.1 to 1.9: see docs/results.md.)"
	$(BIN)/dcd-deploy bench $(MODEL).onnx $(MODEL).tflite --save $(DEMO)/bench.html
	@echo; echo "== 6. A network of twelve photographs, with weights in int8: name a crop of one (coffee)"
	$(BIN)/dcd-deploy export $(PHOTOGRAPHS)/dcd.pth.tar --out $(DEMO) --name photographs --input-size 96 --resize 96 \
	    --labels $(PHOTOGRAPHS)/labels.txt --weights int8
	$(BIN)/dcd-deploy predict $(DEMO)/photographs.onnx $(PHOTOGRAPHS)/coffee.png --top 3
	@echo; echo "Done: both files compute what was trained (to 5e-5 of the outputs' range, on every stage), and both say seven."
	@echo "The benchmark as a page: $(DEMO)/bench.html"
	@echo "Next, with a checkpoint of your own:"
	@echo; echo "    $(BIN)/dcd-deploy export model_best.pth.tar --to onnx,tflite --out deploy --with-baseline"
	@echo "    $(BIN)/dcd-deploy bench deploy/*_224.onnx"

TWO_AT_ONCE := --numprocesses 2 --dist loadfile --no-loadscope-reorder  # tests/conftest.py orders the files

test: lint tests ## lint, types, and the tests that need Python's packages alone (tests/lanes.py)

.PHONY: tests
tests: $(VENV)/developed
	$(BIN)/python -m pytest -m "not long and not exhaustive" $(TWO_AT_ONCE) --durations=10

test-long: test-programs ## the other tests: devices, emulated processors, browsers, each format in full
	$(BIN)/python -m pytest -m "long and not exhaustive" $(TWO_AT_ONCE) --durations=15

test-exhaustive: test-programs ## every option beside every other, every published network
	$(BIN)/python -m pytest -m exhaustive $(TWO_AT_ONCE) --durations=15

.PHONY: test-programs
test-programs: $(VENV)/developed $(OLD_VENV)/installed $(ONNXRUNTIME)/installed
	@PATH="$$PATH:/usr/sbin"; for pair in chromium adb mksh toybox gcc g++ cmake npm aarch64-linux-gnu-g++=g++-aarch64-linux-gnu \
	    java=default-jre-headless sshd=openssh-server; do \
	    command -v "$${pair%%=*}" >/dev/null || set -- "$$@" "$${pair#*=}"; done; \
	    test $$# -eq 0 || { apt-get update -qq && apt-get install -y -qq "$$@"; }
	@test -d $(KOTLIN)/node_modules/kotlin-compiler || npm install --silent --no-save --prefix $(KOTLIN) kotlin-compiler@2.4.20
	$(BIN)/dcd-deploy setup-emulated --install

test-all: ## all three, one after the other
	$(MAKE) test
	$(MAKE) test-long
	$(MAKE) test-exhaustive

wheel: $(VENV)/developed ## dist/dcd_deploy-….whl
	$(BIN)/python -m pip wheel -q --no-deps -w dist .
	@ls dist/*.whl

lint: $(VENV)/developed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/developed ## measure all networks and write the tables of docs/ and README.md (about two hours)
	$(BIN)/python scripts/results.py --out bench-out/results
	$(BIN)/python scripts/speed.py --out bench-out/speed --write
	$(BIN)/python scripts/ablation.py --out bench-out/ablation --write
	$(BIN)/python scripts/fit_costs.py --out bench-out/costs --write
	$(BIN)/python scripts/front_page.py
	$(BIN)/python scripts/figures.py

tour: $(VENV)/developed ## run the commands of README.md and of docs/quick-start.md, and put their output there
	$(BIN)/python scripts/tour.py

docs: $(VENV)/developed ## build/site from docs/, strictly; a dead link is an error
	$(BIN)/python scripts/commands_page.py
	$(BIN)/python scripts/figures.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "The site: build/site/index.html"

train: $(VENV)/installed ## train the two bundled checkpoints anew (about seven minutes)
	$(BIN)/python examples/digits/train.py --arch mobilenetv2_dcd --out examples/digits/dcd.pth.tar
	$(BIN)/python examples/digits/train.py --arch mobilenetv2 --out examples/digits/static.pth.tar

# The photographs are files in scikit-image's wheel, which nothing imports: what it would bring with it is not needed.
$(VENV)/pictured: $(VENV)/installed
	PIP_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -q --no-compile --no-deps scikit-image
	@touch $@

train-photographs: $(VENV)/pictured ## train the photographs' two checkpoints anew, side by side (half an hour on two cores)
	$(MAKE) -j 2 $(PHOTOGRAPHS)/dcd.trained $(PHOTOGRAPHS)/static.trained

%.trained:
	OMP_NUM_THREADS=1 $(BIN)/python $(PHOTOGRAPHS)/train_photographs.py --out $*.pth.tar \
	    --arch $(if $(findstring dcd,$*),mobilenetv2_dcd,mobilenetv2)

clean:
	rm -rf $(VENV) $(OLD_VENV) $(KOTLIN) $(ONNXRUNTIME) $(DEMO) bench-out build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
