#!/bin/sh
# Lists the files of the source tree that match the patterns: scripts/sources.sh '*.c' '*.h'. In a git checkout those that git
# knows or would add, elsewhere those of the folders that hold sources.
set -eu
cd "$(dirname "$0")/.."

if git rev-parse --is-inside-work-tree >/dev/null 2>&1 && [ "$(git rev-parse --show-toplevel)" = "$(pwd -P)" ]; then
	git ls-files --cached --others --exclude-standard -- "$@" | sort -u |
		while IFS= read -r f; do if [ -f "$f" ]; then printf '%s\n' "$f"; fi; done
else
	for pattern in "$@"; do
		find include kernels engine ops nn flow io tools tests bench examples -type f -name "$pattern"
	done | sort -u
fi
