/* pass_norm.c: norms that a fused rule takes while it writes (kernels/squares.h), so that hooks and optimisers find them ready. See pass.h.
 *
 * A rule that has time to square what it reads as well (WEIR_OP_MEASURES) is run before the observers of its node are called. */
#include "engine/hook.h"
#include "engine/pass.h"
#include "kernels/squares.h"

bool weir__pass_measures(const weir_pass *p, const weir_tensor *x)
{
	return (x->op->flags & WEIR_OP_MEASURES) && p->hooked && !p->r->graph && !p->w->special_hooks &&
	       x->dtype == WEIR_F32 && x->numel >= WEIR_CHUNK && (p->need[x->index - p->first] & WEIR_NEED_PATH);
}

bool weir__pass_optimised(const weir_pass *p, const weir_tensor *x)
{
	return x->kept && x->kept->norm_wanted && !p->r->nx;
}

/* Is it worth while to ask the rule of y for the norm of the gradient that it writes for operand i? */
static bool ask(const weir_pass *p, const weir_tensor *y, const weir_grad_dst *dst, int i)
{
	const weir_tensor *x = y->in[i];

	if (!dst[i].data || x->numel < WEIR_CHUNK || !(p->hooked || weir__pass_optimised(p, x)) ||
	    weir__pass_measures(p, x))
		return false;
	for (int j = 0; j < y->nin; j++) {
		if (j != i && dst[j].data == dst[i].data) return false;
	}
	return true;
}

/* Most passes over small tensors never need it. */
static bool prepare_norms(weir_pass *p)
{
	size_t nodes = (size_t)(p->n - p->first);

	p->norm_bytes = nodes * sizeof *p->norm;
	if (!(p->norm = weir__pool_take(p->w, &p->norm_bytes))) return false;
	for (size_t i = 0; i < nodes; i++) p->norm[i] = __builtin_nan("");
	return true;
}

bool weir__pass_ask_norms(weir_pass *p, const weir_tensor *y, const weir_tensor *gy, weir_grad_dst *dst,
			  weir_squares *s)
{
	int64_t chunks = 0;
	size_t bytes;

	for (int i = 0; i < y->nin; i++) {
		const weir_tensor *x = y->in[i];

		if (!ask(p, y, dst, i)) continue;
		s[i] = (weir_squares){ .t = (weir_dtype)x->dtype, .y = dst[i].data, .n = x->numel };
		dst[i].squares = &s[i];
		chunks += weir__chunks(x->numel);
	}
	if (!chunks) return true;
	if (dst[0].squares && weir__pass_measures(p, y)) {
		s[y->nin] = (weir_squares){ .t = (weir_dtype)gy->dtype, .y = weir__at(gy), .n = gy->numel };
		dst[0].squares->source = &s[y->nin];
		chunks += weir__chunks(gy->numel);
	}
	if (!p->norm && !prepare_norms(p)) return false;
	bytes = (size_t)chunks * sizeof *p->chunk;
	if (bytes > p->chunk_bytes) {
		if (p->chunk) weir__pool_give(p->w, p->chunk, p->chunk_bytes);
		p->chunk_bytes = 0;
		if (!(p->chunk = weir__pool_take(p->w, &bytes))) return false;
		p->chunk_bytes = bytes;
	}
	for (int i = 0; i <= y->nin; i++) {
		if (i < y->nin ? !dst[i].squares : !dst[0].squares || !dst[0].squares->source) continue;
		chunks -= weir__chunks(s[i].n);
		s[i].chunk = p->chunk + chunks;
	}
	return true;
}

static void note_norm(weir_pass *p, const weir_tensor *x, const weir_squares *s)
{
	weir_ctx *w = p->w;

	p->norm[x->index - p->first] = weir__squares_norm(s, w->threads);
	if (!weir__pass_optimised(p, x)) weir__hooks_charge(w, s->hidden ? s->n / 4 : s->n);
}

void weir__pass_note_norms(weir_pass *p, const weir_tensor *y, const weir_grad_dst *dst)
{
	const weir_squares *of_gy;

	if (!p->norm) return;
	of_gy = dst[0].squares ? dst[0].squares->source : NULL;
	if (of_gy && of_gy->done) note_norm(p, y, of_gy);
	for (int i = 0; i < y->nin; i++) {
		if (!dst[i].data) continue;
		p->norm[y->in[i]->index - p->first] = __builtin_nan("");
		if (dst[i].squares && dst[i].squares->done) note_norm(p, y->in[i], dst[i].squares);
	}
}
