# The commands a developer needs. `make run` and `make test` are all a user does.
SHELL   := /bin/bash
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X github.com/ktrail/ktrail/internal/cli.version=$(VERSION)
TOOL    := go tool -modfile=tools/go.mod
N       ?= 1000000

.DEFAULT_GOAL := build
.PHONY: build static run test race compat bench-policy bench-capture bench-proxy lint lint-js fix bench load bench-decode fuzz fuzz-compat screenshots vulncheck deps clean

build: ## the program with its embedded store: bin/ktrail
	@mkdir -p bin
	go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ktrail ./cmd/ktrail

static: ## one static binary for nodes, without the embedded store: bin/ktrail-static
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/ktrail-static ./cmd/ktrail

run: build ## serve ./data on loopback with the sample log in it
	./scripts/run.sh

deps: ## what the tests need: a browser, and what looks for barriers in the page
	./scripts/test-deps.sh
	./scripts/js-deps.sh

test: deps ## every test
	go test -timeout 40m ./...

race: deps ## every test under the race detector; much slower
	go test -race -timeout 80m ./...

lint: lint-js ## formatting, vet and the linters of .golangci.yml; types and rules of the page's JavaScript
	$(TOOL) golangci-lint run ./...

lint-js: ## the page's JavaScript alone
	./scripts/js-deps.sh
	tools/js/node_modules/.bin/tsc -p tools/js
	tools/js/node_modules/.bin/eslint --max-warnings 0 -c tools/js/eslint.config.js internal/web/assets/js

fix: ## mend formatting
	$(TOOL) golangci-lint fmt ./...

bench: build ## the budgets as ratios over N events (default 1,000,000)
	go run ./bench -n $(N)

load: ## 10,000 requests a second for a minute through audit/capture: nothing lost, memory printed
	go test -count=1 -timeout 5m -run '^TestLoad$$' -v ./audit/capture -load 1m

bench-proxy: ## what ktrail proxy adds to a request, beside a bare reverse proxy and a control (3 minutes, best on an idle machine)
	@mkdir -p bin
	CGO_ENABLED=0 go build -trimpath -o bin/bench-proxy ./bench/proxy
	bin/bench-proxy

bench-decode: ## the decoder beside encoding/json and encoding/json/v2
	GOEXPERIMENT=jsonv2 go test -run '^$$' -bench 'Decode' -benchmem ./audit

FUZZTIME ?= 20s
fuzz: ## each fuzz target for FUZZTIME
	@set -e; for p in $$(go list ./...); do \
	  for f in $$(go test -list '^Fuzz' $$p | grep '^Fuzz' || true); do \
	    echo "== $$p $$f"; go test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s $$p; done; done

fuzz-compat: ## the targets that hold policies and requests against the API server's code; built plainly, since all of Kubernetes would be instrumented
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; cd compat; go test -c -o "$$dir/compat.test" .; \
	  for f in $$(go test -list '^Fuzz' . | grep '^Fuzz'); do \
	    echo "== compat $$f"; "$$dir/compat.test" -test.run '^$$' -test.fuzz "^$$f$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 1s -test.fuzzcachedir "$$dir/cache"; done

compat: ## policies, requests, events, flags and back ends against the API server's own code
	cd compat && go vet ./... && go test -count=1 -timeout 30m ./...

bench-policy: ## a policy decision beside the API server's, as a ratio
	cd compat && go run ./bench

bench-capture: ## what an audit event costs beside the API server's back ends, as ratios; memory with a dead webhook
	cd compat && go run ./bench/capture

screenshots: deps ## the pictures in docs/images, taken from the real page
	go test ./internal/web -run Screenshot -rewrite

vulncheck: ## known vulnerabilities in what we depend on (needs the Go vulnerability database)
	$(TOOL) govulncheck ./...

clean:
	rm -rf bin

E2E_BIN ?= $(HOME)/.cache/ktrail-e2e
.PHONY: e2e
e2e: build static ## against a real API server and a real control plane, built from source (15 minutes when nothing is cached)
	./e2e/build.sh $(E2E_BIN)
	cd e2e && KTRAIL_E2E_BIN=$(E2E_BIN) KTRAIL_E2E_KTRAIL=$(CURDIR)/bin/ktrail KTRAIL_E2E_STATIC=$(CURDIR)/bin/ktrail-static go test -count=1 -timeout 30m -v ./...
