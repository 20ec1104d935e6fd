/* context.c: opening, closing, and the floating-point mode around public calls. */
#include "engine/context.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <weir/version.h>
#include "engine/hook.h"
#include "engine/profile.h"
#include "engine/tape.h"
#include "kernels/cpu.h"
#include "kernels/threads.h"

static void *default_alloc(void *user, size_t size, size_t align)
{
	(void)user;
	return aligned_alloc(align, (size + align - 1) / align * align);
}

static void default_free(void *user, void *p, size_t size)
{
	(void)user, (void)size;
	free(p);
}

/* The default handler: one line on standard error, in one write. */
static void default_handler(weir_ctx *w, weir_status status, const char *message, void *user)
{
	char line[WEIR_MESSAGE + 2];
	size_t n = strlen(message);

	(void)w, (void)status, (void)user;
	memcpy(line, message, n);
	line[n] = '\n';
	fwrite(line, 1, n + 1, stderr);
}

void weir_options_init(weir_options *o)
{
	*o = (weir_options){ .handler = default_handler, .allocator = { default_alloc, default_free, NULL } };
#ifndef NDEBUG
	o->check_stale = true;
#endif
}

/* OMP_NUM_THREADS (its first number), or the processors that are online. */
static int default_threads(void)
{
	const char *s = getenv("OMP_NUM_THREADS");
	long n = 0;

	for (; s && *s >= '0' && *s <= '9' && n < 4096; s++) n = n * 10 + (*s - '0');
	if (n < 1) n = sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : n > WEIR__MAX_THREADS ? WEIR__MAX_THREADS : (int)n;
}

/* The bad tensor: rank 0, of no storage, reads as NaN. */
static weir_tensor *bad_new(weir_ctx *w)
{
	weir_tensor *t = weir__arena_take(&w->lasting, sizeof *t + 2 * sizeof(int64_t));

	if (!t) return NULL;
	*t = (weir_tensor){ .ctx = w,
			    .numel = 1,
			    .life = WEIR_LIFE_KEPT,
			    .index = -1,
			    .origin = -1,
			    .flags = WEIR_T_BAD | WEIR_T_KEPT,
			    .contiguous = 1,
			    .shape = (int64_t *)(t + 1),
			    .stride = (int64_t *)(t + 1),
			    .op = &weir__op_input };
	return t;
}

weir_ctx *weir_open(const weir_options *options)
{
	weir_options o;
	weir_ctx *w;

	weir_options_init(&o);
	if (options) o = *options;
	if (!o.allocator.alloc || !o.allocator.free)
		o.allocator = (weir_allocator){ default_alloc, default_free, NULL };
	if (o.memory_limit && o.memory_limit < sizeof *w) return weir__nowhere();
	w = o.allocator.alloc(o.allocator.user, sizeof *w, WEIR_ALIGN);
	if (!w) return weir__nowhere();
	memset(w, 0, sizeof *w);
	w->options = o;
	w->threads = o.threads > 0 ? o.threads : default_threads();
	if (w->threads > WEIR__MAX_THREADS) w->threads = WEIR__MAX_THREADS;
	w->life = WEIR_LIFE_FIRST;
	w->rule_of = -1;
	w->memory.held = w->memory.peak = sizeof *w;
	w->memory.allocator_calls = 1;
	w->arena[0].ctx = w->arena[1].ctx = w->lasting.ctx = w;
	w->bad = weir__nowhere()->bad;
	w->bad = bad_new(w);
	/* both arenas own a chunk from the start: a context at its limit can still reset */
	if (!w->bad || !weir__scopes_init(w) || !weir__arena_take(&w->arena[0], 16) ||
	    !weir__arena_take(&w->arena[1], 16)) {
		weir_close(w);
		return weir__nowhere();
	}
	weir__profile_from_environment(w);
	return w;
}

int weir_close(weir_ctx *w)
{
	weir_status status;

	if (!w) return 0;
	if (w->profile) {
		w->in_hook = 0;
		weir_profile_end(w);
	}
	status = w->status;
	if (w == weir__nowhere()) return (int)status;
	weir__hooks_free(w);
	while (w->owned) {
		weir_owned *o = w->owned;

		weir__disown(w, o);
		o->destroy(o->object);
		weir__pool_give(w, o, sizeof *o);
	}
	weir__tape_free(w);
	weir__kept_free_all(w);
	weir__scopes_free(w);
	weir__arena_free(&w->arena[0]);
	weir__arena_free(&w->arena[1]);
	weir__arena_free(&w->lasting);
	weir__pool_free(w);
	w->options.allocator.free(w->options.allocator.user, w, sizeof *w);
	return (int)status;
}

weir_owned *weir__own(weir_ctx *w, void *object, void (*destroy)(void *object))
{
	size_t size = sizeof(weir_owned);
	weir_owned *o = weir__pool_take(w, &size);

	if (!o) return NULL;
	*o = (weir_owned){ .destroy = destroy, .object = object, .next = w->owned };
	if (w->owned) w->owned->prev = o;
	w->owned = o;
	return o;
}

void weir__disown(weir_ctx *w, weir_owned *o)
{
	if (o->prev) o->prev->next = o->next;
	else w->owned = o->next;
	if (o->next) o->next->prev = o->prev;
}

weir_memory weir_memory_of(const weir_ctx *w)
{
	return w->memory;
}

void weir_memory_mark_peak(weir_ctx *w)
{
	if (w != weir__nowhere()) w->memory.values_peak = w->memory.values;
}

int weir_threads(const weir_ctx *w)
{
	return w->threads;
}

bool weir_ieee_subnormals(const weir_ctx *w)
{
	return w->options.ieee_subnormals;
}

bool weir_frees_values(const weir_ctx *w)
{
	return w->options.free_values;
}

uint64_t weir_seed(const weir_ctx *w)
{
	return w->options.seed;
}

const char *weir_kernels_in_use(void)
{
	return weir__kernels()->isa;
}

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#elif defined(__GNUC__)
#define COMPILER "gcc " __VERSION__
#else
#define COMPILER "unknown compiler"
#endif
#if defined(__x86_64__)
#define MACHINE "x86-64"
#elif defined(__aarch64__)
#define MACHINE "aarch64"
#else
#define MACHINE "other machine"
#endif
#ifdef NDEBUG
#define BUILD "release"
#else
#define BUILD "debug"
#endif

const char *weir_build_info(void)
{
	return WEIR_VERSION ", " COMPILER ", " MACHINE ", " BUILD;
}
