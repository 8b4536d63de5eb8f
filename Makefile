# Every way to build and test larder. CI runs "make check" and nothing else.
SHELL := /bin/bash
export PATH := $(CURDIR)/.tools/bin:$(PATH)

GO       ?= go
FUZZTIME ?= 5s
ROUNDS   ?= 200
# With LARDER_E2E_REQUIRE=1 a test that is skipped is a failure (.ci/run).
GOTEST   := $(GO) run .ci/gotest.go

.DEFAULT_GOAL := help
.PHONY: help build test race e2e fuzz bench live lint check kill

help: ## print this
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

build: ## build ./larder
	$(GO) build -o larder ./cmd/larder

test: ## all tests, and a list of what was skipped
	$(GOTEST) ./...

race: ## all tests with the race detector
	$(GOTEST) -race -timeout 30m ./...

e2e: ## the scripts in testdata/script with the real clients (RUN=npm: only that one)
	$(GO) test -count=1 -timeout 30m -run 'TestScripts/$(RUN)' -v ./cmd/larder

fuzz: ## every fuzz target for FUZZTIME (5s)
	.ci/fuzz $(FUZZTIME)

kill: ## kill -9 under load ROUNDS times (200), then check every byte
	LARDER_KILL_ROUNDS=$(ROUNDS) $(GO) test -count=1 -timeout 60m -run '^TestKill' -v ./cmd/larder

bench: ## larder beside its peers, one table
	$(GO) run ./cmd/larder-bench

live: ## real installs from the registries of this machine, then offline
	LARDER_LIVE=1 $(GO) test -count=1 -timeout 60m -run '^TestLive' -v ./cmd/larder

lint: ## gofmt, vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

check: lint race fuzz ## what CI runs: format, vet, staticcheck, architecture, tests with -race, scripts, fuzz, crashes
	@echo "check: all good"
