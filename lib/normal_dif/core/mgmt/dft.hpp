#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "normal_dif/core/mgmt/replicated_table.hpp"
#include "rina/objects.hpp"

// The directory of the DIF: where each application is registered. Every member has all of it
// (rlite's policy "fully-replicated"). A name may be registered at several members.
namespace sluice::mgmt {

inline constexpr std::string_view kDirectoryPolicy = "fully-replicated";

struct DftTraits {
    using Object = rina::DftEntry;
    using Key = std::pair<rina::AppName, std::string>;  // application, IPC process
    static constexpr std::uint64_t kSequenceMax = std::numeric_limits<std::uint64_t>::max();

    static Key key(const Object& entry) { return {entry.application, entry.ipcp}; }
    static std::string_view origin(const Object& entry) { return entry.ipcp; }
    static std::uint64_t sequence(const Object& entry) { return entry.sequence; }
    static void set_sequence(Object& entry, std::uint64_t number) { entry.sequence = number; }
    static void set_age(Object&, std::uint32_t) {}
    static bool is_valid(const Object& entry);
    static bool same(const Object&, const Object&) { return true; }
    using Store = MapStore<DftTraits>;
};

// As rlite: entries do not age. With a renew_age, an entry that a message lost somewhere kept from
// distant members reaches them after that time.
inline constexpr ReplicationTimes kDftTimes{};

class Dft {
  public:
    using Changed = Changes<rina::DftEntry>;

    explicit Dft(std::string self, ReplicationLimits limits = {},
                 ReplicationTimes times = kDftTimes)
        : table_(std::move(self), times, limits) {}

    // An application registers with us. Registering twice changes nothing.
    Changed add(Instant now, const rina::AppName& application);
    Changed remove(Instant now, const rina::AppName& application);

    Changed apply(Instant now, Action action, const rina::DftSlice& slice,
                  std::string_view sender) {
        return table_.apply(now, action, slice.entries, sender);
    }
    Changed tick(Instant now) { return table_.tick(now); }
    std::vector<rina::DftEntry> snapshot(Instant now) const { return table_.snapshot(now); }

    // Names of the IPC processes that the application is registered with, in order.
    std::vector<std::string_view> find(const rina::AppName& application) const;
    // One of them: the one that `cookie` says, so that flows with different cookies spread over
    // all. "" if there is none.
    std::string_view pick(const rina::AppName& application, std::uint64_t cookie) const;
    bool is_ours(const rina::AppName& application) const;
    template <typename Visit>
    void for_each(Visit&& visit) const {
        table_.for_each(std::forward<Visit>(visit));
    }

    const ReplicationTimes& times() const noexcept { return table_.times(); }
    void set_times(const ReplicationTimes& times) noexcept { table_.set_times(times); }

    const std::string& self() const noexcept { return table_.self(); }
    std::size_t size() const noexcept { return table_.size(); }
    std::size_t removals() const noexcept { return table_.removals(); }
    const RefusalCounts& refused() const noexcept { return table_.refused(); }

  private:
    ReplicatedTable<DftTraits> table_;
};

}  // namespace sluice::mgmt
