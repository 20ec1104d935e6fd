#!/bin/sh
# Installs into a folder, and builds and runs every example there as users do: through find_package and through pkg-config,
# against the shared and against the static library. The folder has moved since the installation: no path in it is absolute.
set -eu
: "${WEIR_SOURCE_DIR:?}" "${WEIR_BINARY_DIR:?}"
CC=${CC:-cc}
export CC
command -v pkg-config >/dev/null || { echo "no pkg-config"; exit 77; }

rm -rf work
mkdir work
cd work
top=$(pwd)
cmake --install "$WEIR_BINARY_DIR" --prefix "$top/first" >install.log || { cat install.log; exit 1; }
mv first shared
cp -a shared static
find static -name 'libweir*.so*' -exec rm {} +
if grep -rl "$top/first" shared; then
	echo "these files name the folder of the installation" >&2
	exit 1
fi

examples=$(cd "$WEIR_SOURCE_DIR/examples" && ls ./*.c 2>/dev/null | sed 's#^\./\(.*\)\.c$#\1#')
[ -n "$examples" ] || { echo "no examples"; exit 77; }

# Every program in a folder of its own, as some write files.
run() { # run PROGRAM
	mkdir -p "$1.run"
	(cd "$1.run" && "../$(basename "$1")" >out 2>err) || {
		echo "$1 failed with $?" >&2
		tail -n 5 "$1.run/out" "$1.run/err" >&2
		exit 1
	}
}

# ---- find_package
mkdir consumer
cat >consumer/CMakeLists.txt <<'END'
cmake_minimum_required(VERSION 3.25)
project(consumer C)
find_package(weir 0.1 REQUIRED COMPONENTS shared static)
foreach(name IN LISTS EXAMPLES)
	add_executable(${name}_shared ${SOURCES}/${name}.c)
	target_link_libraries(${name}_shared PRIVATE weir::weir m) # m: for an example's own calls
	add_executable(${name}_static ${SOURCES}/${name}.c)
	target_link_libraries(${name}_static PRIVATE weir::static m)
endforeach()
END
cmake -S consumer -B consumer/build -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$top/shared" \
	-DSOURCES="$WEIR_SOURCE_DIR/examples" -DEXAMPLES="$(echo $examples | tr ' ' ';')" >configure.log ||
	{ cat configure.log; exit 1; }
cmake --build consumer/build >build.log 2>&1 || { cat build.log; exit 1; }
for name in $examples; do
	run "$top/consumer/build/${name}_shared"
	run "$top/consumer/build/${name}_static"
done
echo "find_package: $(echo $examples | wc -w) examples, shared and static"

# ---- pkg-config
for form in shared static; do
	PKG_CONFIG_PATH=$(find "$top/$form" -type d -name pkgconfig)
	export PKG_CONFIG_PATH
	libdir=$(pkg-config --variable=libdir weir)
	flags=$(pkg-config --cflags weir)
	case $form in
	shared) libs="$(pkg-config --libs weir) -Wl,-rpath,$libdir" ;;
	static) libs=$(pkg-config --static --libs weir) ;;
	esac
	mkdir "pc-$form"
	for name in $examples; do
		# shellcheck disable=SC2086 # flags and libs are lists of words
		$CC -std=c11 $flags "$WEIR_SOURCE_DIR/examples/$name.c" -o "pc-$form/$name" $libs -lm
		run "$top/pc-$form/$name"
	done
	echo "pkg-config: $(echo $examples | wc -w) examples, $form"
done

# ---- the installed command
for tool in shared/bin/weir; do
	[ -e "$tool" ] || continue
	mv "$tool" "$top/elsewhere"
	"$top/elsewhere" --help >/dev/null || { echo "the installed command does not run when copied away" >&2; exit 1; }
done
