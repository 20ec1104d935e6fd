/* fpenv.h: the floating-point mode of the library's calls, and the exception flags as detectors.
 *
 * A public call enters on arrival and leaves on return. In between: rounding to nearest, every exception
 * masked, subnormals flushed to zero on input and output unless IEEE mode is asked for, and sticky flags
 * that belong to the library alone. On leaving, the caller's control and status registers are as they were,
 * bit for bit. */
#ifndef WEIR_KERNELS_FPENV_H
#define WEIR_KERNELS_FPENV_H

#include <stdbool.h>
#include <stdint.h>
#include <weir/types.h>

#if defined(__x86_64__) || defined(__SSE2__)
#define WEIR__FP_X86 1
#include <xmmintrin.h>
#elif defined(__aarch64__)
#define WEIR__FP_AARCH64 1
#else
#define WEIR__FP_FENV 1
#include <fenv.h>
#endif

/* The registers of one thread. */
typedef struct weir_fp_state {
#if defined(WEIR__FP_FENV)
	fenv_t env;
#else
	uint64_t control; /* MXCSR, which holds the flags too; FPCR */
	uint64_t status;  /* FPSR */
#endif
} weir_fp_state;

#if defined(WEIR__FP_X86)

enum {
	WEIR__MXCSR_FLAGS = 0x3f,
	WEIR__MXCSR_IEEE = 0x1f80,  /* all exceptions masked, round to nearest */
	WEIR__MXCSR_FLUSH = 0x8040, /* FTZ and DAZ */
};

static inline weir_fp_state weir__fp_save(void)
{
	return (weir_fp_state){ _mm_getcsr(), 0 };
}

static inline void weir__fp_write(uint64_t mxcsr)
{
	if (_mm_getcsr() != mxcsr) _mm_setcsr((unsigned)mxcsr);
}

void weir__mxcsr_write(unsigned mxcsr, bool leave);

/* Written without a look: after arithmetic a read waits until all of it has retired, for three times as long as the write takes. */
static inline void weir__fp_leave(weir_fp_state saved)
{
	weir__mxcsr_write((unsigned)saved.control, true);
}

static inline weir_fp_state weir__fp_enter(bool ieee)
{
	weir_fp_state saved = weir__fp_save();
	unsigned mode = ieee ? WEIR__MXCSR_IEEE : WEIR__MXCSR_IEEE | WEIR__MXCSR_FLUSH;

	if (saved.control != mode) weir__mxcsr_write(mode, false);
	return saved;
}

/* The mode of `of` without its flags: what a worker runs in. */
static inline void weir__fp_adopt(weir_fp_state of)
{
	weir__fp_write(of.control & ~(uint64_t)WEIR__MXCSR_FLAGS);
}

static inline unsigned weir__fp_flags(void)
{
	unsigned f = _mm_getcsr();

	return (f & 1 ? WEIR_FP_INVALID : 0u) | (f & 4 ? WEIR_FP_DIVZERO : 0u) | (f & 8 ? WEIR_FP_OVERFLOW : 0u) |
	       (f & 16 ? WEIR_FP_UNDERFLOW : 0u);
}

static inline void weir__fp_clear(void)
{
	weir__fp_write(_mm_getcsr() & ~(unsigned)WEIR__MXCSR_FLAGS);
}

static inline void weir__fp_raise(unsigned flags)
{
	unsigned f = (flags & WEIR_FP_INVALID ? 1u : 0u) | (flags & WEIR_FP_DIVZERO ? 4u : 0u) |
		     (flags & WEIR_FP_OVERFLOW ? 8u : 0u) | (flags & WEIR_FP_UNDERFLOW ? 16u : 0u);

	weir__fp_write(_mm_getcsr() | f);
}

#elif defined(WEIR__FP_AARCH64)

enum {
	WEIR__FPCR_FZ = 1 << 24,
	WEIR__FPSR_FLAGS = 0x9f, /* input denormal, inexact, underflow, overflow, divide by zero, invalid */
};

static inline uint64_t weir__fpcr(void)
{
	uint64_t r;

	__asm__ volatile("mrs %0, fpcr" : "=r"(r) : : "memory");
	return r;
}

static inline uint64_t weir__fpsr(void)
{
	uint64_t r;

	__asm__ volatile("mrs %0, fpsr" : "=r"(r) : : "memory");
	return r;
}

