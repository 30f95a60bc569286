# Every command sets up what it needs; `make` alone lists them.
SCALE ?= default
SEEDS ?= # those of the scale
SEED = $(if $(strip $(SEEDS)),seed=$(strip $(SEEDS)))
PYTHON ?= python3.11
BIN := .venv/bin
RUN := $(BIN)/python

.DEFAULT_GOAL := help
.PHONY: help setup reproduce-ucf11 controls-ucf11 rates-ucf11 rate-curves-ucf11 rates-ucf101 \
	reproduce-ucf101 recipe-ucf101 groups-ucf101 rivals-ucf101 features-ucf101 compressed-ucf101 rates-scaled-ucf101 shapes-ucf101 \
	reproduce-weizmann data-ucf11 data-ucf101 reproduce-draw controls-draw rates-draw reproduce-mnist rates-mnist data-mnist \
	reproduce-captioning controls-captioning rates-captioning data-coco reproduce-flickr8k rates-flickr8k data-flickr8k \
	reproduce reproduce-sensitivity complexity dashboard \
	notebooks docs collect tables figures publish repeat bench check-gpu formats test reliability lint format clean

help: ## list the commands
	@echo "make TARGET [SCALE=smoke|default|extended|paper] [SEEDS=0,1,2, but runs that name their seeds below keep them]"
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/setup-done ## make .venv and install the pinned requirements and this package

.venv/setup-done: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

reproduce-ucf11: setup ## train LSTM, TT-LSTM and BT-LSTM on UCF11 (or its stand-in) and print the paper's table beside ours
	@$(RUN) experiments/reproduce.py experiment=ucf11 scale=$(SCALE) $(SEED)

controls-ucf11: setup ## the same on a random split and with groups apart, both input scalings, seeds 0 to 2 (2 to 6 hours; SCALE=extended twice that)
	@$(RUN) experiments/reproduce.py experiment=ucf11 scale=$(SCALE) \
		data.protocol=paper,grouped data.scaling=raw,normalized seed=0,1,2

rates-ucf11: setup ## choose each model's learning rate on validation data
	@$(RUN) experiments/reproduce.py experiment=ucf11_rates scale=$(SCALE)

rate-curves-ucf11: setup ## accuracy against the learning rate on the paper's random split, three seeds (8 hours, estimated; SEEDS=0 a third)
	@$(RUN) experiments/reproduce.py experiment=ucf11_rates_random_split scale=$(SCALE) $(SEED)

rates-ucf101: setup ## the same on eleven classes of UCF101, which must be in data/UCF-101: 253 runs (three hours on a GPU, a day on 2 cores)
	@$(RUN) experiments/train.py experiment=ucf101_rates scale=$(SCALE) model=lstm task.learning_rate=3e-5,1e-4,1e-3 seed=2,3,4
	@$(RUN) experiments/train.py experiment=ucf101_rates scale=$(SCALE) model=tt_lstm,bt_lstm task.learning_rate=1e-4,1e-3 seed=2,3,4
	@$(RUN) experiments/reproduce.py experiment=ucf101_rates scale=$(SCALE) $(SEED)
	@$(RUN) experiments/train.py experiment=ucf101_rates_raw scale=$(SCALE) model=lstm task.learning_rate=1e-4,1e-3,3e-3 seed=2,3,4
	@$(RUN) experiments/train.py experiment=ucf101_rates_raw scale=$(SCALE) model=tt_lstm,bt_lstm task.learning_rate=1e-4,1e-3 seed=2,3,4
	@$(RUN) experiments/reproduce.py experiment=ucf101_rates_raw scale=$(SCALE) $(SEED)
	@$(RUN) experiments/train.py experiment=ucf101_rates_no_dropout scale=$(SCALE) $(SEED) \
		data.scaling=raw task.learning_rate=3e-3,1e-2
	@$(RUN) experiments/train.py experiment=ucf101_rates_no_dropout scale=$(SCALE) data.scaling=normalized task.learning_rate=1e-5,1e-4 seed=2,3,4
	@$(RUN) experiments/train.py experiment=ucf101_rates_no_dropout scale=$(SCALE) data.scaling=raw task.learning_rate=1e-4,1e-3 seed=2,3,4
	@$(RUN) experiments/reproduce.py experiment=ucf101_rates_no_dropout scale=$(SCALE) $(SEED)
	@$(RUN) experiments/train.py experiment=ucf101_rates_raw_small scale=$(SCALE) $(SEED) \
		model=tt_lstm,bt_lstm task.learning_rate=1e-4,3e-4,1e-3,3e-3,1e-2
	@$(RUN) experiments/train.py experiment=ucf101_rates_raw_small scale=$(SCALE) model=lstm task.learning_rate=1e-7 seed=2,3,4
	@$(RUN) experiments/train.py experiment=ucf101_rates_raw_small scale=$(SCALE) model=tt_lstm task.learning_rate=3e-3 seed=2,3,4
	@$(RUN) experiments/train.py experiment=ucf101_rates_raw_small scale=$(SCALE) model=bt_lstm task.learning_rate=1e-3 seed=2,3,4
	@$(RUN) experiments/reproduce.py experiment=ucf101_rates_raw_small scale=$(SCALE) $(SEED)

