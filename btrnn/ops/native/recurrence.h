// What the recurrences share: what the caller describes, functions of a vector, U in panels, and how the sequences are shared out.
// A few sequences at a time go through all of their steps in one thread, so that no thread waits for another, and U is laid out
// once, in panels of columns that the products read from end to end.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "products.h"

// What the caller describes; recurrence.py holds the same fields in the same order.
struct Sequences {
  int64_t count, batch, hidden;
  const int64_t* size;   // (count) rows of each step: the first ones of the batch
  const int64_t* start;  // (count) the first row of each step in what has the rows of all steps
  int32_t reverse;       // whether the last step is read first
  int32_t hard;          // whether s is clip(0.2 x + 0.5, 0, 1), else the logistic function
};

namespace {

constexpr int64_t kVectors = 2;     // of a panel
constexpr int64_t kMostRows = 32;   // of a group of sequences
constexpr int64_t kFewestRows = 4;  // fewer take as long
constexpr int64_t kFewestProducts = 100000;  // below, a second thread costs more than it helps

template <typename T>
using V = typename Vector<T>::type;
template <typename T>
constexpr int64_t panel = kVectors * lanes<T>;

// ---- functions of a vector

template <typename T>
struct Exponent;  // how exp(x) = 2^n exp(x - n ln 2) is computed
template <>
struct Exponent<float> {
  static constexpr float low = -87.3f, high = 88.0f, ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  static constexpr float magic = 12582912.0f;  // 1.5 2^23: what is added to it is rounded to a whole number
  static constexpr int degree = 7, bias = 127, mantissa_bits = 23;
};
template <>
struct Exponent<double> {
  static constexpr double low = -708.0, high = 709.0, ln2_high = 0.693145751953125, ln2_low = 1.42860682030941723212e-6;
  static constexpr double magic = 6755399441055744.0;
  static constexpr int degree = 13, bias = 1023, mantissa_bits = 52;
};

// exp(x) as power (1 + growth): near 0 the power is 1, and the growth keeps the digits that 1 + growth loses.
template <typename T>
struct Exponential {
  V<T> power, growth;
  V<T> value() const { return (growth + T(1)) * power; }
  V<T> less_one() const { return growth * power + (power - T(1)); }
};

template <typename T>
inline Exponential<T> exponential(V<T> x) {
  using E = Exponent<T>;
  using Places = typename Vector<T>::places;
  const V<T> zero = {}, high = zero + E::high, low = zero + E::low, magic = zero + E::magic;
  x = x > high ? high : x;
  x = x < low ? low : x;
  const V<T> shifted = x * T(1.44269504088896340736) + magic, whole = shifted - magic;
  const V<T> rest = (x - whole * E::ln2_high) - whole * E::ln2_low;
  V<T> sum = zero + T(1);
  for (int k = E::degree; k > 1; --k) sum = sum * rest * (T(1) / T(k)) + T(1);  // 1 + r / 2 (1 + r / 3 ..
  const Places power = (Places(shifted) - Places(magic) + E::bias) << E::mantissa_bits;
  return {V<T>(power), sum * rest};
}

template <typename T>
inline V<T> hyperbolic_tangent(V<T> x) {
  const V<T> less_one = exponential<T>(x + x).less_one();
  return less_one / (less_one + T(2));
}

template <typename T, bool Hard>
inline V<T> gate(V<T> x) {
  if (!Hard) return T(1) / (T(1) + exponential<T>(-x).value());
  const V<T> zero = {}, one = zero + T(1), line = x * T(0.2) + T(0.5);
  const V<T> above = line < zero ? zero : line;
  return above > one ? one : above;
}

// The derivative of a gate, from its value.
template <typename T, bool Hard>
inline V<T> slope(V<T> value) {
  const V<T> zero = {}, one = zero + T(1), steep = zero + T(0.2);
  if (!Hard) return value * (one - value);
  const V<T> above = value > zero ? steep : zero;
  return value < one ? above : zero;
}

template <typename T>
inline V<T> get(const T* from, int64_t some) {
  return some >= lanes<T> ? *reinterpret_cast<const V<T>*>(from) : load(from, some);
}

template <typename T>
inline void put(T* to, V<T> value, int64_t some) {
  if (some >= lanes<T>)
    *reinterpret_cast<V<T>*>(to) = value;
  else
    std::memcpy(to, &value, size_t(some) * sizeof(T));
}

// ---- products with U

// A matrix in panels: the rows of `panel` neighbouring columns one below the other, then the next columns.
template <typename T>
struct Panels {
  Panels(int64_t all_rows, int64_t all_columns)
      : rows(all_rows),
        columns(all_columns),
        count((all_columns + panel<T> - 1) / panel<T>),
        width(count * panel<T>),
        data(count * all_rows * panel<T>) {}

