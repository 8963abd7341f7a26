#include "base/check.hpp"

#include <cstdio>
#include <cstdlib>

namespace sluice {

void check_failed(const char* expression, const char* file, int line) noexcept {
    std::fprintf(stderr, "sluice: internal error: %s does not hold at %s:%d\n", expression, file,
                 line);
    std::fflush(stderr);
    std::abort();
}

}  // namespace sluice
