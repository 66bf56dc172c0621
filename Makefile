# pfsync for Linux.
#
#   make            build the programs into bin/
#   make demo       two firewalls, one dies: see what pfsync is for (root)
#   make test       everything that must hold: check, then all tests (root)
#   make check      gofmt, vet, staticcheck, the manual pages
#   make fuzz       each fuzz target for FUZZTIME
#   make bench      pfsyncd beside conntrackd; BENCH=full: the long one, BENCH=scale: up to 2 million states;
#                   BENCH=defer: what holding first packets back costs;
#                   WITH=...,... other contestants, ONLY=...,... some of its scenarios (root)
#   make profile    profiles of both daemons in the bench's SCENARIO (root)
#   make gobench    Go's benchmarks of the packages (root)
#   make soak       two firewalls under churn and faults, for SOAK, from SOAK_SEED; SOAK_PEER=conntrackd: the other's (root)
#   make failover   how long a shared address is gone when its master's daemon dies, beside ucarp and keepalived (root)
#   make vm         the end-to-end tests on Debian's kernel, in a virtual machine; VM=REGEXP: those that match (root)
#   make install    into DESTDIR and PREFIX
#   make deb        pfsync-linux_*.deb, into DEBDIR
#   make clean

PREFIX   ?= /usr/local
BENCH    ?= short
SCENARIO ?= tcp lives 10000/s
DESTDIR  ?=
FUZZTIME ?= 30s
SOAK      ?= 2m
SOAK_PEER ?= pfsyncd
SOAK_RATE ?= 200
SOAK_SEED ?= $(shell date +%s)
SOAK_SEED := $(SOAK_SEED)
ROUNDS    ?= 20
VM        ?= .

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
.PHONY: build demo test check fuzz bench profile gobench soak failover vm install deb clean go root need-demo need-test need-bench need-gobench need-failover need-soak need-soak-conntrackd

build: go
	$(BUILD) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/...

# The demo is the last command, in make's own place for signals: Ctrl-C and kill reach it.
demo: root need-demo build
	@$(BUILD) -o $(TOOLS)/ ./test/demo
	@exec $(TOOLS)/demo -bin bin

# The last lines are go test's own; noskip makes a skipped test a failed one.
test: root need-test check
	@$(BUILD) -o $(TOOLS)/ ./test/build/noskip
	@go test -race -count=1 -timeout 30m -p 2 -exec '$(CURDIR)/$(TOOLS)/noskip' ./...

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

# Like the demo, the last command, for the sake of signals; so is soak.
bench: root need-bench build
	@$(BUILD) -o $(TOOLS)/ ./test/bench
	@mkdir -p test/bench/results
	@exec $(TOOLS)/bench -bin bin -plan $(BENCH) $(if $(WITH),-with '$(WITH)') $(if $(ONLY),-only '$(ONLY)') \
		-json test/bench/results/$(BENCH).json

