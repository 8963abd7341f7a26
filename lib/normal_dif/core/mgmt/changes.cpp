#include "normal_dif/core/mgmt/changes.hpp"

#include <utility>

#include "rina/rlite_name.hpp"

namespace sluice::mgmt {

std::string_view to_string(Refusal refusal) noexcept {
    switch (refusal) {
        case Refusal::malformed: return "malformed";
        case Refusal::about_us: return "about us, and not so";
        case Refusal::table_full: return "table full";
        case Refusal::origin_full: return "too many of one node";
        case Refusal::too_often: return "changes too often";
        case Refusal::sender_busy: return "neighbour says too much";
    }
    return "unknown";
}

bool is_node_name(std::string_view name) noexcept {
    return !name.empty() && name.size() <= rina::kNameBytesMax &&
           !rina::has_control_character(name);
}

rina::AppName app_name_of(const std::string& node) {
    auto name = rina::parse_rlite_name(node);
    return name ? std::move(*name) : rina::AppName{node, {}, {}, {}};
}

}  // namespace sluice::mgmt
