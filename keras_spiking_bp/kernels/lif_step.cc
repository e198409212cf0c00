// The steps of neurons.h as operations of TensorFlow. An input that nobody else needs is overwritten by its output.

#include <string>
#include <type_traits>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "neurons.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace {

using keras_spiking_bp::Array;
using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;

constexpr int64_t kCostPerNeuron = 8;  // cycles, for the division among threads

absl::Status SameSize(const Tensor& first, std::initializer_list<const Tensor*> others) {
  for (const Tensor* other : others) {
    if (other->NumElements() != first.NumElements()) {
      return absl::InvalidArgumentError(absl::StrCat("All arrays of a step must have the same size. Received: ",
                                                     first.shape().DebugString(), " and ", other->shape().DebugString()));
    }
  }
  return absl::OkStatus();
}

// An input of states and the output that takes its place.
absl::Status Updated(OpKernelContext* context, int input, int output, Array* array) {
  const Tensor& before = context->input(input);
  Tensor* after;
  TF_RETURN_IF_ERROR(context->forward_input_or_allocate_output({input}, output, before.shape(), &after));
  *array = {before.flat<float>().data(), after->flat<float>().data()};
  return absl::OkStatus();
}

template <typename Step>
void OnAllThreads(OpKernelContext* context, int64_t size, const Step& step) {
  const auto& threads = *context->device()->tensorflow_cpu_worker_threads();
  tensorflow::Shard(threads.num_threads, threads.workers, size, kCostPerNeuron,
                    [&](int64_t begin, int64_t end) { step.Run(begin, end); });
}

template <typename T>
using Stored = std::conditional_t<std::is_same_v<T, float>, float, keras_spiking_bp::BFloat16>;

template <typename Current, typename Spikes>
class LifStep : public OpKernel {
 public:
  explicit LifStep(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("beta", &beta_));
    OP_REQUIRES_OK(context, context->GetAttr("threshold", &threshold_));
    OP_REQUIRES_OK(context, context->GetAttr("synaptic_beta", &synaptic_beta_));
    OP_REQUIRES_OK(context, context->GetAttr("resets_to_zero", &resets_to_zero_));
    OP_REQUIRES_OK(context, context->GetAttr("height", &height_));
    OP_REQUIRES_OK(context, context->GetAttr("fall", &fall_));
    OP_REQUIRES_OK(context, context->GetAttr("names", &names_));
    OP_REQUIRES_OK(context, context->GetAttr("potentials", &potentials_));
    OP_REQUIRES_OK(context, context->GetAttr("steps", &steps_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &membrane = context->input(0), &current = context->input(1);
    const int states = context->num_inputs() - 2;
    const int64_t neurons = membrane.NumElements();
    const bool repeated = current.NumElements() == neurons;
    OP_REQUIRES(context, repeated || current.NumElements() == steps_ * neurons,
                absl::InvalidArgumentError("`current` must be of one step, or of all"));
    OP_REQUIRES(context, states == static_cast<int>(names_.size()),
                absl::InvalidArgumentError("`names` must name the states"));

    keras_spiking_bp::LifStep<Stored<Current>, Stored<Spikes>> step{beta_,           threshold_, synaptic_beta_,
                                                                          resets_to_zero_, height_,    fall_};
    step.current = reinterpret_cast<const Stored<Current>*>(current.flat<Current>().data());
    step.steps = steps_;
    step.next_current = repeated ? 0 : neurons;
    step.next_spikes = neurons;
    tensorflow::TensorShape folded = membrane.shape();
    folded.set_dim(0, steps_ * folded.dim_size(0));
    Tensor* spikes;
    OP_REQUIRES_OK(context, context->allocate_output(0, folded, &spikes));
    step.spikes = reinterpret_cast<Stored<Spikes>*>(spikes->flat<Spikes>().data());
    OP_REQUIRES_OK(context, Updated(context, 0, 1, &step.membrane));
    for (int i = 0; i < states; ++i) {
      OP_REQUIRES_OK(context, SameSize(membrane, {&context->input(2 + i)}));
      Array& array = names_[i] == "current"       ? step.synaptic
                     : names_[i] == "spike_count" ? step.count
                     : names_[i] == "silence"     ? step.silence
                     : names_[i] == "leaky_trace" ? step.trace
                     : names_[i] == "slope_sum"   ? step.slope_sum
                     : names_[i] == "net_count"   ? step.net
                                                  : step.carried;
      OP_REQUIRES_OK(context, Updated(context, 2 + i, 2 + i, &array));
    }
    if (potentials_) {
      Tensor* potential;
      OP_REQUIRES_OK(context, context->allocate_output(2 + states, membrane.shape(), &potential));
      step.potential = potential->flat<float>().data();
    }
    OnAllThreads(context, neurons, step);
  }

 private:
  float beta_, threshold_, synaptic_beta_, height_, fall_;
  bool resets_to_zero_;
  int potentials_, steps_;
  std::vector<std::string> names_;
};

class EligibilityStep : public OpKernel {
 public:
  explicit EligibilityStep(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("beta", &beta_));
    OP_REQUIRES_OK(context, context->GetAttr("threshold", &threshold_));
    OP_REQUIRES_OK(context, context->GetAttr("resets_to_zero", &resets_to_zero_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &slope = context->input(0), &potential = context->input(1);
    OP_REQUIRES_OK(context, SameSize(slope, {&potential, &context->input(2), &context->input(3)}));
    keras_spiking_bp::EligibilityStep step{beta_, threshold_, resets_to_zero_};
    step.slope = slope.flat<float>().data();
    step.potential = potential.flat<float>().data();
    OP_REQUIRES_OK(context, Updated(context, 2, 0, &step.slope_sum));
    OP_REQUIRES_OK(context, Updated(context, 3, 1, &step.carried));
    OnAllThreads(context, slope.NumElements(), step);
  }

 private:
  float beta_, threshold_;
  bool resets_to_zero_;
};

class Mean : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor& first = context->input(0);
    Tensor* mean;
    OP_REQUIRES_OK(context, context->allocate_output(0, first.shape(), &mean));
    keras_spiking_bp::Mean step;
    step.mean = reinterpret_cast<keras_spiking_bp::BFloat16*>(mean->flat<Eigen::bfloat16>().data());
    for (int i = 0; i < context->num_inputs(); ++i) {
      const Tensor& value = context->input(i);
      OP_REQUIRES_OK(context, SameSize(first, {&value}));
      step.values.push_back(
          reinterpret_cast<const keras_spiking_bp::BFloat16*>(value.flat<Eigen::bfloat16>().data()));
    }
    OnAllThreads(context, first.NumElements(), step);
  }
};

