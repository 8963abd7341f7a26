#pragma once

#include <string>
#include <vector>

#include "base/result.hpp"
#include "base/types.hpp"

namespace sluice::app {

// What EAL was asked for, as far as planning needs it: EAL itself is not up for --check.
struct Lcores {
    LcoreId main{};
    std::vector<LcoreId> workers;
};

// Reads -l, --lcores, -c and --main-lcore out of EAL's arguments and completes them so that there
// is a worker beside the control thread: without any, the last CPU works and the control thread
// floats; of a single lcore, both share the CPU. `arguments` is changed accordingly.
Result<Lcores> complete_lcores(std::vector<std::string>& arguments);

}  // namespace sluice::app
