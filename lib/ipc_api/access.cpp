#include "ipc_api/access.hpp"

#include <fnmatch.h>

namespace sluice::ipc_api {

bool may(const std::vector<AccessRule>& rules, const Peer& peer, Action action,
         std::string_view name) {
    if (rules.empty()) return true;
    const std::string text(name);
    for (const AccessRule& rule : rules) {
        if (rule.uid && *rule.uid != peer.uid) continue;
        if (rule.gid && *rule.gid != peer.gid) continue;
        if (rule.action && *rule.action != action) continue;
        if (::fnmatch(rule.names.c_str(), text.c_str(), FNM_NOESCAPE) != 0) continue;
        return rule.allow;
    }
    return false;
}

}  // namespace sluice::ipc_api
