// An ExecuTorch program behind a C interface, for a Python that has no torch: the wheel's own bindings want it.
//
//     open → entries, and of each its elements → input → run → answers, and of each its elements → output
//
// One program for each process, on one thread, in float32. What goes wrong is the runtime's error number, negated.

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor.h>
#include <executorch/extension/threadpool/threadpool_guard.h>

#include <cstring>
#include <memory>
#include <vector>

namespace et = executorch::extension;
using executorch::aten::ScalarType;
using executorch::runtime::EValue;

namespace {

std::unique_ptr<et::Module> module;
std::vector<std::vector<float>> values;
std::vector<et::TensorPtr> tensors;
std::vector<EValue> inputs, outputs;

const int NO_FLOATS = -1000;

}  // namespace

extern "C" {

// Opens a program; returns how many inputs it takes.
int dcd_open(const char* path) {
  module = std::make_unique<et::Module>(path, et::Module::LoadMode::File);
  const auto meta = module->method_meta("forward");
  if (!meta.ok()) return -static_cast<int>(meta.error());
  for (size_t i = 0; i < meta->num_inputs(); ++i) {
    const auto info = meta->input_tensor_meta(i);
    if (!info.ok()) return -static_cast<int>(info.error());
    if (info->scalar_type() != ScalarType::Float) return NO_FLOATS;
    values.emplace_back(info->nbytes() / sizeof(float));
    tensors.push_back(et::make_tensor_ptr(
        std::vector<executorch::aten::SizesType>(info->sizes().begin(), info->sizes().end()), values.back().data(),
        std::vector<executorch::aten::DimOrderType>(info->dim_order().begin(), info->dim_order().end()), {}));
    inputs.emplace_back(tensors.back());
  }
  return static_cast<int>(inputs.size());
}

// Sets an input; returns 0, or an error where it has another number of elements.
int dcd_input(int which, const float* given, size_t count) {
  if (values.at(which).size() != count) return NO_FLOATS;
  std::memcpy(values[which].data(), given, count * sizeof(float));
  return 0;
}

// Runs the program; returns how many outputs there are.
int dcd_run() {
  et::threadpool::NoThreadPoolGuard one_thread;
  auto answer = module->forward(inputs);
  if (!answer.ok()) return -static_cast<int>(answer.error());
  outputs = std::move(*answer);
  return static_cast<int>(outputs.size());
}

// Writes the sizes of an output of the last run; returns how many there are.
int dcd_sizes(int which, int* sizes, int room) {
  if (!outputs.at(which).isTensor() || outputs[which].toTensor().scalar_type() != ScalarType::Float) return NO_FLOATS;
  const auto found = outputs[which].toTensor().sizes();
  for (int i = 0; i < static_cast<int>(found.size()) && i < room; ++i) sizes[i] = found[i];
  return static_cast<int>(found.size());
}

// Copies an output of the last run.
void dcd_output(int which, float* into) {
  const auto& tensor = outputs.at(which).toTensor();
  std::memcpy(into, tensor.const_data_ptr(), tensor.nbytes());
}

}  // extern "C"
