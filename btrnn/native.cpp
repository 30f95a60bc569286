// The leading stages of a block-term or tensor-train product, a tile of the input at a time, so that what lies between
// two stages never leaves the core's cache. btrnn/native.py compiles and calls this; btrnn/planning.py chooses the stages.
//
// A stage multiplies the tile's tensor by one matrix a block: out[r, c] = sum_k in[row_offset[r] + depth_offset[k]] M[k, c].
// The offset tables stand for any order of the axes, so nothing is ever transposed. Rows of `out` are padded to whole
// vectors. The backward pass computes the stages' outputs again instead of keeping them.

#include <omp.h>

#include <cstdint>
#include <cstring>
#include <new>
#include <vector>

namespace {

constexpr int64_t kVectorBytes = 64;

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

}  // namespace

// What the caller describes; native.py holds the same fields in the same order.
template <typename T>
struct Stage {
  int64_t rows, depth, columns;
  const int32_t* row_offset;    // (rows)
  const int32_t* depth_offset;  // (depth)
  const T* matrix;              // (blocks, depth, columns)
  T* gradient;                  // the same, or null in the forward pass
};

namespace {

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

// c[m, :] = or += sum_k a[row[m] + depth[k]] b[k, :] for Rows rows and Vectors vectors of columns, held in registers.
template <typename T, int Rows, int Vectors, bool Add, typename Place>
inline void block(const T* a, const int32_t* row, const int32_t* depth, int64_t length, const T* b, int64_t b_stride, T* c,
                  Place place, int64_t first, int valid) {
  using V = typename Vector<T>::type;
  const T* pointer[Rows];
  for (int m = 0; m < Rows; ++m) pointer[m] = a + row[m < valid ? m : valid - 1];
  V sum[Rows][Vectors] = {};
  for (int64_t k = 0; k < length; ++k) {
    const int64_t offset = depth[k];
    V right[Vectors];
    for (int v = 0; v < Vectors; ++v) right[v] = *reinterpret_cast<const V*>(b + k * b_stride + v * lanes<T>);
    for (int m = 0; m < Rows; ++m) {
      const T left = pointer[m][offset];
      for (int v = 0; v < Vectors; ++v) sum[m][v] += left * right[v];
    }
  }
  for (int m = 0; m < valid; ++m) {
    for (int v = 0; v < Vectors; ++v) {
      V* target = reinterpret_cast<V*>(c + place(first + m) + v * lanes<T>);
      *target = Add ? *target + sum[m][v] : sum[m][v];
    }
  }
}

template <typename T, int Vectors, bool Add, typename Place>
void multiply_columns(const T* a, const int32_t* row, int64_t rows, const int32_t* depth, int64_t length, const T* b,
                      int64_t b_stride, T* c, Place place) {
  int64_t m = 0;
  for (; rows - m > 4; m += 8) {
    const int valid = rows - m < 8 ? int(rows - m) : 8;
    block<T, 8, Vectors, Add>(a, row + m, depth, length, b, b_stride, c, place, m, valid);
  }
  if (m < rows) {
    block<T, 4, Vectors, Add>(a, row + m, depth, length, b, b_stride, c, place, m, int(rows - m));
  }
}

// c (rows, columns padded to vectors) = or += a (gathered) times b (length, columns padded).
template <typename T, bool Add, typename Place>
void multiply(const T* a, const int32_t* row, int64_t rows, const int32_t* depth, int64_t length, const T* b, int64_t columns,
              T* c, Place place) {
  const int64_t width = lanes<T>;
  int64_t n = 0;
  for (; n + 2 * width <= columns; n += 2 * width) {
    multiply_columns<T, 2, Add>(a, row, rows, depth, length, b + n, columns, c + n, place);
  }
  if (n < columns) multiply_columns<T, 1, Add>(a, row, rows, depth, length, b + n, columns, c + n, place);
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

inline bool adjacent(const int32_t* offset, int64_t count) {  // whether offsets follow one another
  for (int64_t q = 1; q < count; ++q) {
    if (offset[q] != offset[0] + q) return false;
  }
  return true;
}

// The stages' matrices with padded rows, as they are and transposed, for all blocks.
template <typename T>
struct Matrices {
  Matrices(const Stage<T>& stage, int64_t blocks)
      : width(padded<T>(stage.columns)),
        height(padded<T>(stage.depth)),
        size(stage.depth * width),
        transposed_size(stage.columns * height),
        straight(blocks * size),
        transposed(blocks * transposed_size) {
    for (int64_t k = 0; k < stage.depth; ++k) row_offset.push_back(int32_t(k * width));
    for (int64_t r = 0; r < 8; ++r) column_offset.push_back(int32_t(r * width));
    for (int64_t n = 0; n < blocks; ++n) {
      for (int64_t k = 0; k < stage.depth; ++k) {
        for (int64_t c = 0; c < stage.columns; ++c) {
          const T value = stage.matrix[(n * stage.depth + k) * stage.columns + c];
          straight.data[n * size + k * width + c] = value;
          transposed.data[n * transposed_size + c * height + k] = value;
        }
      }
    }
  }
  int64_t width, height, size, transposed_size;
  Buffer<T> straight, transposed;
  std::vector<int32_t> row_offset;     // of the rows of `straight`
  std::vector<int32_t> column_offset;  // of eight rows of what the stage puts out
};

template <typename T>
struct Chain {
  Chain(const Stage<T>* all_stages, int64_t num_stages, int64_t num_blocks)
      : stages(all_stages), count(num_stages), blocks(num_blocks) {
    matrices.reserve(size_t(count));
    for (int64_t s = 0; s < count; ++s) matrices.emplace_back(new Matrices<T>(stages[s], blocks));
    for (int64_t s = 0; s < count; ++s) {
      if (stages[s].columns > longest) longest = stages[s].columns;
      if (stages[s].depth > longest) longest = stages[s].depth;
    }
    for (int64_t k = 0; k < longest; ++k) straight_offsets.push_back(int32_t(k));
  }
  ~Chain() {
    for (Matrices<T>* matrix : matrices) delete matrix;
  }
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;

  int64_t output_size(int64_t s) const { return stages[s].rows * matrices[size_t(s)]->width; }

  // One stage of one block: `in` and `out` are the tile's tensors.
  template <bool Add>
  void forward(int64_t s, int64_t block, const T* in, T* out) const {
    const Matrices<T>& m = *matrices[size_t(s)];
    multiply<T, Add>(in, stages[s].row_offset, stages[s].rows, stages[s].depth_offset, stages[s].depth,
                     m.straight.data + block * m.size, m.width, out, Even{m.width});
  }

  // gradient (depth, padded columns) += in^T d_out
  void backward_matrix(int64_t s, const T* in, const T* d_out, T* gradient) const {
    const int64_t width = matrices[size_t(s)]->width;
    multiply<T, true>(in, stages[s].depth_offset, stages[s].depth, stages[s].row_offset, stages[s].rows, d_out, width,
                      gradient, Even{width});
  }

  // d_in = or += d_out M^T, put where forward read it. `scratch` holds `scratch_size()` numbers.
  template <bool Add>
  void backward_input(int64_t s, int64_t block, const T* d_out, T* d_in, T* scratch) const {
    const Stage<T>& stage = stages[s];
    const Matrices<T>& m = *matrices[size_t(s)];
    int64_t r = 0;
    for (; stage.rows - r >= lanes<T> && adjacent(stage.row_offset + r, lanes<T>); r += lanes<T>) {  // a vector of rows at once
      for (int64_t c = 0; c < m.width; c += lanes<T>) transpose(d_out + r * m.width + c, m.width, scratch + c * lanes<T>);
      multiply<T, Add>(m.straight.data + block * m.size, m.row_offset.data(), stage.depth, straight_offsets.data(),
                       stage.columns, scratch, lanes<T>, d_in + stage.row_offset[r], Listed{stage.depth_offset});
    }
    for (; r < stage.rows; r += 8) {
      const int64_t some = stage.rows - r < 8 ? stage.rows - r : 8;
      multiply<T, false>(d_out + r * m.width, m.column_offset.data(), some, straight_offsets.data(), stage.columns,
                         m.transposed.data + block * m.transposed_size, m.height, scratch, Even{m.height});
      for (int64_t q = 0; q < some; ++q) {
        T* target = d_in + stage.row_offset[r + q];
        const T* source = scratch + q * m.height;
        for (int64_t k = 0; k < stage.depth; ++k) {
          T& place = target[stage.depth_offset[k]];
          place = Add ? place + source[k] : source[k];
        }
      }
    }
  }

  int64_t scratch_size() const { return (lanes<T> > 8 ? lanes<T> : 8) * padded<T>(longest); }

  const Stage<T>* stages;
  int64_t count, blocks;
  int64_t longest = 0;
  std::vector<Matrices<T>*> matrices;
  std::vector<int32_t> straight_offsets;
};

// out (tiles, blocks, rows, padded columns of the last stage), or with `sum_blocks` (tiles, rows, padded columns) over all blocks
template <typename T>
void run_forward(const Stage<T>* stages, int64_t count, int64_t blocks, int64_t tiles, int64_t tile, int sum_blocks, const T* x,
                 T* out, int threads) {
  const Chain<T> chain(stages, count, blocks);
  const int64_t out_size = chain.output_size(count - 1);
#pragma omp parallel num_threads(threads)
  {
    std::vector<Buffer<T>*> between;
    for (int64_t s = 0; s + 1 < count; ++s) between.push_back(new Buffer<T>(chain.output_size(s)));
#pragma omp for schedule(static)
    for (int64_t p = 0; p < tiles; ++p) {
      for (int64_t n = 0; n < blocks; ++n) {
        const T* in = x + p * tile;
        for (int64_t s = 0; s + 1 < count; ++s) {
          chain.template forward<false>(s, n, in, between[size_t(s)]->data);
          in = between[size_t(s)]->data;
        }
        T* target = out + (sum_blocks ? p : p * blocks + n) * out_size;
        if (sum_blocks && n > 0)
          chain.template forward<true>(count - 1, n, in, target);
        else
          chain.template forward<false>(count - 1, n, in, target);
      }
    }
    for (Buffer<T>* buffer : between) delete buffer;
  }
}

// Fills each stage's gradient, and d_x (tiles, tile) unless it is null. d_out is laid out as out above.
template <typename T>
void run_backward(const Stage<T>* stages, int64_t count, int64_t blocks, int64_t tiles, int64_t tile, int sum_blocks,
                  const T* x, const T* d_out, T* d_x, int threads) {
  const Chain<T> chain(stages, count, blocks);
  const int64_t out_size = chain.output_size(count - 1);
  std::vector<int64_t> start(size_t(count) + 1, 0);  // of each stage's padded gradients in a thread's sum
  for (int64_t s = 0; s < count; ++s) start[size_t(s) + 1] = start[size_t(s)] + blocks * chain.matrices[size_t(s)]->size;
  std::vector<Buffer<T>*> sums(size_t(threads), nullptr);
#pragma omp parallel num_threads(threads)
  {
    const size_t thread = size_t(omp_get_thread_num());
    sums[thread] = new Buffer<T>(start[size_t(count)]);
    T* sum = sums[thread]->data;
    std::vector<Buffer<T>*> between, d_between;
    for (int64_t s = 0; s + 1 < count; ++s) {
      between.push_back(new Buffer<T>(chain.output_size(s)));
      d_between.push_back(new Buffer<T>(chain.output_size(s)));
    }
    Buffer<T> scratch(chain.scratch_size());
#pragma omp for schedule(static)
    for (int64_t p = 0; p < tiles; ++p) {
      for (int64_t n = 0; n < blocks; ++n) {
        const T* in = x + p * tile;
        for (int64_t s = 0; s + 1 < count; ++s) {
          chain.template forward<false>(s, n, in, between[size_t(s)]->data);
          in = between[size_t(s)]->data;
        }
        const T* d_current = d_out + (sum_blocks ? p : p * blocks + n) * out_size;
        for (int64_t s = count - 1; s >= 0; --s) {
          in = s > 0 ? between[size_t(s) - 1]->data : x + p * tile;
          chain.backward_matrix(s, in, d_current, sum + start[size_t(s)] + n * chain.matrices[size_t(s)]->size);
          if (s > 0) {
            T* d_in = d_between[size_t(s) - 1]->data;
            chain.template backward_input<false>(s, n, d_current, d_in, scratch.data);
            d_current = d_in;
          } else if (d_x && n == 0) {
            chain.template backward_input<false>(s, n, d_current, d_x + p * tile, scratch.data);
          } else if (d_x) {
            chain.template backward_input<true>(s, n, d_current, d_x + p * tile, scratch.data);
          }
        }
      }
    }
    for (Buffer<T>* buffer : between) delete buffer;
    for (Buffer<T>* buffer : d_between) delete buffer;
  }
  for (int64_t s = 0; s < count; ++s) {  // in the threads' order: the same threads give the same bits
    const int64_t width = chain.matrices[size_t(s)]->width, columns = stages[s].columns;
    for (int64_t row = 0; row < blocks * stages[s].depth; ++row) {
      for (int64_t c = 0; c < columns; ++c) {
        T total = 0;
        for (const Buffer<T>* part : sums) {
          if (part) total += part->data[start[size_t(s)] + row * width + c];
        }
        stages[s].gradient[row * columns + c] = total;
      }
    }
  }
  for (Buffer<T>* part : sums) delete part;
}

}  // namespace

#define EXPORT(name, T)                                                                                                   \
  extern "C" void forward_##name(const Stage<T>* stages, int64_t count, int64_t blocks, int64_t tiles, int64_t tile,      \
                                 int sum_blocks, const T* x, T* out, int threads) {                                              \
    run_forward<T>(stages, count, blocks, tiles, tile, sum_blocks, x, out, threads);                                             \
  }                                                                                                                       \
  extern "C" void backward_##name(const Stage<T>* stages, int64_t count, int64_t blocks, int64_t tiles, int64_t tile,     \
                                  int sum_blocks, const T* x, const T* d_out, T* d_x, int threads) {                             \
    run_backward<T>(stages, count, blocks, tiles, tile, sum_blocks, x, d_out, d_x, threads);                                     \
  }
EXPORT(float32, float)
EXPORT(float64, double)
