// The recurrence of an LSTM over whole sequences: btrnn/ops/lstm_fast.py says what it computes, btrnn/ops/native/recurrence.py calls
// this. A few sequences at a time go through all of their steps in one thread, so that no thread waits for another, and U is
// laid out once, in panels of columns that the products read from end to end.

#include <omp.h>

#include <algorithm>
#include <cstdint>

#include "products.h"

// What the caller describes; recurrence.py holds the same fields in the same order. Gates are i, f, g, o.
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

template <typename T>
inline V<T> exponential(V<T> x) {
  using E = Exponent<T>;
  using Places = typename Vector<T>::places;
  const V<T> zero = {}, high = zero + E::high, low = zero + E::low, magic = zero + E::magic;
  x = x > high ? high : x;
  x = x < low ? low : x;
  const V<T> shifted = x * T(1.44269504088896340736) + magic, whole = shifted - magic;
  const V<T> rest = (x - whole * E::ln2_high) - whole * E::ln2_low;
  V<T> sum = zero + T(1);
  for (int k = E::degree; k > 0; --k) sum = sum * rest * (T(1) / T(k)) + T(1);  // 1 + r (1 + r / 2 (1 + r / 3 ..
  const Places power = (Places(shifted) - Places(magic) + E::bias) << E::mantissa_bits;
  return sum * V<T>(power);
}

template <typename T>
inline V<T> hyperbolic_tangent(V<T> x) {
  return T(1) - T(2) / (T(1) + exponential<T>(x + x));
}

