#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/command.hpp"
#include "control/grammar.hpp"

// JSON-RPC method and params against one grammar.

namespace sluice::control {

// The literals of `method` for each mandatory word of literals; false if it is not this command's.
bool match_method(const Grammar& grammar, std::string_view method,
                  std::vector<const Atom*>& chosen);

// Errors name the param, and are kInvalidParams.
CommandResult<Args> bind_params(const Grammar& grammar, const std::vector<const Atom*>& chosen,
                                const Value& params);

}  // namespace sluice::control
