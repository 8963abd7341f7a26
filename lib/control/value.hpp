#pragma once

#include <nlohmann/json.hpp>

namespace sluice::control {

// What a command answers with: objects keep the order in which the handler wrote their keys, so
// that tables have the columns where the author put them.
//
// Write `Value v = other;`, never `Value v{other};`: braces make an array of it.
using Value = nlohmann::ordered_json;

}  // namespace sluice::control
