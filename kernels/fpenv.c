/* fpenv.c: the two writes of the floating-point mode that every call makes. See fpenv.h.
 *
 * A processor that renames MXCSR (Zen 5 does) goes on with the mode that it predicts. It predicts by the address of the instruction, folded to five
 * bits: where the write on entering and the one on leaving meet in one entry, each undoes what the other taught, and every call flushes the
 * pipeline twice, for some 40 ns. So the two stand here, side by side in one cache line, where their folded addresses differ, whatever is
 * linked around them. */
#include "kernels/fpenv.h"

#if defined(WEIR__FP_X86)

/* The two texts differ, or the compiler would make them one. */
__attribute__((aligned(64), noinline)) void weir__mxcsr_write(unsigned mxcsr, bool leave)
{
	if (leave) __asm__ volatile("ldmxcsr %0 # leave" : : "m"(mxcsr));
	else __asm__ volatile("ldmxcsr %0 # enter" : : "m"(mxcsr));
}

#endif
