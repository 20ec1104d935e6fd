#!/bin/sh
# Every public header compiles alone, as C11 and as C++17, without a warning, with and without the source-line macros.
set -eu
: "${WEIR_SOURCE_DIR:?}" "${WEIR_BINARY_DIR:?}"
CC=${CC:-cc}
CXX=${CXX:-c++}
warnings="-Wall -Wextra -Wpedantic -pedantic -Wconversion -Wshadow -Werror"

command -v "$CXX" >/dev/null || { echo "no C++ compiler: $CXX"; exit 77; }

failed=0 count=0
for header in "$WEIR_SOURCE_DIR"/include/weir/*.h "$WEIR_BINARY_DIR"/include/weir/*.h; do
	name=$(basename "$header")
	for macros in "" -DWEIR_NO_HERE; do
		for language in "$CC -std=c11 -Wstrict-prototypes -Wvla -x c" "$CXX -std=c++17 -x c++"; do
			count=$((count + 1))
			# Twice: the include guard. shellcheck disable=SC2086
			printf '#include <weir/%s>\n#include <weir/%s>\nint weir_header_alone;\n' "$name" "$name" |
				$language $warnings $macros -I"$WEIR_SOURCE_DIR/include" -I"$WEIR_BINARY_DIR/include" \
					-fsyntax-only - || {
				echo "weir/$name does not stand alone: $language $macros" >&2
				failed=1
			}
		done
	done
done
echo "$count compilations"
[ "$count" -gt 0 ] && exit $failed
