/* error.c: see error.h. */
#include "engine/error.h"

#include <stdarg.h>
#include <string.h>

#include "engine/context.h"

static const struct {
	const char *name, *text;
} statuses[WEIR_STATUS_COUNT] = { { "WEIR_OK", "no error" },
#define X(name, text) { "WEIR_ERR_" #name, text },
				  WEIR_ERRORS(X)
#undef X
};

const char *weir_status_name(weir_status status)
{
	return (unsigned)status < WEIR_STATUS_COUNT ? statuses[status].name : "?";
}

const char *weir_status_text(weir_status status)
{
	return (unsigned)status < WEIR_STATUS_COUNT ? statuses[status].text : "?";
}

bool weir_ok(const weir_ctx *w)
{
	return w && w->status == WEIR_OK;
}

weir_status weir_error(const weir_ctx *w)
{
	return w ? w->status : WEIR_ERR_ARGUMENT;
}

const char *weir_error_text(const weir_ctx *w)
{
	return w && w->status ? w->message : "";
}

void weir_clear_error(weir_ctx *w)
{
	if (!w || w == weir__nowhere()) return;
	w->status = WEIR_OK;
	w->message[0] = 0;
}

weir_tensor *weir_fail(weir_ctx *w, weir_status status, const char *fmt, ...)
{
	va_list args;

	if (!w) w = weir__nowhere();
	if (w->status) return w->bad;
	w->status = status;
	va_start(args, fmt);
	vsnprintf(w->message, sizeof w->message, fmt, args);
	va_end(args);
	if (w->options.handler) w->options.handler(w, status, w->message, w->options.handler_user);
	return w->bad;
}

weir_tensor *weir__bad_of(weir_ctx *w)
{
	return w->bad;
}

/* Constant: its error is set for good and every call on it does nothing, so threads may share it. */
static weir_tensor nowhere_bad;
static weir_ctx nowhere = {
	.status = WEIR_ERR_MEMORY,
	.message = "weir: there is no context here: weir_open() was out of memory, or an operand was NULL",
	.bad = &nowhere_bad,
	.threads = 1,
};
static int64_t no_extents[1];
static weir_tensor nowhere_bad = {
	.shape = no_extents,
	.stride = no_extents,
	.numel = 1,
	.ctx = &nowhere,
	.life = WEIR_LIFE_KEPT,
	.index = -1,
	.origin = -1,
	.flags = WEIR_T_BAD | WEIR_T_KEPT,
	.contiguous = 1,
};

weir_ctx *weir__nowhere(void)
{
	return &nowhere;
}
