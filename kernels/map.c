/* map.c: the driver of element-wise kernels. See map.h.
 *
 * A call becomes a job: axes merged, strides in bytes. Threads take ranges of the row-major order; a range is walked in blocks, and for a
 * block each operand is either pointed to or packed into a buffer. When rows are long a block stays inside one row, so that operands of
 * unit stride are never packed; when rows are short a block spans many of them, so that the kernel is not called for a few elements. What fits
 * into a block and lies dense needs no job. It is longer than most because all drivers share the job. */
#include "kernels/map.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "kernels/threads.h"

enum {
	BLOCK = WEIR_FEW, /* elements packed at a time */
	WARM = 2048, /* elements computed before they are squared: with those they came from, half of a first-level cache */
	TILE = 32,    /* rows and columns of a transposed copy taken at a time */
	GRAIN = 1024, /* a thread's share is a multiple of this many elements: whole cache lines of any type */
	TURNED = 24,  /* what moving an element by tiles costs, beside its bytes */
	INPUTS = WEIR_MAP_INPUTS,
};

/* DENSE: row-major without gaps. FLAT: all strides 0. */
typedef enum layout { OTHER, DENSE, FLAT } layout;

typedef struct operand {
	const char *data;
	int64_t stride[WEIR_MAX_RANK]; /* in bytes */
	size_t size;                   /* of an element */
	layout layout;
} operand;

typedef struct job {
	weir_map_fn *map; /* or NULL: */
	weir_cast_fn *cast;
	weir_map_fn *add; /* set: y = y + result */
	const double *p;
	weir_squares *squares, *gy_squares; /* of y, and of the first input, or NULL */
	char *y;
	size_t ysize;
	int64_t ystride[WEIR_MAX_RANK]; /* weir__copy only, in bytes */
	int rank, inputs;
	int64_t shape[WEIR_MAX_RANK], count;
	operand in[INPUTS];
} job;

static const size_t size_of[WEIR_DTYPE_COUNT] = {
	[WEIR_F32] = 4, [WEIR_F64] = 8, [WEIR_I32] = 4, [WEIR_I64] = 8, [WEIR_U8] = 1,
};

/* ---- making a job ---- */

static void set_shape(job *j, int rank, const int64_t *shape)
{
	assert(rank >= 0 && rank <= WEIR_MAX_RANK);
	j->rank = rank;
	j->count = 1;
	for (int i = 0; i < rank; i++) {
		j->shape[i] = shape[i];
		j->count *= shape[i];
	}
}

static void set_input(job *j, int i, const weir_strided *x, size_t size)
{
	operand *o = &j->in[i];

	o->data = x->data;
	o->size = size;
	for (int d = 0; d < j->rank; d++) o->stride[d] = x->stride[d] * (int64_t)size;
}

/* Whether axis d continues axis `outer` in every operand. */
static bool continues(const job *j, int outer, int d)
{
	if (j->ystride[outer] != j->ystride[d] * j->shape[d]) return false;
	for (int i = 0; i < j->inputs; i++) {
		if (j->in[i].stride[outer] != j->in[i].stride[d] * j->shape[d]) return false;
	}
	return true;
}

static void move_axis(job *j, int to, int from)
{
	j->shape[to] = j->shape[from];
	j->ystride[to] = j->ystride[from];
	for (int i = 0; i < j->inputs; i++) j->in[i].stride[to] = j->in[i].stride[from];
}

/* Leaves axes out whose extent is 1 and merges neighbours that lie together; then names each operand's layout. */
static void merge_axes(job *j)
{
	int last = -1;

	for (int d = 0; d < j->rank; d++) {
		if (j->shape[d] == 1) continue;
		if (last >= 0 && continues(j, last, d)) {
			int64_t extent = j->shape[last] * j->shape[d];

			move_axis(j, last, d);
			j->shape[last] = extent;
		} else {
			move_axis(j, ++last, d);
		}
	}
	j->rank = last + 1;
	for (int i = 0; i < j->inputs; i++) {
		operand *o = &j->in[i];
		int64_t step = (int64_t)o->size;
		bool dense = true, flat = true;

		for (int d = last; d >= 0; d--) {
			dense = dense && o->stride[d] == step;
			flat = flat && o->stride[d] == 0;
			step *= j->shape[d];
		}
		o->layout = dense ? DENSE : flat ? FLAT : OTHER;
	}
}

/* y's strides of a dense result, so that the axes of y merge wherever those of the inputs do. */
static void set_dense_y(job *j)
{
	int64_t step = (int64_t)j->ysize;

	for (int d = j->rank - 1; d >= 0; d--) {
		j->ystride[d] = step;
		step *= j->shape[d];
	}
}

