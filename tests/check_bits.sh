#!/bin/sh
# The same bits everywhere: each program bits_*.c prints the same in every build given, for every instruction set that this
# processor has and for 1, 2, 3 and 8 threads. `make same-bits` gives builds by two compilers and two levels.
#
#   WEIR_BITS_DIRS   the build folders; default: WEIR_BINARY_DIR
set -eu
dirs=${WEIR_BITS_DIRS:-${WEIR_BINARY_DIR:?}}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

runs=0 failed=0
for dir in $dirs; do
	for program in "$dir"/bits/bits_*; do
		if [ ! -f "$program" ] || [ ! -x "$program" ]; then continue; fi
		name=$(basename "$program")
		for isa in generic avx2 avx512; do
			for threads in 1 2 3 8; do
				WEIR_ISA=$isa OMP_NUM_THREADS=$threads "$program" >"$out/now" || {
					echo "$program failed: WEIR_ISA=$isa OMP_NUM_THREADS=$threads" >&2
					failed=1
				}
				runs=$((runs + 1))
				if [ ! -e "$out/$name" ]; then
					mv "$out/now" "$out/$name"
					first="$program WEIR_ISA=$isa OMP_NUM_THREADS=$threads"
				elif ! cmp -s "$out/now" "$out/$name"; then
					echo "$program WEIR_ISA=$isa OMP_NUM_THREADS=$threads differs from $first:" >&2
					diff "$out/$name" "$out/now" | head -n 6 >&2
					failed=1
				fi
			done
		done
	done
done
[ "$runs" -gt 0 ] || { echo "no programs bits_*.c"; exit 77; }
echo "$runs runs"
exit $failed
