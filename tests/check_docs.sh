#!/bin/sh
# What the documentation shows is what the command prints. In README.md and docs/*.md a block that begins with "$ ./weir ..." or
# "$ build/release/examples/..." is run; the lines under it must stand in its output, in this order; a line of "..." stands for any number of lines. Numbers that
# follow the clock (what measuring cost, the times of a profile and the order of its lines) are not compared.
set -eu
tree=${WEIR_SOURCE_DIR:-.}
built=$(cd "${WEIR_BINARY_DIR:-build/release}" && pwd)
weir=$built/weir
[ -x "$weir" ] || { echo "there is no command at $weir"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failed=0
plain() { sed -e 's/measured at [0-9.]* %/measured at N %/' \
	-e 's/^\(.* \(forward\|gradient\|backward\|hooks\|module\|call\)  *[0-9]*\) [0-9. ]*$/\1/' -e 's/^outside [0-9. ]*$/outside/' -e 's/[[:space:]]*$//' "$1"; }

# Splits a page into 1.command 1.want, 2.command 2.want, ...
split() {
	awk '
	/^```/ { inside = !inside; close(want); want = ""; next }
	inside && /^\$ (\.\/weir|build\/release\/examples\/)/ { n++; want = n ".want"; print substr($0, 3) >(n ".command"); close(n ".command"); printf "" >want; next }
	inside && want != "" { print >want }
	END { print n + 0 }' "$1"
}

blocks=0
for page in "$tree"/README.md "$tree"/docs/*.md; do
	rm -f ./*.command ./*.want
	count=$(split "$page")
	for i in $(seq 1 "$count"); do
		blocks=$((blocks + 1))
		sed -e "s|^\./weir|$weir|" -e "s|^build/release/|$built/|" "$i.command" >run.sh
		if ! sh run.sh >out 2>err; then # exit codes are part of what some pages show
			[ -s out ] || { echo "$page: $(cat "$i.command"): failed: $(head -c 300 err)" >&2; failed=1; }
		fi
		plain out >out.plain
		plain "$i.want" >want.plain
		awk -v page="$page" -v command="$(cat "$i.command")" '
		NR == FNR { have[++n] = $0; next }
		/^ *(\.\.\.|…)$/ { free = 1; next }
		/ (forward|gradient|backward|hooks|module|call) +[0-9]+$/ { # of a profile: in what order, the clock decides
			for (k = 1; k <= n && have[k] != $0; k++) {}
			if (k <= n) { free = 1; next }
		}
		{
			k = at + 1
			if (free) while (k <= n && have[k] != $0) k++
			if (k > n || have[k] != $0) {
				printf "%s: %s\n  the page shows: %s\n  it prints:      %s\n", page, command, $0, (free ? "nothing like it behind line " at : have[at + 1]) >"/dev/stderr"
				exit 1
			}
			at = k
			free = 0
		}' out.plain want.plain || failed=1
	done
done
# The table of planted faults.
if [ -x "$built/bench/faults" ]; then
	"$built/bench/faults" --markdown >table
	while IFS= read -r line; do
		[ -z "$line" ] || grep -qxF -e "$line" "$tree/docs/instrument.md" || { echo "docs/instrument.md has not: $line" >&2; failed=1; }
	done <table
fi
[ "$blocks" -ge 1 ] || { echo "no block was found" >&2; failed=1; }
echo "$blocks blocks"
exit $failed