/* ---- packing ---- */

#define COPY_STRIDED(bytes) \
	for (int64_t i = 0; i < n; i++) memcpy(to + i * tstep, from + i * fstep, bytes)

#define FILL(type)                                                                                \
	do {                                                                                      \
		type v;                                                                           \
		memcpy(&v, from, sizeof v);                                                       \
		for (int64_t i = 0; i < n; i++) memcpy(to + i * (int64_t)sizeof v, &v, sizeof v); \
	} while (0)

/* One value n times, as a broadcast operand is packed. */
static void fill_run(char *to, const char *from, int64_t n, size_t size)
{
	switch (size) {
	case 1: FILL(uint8_t); break;
	case 4: FILL(uint32_t); break;
	default: FILL(uint64_t); break;
	}
}

static void copy_run(char *to, int64_t tstep, const char *from, int64_t fstep, int64_t n, size_t size)
{
	if (tstep == (int64_t)size && fstep == (int64_t)size) {
		memcpy(to, from, (size_t)n * size);
		return;
	}
	if (tstep == (int64_t)size && fstep == 0) {
		fill_run(to, from, n, size);
		return;
	}
	switch (size) {
	case 1: COPY_STRIDED(1); break;
	case 4: COPY_STRIDED(4); break;
	default: COPY_STRIDED(8); break;
	}
}

/* A place in row-major order: the index along each axis. */
typedef struct place {
	int64_t at[WEIR_MAX_RANK];
} place;

static place place_of(const job *j, int64_t i)
{
	place p;

	for (int d = j->rank - 1; d >= 0; d--) {
		p.at[d] = i % j->shape[d];
		i /= j->shape[d];
	}
	return p;
}

static int64_t offset_of(const job *j, const place *p, const int64_t *stride)
{
	int64_t offset = 0;

	for (int d = 0; d < j->rank; d++) offset += p->at[d] * stride[d];
	return offset;
}

/* To the start of the next row. */
static void next_row(const job *j, place *p)
{
	int d = j->rank - 1;

	p->at[d] = 0;
	while (--d >= 0 && ++p->at[d] == j->shape[d]) p->at[d] = 0;
}

static void pack(const job *j, const operand *o, place p, int64_t n, char *to)
{
	int last = j->rank - 1;

	if (o->layout == FLAT) { /* also rank 0 */
		copy_run(to, (int64_t)o->size, o->data, 0, n, o->size);
		return;
	}
	while (n > 0) {
		int64_t left = j->shape[last] - p.at[last], run = left < n ? left : n;

		copy_run(to, (int64_t)o->size, o->data + offset_of(j, &p, o->stride), o->stride[last], run, o->size);
		to += run * (int64_t)o->size;
		n -= run;
		next_row(j, &p);
	}
}

/* ---- running ---- */

static void run_kernel(const job *j, void *y, const void *const *x, int64_t n)
{
	if (j->map) j->map(y, x, n, j->p);
	else j->cast(y, x[0], n);
}

/* Elements begin..end of the row-major order. */
static void run_range(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	_Alignas(64) char buffer[INPUTS][BLOCK * 8], sum[BLOCK * 8];
	const void *x[INPUTS] = { buffer[0], buffer[1], buffer[2] };
	const char *held[INPUTS] = { NULL, NULL, NULL }; /* the number that a buffer is full of */
	int64_t row = j->rank ? j->shape[j->rank - 1] : 1;
	bool long_rows = row >= BLOCK, all_dense = true, all_unit = true;
	weir_squares_walk walk;

	if (j->squares) weir__squares_begin(&walk, j->squares, begin, end);
	for (int i = 0; i < j->inputs; i++) {
		const operand *o = &j->in[i];

		all_dense = all_dense && o->layout == DENSE;
		all_unit = all_unit && (o->layout == DENSE || (j->rank && o->stride[j->rank - 1] == (int64_t)o->size));
		if (o->layout == FLAT)
			pack(j, o, (place){ { 0 } }, end - begin < BLOCK ? end - begin : BLOCK, buffer[i]);
	}
	while (begin < end) {
		place p = place_of(j, begin);
		int64_t n = end - begin;

		if (!all_dense && long_rows && n > row - p.at[j->rank - 1]) n = row - p.at[j->rank - 1];
		if (!(all_dense || (long_rows && all_unit)) || j->add) n = n < BLOCK ? n : BLOCK;
		if (j->squares && n > WARM) n = WARM;
		for (int i = 0; i < j->inputs; i++) {
			const operand *o = &j->in[i];

			if (o->layout == FLAT) continue;
			if (o->layout == DENSE) {
				x[i] = o->data + begin * (int64_t)o->size;
			} else if (long_rows && o->stride[j->rank - 1] == (int64_t)o->size) {
				x[i] = o->data + offset_of(j, &p, o->stride);
			} else if (long_rows && o->stride[j->rank - 1] == 0) {
				const char *number = o->data + offset_of(j, &p, o->stride);

				if (held[i] != number) copy_run(buffer[i], (int64_t)o->size, number, 0, BLOCK, o->size);
				held[i] = number;
			} else {
				x[i] = buffer[i];
				pack(j, o, p, n, buffer[i]);
			}
		}
		if (j->add) {
			char *y = j->y + begin * (int64_t)j->ysize;

			run_kernel(j, sum, x, n);
			j->add(y, (const void *const[]){ y, sum }, n, NULL);
		} else {
			run_kernel(j, j->y + begin * (int64_t)j->ysize, x, n);
		}
		begin += n;
		if (j->squares) weir__squares_upto(&walk, begin);
	}
}

