/* Names for a body that is written once for float and double: the body includes this file with WEIR_REAL_F64 defined as 0 or 1, as often
 * as it likes.
 *
 *   R float or double, V its vector, M its mask, LANES; VV(add) is vf_add or vd_add, MM(and) mf_and or md_and,
 *   K(map_add) the symbol KERN(map_add_f32) or KERN(map_add_f64). */
#undef R
#undef V
#undef M
#undef LANES
#undef VV
#undef MM
#undef K

#if WEIR_REAL_F64
#define R double
#define V vd
#define M md
#define LANES VD_LANES
#define VV(name) vd_##name
#define MM(name) md_##name
#define K(name) KERN(name##_f64)
#else
#define R float
#define V vf
#define M mf
#define LANES VF_LANES
#define VV(name) vf_##name
#define MM(name) mf_##name
#define K(name) KERN(name##_f32)
#endif
