#!/bin/sh
# What the shared library exports, imports and needs: only weir_* out; no function that ends the process, prints or depends
# on the locale in; of libm only the exact functions; and no library but libc, libm and the OpenMP runtime.
set -eu
: "${WEIR_BINARY_DIR:?}"
failed=0
fail() {
	echo "$1" >&2
	shift
	printf '  %s\n' "$@" >&2
	failed=1
}

allowed_libraries='^(libc|libm|libgomp|libomp|libpthread|ld-linux.*|ld64|ld-musl.*)\.so'
allowed_io='^(libweir|libjansson)\.so|'$allowed_libraries
forbidden='^(__)?(abort|_?exit|_Exit|quick_exit|v?f?printf|v?dprintf|puts|putchar|putc|perror|strto(d|f|ld)|atof|v?f?s?scanf|setlocale|uselocale|newlocale|localeconv|raise)(_chk)?$'
# Internal errors are asserted in debug builds only.
case ${WEIR_BUILD_TYPE:-Release} in Debug) ;; *) forbidden="$forbidden|^__assert_fail\$" ;; esac
allowed_math='^(fma|fmaf|sqrt|sqrtf)$'

names() { awk '{ sub(/@.*/, "", $NF); print $NF }' | sort -u; }

libm=$("${CC:-cc}" -print-file-name=libm.so.6)
[ -e "$libm" ] || { echo "no libm.so.6 beside this compiler: not the C library that this test knows"; exit 77; }
nm -D --defined-only "$libm" | grep -v ' A ' | names >libm.txt

look() { # look LIBRARY ALLOWED-LIBRARIES
	echo "$1"
	nm -D --defined-only "$1" | grep -v ' A ' | names >out.txt
	nm -D --undefined-only "$1" | names >in.txt
	echo "  exports $(wc -l <out.txt), imports $(wc -l <in.txt)"
	[ -s out.txt ] || fail "exports nothing"

	bad=$(grep -Ev '^weir_[a-z]' out.txt || true)
	[ -z "$bad" ] || fail "exports that are not weir_*:" $bad
	bad=$(grep -E "$forbidden" in.txt || true)
	[ -z "$bad" ] || fail "imports that the library must not use:" $bad
	bad=$(comm -12 in.txt libm.txt | grep -Ev "$allowed_math" || true)
	[ -z "$bad" ] || fail "imports from libm beside fma, fmaf, sqrt, sqrtf:" $bad
	bad=$(readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' | grep -Ev "$2" || true)
	[ -z "$bad" ] || fail "needs more than libc, libm and OpenMP:" $bad
	readelf -d "$1" | grep -Eq '\(SONAME\).*\.so\.[0-9]+\.[0-9]+\]' || fail "its SONAME has no MAJOR.MINOR"
	readelf -lW "$1" | grep -q 'GNU_STACK.*RWE' && fail "its stack is executable"
	readelf -d "$1" | grep -q TEXTREL && fail "it has text relocations"
	return 0
}

look "$WEIR_BINARY_DIR/libweir.so" "$allowed_libraries"
if [ -e "$WEIR_BINARY_DIR/libweir-io.so" ]; then look "$WEIR_BINARY_DIR/libweir-io.so" "$allowed_io"; fi

# Globals of the static library are seen by the programs that link it: they need the prefix too.
bad=$(nm -g --defined-only "$WEIR_BINARY_DIR/libweir.a" | awk 'NF == 3 { print $3 }' | sort -u | grep -v '^weir_' || true)
[ -z "$bad" ] || fail "globals of libweir.a that are not weir_*:" $bad
exit $failed
