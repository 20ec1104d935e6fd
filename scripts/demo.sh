#!/bin/sh
# The demonstration: measures, trains, leaves two pictures in demo/, and says what to try next.
set -eu
weir=$(pwd)/weir
mkdir -p demo
cd demo
"$weir" demo "$@"
if command -v dot >/dev/null 2>&1; then
	for name in sigmoid-glorot relu-he; do dot -Tsvg "$name.dot" -o "$name.svg"; done
	echo "drawn: demo/sigmoid-glorot.svg demo/relu-he.svg"
else
	echo "they lie in demo/; with Graphviz (apt-get install graphviz): dot -Tsvg demo/sigmoid-glorot.dot -o demo/sigmoid-glorot.svg"
fi
echo
echo "try next: ./weir flow --act tanh --residual scaled"
