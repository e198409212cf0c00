// One time step of leaky integrate-and-fire neurons on plain arrays; nothing of TensorFlow.
//
// The equations are those of `cells/lif.py` and `cells/record.py`, operation by operation and in their order, so that the
// results are the same to the last bit: compile without fast-math and without contraction to fused multiply-adds.
//
// Arrays are taken in blocks that stay in the first cache; within a block each line of the equations is a loop of its own,
// which the compiler vectorises. An array may be overwritten in place: `before` and `after` may be the same.

#ifndef KERAS_SPIKING_BP_KERNELS_NEURONS_H_
#define KERAS_SPIKING_BP_KERNELS_NEURONS_H_

#include <algorithm>
#include <cstdint>

namespace keras_spiking_bp {

constexpr int64_t kBlock = 1024;

// The bits of a float and of a bfloat16, its upper half.
typedef uint32_t __attribute__((may_alias)) FloatBits;
typedef uint16_t __attribute__((may_alias)) BFloat16;

inline void Load(const float* from, float* to, int64_t size) { std::copy(from, from + size, to); }

inline void Load(const BFloat16* from, float* to, int64_t size) {
  FloatBits* bits = reinterpret_cast<FloatBits*>(to);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) bits[i] = static_cast<uint32_t>(from[i]) << 16;
}

inline void Store(const float* spikes, float* to, int64_t size) { std::copy(spikes, spikes + size, to); }

inline void Store(const float* spikes, BFloat16* to, int64_t size) {  // they are 0 or 1: nothing is rounded
  const FloatBits* bits = reinterpret_cast<const FloatBits*>(spikes);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) to[i] = static_cast<uint16_t>(bits[i] >> 16);
}

// What a step reads and writes. A missing array is null.
struct Array {
  const float* before = nullptr;
  float* after = nullptr;
};

template <typename Current, typename Spikes>
struct LifStep {
  float beta, threshold, synaptic_beta;
  bool resets_to_zero;
  const Current* current;
  Spikes* spikes;
  float* potential = nullptr;  // before the reset
  Array membrane, synaptic, count, silence, trace;

  // The neurons from `begin` to `end`.
  void Run(int64_t begin, int64_t end) const {
    for (int64_t at = begin; at < end; at += kBlock) Block(at, std::min(kBlock, end - at));
  }

 private:
  void Block(int64_t at, int64_t size) const {
    alignas(64) float p[kBlock], s[kBlock];
    Load(current + at, p, size);
    if (synaptic.after != nullptr) {
      const float* before = synaptic.before + at;
      float* after = synaptic.after + at;
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) after[i] = p[i] = synaptic_beta * before[i] + p[i];
    }
    const float* m = membrane.before + at;
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) p[i] = m[i] + p[i];
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) s[i] = p[i] > threshold ? 1.0f : 0.0f;
    if (potential != nullptr) std::copy(p, p + size, potential + at);
    if (resets_to_zero) {
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) p[i] = p[i] * (1.0f - s[i] * s[i]);
    } else {
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) p[i] = p[i] - threshold * s[i];
    }
    float* m_after = membrane.after + at;
    if (beta == 1.0f) {
      std::copy(p, p + size, m_after);
    } else {
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) m_after[i] = beta * p[i];
    }
    if (count.after != nullptr) {
      const float* before = count.before + at;
      float* after = count.after + at;
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) after[i] = before[i] + s[i];
    }
    if (silence.after != nullptr) {
      const float* before = silence.before + at;
      float* after = silence.after + at;
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) after[i] = (before[i] + 1.0f) * (1.0f - s[i] * s[i]);
    }
    if (trace.after != nullptr) {
      const float* before = trace.before + at;
      float* after = trace.after + at;
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) after[i] = beta * before[i] + s[i];
    }
    Store(s, spikes + at, size);
  }
};

// The derivative of a rate with a surrogate, one step of it: `gradients.eligibility_step`.
struct EligibilityStep {
  float beta, threshold;
  bool resets_to_zero;
  const float *slope, *potential;
  Array slope_sum, carried;

  void Run(int64_t begin, int64_t end) const {
    for (int64_t at = begin; at < end; at += kBlock) Block(at, std::min(kBlock, end - at));
  }

 private:
  void Block(int64_t at, int64_t size) const {
    alignas(64) float e[kBlock], w[kBlock];
    const float *g = slope + at, *u = potential + at, *before = carried.before + at, *sum = slope_sum.before + at;
    float *after = carried.after + at, *sum_after = slope_sum.after + at;
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) e[i] = 1.0f + before[i];
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) w[i] = g[i] * e[i];
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) {
      const float s = resets_to_zero && u[i] > threshold ? 1.0f : 0.0f;
      e[i] = e[i] * (1.0f - s) - e[i] * std::min(threshold * g[i], 1.0f);
    }
    if (beta == 1.0f) {
      std::copy(e, e + size, after);
    } else {
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) after[i] = beta * e[i];
    }
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) sum_after[i] = sum[i] + w[i];
  }
};

}  // namespace keras_spiking_bp

#endif  // KERAS_SPIKING_BP_KERNELS_NEURONS_H_
