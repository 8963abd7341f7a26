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
    return table_.withdraw(now, {self(), std::string(name), 0, 0, false, 0});
}

std::optional<rina::LowerFlow> Lfdb::find(std::string_view local, std::string_view remote) const {
    return table_.find({std::string(local), std::string(remote), 0, 0, false, 0});
}

std::size_t Lfdb::nodes() const {
    std::size_t count = 0;
    std::optional<NameId> last;
    visit_links([&](NameId local, NameId, std::uint32_t, bool) {
        count += local != last;
        last = local;
    });
    return count;
}

}  // namespace sluice::mgmt
