// Vectors of the width this build of the kernel is for, and the few operations on them that the vector extensions of
// the compiler lack: rows of a table into lanes, lanes out by a mask. Included by kernel.h alone, inside its namespace.

#if defined(__AVX512F__)
constexpr int kLanes = 8;
#elif defined(__AVX2__)
constexpr int kLanes = 4;
#else
constexpr int kLanes = 2;
#endif
constexpr int kFloatLanes = 2 * kLanes;
typedef double Vd __attribute__((vector_size(8 * kLanes)));
typedef long long Vl __attribute__((vector_size(8 * kLanes)));  // what comparing Vd gives: all bits or none
typedef float Vf __attribute__((vector_size(8 * kLanes)));
typedef float Vh __attribute__((vector_size(4 * kLanes)));  // kLanes floats
typedef int Vi __attribute__((vector_size(4 * kLanes)));    // kLanes ints
typedef double Vdu __attribute__((vector_size(8 * kLanes), aligned(8)));
typedef int Viu __attribute__((vector_size(4 * kLanes), aligned(4)));

TREPID_INLINE Vd splat(double a) {
  return a - Vd{};
}
TREPID_INLINE Vd larger(Vd a, Vd b) {
  return a > b ? a : b;
}
TREPID_INLINE Vd smaller(Vd a, Vd b) {
  return a < b ? a : b;
}
TREPID_INLINE double sum(Vd a) {
  double s = 0;
  for (int k = 0; k < kLanes; ++k) s += a[k];
  return s;
}
TREPID_INLINE Vd root(Vd a) {
  Vd r;
  for (int k = 0; k < kLanes; ++k) r[k] = __builtin_sqrt(a[k]);
  return r;
}
TREPID_INLINE Vh to_float(Vd a) {
  return __builtin_convertvector(a, Vh);
}

// One bit per lane.
TREPID_INLINE unsigned bits(Vl a) {
#if defined(__AVX512F__)
  return _mm512_movepi64_mask((__m512i)a);
#elif defined(__AVX2__)
  return _mm256_movemask_pd((__m256d)a);
#else
  unsigned mask = 0;
  for (int k = 0; k < kLanes; ++k) mask |= (a[k] != 0) << k;
  return mask;
#endif
}

// Whole part of t >= 0, at most n - 1.
TREPID_INLINE Vi cell_of(Vd t, int n) {
  Vi cell = __builtin_convertvector(t, Vi);
  return cell < n - 1 ? cell : Vi{} + (n - 1);
}
TREPID_INLINE unsigned bits_equal(Vi a, int b) {
#if defined(__AVX512VL__)
  return _mm256_cmpeq_epi32_mask((__m256i)a, _mm256_set1_epi32(b));
#else
  unsigned mask = 0;
  for (int k = 0; k < kLanes; ++k) mask |= (a[k] == b) << k;
  return mask;
#endif
}

// The first n numbers of a list, n <= kLanes; `other` in the lanes behind.
TREPID_INLINE Vi load_some(const int* list, int n, int other) {
  if (n == kLanes) return *reinterpret_cast<const Viu*>(list);
#if defined(__AVX512VL__)
  return (Vi)_mm256_mask_loadu_epi32(_mm256_set1_epi32(other), (1u << n) - 1, list);
#else
  Vi a;
  for (int k = 0; k < kLanes; ++k) a[k] = k < n ? list[k] : other;
  return a;
#endif
}

// Appends the lanes of `mask` to N arrays of doubles and one of ints that hold n each and have room for kLanes more;
// returns the new n.
template <int N>
TREPID_INLINE int append(double* const (&to)[N], int* to_index, int n, unsigned mask, const Vd (&a)[N], Vi index) {
#if defined(__AVX512VL__)
  // To a register first: compressing straight into memory is slow on some processors.
#pragma GCC unroll 5
  for (int k = 0; k < N; ++k) *reinterpret_cast<Vdu*>(to[k] + n) = (Vd)_mm512_maskz_compress_pd(mask, (__m512d)a[k]);
  *reinterpret_cast<Viu*>(to_index + n) = (Vi)_mm256_maskz_compress_epi32(mask, (__m256i)index);
  return n + __builtin_popcount(mask);
#else
  for (; mask; mask &= mask - 1, ++n) {
    const int lane = __builtin_ctz(mask);
#pragma GCC unroll 5
    for (int k = 0; k < N; ++k) to[k][n] = a[k][lane];
    to_index[n] = index[lane];
  }
  return n;
#endif
}

// out[k][lane] = base[row[lane] * stride + k] for k < 3 or 4; nothing behind the last number of a row is read.
template <int Columns>
TREPID_INLINE void load_rows(const double* base, Vi rows, int stride, Vd out[Columns]) {
  // Through memory: taking the lanes out of a vector one by one takes longer.
  alignas(64) int row[kLanes];
  *reinterpret_cast<Vi*>(row) = rows;
  asm("" : "+m"(row));
#if defined(__AVX512F__)
  __m256d r[8];
  for (int k = 0; k < 8; ++k) {
    const double* p = base + static_cast<long>(row[k]) * stride;
    r[k] = Columns == 3 ? _mm256_maskz_loadu_pd(7, p) : _mm256_loadu_pd(p);
  }
  __m512d a[4], t[4];
  for (int k = 0; k < 4; ++k) a[k] = _mm512_insertf64x4(_mm512_castpd256_pd512(r[k]), r[k + 4], 1);
  t[0] = _mm512_unpacklo_pd(a[0], a[1]), t[1] = _mm512_unpackhi_pd(a[0], a[1]);
  t[2] = _mm512_unpacklo_pd(a[2], a[3]), t[3] = _mm512_unpackhi_pd(a[2], a[3]);
  const __m512i low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13), high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
  out[0] = (Vd)_mm512_permutex2var_pd(t[0], low, t[2]);
  out[1] = (Vd)_mm512_permutex2var_pd(t[1], low, t[3]);
  out[2] = (Vd)_mm512_permutex2var_pd(t[0], high, t[2]);
  if (Columns == 4) out[Columns - 1] = (Vd)_mm512_permutex2var_pd(t[1], high, t[3]);
#elif defined(__AVX2__)
  const __m256i first_three = _mm256_setr_epi64x(-1, -1, -1, 0);
  __m256d r[4];
  for (int k = 0; k < 4; ++k) {
    const double* p = base + static_cast<long>(row[k]) * stride;
    r[k] = Columns == 3 ? _mm256_maskload_pd(p, first_three) : _mm256_loadu_pd(p);
  }
  const __m256d t0 = _mm256_unpacklo_pd(r[0], r[1]), t1 = _mm256_unpackhi_pd(r[0], r[1]),
                t2 = _mm256_unpacklo_pd(r[2], r[3]), t3 = _mm256_unpackhi_pd(r[2], r[3]);
  out[0] = (Vd)_mm256_permute2f128_pd(t0, t2, 0x20);
  out[1] = (Vd)_mm256_permute2f128_pd(t1, t3, 0x20);
  out[2] = (Vd)_mm256_permute2f128_pd(t0, t2, 0x31);
  if (Columns == 4) out[Columns - 1] = (Vd)_mm256_permute2f128_pd(t1, t3, 0x31);
#else
  for (int k = 0; k < kLanes; ++k)
    for (int c = 0; c < Columns; ++c) out[c][k] = base[static_cast<long>(row[k]) * stride + c];
#endif
}
