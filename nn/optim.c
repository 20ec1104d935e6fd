/* optim.c: optimisers begin and end here, and hold parameters in groups. A step is in step.c. */
#include "nn/optim.h"

#include <string.h>

/* What training can begin at: more steps than these will not be made on top of them. */
static const int64_t MOST_STEPS = INT64_MAX / 2;

static weir_optim nowhere = { .bad = true };

weir_optim *weir__optim_bad(weir_ctx *w)
{
	weir_nn *nn = w ? weir__nn(w) : NULL;
	size_t size = sizeof(weir_optim);

	if (!nn) return &nowhere;
	if (nn->bad_optim) return nn->bad_optim;
	nn->bad_optim = weir__pool_take(w, &size);
	if (!nn->bad_optim) return &nowhere;
	*nn->bad_optim = (weir_optim){ .nn = nn, .bad = true };
	return nn->bad_optim;
}

static weir_ctx *context_of(const weir_optim *o)
{
	return o && o->nn ? o->nn->ctx : weir__nowhere();
}

static bool usable(const weir_optim *o, const char *who)
{
	weir_ctx *w = context_of(o);

	if (!weir_ok(w)) return false;
	if (!o->bad) return true;
	weir_fail(w, WEIR_ERR_ARGUMENT, "%s: the optimiser is that of a call that failed", who);
	return false;
}

static void free_optim(weir_optim *o)
{
	weir_nn *nn = o->nn;
	weir_ctx *w = nn->ctx;

	weir__nn_free(w, o->slot, (size_t)o->slot_room * sizeof(*o->slot));
	weir__nn_free(w, o->group, (size_t)o->group_room * sizeof(*o->group));
	if (o->prev) o->prev->next = o->next;
	else if (nn->optims == o) nn->optims = o->next;
	if (o->next) o->next->prev = o->prev;
	weir__pool_give(w, o, sizeof(*o));
}

void weir__optims_free(weir_nn *nn)
{
	while (nn->optims) free_optim(nn->optims);
	if (nn->bad_optim) weir__pool_give(nn->ctx, nn->bad_optim, sizeof(*nn->bad_optim));
}

/* Dropping also after an error: what was half made goes back. */
static void drop_states(weir_ctx *w, weir_optim_slot *slot)
{
	weir_status status = w->status;

	w->status = WEIR_OK;
	for (int i = 0; i < WEIR_OPTIM_STATES; i++) {
		if (slot->state[i]) weir_drop(slot->state[i]);
		slot->state[i] = NULL;
	}
	w->status = status;
}

static void drop(weir_optim *o)
{
	for (int64_t i = 0; i < o->slots; i++) drop_states(o->nn->ctx, &o->slot[i]);
	free_optim(o);
}

void weir_optim_drop(weir_optim *o)
{
	if (usable(o, "weir_optim_drop")) drop(o);
}

/* An optimiser's parameters are all of one tree: where one goes, all go. */
void weir__optims_forget(weir_nn *nn, const weir_module *root)
{
	int64_t n;
	weir_tensor *const *all = weir__module_all(root, &n);

	for (weir_optim *o = nn->optims; o; o = o->next) {
		bool gone = false;

		for (int64_t i = 0; i < n && o->slots && !gone; i++) gone = all[i] == o->slot[0].p;
		for (int64_t i = 0; gone && i < o->slots; i++) drop_states(nn->ctx, &o->slot[i]);
		if (gone) o->slots = 0;
	}
}

/* A kept tensor of zeros like p, called "mlp.3.weight.momentum". */
static weir_tensor *new_state(weir_tensor *p, const char *name)
{
	weir_ctx *w = p->ctx;
	weir_tensor *t = weir__kept_new(w, p->dtype, p->rank, p->shape);
	const char *of = weir_name(p);
	size_t n = strlen(of), size = n + strlen(name) + 2;
	char *full;

	if (weir_is_bad(t)) return NULL;
	t->store = weir__storage_new(w, (size_t)t->numel * weir__size_of(t->dtype));
	full = t->store ? weir__pool_take(w, &size) : NULL;
	if (!full) return t;
	memset(t->store->data, 0, t->store->size);
	memcpy(full, of, n);
	full[n] = '.';
	strcpy(full + n + 1, name);
	weir_set_name(t, full);
	weir__text_free(w, full);
	return t;
}

