#!/bin/sh
# What is written at every step, read by programs that are not of this project, and after the writer was killed.
#
#   an event file for TensorBoard: framed by od and dd, its checksums by rhash, its messages by protoc; against the JSON lines of the same run
#   a ring, after kill -9 at twenty moments: consecutive steps up to the last, equal to the JSON lines beside it
#   files that are no rings
set -eu
weir=${WEIR_BINARY_DIR:-build/release}/weir
[ -x "$weir" ] || { echo "there is no command at $weir"; exit 77; }
for tool in rhash protoc; do
	command -v $tool >/dev/null || { echo "no $tool here; on Debian: apt-get install rhash protobuf-compiler"; exit 77; }
done
work=$(mktemp -d)
pid=
trap 'rm -rf "$work"; [ -z "$pid" ] || kill -9 $pid 2>/dev/null || true' EXIT
cd "$work"
failed=0
wrong() {
	echo "check_record: $*" >&2
	failed=1
}

# What an event is, as far as it is written.
cat >event.proto <<'END'
syntax = "proto3";
message Histogram {
	double min = 1;
	double max = 2;
	double num = 3;
	double sum = 4;
	double sum_squares = 5;
	repeated double bucket_limit = 6 [packed = true];
	repeated double bucket = 7 [packed = true];
}
message Value {
	string tag = 1;
	oneof value {
		float simple_value = 2;
		Histogram histo = 5;
	}
}
message Summary { repeated Value value = 1; }
message Event {
	double wall_time = 1;
	int64 step = 2;
	string file_version = 3;
	Summary summary = 5;
}
END

bytes() { dd if="$file" bs=65536 iflag=skip_bytes,count_bytes skip="$1" count="$2" status=none; }
number() { od -An -v -t "u$3" -j "$1" -N "$2" "$file" | tr -d ' '; }
checksum() { # of OFFSET LENGTH, masked
	c=$((0x$(bytes "$1" "$2" | rhash --crc32c --simple - | cut -c1-8)))
	echo $(((((c >> 15) | (c << 17)) + 0xa282ead8) & 0xffffffff))
}

# decode FILE: its events as text, "event N" before each.
decode() {
	file=$1
	size=$(wc -c <"$file")
	at=0 n=0
	while [ "$at" -lt "$size" ]; do
		length=$(number $at 8 8)
		[ "$(number $((at + 8)) 4 4)" = "$(checksum $at 8)" ] || wrong "event $n: the checksum of its length"
		[ "$(number $((at + 12 + length)) 4 4)" = "$(checksum $((at + 12)) "$length")" ] || wrong "event $n: its checksum"
		echo "event $n"
		bytes $((at + 12)) "$length" | protoc --decode=Event event.proto || wrong "event $n: not an Event"
		at=$((at + 16 + length)) n=$((n + 1))
	done
	[ "$at" = "$size" ] || wrong "$file: $size bytes, but the last event ends at $at"
}

printf 123456789 >digits
[ "$(rhash --crc32c --simple digits | cut -c1-8)" = e3069283 ] || wrong 'rhash has another CRC-32C'

