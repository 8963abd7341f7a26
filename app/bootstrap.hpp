#pragma once

#include "app/config.hpp"

namespace sluice::app {

// The main function of every role: options after "--", EAL, configuration, plan, control loop,
// ordered shutdown. Returns the exit code: 0, 1 when running failed, 2 for arguments and
// configuration.
int run_role(int argc, char** argv, const ConfigScope& scope, const char* description);

}  // namespace sluice::app
