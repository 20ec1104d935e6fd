/* loss.c: what the loss itself tells. */
#include "flow/flow.h"

void weir__flow_loss(weir_flow *f)
{
	(void)f;
}

void weir__flow_loss_free(weir_flow *f)
{
	(void)f;
}

const char *weir_loss_sign_name(weir_loss_sign s)
{
	static const char *const names[] = { "plain", "guessing", "jumping", "non-finite" };

	return (unsigned)s < sizeof names / sizeof *names ? names[s] : "?";
}
