#!/bin/sh
# Fails where an include points to a higher floor or to a sibling.
#
#   include/weir   each public header stands on the floor of its name
#   kernels 0, engine 1, ops 2, nn flow io 3 (siblings), tools tests bench examples 4
#
# A private header is included as "floor/x.h", a public one as <weir/x.h>. The sources of weir-io are built on the public headers
# alone; flow on them and on a few private ones in which no tensor occurs. Usage: tests/check_floors.sh [TREE]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=${1:-$here/..}

# check TREE: prints "file:line: what is wrong" for every wrong include; exit 1 if there was one.
check() (
	cd "$1"
	set -- /dev/null
	for f in include/weir/* kernels/* engine/* ops/* nn/* flow/* io/* tools/* tests/* bench/* examples/*; do
		case $f in *.c | *.h | *.def) set -- "$@" "$f" ;; esac
	done
	awk '
	BEGIN {
		split("kernels 0 engine 1 ops 2 nn 3 flow 3 io 3 tools 4 tests 4 bench 4 examples 4", f)
		for (i = 1; i in f; i += 2) floor[f[i]] = f[i + 1]
		# Public headers: the floor whose face they are; "any" may be included from everywhere.
		split("types any version any engine engine ops ops nn nn flow flow io io safetensors io here ops here_nn nn weir all", h)
		for (i = 1; i in h; i += 2) face[h[i]] = h[i + 1]
		# What flow may use beside: memory, text, numbers and the clock, in which no tensor and no tape occurs.
		split("engine/memory.h engine/text.h engine/number.h engine/json_write.h engine/safe_write.h kernels/reduce.h kernels/cpu.h kernels/fpenv.h kernels/threads.h", t)
		for (i in t) plain[t[i]]
	}
	function wrong(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; bad = 1 }
	FNR == 1 {
		n = split(FILENAME, part, "/")
		public = part[1] == "include"
		name = part[n]; sub(/\.[a-z]*$/, "", name)
		home = public ? face[name] : part[1]
		if (public && home == "") wrong("a public header that check_floors.sh does not know; say there which floor it belongs to")
		level = home == "any" ? -1 : home == "all" ? 4 : floor[home]
		alone = FILENAME ~ /^io\/safetensors/
		instrument = home == "flow"
	}
	/^[ \t]*#[ \t]*include[ \t]*[<"]/ {
		path = $0; sub(/^[^<"]*[<"]/, "", path); sub(/[>"].*$/, "", path)
		quoted = $0 ~ /include[ \t]*"/
		n = split(path, to, "/")
		if (!quoted && to[1] != "weir") { # of the system, unless it is one of ours in the wrong brackets
			if (to[1] in floor) wrong("\"" path "\" is ours: in quotes")
			next
		}
		if (quoted && to[1] == "weir") { wrong("public headers in angle brackets: <" path ">"); next }
		if (quoted && public) { wrong("a public header includes a private one: \"" path "\""); next }
		if (quoted && !(n == 2 && to[1] in floor)) { wrong("\"" path "\" is not written as \"floor/file\""); next }
		if (quoted) target = to[1]
		else {
			key = to[2]; sub(/\.h$/, "", key)
			if (!(key in face)) { wrong("<" path "> is no public header that check_floors.sh knows"); next }
			target = face[key]
		}
		if (target == "any") next
		reach = target == "all" ? 4 : floor[target]
		if (reach > level) wrong(home " (floor " level ") includes " path " (floor " reach ")")
		else if (reach == 3 && level == 3 && target != home) wrong(home " includes its sibling: " path)
		else if (quoted && alone && target != home) wrong("built on the public headers alone, but includes \"" path "\"")
		else if (quoted && instrument && target != home && !(path in plain)) wrong("the instrument sees the tape through public headers alone, but includes \"" path "\"")
	}
	END { exit bad }' "$@"
)

# First that it finds what it is for.
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
for case in 'kernels/a.c|#include "engine/tape.h"' 'engine/a.h|#include <weir/ops.h>' 'ops/a.c|#include "nn/module.h"' \
	'nn/a.c|#include "flow/flow.h"' 'flow/a.c|#include <weir/nn.h>' 'io/a.c|  #  include "nn/x.h"' 'flow/a.c|#include "engine/tape.h"' \
	'ops/a.c|#include "common.h"' 'engine/a.c|#include <kernels/map.h>' 'include/weir/ops.h|#include <weir/nn.h>' \
	'include/weir/types.h|#include <weir/engine.h>' 'include/weir/ops.h|#include "ops/common.h"' 'engine/a.c|#include "weir/ops.h"' \
	'ops/a.c|#include "tests/a.h"' 'ops/a.c|#include <weir/weir.h>' 'io/safetensors.c|#include "engine/number.h"'; do
	rm -rf "$trial/tree"
	mkdir -p "$trial/tree/$(dirname "${case%%|*}")"
	printf '%s\n' "${case#*|}" >"$trial/tree/${case%%|*}"
	if check "$trial/tree" >/dev/null; then
		echo "check_floors.sh itself is wrong: it accepts ${case#*|} in ${case%%|*}" >&2
		exit 1
	fi
done
rm -rf "$trial/tree"
mkdir -p "$trial/tree/flow" "$trial/tree/ops" "$trial/tree/tests"
printf '#include <weir/ops.h>\n#include "flow/x.h"\n#include <math.h>\n' >"$trial/tree/flow/a.c"
printf '#include "kernels/map.h"\n#include "engine/tape.h"\n#include <weir/types.h>\n' >"$trial/tree/ops/a.c"
printf '#include "nn/a.h"\n#include "flow/a.h"\n#include <weir/weir.h>\n' >"$trial/tree/tests/a.c"
check "$trial/tree" >&2 || { echo "check_floors.sh itself is wrong: it refuses right includes" >&2; exit 1; }

check "$tree"

# The instrument's files are listed once, in the opening comment of flow/flow.h.
for f in "$tree"/flow/*.c; do
	name=$(basename "$f")
	sed '/\*\//q' "$tree/flow/flow.h" | grep -qw "$name" || { echo "flow/flow.h does not say what $name is" >&2; exit 1; }
done
