/* safetensors.h: weights in files that PyTorch, JAX and others read; in the library weir-io, which needs jansson.
 *
 * A list names the tensors of a file. For a module include <weir/nn.h> (or <weir/weir.h>) first: weir_module_save() and
 * weir_module_load() below then walk through its parameters. */
#ifndef WEIR_SAFETENSORS_H
#define WEIR_SAFETENSORS_H

#include <string.h>
#include <weir/io.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One tensor under the name it has in the file; the name is UTF-8, not empty, at most 65,535 bytes. */
typedef struct weir_named {
	const char *name;
	weir_tensor *tensor;
} weir_named;

/* Entry i of a list that is not an array. The name must stand until the next call. */
typedef weir_named weir_named_at(void *user, int64_t i);

/* Writes n tensors (f32 f64 i32 i64 u8, any strides) to path, which is replaced only when all is written. metadata: keys and
 * values by turns, ended by NULL; or NULL. The order in the file is by type, then by name, whatever the order of the list.
 * Errors: ARGUMENT for a name twice, empty or not UTF-8; LIMIT; IO; what use of a tensor may report. */
WEIR_API bool weir_safetensors_save(weir_ctx *w, const char *path, const weir_named *list, int64_t n,
				    const char *const *metadata);
WEIR_API bool weir_safetensors_save_each(weir_ctx *w, const char *path, int64_t n, weir_named_at *at, void *user,
					 const char *const *metadata);

enum {
	WEIR_LOAD_SOME = 1,   /* tensors of the list that the file has not stay as they are */
	WEIR_LOAD_EXTRAS = 2, /* tensors of the file that the list has not are passed over */
};

/* Overwrites n tensors (parameters, kept tensors, leaves; contiguous) with those of their names in the file. The file is checked
 * whole first, and each name, type and shape; nothing is changed unless all is right. Errors: IO; FORMAT for a file that is
 * malformed or lacks a tensor or has one too many; SHAPE, DTYPE; LIMIT; MEMORY. */
WEIR_API bool weir_safetensors_load(weir_ctx *w, const char *path, const weir_named *list, int64_t n, unsigned flags);
WEIR_API bool weir_safetensors_load_each(weir_ctx *w, const char *path, int64_t n, weir_named_at *at, void *user,
					 unsigned flags);

/* One tensor of a file, as a new leaf of the tape. */
WEIR_API weir_tensor *weir_safetensors_read(weir_ctx *w, const char *path, const char *name);

#ifdef WEIR_NN_H

/* A parameter under its name below the module: "0.weight" for "mlp.0.weight" of the module "mlp". */
static inline weir_named weir_named_parameter_(void *module, int64_t i)
{
	weir_module *m = (weir_module *)module;
	weir_tensor *t = weir_module_parameter(m, i);
	const char *path = weir_module_path(m), *name = weir_name(t);
	size_t n = strlen(path);
	weir_named named;

	named.name = strncmp(name, path, n) == 0 && name[n] == '.' ? name + n + 1 : name;
	named.tensor = t;
	return named;
}

/* All parameters of m and below to a file, and back. */
static inline bool weir_module_save(weir_module *m, const char *path)
{
	return weir_safetensors_save_each(weir_module_context(m), path, weir_module_parameter_count(m),
					  weir_named_parameter_, m, NULL);
}

static inline bool weir_module_load(weir_module *m, const char *path)
{
	return weir_safetensors_load_each(weir_module_context(m), path, weir_module_parameter_count(m),
					  weir_named_parameter_, m, 0);
}

#endif

#ifdef __cplusplus
}
#endif

#endif