recipe-ucf101: setup ## the released recipe on those classes, 500 epochs: 15 runs (20 hours on 2 cores, estimated)
	@$(RUN) experiments/train.py experiment=ucf101 scale=$(SCALE) $(SEED) model=bt_lstm ranks.tucker=1,2
	@$(RUN) experiments/reproduce.py experiment=ucf101 scale=$(SCALE) $(SEED)

groups-ucf101: setup ## five folds in which each group is tested once, after the choice of rates, and controls: 190 runs
	@$(RUN) experiments/train.py experiment=ucf101_groups_rates scale=$(SCALE) $(SEED) \
		model=lstm task.learning_rate=3e-6,1e-5,3e-5,1e-4,3e-4
	@$(RUN) experiments/train.py experiment=ucf101_groups_rates scale=$(SCALE) $(SEED) \
		model=bt_lstm ranks.tucker=1 task.learning_rate=1e-3,3e-3,1e-2,3e-2,1e-1
	@$(RUN) experiments/train.py experiment=ucf101_groups_rates scale=$(SCALE) $(SEED) \
		model=bt_lstm ranks.tucker=2 task.learning_rate=3e-4,1e-3,3e-3,1e-2,3e-2
	@$(RUN) experiments/reproduce.py experiment=ucf101_groups_rates scale=$(SCALE) $(SEED)
	@$(RUN) experiments/train.py experiment=ucf101_groups scale=$(SCALE) $(SEED) model=bt_lstm ranks.tucker=1,2 task.learning_rate=1e-2
	@$(RUN) experiments/train.py experiment=ucf101_groups scale=$(SCALE) $(SEED) data.frame_order=shuffled
	@$(RUN) experiments/train.py experiment=ucf101_groups scale=$(SCALE) $(SEED) model=tt_lstm,bt_lstm data.pixel_order=channels
	@$(RUN) experiments/train.py experiment=ucf101_groups scale=$(SCALE) model=lstm seed=1,2
	@$(RUN) experiments/train.py experiment=ucf101_groups scale=$(SCALE) model=tt_lstm,bt_lstm \
		data.pixel_order=rows,random seed=0,1,2
	@$(RUN) experiments/train.py experiment=ucf101_groups scale=$(SCALE) $(SEED) \
		model=lstm,bt_lstm data.num_train=112 data.passes=8
	@$(RUN) experiments/train.py experiment=ucf101_groups scale=$(SCALE) $(SEED) \
		model=lstm,bt_lstm data.num_train=225 data.passes=4
	@$(RUN) experiments/train.py experiment=ucf101_groups scale=$(SCALE) $(SEED) \
		model=lstm,bt_lstm data.num_train=450 data.passes=2
	@$(RUN) experiments/reproduce.py experiment=ucf101_groups scale=$(SCALE) $(SEED)

TENSOR_RING := model=tr_lstm 'modes={input: [4, 2, 5, 8, 6, 5, 3, 2], hidden: [4, 4, 2, 4, 2]}' \
	'model.layer.tr_rank=[10, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5]'
