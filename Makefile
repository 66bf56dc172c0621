# pfsync for Linux.
#
#   make            build the programs into bin/
#   make demo       two firewalls, one dies: see what pfsync is for (root)
#   make test       everything that must hold: check, then all tests (root)
#   make check      gofmt, vet, staticcheck, the manual pages
#   make fuzz       each fuzz target for FUZZTIME
#   make bench      the benchmarks (root)
#   make soak       two firewalls under churn and faults, for SOAK, from SOAK_SEED; SOAK_PEER=conntrackd: the other's (root)
#   make install    into DESTDIR and PREFIX
#   make clean

PREFIX   ?= /usr/local
DESTDIR  ?=
FUZZTIME ?= 30s
SOAK      ?= 2m
SOAK_PEER ?= pfsyncd
SOAK_RATE ?= 200
SOAK_SEED ?= $(shell date +%s)
SOAK_SEED := $(SOAK_SEED)

# sudo and su may leave out the folders of Go and of the system's own programs.
export PATH := $(PATH):/usr/local/go/bin:/usr/lib/go/bin:/usr/sbin:/sbin
# Under sudo the checkout belongs to somebody else, which git refuses to read.
VERSION := $(shell git -c safe.directory='$(CURDIR)' describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -X main.version=$(VERSION)
BUILD   := CGO_ENABLED=0 go build -trimpath -buildvcs=false
# The programs of the demo and the tests, which are no part of the product.
TOOLS   := .build

PROGRAMS := $(notdir $(wildcard cmd/*))
# These would shadow Linux's own when installed.
PREFIXED := ifconfig netstart

# One thing after the other: checks before tests, installing before both.
.NOTPARALLEL:
.PHONY: build demo test check fuzz bench soak install clean go root need-demo need-test need-bench need-soak need-soak-conntrackd

build: go
	$(BUILD) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

# The demo is the last command, in make's own place for signals: Ctrl-C and kill reach it.
demo: root need-demo build
	@$(BUILD) -o $(TOOLS)/ ./test/demo
	@exec $(TOOLS)/demo -bin bin

# The last lines are go test's own; noskip makes a skipped test a failed one.
test: root need-test check
	@$(BUILD) -o $(TOOLS)/ ./test/build/noskip
	@go test -race -count=1 -timeout 18m -p 2 -exec '$(CURDIR)/$(TOOLS)/noskip' ./...

check: go
	@bad=$$(gofmt -l .); if [ -n "$$bad" ]; then echo "gofmt -w is due:"; echo "$$bad"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...
	@command -v mandoc >/dev/null || { echo "make: mandoc is missing; apt-get install mandoc" >&2; exit 1; }
	mandoc -Tlint -Wwarning man/*.[1-9]

fuzz: go
	@grep -rl --include='*_test.go' '^func Fuzz' . | xargs -r -n 1 dirname | sort -u | while read -r dir; do \
		for f in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$dir/*_test.go | cut -c 6-); do \
			echo "$$dir $$f"; \
			go test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 2s $$dir || exit 1; \
		done; \
	done

bench: root need-bench
	@go test -run '^$$' -bench . -benchmem -p 1 \
		$$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n 1 dirname | sort -u)

# Like the demo, the last command, for the sake of signals.
soak: root need-soak $(patsubst %,need-soak-%,$(filter-out pfsyncd,$(SOAK_PEER))) build
	@$(BUILD) -o $(TOOLS)/ ./test/soak
	@mkdir -p test/soak/results
	@exec $(TOOLS)/soak -bin bin -for $(SOAK) -peer $(SOAK_PEER) -rate $(SOAK_RATE) -seed $(SOAK_SEED) \
		-json test/soak/results/$(SOAK_PEER)-$(SOAK_SEED).json

SBINDIR := $(DESTDIR)$(PREFIX)/sbin
BSDDIR := $(DESTDIR)$(PREFIX)/libexec/pfsync/bsd
UNITDIR := $(DESTDIR)$(PREFIX)/lib/systemd/system
# systemd reads these below /usr and /usr/local.
LIBDIR := $(DESTDIR)$(PREFIX)/lib
PLUGINDIR := $(DESTDIR)$(PREFIX)/lib/wireshark/plugins

# In BSDDIR they have their BSD names, for those who put it first in PATH.
install: build
	install -d '$(SBINDIR)' '$(BSDDIR)' '$(UNITDIR)' '$(PLUGINDIR)'
	for p in $(filter-out $(PREFIXED),$(PROGRAMS)); do install -m 755 bin/$$p '$(SBINDIR)/'$$p || exit 1; done
	for p in $(PREFIXED); do \
		install -m 755 bin/$$p '$(SBINDIR)/pf'$$p && \
		ln -sf ../../../sbin/pf$$p '$(BSDDIR)/'$$p || exit 1; \
	done
	for m in man/*.[1-9]; do \
		install -d '$(DESTDIR)$(PREFIX)/share/man/man'$${m##*.} && \
		name=$$(basename $$m) && \
		for p in $(PREFIXED); do case $$name in $$p.*) name=pf$$name;; esac; done && \
		install -m 644 $$m '$(DESTDIR)$(PREFIX)/share/man/man'$${m##*.}/$$name || exit 1; \
	done
	for u in share/systemd/*.service; do \
		sed -E 's#^Exec(Start|Reload)=#&$(PREFIX)/sbin/#' $$u > '$(UNITDIR)/'$$(basename $$u) && \
		chmod 644 '$(UNITDIR)/'$$(basename $$u) || exit 1; \
	done
	for d in sysctl.d modules-load.d; do \
		install -d '$(LIBDIR)/'$$d && install -m 644 share/$$d/*.conf '$(LIBDIR)/'$$d || exit 1; \
	done
	install -m 644 share/wireshark/pfsync.lua '$(PLUGINDIR)/'

clean:
	rm -rf bin $(TOOLS)

# Go fetches the toolchain that go.mod names by itself, from version 1.21 on.
go:
	@command -v go >/dev/null || { echo "make: Go is missing; see https://go.dev/doc/install" >&2; exit 1; }
	@(cd / && go env GOVERSION) | awk -F'[.go]+' '{ if ($$2 < 1 || ($$2 == 1 && $$3 < 21)) { \
		print "make: " $$0 " is too old: Go 1.21 or later is needed, from https://go.dev/doc/install" > "/dev/stderr"; exit 1 } }'

root:
	@[ "$$(id -u)" = 0 ] || { echo "make: this target makes network namespaces and needs root: sudo make $(MAKECMDGOALS)" >&2; exit 1; }

# What a target needs beside Go stands in test/lab/programs.go.
need-demo need-test need-bench need-soak need-soak-conntrackd: need-%: root go
	@go run -buildvcs=false ./test/lab/programs -install $*
