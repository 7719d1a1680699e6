# Everything a contributor runs, and what continuous integration runs.

GO          ?= go
STATICCHECK  = honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK  = golang.org/x/vuln/cmd/govulncheck@v1.9.0
FUZZTIME    ?= 30s

.PHONY: test test-go test-js test-browser screenshots node soak tools node-tools chromium tool lint vet format staticcheck fuzz bench vuln build

# What is missing is said before anything has taken its time.
test: tools node-tools chromium
	@$(MAKE) --no-print-directory test-go
	@$(MAKE) --no-print-directory test-js
	@$(MAKE) --no-print-directory test-browser

test-go: tools lint
	$(GO) test -race -timeout 15m ./...
	$(GO) -C examples/routers vet ./...
	$(GO) -C examples/routers test -race ./...
	$(GO) -C bench/peers vet ./...

# The TypeScript packages: types, unit tests, size, and what npm would publish.
test-js: node
	npm test

# The real pages in a real browser.
test-browser: node chromium
	npm run test:browser

# The pictures of docs/screenshots.
screenshots: node chromium
	npm run screenshots

# The long runs. SOAK is how long the faults on real processes go on.
SOAK  ?= 10m
SEEDS ?= 50000

soak: tools
	@$(MAKE) -s tool PACKAGE='spin gcc' CHECK='command -v spin && command -v gcc'
	model/check.sh
	$(GO) test -race -timeout 0 ./internal/feed/sim -run TestSimulation -seeds $(SEEDS)
	$(GO) test -race -timeout 0 -v ./e2e -e2e.duration $(SOAK)

build:
	$(GO) build -o curfew ./cmd/curfew

# What the tests use beside Go: curl runs the commands of the README, Python the
# verifier in another language. Installed where that is allowed.
tools:
	@command -v $(GO) >/dev/null || { echo "missing: go 1.26 or later"; exit 1; }
	@$(MAKE) -s tool PACKAGE=curl CHECK='command -v curl'
	@$(MAKE) -s tool PACKAGE='python3 python3-cryptography' CHECK='/usr/bin/env PATH=/usr/bin:$$PATH python3 -c "import cryptography"'

CHROMIUM   ?= /usr/bin/chromium
export CHROMIUM

node-tools:
	@$(MAKE) -s tool PACKAGE='nodejs npm' CHECK='command -v npm >/dev/null && node js/node-version.mjs' NOTE='version 20.19 or later of Node.js'

chromium:
	@$(MAKE) -s tool PACKAGE=chromium CHECK='test -x $(CHROMIUM)' NOTE='or set CHROMIUM to one that is installed'

# Exactly the versions of the lock file, once.
node: node-tools node_modules/.package-lock.json

node_modules/.package-lock.json: package-lock.json
	npm ci --no-audit --no-fund
	@touch $@

# tool installs PACKAGE if CHECK fails, and says what is missing if it may not.
tool:
	@{ $(CHECK); } >/dev/null 2>&1 || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(PACKAGE) >/dev/null; \
		fi; \
	}
	@{ $(CHECK); } >/dev/null 2>&1 || { echo "missing: $(PACKAGE)$(if $(NOTE), ($(NOTE))); install with the package manager of this system"; exit 1; }

lint: format vet staticcheck

vet:
	$(GO) vet ./...

format:
	@unformatted=$$(find . -name node_modules -prune -o -name '*.go' -print0 | xargs -0 $$($(GO) env GOROOT)/bin/gofmt -l); \
	if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on:"; echo "$$unformatted"; exit 1; fi

# Building the tool fails where it cannot be downloaded, which is an excuse on a
# train and not in CI. What the tool finds is never excused.
staticcheck:
	@bin=$$(mktemp -d); trap 'rm -rf "$$bin"' EXIT; \
	if GOBIN="$$bin" GOFLAGS= $(GO) install $(STATICCHECK); then \
		echo "staticcheck ./..."; "$$bin/staticcheck" ./...; \
	elif [ -n "$$CI" ]; then \
		echo "staticcheck cannot be downloaded"; exit 1; \
	else \
		echo "staticcheck cannot be downloaded: NOT CHECKED"; \
	fi

# One fuzz target at a time is all that go test takes.
fuzz:
	@for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' "$$pkg" | grep '^Fuzz'); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$pkg" || exit 1; \
		done; \
	done

bench:
	$(GO) run ./bench

# The database of vulnerabilities is asked over the network. Where it cannot be
# had nothing was found and nothing was looked at; exit code 3 is a finding.
vuln:
	@out=$$(mktemp); trap 'rm -f "$$out"' EXIT; \
	$(GO) run $(GOVULNCHECK) ./... >"$$out" 2>&1; code=$$?; cat "$$out"; \
	if [ $$code -ne 0 ] && ! grep -q 'Vulnerability #' "$$out"; then \
		echo "govulncheck or its database cannot be had: NOT CHECKED"; code=0; \
	fi; exit $$code