AVERAGED := model=averaged_lstm model.layer.input_map.side=20
RANK_1 := model=low_rank_lstm model.layer.rank=1
ONE_UNIT := model=small_lstm model.layer.hidden_size=1
OTHER_CELLS := model=double_bt_lstm,gru,bt_gru
rivals-ucf101: setup ## other small W, U and cells on the same folds, after the choice of their rates: 227 runs
	@$(RUN) experiments/train.py experiment=ucf101_rivals_rates_scaled scale=$(SCALE) $(SEED) $(TENSOR_RING)
	@$(RUN) experiments/train.py experiment=ucf101_rivals_rates_scaled scale=$(SCALE) $(SEED) $(AVERAGED) \
		task.learning_rate=3e-5,1e-4,3e-4,1e-3,3e-3
	@$(RUN) experiments/train.py experiment=ucf101_rivals_rates_scaled scale=$(SCALE) $(SEED) $(RANK_1) \
		task.learning_rate=1e-4,3e-4,1e-3,3e-3,1e-2,3e-2
	@$(RUN) experiments/train.py experiment=ucf101_rivals_rates_scaled scale=$(SCALE) $(SEED) $(ONE_UNIT)
	@$(RUN) experiments/train.py experiment=ucf101_rivals_rates_scaled scale=$(SCALE) $(SEED) $(OTHER_CELLS)
	@$(RUN) experiments/reproduce.py experiment=ucf101_rivals_rates_scaled scale=$(SCALE) $(SEED)
	@$(RUN) experiments/train.py experiment=ucf101_rivals scale=$(SCALE) $(SEED) $(TENSOR_RING)
	@$(RUN) experiments/train.py experiment=ucf101_rivals scale=$(SCALE) $(SEED) $(AVERAGED) task.learning_rate=1e-4
	@$(RUN) experiments/train.py experiment=ucf101_rivals scale=$(SCALE) $(SEED) $(RANK_1) task.learning_rate=1e-2
	@$(RUN) experiments/train.py experiment=ucf101_rivals scale=$(SCALE) $(SEED) $(ONE_UNIT)
	@$(RUN) experiments/train.py experiment=ucf101_rivals scale=$(SCALE) $(SEED) $(OTHER_CELLS)
	@$(RUN) experiments/reproduce.py experiment=ucf101_rivals scale=$(SCALE) $(SEED)

features-ucf101: setup ## features of EfficientNet-Lite0 in place of pixels on the same folds, after the choice of rates: 94 runs
	@$(RUN) experiments/reproduce.py experiment=ucf101_features_rates_scaled scale=$(SCALE) $(SEED)
	@$(RUN) experiments/train.py experiment=ucf101_features scale=$(SCALE) $(SEED) \
		model=lstm,bt_lstm trainer.precision=bf16-mixed
	@$(RUN) experiments/reproduce.py experiment=ucf101_features scale=$(SCALE) $(SEED)
	@$(RUN) experiments/reproduce.py experiment=ucf101_maps_rates_scaled scale=$(SCALE) $(SEED)
	@$(RUN) experiments/reproduce.py experiment=ucf101_maps scale=$(SCALE) $(SEED)

compressed-ucf101: groups-ucf101 ## the dense LSTMs of those folds, W by factors fitted to it, trained on; beside it from scratch: 73 runs
	@$(RUN) experiments/train.py experiment=ucf101_compressed_rates scale=$(SCALE) $(SEED) \
		start=null task.learning_rate=1e-4,3e-4,1e-3,3e-3
	@$(RUN) experiments/train.py experiment=ucf101_compressed_rates scale=$(SCALE) $(SEED) \
		model=lstm task.learning_rate=1e-6,3e-6,1e-5,3e-5
	@$(RUN) experiments/reproduce.py experiment=ucf101_compressed_rates scale=$(SCALE) $(SEED)
	@$(RUN) experiments/train.py experiment=ucf101_compressed scale=$(SCALE) $(SEED) start=null task.learning_rate=1e-3
	@$(RUN) experiments/train.py experiment=ucf101_compressed scale=$(SCALE) $(SEED) model=lstm
	@$(RUN) experiments/reproduce.py experiment=ucf101_compressed scale=$(SCALE) $(SEED)

