# A thin front to CMakePresets.json. `make help` lists what it can do.
#
#   JOBS=4             how many compilers at a time
#   PREFIX=/opt/weir   where `make install` puts things
#   CI=true            warnings are errors, missing packages are installed without asking

JOBS   ?= $(shell nproc 2>/dev/null || echo 2)
PREFIX ?= /usr/local

# The outer make's flags are not for the make that CMake runs.
CMAKE     = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL cmake
configure = $(CMAKE) --preset $(1) $(if $(CI),-DWEIR_WERROR=ON) $(peers) --log-level=NOTICE >/dev/null
build     = $(CMAKE) --build --preset $(1) --parallel $(JOBS)
peers     = $(foreach p,GGML KANN DYNET,$(if $($(p)),-DWEIR_$(p)=$(abspath $($(p)))))
ctest     = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL ctest --preset $(1) --parallel $(JOBS)

all: ## build the command ./weir and the libraries
	@scripts/deps.sh build
	@$(call configure,release)
	@$(call build,release) --target product
	@if [ -e build/release/weir ]; then cp -f build/release/weir weir; fi

demo: all ## a network whose gradient dies, measured beside two that live
	@scripts/demo.sh

test: ## build and run all quick tests
	@scripts/deps.sh test
	@$(call configure,release)
	@$(call build,release)
	@if [ -e build/release/weir ]; then cp -f build/release/weir weir; fi
	@$(call ctest,release)

asan: ## the tests under the address and undefined-behaviour sanitizers
	@scripts/deps.sh test
	@$(call configure,asan)
	@$(call build,asan)
	@$(call ctest,asan)

clang-test: ## the tests in a build by clang
	@scripts/deps.sh test clang
	@$(call configure,clang)
	@$(call build,clang)
	@$(call ctest,clang)

same-bits: ## one checksum from gcc and clang, -O0 and -O3, every instruction set, 1 to 8 threads
	@scripts/deps.sh test clang
	@for preset in release debug clang; do \
		$(call configure,$$preset) && $(call build,$$preset) --target bits || exit 1; done
	@WEIR_BITS_DIRS="build/release build/debug build/clang" tests/check_bits.sh

slow: ## the long tests, one after the other
	@scripts/deps.sh test
	@$(call configure,release)
	@$(call build,release) --target slow
	@for t in build/release/slow/*; do if [ -f $$t ] && [ -x $$t ]; then echo "== $$t"; $$t || exit 1; fi; done

lint: ## format, clang-tidy, cppcheck, floors
	@scripts/deps.sh lint
	@$(call configure,lint)
	@scripts/lint.sh build/lint $(JOBS)

format: ## let clang-format rewrite the sources
	@scripts/deps.sh lint
	@scripts/format.sh

bench: ## measure beside the peers that are there; BENCH="--rows mlp", DOCS=1 for docs/performance.md, GGML=, KANN=, DYNET= source trees
	@scripts/deps.sh build
	@$(call configure,release)
	@$(call build,release) --target bench
	@build/release/bench/bench --json build/bench.json $(if $(DOCS),--docs docs/performance.md) $(BENCH)
	@build/release/bench/faults
	@build/release/bench/flow_cost

bench-scaling: ## time and memory against width, batch, depth and nodes; DOCS=1 writes table and picture of docs/performance.md
	@scripts/deps.sh build
	@$(call configure,release)
	@$(call build,release) --target bench
	@build/release/bench/bench --scaling $(if $(DOCS),--docs docs/performance.md --svg docs/pictures/scaling.svg) $(BENCH)

bench-peers: ## install PyTorch, OpenBLAS and oneDNN for the comparison
	@scripts/deps.sh peers

coverage: ## tests with line and branch counts, summary at the end
	@scripts/deps.sh test coverage
	@$(call configure,coverage)
	@$(call build,coverage)
	@$(call ctest,coverage)
	@gcovr --branches --exclude-unreachable-branches --exclude 'tests/' --exclude 'examples/' build/coverage

docs: ## the reference, in build/docs/html
	@scripts/deps.sh docs
	@$(call configure,release)
	@mkdir -p build/docs
	@doxygen docs/Doxyfile

install: all ## install under PREFIX
	@$(CMAKE) --install build/release --prefix $(PREFIX)

uninstall: ## remove what the last `make install` of this tree installed
	@test -e build/release/install_manifest.txt || { echo "nothing was installed from this tree"; exit 1; }
	@xargs rm -fv < build/release/install_manifest.txt

clean: ## remove all that was built
	@rm -rf build demo weir

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 18

.PHONY: all demo test asan clang-test same-bits slow lint format bench bench-peers bench-scaling coverage docs install uninstall clean help
