#pragma once

#include <string>

#include "base/result.hpp"
#include "control/value.hpp"

namespace sluice::app {

// What the disk under `folder` takes, written like a capture: into files that grow, that are
// preallocated, and that exist already. {"folder", "fresh_bytes_per_s", "preallocated_bytes_per_s",
// "recycled_bytes_per_s", "io"}. Nothing is left behind.
Result<control::Value> disk_selftest(const std::string& folder, double seconds);

// Both halves side by side, for people: what is received, what the disk takes, what would be lost.
std::string selftest_verdict(const control::Value& disk, const control::Value& rx);

}  // namespace sluice::app