static bool add_slot(weir_optim *o, weir_tensor *p)
{
	weir_ctx *w = o->nn->ctx;
	weir_optim_slot *slot;

	if (!weir__usable(p, o->type->name)) return false;
	if (!weir__nn_room(w, &o->slot, o->slots, &o->slot_room, sizeof(*o->slot))) return false;
	slot = &o->slot[o->slots++];
	*slot = (weir_optim_slot){ .p = p, .power1 = 1, .power2 = 1, .ratio = __builtin_nan("") };
	for (int i = 0; i < WEIR_OPTIM_STATES; i++) {
		if (o->type->state[i]) slot->state[i] = new_state(p, o->type->state[i]);
	}
	if (p->kept) p->kept->norm_wanted = true;
	return weir_ok(w);
}

static bool good_rates(weir_ctx *w, const char *who, double lr, double weight_decay)
{
	weir_number_text a, b;

	if (weir__is_size(lr) && weir__is_size(weight_decay)) return true;
	weir_fail(w, WEIR_ERR_ARGUMENT,
		  "%s: the learning rate is %s, the weight decay is %s; both must be finite and not negative", who,
		  weir__number(lr, &a), weir__number(weight_decay, &b));
	return false;
}

static int64_t add_group(weir_optim *o, double lr_factor, double weight_decay, bool any_rank)
{
	if (!weir__nn_room(o->nn->ctx, &o->group, o->groups, &o->group_room, sizeof(*o->group))) return -1;
	o->group[o->groups] = (weir_optim_group_options){ lr_factor, weight_decay, any_rank };
	return o->groups++;
}

weir_optim *weir__optim_new(weir_ctx *w, weir_module *m, const weir_optim_type *type, double lr, double weight_decay)
{
	weir_nn *nn = w && weir_ok(w) ? weir__nn(w) : NULL;
	weir_optim *o;
	weir_tensor *const *all;
	size_t size = sizeof(*o);
	int64_t n;

	if (!nn || !weir__module_usable(m, type->name, "m") || !good_rates(w, type->name, lr, weight_decay))
		return weir__optim_bad(w);
	if (m->nn != nn) {
		weir_fail(w, WEIR_ERR_CONTEXT, "%s: %s belongs to another context", type->name, m->path);
		return weir__optim_bad(w);
	}
	o = weir__pool_take(w, &size);
	if (!o) return weir__optim_bad(w);
	*o = (weir_optim){ .nn = nn, .type = type, .lr = lr, .next = nn->optims };
	if (o->next) o->next->prev = o;
	nn->optims = o;
	add_group(o, 1, weight_decay, false);
	all = weir__module_all(m, &n);
	for (int64_t i = 0; i < n && weir_ok(w); i++) add_slot(o, all[i]);
	if (weir_ok(w)) return o;
	drop(o);
	return weir__optim_bad(w);
}

int weir_optim_group(weir_optim *o, weir_module *part, double lr_factor, double weight_decay)
{
	weir_ctx *w = context_of(o);
	weir_tensor *const *all;
	int64_t n, moved = 0, group;

	if (!usable(o, "weir_optim_group") || !weir__module_usable(part, "weir_optim_group", "part") ||
	    !good_rates(w, "weir_optim_group", lr_factor, weight_decay))
		return -1;
	all = weir__module_all(part, &n);
	group = o->groups < INT32_MAX ? add_group(o, lr_factor, weight_decay, true) : -1;
	if (group < 0) return -1;
	for (int64_t k = 0; k < n; k++) {
		for (int64_t i = 0; i < o->slots; i++) {
			if (o->slot[i].p != all[k]) continue;
			o->slot[i].group = (int)group;
			moved++;
		}
	}
	if (moved) return (int)group;
	o->groups--;
	weir_fail(w, WEIR_ERR_ARGUMENT, "weir_optim_group: the optimiser has none of the %lld parameters of %s",
		  (long long)n, part->path);
	return -1;
}

