#!/bin/sh
# make lint: scripts/lint.sh BUILD-FOLDER JOBS. The build folder is configured, not built. All steps run; fails if one did.
set -eu
cd "$(dirname "$0")/.."
build=$1 jobs=$2
failed=

step() { # step NAME COMMAND...
	name=$1
	shift
	start=$(date +%s)
	if "$@"; then
		echo "lint: $name: clean ($(($(date +%s) - start)) s)"
	else
		echo "lint: $name: FAILED"
		failed="$failed $name"
	fi
}

library='^(kernels|engine|ops|nn|flow|io)/'

# Of the kernel bodies the generic build alone is in the compilation database.
tidy() {
	scripts/sources.sh '*.c' | grep -E "$library|^tools/" |
		xargs -r -P "$jobs" -n 1 clang-tidy --quiet -p "$build" 2>"$build/tidy.log" || {
		grep -E 'error:|warning:' "$build/tidy.log" | grep -v 'warnings generated' >&2
		return 1
	}
}

# What it prints decides: its exit status leaves out what it finds across files.
check() {
	scripts/sources.sh '*.c' | grep -E "$library|^tools/" >"$build/cppcheck.list"
	[ -s "$build/cppcheck.list" ] || return 0
	mkdir -p "$build/cppcheck"
	if ! cppcheck --quiet -j "$jobs" --std=c11 --language=c --enable=warning,portability --inline-suppr \
		--cppcheck-build-dir="$build/cppcheck" --suppressions-list=scripts/cppcheck.txt \
		-DWEIR_NO_HERE -DWEIR_NO_X86_KERNELS -DWEIR_KERN_GENERIC=1 -D__x86_64__=1 -D__SSE2__=1 -D__GNUC__=12 \
		-I. -Iinclude -I"$build/include" --file-list="$build/cppcheck.list" >"$build/cppcheck.log" 2>&1 ||
		[ -s "$build/cppcheck.log" ]; then
		cat "$build/cppcheck.log" >&2
		return 1
	fi
}

step floors tests/check_floors.sh
step format scripts/format.sh --check
step tidy tidy
step cppcheck check

if [ -n "$failed" ]; then
	echo "lint: failed:$failed" >&2
	exit 1
fi
