#include "base/instant.hpp"

#include <fmt/format.h>

#include <cmath>

namespace sluice {

std::string to_string(Duration d) {
    const double magnitude = std::fabs(static_cast<double>(d.ns));
    if (magnitude < 1e3) return fmt::format("{} ns", d.ns);
    if (magnitude < 1e6) return fmt::format("{:.4g} us", static_cast<double>(d.ns) / 1e3);
    if (magnitude < 1e9) return fmt::format("{:.4g} ms", static_cast<double>(d.ns) / 1e6);
    return fmt::format("{:.4g} s", static_cast<double>(d.ns) / 1e9);
}

}  // namespace sluice
