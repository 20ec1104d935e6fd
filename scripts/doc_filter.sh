#!/bin/sh
# Doxygen's view of a header: plain comments become its own kind. One that begins a line describes what follows, one behind
# code describes that; those that open a section stay plain.
set -eu
sed -e '1s#^/\* \([a-z_]*\.h\): #/** @file \1\n * #' \
	-e 's#^\([ \t]*\)/\* \([^-]\)#\1/** \2#' \
	-e 's#\([;,{)][ \t]*\)/\* #\1/**< #' \
	"$1"
