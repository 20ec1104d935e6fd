/* file.c: safe_write.h as public functions, with the context's errors and memory. */
#include <weir/io.h>

#include <string.h>

#include "engine/context.h"
#include "engine/safe_write.h"

struct weir_file {
	weir_ctx *ctx; /* NULL: the file that could not be created */
	weir_owned *owned;
	char *path;
	weir__safe_file safe;
};

static weir_file nowhere; /* never written to */

static void destroy(void *object)
{
	weir_file *f = object;

	weir__safe_abandon(&f->safe);
	weir__text_free(f->ctx, f->path);
	weir__pool_give(f->ctx, f, sizeof(*f));
}

static void end(weir_file *f)
{
	weir_owned *owned = f->owned;
	weir_ctx *w = f->ctx;

	weir__disown(w, owned);
	weir__pool_give(w, owned, sizeof(*owned));
	destroy(f);
}

static bool report(weir_ctx *w, const char *who, const char *path, weir__write_error e)
{
	char text[128];

	if (!e.step) return true;
	if (strerror_r(e.number, text, sizeof(text)) != 0) memcpy(text, "unknown error", 14);
	weir_fail(w, WEIR_ERR_IO, "%s: %s: %s: %s (errno %d)", who, path, weir__write_step_text(e.step), text,
		  e.number);
	return false;
}

weir_file *weir_file_create(weir_ctx *w, const char *path)
{
	size_t size = sizeof(weir_file);
	weir_file *f;

	if (!weir_ok(w)) return &nowhere;
	if (!path) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_file_create: path is NULL");
		return &nowhere;
	}
	f = weir__pool_take(w, &size);
	if (!f) return &nowhere;
	memset(f, 0, sizeof(*f));
	f->ctx = w;
	f->safe.fd = f->safe.folder = -1;
	f->path = weir__text_copy(w, path);
	f->owned = f->path ? weir__own(w, f, destroy) : NULL;
	if (!f->owned) {
		destroy(f);
		return &nowhere;
	}
	if (weir__safe_open(&f->safe, path)) return f;
	report(w, "weir_file_create", path, f->safe.error);
	end(f);
	return &nowhere;
}

bool weir_file_write(weir_file *f, const void *data, size_t bytes)
{
	if (!f || !f->ctx || !weir_ok(f->ctx)) return false;
	return weir__safe_write(&f->safe, data, bytes) || report(f->ctx, "weir_file_write", f->path, f->safe.error);
}

bool weir_file_commit(weir_file *f)
{
	bool ok;

	if (!f || !f->ctx) return false;
	ok = weir_ok(f->ctx); /* after another error the contents can't be what they should */
	if (ok && !weir__safe_commit(&f->safe)) ok = report(f->ctx, "weir_file_commit", f->path, f->safe.error);
	end(f);
	return ok;
}

void weir_file_abandon(weir_file *f)
{
	if (f && f->ctx) end(f);
}
