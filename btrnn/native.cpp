// The leading stages of a block-term or tensor-train product, a tile of the input at a time, so that what lies between
// two stages never leaves the core's cache. btrnn/native.py compiles and calls this; btrnn/planning.py chooses the stages.
//
// A stage multiplies the tile's tensor by one matrix a block: out[r, c] = sum_k in[row_offset[r] + depth_offset[k]] M[k, c].
// The offset tables stand for any order of the axes, so nothing is ever transposed. Vectors lie along the columns, and rows
// of `out` are padded to whole ones. With `inner`, every entry is a run of so many neighbours, which the vectors lie along:
// out[r, c, i] = sum_k in[row_offset[r] + depth_offset[k] + i] M[k, c], without padding.
// The backward pass computes the stages' outputs again instead of keeping them.

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
  int64_t rows, depth, columns, inner;  // inner is 0 where vectors lie along the columns
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
  for (; rows - m > 4; m += 8) {
    const int valid = rows - m < 8 ? int(rows - m) : 8;
    block<T, 8, Vectors, Add>(a, row + m, depth, length, b, b_stride, c, place, step, m, valid);
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
    for (int64_t c = 0; c < stage.columns; ++c) run_offset.push_back(int32_t(c * stage.inner));
    in_fours = stage.depth % 4 == 0;
    for (int64_t k = 0; in_fours && k < stage.depth; k += 4) in_fours = adjacent(stage.depth_offset + k, 4);
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
  std::vector<int32_t> run_offset;     // of the columns of what it puts out, with `inner`
  bool in_fours;                       // whether the contracted entries stand together by fours
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

  int64_t output_size(int64_t s) const {
    const Stage<T>& stage = stages[s];
    return stage.rows * (stage.inner ? stage.columns * stage.inner : matrices[size_t(s)]->width);
  }

  // Of the sums for the gradient of a block's matrix; with `inner`, whole vectors that are added up at the end.
  int64_t gradient_size(int64_t s) const {
    return stages[s].inner ? stages[s].depth * stages[s].columns * lanes<T> : matrices[size_t(s)]->size;
  }

  // One stage of one block: `in` and `out` are the tile's tensors.
  template <bool Add>
  void forward(int64_t s, int64_t block, const T* in, T* out) const {
    const Stage<T>& stage = stages[s];
    const Matrices<T>& m = *matrices[size_t(s)];
    const T* matrix = m.straight.data + block * m.size;
    for (int64_t r = 0; stage.inner && r < stage.rows; ++r) {
      inner_multiply<T, Add>(in + stage.row_offset[r], stage.depth_offset, stage.depth, matrix, m.width, stage.columns,
                             out + r * stage.columns * stage.inner, m.run_offset.data(), stage.inner);
    }
    if (stage.inner) return;
    multiply<T, Add>(in, stage.row_offset, stage.rows, stage.depth_offset, stage.depth, matrix, m.width,
                     m.width / lanes<T>, out, Even{m.width});
  }

  // Whether two blocks of the first stage, which read the same, are multiplied at once: each has one vector of columns.
  bool shares() const { return count > 1 && !stages[0].inner && matrices[0]->width == lanes<T>; }

  // The first stage of some blocks that follow one another, unless it is the last one too; `out` has a place for each.
  void forward_first(int64_t block, int64_t some, const T* x, T* out) const {
    if (count == 1) return;
    const Stage<T>& stage = stages[0];
    const Matrices<T>& m = *matrices[0];
    if (!shares()) {
      for (int64_t g = 0; g < some; ++g) forward<false>(0, block + g, x, out + g * output_size(0));
      return;
    }
    multiply<T, false>(x, stage.row_offset, stage.rows, stage.depth_offset, stage.depth, m.straight.data + block * m.size,
                       m.width, some, out, Even{m.width}, Steps{m.size, output_size(0)});
  }

  // The stages between the first and the last one; returns what the last one reads.
  const T* forward_between(int64_t block, const T* first_out, T* const* between) const {
    for (int64_t s = 1; s + 1 < count; ++s) {
      forward<false>(s, block, first_out, between[s]);
      first_out = between[s];
    }
    return first_out;
  }

  // The gradient of the first stage's matrices of some blocks, whose d_out stand `d_step` apart.
  void backward_first(int64_t some, const T* x, const T* d_out, int64_t d_step, T* gradient) const {
    if (!shares()) {
      for (int64_t g = 0; g < some; ++g) backward_matrix(0, x, d_out + g * d_step, gradient + g * gradient_size(0));
      return;
    }
    multiply<T, true>(x, stages[0].depth_offset, stages[0].depth, stages[0].row_offset, stages[0].rows, d_out, lanes<T>,
                      some, gradient, Even{lanes<T>}, Steps{d_step, gradient_size(0)});
  }

  // gradient (depth, padded columns), or with `inner` (depth, columns, vector), += in^T d_out
  void backward_matrix(int64_t s, const T* in, const T* d_out, T* gradient) const {
    const Stage<T>& stage = stages[s];
    const Matrices<T>& m = *matrices[size_t(s)];
    for (int64_t r = 0; stage.inner && r < stage.rows; ++r) {
      inner_outer(in + stage.row_offset[r], stage.depth_offset, stage.depth, d_out + r * stage.columns * stage.inner,
                  m.run_offset.data(), stage.columns, stage.inner, gradient);
    }
    if (stage.inner) return;
    multiply<T, true>(in, stage.depth_offset, stage.depth, stage.row_offset, stage.rows, d_out, m.width,
                      m.width / lanes<T>, gradient, Even{m.width});
  }

  // d_in = or += d_out M^T, put where forward read it. `scratch` holds `scratch_size()` numbers.
  template <bool Add>
  void backward_input(int64_t s, int64_t block, const T* d_out, T* d_in, T* scratch) const {
    const Stage<T>& stage = stages[s];
    const Matrices<T>& m = *matrices[size_t(s)];
    int64_t r = 0;
    for (; stage.inner && r < stage.rows; ++r) {
      inner_multiply<T, Add>(d_out + r * stage.columns * stage.inner, m.run_offset.data(), stage.columns,
                             m.transposed.data + block * m.transposed_size, m.height, stage.depth,
                             d_in + stage.row_offset[r], stage.depth_offset, stage.inner);
    }
    for (; stage.rows - r >= lanes<T> && adjacent(stage.row_offset + r, lanes<T>); r += lanes<T>) {  // a vector of rows at once
      for (int64_t c = 0; c < m.width; c += lanes<T>) transpose(d_out + r * m.width + c, m.width, scratch + c * lanes<T>);
      multiply<T, Add>(m.straight.data + block * m.size, m.row_offset.data(), stage.depth, straight_offsets.data(),
                       stage.columns, scratch, lanes<T>, 1, d_in + stage.row_offset[r], Listed{stage.depth_offset});
    }
    for (; r < stage.rows; r += 8) {
      const int64_t some = stage.rows - r < 8 ? stage.rows - r : 8;
      multiply<T, false>(d_out + r * m.width, m.column_offset.data(), some, straight_offsets.data(), stage.columns,
                         m.transposed.data + block * m.transposed_size, m.height, m.height / lanes<T>, scratch,
                         Even{m.height});
      for (int64_t q = 0; q < some; ++q) {
        T* target = d_in + stage.row_offset[r + q];
        const T* source = scratch + q * m.height;
        int64_t k = 0;
        for (; !Add && m.in_fours && k < stage.depth; k += 4) {
          std::memcpy(target + stage.depth_offset[k], source + k, 4 * sizeof(T));
        }
        for (; k < stage.depth; ++k) {
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

// A thread's tensors between the stages; the first for two blocks.
template <typename T>
struct Between {
  explicit Between(const Chain<T>& chain) {
    for (int64_t s = 0; s + 1 < chain.count; ++s) {
      owned.push_back(new Buffer<T>(chain.output_size(s) * (s ? 1 : 2)));
      data.push_back(owned.back()->data);
    }
    data.push_back(nullptr);  // for a chain of one stage
  }
  ~Between() {
    for (Buffer<T>* buffer : owned) delete buffer;
  }
  Between(const Between&) = delete;
  Between& operator=(const Between&) = delete;
  std::vector<Buffer<T>*> owned;
  std::vector<T*> data;
};

// out (tiles, blocks, the last stage's numbers), or with `sum_blocks` (tiles, its numbers) over all blocks
template <typename T>
void run_forward(const Stage<T>* stages, int64_t count, int64_t blocks, int64_t tiles, int64_t tile, int sum_blocks, const T* x,
                 T* out, int threads) {
  const Chain<T> chain(stages, count, blocks);
  const int64_t out_size = chain.output_size(count - 1), first_size = chain.output_size(0);
#pragma omp parallel num_threads(threads)
  {
    const Between<T> between(chain);
#pragma omp for schedule(static)
    for (int64_t p = 0; p < tiles; ++p) {
      for (int64_t n = 0; n < blocks; ++n) {
        if (n % 2 == 0) chain.forward_first(n, blocks - n < 2 ? 1 : 2, x + p * tile, between.data[0]);
        const T* first_out = count > 1 ? between.data[0] + n % 2 * first_size : x + p * tile;
        const T* in = chain.forward_between(n, first_out, between.data.data());
        T* target = out + (sum_blocks ? p : p * blocks + n) * out_size;
        if (sum_blocks && n > 0)
          chain.template forward<true>(count - 1, n, in, target);
        else
          chain.template forward<false>(count - 1, n, in, target);
      }
    }
  }
}

// Fills each stage's gradient, and d_x (tiles, tile) unless it is null. d_out is laid out as out above.
template <typename T>
void run_backward(const Stage<T>* stages, int64_t count, int64_t blocks, int64_t tiles, int64_t tile, int sum_blocks,
                  const T* x, const T* d_out, T* d_x, int threads) {
  const Chain<T> chain(stages, count, blocks);
  const int64_t out_size = chain.output_size(count - 1), first_size = chain.output_size(0);
  const int64_t d_step = count > 1 ? first_size : (sum_blocks ? 0 : out_size);  // between two blocks' first results
  std::vector<int64_t> start(size_t(count) + 1, 0);                             // of each stage's sums in a thread's
  for (int64_t s = 0; s < count; ++s) start[size_t(s) + 1] = start[size_t(s)] + blocks * chain.gradient_size(s);
  std::vector<Buffer<T>*> sums(size_t(threads), nullptr);
#pragma omp parallel num_threads(threads)
  {
    const size_t thread = size_t(omp_get_thread_num());
    sums[thread] = new Buffer<T>(start[size_t(count)]);
    T* sum = sums[thread]->data;
    const Between<T> between(chain), d_between(chain);
    Buffer<T> scratch(chain.scratch_size());
#pragma omp for schedule(static)
    for (int64_t p = 0; p < tiles; ++p) {
      const T* tile_x = x + p * tile;
      for (int64_t first = 0; first < blocks; first += 2) {
        const int64_t some = blocks - first < 2 ? 1 : 2;
        const T* d_last = d_out + (sum_blocks ? p : p * blocks + first) * out_size;
        chain.forward_first(first, some, tile_x, between.data[0]);
        for (int64_t g = 0; count > 1 && g < some; ++g) {
          const int64_t n = first + g;
          const T* first_out = between.data[0] + g * first_size;
          chain.forward_between(n, first_out, between.data.data());
          const T* d_current = d_last + (sum_blocks ? 0 : g * out_size);
          for (int64_t s = count - 1; s > 0; --s) {
            const T* in = s > 1 ? between.data[size_t(s) - 1] : first_out;
            T* d_in = s > 1 ? d_between.data[size_t(s) - 1] : d_between.data[0] + g * first_size;
            chain.backward_matrix(s, in, d_current, sum + start[size_t(s)] + n * chain.gradient_size(s));
            chain.template backward_input<false>(s, n, d_current, d_in, scratch.data);
            d_current = d_in;
          }
        }
        const T* d_first = count > 1 ? d_between.data[0] : d_last;
        chain.backward_first(some, tile_x, d_first, d_step, sum + first * chain.gradient_size(0));
        for (int64_t g = 0; d_x && g < some; ++g) {
          if (first + g == 0)
            chain.template backward_input<false>(0, 0, d_first, d_x + p * tile, scratch.data);
          else
            chain.template backward_input<true>(0, first + g, d_first + g * d_step, d_x + p * tile, scratch.data);
        }
      }
    }
  }
  for (int64_t s = 0; s < count; ++s) {  // in the threads' order: the same threads give the same bits
    const int64_t columns = stages[s].columns, each = stages[s].inner ? lanes<T> : 1;
    const int64_t width = stages[s].inner ? columns * each : chain.matrices[size_t(s)]->width;
    for (int64_t row = 0; row < blocks * stages[s].depth; ++row) {
      for (int64_t c = 0; c < columns; ++c) {
        T total = 0;
        for (const Buffer<T>* part : sums) {
          for (int64_t q = 0; part && q < each; ++q) total += part->data[start[size_t(s)] + row * width + c * each + q];
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
