#pragma once

#include <string>

#include "base/result.hpp"

namespace sluice::app {

// Whether become_user() could work, before anything is touched.
Result<> check_user(const std::string& name);
// Gives root up for good, in all threads: what was opened stays open, files are written as `name`.
Result<> become_user(const std::string& name);

}  // namespace sluice::app
