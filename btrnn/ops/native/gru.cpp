// The recurrence of a GRU over whole sequences: btrnn/ops/gru_fast.py says what it computes, and calls this.
// Gates are r, z, n.

#include "recurrence.h"

namespace {

// ---- forward

// One sequence's step: W x + b is in `from`, U h_{t-1} in `sums`. `hidden` is h before and after; r, z and u_n + b_hn go to
// `kept`, and n to `news`, unless they are null. `bias` is b_hn or null.
template <typename T, bool Hard>
void forward_row(int64_t size, const T* from, const T* sums, const T* bias, T* kept, T* news, T* hidden) {
  for (int64_t j = 0; j < size; j += lanes<T>) {
    const int64_t some = size - j;
    const auto sum = [&](int64_t q) { return get(from + q * size + j, some) + get(sums + q * size + j, some); };
    const V<T> reset = gate<T, Hard>(sum(0)), update = gate<T, Hard>(sum(1));
    V<T> product = get(sums + 2 * size + j, some);
    if (bias) product += get(bias + j, some);
    const V<T> now = hyperbolic_tangent<T>(get(from + 2 * size + j, some) + reset * product);
    put(hidden + j, now + update * (get(hidden + j, some) - now), some);
    if (!kept) continue;
    put(kept + j, reset, some);
    put(kept + size + j, update, some);
    put(kept + 2 * size + j, product, some);
    put(news + j, now, some);
  }
}

// hidden (batch, H): the first state, which becomes the last. outputs (rows, H). bias (H) and mask (batch, H) or null.
// kept (rows, 3 H) and news (rows, H) are for the backward pass, or null.
template <typename T, bool Hard>
void run_forward(const Sequences& s, const T* gates, const T* weight, const T* bias, const T* mask, T* hidden, T* outputs,
                 T* kept, T* news, int threads) {
  const Shares shares(s, threads);
  const int64_t size = s.hidden, group = shares.group;
  Panels<T> u(size, 3 * size);
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
          forward_row<T, Hard>(size, gates + row * 3 * size, work.sums.data + r * u.width, bias,
                               kept ? kept + row * 3 * size : nullptr, kept ? news + row * size : nullptr, h);
          std::memcpy(outputs + row * size, h, size_t(size) * sizeof(T));
        }
      }
    }
  }
}

// ---- backward

// One sequence's step: from the gradient of h_t those of r', z' and u_n, d_sums, of n', d_new, and of h_{t-1} but for what goes
// through U, which takes the place of h_t's.
template <typename T, bool Hard>
void backward_row(int64_t size, const T* kept, const T* news, const T* before, const T* d_output, T* d_hidden, T* d_sums,
                  T* d_new) {
  for (int64_t j = 0; j < size; j += lanes<T>) {
    const int64_t some = size - j;
    const V<T> reset = get(kept + j, some), update = get(kept + size + j, some);
    const V<T> product = get(kept + 2 * size + j, some), now = get(news + j, some);
    V<T> d_h = get(d_hidden + j, some);
    if (d_output) d_h += get(d_output + j, some);
    const V<T> d_n = d_h * (T(1) - update) * (T(1) - now * now);
    put(d_sums + j, d_n * product * slope<T, Hard>(reset), some);
    put(d_sums + size + j, d_h * (get(before + j, some) - now) * slope<T, Hard>(update), some);
    put(d_sums + 2 * size + j, d_n * reset, some);
    put(d_new + j, d_n, some);
    put(d_hidden + j, d_h * update, some);
  }
}

// d_hidden (batch, H): the gradient of the last state, which becomes that of the first one, unless `to_first` is 0. hidden
// (rows, H): h of every step. d_outputs (rows, H) or null. Fills d_sums (rows, 3 H) and d_new (rows, H).
template <typename T, bool Hard>
void run_backward(const Sequences& s, const T* hidden, const T* kept, const T* news, const T* first_hidden, const T* weight,
                  const T* mask, const T* d_outputs, T* d_hidden, T* d_sums, T* d_new, int to_first, int threads) {
  const Shares shares(s, threads);
  const int64_t size = s.hidden, group = shares.group, earlier = s.reverse ? 1 : -1;
  Panels<T> u(3 * size, size);
#pragma omp parallel num_threads(shares.threads)
  {
    Workspace<T> work(u, 3 * size);
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
          const T* before = place < others ? hidden + (s.start[t + earlier] + place) * size : first_hidden + place * size;
          backward_row<T, Hard>(size, kept + row * 3 * size, news + row * size, before,
                                d_outputs ? d_outputs + row * size : nullptr, d_hidden + place * size, d_sums + row * 3 * size,
                                d_new + row * size);
        }
        if (step == 0 && !to_first) continue;
        work.multiply(d_sums + (s.start[t] + first) * 3 * size, rows);
        for (int64_t r = 0; r < rows; ++r) {
          T* target = d_hidden + (first + r) * size;
          const T* factor = mask ? mask + (first + r) * size : nullptr;
          for (int64_t j = 0; j < size; ++j) target[j] += work.sums.data[r * u.width + j] * (factor ? factor[j] : T(1));
        }
      }
    }
  }
}

}  // namespace

#define EXPORT(name, T)                                                                                                      \
  extern "C" void gru_forward_##name(const Sequences* s, const T* gates, const T* weight, const T* bias, const T* mask,      \
                                     T* hidden, T* outputs, T* kept, T* news, int threads) {                                 \
    auto run = s->hard ? run_forward<T, true> : run_forward<T, false>;                                                       \
    run(*s, gates, weight, bias, mask, hidden, outputs, kept, news, threads);                                                \
  }                                                                                                                          \
  extern "C" void gru_backward_##name(const Sequences* s, const T* hidden, const T* kept, const T* news,                     \
                                      const T* first_hidden, const T* weight, const T* mask, const T* d_outputs,             \
                                      T* d_hidden, T* d_sums, T* d_new, int to_first, int threads) {                         \
    auto run = s->hard ? run_backward<T, true> : run_backward<T, false>;                                                     \
    run(*s, hidden, kept, news, first_hidden, weight, mask, d_outputs, d_hidden, d_sums, d_new, to_first, threads);          \
  }
EXPORT(float32, float)
EXPORT(float64, double)