PAIRS := model=bt_lstm 'modes={input: [320, 180], hidden: [16, 16]}'
UNSCALED := optimizer.scaled=false task.learning_rate=3e-4,1e-3,3e-3,1e-2
rates-scaled-ucf101: setup ## one learning rate for all models? validation loss with rates scaled by layer, and without: 67 runs
	@$(RUN) experiments/train.py experiment=ucf101_rates_scaled scale=$(SCALE) $(SEED) model=bt_lstm ranks.tucker=1
	@$(RUN) experiments/train.py experiment=ucf101_rates_scaled scale=$(SCALE) $(SEED) $(PAIRS) ranks.tucker=1,4
	@$(RUN) experiments/train.py experiment=ucf101_rates_scaled scale=$(SCALE) $(SEED) $(UNSCALED) \
		model=tt_lstm,bt_lstm,tr_lstm,cp_lstm
	@$(RUN) experiments/train.py experiment=ucf101_rates_scaled scale=$(SCALE) $(SEED) $(UNSCALED) $(PAIRS) ranks.tucker=1,4
	@$(RUN) experiments/train.py experiment=ucf101_rates_scaled scale=$(SCALE) $(SEED) $(UNSCALED),3e-2 model=bt_lstm ranks.tucker=1
	@$(RUN) experiments/train.py experiment=ucf101_rates_scaled scale=$(SCALE) $(SEED) $(UNSCALED),1e-4 model=low_rank_lstm
	@$(RUN) experiments/train.py experiment=ucf101_rates_scaled scale=$(SCALE) $(SEED) optimizer.scaled=false \
		model=lstm task.learning_rate=3e-6,1e-5,3e-5,1e-4,3e-4,1e-3
	@$(RUN) experiments/reproduce.py experiment=ucf101_rates_scaled scale=$(SCALE) $(SEED)

SHAPES := experiments/train.py experiment=ucf101_sensitivity
ONE_TERM := $(PAIRS) ranks.tucker=1 ranks.num_blocks=1
MORE_TERMS := $(PAIRS) ranks.num_blocks=2
THIRD_SEED := seed=2 task.learning_rate=1e-3,3e-3
shapes-ucf101: setup ## accuracy against d, R and N on the random split, each shape at its own rate: 220 runs
	@$(RUN) $(SHAPES) scale=$(SCALE) $(THIRD_SEED)
	@$(RUN) $(SHAPES) scale=$(SCALE) $(THIRD_SEED) $(ONE_TERM)
	@$(RUN) $(SHAPES) scale=$(SCALE) $(THIRD_SEED) $(MORE_TERMS)
	@$(RUN) $(SHAPES) scale=$(SCALE) $(SEED) $(ONE_TERM)
	@$(RUN) $(SHAPES) scale=$(SCALE) $(SEED) $(MORE_TERMS)
	@$(RUN) experiments/reproduce.py experiment=ucf101_sensitivity scale=$(SCALE) $(SEED)

reproduce-ucf101: rates-ucf101 groups-ucf101 rivals-ucf101 features-ucf101 compressed-ucf101 rates-scaled-ucf101 shapes-ucf101 ## what is published on UCF101-11, in this order; what is finished is not run again

reproduce-weizmann: setup ## ten actions by nine people, who must be in data/weizmann, each left out once, also on shuffled frames: 84 runs
	@$(RUN) experiments/train.py experiment=weizmann_rates scale=$(SCALE) $(SEED) \
		model=lstm task.learning_rate=3e-6,1e-5,3e-5,1e-4,3e-4
	@$(RUN) experiments/reproduce.py experiment=weizmann_rates scale=$(SCALE) $(SEED)
	@$(RUN) experiments/train.py experiment=weizmann scale=$(SCALE) $(SEED) data.frame_order=shuffled
	@$(RUN) experiments/reproduce.py experiment=weizmann scale=$(SCALE) $(SEED)

data-ucf11: setup ## download and unpack UCF11 (about 1 GB)
	$(RUN) scripts/download.py ucf11

data-ucf101: setup ## download UCF101 (7 GB) and unpack the eleven classes that are read
	$(RUN) scripts/download.py ucf101

reproduce-draw: setup ## train DRAW with LSTM, TT-LSTM and BT-LSTM encoders on MNIST (or MNIST-5k), print bounds, draw digits
	@$(RUN) experiments/reproduce.py experiment=draw scale=$(SCALE) $(SEED)

controls-draw: setup ## LSTM and BT-LSTM with attention, and BT-LSTM for T = 4, 8, 16 glimpses, seeds 0 to 2
	@$(RUN) experiments/reproduce.py experiment=draw_attention scale=$(SCALE) seed=0,1,2
	@$(RUN) experiments/reproduce.py experiment=draw_glimpses scale=$(SCALE) seed=0,1,2

