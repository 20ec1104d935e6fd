#!/bin/sh
# The public headers as a C++ program uses them: calls with ::, commas in braces and compound literals in arguments, nested
# calls, the addresses of functions; the source lines that nodes carry are right.
set -eu
: "${WEIR_SOURCE_DIR:?}" "${WEIR_BINARY_DIR:?}"
case ${CC:-cc} in *clang*) CXX=clang++ ;; *) CXX=${CXX:-g++} ;; esac # the OpenMP that the library was built with
command -v "$CXX" >/dev/null 2>&1 || { echo "no C++ compiler"; exit 77; }

cat >user.cpp <<'END'
#include <weir/weir.h>

#include <cstdio>
#include <cstring>
#include <initializer_list>

static weir_tensor *(*const plain)(weir_tensor *) = weir_relu;

static int line_of(const weir_tensor *t)
{
	const char *colon = std::strrchr(weir_node(t).here, ':');
	int line = 0;

	return colon && std::sscanf(colon, ":%d", &line) == 1 ? line : -1;
}

int main()
{
	weir_options o;
	::weir_options_init(&o);
	o.seed = 3;
	weir_ctx *w = ::weir_open(&o);
	const int64_t shape[] = { 2, 3 };
	weir_tensor *x = ::weir_full(w, WEIR_F32, 2, shape, -1);
	weir_tensor *y = ::weir_relu(::weir_neg(x)); int line = __LINE__;
	weir_tensor *z = ::weir_sum(::weir_reshape(y, 2, std::initializer_list<int64_t>{ 3, 2 }.begin()), 0, nullptr, false);
	weir_tensor *m = weir_add(weir_mul(x,
					   x),
				  plain(x)); int after = __LINE__;
	weir_module *net = ::weir_sequential_new(w, "net");
	weir_module_add(net, nullptr, weir_linear_new(w, 3, 2, WEIR_INIT_HE));
	weir_tensor *loss = ::weir_cross_entropy(::weir_forward(net, x), ::weir_from(w, WEIR_I32, 1, std::initializer_list<int64_t>{ 2 }.begin(), std::initializer_list<int32_t>{ 0, 1 }.begin()));
	::weir_backward(loss);
	weir_rewind(w, (weir_place){ weir_mark(w) }, &m, 1); /* a struct's compound literal, which g++ takes */
	bool good = weir_item(z) == 6 && line_of(y) == line && line_of(weir_input(y, 0)) == line && line_of(m) <= after && line_of(m) >= after - 2 &&
		    weir_get(m, 0) == 1 && weir_grad_of(weir_module_parameter(net, 0)) != nullptr;
	if (!good) std::printf("lines %d %d %d, %s\n", line_of(y), line, line_of(m), weir_error_text(w));
	return weir_close(w) != 0 || !good;
}
END
for std in gnu++11 gnu++17 gnu++20; do
	"$CXX" -std=$std -Wall -Wextra -I"$WEIR_SOURCE_DIR/include" -I"$WEIR_BINARY_DIR/include" user.cpp \
		"$WEIR_BINARY_DIR/libweir.a" -fopenmp -lm -o user_$std
	./user_$std
	echo "$std: fine"
done
