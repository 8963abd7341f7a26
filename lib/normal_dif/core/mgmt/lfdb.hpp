#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normal_dif/core/mgmt/link_store.hpp"
#include "normal_dif/core/mgmt/replicated_table.hpp"
#include "rina/objects.hpp"

// The lower-flow database of link-state routing: who has a flow to whom, one entry for each
// direction of an adjacency, announced by the node that it begins at (uipcps/uipcp-normal-lfdb.cpp
// of rlite). Entries age, and are renewed long before they are too old.
namespace sluice::mgmt {

struct LfdbTraits {
    using Object = rina::LowerFlow;
    using Store = LinkStore;
    static constexpr std::uint64_t kSequenceMax = std::numeric_limits<std::uint32_t>::max();

    static std::string_view origin(const Object& flow) { return flow.local_node; }
    static std::uint64_t sequence(const Object& flow) { return flow.sequence; }
    static void set_sequence(Object& flow, std::uint64_t number) {
        flow.sequence = static_cast<std::uint32_t>(number);
    }
    static void set_age(Object& flow, std::uint32_t seconds) { flow.age_s = seconds; }
    // Without a cost, paths of equal cost could lead round in a circle.
    static bool is_valid(const Object& flow) {
        return is_node_name(flow.local_node) && is_node_name(flow.remote_node) &&
               flow.local_node != flow.remote_node && flow.cost > 0;
    }
};

inline constexpr ReplicationTimes kLfdbTimes{.age_max = Duration::seconds(900),
                                             .renew_age = Duration::seconds(270)};

class Lfdb {
  public:
    using Changed = Changes<rina::LowerFlow>;

    // Names are kept in `names`, which others may use too and which must outlive this, or if it is
    // not given, in a table of its own.
    explicit Lfdb(std::string self, ReplicationLimits limits = {},
                  ReplicationTimes times = kLfdbTimes, NameTable* names = nullptr)
        : names_(names == nullptr ? std::make_unique<NameTable>(0) : nullptr),
          table_(std::move(self), times, limits, names == nullptr ? *names_ : *names) {}
    Lfdb(Lfdb&&) = default;
    Lfdb& operator=(Lfdb&& other) noexcept {
        // The entries before their names.
        std::swap(table_, other.table_);
        std::swap(names_, other.names_);
        return *this;
    }

    // A neighbour became one, or what it costs to reach it changed; and it is none any more.
    Changed add_neighbor(Instant now, std::string_view name, std::uint32_t cost = 1);
    Changed remove_neighbor(Instant now, std::string_view name);

    Changed apply(Instant now, Action action, const rina::LowerFlowList& list,
                  std::string_view sender) {
        return table_.apply(now, action, list.flows, sender);
    }
    Changed tick(Instant now) { return table_.tick(now); }
    std::vector<rina::LowerFlow> snapshot(Instant now) const { return table_.snapshot(now); }

    std::optional<rina::LowerFlow> find(std::string_view local, std::string_view remote) const;
    // In order of local and remote name.
    template <typename Visit>
    void for_each(Visit&& visit) const {
        table_.for_each(std::forward<Visit>(visit));
    }
    // The same without making objects of them, in any order: visit(local, remote, cost, is_up),
    // with the numbers of the names in names().
    template <typename Visit>
    void visit_links(Visit&& visit) const {
        table_.store().visit_all([&](const LinkStore::Slot& slot) {
            if (!slot.removed) visit(slot.local, slot.remote, slot.cost, bool{slot.is_up});
        });
    }
    const NameTable& names() const noexcept { return table_.store().names(); }
    const ReplicationTimes& times() const noexcept { return table_.times(); }
    void set_times(const ReplicationTimes& times) noexcept { table_.set_times(times); }
    // Nodes that have entries.
    std::size_t nodes() const;

    const std::string& self() const noexcept { return table_.self(); }
    std::size_t size() const noexcept { return table_.size(); }
    std::size_t removals() const noexcept { return table_.removals(); }
    const RefusalCounts& refused() const noexcept { return table_.refused(); }

  private:
    std::unique_ptr<NameTable> names_;  // unless they are somebody else's
    ReplicatedTable<LfdbTraits> table_;
};

}  // namespace sluice::mgmt
