# Development tasks. `make help` lists them.
#
# Tools come from tools/go.mod and are built into bin/; nothing is installed on
# the machine.

GO       ?= go
# Time for each fuzz target, or a count of runs such as 10000x. A time can end a
# run with "context deadline exceeded" although nothing was found, when it comes
# while a worker has an input in hand; a count cannot.
FUZZTIME ?= 10s
# Packages for test, race and fuzz.
PKG      ?= ./...
# Where the rig of real buildings is.
RIG_DIR  ?= ../shared/rig

BIN := $(CURDIR)/bin

.DEFAULT_GOAL := help
.PHONY: help build test race lint generate fuzz crash kept recovery recovery-rig rig confined interop tools clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build all packages, and the binary into bin/
	$(GO) build ./...
	$(GO) build -o $(BIN)/ ./cmd/...

test: ## Run all tests
	$(GO) test $(PKG)

race: ## Run all tests with the race detector
	GO="$(GO)" tools/race.sh $(PKG)

# The settings are .golangci.yml and proto/buf.yaml.
lint: tools ## Check formatting, go vet, golangci-lint and buf lint
	@unformatted=$$(gofmt -l $$(git ls-files -co --exclude-standard -- '*.go')) && \
	if [ -n "$$unformatted" ]; then echo "run gofmt -w on:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags rig,confined,interop ./...
	$(BIN)/golangci-lint run ./...
	cd proto && $(BIN)/buf lint && $(BIN)/buf format --diff --exit-code

generate: tools ## Generate Go, REST gateway and OpenAPI from proto/
	cd proto && $(BIN)/buf generate

# A target that finds something leaves its input in the package's
# testdata/fuzz, and the run stops there.
fuzz: ## Fuzz every target for FUZZTIME (default 10s)
	@targets=$$($(GO) test -list '^Fuzz' $(PKG)) && \
	echo "$$targets" | awk '/^Fuzz/ {t[n++] = $$1} /^ok/ {for (i = 0; i < n; i++) print $$2, t[i]; n = 0}' | \
	while read -r pkg target; do \
		echo "fuzz $$pkg $$target"; \
		$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x "$$pkg" || exit 1; \
	done

crash: ## Kill the gateway 50 times under 2,000 telegrams a second from 200 buildings
	KNXFLEET_KILLS=50 KNXFLEET_BUILDINGS=200 KNXFLEET_RATE=2000 $(GO) test -run '^TestNothingLostInCrashes$$' -count=1 -timeout 30m -v ./internal/pathtest/

kept: ## Start the gateway with ten million telegrams kept, and resume in their middle
	KNXFLEET_KEPT=10000000 $(GO) test -run '^TestManyTelegramsKept$$' -count=1 -timeout 30m -v ./internal/pathtest/

recovery: ## Print how soon faults of simulated buildings are seen, and over
	$(GO) test -run '^TestSimulatedBuildings$$' -count=1 -v ./internal/pathtest | grep '^ *|'

recovery-rig: ## The same on real WireGuard and knxd in the rig, an interface frozen for 3 minutes among them
	RIG_DIR="$(abspath $(RIG_DIR))" KNXFLEET_FROZEN=3m $(GO) test -tags rig -run '^TestRealBuildings$$' -count=1 -timeout 20m -v ./internal/pathtest > rig.log; \
	status=$$?; grep '^ *|' rig.log; [ $$status = 0 ] || grep -A3 'FAIL\|_test.go.*' rig.log; rm rig.log; exit $$status

rig: tools ## Test against real buildings in a VM (RIG_DIR says where the rig is)
	RIG_DIR="$(abspath $(RIG_DIR))" GRPCURL=$(BIN)/grpcurl $(GO) test -tags rig -skip '^(TestSimulatedBuildings|TestNothingLostInCrashes|TestPowerCut|TestManyTelegramsKept)$$' -count=1 -timeout 15m -v ./internal/pathtest/...

# Needs root, which makes the namespaces and becomes another user.
confined: ## Run the binary confined as in its image, with simulated buildings
	$(GO) test -tags confined -count=1 -timeout 5m -v ./internal/confinetest/...

# Needs knxd, knxd-tools and Node.js; what is missing is said.
interop: ## Test with knxd, knxtool, and the clients knxultimate and knx
	$(GO) test -tags interop -count=1 -timeout 5m -v ./internal/interoptest/...

tools: $(BIN)/.tools ## Build the tools of tools/go.mod into bin/

# Static and stripped; rebuilt when a version changes.
$(BIN)/.tools: tools/go.mod tools/go.sum
	cd tools && CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o $(BIN)/ tool
	@touch $@

clean: ## Remove bin/ and the test cache
	rm -rf $(BIN)
	$(GO) clean -testcache
