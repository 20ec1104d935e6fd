#!/bin/sh
# Sees to the packages that features of the build need: scripts/deps.sh FEATURE...
#
#   build      compiler, CMake, OpenMP                    test       cmocka, pkg-config, g++, jansson, rhash, protoc
#   lint       clang-format, clang-tidy, cppcheck         clang      clang with its OpenMP
#   coverage   gcovr                                      docs       doxygen
#   peers      PyTorch, OpenBLAS, oneDNN, for make bench
#
# A feature includes build.
# Missing ones are installed by apt-get as root or under CI=true, after a question on a terminal, and else named
# together with the line to run. Exit 1 when something is missing in the end.
set -eu

CC=${CC:-cc}

has_command() { command -v "$1" >/dev/null 2>&1; }
has_header() { echo "#include <$1>" | "$CC" -E - >/dev/null 2>&1; }
has_cmocka() {
	printf '#include <stdarg.h>\n#include <stddef.h>\n#include <setjmp.h>\n#include <cmocka.h>\n' |
		"$CC" -E - >/dev/null 2>&1
}
has_openmp() { # has_openmp COMPILER
	printf '#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n' |
		"$1" -fopenmp -x c - -o /dev/null >/dev/null 2>&1
}
has_torch() { python3 -c 'import torch' 2>/dev/null || /usr/bin/python3 -c 'import torch' 2>/dev/null; }
has_cmake() { # 3.25 or newer
	has_command cmake && cmake --version | awk 'NR == 1 { split($3, v, "."); exit !(v[1] > 3 || (v[1] == 3 && v[2] >= 25)) }'
}

missing= # packages
reasons= # "feature needs package"
need() { # need FEATURE PACKAGE TEST ARGUMENT...
	feature=$1 package=$2
	shift 2
	if "$@"; then return; fi
	case " $missing " in *" $package "*) ;; *) missing="${missing:+$missing }$package" ;; esac
	reasons="$reasons  make $feature needs $package
"
}

look() {
	missing= reasons=
	for wanted in "$@"; do
		case $wanted in
		build)
			if has_command "$CC"; then
				need build libc6-dev has_header stdio.h
				case $("$CC" --version 2>/dev/null) in
				*clang*) need build libomp-dev has_openmp "$CC" ;;
				esac
			else
				need build gcc has_command "$CC"
				need build libc6-dev has_command "$CC"
			fi
			need build make has_command make
			need build cmake has_cmake
			;;
		test)
			need test libcmocka-dev has_cmocka
			need test libjansson-dev has_header jansson.h
			need test pkg-config has_command pkg-config
			need test g++ has_command "${CXX:-c++}"
			need test binutils has_command readelf
			need test rhash has_command rhash
			need test protobuf-compiler has_command protoc
			;;
		lint)
			need lint clang-format has_command clang-format
			need lint clang-tidy has_command clang-tidy
			need lint cppcheck has_command cppcheck
			need lint clang has_command clang
			need lint libomp-dev has_openmp clang
			need lint libjansson-dev has_header jansson.h
			;;
		clang)
			need clang-test clang has_command clang
			need clang-test libomp-dev has_openmp clang
			;;
		coverage) need coverage gcovr has_command gcovr ;;
		docs) need docs doxygen has_command doxygen ;;
		peers)
			need bench-peers python3-torch has_torch
			need bench-peers libopenblas-openmp-dev has_header cblas.h
			need bench-peers libdnnl-dev has_header oneapi/dnnl/dnnl.h
			;;
		*)
			echo "deps.sh: no feature $wanted; there are build test lint clang coverage docs peers" >&2
			exit 2
			;;
		esac
	done
}

# Every feature needs what a build needs.
set -- build "$@"
look "$@"
[ -n "$missing" ] || exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root="sudo "

give_up() {
	printf '%s' "$reasons" >&2
	if has_command apt-get; then
		echo "To install: ${as_root}apt-get update && ${as_root}apt-get install -y --no-install-recommends $missing" >&2
	else
		echo "Please install them (the names are Debian's): $missing" >&2
	fi
	exit 1
}

has_command apt-get || give_up
if [ -n "$as_root" ] && ! has_command sudo; then give_up; fi
if [ "$(id -u)" != 0 ] && [ "${CI:-}" != true ]; then
	if [ ! -t 0 ] || [ ! -t 2 ]; then give_up; fi
	printf '%s' "$reasons" >&2
	printf 'Install %s with sudo apt-get? [y/N] ' "$missing" >&2
	read -r answer
	case $answer in y | Y | yes) ;; *) give_up ;; esac
fi

echo "installing: $missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# shellcheck disable=SC2086 # $as_root and $missing are lists of words
run() { ${as_root}env DEBIAN_FRONTEND=noninteractive "$@" >"$log" 2>&1 || { cat "$log" >&2; give_up; }; }
run apt-get update
# shellcheck disable=SC2086
run apt-get install -y --no-install-recommends $missing

look "$@"
[ -z "$missing" ] || give_up
