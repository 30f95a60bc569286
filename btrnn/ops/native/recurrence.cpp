// The recurrence of an LSTM over whole sequences: btrnn/ops/lstm_fast.py says what it computes, and calls this.
// Gates are i, f, g, o.

#include "recurrence.h"

namespace {

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
        work.multiply(mask_rows(hidden + first * size, mask ? mask + first * size : nullptr, rows * size, masked.data), rows);
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