template <typename T, bool Hard>
inline V<T> gate(V<T> x) {
  if (!Hard) return T(1) / (T(1) + exponential<T>(-x));
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

// ---- forward

// One sequence's step: its gates' sums are those of `from` and `sums`. `hidden` and `cell` are its state before and after;
// the activated gates go to `kept`, which may be `sums`.
template <typename T, bool Hard>
void forward_row(int64_t size, const T* from, const T* sums, T* kept, T* hidden, T* cell) {
  for (int64_t j = 0; j < size; j += lanes<T>) {
    const int64_t some = size - j;
    const auto sum = [&](int64_t q) { return get(from + q * size + j, some) + get(sums + q * size + j, some); };
    const V<T> in = gate<T, Hard>(sum(0)), forget = gate<T, Hard>(sum(1));
    const V<T> candidate = hyperbolic_tangent<T>(sum(2)), out = gate<T, Hard>(sum(3));
    const V<T> after = forget * get(cell + j, some) + in * candidate;
    put(cell + j, after, some);
    put(hidden + j, out * hyperbolic_tangent<T>(after), some);
    if (!kept) continue;
    put(kept + j, in, some);
    put(kept + size + j, forget, some);
    put(kept + 2 * size + j, candidate, some);
    put(kept + 3 * size + j, out, some);
  }
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

// hidden, cell (batch, H): the first state, which becomes the last. outputs (rows, H). mask (batch, H) or null.
// cells (rows, H) and activations (rows, 4 H) are kept for the backward pass unless they are null.
template <typename T, bool Hard>
void run_forward(const Sequences& s, const T* gates, const T* weight, const T* mask, T* hidden, T* cell, T* outputs, T* cells,
                 T* activations, int threads) {
  const Shares shares(s, threads);
  const int64_t size = s.hidden, group = shares.group;
  Panels<T> u(size, 4 * size);
#pragma omp parallel num_threads(shares.threads)
  {
    Workspace<T> work(u, size);
    Buffer<T> masked(mask ? group * size : 0);
#pragma omp for schedule(static)
    for (int64_t p = 0; p < u.count; ++p) u.fill(p, weight, true);
#pragma omp for schedule(static)
    for (int64_t first = 0; first < s.batch; first += group) {
      for (int64_t step = 0; step < s.count; ++step) {
        const int64_t t = s.reverse ? s.count - 1 - step : step;
        const int64_t rows = std::min(s.size[t] - first, group);
        if (rows <= 0) continue;
        const T* seen = hidden + first * size;
        if (mask) {
          for (int64_t k = 0; k < rows * size; ++k) masked.data[k] = seen[k] * mask[first * size + k];
          seen = masked.data;
        }
        work.multiply(seen, rows);
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t row = s.start[t] + first + r;
          T* h = hidden + (first + r) * size;
          T* c = cell + (first + r) * size;
          forward_row<T, Hard>(size, gates + row * 4 * size, work.sums.data + r * u.width,
                               activations ? activations + row * 4 * size : nullptr, h, c);
          std::memcpy(outputs + row * size, h, size_t(size) * sizeof(T));
          if (cells) std::memcpy(cells + row * size, c, size_t(size) * sizeof(T));
        }
      }
    }
  }
}

// ---- backward

// One sequence's step: from the gradients of h_t and c_t those of its gates, d_gates, and of c_{t-1}, which takes the place
// of c_t's. h_t is computed again and put into `hidden`.
template <typename T, bool Hard>
void backward_row(int64_t size, const T* active, const T* cell, const T* before, const T* d_output, T* d_hidden, T* d_cell,
                  T* d_gates, T* hidden) {
  for (int64_t j = 0; j < size; j += lanes<T>) {
    const int64_t some = size - j;
    const V<T> in = get(active + j, some), forget = get(active + size + j, some);
    const V<T> candidate = get(active + 2 * size + j, some), out = get(active + 3 * size + j, some);
    const V<T> flat = hyperbolic_tangent<T>(get(cell + j, some));
    V<T> d_h = get(d_hidden + j, some);
    if (d_output) d_h += get(d_output + j, some);
    const V<T> d_c = get(d_cell + j, some) + d_h * out * (T(1) - flat * flat);
    put(hidden + j, out * flat, some);
    put(d_gates + j, d_c * candidate * slope<T, Hard>(in), some);
    put(d_gates + size + j, d_c * get(before + j, some) * slope<T, Hard>(forget), some);
    put(d_gates + 2 * size + j, d_c * in * (T(1) - candidate * candidate), some);
    put(d_gates + 3 * size + j, d_h * flat * slope<T, Hard>(out), some);
    put(d_cell + j, d_c * forget, some);
  }
}

// d_hidden, d_cell (batch, H): the gradients of the last state, which become those of the first one; that of its h is left
// out unless `to_first`. d_outputs (rows, H) or null. Fills d_gates (rows, 4 H) and hidden (rows, H), h of every step.
template <typename T, bool Hard>
void run_backward(const Sequences& s, const T* activations, const T* cells, const T* first_cell, const T* weight, const T* mask,
                  const T* d_outputs, T* d_hidden, T* d_cell, T* d_gates, T* hidden, int to_first, int threads) {
  const Shares shares(s, threads);
  const int64_t size = s.hidden, group = shares.group, earlier = s.reverse ? 1 : -1;
  Panels<T> u(4 * size, size);
#pragma omp parallel num_threads(shares.threads)
  {
    Workspace<T> work(u, 4 * size);
#pragma omp for schedule(static)
    for (int64_t p = 0; p < u.count; ++p) u.fill(p, weight, false);
#pragma omp for schedule(static)
    for (int64_t first = 0; first < s.batch; first += group) {
      for (int64_t step = s.count - 1; step >= 0; --step) {
        const int64_t t = s.reverse ? s.count - 1 - step : step;
        const int64_t rows = std::min(s.size[t] - first, group), others = step > 0 ? s.size[t + earlier] : 0;
        if (rows <= 0) continue;
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t place = first + r, row = s.start[t] + place;
          const T* before = place < others ? cells + (s.start[t + earlier] + place) * size : first_cell + place * size;
          backward_row<T, Hard>(size, activations + row * 4 * size, cells + row * size, before,
                                d_outputs ? d_outputs + row * size : nullptr, d_hidden + place * size, d_cell + place * size,
                                d_gates + row * 4 * size, hidden + row * size);
        }
        if (step == 0 && !to_first) continue;
        work.multiply(d_gates + (s.start[t] + first) * 4 * size, rows);
        for (int64_t r = 0; r < rows; ++r) {
          T* target = d_hidden + (first + r) * size;
          const T* factor = mask ? mask + (first + r) * size : nullptr;
          for (int64_t j = 0; j < size; ++j) target[j] = work.sums.data[r * u.width + j] * (factor ? factor[j] : T(1));
        }
      }
    }
  }
}

}  // namespace

#define EXPORT(name, T)                                                                                                    \
  extern "C" void recurrence_forward_##name(const Sequences* s, const T* gates, const T* weight, const T* mask, T* hidden, \
                                            T* cell, T* outputs, T* cells, T* activations, int threads) {                  \
    auto run = s->hard ? run_forward<T, true> : run_forward<T, false>;                                                     \
    run(*s, gates, weight, mask, hidden, cell, outputs, cells, activations, threads);                                      \
  }                                                                                                                        \
  extern "C" void recurrence_backward_##name(const Sequences* s, const T* activations, const T* cells,                     \
                                             const T* first_cell, const T* weight, const T* mask, const T* d_outputs,      \
                                             T* d_hidden, T* d_cell, T* d_gates, T* hidden, int to_first, int threads) {   \
    auto run = s->hard ? run_backward<T, true> : run_backward<T, false>;                                                   \
    run(*s, activations, cells, first_cell, weight, mask, d_outputs, d_hidden, d_cell, d_gates, hidden, to_first,          \
        threads);                                                                                                          \
  }
EXPORT(float32, float)
EXPORT(float64, double)
