#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace sluice::sim {

// What a run of a seed found: the checker, and what it said.
using Finding = std::optional<std::pair<std::string, std::string>>;

// Switches on one fault after the other (or only `which`), and runs seeds until a checker sees it.
// Prints a table; the result is that of the program: 0 if all were found.
int run_faults(const std::string& which, std::uint64_t from, std::uint64_t to,
               const std::function<Finding(std::uint64_t)>& run_seed);

}  // namespace sluice::sim
