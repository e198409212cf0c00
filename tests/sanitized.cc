// Runs each rule of neurons.h once, on arrays of their exact sizes, for the sanitizers to watch: tests/kernels/test_kernels.py.

#include <cstdio>
#include <vector>

#include "neurons.h"

using keras_spiking_bp::Array;
using keras_spiking_bp::BFloat16;

template <typename Current, typename Spikes>
float LifStep(int64_t size, bool zero, float beta, bool all, bool in_place) {
  std::vector<float> m(size, 0.7f), other(size), potential(size);
  std::vector<std::vector<float>> states(6, std::vector<float>(size, 1.5f)), after = states;
  std::vector<Current> current(size, static_cast<Current>(1));
  std::vector<Spikes> spikes(size);
  keras_spiking_bp::LifStep<Current, Spikes> step{beta, 1.0f, 0.5f, zero, 0.5f, 0.25f};
  step.current = current.data();
  step.spikes = spikes.data();
  step.membrane = {m.data(), in_place ? m.data() : other.data()};
  if (all) {
    Array* arrays[] = {&step.synaptic, &step.count, &step.silence, &step.trace, &step.slope_sum, &step.carried};
    for (int i = 0; i < 6; ++i) *arrays[i] = {states[i].data(), in_place ? states[i].data() : after[i].data()};
    step.potential = potential.data();
  }
  step.Run(0, size / 2);
  step.Run(size / 2, size);
  return size ? step.membrane.after[size - 1] : 0.0f;
}

float EligibilityStep(int64_t size, bool zero, float beta) {
  std::vector<float> slope(size, 0.5f), potential(size, 2.0f), sum(size), carried(size, 0.5f);
  keras_spiking_bp::EligibilityStep step{beta, 1.0f, zero};
  step.slope = slope.data();
  step.potential = potential.data();
  step.slope_sum = {sum.data(), sum.data()};
  step.carried = {carried.data(), carried.data()};
  step.Run(0, size);
  return size ? sum[size - 1] : 0.0f;
}

int main() {
  float total = 0.0f;
  for (int64_t size : {0, 1, 63, 1023, 1024, 1025, 4099}) {
    for (int bits = 0; bits < 8; ++bits) {
      const bool zero = bits & 1, all = bits & 2, in_place = bits & 4;
      for (float beta : {0.9f, 1.0f}) {
        total += LifStep<float, float>(size, zero, beta, all, in_place);
        total += LifStep<float, BFloat16>(size, zero, beta, all, in_place);
        total += LifStep<BFloat16, float>(size, zero, beta, all, in_place);
        total += LifStep<BFloat16, BFloat16>(size, zero, beta, all, in_place);
        total += EligibilityStep(size, zero, beta);
      }
    }
  }
  std::printf("clean %g\n", total);
}
