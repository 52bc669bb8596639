// One build of the kernel for one instruction set; see CMakeLists.txt for which, dispatch.cpp for the choice at run
// time.
#include "dispatch.h"
#include "kernel.h"

#define TREPID_TEXT_OF(name) #name
#define TREPID_TEXT(name) TREPID_TEXT_OF(name)

namespace trepid {
namespace TREPID_ISA {

static KernelBase* make_kernel(const Model& model) {
  switch (model.l_max) {
    case 0:
      return new Kernel<0>(model);
    case 1:
      return new Kernel<1>(model);
    case 2:
      return new Kernel<2>(model);
    case 3:
      return new Kernel<3>(model);
    case 4:
      return new Kernel<4>(model);
    case 5:
      return new Kernel<5>(model);
    case 6:
      return new Kernel<6>(model);
    case 7:
      return new Kernel<7>(model);
    case 8:
      return new Kernel<8>(model);
    default:
      return nullptr;
  }
}

static void* make(const Model& model) {
  return make_kernel(model);
}
static void compute(void* kernel, const System& system, int begin, int end, Output& out) {
  static_cast<KernelBase*>(kernel)->compute(system, begin, end, out);
}
static void destroy(void* kernel) {
  delete static_cast<KernelBase*>(kernel);
}

extern const KernelApi api;
const KernelApi api = {TREPID_TEXT(TREPID_ISA), make, compute, destroy};

}  // namespace TREPID_ISA
}  // namespace trepid