/* relu_vjp of f32 into an array whose squares are asked for, and perhaps those of gy: whole chunks, because a grain is one. */
static void relu_range(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	const float *gy = (const void *)j->in[0].data, *x = (const void *)j->in[1].data;
	float *y = (void *)j->y;

	for (int64_t n; begin < end; begin += n) {
		_Alignas(64) double lane[WEIR_LANES] = { 0 }, gy_lane[WEIR_LANES] = { 0 };

		n = end - begin < WEIR_CHUNK ? end - begin : WEIR_CHUNK;
		weir__kernels()->relu_vjp_sumsq(lane, j->gy_squares ? gy_lane : NULL, y + begin, gy + begin, x + begin,
						n);
		j->squares->chunk[begin / WEIR_CHUNK] = weir__fold(lane);
		if (j->gy_squares) j->gy_squares->chunk[begin / WEIR_CHUNK] = weir__fold(gy_lane);
	}
}

static void copy_range(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	const operand *o = &j->in[0];
	int last = j->rank - 1;
	place p = place_of(j, begin);

	if (j->rank == 0) memcpy(j->y, o->data, o->size);
	while (j->rank > 0 && begin < end) {
		int64_t left = j->shape[last] - p.at[last], run = left < end - begin ? left : end - begin;

		copy_run(j->y + offset_of(j, &p, j->ystride), j->ystride[last], o->data + offset_of(j, &p, o->stride),
			 o->stride[last], run, o->size);
		begin += run;
		next_row(j, &p);
	}
}

/* The axis along which x runs through memory, where it is not the last but y's is: then whole cache lines are read and written only in
 * tiles of the two. -1: not so. */
static int tiled_axis(const job *j)
{
	const int64_t *stride = j->in[0].stride;
	int last = j->rank - 1;

	if (last < 1 || stride[last] == (int64_t)j->ysize || j->ystride[last] != (int64_t)j->ysize) return -1;
	for (int d = 0; d < last; d++) {
		if (stride[d] == (int64_t)j->ysize && j->shape[d] >= TILE / 2) return d;
	}
	return -1;
}

#define TILE_TURNED(type)                                                                                   \
	for (int64_t c = 0; c < cols; c++)                                                                  \
		for (int64_t r = 0; r < rows; r++)                                                          \
	memcpy(tile + (r * TILE + c) * (int64_t)sizeof(type), from + c * fstep + r * (int64_t)sizeof(type), \
	       sizeof(type))

/* A tile of y: `rows` rows, tstep apart, of `cols` contiguous elements; row r, column c is what stands at from + c fstep + r size. */
static void turn(char *to, int64_t tstep, const char *from, int64_t fstep, int64_t rows, int64_t cols, int64_t size)
{
	_Alignas(64) char tile[TILE * TILE * 8];

	switch (size) {
	case 1: TILE_TURNED(uint8_t); break;
	case 4: TILE_TURNED(uint32_t); break;
	default: TILE_TURNED(uint64_t); break;
	}
	for (int64_t r = 0; r < rows; r++) memcpy(to + r * tstep, tile + r * TILE * size, (size_t)(cols * size));
}

