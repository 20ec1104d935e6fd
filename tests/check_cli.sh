#!/bin/sh
# The command weir as a user meets it: gains of diagonal networks, the depths where numbers overflow and underflow, verdicts, training
# and its signs, signals, and every kind of wrong call: one line, exit 2, nothing written.
set -eu
weir=${WEIR_BINARY_DIR:-build/release}/weir
[ -x "$weir" ] || { echo "there is no command at $weir"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
failed=0

wrong() {
	echo "check_cli: $*" >&2
	failed=1
}

# run STATUS ARGUMENTS...: the command's output in out, its talk in err.
run() {
	want=$1
	shift
	status=0
	"$weir" "$@" >out 2>err || status=$?
	[ "$status" = "$want" ] || wrong "weir $*: exit $status, want $want: $(head -c 300 err)"
}

# says TEXT [FILE]: a fixed text stands in out.
says() {
	grep -qF -e "$1" "${2:-out}" || wrong "\"$1\" is not in: $(head -c 2000 "${2:-out}")"
}

# number KEY: the first number of that key in the JSON in out.
number() { sed -n "s/^ *\"$1\": \([-0-9.e+]*\),*\$/\1/p" out | head -n 1; }

# near GOT WANT TOLERANCE
near() { awk -v g="$1" -v w="$2" -v t="$3" 'BEGIN { d = g - w; exit !(g != "" && d <= t * w && -d <= t * w) }' || wrong "got $1, want $2"; }

# ---- c^L: the gain is c, the cause the weights ----
for dtype in f32 f64; do
	for c in 0.5 1.5 0.9 1.1; do
		run 0 flow --model mlp:2-2x49-2 --act identity --init diag:$c --dtype $dtype --json
		near "$(number gain_per_layer)" $c 1e-6
		[ "$(sed -n 's/^      "gain": \(.*\),$/\1/p' out | awk -v c=$c '$1 - c <= 1e-6 && c - $1 <= 1e-6' | wc -l)" = 50 ] ||
			wrong "diag:$c, $dtype: not every layer has gain $c"
		says '"cause": "initial weights"'
		says '"model": "2 inputs, 49 hidden layers of 2, 2 outputs'
		says '"parameters": 300'
	done
done

# ---- where it leaves the range of its type: TYPE C LAYERS LINE... ----
depth() {
	dtype=$1 c=$2 layers=$3
	shift 3
	run 0 flow --model mlp:2-2x$layers-2 --act identity --init diag:$c --dtype $dtype --data ones --loss sum --subnormals ieee
	grep -E '^(overflow|underflow|zero) ' out | sed 's/ (.*),/,/; s/, step 0//' >found || true
	printf '%s\n' "$@" | sed '/^$/d' >wanted
	cmp -s found wanted || wrong "diag:$c, $dtype: $(cat found)"
}
depth f32 1.5 224 'overflow first inf: mlp.218.linear, layer 219 from the input'
depth f32 1.1 939 'overflow first inf: mlp.930.linear, layer 931 from the input'
depth f32 0.5 159 'underflow first subnormal: mlp.126.linear, layer 127 from the input' \
	'zero     first nothing but zeros: mlp.149.linear, layer 150 from the input' \
	'underflow first subnormal: gradient of mlp.33.linear, layer 127 from the output' \
	'zero     first nothing but zeros: gradient of mlp.10.linear, layer 150 from the output'
depth f32 0.9 999 'underflow first subnormal: mlp.828.linear, layer 829 from the input' \
	'underflow first subnormal: gradient of mlp.171.linear, layer 829 from the output'
depth f64 1.1 7459 'overflow first inf: mlp.7447.linear, layer 7448 from the input'
depth f64 0.25 549 'underflow first subnormal: mlp.511.linear, layer 512 from the input' \
	'zero     first nothing but zeros: mlp.537.linear, layer 538 from the input' \
	'underflow first subnormal: gradient of mlp.38.linear, layer 512 from the output' \
	'zero     first nothing but zeros: gradient of mlp.12.linear, layer 538 from the output'

# ---- verdicts ----
run 0 flow
says '64 inputs, 20 hidden layers of 32, 10 outputs (sigmoid): 21 layers, 22,474 parameters; glorot; digits, batch 64; f32'
says 'VERDICT  VANISHING, mlp.19 .. mlp.0'
says 'cause    activation: '
cp out plain
run 0 flow --threads 3
cmp -s plain out || wrong "three threads give another report"
run 0 flow --act relu --init he
says 'VERDICT  HEALTHY'
for more in '--norm layer' '--residual plain' '--residual scaled' '--act gelu' '--act silu' '--loss sum' '--l2 0.1' '--dtype f64' '--data random' \
	'--data ones' '--batch all' '--init orthogonal' '--opt adam --steps 2' '--opt adamw --steps 2 --clip 1' '--model mlp:3-1'; do
	run 0 flow $more --json
	says '"schema": "weir.flow/1"'
	[ -s err ] && wrong "flow $more: $(cat err)"
done

# ---- the page, records, and an exit by verdict ----
run 0 flow --html page.html
cmp -s plain out || wrong "with --html the table is another"
says '<b>vanishing</b>' page.html
says '</html>' page.html
run 3 flow --fail-on exploding,vanishing
says 'VERDICT  VANISHING'
run 0 flow --fail-on exploding,nonfinite,dead,saturated
run 3 flow --fail-on non-finite --model mlp:2-2x224-2 --act identity --init diag:1.5 --loss sum
run 3 train --fail-on vanishing --steps 20
says 'gradient    vanishing (activation)'
run 3 train --fail-on=nonfinite,vanishing --act relu --init he --lr 1e6
run 0 flow --stretch 0
run 0 flow --steps 5 --record steps.jsonl --record steps.ring --record board/
[ "$(wc -l <steps.jsonl)" = 7 ] || wrong "five steps and the last make $(wc -l <steps.jsonl) lines"
run 0 flow --read steps.ring
says '6 steps'
run 0 flow --read steps.ring --json
says '"step":5,'
[ "$(ls board | grep -c tfevents)" = 1 ] || wrong "no event file in board: $(ls board)"
# A profile that the environment asks for and that can't be written: one line that says so.
export WEIR_PROFILE=none/x.json
run 2 flow
unset WEIR_PROFILE
[ "$(grep -c 'weir_profile_begin: none/x.json' err)" = 1 ] && [ "$(wc -l <err)" = 1 ] || wrong "WEIR_PROFILE=none/x.json: $(cat err)"
run 0 train --steps 20 --profile trace.json
says 'linear                 gradient       420'
says '"traceEvents":[{' trace.json
if [ -e /dev/full ]; then # training goes on where a record can't
	run 1 train --steps 20 --profile /dev/full
	says 'validation  loss '
	[ "$(grep -c 'weir_profile_end: /dev/full: ' err)" = 1 ] && [ "$(wc -l <err)" = 1 ] || wrong "a full disk: $(cat err)"
	ln -s /dev/full full.jsonl
	run 1 train --act relu --init he --steps 20 --record full.jsonl
	says 'validation  loss '
	[ "$(grep -c 'full.jsonl: No space left' err)" = 1 ] && [ "$(wc -l <err)" = 1 ] || wrong "a full disk: $(cat err)"
fi
run 1 flow --read plain
says 'this is no ring file' err
[ "$(wc -l <err)" = 1 ] || wrong "no ring: $(cat err)"

# ---- what-if: what mends the verdict is what a network built that way has; steps go down; JSON holds it ----
run 0 flow --whatif --html tried.html
says 'What if: the same batch' tried.html
says '<tr><td>He initialisation<td>' tried.html
says 'what-if  (same batch, 1 forward + backward each)'
grep -qE '^suggest  (residual|ReLU \+ He|tanh)' out || wrong "no sensible advice: $(tail -n 1 out)"
grep -qE '^  He initialisation +[0-9.e-]+ +0\.[0-9]+ +vanishing ' out || wrong 'fresh weights alone mend a sigmoid'
run 0 flow --whatif --json
says '"advice": "'
if command -v python3 >/dev/null; then python3 -m json.tool out /dev/null || wrong 'not JSON'; fi
cp out tried
# tried NAME: the total gain of that trial; total: that of the network in out.
tried() { awk -v n="\"repair\": \"$1\"," 'index($0, "\"repair\"") { on = index($0, n) } on && /"total_gain"/ { sub(/,/, ""); print $2 }' tried; }
total() { awk '/"total": / { on = 1 } on && /"gain"/ { print $2; exit }' out; }
for pair in 'layer normalisation:--norm layer' 'residual:--residual plain' 'residual, 1/sqrt(L):--residual scaled' 'tanh:--act tanh' 'GELU:--act gelu'; do
	run 0 flow ${pair#*:} --json
	near "$(tried "${pair%%:*}")" "$(total)" 1e-4
done
run 0 flow --act relu --whatif
says 'nothing to change: ReLU'
says 'suggest  He initialisation'
run 0 flow --act relu --init he --whatif-steps 5 --lr 0.05
says 'what-if  (same batch, 5 steps each)'
says 'suggest  nothing to mend'
grep -qE '^  clipping ' out || wrong 'clipping was not tried over steps'
run 0 flow --whatif --steps 3 --norm layer --loss sum --dtype f64

# ---- on request: noise and curvature ----
run 0 flow --noise --curvature
says 'noise    gradients of 64 samples '
says 'noise scale '
says 'Hessian  largest eigenvalue '
run 0 flow --noise --curvature --json
[ "$(number samples)" = 64 ] || wrong 'the JSON has no noise'
[ -n "$(number top)" ] || wrong 'the JSON has no curvature'

# ---- graph ----
run 0 graph --model mlp:4-3x2-2 -o net.dot
says 'digraph weir {' net.dot
says '2 hidden layers of 3' err
run 0 graph --model mlp:4-3x2-2
says 'digraph weir {'
says '2 hidden layers of 3'
if command -v dot >/dev/null; then dot -Tsvg out -o /dev/null || wrong 'dot does not accept the graph'; fi

# ---- training and its signs ----
run 0 train --model mlp:64-32x2-10 --act relu --init he --steps 400
says '2 hidden layers of 32'
says 'step    400  loss '
awk '/^validation/ { ok = $(NF - 1) > 90 } END { exit !ok }' out || wrong "training does not learn: $(tail -n 1 out)"
run 0 train --steps 300
says '= ln 10 (guessing), unchanged for '
says 'gradient    vanishing (activation)'
run 1 train --act relu --init he --lr 1e6
grep -qE '^loss (NaN|inf) at step [0-9]+; first inf: mlp\.[0-9]+\.linear \(linear, .*setup\.c:[0-9]+\)$' out || wrong "no word of the first inf: $(cat out)"
[ -s err ] && wrong "train --lr 1e6: $(cat err)"
run 1 train --lr 1e38
run 1 train --lr 1e300 --model mlp:4-2
[ -s err ] && wrong "train --lr 1e300: $(cat err)"
run 0 train --act tanh --lr 100 --steps 100
says 'loss unstable: a sign of exploding gradients'
run 0 train --act relu --init he --steps 30 --l2 1e-3
grep -qE '^gap +validation - train -?[0-9.e-]+, L2 penalty [0-9.e-]+ in both$' out || wrong "no gap and penalty: $(cat out)"
printf 'a,b,class\n1,2,0\n3,4,1\n5,6,1\n7,8,0\n9,1,0\n' >five.csv
run 0 train --data five.csv --model mlp:2-3-2 --steps 5
run 0 train --data five.csv --model mlp:2-3-1 --loss mse --steps 5
run 0 info
says 'kernels'

# ---- wrong calls: exit 2, one line that names the word and the nearest right one, nothing on standard output, no file ----
: >empty.csv
printf '1,x,0\n2,3,1\n' >bad.csv
mkdir folder folder.csv
listing() { ls | grep -vxE 'before|after|out|err'; }
listing >before
refuse() {
	part=$1
	shift
	run 2 "$@"
	[ ! -s out ] || wrong "weir $*: wrote to standard output"
	[ "$(wc -l <err)" = 1 ] || wrong "weir $*: $(wc -l <err) lines on standard error"
	says "$part" err
}
refuse '"flwo"; did you mean "flow"?' flwo
refuse '"--act"' --act relu
refuse '"--atc"; did you mean "--act"?' flow --atc relu
refuse '"rleu"; did you mean "relu"?' flow --act rleu
refuse '"sigmiod"; did you mean "sigmoid"?' flow --act=sigmiod
refuse '"gloroot"; did you mean "glorot"?' flow --init gloroot
refuse 'the nearest is "f32"' flow --dtype f16
refuse 'needs a value' flow --act
refuse '"mpl:4-8-2"; did you mean "mlp:4-8-2"?' flow --model mpl:4-8-2
refuse '"64-32-10"; did you mean "mlp:64-32-10"?' flow --model 64-32-10
for model in mlp: mlp:64 mlp:64- mlp:64-0-10 mlp:64-32x-10 mlp:64-32x0-10 mlp:64-32y2-10 mlp:64--10 mlp:-64-10 mlp:99999999999999999999-2 \
	mlp:2-2x20001-2 'mlp:64-10 ' mlp:6.5-2; do
	refuse 'a model is written mlp:64-32x20-10' train --model "$model"
done
refuse '"fve.csv": No such file or directory; did you mean "five.csv"?' flow --data fve.csv
refuse '"folder.csv": Is a directory' flow --data folder.csv
refuse '"digts"; did you mean "digits"?' flow --data digts
refuse 'empty.csv' flow --data empty.csv --model mlp:2-2
refuse 'bad.csv' flow --data bad.csv --model mlp:2-2
refuse 'has 3 inputs, but the data has 2 features' flow --data five.csv --model mlp:3-2
refuse 'has 1 output, but the data has 2 classes' flow --data five.csv --model mlp:2-1
refuse 'has 5 inputs, but the data has 64 features' train --data digits --model mlp:5-10
refuse 'mse needs targets' flow --loss mse
refuse '"folder": Is a directory' graph -o folder
refuse '"none/x.dot": No such file or directory' graph -o none/x.dot
refuse '"abc"' flow --lr abc
refuse '"-1"' flow --lr -1
refuse '"nan"' flow --l2 nan
refuse '"1e999"' flow --lr 1e999
refuse '"0"' flow --batch 0
refuse '"0"' flow --whatif-steps 0
refuse '--whatif is an option of flow only' train --whatif
refuse '"1.5"' flow --steps 1.5
refuse '"0"' flow --threads 0
refuse '"0"' flow --clip 0
refuse '"2"' flow --momentum 2
refuse '"x"' flow --init diag:x
refuse '"steps.rng": No such file or directory; did you mean "steps.ring"?' flow --read steps.rng
refuse '"folder": Is a directory' flow --read folder
refuse '"none/x.html": No such file or directory' flow --html none/x.html
refuse '"x.txt": FILE.jsonl for JSON lines' train --record x.txt
refuse '"none/x.ring": No such file or directory' train --record none/x.ring
refuse '"vanshing"; did you mean "vanishing"?' train --fail-on dead,vanshing
refuse 'the nearest is' flow --fail-on ''
refuse '"-1"' flow --stretch -1
refuse '"none/x.json": No such file or directory' train --profile none/x.json
refuse '--profile is an option of train only' flow --profile x.json
refuse '--read is an option of flow only' train --read steps.ring
refuse '--record is an option of flow, train only' graph --record x.jsonl
refuse '--json is an option of flow only' train --json
refuse '-o is an option of graph only' flow -o x.dot
refuse '"extra"' flow extra
listing >after
cmp -s before after || wrong "a wrong call left a file: $(diff before after)"

# ---- help, and standard output that takes nothing ----
for call in --help -h help 'flow --help' 'train --steps 3 -h' --version; do
	run 0 $call
	[ -s out ] && [ ! -s err ] || wrong "weir $call: not on standard output"
done
for call in flow 'flow --json' graph info --help --version 'train --steps 3'; do
	for to in full closed; do
		status=0
		if [ $to = closed ]; then "$weir" $call >&- 2>err || status=$?
		elif [ -e /dev/full ]; then "$weir" $call >/dev/full 2>err || status=$?
		else continue
		fi
		[ $status = 1 ] && [ "$(wc -l <err)" = 1 ] || wrong "weir $call, standard output $to: exit $status: $(cat err)"
	done
done

# ---- an interrupt ends the step, not the report ----
for signal in INT:130 TERM:143; do
	status=0
	timeout --foreground --preserve-status -s ${signal%:*} 1 "$weir" train --steps 100000000 >out 2>err || status=$?
	[ $status = ${signal#*:} ] || wrong "SIG${signal%:*}: exit $status, want ${signal#*:}: $(cat err)"
	says 'validation  loss '
done
exit $failed
