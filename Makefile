.DEFAULT_GOAL := help

BIN := bin/gapless
TOOLS := $(CURDIR)/bin

.PHONY: help build test race lint generate bench faults verify clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build bin/gapless
	go build -trimpath -o $(BIN) .

test: ## all tests: real Postgres, embedded broker
	go test ./...

race: ## all tests under the race detector
	go test -race ./...

lint: ## golangci-lint and buf, at the versions of CI
	bash .ci/lint

generate: ## generated code: Protobuf messages, HTTP server, alert rules for Kubernetes
	bash .ci/generate

bench: ## every benchmark, printed and kept in bench/RESULTS.md
	bash bench/run

faults: ## every fault on real servers under load, judged; writes docs/faults.md
	go run ./bench/faults -out docs/faults.md

verify: ## the demo with every outcome, then all invariants
	go run . demo --orders 200 --exit

clean: ## remove build output
	rm -rf bin
