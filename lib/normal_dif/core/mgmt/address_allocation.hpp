#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "base/rng.hpp"
#include "normal_dif/core/mgmt/changes.hpp"
#include "normal_dif/core/mgmt/neighbors.hpp"
#include "normal_dif/core/policy/params.hpp"
#include "rina/objects.hpp"

// Which address a new member gets. Static: an operator says. Distributed: the enroller claims one
// that it believes to be free, tells everybody, and takes it if nobody objects for a while; members
// keep a table of what was claimed (rlite's uipcp-normal-addralloc.cpp).
namespace sluice::mgmt {

enum class AddressPolicy : std::uint8_t { static_, distributed };

struct AddressConfig {
    AddressPolicy policy = AddressPolicy::distributed;
    Duration nack_wait = Duration::seconds(4);  // for objections
    rina::Address address_max{0x7fffffff};      // A_DATA of rlite has signed 32 bits
    std::size_t entries_max = 65536;
    std::size_t claims_max = 256;       // of our own at a time
    std::uint32_t attempts_max = 64;    // addresses tried for one claim
    std::uint32_t updates_per_sender_max = 131072;  // until the next tick
    std::uint32_t nacks_max = 64;                   // until the next tick
};

// The policies there are. To add one: a value of the enumeration, a line in the table of
// address_allocation.cpp, what it does, and a test.
struct AddressPolicyInfo {
    std::string_view name;
    std::string_view help;
    std::string_view params;  // keys with their defaults
    Result<AddressConfig> (*make)(policy::Params& params);
};
std::span<const AddressPolicyInfo> address_policies() noexcept;

// What configurations may say. EINVAL: a name that nobody knows, or a parameter that the policy
// does not understand.
Result<AddressConfig> make_address_config(std::string_view name,
                                          std::span<const policy::Param> params);
std::string_view to_string(AddressPolicy policy) noexcept;

// Names one claim to whoever made it.
using ClaimId = StrongId<struct ClaimIdTag, std::uint64_t>;

class AddressAllocator {
  public:
    struct Done {
        ClaimId claim{};
        rina::Address address{};  // 0: none was free, or too many objections
        bool operator==(const Done&) const = default;
    };
    struct Output {
        // aareq and aa_entries to enrolled neighbours: all but the sender; and all of them.
        Changes<rina::AddrAllocRequest> claims, entries;
        // aareq M_DELETE inside A_DATA, to the requestor of each.
        std::vector<rina::AddrAllocRequest> nacks;
        std::vector<Done> done;
    };

    AddressAllocator(std::string self, AddressConfig config, Rng rng)
        : self_(std::move(self)), config_(config), rng_(rng) {}

    // An address is wanted. With the static policy and where there are too many claims already, it
    // is done at once, with address 0 (which tells rlite's enrollee to keep what it has).
    // `in_any_case`: also with the static policy.
    ClaimId begin(Instant now, const NeighborTable& members, Output& out,
                  bool in_any_case = false);
    // Nobody wants it any more; what others are to forget.
    Changes<rina::AddrAllocRequest> cancel(ClaimId claim);

    Output apply_claim(Instant now, Action action, const rina::AddrAllocRequest& request,
                       const NeighborTable& members, std::string_view sender);
    Output apply_entries(Instant now, Action action, const rina::AddrAllocEntries& list,
                         const NeighborTable& members, std::string_view sender);
    // To be called when next_deadline() is reached.
    Output on_timeout(Instant now, const NeighborTable& members);
    Instant next_deadline() const;
    // To be called every kManagementTick.
    void tick();

    // Must we change our address? Of two that have the same, the one with the smaller name must.
    static bool must_move(const NeighborTable& members);

    // An address that is gone with its holder.
    Changes<rina::AddrAllocRequest> release(rina::Address address);

    std::vector<rina::AddrAllocRequest> snapshot() const;
    std::size_t size() const noexcept { return table_.size(); }
    std::size_t claims() const noexcept { return claims_.size(); }
    const AddressConfig& config() const noexcept { return config_; }
    // Claims that are under way wait for objections as long as they would have, had it been so
    // when they began.
    void set_config(Instant now, const AddressConfig& config);
    const RefusalCounts& refused() const noexcept { return refused_; }

  private:
    struct Claim {
        ClaimId id;
        rina::Address address;
        Instant settled_at;
        std::uint32_t attempts;
    };

    bool is_free(rina::Address address, const NeighborTable& members) const;
    std::optional<rina::Address> choose(const NeighborTable& members);
    void try_next(Instant now, Claim claim, const NeighborTable& members, Output& out);
    void lose(Instant now, std::deque<Claim>::iterator at, const NeighborTable& members,
              Output& out);
    std::deque<Claim>::iterator pending(rina::Address address);
    bool may_take(std::string_view sender, Changes<rina::AddrAllocRequest>& out);
    void refuse(Refusal refusal, Changes<rina::AddrAllocRequest>& out);
    bool is_valid(const rina::AddrAllocRequest& request) const;
    void object(const rina::AddrAllocRequest& request, Output& out);

    std::string self_;
    AddressConfig config_;
    Rng rng_;
    std::map<rina::Address, std::string> table_;  // who claimed it; "": not known
    std::deque<Claim> claims_;                    // pending, the earliest deadline first
    std::uint64_t next_claim_ = 1;
    std::map<std::string, std::uint32_t, std::less<>> per_sender_;
    std::uint32_t nacks_ = 0;
    RefusalCounts refused_;
};

}  // namespace sluice::mgmt
