// Choice of the kernel build that suits the processor, behind one table of functions.
#pragma once

#include "model.h"

namespace trepid {

struct KernelApi {
  const char* name;
  void* (*make)(const Model& model);  // nullptr when l_max is out of range
  void (*compute)(void* kernel, const System& system, int begin, int end, Output& out);
  void (*destroy)(void* kernel);
};

// The best build this processor can run. The environment variable TREPID_ISA (generic, avx2, avx512) selects a lower
// one.
const KernelApi& best_kernel();

}  // namespace trepid
