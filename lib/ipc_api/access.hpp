#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// Who may do what: the first rule that fits decides. Users are who the kernel says they were when
// they connected (SO_PEERCRED; of groups only the primary one).

namespace sluice::ipc_api {

struct Peer {
    uid_t uid = 0;
    gid_t gid = 0;
    pid_t pid = 0;
};

enum class Action : std::uint8_t {
    register_name,  // the name
    allocate_from,  // the application's own name
    allocate_to,    // the name at the other end
};

struct AccessRule {
    std::optional<uid_t> uid;  // all users if there is none
    std::optional<gid_t> gid;
    std::optional<Action> action;
    std::string names = "*";   // a pattern as in a shell, of "process|instance|..."
    bool allow = true;
};

// Without rules all is allowed; with some, what none of them fits is not.
bool may(const std::vector<AccessRule>& rules, const Peer& peer, Action action,
         std::string_view name);

}  // namespace sluice::ipc_api
