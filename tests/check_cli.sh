#!/bin/sh
# The command as a user calls it: verdicts, the depths at which numbers overflow and underflow, wrong calls, and what it leaves behind.
set -eu
weir=${WEIR_BINARY_DIR:?}/weir
[ -x "$weir" ] || { echo "the command is not built"; exit 77; }
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
failed=0

fail() {
	echo "FAILED: $*" >&2
	failed=1
}

# value FILE KEY: the first value of a key of pretty JSON
value() {
	sed -n "s/^ *\"$2\": \(.*[^,]\),*\$/\1/p" "$1" | head -n 1 | tr -d '"'
}

# near A B TOLERANCE
near() {
	awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(d <= t * (b < 0 ? -b : b)) }'
}

# ---- gains of a linear net with c on the diagonal
for dtype in f32 f64; do
	for c in 0.5 1.5 0.9 1.1; do
		"$weir" flow --model mlp:2-2x49-2 --act identity --init diag:$c --dtype $dtype --json >out.json
		near "$(value out.json gain_per_layer)" $c 1e-6 || fail "$dtype diag:$c: gain per layer $(value out.json gain_per_layer)"
		[ "$(value out.json cause)" = "initial weights" ] || fail "$dtype diag:$c: cause $(value out.json cause)"
		[ "$(value out.json schema)" = weir.flow/1 ] || fail "schema"
	done
done

# ---- depths: layers FACTOR DTYPE DEPTH PATTERN...: what the report must say of a net that deep
layers() {
	factor=$1 dtype=$2 depth=$3
	shift 3
	"$weir" flow --model mlp:2-2x$((depth - 1))-2 --act identity --init diag:$factor --dtype $dtype --data ones --loss sum \
		--subnormals ieee >report
	for pattern in "$@"; do
		grep -q "$pattern" report || fail "diag:$factor $dtype, $depth layers: no \"$pattern\" in: $(grep -E '^(overflow|NaN|underflow|zero)' report)"
	done
}
layers 1.5 f32 230 "first inf: mlp.218.*layer 219 from the input" "first NaN: mlp.219"
layers 1.1 f32 940 "first inf: .*layer 931 from the input"
layers 0.5 f32 160 "first subnormal: mlp.126.*layer 127 from the input" "zeros: mlp.149.*layer 150 from the input" \
	"gradient of .*layer 127 from the output" "gradient of .*layer 150 from the output"
layers 0.25 f32 80 "first subnormal: mlp.63.*layer 64 from the input" "zeros: mlp.74.*layer 75 from the input"
layers 0.9 f32 900 "first subnormal: .*layer 829 from the input"
if grep -q "nothing but zeros" report; then fail "0.9^900 is no zero in f32"; fi
layers 1.5 f64 1760 "first inf: .*layer 1751 from the input"
layers 1.1 f64 7460 "first inf: .*layer 7448 from the input"
layers 0.5 f64 1080 "first subnormal: .*layer 1023 from the input" "zeros: .*layer 1075 from the input"
layers 0.25 f64 540 "first subnormal: .*layer 512 from the input" "zeros: .*layer 538 from the input"
layers 0.9 f64 6800 "first subnormal: .*layer 6724 from the input"

# ---- verdicts of the 2 x 2
verdict() { # verdict WANTED CAUSE OPTIONS...
	want=$1 cause=$2
	shift 2
	"$weir" flow --json "$@" >out.json
	[ "$(value out.json verdict)" = "$want" ] || fail "$*: $(value out.json verdict) instead of $want"
	[ "$(value out.json cause)" = "$cause" ] || fail "$*: cause $(value out.json cause) instead of $cause"
}
verdict vanishing activation
verdict vanishing activation --init he
verdict vanishing "initial weights" --act relu
verdict healthy null --act relu --init he
verdict healthy null --act tanh --residual scaled
verdict healthy null --act gelu --norm layer --residual plain

# ---- training: one learns, one guesses
"$weir" demo >demo.txt
grep -q "ln 10 (guessing)" demo.txt || fail "the sigmoid network's loss says nothing"
awk '/^ReLU, He +[0-9]+ /{ if ($NF > 95) ok = 1 } END { exit !ok }' demo.txt || fail "ReLU, He: $(grep '^ReLU, He ' demo.txt | tail -n 1)"
awk '/^sigmoid, Glorot +[0-9]+ /{ if ($NF < 20) ok = 1 } END { exit !ok }' demo.txt || fail "sigmoid learned"
for dot in sigmoid-glorot.dot relu-he.dot; do
	grep -q "^digraph" $dot || fail "$dot"
	if command -v dot >/dev/null 2>&1; then dot -Tsvg $dot -o /dev/null || fail "dot does not take $dot"; fi
done
"$weir" train --act relu --init he --lr 1e6 --steps 50 >train.txt && fail "a loss of NaN is no success"
grep -q "loss NaN at step .*; first inf: mlp\..*(linear, tools/" train.txt || fail "NaN: $(tail -n 2 train.txt)"

# ---- the report begins with the model
"$weir" flow | head -n 1 | grep -q "^64 inputs, 20 hidden layers of 32, 10 outputs.*22,474 parameters" || fail "first line"
"$weir" graph --model mlp:4-3-2 -o net.dot 2>talk.txt || fail "graph"
grep -q cluster net.dot || fail "no clusters"
"$weir" info | grep -q "kernels" || fail "info"

# ---- wrong calls: one line, exit 2, nothing written
mkdir empty
cd empty
wrong() { # wrong PATTERN OPTIONS...
	pattern=$1
	shift
	status=0
	"$weir" "$@" >../out 2>../err || status=$?
	[ $status = 2 ] || fail "$*: exit $status"
	[ "$(wc -l <../err)" = 1 ] || fail "$*: $(cat ../err)"
	[ ! -s ../out ] || fail "$*: wrote to standard output"
	grep -q -e "$pattern" ../err || fail "$*: no \"$pattern\" in: $(cat ../err)"
	[ -z "$(ls -A)" ] || fail "$*: left $(ls -A)"
}
printf '1,2\n3\n' >../ragged.csv
: >../nothing.csv
wrong '"flow"' flwo
wrong '"--model"' flow --modle mlp:2-2
wrong '"relu"' flow --act rleu
wrong '"he"' train --init hee
wrong 'mlp:64-32x20-10' flow --model mlp:64-32y3-10
wrong 'character' flow --model mlp:
wrong 'width' flow --model mlp:0-3
wrong 'whole number' flow --steps -3
wrong 'number' train --lr abc
wrong 'needs a value' flow --lr
wrong 'nofile.csv' flow --data nofile.csv
wrong 'digits' flow --data digit
wrong 'nowhere' graph -o nowhere/net.dot
wrong 'directory' graph -o ..
wrong '64 features' flow --data digits --model mlp:32-10
wrong 'ragged.csv' flow --data ../ragged.csv --model mlp:1-2
wrong 'nothing.csv' flow --data ../nothing.csv --model mlp:1-2
cd ..
"$weir" flow --help >help.txt && grep -q -e --subnormals help.txt || fail "help"
if [ -e /dev/full ]; then
	status=0
	"$weir" flow >/dev/full 2>err || status=$?
	[ $status = 1 ] && [ -s err ] || fail "a full disk: exit $status"
fi
exit $failed
