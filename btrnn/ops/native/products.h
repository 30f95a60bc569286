// The products of the native kernels: small matrix products whose operands are read through tables of offsets, with vectors
// along the columns or along what stands behind the contracted entries. A C++ header, compiled with those files alone.

#pragma once

#include <cstdint>
#include <cstring>
#include <new>

namespace {

constexpr int64_t kVectorBytes = VECTOR_BYTES;  // the processor's, given by the compiler's command line
constexpr int kRows = kVectorBytes == 64 ? 8 : 6;  // of a block, whose sums stay in 32 registers, or in 16

template <typename T>
struct Vector;
template <>
struct Vector<float> {
  typedef float type __attribute__((vector_size(kVectorBytes), aligned(4), may_alias));
  typedef int32_t places __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Vector<double> {
  typedef double type __attribute__((vector_size(kVectorBytes), aligned(8), may_alias));
  typedef int64_t places __attribute__((vector_size(kVectorBytes)));
};
template <typename T>
constexpr int64_t lanes = kVectorBytes / int64_t(sizeof(T));

template <typename T>
int64_t padded(int64_t length) {
  return (length + lanes<T> - 1) / lanes<T> * lanes<T>;
}

template <typename T>
struct Buffer {  // aligned to vectors, zero
  explicit Buffer(int64_t length)
      : data(static_cast<T*>(::operator new(size_t(length ? length : 1) * sizeof(T), std::align_val_t(kVectorBytes)))) {
    std::memset(data, 0, size_t(length) * sizeof(T));
  }
  ~Buffer() { ::operator delete(data, std::align_val_t(kVectorBytes)); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* data;
};

// Where the rows of a result stand: at equal distances.
struct Even {
  int64_t stride;
  int64_t operator()(int64_t row) const { return row * stride; }
};

// Or at tabulated places.
struct Listed {
  const int32_t* offset;
  int64_t operator()(int64_t row) const { return offset[row]; }
};

// Where vectors of b and c stand: v * step apart. Two blocks of one vector each are multiplied as one of two.
struct Steps {
  int64_t b, c;
};

// c[m, :] = or += sum_k a[row[m] + depth[k]] b[k, :] for Rows rows and Vectors vectors of columns, held in registers.
template <typename T, int Rows, int Vectors, bool Add, typename Place>
inline void block(const T* a, const int32_t* row, const int32_t* depth, int64_t length, const T* b, int64_t b_stride, T* c,
                  Place place, Steps step, int64_t first, int valid) {
  using V = typename Vector<T>::type;
  const T* pointer[Rows];
  for (int m = 0; m < Rows; ++m) pointer[m] = a + row[m < valid ? m : valid - 1];
  V sum[Rows][Vectors] = {};
  for (int64_t k = 0; k < length; ++k) {
    const int64_t offset = depth[k];
    V right[Vectors];
    for (int v = 0; v < Vectors; ++v) right[v] = *reinterpret_cast<const V*>(b + k * b_stride + v * step.b);
    for (int m = 0; m < Rows; ++m) {
      const T left = pointer[m][offset];
      for (int v = 0; v < Vectors; ++v) sum[m][v] += left * right[v];
    }
  }
  for (int m = 0; m < valid; ++m) {
    for (int v = 0; v < Vectors; ++v) {
      V* target = reinterpret_cast<V*>(c + place(first + m) + v * step.c);
      *target = Add ? *target + sum[m][v] : sum[m][v];
    }
  }
}

template <typename T, int Vectors, bool Add, typename Place>
void multiply_columns(const T* a, const int32_t* row, int64_t rows, const int32_t* depth, int64_t length, const T* b,
                      int64_t b_stride, T* c, Place place, Steps step) {
  int64_t m = 0;
  for (; rows - m > 4; m += kRows) {
    const int valid = rows - m < kRows ? int(rows - m) : kRows;
    block<T, kRows, Vectors, Add>(a, row + m, depth, length, b, b_stride, c, place, step, m, valid);
  }
  if (m < rows) {
    block<T, 4, Vectors, Add>(a, row + m, depth, length, b, b_stride, c, place, step, m, int(rows - m));
  }
}

// c (rows, vectors) = or += a (gathered) times b (length, vectors).
template <typename T, bool Add, typename Place>
void multiply(const T* a, const int32_t* row, int64_t rows, const int32_t* depth, int64_t length, const T* b,
              int64_t b_stride, int64_t vectors, T* c, Place place, Steps step = {lanes<T>, lanes<T>}) {
  int64_t n = 0;
  for (; n + 2 <= vectors; n += 2) {
    multiply_columns<T, 2, Add>(a, row, rows, depth, length, b + n * step.b, b_stride, c + n * step.c, place, step);
  }
  if (n < vectors) {
    multiply_columns<T, 1, Add>(a, row, rows, depth, length, b + n * step.b, b_stride, c + n * step.c, place, step);
  }
}

// Some numbers, at most a vector of them; zeros behind.
template <typename T>
inline typename Vector<T>::type load(const T* from, int64_t some) {
  typename Vector<T>::type result = {};
  std::memcpy(&result, from, size_t(some) * sizeof(T));
  return result;
}

// c[place[n], :] = or += sum_k m[k, n] a[depth[k], :] for at most 4 columns n and Vectors vectors, the last of `last` numbers.
template <typename T, int Vectors, bool Add, bool Whole>
inline void inner_block(const T* a, const int32_t* depth, int64_t length, const T* m, int64_t m_stride, T* c,
                        const int32_t* place, int valid, int64_t last) {
  using V = typename Vector<T>::type;
  V sum[4][Vectors] = {};
  for (int64_t k = 0; k < length; ++k) {
    V left[Vectors];
    for (int v = 0; v < Vectors; ++v) {
      const T* from = a + depth[k] + v * lanes<T>;
      left[v] = Whole ? *reinterpret_cast<const V*>(from) : load(from, last);
    }
    for (int n = 0; n < 4; ++n) {
      for (int v = 0; v < Vectors; ++v) sum[n][v] += left[v] * m[k * m_stride + n];
    }
  }
  for (int n = 0; n < valid; ++n) {
    for (int v = 0; v < Vectors; ++v) {
      T* target = c + place[n] + v * lanes<T>;
      const V total = Add ? sum[n][v] + (Whole ? *reinterpret_cast<V*>(target) : load(target, last)) : sum[n][v];
      std::memcpy(target, &total, Whole ? sizeof(V) : size_t(last) * sizeof(T));
    }
  }
}

// The same for all columns and runs of `inner` numbers. Rows of m are padded to four columns or more.
template <typename T, bool Add>
void inner_multiply(const T* a, const int32_t* depth, int64_t length, const T* m, int64_t m_stride, int64_t columns, T* c,
                    const int32_t* place, int64_t inner) {
  for (int64_t n = 0; n < columns; n += 4) {
    const int valid = columns - n < 4 ? int(columns - n) : 4;
    int64_t i = 0;
    for (; i + 6 * lanes<T> <= inner; i += 6 * lanes<T>) {
      inner_block<T, 6, Add, true>(a + i, depth, length, m + n, m_stride, c + i, place + n, valid, 0);
    }
    for (; i + 2 * lanes<T> <= inner; i += 2 * lanes<T>) {
      inner_block<T, 2, Add, true>(a + i, depth, length, m + n, m_stride, c + i, place + n, valid, 0);
    }
    for (; i + lanes<T> <= inner; i += lanes<T>) {
      inner_block<T, 1, Add, true>(a + i, depth, length, m + n, m_stride, c + i, place + n, valid, 0);
    }
    if (i < inner) inner_block<T, 1, Add, false>(a + i, depth, length, m + n, m_stride, c + i, place + n, valid, inner - i);
  }
}

// sum[k, n] (vectors, not added up yet) += a[depth[k], i] d[place[n], i] for all i, four by four.
template <typename T>
void inner_outer(const T* a, const int32_t* depth, int64_t length, const T* d, const int32_t* place, int64_t columns,
                 int64_t inner, T* sums) {
  using V = typename Vector<T>::type;
  for (int64_t k = 0; k < length; k += 4) {
    for (int64_t n = 0; n < columns; n += 4) {
      const T *left[4], *right[4];
      V sum[4][4], x[4], y[4];
      for (int64_t q = 0; q < 4; ++q) {  // the last again where there are less than four
        left[q] = a + depth[k + q < length ? k + q : length - 1];
        right[q] = d + place[n + q < columns ? n + q : columns - 1];
        for (int64_t r = 0; r < 4; ++r) sum[q][r] = V{};
      }
      const auto add = [&] {
        for (int q = 0; q < 4; ++q) {
          for (int r = 0; r < 4; ++r) sum[q][r] += x[q] * y[r];
        }
      };
      int64_t i = 0;
      for (; i + lanes<T> <= inner; i += lanes<T>) {
        for (int q = 0; q < 4; ++q) x[q] = *reinterpret_cast<const V*>(left[q] + i);
        for (int q = 0; q < 4; ++q) y[q] = *reinterpret_cast<const V*>(right[q] + i);
        add();
      }
      if (i < inner) {
        for (int q = 0; q < 4; ++q) x[q] = load(left[q] + i, inner - i);
        for (int q = 0; q < 4; ++q) y[q] = load(right[q] + i, inner - i);
        add();
      }
      for (int64_t q = 0; q < 4 && k + q < length; ++q) {
        for (int64_t r = 0; r < 4 && n + r < columns; ++r) {
          V* total = reinterpret_cast<V*>(sums + ((k + q) * columns + n + r) * lanes<T>);
          *total += sum[q][r];
        }
      }
    }
  }
}

// A square of one vector a row, turned: out[i, :] = in[:, i]. Blocks off the diagonal are swapped, the largest first.
template <typename T>
void transpose(const T* in, int64_t in_stride, T* out) {
  using V = typename Vector<T>::type;
  constexpr int64_t size = lanes<T>;
  V rows[size];
  for (int64_t i = 0; i < size; ++i) rows[i] = *reinterpret_cast<const V*>(in + i * in_stride);
  for (int64_t step = size / 2; step > 0; step /= 2) {
    typename Vector<T>::places low, high;
    for (int64_t j = 0; j < size; ++j) {
      low[j] = j & step ? size + j - step : j;
      high[j] = j & step ? size + j : j + step;
    }
    for (int64_t i = 0; i < size; ++i) {
      if (i & step) continue;
      const V upper = rows[i], lower = rows[i + step];
      rows[i] = __builtin_shuffle(upper, lower, low);
      rows[i + step] = __builtin_shuffle(upper, lower, high);
    }
  }
  for (int64_t i = 0; i < size; ++i) *reinterpret_cast<V*>(out + i * size) = rows[i];
}

}  // namespace
