/* op.h: all that the file of an operation includes. How to write one: docs/adding-an-op.md. */
#ifndef WEIR_ENGINE_OP_H
#define WEIR_ENGINE_OP_H

#include <weir/engine.h>
#include "kernels/map.h"
#include "engine/context.h"
#include "engine/tensor.h"

/* "weir_gelu" inside a composed function, else "weir_" and the operation's name: what a message begins with. */
const char *weir__who(weir_ctx *w, const weir_op *op);

/* "x is [64, 784] f32 (images)" without the first words: shape, type and name of t, in a buffer of the caller. */
enum { WEIR_TEXT = 192 };
typedef struct weir_text_buf {
	char s[WEIR_TEXT];
} weir_text_buf;
const char *weir__describe(const weir_tensor *t, weir_text_buf *buf);
const char *weir__shape_text(int rank, const int64_t *shape, weir_text_buf *buf);

/* Checks for shape rules and for functions before they apply; false after reporting. arg names the operand: "x". */
bool weir__need_float(weir_shaping *s); /* all operands f32 or all f64 */
bool weir__need_same_dtype(weir_shaping *s, int a, int b);
bool weir__axis(weir_ctx *w, const char *who, const weir_tensor *x, int axis,
		int *out); /* normalises a negative axis */
/* Bit mask of n axes (0: all); repeated axes are an error. */
bool weir__axes(weir_ctx *w, const char *who, const weir_tensor *x, int n, const int *axes, uint32_t *mask);
bool weir__copy_shape(weir_shaping *s, const weir_tensor *x); /* result like x */

/* weir_op_apply for a sound op and its n operands, which are ready (weir__ready), as the caller has found. */
weir_tensor *weir__apply_ready(weir_ctx *w, const weir_op *op, weir_tensor *const *in, int n, const void *attr);
/* weir_op_apply for an operation of the library's own, which is sound. Inline, because there n is known: 1 or more. */
static inline weir_tensor *weir__apply(const weir_op *op, weir_tensor *const *in, int n, const void *attr)
{
	weir_ctx *w = in[0] ? in[0]->ctx : NULL;
	bool ready = w && !w->status;

	for (int i = 0; i < n; i++) ready = ready && weir__ready(w, in[i]);
	return ready ? weir__apply_ready(w, op, in, n, attr) : weir_op_apply(op, in, n, attr);
}

/* Runs one element-wise kernel over n operands of like's shape (any strides) and type (but masks) into data, contiguous. */
void weir__run_map_into(weir_map id, const weir_tensor *like, weir_dst_mode mode, void *data,
			struct weir_squares *squares, const weir_tensor *const *x, int n, const double *p);
/* Into y, contiguous. */
static inline void weir__run_map(weir_map id, weir_tensor *y, const weir_tensor *const *x, int n, const double *p)
{
	weir__run_map_into(id, y, WEIR_DST_WRITE, weir__at(y), NULL, x, n, p);
}
/* A forward function: into y, of its operands. */
void weir__run_forward(weir_map id, weir_tensor *y, const double *p);
/* Into the destination of a fused rule. Inline, so that its fields are passed on one by one (a copy of the struct, read back as a whole just after
 * its fields were written, would wait for them to reach the cache), and that few elements go straight to their kernel. The values of x are there:
 * the pass has looked at those that the operation keeps. */
static inline void weir__run_map_dst(weir_map id, const weir_tensor *like, weir_grad_dst dst,
				     const weir_tensor *const *x, int n, const double *p)
{
	const void *at[WEIR_MAP_INPUTS];
	bool dense = like->numel <= WEIR_FEW && !dst.squares;

	if (dst.mode == WEIR_DST_SKIP) return;
	for (int i = 0; i < n; i++) {
		at[i] = weir__there(x[i]);
		dense = dense && x[i]->contiguous;
	}
	if (dense) weir__map_dense(id, (weir_dtype)like->dtype, like->numel, dst.data, dst.mode, at, p);
	else weir__run_map_into(id, like, dst.mode, dst.data, dst.squares, x, n, p);
}

/* A composed function: begin, operations, end(result). What is neither the result nor needed by a recorded rule goes back to
 * the pool. who: "weir_gelu", shown in messages of the operations inside. */
typedef struct weir_scratch {
	weir_ctx *ctx;
	int64_t start;
	const char *outer, *who;
} weir_scratch;
weir_scratch weir__scratch_begin(const weir_tensor *x, const char *who);
weir_tensor *weir__scratch_end(weir_scratch *s, weir_tensor *y);

/* Two nodes, one pass: set as w->epilogue around a call of weir_linear, which then also computes act of its result into value (fresh
 * storage of the result's size; NULL where it did not). Set that as w->given, and the next result takes it for its value instead of
 * running its forward function. */
typedef struct weir_epilogue {
	weir_map act;
	weir_storage *value;
} weir_epilogue;

/* False where a hook must come between the two: one that replaces values, or wants the flags of each operation. */
bool weir__may_fuse(const weir_ctx *w);

/* Constants beside x: same type, rank 0. */
weir_tensor *weir__constant(const weir_tensor *like, double value);

/* The bad tensor of x's context; for a public function that must look into x before it applies, after weir__usable said no. */
static inline weir_tensor *weir__bad(const weir_tensor *x)
{
	return weir__bad_of(weir__ctx_of(x));
}

/* a + b, same shape and type. Backward adds, so this one operation lives on this floor; weir_add() broadcasts before it. */
extern const weir_op weir_op_add;
weir_tensor *weir__add(weir_tensor *a, weir_tensor *b);

#endif
