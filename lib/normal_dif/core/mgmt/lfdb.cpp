#include "normal_dif/core/mgmt/lfdb.hpp"

#include <algorithm>

namespace sluice::mgmt {

Lfdb::Changed Lfdb::add_neighbor(Instant now, std::string_view name, std::uint32_t cost) {
    rina::LowerFlow flow;
    flow.local_node = self();
    flow.remote_node = name;
    flow.cost = std::max<std::uint32_t>(cost, 1);
    flow.is_up = true;
    // From our own enrollment, and yet the name is the neighbour's choice.
    if (!LfdbTraits::is_valid(flow)) return {};
    return table_.announce(now, std::move(flow));
}

Lfdb::Changed Lfdb::remove_neighbor(Instant now, std::string_view name) {
    return table_.withdraw(now, {self(), std::string(name)});
}

const rina::LowerFlow* Lfdb::find(std::string_view local, std::string_view remote) const {
    return table_.find({std::string(local), std::string(remote)});
}

std::size_t Lfdb::nodes() const {
    std::size_t count = 0;
    std::string_view last;
    for_each([&](const rina::LowerFlow& flow) {
        count += flow.local_node != last;
        last = flow.local_node;
    });
    return count;
}

}  // namespace sluice::mgmt