profile: root need-bench build
	@$(BUILD) -o $(TOOLS)/ ./test/bench
	@$(TOOLS)/bench -bin bin -plan $(if $(filter scale,$(BENCH)),scale,full) -only '$(SCENARIO)' -reps 1 -profiles test/bench/results/profiles
	@for f in $$(ls -t test/bench/results/profiles/*.cpu.pprof | head -n 2); do echo; echo "$$f"; go tool pprof -top -nodecount 15 "$$f" | tail -n +4; done

gobench: root need-gobench
	@go test -run '^$$' -bench . -benchmem -p 1 \
		$$(grep -rl --include='*_test.go' '^func Benchmark' . | xargs -n 1 dirname | sort -u)


soak: root need-soak $(patsubst %,need-soak-%,$(filter-out pfsyncd,$(SOAK_PEER))) build
	@$(BUILD) -o $(TOOLS)/ ./test/soak
	@mkdir -p test/soak/results
	@exec $(TOOLS)/soak -bin bin -for $(SOAK) -peer $(SOAK_PEER) -rate $(SOAK_RATE) -seed $(SOAK_SEED) \
		-json test/soak/results/$(SOAK_PEER)-$(SOAK_SEED).json

failover: root need-failover build
	@$(BUILD) -o $(TOOLS)/ ./test/failover
	@mkdir -p test/failover/results
	@exec $(TOOLS)/failover -bin bin -rounds $(ROUNDS) -json test/failover/results/latest.json

vm: root need-test
	@go test -count=1 -timeout 3h -run TestEndToEnd -v ./test/vm -e2e '$(VM)'

SBINDIR := $(DESTDIR)$(PREFIX)/sbin
LIBEXECDIR := $(DESTDIR)$(PREFIX)/libexec/pfsync
BSDDIR := $(LIBEXECDIR)/bsd
# systemd reads these below /usr and /usr/local.
LIBDIR := $(DESTDIR)$(PREFIX)/lib
UNITDIR := $(LIBDIR)/systemd/system
SHAREDIR := $(DESTDIR)$(PREFIX)/share
MANDIR := $(SHAREDIR)/man
# Debian's zsh looks into vendor-completions below /usr, and into site-functions below /usr/local.
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions
PLUGINDIR := $(LIBDIR)/wireshark/plugins
DATA := $(wildcard share/prometheus/* share/grafana/*)
# Under these names the programs are installed.
INSTALLED := $(filter-out $(PREFIXED),$(PROGRAMS)) $(addprefix pf,$(PREFIXED))

# In BSDDIR they have their BSD names, for those who put it first in PATH. The pages refer to each other by the
# names they are installed under.
install: build
	install -d '$(SBINDIR)' '$(BSDDIR)' '$(UNITDIR)' '$(PLUGINDIR)' '$(DESTDIR)/etc/default'
	for p in $(filter-out $(PREFIXED),$(PROGRAMS)); do install -m 755 bin/$$p '$(SBINDIR)/'$$p || exit 1; done
	for p in $(PREFIXED); do \
		install -m 755 bin/$$p '$(SBINDIR)/pf'$$p && \
		ln -sf ../../../sbin/pf$$p '$(BSDDIR)/'$$p || exit 1; \
	done
	for m in man/*.[1-9]; do \
		install -d '$(MANDIR)/man'$${m##*.} && \
		name=$$(basename $$m) && \
		for p in $(PREFIXED); do case $$name in $$p.*) name=pf$$name;; esac; done && \
		sed -E 's|/usr/local/|$(PREFIX)/|; s/^\.Xr (ifconfig|netstart) 8/.Xr pf\1 8/' $$m > '$(MANDIR)/man'$${m##*.}/$$name && \
		chmod 644 '$(MANDIR)/man'$${m##*.}/$$name || exit 1; \
	done
	for u in share/systemd/*.service; do \
		sed -E 's#^Exec(Start|Reload|StopPost)=#&$(PREFIX)/sbin/#' $$u > '$(UNITDIR)/'$$(basename $$u) && \
		chmod 644 '$(UNITDIR)/'$$(basename $$u) || exit 1; \
	done
	for d in sysctl.d modules-load.d; do \
		install -d '$(LIBDIR)/'$$d && install -m 644 share/$$d/*.conf '$(LIBDIR)/'$$d || exit 1; \
	done
	install -m 644 share/wireshark/pfsync.lua '$(PLUGINDIR)/'
	for f in $(DATA:share/%=%); do install -D -m 644 share/$$f '$(SHAREDIR)/pfsync/'$$f || exit 1; done
	[ -e '$(DESTDIR)/etc/default/pfsyncd' ] || install -m 644 share/default/pfsyncd '$(DESTDIR)/etc/default/pfsyncd'
	install -d '$(SHAREDIR)/pfsync/keepalived'
	sed 's|/usr/local/|$(PREFIX)/|' share/keepalived/keepalived.conf > '$(SHAREDIR)/pfsync/keepalived/keepalived.conf'
	sed 's|/usr/local/|$(PREFIX)/|' share/keepalived/pfsync-keepalived > '$(LIBEXECDIR)/pfsync-keepalived'
	chmod 644 '$(SHAREDIR)/pfsync/keepalived/keepalived.conf' && chmod 755 '$(LIBEXECDIR)/pfsync-keepalived'
	install -m 755 share/completions/pfsync-complete '$(LIBEXECDIR)/pfsync-complete'
	install -d '$(SHAREDIR)/bash-completion/completions' '$(DESTDIR)$(ZSHDIR)' '$(SHAREDIR)/fish/vendor_completions.d'
	$(COMPLETION) share/completions/bash/pfsync > '$(SHAREDIR)/bash-completion/completions/pfsyncd'
	$(COMPLETION) share/completions/zsh/_pfsync > '$(DESTDIR)$(ZSHDIR)/_pfsync'
	$(COMPLETION) share/completions/fish/pfsync.fish > '$(SHAREDIR)/fish/vendor_completions.d/pfsyncd.fish'
	chmod 644 '$(SHAREDIR)/bash-completion/completions/pfsyncd' '$(DESTDIR)$(ZSHDIR)/_pfsync' '$(SHAREDIR)/fish/vendor_completions.d/pfsyncd.fish'
	for p in $(filter-out pfsyncd,$(INSTALLED)); do \
		ln -sf pfsyncd '$(SHAREDIR)/bash-completion/completions/'$$p && \
		ln -sf pfsyncd.fish '$(SHAREDIR)/fish/vendor_completions.d/'$$p.fish || exit 1; \
	done

# bash and fish load what has the program's name.
COMPLETION := sed 's|@LIBEXEC@|$(PREFIX)/libexec/pfsync|'

DEBDIR  ?= .
DEBFLAGS ?=
DEBARCH  = $(shell dpkg --print-architecture)
DEBVER   = $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
DEBROOT := $(TOOLS)/deb
DEBDOC  := $(DEBROOT)/usr/share/doc/pfsync-linux

# dpkg-deb alone is enough: there is nothing to link and nothing to fetch.
deb: go
	@command -v dpkg-deb >/dev/null || { echo "make: dpkg-deb is missing; a .deb is made on Debian" >&2; exit 1; }
	rm -rf '$(DEBROOT)'
	umask 022 && $(MAKE) install DESTDIR='$(CURDIR)/$(DEBROOT)' PREFIX=/usr ZSHDIR=/usr/share/zsh/vendor-completions \
		VERSION='$(DEBVER)' LDFLAGS='-s -w -X main.version=$(DEBVER)'
	install -d -m 755 '$(DEBDOC)' '$(DEBROOT)/DEBIAN'
	install -m 644 debian/copyright README.md '$(DEBDOC)'
	install -D -m 644 debian/lintian-overrides '$(DEBROOT)/usr/share/lintian/overrides/pfsync-linux'
	gzip -9nc debian/changelog > '$(DEBDOC)/changelog.Debian.gz' && chmod 644 '$(DEBDOC)/changelog.Debian.gz'
	gzip -9n '$(DEBROOT)'/usr/share/man/man*/*
	install -m 755 debian/postinst debian/prerm debian/postrm '$(DEBROOT)/DEBIAN'
	install -m 644 debian/conffiles '$(DEBROOT)/DEBIAN'
	sed -e 's|@VERSION@|$(DEBVER)|; s|@ARCH@|$(DEBARCH)|' -e "s|@SIZE@|$$(du -sk --apparent-size '$(DEBROOT)' | cut -f 1)|" \
		debian/control > '$(DEBROOT)/DEBIAN/control'
	cd '$(DEBROOT)' && find usr -type f | LC_ALL=C sort | xargs md5sum > DEBIAN/md5sums && chmod 644 DEBIAN/md5sums DEBIAN/control
	dpkg-deb $(DEBFLAGS) --root-owner-group --build '$(DEBROOT)' '$(DEBDIR)'

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
need-demo need-test need-bench need-gobench need-failover need-soak need-soak-conntrackd: need-%: root go
	@go run -buildvcs=false ./test/lab/programs -install $*
