# The README's commands. Each installs what it needs and this machine lacks (tools/setup); Meson does the work.
MESON = /usr/bin/meson
PREFIX ?= /usr/local
DESTDIR ?=
ARGS ?=
FUZZ_SECONDS ?= 60
export FUZZ_SECONDS

RELEASE = test -f build/release/build.ninja || \
    $(MESON) setup build/release --buildtype=release -Dlibdir=lib -Dprefix=$(abspath $(PREFIX))

.PHONY: all python run test model stress fuzz coverage bench docs install clean

all:
	@tools/setup build
	@$(RELEASE)
	@ninja -C build/release --quiet >&2

# The Python package, to be used where it is: PYTHONPATH=build/python.
python:
	@tools/setup python
	@$(RELEASE)
	@test -d build/release/python || $(MESON) setup --reconfigure build/release -Dpython=enabled
	@ninja -C build/release --quiet >&2
	@ln -sfn release/python build/python

# In C, then the same in Python; what is piped in by `-` is gone after the first.
run: python
	@build/release/examples/package_events $(ARGS)
	@case " $(ARGS) " in *" - "*) ;; *) \
	    echo && echo "The same in Python" && PYTHONPATH=build/python /usr/bin/python3 examples/package_events.py $(ARGS) ;; esac

test:
	@tools/setup test
	@tools/check

# The models of the protocols between threads, and their faults (src/core/model).
model:
	@tools/setup model
	@tools/model

# The tests of threads that race, with many more rounds.
stress:
	@tools/setup test
	@tools/check --stress

fuzz:
	@tools/setup fuzz
	@tools/fuzz

coverage:
	@tools/setup coverage
	@tools/coverage

bench:
	@tools/setup bench
	@test -f build/bench/build.ninja || \
	    $(MESON) setup build/bench --buildtype=release -Dbench=true -Dexamples=false
	@ninja -C build/bench --quiet >&2
	@/usr/bin/python3 bench/run.py build/bench $(ARGS)

docs:
	@tools/setup build
	@tools/docs

install: all
	@$(MESON) configure build/release -Dprefix=$(abspath $(PREFIX))
	@DESTDIR=$(DESTDIR) $(MESON) install -C build/release --quiet
	@test -n "$(DESTDIR)" || ! test -w /etc/ld.so.cache || ldconfig
	@echo "installed in $(DESTDIR)$(abspath $(PREFIX)); to use it: cc program.c \$$(pkg-config --cflags --libs mtaio)"

clean:
	@rm -rf build