/* Bands of TILE rows along the tiled axis, begin..end of them: those of the first place along the other axes, then of the next. */
static void copy_tiles(void *arg, int64_t begin, int64_t end)
{
	const job *j = arg;
	const int64_t *xstride = j->in[0].stride;
	int last = j->rank - 1, axis = tiled_axis(j);
	int64_t bands = (j->shape[axis] + TILE - 1) / TILE, size = (int64_t)j->ysize;

	for (; begin < end; begin++) {
		int64_t first = begin % bands * TILE, rest = begin / bands;
		int64_t rows = j->shape[axis] - first < TILE ? j->shape[axis] - first : TILE;
		char *to = j->y + first * j->ystride[axis];
		const char *from = j->in[0].data + first * size;

		for (int d = last - 1; d >= 0; d--) {
			if (d == axis) continue;
			to += rest % j->shape[d] * j->ystride[d];
			from += rest % j->shape[d] * xstride[d];
			rest /= j->shape[d];
		}
		for (int64_t c = 0; c < j->shape[last]; c += TILE) {
			int64_t cols = j->shape[last] - c < TILE ? j->shape[last] - c : TILE;

			turn(to + c * size, j->ystride[axis], from + c * xstride[last], xstride[last], rows, cols,
			     size);
		}
	}
}

/* What an element costs beside being read and written, as weir__threads_for() counts: in f32. */
static double cost_of(weir_map id)
{
	switch (id) {
	case WEIR_MAP_pow:
	case WEIR_MAP_pow_vjp: return 500;
	case WEIR_MAP_softplus: return 200;
	case WEIR_MAP_normal_cdf:
	case WEIR_MAP_gelu:
	case WEIR_MAP_gelu_vjp: return 100;
	case WEIR_MAP_exp:
	case WEIR_MAP_log:
	case WEIR_MAP_tanh:
	case WEIR_MAP_sigmoid:
	case WEIR_MAP_erf:
	case WEIR_MAP_silu:
	case WEIR_MAP_normal_pdf:
	case WEIR_MAP_tanh_vjp:
	case WEIR_MAP_sigmoid_vjp:
	case WEIR_MAP_erf_vjp:
	case WEIR_MAP_silu_vjp:
	case WEIR_MAP_softplus_vjp:
	case WEIR_MAP_normal_cdf_vjp: return 50;
	default: return 0;
	}
}

/* A byte that is read or written costs about one, and f64 three times as much arithmetic. */
static double work_of(const job *j, double cost)
{
	double bytes = (double)j->ysize;

	for (int i = 0; i < j->inputs; i++) bytes += (double)j->in[i].size;
	return (double)j->count * (bytes + (j->ysize == 8 ? 3 * cost : cost));
}

static void run(job *j, weir_task_fn *fn, double cost, int threads)
{
	if (j->count <= 0) return;
	weir__parallel(weir__threads_for(threads, work_of(j, cost)), j->count, j->squares ? WEIR_CHUNK : GRAIN, fn, j);
}

/* y += f(x). Apart from its caller, which would pay for the room on the stack where nothing is to be computed first, too. */
static __attribute__((noinline)) void add_few(weir_map_fn *map, weir_map_fn *add, void *y, const void *const *x,
					      int64_t count, const double *p)
{
	_Alignas(64) char sum[BLOCK * 8];

	map(sum, x, count, p);
	add(y, (const void *const[]){ y, sum }, count, NULL);
}

void weir__map_dense_add(weir_map id, weir_dtype t, int64_t n, void *y, const void *const *x, const double *p)
{
	weir_map_fn *const(*map)[2] = weir__kernels()->map;

	assert(n <= WEIR_FEW);
	switch (id) {
	case WEIR_MAP_copy: map[WEIR_MAP_add][t](y, (const void *const[]){ y, x[0] }, n, NULL); break;
	case WEIR_MAP_mul: map[WEIR_MAP_add_mul][t](y, (const void *const[]){ y, x[0], x[1] }, n, NULL); break;
	default: add_few(map[id][t], map[WEIR_MAP_add][t], y, x, n, p); break;
	}
}

/* The few elements of weir__map_dense? False, and nothing done, where there is more to it. */
static bool map_few(weir_map id, weir_dtype t, int rank, const int64_t *shape, void *y, weir_dst_mode mode,
		    const weir_strided *in, const double *p)
{
	const char *inputs = weir__map_info[id].inputs;
	const void *x[INPUTS];
	int64_t count = 1;

	for (int d = rank - 1; d >= 0; d--) {
		if (shape[d] > WEIR_FEW) return false;
		for (int i = 0; shape[d] != 1 && inputs[i]; i++) {
			if (in[i].stride[d] != count) return false;
		}
		count *= shape[d];
		if (count > WEIR_FEW) return false;
	}
	if (!count) return true;
	for (int i = 0; inputs[i]; i++) x[i] = in[i].data;
	weir__map_dense(id, t, count, y, mode, x, p);
	return true;
}

