# What people and CI run; `make help` lists it. Every target sets up what it needs by itself.

.DEFAULT_GOAL := help
.PHONY: help demo test dist cluster-up cluster-down cluster-demo test-cluster check check-cuda bench-stream bench-client bench-large bench-images bench-epoch bench-train bench-pipeline bench-wide bench-score bench-bounds bench-command fmt words lint features doc unit setup-build setup-spark setup-browser

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: setup-build ## train a classifier on Iris, on Spark (SPARK_REMOTE, SPARK_HOME or one it installs)
	@if [ -z "$$SPARK_REMOTE" ]; then scripts/setup spark; fi
	cargo run --example iris

test: setup-build setup-spark setup-browser ## run every test, those against a real Spark too
	cargo test --lib --bins --test integration
	cargo test --doc

dist: setup-build ## the program for other machines: stripped, with completions and manual pages, in target/dist
	scripts/dist

cluster-up: setup-build ## a Spark cluster in containers, with a gateway; waits until queries work
	scripts/cluster up

cluster-down: ## stop it; its tables go too
	scripts/cluster down

cluster-demo: setup-build ## train on Iris on that cluster, from a container and through the gateway
	scripts/cluster demo

test-cluster: setup-build setup-spark setup-browser ## the integration tests on that cluster, and its faults
	scripts/cluster test

check: setup-build fmt words lint features doc unit ## without Spark: format, words, clippy, features, documentation, unit tests

check-cuda: setup-build ## compile and link with cuda and cudnn; needs no GPU, and long the first time
	exports=$$(scripts/cuda-toolchain) && eval "$$exports" && cargo test --lib --no-run --features cudnn

bench-stream: setup-build setup-spark ## streams beside PySpark and the Apache crate, two layouts: time and peak memory
	cargo bench --bench stream

bench-client: setup-build setup-spark ## small rows, short queries, local rows beside PySpark and the Apache crate
	cargo bench --bench stream -- client

bench-large: setup-build setup-spark ## 5 GB through a server of 2 GiB, cells of 2 MB through one of 1 GiB; 12 GB of disk
	cargo bench --bench stream -- large

bench-images: setup-build ## images a second on one core, beside Pillow
	cargo bench --bench stream -- images

bench-epoch: setup-build setup-spark ## a first epoch beside streaming alone and training alone
	cargo bench --bench stream -- epoch

bench-train: setup-build ## training steps beside PyTorch's on the same threads: forward, step, peak memory
	cargo bench --bench train

bench-pipeline: setup-build setup-spark ## fit stages to 1,000,000 rows beside pyspark.ml.Pipeline: jobs and time
	cargo bench --bench pipeline

bench-score: setup-build setup-spark ## score 5,000,000 rows into a table beside PySpark with PyTorch and NumPy
	cargo bench --bench pipeline -- score

bench-bounds: setup-build setup-spark ## train on 1 GB and score 5,000,000 rows through a server of 1 GiB: time and heap
	cargo bench --bench pipeline -- bounds

bench-command: setup-build setup-spark ## tinderbox train beside a program of the same steps
	cargo bench --bench pipeline -- command

bench-wide: setup-build setup-spark ## train on 100 to 2,000 plain columns beside PySpark's classifier
	cargo bench --bench pipeline -- wide

fmt:
	cargo fmt --check

words:
	scripts/words

features:
	for features in "" blocking images plots progress local-spark files job; do \
		cargo check --lib --no-default-features --features "$$features" || exit 1; done

lint:
	cargo clippy --all-targets -- -D warnings
	cargo clippy --test cluster -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

unit:
	cargo test --lib
	cargo test --doc

setup-build:
	@scripts/setup build

setup-spark:
	@scripts/setup spark

setup-browser:
	@scripts/setup browser