rates-draw: setup ## choose each encoder's learning rate, without and with attention, on validation images
	@$(RUN) experiments/reproduce.py experiment=draw_rates scale=$(SCALE)
	@$(RUN) experiments/reproduce.py experiment=draw_attention_rates scale=$(SCALE)

reproduce-mnist: setup ## train the three encoders on all of MNIST, which must be in data/MNIST, 20 epochs, three seeds, print the bounds
	@$(RUN) experiments/reproduce.py experiment=draw_mnist scale=$(SCALE) $(SEED)

rates-mnist: setup ## choose each encoder's learning rate on MNIST's validation images: 24 short runs, 10 long
	@$(RUN) experiments/train.py experiment=draw_mnist_rates scale=$(SCALE) model=lstm \
		task.learning_rate=3e-4,1e-3,3e-3,1e-2 seed=100 scale.generation.max_epochs=20
	@$(RUN) experiments/train.py experiment=draw_mnist_rates scale=$(SCALE) model=tt_lstm,bt_lstm \
		task.learning_rate=1e-3,3e-3,1e-2 seed=100 scale.generation.max_epochs=20
	@$(RUN) experiments/reproduce.py experiment=draw_mnist_rates scale=$(SCALE)

reproduce-captioning: setup ## train LSTM, TT-LSTM and BT-LSTM to caption COCO (or drawn shapes), print the scores, draw captions
	@$(RUN) experiments/reproduce.py experiment=captioning scale=$(SCALE) $(SEED)

controls-captioning: setup ## the block-term decoder with R = 1, 2, 4 and N = 1, 2, beside the dense one
	@$(RUN) experiments/train.py experiment=captioning_ranks scale=$(SCALE)
	@$(RUN) experiments/reproduce.py experiment=captioning_ranks scale=$(SCALE) ranks.tucker=2 ranks.num_blocks=2 model=lstm

rates-captioning: setup ## choose each model's learning rate on validation captions
	@$(RUN) experiments/reproduce.py experiment=captioning_rates scale=$(SCALE)

reproduce-flickr8k: setup ## train LSTM, TT-LSTM and BT-LSTM to caption Flickr8k, which must be in data/flickr8k, a smaller LSTM, a GRU and W of rank 1; five seeds, print the scores
	@$(RUN) experiments/train.py experiment=captioning_flickr8k scale=$(SCALE) $(SEED) $(RANK_1)
	@$(RUN) experiments/train.py experiment=captioning_flickr8k scale=$(SCALE) $(SEED) model=small_lstm,gru
	@$(RUN) experiments/reproduce.py experiment=captioning_flickr8k scale=$(SCALE) $(SEED)

rates-flickr8k: setup ## choose each model's learning rate on Flickr8k's validation captions: 60 short runs, 19 long
	@$(RUN) experiments/train.py experiment=captioning_flickr8k_rates scale=$(SCALE) model=small_lstm,gru
	@$(RUN) experiments/train.py experiment=captioning_flickr8k_rates scale=$(SCALE) $(RANK_1)
	@$(RUN) experiments/train.py experiment=captioning_flickr8k_rates scale=$(SCALE) $(RANK_1) \
		task.learning_rate=1e-3,3e-3,1e-2,3e-2 seed=100 scale.captioning.max_epochs=10
	@$(RUN) experiments/train.py experiment=captioning_flickr8k_rates scale=$(SCALE) model=lstm,small_lstm,gru \
		task.learning_rate=3e-4,1e-3,3e-3 seed=100 scale.captioning.max_epochs=10
	@$(RUN) experiments/train.py experiment=captioning_flickr8k_rates scale=$(SCALE) model=tt_lstm,bt_lstm \
		task.learning_rate=1e-3,3e-3,1e-2 seed=100 scale.captioning.max_epochs=10
	@$(RUN) experiments/reproduce.py experiment=captioning_flickr8k_rates scale=$(SCALE)

data-mnist: setup ## download MNIST (12 MB)
	$(RUN) scripts/download.py mnist

reproduce-sensitivity: setup ## parameters, recovery of matrices, and UCF11 accuracy against d, R and N
	@$(RUN) experiments/recovery.py
	@$(RUN) experiments/recovery.py form=equal map=bt,tt,tr,cp,tucker,ht,kronecker,low_rank order=2 rank=1 \
		num_pairs=32,128,512,4096 noise=0,0.3
	@$(RUN) experiments/collect.py recovery
	@$(RUN) experiments/report.py recovery
	@$(RUN) experiments/reproduce.py experiment=ucf11_sensitivity scale=$(SCALE) $(SEED)

