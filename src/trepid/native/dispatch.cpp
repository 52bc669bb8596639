#include "dispatch.h"

#include <cstdlib>
#include <cstring>

namespace trepid {

namespace generic {
extern const KernelApi api;
}
#ifdef TREPID_X86
namespace avx2 {
extern const KernelApi api;
}
namespace avx512 {
extern const KernelApi api;
}
#endif

static const KernelApi& choose() {
#ifdef TREPID_X86
  const char* asked = std::getenv("TREPID_ISA");
  const bool any = !asked || !*asked;
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  if (has_avx512 && (any || std::strcmp(asked, "avx512") == 0)) return avx512::api;
  if (has_avx2 && (any || std::strcmp(asked, "generic") != 0)) return avx2::api;
#endif
  return generic::api;
}

const KernelApi& best_kernel() {
  static const KernelApi& api = choose();
  return api;
}

}  // namespace trepid
