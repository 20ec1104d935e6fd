/* number_parse.c: decimal text as a binary number, correctly rounded.
 *
 * The text is w * 10^q with an integer w. Up to 19 digits and |q| <= 27 a product or a quotient of 128 bits is exact
 * enough; everything else goes through integers on the stack: numerator and denominator are aligned, and 64 steps of
 * long division give 64 bits and whether something remains. A point halfway between two numbers has at
 * most 767 digits, so what follows the 768th matters only by being there. */
#include "engine/number.h"

#include <string.h>

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 wide;
#endif

enum { LIMBS = 96, MOST_DIGITS = 768, SHORT_DIGITS = 19 };

/* A format: bits of the significand, exponent of its smallest subnormal, bits of infinity. */
struct format {
	int precision, lowest;
	uint64_t infinity;
};

/* A scanned number: w holds the first digits, the value is w (and what follows) * 10^q. */
struct scan {
	bool negative, cut; /* cut: digits that are not zero follow those in w */
	uint64_t w;
	int kept;
	int64_t q;
	size_t first, end; /* the first digit that is not zero; the end of the digits */
	size_t used;
};

struct big {
	uint32_t limb[LIMBS]; /* the lowest first */
	int n;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* The exponent behind e, if one stands there; far out it stops growing, where only its sign matters. */
static int64_t scan_exponent(const char *s, size_t n, size_t *at)
{
	const int64_t huge = INT64_C(1) << 52;
	size_t i = *at + 1;
	int64_t e = 0;
	bool negative = false;

	if (*at >= n || (s[*at] != 'e' && s[*at] != 'E')) return 0;
	if (i < n && (s[i] == '+' || s[i] == '-')) negative = s[i++] == '-';
	if (i >= n || !is_digit(s[i])) return 0;
	for (; i < n && is_digit(s[i]); i++)
		if (e < huge) e = 10 * e + (s[i] - '0');
	*at = i;
	return negative ? -e : e;
}

static bool scan_number(const char *s, size_t n, struct scan *x)
{
	size_t i = 0, digits = 0;
	bool point = false;

	*x = (struct scan){ 0 };
	if (i < n && (s[i] == '+' || s[i] == '-')) x->negative = s[i++] == '-';
	for (; i < n; i++) {
		if (s[i] == '.' && !point) {
			point = true;
			continue;
		}
		if (!is_digit(s[i])) break;
		digits++;
		if (x->kept == 0 && s[i] != '0') x->first = i;
		if (x->kept == 0 && s[i] == '0') {
			x->q -= point;
		} else if (x->kept < SHORT_DIGITS) {
			x->w = 10 * x->w + (uint64_t)(s[i] - '0');
			x->kept++;
			x->q -= point;
		} else {
			if (s[i] != '0') x->cut = true;
			x->q += !point;
		}
	}
	if (!digits) return false;
	x->end = i;
	x->q += scan_exponent(s, n, &i);
	x->used = i;
	return true;
}

/* q64 * 2^e, rounded half to even; more says that something smaller than the last bit of q64 follows. */
static uint64_t round_bits(const struct format *f, uint64_t q64, int e, bool more)
{
	uint64_t kept, rest, half;
	int last, shift;

	while (!(q64 >> 63)) {
		q64 <<= 1;
		e--;
	}
	last = e + 64 - f->precision;
	if (last < f->lowest) last = f->lowest;
	shift = last - e;
	if (shift > 64) return 0;
	kept = shift == 64 ? 0 : q64 >> shift;
	half = UINT64_C(1) << (shift - 1);
	rest = shift == 64 ? q64 : q64 & (2 * half - 1);
	if (rest > half || (rest == half && (more || (kept & 1)))) kept++;
	kept += (uint64_t)(last - f->lowest) << (f->precision - 1); /* a carry runs into the exponent, as it must */
	return kept < f->infinity ? kept : f->infinity;
}

#ifdef __SIZEOF_INT128__
static uint64_t convert_short(const struct format *f, const struct scan *x)
{
	uint64_t five = 1, w = x->w;
	int e = (int)x->q, q = e < 0 ? -e : e;
	bool more = false;
	wide v;

	while (q--) five *= 5;
	if (e >= 0) {
		v = (wide)w * five;
	} else {
		for (; !(w >> 63); e--) w <<= 1;
		v = ((wide)w << 64) / five;
		more = ((wide)w << 64) % five != 0;
		e -= 64;
	}
	for (; v >> 64; e++) {
		more |= v & 1;
		v >>= 1;
	}
	return round_bits(f, (uint64_t)v, e, more);
}
#endif

static void big_mul_add(struct big *b, uint32_t factor, uint32_t add)
{
	uint64_t carry = add;

	for (int i = 0; i < b->n; i++) {
		carry += (uint64_t)b->limb[i] * factor;
		b->limb[i] = (uint32_t)carry;
		carry >>= 32;
	}
	if (carry) b->limb[b->n++] = (uint32_t)carry;
}

static void big_mul_pow5(struct big *b, int power)
{
	for (; power >= 13; power -= 13) big_mul_add(b, 1220703125, 0);
	for (; power > 0; power--) big_mul_add(b, 5, 0);
}

static int big_bits(const struct big *b)
{
	int bits = 32 * b->n;

	for (uint32_t top = b->limb[b->n - 1]; !(top >> 31); top <<= 1) bits--;
	return bits;
}

static void big_shift(struct big *b, int by)
{
	for (; by >= 31; by -= 31) big_mul_add(b, 1u << 31, 0);
	big_mul_add(b, 1u << by, 0);
}

static int big_compare(const struct big *a, const struct big *b)
{
	if (a->n != b->n) return a->n < b->n ? -1 : 1;
	for (int i = a->n - 1; i >= 0; i--)
		if (a->limb[i] != b->limb[i]) return a->limb[i] < b->limb[i] ? -1 : 1;
	return 0;
}

static void big_subtract(struct big *a, const struct big *b)
{
	uint32_t borrow = 0;

	for (int i = 0; i < a->n; i++) {
		uint64_t take = (uint64_t)(i < b->n ? b->limb[i] : 0) + borrow;

		borrow = a->limb[i] < take;
		a->limb[i] = (uint32_t)(a->limb[i] - take);
	}
	while (a->n > 0 && a->limb[a->n - 1] == 0) a->n--;
}

static uint64_t convert_long(const struct format *f, const char *s, const struct scan *x)
{
	struct big top = { .n = 0 }, bottom = { .limb = { 1 }, .n = 1 };
	int digits = 0, q, e, align;
	bool more = false;
	uint64_t bits = 0;

	for (size_t i = x->first; i < x->end; i++) {
		if (s[i] == '.') continue;
		if (digits < MOST_DIGITS) {
			big_mul_add(&top, 10, (uint32_t)(s[i] - '0'));
			digits++;
		} else if (s[i] != '0') {
			more = true;
			break;
		}
	}
	if (more) { /* one digit stands for all that are cut off */
		big_mul_add(&top, 10, 1);
		digits++;
	}
	q = (int)(x->q + x->kept - digits);
	e = q;
	if (q > 0) big_mul_pow5(&top, q);
	else big_mul_pow5(&bottom, -q);

	align = big_bits(&top) - big_bits(&bottom);
	big_shift(align > 0 ? &bottom : &top, align > 0 ? align : -align);
	e += align - 63;
	for (int i = 0; i < 64; i++) {
		bits <<= 1;
		if (big_compare(&top, &bottom) >= 0) {
			big_subtract(&top, &bottom);
			bits |= 1;
		}
		big_mul_add(&top, 2, 0);
	}
	return round_bits(f, bits, e, top.n > 0);
}

/* The bits of the number without its sign. */
static uint64_t convert(const struct format *f, const char *s, const struct scan *x)
{
	if (x->w == 0 || x->q + x->kept < -330) return 0;
	if (x->q + x->kept > 310) return f->infinity;
#ifdef __SIZEOF_INT128__
	if (!x->cut && x->q >= -27 && x->q <= 27) return convert_short(f, x);
#endif
	return convert_long(f, s, x);
}

/* The length of word if s begins with it, in any case of letters, else 0. */
static size_t spells(const char *s, size_t n, const char *word)
{
	size_t i = 0;

	for (; word[i]; i++)
		if (i >= n || (s[i] | 32) != word[i]) return 0;
	return i;
}

static weir__parsed parse(const struct format *f, const char *s, size_t n, unsigned flags, bool *negative,
			  uint64_t *bits, size_t *used)
{
	struct scan x;

	if (scan_number(s, n, &x)) {
		*negative = x.negative;
		*bits = convert(f, s, &x);
		if (used) *used = x.used;
		return *bits == f->infinity ? WEIR__PARSED_RANGE : WEIR__PARSED;
	}
	*negative = false;
	*bits = 0;
	if (used) *used = 0;
	if (flags & WEIR__PARSE_NONFINITE) {
		size_t sign = n && (s[0] == '-' || s[0] == '+'), inf, nan;

		inf = spells(s + sign, n - sign, "infinity");
		if (!inf) inf = spells(s + sign, n - sign, "inf");
		nan = spells(s + sign, n - sign, "nan");
		if (inf || nan) {
			*negative = inf && s[0] == '-';
			*bits = inf ? f->infinity : f->infinity + (UINT64_C(1) << (f->precision - 2));
			if (used) *used = sign + inf + nan;
			return WEIR__PARSED;
		}
	}
	return WEIR__PARSED_NONE;
}

weir__parsed weir__parse_double(const char *s, size_t n, unsigned flags, double *out, size_t *used)
{
	static const struct format f64 = { 53, -1074, UINT64_C(0x7ff) << 52 };
	bool negative;
	uint64_t bits;
	weir__parsed result = parse(&f64, s, n, flags, &negative, &bits, used);

	bits |= (uint64_t)negative << 63;
	memcpy(out, &bits, sizeof(bits));
	return result;
}

weir__parsed weir__parse_float(const char *s, size_t n, unsigned flags, float *out, size_t *used)
{
	static const struct format f32 = { 24, -149, UINT64_C(0xff) << 23 };
	bool negative;
	uint64_t bits;
	weir__parsed result = parse(&f32, s, n, flags, &negative, &bits, used);
	uint32_t narrow = (uint32_t)bits | (uint32_t)negative << 31;

	memcpy(out, &narrow, sizeof(narrow));
	return result;
}

weir__parsed weir__parse_int64(const char *s, size_t n, int64_t *out, size_t *used)
{
	size_t i = 0, begin;
	uint64_t size = 0, limit;
	bool negative = false, over = false;

	if (n && (s[0] == '-' || s[0] == '+')) negative = s[i++] == '-';
	limit = (uint64_t)INT64_MAX + negative;
	for (begin = i; i < n && is_digit(s[i]); i++) {
		uint64_t digit = (uint64_t)(s[i] - '0');

		if (size > (limit - digit) / 10) over = true;
		else size = 10 * size + digit;
	}
	if (i == begin) i = 0;
	if (over) size = limit;
	*out = negative ? (int64_t)(0 - size) : (int64_t)size;
	if (used) *used = i;
	return i == 0 ? WEIR__PARSED_NONE : over ? WEIR__PARSED_RANGE : WEIR__PARSED;
}