/* ---- questions and settings ---------------------------------------------------------------------------------- */

static const weir_optim_slot *slot_of(const weir_optim *o, const weir_tensor *p)
{
	for (int64_t i = 0; o && i < o->slots; i++) {
		if (o->slot[i].p == p) return &o->slot[i];
	}
	return NULL;
}

bool weir__optims_have(const weir_nn *nn, const weir_tensor *p)
{
	const weir_optim *o = nn->optims;

	while (o && !slot_of(o, p)) o = o->next;
	return o != NULL;
}

size_t weir__optim_list_bytes(int64_t n)
{
	size_t room = 4; /* as weir__nn_room() makes it */

	while (room < (size_t)n) room *= 2;
	return weir__pool_rounded(room * sizeof(weir_optim_slot));
}

bool weir_optim_is_bad(const weir_optim *o)
{
	return !o || o->bad;
}

void weir_optim_zero_grad(weir_optim *o)
{
	if (!usable(o, "weir_optim_zero_grad")) return;
	for (int64_t i = 0; i < o->slots; i++) weir_zero_grad(o->slot[i].p);
}

int64_t weir_optim_steps(const weir_optim *o)
{
	return o ? o->steps : 0;
}

int64_t weir_optim_steps_of(const weir_optim *o, const weir_tensor *p)
{
	const weir_optim_slot *slot = slot_of(o, p);

	return slot ? slot->steps : -1;
}

/* beta to the power of steps by repeated products, as steps make it. Ends early where it changes no more. */
static double power(double beta, int64_t steps)
{
	double p = 1;

	for (double last = 0; steps > 0 && p != last; steps--) {
		last = p;
		p *= beta;
	}
	return p;
}

bool weir_optim_set_steps(weir_optim *o, const weir_tensor *p, int64_t steps)
{
	weir_ctx *w = context_of(o);
	double power1, power2;

	if (!usable(o, "weir_optim_set_steps")) return false;
	if (steps < 0 || steps > MOST_STEPS) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_optim_set_steps: steps is %lld; it must lie in 0 .. %lld",
			  (long long)steps, (long long)MOST_STEPS);
		return false;
	}
	if (p && !slot_of(o, p)) {
		weir_fail(w, WEIR_ERR_ARGUMENT, "weir_optim_set_steps: p is no parameter of the optimiser");
		return false;
	}
	weir__enter(w);
	power1 = power(o->adam.beta1, steps);
	power2 = power(o->adam.beta2, steps);
	weir__leave(w);
	for (int64_t i = 0; i < o->slots; i++) {
		weir_optim_slot *slot = &o->slot[i];

		if (p && slot->p != p) continue;
		slot->steps = steps;
		slot->power1 = power1;
		slot->power2 = power2;
	}
	if (!p) o->steps = steps;
	return true;
}

double weir_optim_lr(const weir_optim *o)
{
	return o ? o->lr : __builtin_nan("");
}

void weir_optim_set_lr(weir_optim *o, double lr)
{
	if (usable(o, "weir_optim_set_lr") && good_rates(o->nn->ctx, "weir_optim_set_lr", lr, 0)) o->lr = lr;
}

void weir_optim_track(weir_optim *o, bool on)
{
	if (usable(o, "weir_optim_track")) o->track = on;
}

double weir_optim_update_ratio(const weir_optim *o, const weir_tensor *p)
{
	const weir_optim_slot *slot = slot_of(o, p);

	return slot ? slot->ratio : __builtin_nan("");
}

weir_tensor *weir_optim_state(const weir_optim *o, const weir_tensor *p, int i)
{
	const weir_optim_slot *slot = slot_of(o, p);

	return slot && i >= 0 && i < WEIR_OPTIM_STATES ? slot->state[i] : NULL;
}
