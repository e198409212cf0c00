# make demo: set up, train a spiking LeNet on real digits, draw the picture.   make test: set up, run the tests.
# make check: what a change must pass before it is committed.   make docs: the documentation site (site/index.html).
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# without the word of setuptools on folders beside the package, which fills a screen
PIP = PYTHONWARNINGS='ignore:Editable installation' $(BIN)/python -m pip

# the quickest half of the tests, by file: nothing that trains a network or starts a process
QUICK = tests/cells --ignore=tests/cells/test_batch_normalization.py tests/datasets tests/encoders tests/gradients \
	--ignore=tests/gradients/test_reads_before_updates.py tests/interchange/test_equations.py \
	tests/interchange/test_read.py tests/interchange/test_write.py tests/rnn/test_summary.py tests/test_architecture.py \
	tests/test_generated_pages.py tests/test_golden.py tests/test_losses.py tests/test_project.py tests/test_security.py

.PHONY: demo check test test-peers test-slow test-oldest test-browser lint docs notebooks bench release-check clean

demo: $(VENV)/.data
	$(BIN)/python -m examples.demo

# before a commit: lint, and the quickest tests
check: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal $(QUICK)

# one thread for each of the two processes: they are as many as the cores for which the time of the tests is meant
test: $(VENV)/.test
	TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

# beside other libraries: the same spikes and gradients, networks of ours in theirs and theirs in ours (installs torch);
# the slow ones too, which no other target runs with these libraries
test-peers: $(VENV)/.peers
	$(BIN)/python -c 'import nirtorch, norse, tonic'  # without one, its tests would be skipped
	$(BIN)/python -c 'from snntorch import functional, import_nir, spikegen'
	$(BIN)/python -c 'from spikingjelly.activation_based import nir_exchange'
	$(BIN)/python -m pytest -m "not browser" tests/interchange tests/datasets/test_tonic.py tests/test_benchmark_peers.py

test-slow: $(VENV)/.test
	$(BIN)/python -c 'import ai_edge_litert.interpreter, keras_tuner, nir, onnxruntime, tensorboard, tensorflow_datasets, tf2onnx' \
		2>/dev/null || { echo "A package of the extra test is missing: its tests would be skipped"; exit 1; }
	$(BIN)/python -m pytest -m slow -n 2 --dist worksteal

# the oldest TensorFlow and Keras of setup.cfg, in an environment of its own (newer tensorflow-metadata, which
# tensorflow-datasets needs, is made for a newer protobuf than this TensorFlow takes); of the slow tests those where Keras
# has changed most, as of several devices
test-oldest: BIN = $(VENV)-oldest/bin
test-oldest: $(VENV)-oldest/bin/python
	$(PIP) install --quiet --upgrade pip
	$(PIP) install --quiet --editable '.[test]' 'tensorflow==2.18.0' 'keras==3.12.0' \
		'tensorflow-metadata<1.18'
	$(BIN)/python -m pytest -n 2 --dist worksteal
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow tests/training

# the page of docs/watch in headless Chromium (needs chromium and its driver)
test-browser: $(VENV)/.browser
	$(BIN)/python -m pytest -m browser tests/watch

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict
	$(BIN)/python -m docs.watch --output site/watch --home ../index.html

# run the notebooks of examples/notebooks anew, from their .py files
notebooks: $(VENV)/.notebooks
	$(BIN)/python -m examples.notebooks

# dist/, its metadata, and the README's first lines with the wheel alone in a clean environment
release-check: $(VENV)/.release
	.ci/release-check $(BIN)/python

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run --resume --output build/benchmarks.md

$(VENV)-oldest/bin/python: NEWEST = 12
$(VENV)/bin/python: NEWEST = 13
# both named, not as a pattern: make 4.3 and older would take them for intermediate files and delete them at its end
$(VENV)/bin/python $(VENV)-oldest/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, $(NEWEST)))' || \
		{ echo "Python 3.10 to 3.$(NEWEST) is needed (this TensorFlow supports no other). Choose one: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv --clear $(@:/bin/python=) || \
		{ echo "On Debian: apt-get install python3-venv"; rm -rf $(@:/bin/python=); exit 1; }

# two installations at once would break the environment
.NOTPARALLEL:

# $(VENV)/.NAME: the package and its extra NAME are installed
$(VENV)/.%: setup.cfg $(VENV)/bin/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip --upgrade --default-pip >/dev/null || \
		{ echo "$(VENV) has no pip: it may be of another Python, or not finished. Remove it: make clean VENV=$(VENV)"; exit 1; }
	$(PIP) install --quiet --upgrade pip
	$(PIP) install --quiet --editable '.[$*]'
	@touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site *.egg-info demo_output