# ---- the event file, beside the JSON lines ----
steps=20
"$weir" train --model mlp:64-32-16-10 --act relu --init he --opt adam --steps $steps --record a.jsonl --record board/ --record a.ring >out
ls board | grep -q '^events\.out\.tfevents\.[0-9]*\..*\.weir$' || wrong "the event file is called $(ls board)"
decode board/* >events
grep -qi 'nan\|inf' events && wrong 'an event file has a NaN or an inf'
sed -n '2,4p' events | grep -q 'file_version: "brain.Event:2"' || wrong "the first event: $(sed -n 2,4p events)"
[ "$(wc -l <a.jsonl)" = $((steps + 1)) ] || wrong "a.jsonl has $(wc -l <a.jsonl) lines"

# "STEP TAG VALUE", from both.
awk '/^event/ { step = 0 } /^step:/ { step = $2 } /tag:/ { gsub(/"/, ""); tag = $2; value = 0; scalar = 1 } /simple_value:/ { value = $2 }
	/histo/ { scalar = 0 } /^  }/ { if (scalar) print step, tag, value }' events | sort >got
awk '
function member(s, k) { return match(s, "\"" k "\":[^][,}]*[,}]") ? substr(s, RSTART + length(k) + 3, RLENGTH - length(k) - 4) : "" }
function array(s, k) { match(s, "\"" k "\":[[][^]]*[]]"); return substr(s, RSTART + length(k) + 4, RLENGTH - length(k) - 5) }
function rows(k, tag, i, n, v) {
	n = split(array($0, k), v, ",")
	for (i = 1; i <= n; i++) if (v[i] != "null") print step, tag "/" name[i], v[i]
}
/"schema"/ { n = split(array($0, "layers"), name, ","); for (i = 1; i <= n; i++) gsub(/"/, "", name[i]); next }
{
	step = member($0, "step")
	print step, "loss", member($0, "loss"); print step, "grad_norm", member($0, "grad_norm")
	print step, "gain_per_layer", member($0, "gain_per_layer"); print step, "total_gain", member($0, "total_gain")
	rows("delta", "delta"); rows("gain", "gain"); if (/"update_ratio"/) rows("update_ratio", "update_ratio")
}' a.jsonl | sort >want
[ "$(wc -l <want)" -ge $((steps * 10)) ] || wrong "only $(wc -l <want) numbers in a.jsonl"
awk 'NR == FNR { got[$1 " " $2] = $3; next } {
	k = $1 " " $2; d = got[k] - $3; if (d < 0) d = -d; if (!(k in got) || d > 1e-6 * ($3 < 0 ? -$3 : $3)) { print k ": " got[k] ", want " $3; bad = 1 }
} END { exit bad }' got want >differences || wrong "event file and JSON lines: $(head -n 5 differences)"
[ "$(awk '$2 == "verdict" && $3 == 1' got | wc -l)" = $steps ] || wrong 'verdicts in the event file'

# histograms: of 2,048 and 160 weights, and of 10 gradients, none of which is zero; as many in the buckets, whose limits are whole numbers in a row
awk '/tag: "(weights|gradients)\// { gsub(/"/, ""); tag = $2 } /    num:/ { num = $2 } /    min:/ { min = $2 } /    max:/ { max = $2 }
	/bucket_limit:/ { if (limits && $2 != limit + 1) print tag ": limit " $2 " behind " limit; if (!limits++) first = $2; limit = $2 }
	/bucket:/ { sum += $2 }
	/^    }/ { if (sum != num) print tag ": " sum " in the buckets of " num; if (min >= first || min < first - 1) print tag ": smallest " min ", first limit " first
		if (max >= limit || max < limit - 1) print tag ": largest " max ", last limit " limit
		seen[tag " " num]++; limits = sum = 0 }
	END { if (!seen["weights/mlp.0.linear.weight 2048"] || !seen["weights/mlp.2.linear.weight 160"] || !seen["gradients/mlp.2.linear.bias 10"])
		print "not all parameters have a histogram" }' events >differences
[ -s differences ] && wrong "$(head -n 5 differences)"

# the ring of the same run
"$weir" flow --read a.ring --json >a.read
[ "$(wc -l <a.read)" = $steps ] || wrong "the ring has $(wc -l <a.read) steps"

# ---- broken numbers are left out, and counted ----
status=0
"$weir" train --act relu --init he --lr 1e6 --record bad/ --record bad.jsonl --record bad.ring >out || status=$?
[ $status = 1 ] || wrong "a broken run ends with $status"
decode bad/* >events
grep -qi 'nan\|inf"\|: -*inf' events && wrong 'an event file has a NaN or an inf'
grep -q 'tag: "nonfinite/loss"' events || wrong 'the loss that was left out is not counted'
grep -q '"loss":null,"loss_is":"\(nan\|inf\)"' bad.jsonl || wrong 'the loss in JSON lines is not null'
grep -q '"births":\[{"what":"first_inf","layer":"mlp\.' bad.jsonl || wrong 'no word of the first inf'
"$weir" flow --read bad.ring | tail -n 1 | grep -q 'non-finite .*first inf: mlp\.' || wrong "the ring does not name the first inf: $("$weir" flow --read bad.ring | tail -n 1)"

# ---- kill -9 ----
# beside LINES READ: whether the ring that was READ holds consecutive steps up to the last of the LINES, with the same numbers; how many into "count".
beside() {
	awk '
	function member(s, k) { return match(s, "\"" k "\":[^,}]*[,}]") ? substr(s, RSTART + length(k) + 3, RLENGTH - length(k) - 4) : "" }
	function all(s) { return member(s, "loss") " " member(s, "grad_norm") " " member(s, "verdict") " " member(s, "total_gain") " " member(s, "gain_per_layer") }
	BEGIN { last = -1 }
	NR == FNR { if (/^{"step"/ && /}$/) { last = member($0, "step") + 0; want[last] = all($0) } next }
	{ n++; step = member($0, "step") + 0; if (n > 1 && step != before + 1) { print "step " step " behind " before; bad = 1 } before = step
	  if (step in want) { same++; if (want[step] != all($0)) { print "step " step ": " all($0) ", want " want[step]; bad = 1 } } }
	END {
		if (n > 1000 || (last >= 1000 && n < 999) || (last < 999 && n < last)) { print n " steps, the last is " last; bad = 1 }
		if (last >= 0 && (before < last - 1 || before > last + 1)) { print "the ring ends at " before ", the lines at " last; bad = 1 }
		if (n > 1 && same < n - 1) { print "only " same " of " n " are in the lines"; bad = 1 }
		print n " steps" >"count"
		exit bad
	}' "$1" "$2"
}
for steps in 11 101 1001; do # the last step is a power of ten: numbers are compared as numbers
	rm -f run.ring run.jsonl
	"$weir" train --model mlp:64-16-10 --act relu --init he --batch 16 --steps $steps --record run.jsonl --record run.ring >/dev/null
	"$weir" flow --read run.ring --json >read
	tail -n 1100 run.jsonl >lines
	beside lines read >differences || wrong "$steps steps: $(head -n 5 differences)"
done
seed=$$
for moment in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
	rm -f run.ring run.jsonl
	"$weir" train --model mlp:64-16-10 --act relu --init he --batch 16 --steps 100000000 --record run.jsonl --record run.ring >/dev/null 2>&1 &
	pid=$!
	while [ ! -s run.ring ] && kill -0 $pid 2>/dev/null; do sleep 0.01; done
	sleep "$(awk -v s="$seed$moment" 'BEGIN { srand(s); printf "%.4f", 0.3 * rand() }')"
	kill -9 $pid
	wait $pid 2>/dev/null || true
	pid=
	"$weir" flow --read run.ring --json >read || { wrong "moment $moment: the ring can't be read"; continue; }
	tail -n 1100 run.jsonl >lines
	beside lines read >differences || wrong "moment $moment: $(head -n 5 differences)"
	cat count >>counts
done
[ "$(sort -u counts | wc -l)" -gt 1 ] || grep -qx '1000 steps\|999 steps' counts || wrong "all rings hold $(head -n 1 counts)"

# ---- what is no ring ----
refuse() { # refuse PART FILE
	status=0
	"$weir" flow --read "$2" >out 2>err || status=$?
	[ $status = 1 ] && [ "$(wc -l <err)" = 1 ] && [ ! -s out ] && grep -q "$1" err || wrong "$2: exit $status: $(cat err)"
}
head -c 100000 run.ring >short.ring
head -c 20 run.ring >tiny.ring
: >empty.ring
printf 'this is a letter\n' >foreign.ring
refuse 'it is truncated' short.ring
refuse 'it is truncated' tiny.ring
refuse 'no ring file' empty.ring
refuse 'no ring file' foreign.ring
refuse 'no ring file' a.jsonl
status=0
"$weir" train --steps 3 --record foreign.ring >out 2>err || status=$?
[ $status = 1 ] && grep -q 'it stays as it is' err || wrong "a letter was written over: exit $status: $(cat err)"
grep -q letter foreign.ring || wrong 'a letter was written over'
exit $failed