reproduce: reproduce-ucf11 reproduce-draw reproduce-captioning reproduce-sensitivity complexity tables ## all of the paper at SCALE=default: one seed, three for d, R and N

complexity: .venv/bench-done ## the paper's complexity laws beside measured exponents (measures what is missing, 20 minutes)
	@$(RUN) experiments/complexity.py

dashboard: setup ## W&B's own view of the runs that are here, in the terminal; no account
	@$(RUN) scripts/dashboard.py

notebooks: setup ## execute the notebooks into results/local/notebooks (a minute; 07 trains small models)
	@$(RUN) scripts/execute_notebooks.py

docs: setup ## the documentation with all results as a site that needs no server: site/index.html (2 minutes)
	NO_MKDOCS_2_WARNING=1 $(RUN) -m mkdocs build --strict --quiet
	@echo "wrote site/index.html"

data-coco: setup ## download and unpack COCO 2014 (20 GB, and as much again unpacked)
	$(RUN) scripts/download.py coco

data-flickr8k: setup ## download and unpack Flickr8k (1.1 GB, and as much again unpacked)
	$(RUN) scripts/download.py flickr8k

collect: setup ## finished run folders to your own rows, results/local/*.csv
	@$(RUN) experiments/collect.py

tables: setup ## your rows beside the published ones: pages and figures in results/local, no training, under a minute
	@$(RUN) experiments/report.py

figures: tables ## the same

publish: setup ## the only target that changes published rows: your rows into results/, pages, README, notebooks
	$(RUN) experiments/publish.py $(EXPERIMENTS)
	$(RUN) scripts/execute_notebooks.py --in-place

repeat: setup ## run three published rows on real data again, drawn at random, and compare (SEEDS=1 draws others)
	@$(RUN) experiments/repeat.py $(if $(strip $(SEEDS)),--seed $(strip $(SEEDS)))

bench: .venv/bench-done ## time and memory beside the dense layers and other libraries, and the targets; then `formats` (half an hour)
	@$(RUN) experiments/benchmark.py
	@$(RUN) experiments/formats.py

# the first of these runs is there to cache the frames, out of the time of the three that are judged
GPU_RUN = $(RUN) experiments/train.py experiment=ucf11 scale=paper seed=0 $(if $(wildcard data/UCF-101),data=ucf101) test=false \
	trainer.accelerator=gpu trainer.graph=true data.on_device=true logger=none
# with an environment of your own: make check-gpu ENVIRONMENT= BIN=<its folder of programs>
ENVIRONMENT = .venv/bench-done
check-gpu: $(ENVIRONMENT) ## on a GPU: its tests, its benchmark and Task 1 at paper scale, and which targets are met (under 8 minutes)
	@rm -rf results/local/gpu results/local/benchmark_device_sweep_cuda.csv
	-timeout -k 5 -s INT 60 $(BIN)/pytest -n 0 -k "cuda or gpu" --junit-xml=results/local/gpu/tests.xml tests/test_devices.py
	-timeout -k 5 90 $(RUN) experiments/benchmark.py --only device_sweep --minutes 1.2
	-timeout -k 5 70 $(GPU_RUN) model=bt_lstm scale.video.max_epochs=1 results_dir=results/local/gpu/frames
	-for model in bt_lstm tt_lstm lstm; do timeout -k 5 60 $(GPU_RUN) model=$$model results_dir=results/local/gpu; done
	@timeout -k 5 20 $(RUN) experiments/check_gpu.py

formats: .venv/bench-done ## every format beside opt_einsum, tednet and tensorly-torch, and how near it fits (four minutes)
	@$(RUN) experiments/formats.py

.venv/bench-done: .venv/setup-done
	$(BIN)/pip install --disable-pip-version-check --constraint requirements.txt --editable '.[bench]'
	touch $@

test: setup ## run all the tests
	$(BIN)/pytest

reliability: setup ## kills, full disks, damaged files and command lines, all of them, to results/reliability.md (ten minutes)
	$(BIN)/pytest -n 0 --reliability tests/test_reliability.py

lint: setup ## style, types and the import rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup ## rewrite the code in the common style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## delete the environment and the caches, never results or data
	rm -rf .venv site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
