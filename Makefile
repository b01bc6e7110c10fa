# Each target makes .venv itself when it is missing or older than the lock.
PYTHON ?= python3
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# What was imported once is compiled for the next start, whatever the shell says: a study starts Python some hundred times.
unexport PYTHONDONTWRITEBYTECODE
READY := .venv/ready
SIZE ?= tiny gpt2
JOBS ?= 2
MODEL ?= tiny-gpt2
REAL ?=

.PHONY: help demo explore repro real quick own families beyond runs unchanged check test figures pages notebook bench browser rehearsal clean lock

help:  ## this list
	@awk -F ':.*##  *' '/^[a-z]+:.*##/ {printf "%-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

# glibc gives a tensor of megabytes back to the system when it is freed, and takes the next one from there, page by page: a tenth of
# the time of an update of SmolLM2. Here it keeps them.
demo own real beyond: export MALLOC_MMAP_MAX_ := 0
demo own real beyond: export MALLOC_TRIM_THRESHOLD_ := 100000000000

demo: FACTS ?= examples/demo
demo: check  ## SmolLM2 learns a dozen made-up facts; where do they come back? FACTS=folder of your own
	python -m stages.commands.demo --facts $(FACTS)

explore: $(READY)  ## graft by hand, cell by cell, in your browser: the models of make demo
	python -m stages.commands.explore

repro: check  ## the whole study: only what changed runs again; JOBS=2 items at a time
	python -m stages.commands.repro --jobs $(JOBS)

real: check  ## the same on really pretrained models, in .real/; REAL=smollm2-135m: on that one alone
	python -m stages.commands.real --jobs $(JOBS) --models $(REAL)

# Before any stage: DVC itself reads params.yaml before one can say what is wrong with it; nor may a killed DVC block this run.
check: $(READY)  ## is params.yaml valid?
	@python -m stages.commands.recover
	python -m stages.check_params --params params.yaml --data data

quick: check  ## one family, one dataset, its panel of Figure 2, in .quick/
	python -m stages.commands.quick

own: FACTS ?= examples/inventors
own: check  ## FACTS=folder of your own facts, in MODEL=tiny-gpt2, in .own/ (examples/README.md)
	python -m stages.commands.quick --own $(FACTS) --model $(MODEL) --copy .own

families: check  ## from tiny-gpt2 to tiny-llama in small steps: five more models, in .families/
	python -m stages.commands.families

beyond: check  ## more trainings: tables frozen, points on the way, forms, articles; REAL=smollm2-135m
	python -m stages.commands.changes
	python -m stages.commands.beyond --jobs $(JOBS) --models $(REAL)

runs: check  ## do the verdicts stand in other trainings? The study again and again, in .runs/
	python -m stages.commands.runs --jobs $(JOBS)

unchanged: SINCE ?= HEAD
unchanged: check  ## does today's code write what that of commit SINCE wrote? then tell the locks
	python -m stages.commands.unchanged --since $(SINCE) --jobs $(JOBS)

# Types take a minute of one core: beside the tests. Those run in three processes on two cores, since a test that waits
# for what it has started leaves its core to another.
test: $(READY)  ## formatting, lint, types and tests
	ruff format --check weightgraft stages tests examples
	ruff check weightgraft stages tests examples
	mypy & OMP_NUM_THREADS=1 python -m pytest --numprocesses 3 --dist loadfile --no-loadscope-reorder tests; \
	tested=$$?; wait $$! && exit $$tested

figures: check  ## redraw the figures and the report from the committed summaries, without training
	dvc repro --single-item --force check_params render_figures write_report

pages: $(READY)  ## the numbers and tables in README.md and docs/, from the committed results
	python -m stages.commands.pages

notebook: $(READY)  ## run examples/quickstart.ipynb on what make demo left in .demo/, outputs and all
	python -m stages.commands.notebook

bench: $(READY)  ## times, memory and bfloat16 of the engine, in results/bench; SIZE=gpt2-xl: the big one
	python -m stages.commands.bench --out results/bench --size $(SIZE)

# Chromium is no Python package (Debian: apt-get install chromium).
browser: $(READY)  ## report and explorer in headless Chromium, at desk and phone widths
	python tests/reporting/browser.py results/report.html
	PYTHONPATH=tests python tests/explorer/browser.py

# Its four models at full width with random weights and few layers; then GPT-2 XL whole, graft alone.
rehearsal: $(READY)  ## the paper's run, offline, on random weights in its models' width
	PYTHONPATH=tests python tests/pipeline/rehearsal.py --record results/rehearsal.csv
	PYTHONPATH=tests python tests/pipeline/rehearsal.py --full-depth

clean:  ## remove what was made here but the committed results: weights, caches, the environment
	rm -rf runs .ckpt .demo .quick .own .real .families .beyond .runs .unchanged .venv build *.egg-info .dvc/cache .dvc/tmp .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The lock holds everything but CUDA's own packages, which come with torch's build for GPUs: one lock for CPU and GPU.
lock:  ## requirements.lock with the newest versions that the pins allow
	rm -rf .lock && $(PYTHON) -m venv .lock
	.lock/bin/python -m pip install --quiet --upgrade pip
	.lock/bin/python -m pip install --quiet --editable '.[study,gguf,explore,notebook,test]'
	.lock/bin/python -m pip freeze --all --exclude-editable > .lock/all
	grep -ivE '^(nvidia|cuda|triton)' .lock/all | sed 's/^torch==\([0-9.]*\).*/torch==\1/' > .lock/lock
	mv .lock/lock requirements.lock && rm -rf .lock

# The pip that comes with Python may be years old and take much longer, and pip compiles on one core. Left out is what few need, more than half of it all:
# that is compiled when it is imported. Some libraries have files that are no Python, which pip passes over too.
$(READY): pyproject.toml requirements.lock
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; this is " + sys.version.split()[0] + ": make PYTHON=python3.x" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --constraint requirements.lock pip
	.venv/bin/python -m pip install --quiet --no-compile --constraint requirements.lock --editable '.[study,gguf,explore,notebook,test]'
	.venv/bin/python -m compileall -qq -j 0 -x '/(tests|testing|transformers/models|torch/_inductor|sympy/physics|faker/providers|pygments/lexers|fontTools|debugpy|mypy|mypyc|setuptools|pip)/' .venv/lib || true
	touch $@