  // Fill panel p from (rows, columns), or with `turned` from (columns, rows).
  void fill(int64_t p, const T* matrix, bool turned) {
    T* place = data.data + p * rows * panel<T>;
    const int64_t first = p * panel<T>, some = std::min(panel<T>, columns - first);
    if (turned) {
      for (int64_t c = 0; c < some; c += lanes<T>) {
        int64_t k = 0;
        for (; some - c >= lanes<T> && k + lanes<T> <= rows; k += lanes<T>) {
          T square[lanes<T> * lanes<T>] __attribute__((aligned(kVectorBytes)));
          transpose(matrix + (first + c) * rows + k, rows, square);
          for (int64_t q = 0; q < lanes<T>; ++q) {
            std::memcpy(place + (k + q) * panel<T> + c, square + q * lanes<T>, kVectorBytes);
          }
        }
        for (; k < rows; ++k) {
          for (int64_t q = c; q < std::min(some, c + lanes<T>); ++q) place[k * panel<T> + q] = matrix[(first + q) * rows + k];
        }
      }
    } else {
      for (int64_t k = 0; k < rows; ++k) {
        std::memcpy(place + k * panel<T>, matrix + k * columns + first, size_t(some) * sizeof(T));
      }
    }
  }

  int64_t rows, columns, count, width;
  Buffer<T> data;
};

// A thread's tables and results.
template <typename T>
struct Workspace {
  Workspace(const Panels<T>& matrix, int64_t stride) : u(matrix), sums(kMostRows * matrix.width) {
    for (int64_t r = 0; r < kMostRows; ++r) row[r] = int32_t(r * stride);
    for (int64_t k = 0; k < matrix.rows; ++k) depth.data[k] = int32_t(k);
  }

  // sums (rows, width) = in (rows, stride) U
  void multiply(const T* in, int64_t rows) {
    for (int64_t p = 0; p < u.count; ++p) {
      multiply_columns<T, kVectors, false>(in, row, rows, depth.data, u.rows, u.data.data + p * u.rows * panel<T>, panel<T>,
                                           sums.data + p * panel<T>, Even{u.width}, Steps{lanes<T>, lanes<T>});
    }
  }

  const Panels<T>& u;
  Buffer<T> sums;
  Buffer<int32_t> depth{u.rows};
  int32_t row[kMostRows];
};

// rows (rows, size) times mask, in `masked`; the rows themselves where there is no mask.
template <typename T>
inline const T* mask_rows(const T* values, const T* mask, int64_t count, T* masked) {
  if (!mask) return values;
  for (int64_t k = 0; k < count; ++k) masked[k] = values[k] * mask[k];
  return masked;
}

// How the sequences are shared out: threads that have work, and the sequences of a group.
struct Shares {
  Shares(const Sequences& s, int available) {
    const int64_t rows = s.start[s.count - 1] + s.size[s.count - 1], each = (s.batch + available - 1) / available;
    group = std::min(kMostRows, std::max(kFewestRows, (each + 3) / 4 * 4));
    const int64_t groups = (s.batch + group - 1) / group;
    threads = rows * s.hidden * s.hidden < kFewestProducts ? 1 : int(std::min<int64_t>(available, groups));
  }
  int64_t group;
  int threads;
};

}  // namespace
