#include "rina/names.hpp"

#include <array>

namespace sluice::rina {

Result<AppName> AppName::parse(std::string_view text) {
    AppName name;
    const std::array<std::string*, 4> parts = {&name.process, &name.instance, &name.entity,
                                               &name.entity_instance};
    std::size_t part = 0;
    for (const char c : text) {
        if (c == '/' || c == '|') {
            if (++part == parts.size())
                return fail(EINVAL,
                            "application name has more than four parts; expected "
                            "process/instance/entity/entity-instance");
            continue;
        }
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
            return fail(EINVAL, "application name has a control character in part {}", part + 1);
        parts[part]->push_back(c);
    }
    if (name.process.empty())
        return fail(EINVAL, "application name has no process name; expected process/instance");
    if (name.wire().size() > kNameBytesMax)
        return fail(ENAMETOOLONG, "application name takes {} bytes on the wire, at most {} fit",
                    name.wire().size(), kNameBytesMax);
    return name;
}

std::string AppName::wire() const {
    return process + '/' + instance + '/' + entity + '/' + entity_instance;
}

std::string AppName::to_string() const {
    std::string text = wire();
    while (!text.empty() && text.back() == '/') text.pop_back();
    return text;
}

std::string_view to_string(Reason reason) noexcept {
    switch (reason) {
        case Reason::ok: return "ok";
        case Reason::refused: return "refused by the application";
        case Reason::no_such_application: return "no such application";
        case Reason::busy: return "busy";
        case Reason::bad_channel: return "bad channel";
        case Reason::channel_in_use: return "channel in use";
        case Reason::timed_out: return "timed out";
        case Reason::closed_by_peer: return "closed by the peer";
        case Reason::closed_locally: return "closed locally";
        case Reason::peer_restarted: return "peer restarted";
        case Reason::link_down: return "link down";
        case Reason::peer_unresponsive: return "peer unresponsive";
        case Reason::version: return "no common version";
        case Reason::out_of_memory: return "out of receive memory";
        case Reason::unregistered: return "unregistered";
    }
    return "unknown";
}

}  // namespace sluice::rina