static void map_many(weir_map id, weir_dtype t, int rank, const int64_t *shape, void *y, weir_dst_mode mode,
		     const weir_strided *x, const double *p, weir_squares *s, int threads)
{
	const weir_kernels *kernels = weir__kernels();
	const weir_map_info *info = &weir__map_info[id];
	job j = { .map = kernels->map[id][t], .p = p, .y = y, .ysize = info->output == 'B' ? 1 : size_of[t] };
	bool relu;

	if (mode == WEIR_DST_ADD) j.add = kernels->map[WEIR_MAP_add][t];
	set_shape(&j, rank, shape);
	for (; info->inputs[j.inputs]; j.inputs++)
		set_input(&j, j.inputs, &x[j.inputs], info->inputs[j.inputs] == 'B' ? 1 : size_of[t]);
	set_dense_y(&j);
	merge_axes(&j);
	if (weir__squares_of(s, t, y, j.count)) j.squares = s;
	relu = j.squares && id == WEIR_MAP_relu_vjp && t == WEIR_F32 && !j.add && j.in[0].layout == DENSE &&
	       j.in[1].layout == DENSE;
	if (relu && weir__squares_of(s->source, t, j.in[0].data, j.count)) j.gy_squares = s->source;
	run(&j, relu ? relu_range : run_range, cost_of(id), threads);
	if (!j.squares) return;
	s->done = true;
	s->hidden = relu;
	if (j.gy_squares) j.gy_squares->done = j.gy_squares->hidden = true;
}

/* y += f(x) as y = sum(y, x): in one pass, without the array of f(x) that is otherwise added block by block. */
static void add_to(weir_map sum, weir_dtype t, int rank, const int64_t *shape, void *y, const weir_strided *x,
		   weir_squares *s, int threads)
{
	int64_t dense[WEIR_MAX_RANK], step = 1;
	weir_strided in[INPUTS] = { { y, dense } };

	for (int d = rank - 1; d >= 0; d--) {
		dense[d] = step;
		step *= shape[d];
	}
	for (int i = 1; weir__map_info[sum].inputs[i]; i++) in[i] = x[i - 1];
	weir__map_squares(sum, t, rank, shape, y, WEIR_DST_WRITE, in, NULL, s, threads);
}

void weir__map_squares(weir_map id, weir_dtype t, int rank, const int64_t *shape, void *y, weir_dst_mode mode,
		       const weir_strided *x, const double *p, weir_squares *s, int threads)
{
	assert(t == WEIR_F32 || t == WEIR_F64);
	assert(mode != WEIR_DST_ADD || weir__map_info[id].output == 'T');
	if (mode == WEIR_DST_ADD && (id == WEIR_MAP_copy || id == WEIR_MAP_mul)) {
		add_to(id == WEIR_MAP_mul ? WEIR_MAP_add_mul : WEIR_MAP_add, t, rank, shape, y, x, s, threads);
		return;
	}
	if (mode == WEIR_DST_SKIP || (!s && map_few(id, t, rank, shape, y, mode, x, p))) return;
	map_many(id, t, rank, shape, y, mode, x, p, s, threads);
}

void weir__map(weir_map id, weir_dtype t, int rank, const int64_t *shape, void *y, weir_dst_mode mode,
	       const weir_strided *x, const double *p, int threads)
{
	weir__map_squares(id, t, rank, shape, y, mode, x, p, NULL, threads);
}

void weir__cast(weir_dtype from, weir_dtype to, int rank, const int64_t *shape, void *y, const weir_strided *x,
		int threads)
{
	job j = { .cast = weir__kernels()->cast[from][to], .y = y, .ysize = size_of[to], .inputs = 1 };

	set_shape(&j, rank, shape);
	set_input(&j, 0, x, size_of[from]);
	set_dense_y(&j);
	merge_axes(&j);
	run(&j, run_range, 0, threads);
}

void weir__copy(weir_dtype t, int rank, const int64_t *shape, void *y, const int64_t *ystride, const weir_strided *x,
		int threads)
{
	job j = { .y = y, .ysize = size_of[t], .inputs = 1 };
	int64_t bands;
	int axis;

	set_shape(&j, rank, shape);
	set_input(&j, 0, x, size_of[t]);
	for (int d = 0; d < rank; d++) j.ystride[d] = ystride[d] * (int64_t)j.ysize;
	merge_axes(&j);
	axis = tiled_axis(&j);
	if (axis < 0 || j.count <= 0) {
		run(&j, copy_range, 0, threads);
		return;
	}
	bands = (j.shape[axis] + TILE - 1) / TILE;
	weir__parallel(weir__threads_for(threads, work_of(&j, TURNED)),
		       j.count / j.shape[axis] / j.shape[j.rank - 1] * bands, 1, copy_tiles, &j);
}
