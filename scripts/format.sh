#!/bin/sh
# Lets clang-format rewrite the sources, or with --check only names those that it would change. The vector headers are tables,
# set by hand.
set -eu
cd "$(dirname "$0")/.."

list() { scripts/sources.sh '*.c' '*.h' | grep -v '^kernels/vec[a-z0-9_]*\.h$'; }

case ${1:-} in
--check)
	changed=0
	for f in $(list); do
		clang-format --dry-run -Werror "$f" 2>/dev/null || {
			echo "clang-format would change $f: make format"
			changed=1
		}
	done
	exit $changed
	;;
"") # twice: its first pass may leave a line that the second joins
	list | xargs -r clang-format -i
	list | xargs -r clang-format -i
	;;
*)
	echo "usage: scripts/format.sh [--check]" >&2
	exit 2
	;;
esac
