/* number.c: a binary number as decimal text, exactly.
 *
 * A finite number is m * 2^e with an integer m. For e >= 0 it is an integer; for e < 0 it is m * 5^-e / 10^-e, so its
 * digits are those of the integer m * 5^-e, and all of them (767 at most) fit an array on the stack. Rounding to a
 * number of digits is then a matter of looking at the digits that follow.
 *
 * The shortest form takes the digits of the number and of the two midpoints to its neighbours, all on one scale, and
 * the fewest leading digits, cut or raised by one, that stay between the midpoints. */
#include "engine/number.h"

#include <string.h>

enum {
	LIMBS = 88,         /* 4 * 2^53 * 5^1076 has 770 digits; base 10^9 */
	DIGITS = 9 * LIMBS, /* room for all of them */
};

/* A finite number without its sign: m * 2^e. */
struct binary {
	uint64_t m;
	int e;
	bool negative, edge; /* edge: the neighbour below is half as far as the one above */
};

/* 0.d1 d2 d3 … * 10^point; digits beyond n are zeros. */
struct decimal {
	char digit[DIGITS];
	int n, point;
};

struct big {
	uint32_t limb[LIMBS]; /* base 10^9, the lowest first */
	int n;
};

struct out {
	char *buf;
	size_t cap, len;
};

static void put(struct out *o, char c)
{
	if (o->len + 1 < o->cap) o->buf[o->len] = c;
	o->len++;
}

static void put_text(struct out *o, const char *s)
{
	while (*s) put(o, *s++);
}

static void put_zeros(struct out *o, int count)
{
	for (; count > 0 && o->len + 1 < o->cap; count--) put(o, '0');
	if (count > 0) o->len += (size_t)count;
}

static size_t finish(struct out *o)
{
	if (o->cap) o->buf[o->len < o->cap ? o->len : o->cap - 1] = '\0';
	return o->len;
}

static void big_mul(struct big *b, uint32_t factor)
{
	uint64_t carry = 0;

	for (int i = 0; i < b->n; i++) {
		carry += (uint64_t)b->limb[i] * factor;
		b->limb[i] = (uint32_t)(carry % 1000000000);
		carry /= 1000000000;
	}
	for (; carry; carry /= 1000000000) b->limb[b->n++] = (uint32_t)(carry % 1000000000);
}

/* The digits of m * 2^e, as the integer b; *fraction of them, counted from the right, stand behind the point. */
static void expand(struct big *b, uint64_t m, int e, int *fraction)
{
	b->n = 0;
	for (; m; m /= 1000000000) b->limb[b->n++] = (uint32_t)(m % 1000000000);
	*fraction = e < 0 ? -e : 0;
	for (; e >= 29; e -= 29) big_mul(b, 1u << 29);
	if (e > 0) big_mul(b, 1u << e);
	for (; e <= -13; e += 13) big_mul(b, 1220703125); /* 5^13 */
	for (; e < 0; e++) big_mul(b, 5);
}

/* The width last digits of b, with leading zeros. */
static void spell(char *digit, int width, const struct big *b)
{
	for (int i = 0, at = width; at > 0; i++) {
		uint32_t limb = i < b->n ? b->limb[i] : 0;

		for (int k = 0; k < 9 && at > 0; k++, limb /= 10) digit[--at] = (char)('0' + limb % 10);
	}
}

static void all_digits(struct decimal *d, const struct binary *x)
{
	struct big b;
	uint64_t m = x->m;
	int e = x->e, fraction, lead = 0;

	d->n = 0;
	d->point = 1;
	if (!m) return;
	for (; e < 0 && !(m & 1); e++) m >>= 1;
	expand(&b, m, e, &fraction);
	d->n = 9 * b.n;
	spell(d->digit, d->n, &b);
	while (d->digit[lead] == '0') lead++;
	d->n -= lead;
	d->point = d->n - fraction;
	memmove(d->digit, d->digit + lead, (size_t)d->n);
}

/* Adds one at the last of n digits; true if a digit 1 had to be put before them. */
static bool raise_last(char *digit, int n)
{
	while (n > 0 && digit[n - 1] == '9') digit[--n] = '0';
	if (n > 0) {
		digit[n - 1]++;
		return false;
	}
	digit[0] = '1'; /* 999 becomes 100, one power of ten up */
	return true;
}

/* How what follows the first keep digits compares with half a unit of the last one: -1, 0, 1. */
static int against_half(const char *digit, int keep, int n)
{
	if (keep >= n || digit[keep] < '5') return -1;
	if (digit[keep] > '5') return 1;
	for (int i = keep + 1; i < n; i++)
		if (digit[i] != '0') return 1;
	return 0;
}

static void round_to(struct decimal *d, int keep)
{
	int half;
	bool up;

	if (keep >= d->n) return;
	if (keep < 0) {
		d->n = 0;
		return;
	}
	half = against_half(d->digit, keep, d->n);
	up = half > 0 || (half == 0 && keep > 0 && (d->digit[keep - 1] - '0') % 2);
	d->n = keep;
	if (!up) return;
	if (keep == 0) d->n = 1;
	if (raise_last(d->digit, keep)) d->point++;
}

