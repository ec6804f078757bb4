# `make` lists the targets.

PREFIX ?= /usr/local
DESTDIR ?=
CARGO ?= cargo

# The folder of rustup's cargo, for shells that have not read ~/.profile. It comes first, as rustup sets it, so that it wins
# over the cargo of a distribution.
ifeq (,$(findstring :$(HOME)/.cargo/bin:,:$(PATH):))
export PATH := $(HOME)/.cargo/bin:$(PATH)
endif

# Not exported, because cargo would pass the variable on to build scripts and subcommands.
NEED := CARGO='$(CARGO)' tools/need.sh

TARGET_DIR := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
BIN := $(TARGET_DIR)/release/platypush-userd
PYTHON_FILES := $(wildcard benches/service/*.py examples/*.py platypush/*.py tests/it/support/*.py tests/oracle/*.py tests/platypush/*.py tests/platypush/scripts/*.py)
SCRIPTS := .ci/run demo/demo.sh systemd/check.sh tools/need.sh tools/platypush-venv.sh

CARGO_DENY_VERSION := 0.20.2
PLATYPUSH_VENV := $(abspath $(TARGET_DIR))/platypush-venv
DENY_ROOT := $(TARGET_DIR)/tools/cargo-deny-$(CARGO_DENY_VERSION)

bindir := $(DESTDIR)$(PREFIX)/bin
mandir := $(DESTDIR)$(PREFIX)/share/man/man1
bashdir := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
zshdir := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
fishdir := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
docdir := $(DESTDIR)$(PREFIX)/share/doc/platypush-userd
unitdir := $(DESTDIR)$(PREFIX)/lib/systemd/system
sysusersdir := $(DESTDIR)$(PREFIX)/lib/sysusers.d

.PHONY: help rust build test test-platypush platypush-venv torture reference enumeration bench bench-platypush bench-micro demo lint deny deny-tool advisories install uninstall clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 26

build: ## build the release binary
	@$(NEED) rust cc=build-essential
	$(CARGO) build --release --locked

test: ## run all tests (installs redis-server, python3 and strace if they are missing)
	@$(NEED) rust cc=build-essential redis-server python3 strace
	$(CARGO) test --locked

test-platypush: platypush-venv ## run the tests on real Platypush nodes (needs Python 3.11 and PyPI; ARGS="-k PATTERN")
	@$(NEED) cc=build-essential redis-server
	$(CARGO) build --locked
	PYTHONDONTWRITEBYTECODE=1 $(PLATYPUSH_VENV)/bin/python -m unittest discover -v -s tests/platypush $(ARGS)

rust:
	@$(NEED) rust

# Checks for Rust first: all targets that depend on this one need Rust too, and a failure must come before the
# installation.
platypush-venv: rust
	@tools/platypush-venv.sh $(PLATYPUSH_VENV)

# Uses the test profile, because crash points need debug_assertions, and `make test` has already built it.
torture: ## inject all faults of daemon and Redis, full form (half an hour; ARGS="--seed N --only FAULT")
	@$(NEED) rust cc=build-essential redis-server
	$(CARGO) test --locked --test torture -- --full $(ARGS)

reference: ## write docs/reference from the tables in the code
	@$(NEED) rust cc=build-essential
	for page in actions cli configuration events protocol; do \
		$(CARGO) run --locked -- reference $$page > docs/reference/$$page.md || exit 1; done

enumeration: ## measure whether response times reveal which user names exist (ten minutes on an idle machine; ARGS="--samples N --flood one|distinct")
	@$(NEED) rust cc=build-essential redis-server
	$(CARGO) test --release --locked --test enumeration -- $(ARGS)

bench: ## measure the daemon against the limits of Redis, the disk and Argon2 (ten minutes; writes docs/explanation/performance.md; ARGS="--only SECTION")
	@$(NEED) rust cc=build-essential redis-server strace
	$(CARGO) bench --locked --bench service -- --platypush $(PLATYPUSH_VENV)/bin/python --write docs/explanation/performance.md $(ARGS)

bench-platypush: platypush-venv ## like bench, also against a real Platypush, which it installs (needs Python 3.11 and PyPI)
	@$(NEED) cc=build-essential
	$(MAKE) bench

bench-micro: rust ## measure decoding, encoding, dispatch, store and hashing separately
	$(CARGO) bench --locked --bench micro

demo: ## run a demo of all main actions, from the first user to a deletion (installs redis-server if it is missing)
	@CARGO='$(CARGO)' demo/demo.sh

lint: rust ## check formatting, clippy (warnings denied), the shell scripts and the syntax of the Python files
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets --test enumeration --locked -- -D warnings
	for script in $(SCRIPTS); do bash -n $$script || exit 1; done
	@$(NEED) python3
	python3 -c 'import sys; [compile(open(file, encoding="utf-8").read(), file, "exec") for file in sys.argv[1:]]' $(PYTHON_FILES)
	if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); fi

deny: deny-tool ## check licences, bans and sources of all crates (builds cargo-deny if it is missing)
	PATH="$$PATH:$(DENY_ROOT)/bin" cargo-deny --locked check --hide-inclusion-graph licenses bans sources

# A debug build: it takes less than half the time, and the check takes a second in any case.
deny-tool: rust
	@command -v cargo-deny >/dev/null || test -x $(DENY_ROOT)/bin/cargo-deny || { \
		echo "cargo-deny not found, building it into $(DENY_ROOT) (a minute or two, once)"; \
		$(CARGO) install cargo-deny --debug --locked --version $(CARGO_DENY_VERSION) --root $(DENY_ROOT); }

advisories: deny ## check all crates against the RustSec database (fetched from the network)
	PATH="$$PATH:$(DENY_ROOT)/bin" cargo-deny --locked check --hide-inclusion-graph advisories

# Builds only if the binary is missing, so that `make build` and then `sudo make install` works without a cargo for root.
$(BIN):
	$(MAKE) build

install: $(BIN) ## install below PREFIX (/usr/local): binary, unit, user, man page, completions
	install -Dm755 $(BIN) $(bindir)/platypush-userd
	install -d $(unitdir) $(mandir) $(bashdir) $(zshdir) $(fishdir)
	sed 's|^ExecStart=/usr/bin/|ExecStart=$(PREFIX)/bin/|' systemd/platypush-userd.service >$(unitdir)/platypush-userd.service
	chmod 644 $(unitdir)/platypush-userd.service
	install -Dm644 systemd/platypush-userd.sysusers.conf $(sysusersdir)/platypush-userd.conf
	$(BIN) man >$(mandir)/platypush-userd.1
	$(BIN) completions bash >$(bashdir)/platypush-userd
	$(BIN) completions zsh >$(zshdir)/_platypush-userd
	$(BIN) completions fish >$(fishdir)/platypush-userd.fish
	chmod 644 $(mandir)/platypush-userd.1 $(bashdir)/platypush-userd $(zshdir)/_platypush-userd $(fishdir)/platypush-userd.fish
	install -Dm644 config.example.yaml $(docdir)/config.example.yaml
	install -Dm644 -t $(docdir)/platypush platypush/user_daemon.py
	install -Dm644 -t $(docdir)/examples examples/manage_users.py examples/manage_users.yaml
	@test -n "$(DESTDIR)" || echo "Installed. README.md, Install, says how to create the system user and start the service."

uninstall: ## remove the installed files (the database and the system user stay)
	rm -f $(bindir)/platypush-userd $(unitdir)/platypush-userd.service $(sysusersdir)/platypush-userd.conf \
		$(mandir)/platypush-userd.1 $(bashdir)/platypush-userd $(zshdir)/_platypush-userd $(fishdir)/platypush-userd.fish
	rm -rf $(docdir)

clean: ## remove all build output
	$(CARGO) clean
