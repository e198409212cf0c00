// Time steps of leaky integrate-and-fire neurons on plain arrays, and means over steps; nothing of TensorFlow.
//
// The equations are those of `cells/lif.py` and `cells/record.py`, operation by operation and in their order, so that the
// results are the same to the last bit: compile without fast-math and without contraction to fused multiply-adds.
//
// Arrays are taken in blocks that stay in the first cache; within a block each line of the equations is a loop of its own,
// which the compiler vectorises. An array may be overwritten in place: `before` and `after` may be the same.

#ifndef KERAS_SPIKING_BP_KERNELS_NEURONS_H_
#define KERAS_SPIKING_BP_KERNELS_NEURONS_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

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

inline void Store(const float* spikes, BFloat16* to, int64_t size) {  // they are -1, 0 or 1: nothing is rounded
  const FloatBits* bits = reinterpret_cast<const FloatBits*>(spikes);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) to[i] = static_cast<uint16_t>(bits[i] >> 16);
}

inline void Round(const float* values, BFloat16* to, int64_t size) {  // to the nearest, ties to even
  const FloatBits* bits = reinterpret_cast<const FloatBits*>(values);
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    const FloatBits nearest = (bits[i] + 0x7fff + (bits[i] >> 16 & 1)) >> 16;
    to[i] = static_cast<uint16_t>(values[i] != values[i] ? 0x7fc0 : nearest);
  }
}

// The mean of arrays, computed in float.
struct Mean {
  std::vector<const BFloat16*> values;
  BFloat16* mean;

  void Run(int64_t begin, int64_t end) const {
    alignas(64) float sum[kBlock], next[kBlock];
    const float steps = static_cast<float>(values.size());
    for (int64_t at = begin; at < end; at += kBlock) {
      const int64_t size = std::min(kBlock, end - at);
      Load(values[0] + at, sum, size);
      for (size_t t = 1; t < values.size(); ++t) {
        Load(values[t] + at, next, size);
#pragma GCC ivdep
        for (int64_t i = 0; i < size; ++i) sum[i] += next[i];
      }
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) sum[i] /= steps;
      Round(sum, mean + at, size);
    }
  }
};

// What a step reads and writes. A missing array is null.
struct Array {
  const float* before = nullptr;
  float* after = nullptr;
};

// The derivative of a rate with a surrogate, one step of it, for a block: `gradients.eligibility_step`. `slope` is the
// surrogate, `s` the spikes.
inline void Eligibility(const float* slope, const float* s, float beta, float threshold, bool resets_to_zero,
                        const Array& carried, const Array& slope_sum, int64_t at, int64_t size) {
  alignas(64) float e[kBlock], w[kBlock];
  const float *before = carried.before + at, *sum = slope_sum.before + at;
  float *after = carried.after + at, *sum_after = slope_sum.after + at;
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) e[i] = 1.0f + before[i];
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) w[i] = slope[i] * e[i];
  const float taken = resets_to_zero ? 1.0f : 0.0f;
#pragma GCC ivdep
  for (int64_t i = 0; i < size; ++i) {
    e[i] = e[i] * (1.0f - taken * s[i]) - e[i] * std::min(threshold * slope[i], 1.0f);
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

template <typename Current, typename Spikes>
struct LifStep {
  float beta, threshold, synaptic_beta;
  bool resets_to_zero;
  float height = 0.0f, fall = 0.0f;  // of a triangle as the surrogate, for the last two arrays
  const Current* current;
  Spikes* spikes;
  float* potential = nullptr;  // before the reset
  Array membrane, synaptic, count, silence, trace, slope_sum, carried, net;

  int64_t steps = 1;
  int64_t next_current = 0, next_spikes = 0;  // from those of a step to those of the next

  // All steps of the neurons from `begin` to `end`.
  void Run(int64_t begin, int64_t end) const {
    LifStep later = *this;
    for (Array* array : {&later.membrane, &later.synaptic, &later.count, &later.silence, &later.trace, &later.slope_sum,
                         &later.carried, &later.net}) {
      array->before = array->after;
    }
    for (int64_t at = begin; at < end; at += kBlock) {
      const int64_t size = std::min(kBlock, end - at);
      Block(at, size);
      for (int64_t t = 1; t < steps; ++t) {
        later.current = current + t * next_current;
        later.spikes = spikes + t * next_spikes;
        later.Block(at, size);
      }
    }
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
    if (net.after != nullptr) {
      const float* before = net.before + at;
      float* after = net.after + at;
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) {
        s[i] = s[i] - (p[i] < 0.0f && before[i] > 0.0f ? 1.0f : 0.0f);
        after[i] = before[i] + s[i];
      }
    }
    if (potential != nullptr) std::copy(p, p + size, potential + at);
    if (slope_sum.after != nullptr) {
      alignas(64) float slope[kBlock];
#pragma GCC ivdep
      for (int64_t i = 0; i < size; ++i) {
        const float above = height - std::fabs(p[i] - threshold) * fall;
        slope[i] = above > 0.0f || above != above ? above : 0.0f;  // NaN stays
      }
      Eligibility(slope, s, beta, threshold, resets_to_zero, carried, slope_sum, at, size);
    }
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

// The same for any surrogate, already computed.
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
    alignas(64) float s[kBlock];
    const float* u = potential + at;
#pragma GCC ivdep
    for (int64_t i = 0; i < size; ++i) s[i] = u[i] > threshold ? 1.0f : 0.0f;
    Eligibility(slope + at, s, beta, threshold, resets_to_zero, carried, slope_sum, at, size);
  }
};

}  // namespace keras_spiking_bp

#endif  // KERAS_SPIKING_BP_KERNELS_NEURONS_H_