/* The fewest digits between the midpoints to the neighbours, and of those the closest to x. */
static void shortest(struct decimal *d, const struct binary *x)
{
	char lo[DIGITS + 1], hi[DIGITS + 1], *mid = d->digit;
	struct big b;
	int fraction, width, first = 0, n;
	bool touch = !(x->m & 1); /* a midpoint itself is read back as the even neighbour */

	d->n = 0;
	d->point = 1;
	if (!x->m) return;
	expand(&b, 4 * x->m + 2, x->e - 2, &fraction);
	width = 9 * b.n + 1; /* a leading zero takes the carry of 9 + 1 */
	spell(hi, width, &b);
	expand(&b, 4 * x->m - (x->edge ? 1 : 2), x->e - 2, &fraction);
	spell(lo, width, &b);
	expand(&b, 4 * x->m, x->e - 2, &fraction);
	spell(mid, width, &b);
	while (mid[first] == '0') first++;

	for (n = first + 1; n < width; n++) {
		int below = memcmp(mid, lo, (size_t)n), above, half, i;
		bool rest = false, up_fits, cut_fits = below > 0;

		if (below == 0 && touch) {
			for (i = n; i < width && lo[i] == '0'; i++) continue;
			cut_fits = i == width;
		}
		for (i = n; i < width && !rest; i++) rest = mid[i] != '0';
		if (!rest) break; /* the number itself */
		half = against_half(mid, n, width);
		{
			char up[DIGITS + 1];

			memcpy(up, mid, (size_t)n);
			raise_last(up, n);
			above = memcmp(up, hi, (size_t)n);
			up_fits = above < 0;
			if (above == 0) {
				for (i = n; i < width && hi[i] == '0'; i++) continue;
				up_fits = i < width || touch;
			}
		}
		if (!cut_fits && !up_fits) continue;
		if (up_fits && (!cut_fits || half > 0 || (half == 0 && (mid[n - 1] - '0') % 2))) raise_last(mid, n);
		break;
	}
	if (first > 0 && mid[first - 1] != '0') first--;
	while (n > first + 1 && mid[n - 1] == '0') n--;
	d->n = n - first;
	d->point = width - fraction - first;
	memmove(mid, mid + first, (size_t)d->n);
}

static void put_digits(struct out *o, const struct decimal *d, int from, int count)
{
	for (; count > 0 && from < d->n; from++, count--) put(o, d->digit[from]);
	put_zeros(o, count);
}

static void put_fixed(struct out *o, const struct decimal *d, int places)
{
	int zeros = d->point < 0 ? -d->point : 0;

	if (d->point > 0) put_digits(o, d, 0, d->point);
	else put(o, '0');
	if (places <= 0) return;
	put(o, '.');
	if (zeros > places) zeros = places;
	put_zeros(o, zeros);
	put_digits(o, d, d->point > 0 ? d->point : 0, places - zeros);
}

static void put_scientific(struct out *o, const struct decimal *d, int places)
{
	int e = d->point - 1, size = e < 0 ? -e : e;

	put_digits(o, d, 0, 1);
	if (places > 0) {
		put(o, '.');
		put_digits(o, d, 1, places);
	}
	put(o, 'e');
	put(o, e < 0 ? '-' : '+');
	if (size >= 100) put(o, (char)('0' + size / 100));
	put(o, (char)('0' + size / 10 % 10));
	put(o, (char)('0' + size % 10));
}

/* As %g does it: positional from 10^-4 up to below 10^limit, no zeros at the end. */
static void put_general(struct out *o, struct decimal *d, int limit)
{
	while (d->n > 1 && d->digit[d->n - 1] == '0') d->n--;
	if (d->point > -4 && d->point <= limit) put_fixed(o, d, d->n - d->point);
	else put_scientific(o, d, d->n - 1);
}

/* Splits the bits of a number; false for what is not finite, which is written out. */
static bool split(struct out *o, struct binary *x, uint64_t bits, int mantissa, int exponent_bits)
{
	uint64_t low = bits & ((UINT64_C(1) << mantissa) - 1);
	int top = (1 << exponent_bits) - 1, e = (int)(bits >> mantissa) & top;

	x->negative = bits >> (mantissa + exponent_bits);
	if (e == top) {
		put_text(o, low ? "nan" : x->negative ? "-inf" : "inf");
		return false;
	}
	x->m = e ? low | UINT64_C(1) << mantissa : low;
	x->e = (e ? e : 1) - top / 2 - mantissa;
	x->edge = low == 0 && e > 1;
	if (x->negative) put(o, '-');
	return true;
}

size_t weir__format_double(char *buf, size_t cap, double value, char style, int digits)
{
	struct out o = { buf, cap, 0 };
	struct binary x;
	struct decimal d;
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	if (!split(&o, &x, bits, 52, 11)) return finish(&o);
	if (digits < 0) digits = 6;
	if (style == 'g') {
		shortest(&d, &x);
		put_general(&o, &d, 16);
		return finish(&o);
	}
	all_digits(&d, &x);
	if (style == 'f') {
		if (digits < d.n - d.point) round_to(&d, d.point + digits);
		if (d.n == 0) d.point = 1;
		put_fixed(&o, &d, digits);
	} else if (style == 'e') {
		if (digits < d.n) round_to(&d, digits + 1);
		put_scientific(&o, &d, digits);
	} else {
		if (digits == 0) digits = 1;
		round_to(&d, digits);
		put_general(&o, &d, digits);
	}
	return finish(&o);
}

size_t weir__format_float(char *buf, size_t cap, float value)
{
	struct out o = { buf, cap, 0 };
	struct binary x;
	struct decimal d;
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	if (!split(&o, &x, bits, 23, 8)) return finish(&o);
	shortest(&d, &x);
	put_general(&o, &d, 9);
	return finish(&o);
}

size_t weir__format_int64(char *buf, size_t cap, int64_t x)
{
	struct out o = { buf, cap, 0 };
	uint64_t size = x < 0 ? 0 - (uint64_t)x : (uint64_t)x;
	char digit[20];
	int n = 0;

	do digit[n++] = (char)('0' + size % 10);
	while (size /= 10);
	if (x < 0) put(&o, '-');
	while (n) put(&o, digit[--n]);
	return finish(&o);
}