static inline void weir__fpcr_write(uint64_t r)
{
	__asm__ volatile("msr fpcr, %0" : : "r"(r) : "memory");
}

static inline void weir__fpsr_write(uint64_t r)
{
	__asm__ volatile("msr fpsr, %0" : : "r"(r) : "memory");
}

static inline weir_fp_state weir__fp_save(void)
{
	return (weir_fp_state){ weir__fpcr(), weir__fpsr() };
}

static inline void weir__fp_leave(weir_fp_state saved)
{
	if (weir__fpcr() != saved.control) weir__fpcr_write(saved.control);
	weir__fpsr_write(saved.status);
}

static inline weir_fp_state weir__fp_enter(bool ieee)
{
	weir_fp_state saved = weir__fp_save();
	uint64_t mode = ieee ? 0 : WEIR__FPCR_FZ; /* 0: round to nearest, nothing traps, no default NaN */

	if (saved.control != mode) weir__fpcr_write(mode);
	weir__fpsr_write(saved.status & ~(uint64_t)WEIR__FPSR_FLAGS);
	return saved;
}

/* The mode of `of` without its flags: what a worker runs in. */
static inline void weir__fp_adopt(weir_fp_state of)
{
	weir__fpcr_write(of.control);
	weir__fpsr_write(of.status & ~(uint64_t)WEIR__FPSR_FLAGS);
}

static inline unsigned weir__fp_flags(void)
{
	uint64_t f = weir__fpsr();

	return (f & 1 ? WEIR_FP_INVALID : 0u) | (f & 2 ? WEIR_FP_DIVZERO : 0u) | (f & 4 ? WEIR_FP_OVERFLOW : 0u) |
	       (f & 8 ? WEIR_FP_UNDERFLOW : 0u);
}

static inline void weir__fp_clear(void)
{
	weir__fpsr_write(weir__fpsr() & ~(uint64_t)WEIR__FPSR_FLAGS);
}

static inline void weir__fp_raise(unsigned flags)
{
	uint64_t f = (flags & WEIR_FP_INVALID ? 1u : 0u) | (flags & WEIR_FP_DIVZERO ? 2u : 0u) |
		     (flags & WEIR_FP_OVERFLOW ? 4u : 0u) | (flags & WEIR_FP_UNDERFLOW ? 8u : 0u);

	weir__fpsr_write(weir__fpsr() | f);
}

#else /* <fenv.h>, from libm; no flush mode: ieee makes no difference */

static inline weir_fp_state weir__fp_save(void)
{
	weir_fp_state s;

	fegetenv(&s.env);
	return s;
}

static inline void weir__fp_leave(weir_fp_state saved)
{
	fesetenv(&saved.env);
}

static inline weir_fp_state weir__fp_enter(bool ieee)
{
	weir_fp_state saved = weir__fp_save();

	(void)ieee;
	fesetenv(FE_DFL_ENV);
	return saved;
}

/* The mode of `of` without its flags: what a worker runs in. */
static inline void weir__fp_adopt(weir_fp_state of)
{
	fesetenv(&of.env);
	feclearexcept(FE_ALL_EXCEPT);
}

static inline unsigned weir__fp_flags(void)
{
	int f = fetestexcept(FE_ALL_EXCEPT);

	return (f & FE_INVALID ? WEIR_FP_INVALID : 0u) | (f & FE_DIVBYZERO ? WEIR_FP_DIVZERO : 0u) |
	       (f & FE_OVERFLOW ? WEIR_FP_OVERFLOW : 0u) | (f & FE_UNDERFLOW ? WEIR_FP_UNDERFLOW : 0u);
}

static inline void weir__fp_clear(void)
{
	feclearexcept(FE_ALL_EXCEPT);
}

static inline void weir__fp_raise(unsigned flags)
{
	int f = (flags & WEIR_FP_INVALID ? FE_INVALID : 0) | (flags & WEIR_FP_DIVZERO ? FE_DIVBYZERO : 0) |
		(flags & WEIR_FP_OVERFLOW ? FE_OVERFLOW : 0) | (flags & WEIR_FP_UNDERFLOW ? FE_UNDERFLOW : 0);

	feraiseexcept(f);
}

#endif
#endif
