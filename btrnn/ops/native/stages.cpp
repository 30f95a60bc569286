// The leading stages of a block-term or tensor-train product, a tile of the input at a time, so that what lies between
// two stages never leaves the core's cache. btrnn/ops/native/stages.py calls this; btrnn/ops/plan.py chooses the stages.
//
// A stage multiplies the tile's tensor by one matrix a block: out[r, c] = sum_k in[row_offset[r] + depth_offset[k]] M[k, c].
// The offset tables stand for any order of the axes, so nothing is ever transposed. Vectors lie along the columns, and rows
// of `out` are padded to whole ones. With `inner`, every entry is a run of so many neighbours, which the vectors lie along:
// out[r, c, i] = sum_k in[row_offset[r] + depth_offset[k] + i] M[k, c], without padding.
// The backward pass computes the stages' outputs again instead of keeping them.

#include <omp.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "products.h"

// What the caller describes; stages.py holds the same fields in the same order.
template <typename T>
struct Stage {
  int64_t rows, depth, columns, inner;  // inner is 0 where vectors lie along the columns
  const int32_t* row_offset;    // (rows)
  const int32_t* depth_offset;  // (depth)
  const T* matrix;              // (blocks, depth, columns)
  T* gradient;                  // the same, or null in the forward pass
};

namespace {

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
    for (int64_t s = 0; s < count; ++s) matrices.push_back(std::make_unique<Matrices<T>>(stages[s], blocks));
    for (int64_t s = 0; s < count; ++s) {
      if (stages[s].columns > longest) longest = stages[s].columns;
      if (stages[s].depth > longest) longest = stages[s].depth;
    }
    for (int64_t k = 0; k < longest; ++k) straight_offsets.push_back(int32_t(k));
  }

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
    forward_rows<Add>(s, block, in, out, 0, stages[s].rows);
  }

  // Some rows of it.
  template <bool Add>
  void forward_rows(int64_t s, int64_t block, const T* in, T* out, int64_t first, int64_t rows) const {
    const Stage<T>& stage = stages[s];
    const Matrices<T>& m = *matrices[size_t(s)];
    const T* matrix = m.straight.data + block * m.size;
    for (int64_t r = first; stage.inner && r < first + rows; ++r) {
      inner_multiply<T, Add>(in + stage.row_offset[r], stage.depth_offset, stage.depth, matrix, m.width, stage.columns,
                             out + r * stage.columns * stage.inner, m.run_offset.data(), stage.inner);
    }
    if (stage.inner) return;
    multiply<T, Add>(in, stage.row_offset + first, rows, stage.depth_offset, stage.depth, matrix, m.width,
                     m.width / lanes<T>, out + first * m.width, Even{m.width});
  }

  // Whether two blocks of the first stage, which read the same, are multiplied at once: each has one vector of columns.
  bool shares() const { return count > 1 && !stages[0].inner && matrices[0]->width == lanes<T>; }

  // The first stage of some blocks that follow one another, unless it is the last one too; `out` has a place for each.
  // Meanwhile, `ahead` numbers from `next` on are fetched: the processor alone would be too late for the next tile.
  void forward_first(int64_t block, int64_t some, const T* x, T* out, const T* next, int64_t ahead) const {
    if (count == 1) return;
    const Stage<T>& stage = stages[0];
    const Matrices<T>& m = *matrices[0];
    const int64_t step = stage.inner ? 1 : 32;
    for (int64_t r = 0; r < stage.rows; r += step) {
      const int64_t rows = stage.rows - r < step ? stage.rows - r : step;
      const T* end = next + ahead * (r + rows) / stage.rows;
      for (const T* line = next + ahead * r / stage.rows; line < end; line += lanes<T>) __builtin_prefetch(line, 0, 2);
      for (int64_t g = 0; g < some && !shares(); ++g) {
        forward_rows<false>(0, block + g, x, out + g * output_size(0), r, rows);
      }
      if (!shares()) continue;
      multiply<T, false>(x, stage.row_offset + r, rows, stage.depth_offset, stage.depth,
                         m.straight.data + block * m.size, m.width, some, out + r * m.width, Even{m.width},
                         Steps{m.size, output_size(0)});
    }
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
  std::vector<std::unique_ptr<Matrices<T>>> matrices;
  std::vector<int32_t> straight_offsets;
};

// A thread's tensors between the stages; the first for two blocks.
template <typename T>
struct Between {
  explicit Between(const Chain<T>& chain) {
    for (int64_t s = 0; s + 1 < chain.count; ++s) {
      owned.push_back(std::make_unique<Buffer<T>>(chain.output_size(s) * (s ? 1 : 2)));
      data.push_back(owned.back()->data);
    }
    data.push_back(nullptr);  // for a chain of one stage
  }
  std::vector<std::unique_ptr<Buffer<T>>> owned;
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
        if (n % 2 == 0) {
          const int64_t ahead = n == 0 && p + 1 < tiles ? tile : 0;
          chain.forward_first(n, blocks - n < 2 ? 1 : 2, x + p * tile, between.data[0], x + (p + 1) * tile, ahead);
        }
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
  std::vector<std::unique_ptr<Buffer<T>>> sums(static_cast<size_t>(threads));
#pragma omp parallel num_threads(threads)
  {
    const size_t thread = size_t(omp_get_thread_num());
    sums[thread] = std::make_unique<Buffer<T>>(start[size_t(count)]);
    T* sum = sums[thread]->data;
    const Between<T> between(chain), d_between(chain);
    Buffer<T> scratch(chain.scratch_size());
#pragma omp for schedule(static)
    for (int64_t p = 0; p < tiles; ++p) {
      const T* tile_x = x + p * tile;
      for (int64_t first = 0; first < blocks; first += 2) {
        const int64_t some = blocks - first < 2 ? 1 : 2;
        const T* d_last = d_out + (sum_blocks ? p : p * blocks + first) * out_size;
        const int64_t ahead = first == 0 && p + 1 < tiles ? tile : 0;
        chain.forward_first(first, some, tile_x, between.data[0], tile_x + tile, ahead);
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
        for (const auto& part : sums) {
          for (int64_t q = 0; part && q < each; ++q) total += part->data[start[size_t(s)] + row * width + c * each + q];
        }
        stages[s].gradient[row * columns + c] = total;
      }
    }
  }
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