absl::Status ShapeOfFirst(tensorflow::shape_inference::InferenceContext* context) {
  for (int i = 0; i < context->num_outputs(); ++i) context->set_output(i, context->input(0));
  return absl::OkStatus();
}

}  // namespace

REGISTER_OP("KerasSpikingBpLifStep")
    .Input("membrane: float")
    .Input("current: current_type")
    .Input("states: number * float")
    .Output("spikes: spikes_type")
    .Output("new_membrane: float")
    .Output("new_states: number * float")
    .Output("potential: potentials * float")
    .Attr("current_type: {float, bfloat16}")
    .Attr("spikes_type: {float, bfloat16}")
    .Attr("number: int >= 0")
    .Attr("names: list({'current', 'spike_count', 'silence', 'leaky_trace', 'slope_sum', 'eligibility', "
          "'net_count'})")
    .Attr("potentials: int >= 0")  // 1 to have the potential before the reset
    .Attr("steps: int >= 1 = 1")   // folded into the batch of `current` and `spikes`
    .Attr("beta: float")
    .Attr("threshold: float")
    .Attr("synaptic_beta: float")
    .Attr("height: float = 0")  // of a triangle as the surrogate
    .Attr("fall: float = 0")
    .Attr("resets_to_zero: bool")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      TF_RETURN_IF_ERROR(ShapeOfFirst(context));
      int steps;
      tensorflow::shape_inference::DimensionHandle samples;
      tensorflow::shape_inference::ShapeHandle folded = context->input(0);
      TF_RETURN_IF_ERROR(context->GetAttr("steps", &steps));
      if (!context->RankKnown(folded)) return absl::OkStatus();
      TF_RETURN_IF_ERROR(context->Multiply(context->Dim(folded, 0), steps, &samples));
      TF_RETURN_IF_ERROR(context->ReplaceDim(folded, 0, samples, &folded));
      context->set_output(0, folded);
      return absl::OkStatus();
    });

REGISTER_OP("KerasSpikingBpEligibilityStep")
    .Input("slope: float")
    .Input("potential: float")
    .Input("slope_sum: float")
    .Input("carried: float")
    .Output("new_slope_sum: float")
    .Output("new_carried: float")
    .Attr("beta: float")
    .Attr("threshold: float")
    .Attr("resets_to_zero: bool")
    .SetShapeFn(ShapeOfFirst);

REGISTER_OP("KerasSpikingBpMean")
    .Input("values: steps * bfloat16")
    .Output("mean: bfloat16")
    .Attr("steps: int >= 1")
    .SetShapeFn(ShapeOfFirst);

#define REGISTER_LIF_STEP(Current, Spikes)                             \
  REGISTER_KERNEL_BUILDER(Name("KerasSpikingBpLifStep")                \
                              .Device(tensorflow::DEVICE_CPU)          \
                              .TypeConstraint<Current>("current_type") \
                              .TypeConstraint<Spikes>("spikes_type"),  \
                          LifStep<Current, Spikes>)
REGISTER_LIF_STEP(float, float);
REGISTER_LIF_STEP(float, Eigen::bfloat16);
REGISTER_LIF_STEP(Eigen::bfloat16, float);
REGISTER_LIF_STEP(Eigen::bfloat16, Eigen::bfloat16);
REGISTER_KERNEL_BUILDER(Name("KerasSpikingBpEligibilityStep").Device(tensorflow::DEVICE_CPU), EligibilityStep);
REGISTER_KERNEL_BUILDER(Name("KerasSpikingBpMean").Device(tensorflow::DEVICE_CPU), Mean);
