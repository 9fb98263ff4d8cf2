# Two commands for a fresh clone: `make demo` and `make test`. Each makes .venv and installs what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Two files of tests side by side: most of a test is one core's work. Each takes 1 to 3 GB (tests/worker_processes.py).
JOBS ?= 2
PYTEST := -m pytest --jobs $(JOBS)

.PHONY: demo test test-oldest test-s3 test-serving bench-torch bench-monai bench-input bench-predict lint format clean

demo: $(INSTALLED)
	$(BIN)/python -m kseg.prepare pipelines/phantom.toml --force
	$(BIN)/python -m kseg.train pipelines/phantom.toml --force
	$(BIN)/python -m kseg.phantom --out build/demo/scans --subjects 1 --shape 64 64 96 --difficulty 0.3 --seed 99 --force
	$(BIN)/python -m kseg.predict phantom build/demo/scans/images --out build/demo/masks --force
	$(BIN)/python -m kseg.evaluate phantom
	$(BIN)/python -m kseg.export phantom

test: $(INSTALLED) lint
	$(BIN)/python $(PYTEST)
	KERAS_BACKEND=jax JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/python -m pytest -q tests/nn/test_layers.py tests/nn/test_losses.py tests/nn/test_kernel_reuse.py \
		tests/nn/test_pooling.py tests/nn/test_partly_labelled_loss.py tests/nn/test_parametric_tversky.py tests/nn/test_segmentation_loss.py \
		tests/nn/test_activation.py tests/nn/test_transposed_convolution.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The oldest versions that setup.cfg allows (.ci/oldest.txt): the lower bounds are promises too. What takes long and asks
# no library for more than other files do (pages, benchmarks, killed processes, the ways of a dataset through all
# commands) is not run twice: .ci/not_with_oldest.txt leaves it out.
test-oldest: .venv-oldest/.installed
	.venv-oldest/bin/python $(PYTEST) -q @.ci/not_with_oldest.txt tests

# Shards in s3://, in an environment of its own: tensorflow-io suits one TensorFlow alone.
test-s3: .venv-io/.installed
	.venv-io/bin/python -m pytest -q tests/test_s3.py

# A SavedModel where there is an older TensorFlow, and neither kseg nor Keras, beside the masks of kseg.predict.
CASES := build/test-serving
test-serving: $(INSTALLED) .venv-plain/.installed
	$(BIN)/python -m kseg.prepare tests/serving/leg.toml --force
	$(BIN)/python -m kseg.train tests/serving/leg.toml --force
	$(BIN)/python -m kseg.evaluate test-serving --split val
	$(BIN)/python -m kseg.export test-serving
	rm -rf $(CASES)
	for format in nii.gz mha; do \
		$(BIN)/python -m kseg.phantom --out $(CASES)/$$format --shape 35 30 51 --seed 9 --format $$format || exit 1; done
	$(BIN)/python tests/serving/masks_of_predict.py test-serving $(CASES)/*/images --out $(CASES)/masks
	.venv-plain/bin/python tests/serving/check_plain.py saved_models/test-serving/1 $(CASES)/masks

# Beside PyTorch, by hand: see tests/benchmarks/README.md.
bench-torch: $(INSTALLED) .venv-torch/.installed
	$(BIN)/python tests/benchmarks/step_beside_torch.py .venv-torch/bin/python

# Masks beside MONAI's UNet, by hand: 30 minutes of training each. RECIPE is a recipe and changes to it.
RECIPE ?= pipelines/phantom.toml phantom.difficulty=1
bench-monai: $(INSTALLED) .venv-monai/.installed
	$(BIN)/python tests/benchmarks/masks_beside_monai.py .venv-monai/bin/python $(RECIPE)

# Patches a second beside MONAI and TorchIO, by hand.
bench-input: $(INSTALLED) .venv-monai/.installed
	mkdir -p build
	$(BIN)/python tests/benchmarks/input_beside_peers.py .venv-monai/bin/python

# A whole scan to its mask beside MONAI and nnU-Net, by hand: an hour a side at most. PREDICT takes options.
PREDICT ?= --preset kseg midl2021
bench-predict: $(INSTALLED) .venv-monai/.installed .venv-plain/.installed
	$(BIN)/python tests/benchmarks/predict_beside_peers.py $(PREDICT)

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(INSTALLED): setup.cfg pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev,jax,dask,serving,onnx,tensorrt-rtx,dicom-seg,statistics]'
	touch $@

.venv-oldest/.installed: setup.cfg pyproject.toml .ci/oldest.txt
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --upgrade pip
	.venv-oldest/bin/python -m pip install --quiet --constraint .ci/oldest.txt --editable '.[dev,dask,serving,onnx,tensorrt-rtx,dicom-seg,statistics]'
	touch $@

.venv-io/.installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv-io
	.venv-io/bin/python -m pip install --quiet --upgrade pip
	.venv-io/bin/python -m pip install --quiet --editable '.[dev,io,moto]'
	touch $@

.venv-plain/.installed: setup.cfg
	$(PYTHON) -m venv .venv-plain
	.venv-plain/bin/python -m pip install --quiet --upgrade pip
	.venv-plain/bin/python -m pip install --quiet 'tensorflow>=2.20,<2.21' # older than what exports
	.venv-plain/bin/python -m pip uninstall --quiet --yes keras # which it installs too: the model must not need it
	touch $@

.venv-torch/.installed:
	$(PYTHON) -m venv .venv-torch
	.venv-torch/bin/python -m pip install --quiet torch numpy
	touch $@

.venv-monai/.installed:
	$(PYTHON) -m venv .venv-monai
	.venv-monai/bin/python -m pip install --quiet 'monai>=1.6,<1.7' 'torchio>=1.2,<1.3' 'torch>=2.8,<3' 'nibabel>=5.2,<6' 'numpy>=1.26,<3' \
		'nnunetv2>=2.8,<2.9'
	touch $@

clean:
	rm -rf $(VENV) .venv-oldest .venv-io .venv-plain .venv-torch .venv-monai build *.egg-info
