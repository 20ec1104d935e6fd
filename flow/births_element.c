/* births_element.c: single elements of tensors, by their row-major number: read, looked for, compared with those of the operands. Right for
 * subnormal numbers whatever the mode of the caller. */
#include "flow/births.h"

#include <string.h>

#include "kernels/fpenv.h"

static int64_t offset_of(const weir_tensor *t, int64_t i)
{
	const int64_t *shape = weir_shape(t), *stride = weir_strides(t);
	int64_t offset = 0;

	if (weir_is_contiguous(t)) return i;
	for (int axis = weir_rank(t); axis-- > 0;) {
		offset += i % shape[axis] * stride[axis];
		i /= shape[axis];
	}
	return offset;
}

static double read(weir_dtype dtype, const void *data, int64_t i)
{
	switch (dtype) {
	case WEIR_F32: return (double)((const float *)data)[i];
	case WEIR_F64: return ((const double *)data)[i];
	case WEIR_I32: return (double)((const int32_t *)data)[i];
	case WEIR_I64: return (double)((const int64_t *)data)[i];
	default: return (double)((const uint8_t *)data)[i];
	}
}

/* Scratch of composed operations is gone, header and all. */
bool weir__births_readable(const weir_tensor *t)
{
	weir_node_info info = weir_node(t);

	if (!t || info.released || weir_numel(t) <= 0) return false;
	return info.index >= 0 && weir_tape_at(weir_context(t), info.index) == t && weir_data(t);
}

double weir__births_value(const weir_tensor *t, int64_t element)
{
	weir_fp_state saved;
	double v;

	if (!weir__births_readable(t) || element < 0 || element >= weir_numel(t)) return UNKNOWN;
	saved = weir__fp_enter(true);
	v = read(weir_dtype_of(t), weir_data(t), offset_of(t, element));
	weir__fp_leave(saved);
	return v;
}

bool weir__births_is(double v, weir_dtype dtype, enum kind kind)
{
	double size = v < 0 ? -v : v;

	switch (kind) {
	case INF: return size == size && !is_finite(size);
	case NOT_A_NUMBER: return v != v;
	case SUBNORMAL: return size > 0 && size < (dtype == WEIR_F32 ? 0x1p-126 : 0x1p-1022);
	default: return size == 0;
	}
}

int64_t weir__births_first(const weir_tensor *t, enum kind kind, double *value)
{
	weir_fp_state saved;
	const void *data;
	int64_t found = -1;

	*value = UNKNOWN;
	if (!is_float(t) || !weir__births_readable(t)) return -1;
	data = weir_data(t);
	saved = weir__fp_enter(true);
	for (int64_t i = 0; found < 0 && i < weir_numel(t); i++) {
		double v = read(weir_dtype_of(t), data, offset_of(t, i));

		if (!weir__births_is(v, weir_dtype_of(t), kind)) continue;
		*value = v;
		found = i;
	}
	weir__fp_leave(saved);
	return found;
}

double weir__births_largest(const weir_tensor *t)
{
	weir_fp_state saved;
	const void *data;
	double most = 0;

	if (!weir__births_readable(t)) return UNKNOWN;
	data = weir_data(t);
	saved = weir__fp_enter(true);
	for (int64_t i = 0; most == most && i < weir_numel(t); i++) {
		double v = read(weir_dtype_of(t), data, offset_of(t, i));

		if (v < 0) v = -v;
		if (!(v <= most)) most = v;
	}
	weir__fp_leave(saved);
	return most;
}

bool weir__births_same_shape(const weir_tensor *a, const weir_tensor *b)
{
	return weir_rank(a) == weir_rank(b) &&
	       (!weir_rank(a) || !memcmp(weir_shape(a), weir_shape(b), (size_t)weir_rank(a) * sizeof(int64_t)));
}

/* Element by element, of operands that can all be read. */
static bool comparable(const weir_tensor *t)
{
	bool good = (weir_op_of(t)->flags & WEIR_OP_ELEMENTWISE) && weir__births_readable(t);

	for (int k = 0; good && k < weir_node(t).inputs; k++) {
		const weir_tensor *x = weir_input(t, k);

		good = weir__births_same_shape(x, t) && weir__births_readable(x);
	}
	return good;
}

int64_t weir__births_made_here(const weir_tensor *t, enum kind kind)
{
	int64_t found = -1;

	if (!comparable(t)) return -1;
	for (int64_t i = 0; found < 0 && i < weir_numel(t); i++) {
		bool made = weir__births_is(weir__births_value(t, i), weir_dtype_of(t), kind);

		for (int k = 0; made && k < weir_node(t).inputs; k++) {
			const weir_tensor *x = weir_input(t, k);

			made = !is_float(x) || !weir__births_is(weir__births_value(x, i), weir_dtype_of(x), kind);
		}
		if (made) found = i;
	}
	return found;
}

bool weir__births_carries(const weir_tensor *t, int k)
{
	const weir_tensor *x = weir_input(t, k);
	bool where = !strcmp(weir_node(t).op, "where");

	if (!comparable(t)) return true;
	for (int64_t i = 0; i < weir_numel(t); i++) {
		if (is_finite(weir__births_value(t, i)) || is_finite(weir__births_value(x, i))) continue;
		if (!where || (weir__births_value(weir_input(t, 0), i) != 0) == (k == 1)) return true;
	}
	return false;
}

bool weir__births_reads(const weir_op *op, int k)
{
	return k < 30 ? (op->keeps >> (k + 1)) & 1 : (op->keeps >> 31) & 1;
}
