#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "normal_dif/core/mgmt/lfdb.hpp"
#include "normal_dif/core/mgmt/neighbors.hpp"
#include "normal_dif/core/mgmt/spf.hpp"
#include "normal_dif/core/policy/params.hpp"
#include "normal_dif/core/rmt/pft.hpp"

// Routing as a policy: from what is known of the DIF to the entries of the forwarding table.
namespace sluice::mgmt {

// The N-1 ports to each enrolled neighbour, by name: those that there are flows on.
using NeighborPorts = std::map<std::string, std::vector<rmt::N1PortId>, std::less<>>;

struct RoutingInput {
    const Lfdb& lfdb;
    const NeighborTable& members;
    const NeighborPorts& ports;
};

struct RouteList {
    std::vector<rmt::Route> routes;  // in order of addresses, one for each; PftBuilder takes it
    std::size_t reachable = 0;       // nodes
    std::size_t unnamed = 0;         // reachable, but their address is not known
    std::size_t doubled = 0;         // they have the address of another node
    std::size_t alternates = 0;      // routes with one
};

class RoutingPolicy {
  public:
    virtual ~RoutingPolicy() = default;
    virtual RouteList routes(const RoutingInput& input) const = 0;
};

struct RoutingPolicyInfo {
    std::string_view name;
    std::string_view help;
    std::string_view params;  // keys with their defaults
    Result<std::unique_ptr<RoutingPolicy>> (*make)(policy::Params& params);
    // What members tell each other for it. Those for whom that is the same can be mixed.
    std::string_view told = "link states";
};
// To add one: its class and a line in the table of routing.cpp, and a test. Its parameters are
// what its factory asks for.
std::span<const RoutingPolicyInfo> routing_policies() noexcept;

// EINVAL: a name that nobody knows, or a parameter that the policy does not understand.
Result<std::unique_ptr<RoutingPolicy>> make_routing(std::string_view name,
                                                    std::span<const policy::Param> params);

// The neighbours that lead on: somebody else than us has a link to them, and they to it. Behind all
// others the DIF ends: what comes from there is theirs, or forged.
std::vector<std::string_view> transit_neighbors(const Lfdb& lfdb, const NeighborPorts& ports);

// When to compute routes: at once in a small DIF, not too often in a large one (rlite does so above
// 50 nodes).
class RoutingSchedule {
  public:
    struct Config {
        std::size_t small_nodes_max = 50;
        Duration interval = Duration::seconds(5);
    };
    RoutingSchedule() = default;
    explicit RoutingSchedule(Config config) : config_(config) {}

    // What is due comes no later for it.
    const Config& config() const noexcept { return config_; }
    void set_config(Instant now, std::size_t nodes, Config config) noexcept;

    void mark(Instant now, std::size_t nodes) noexcept;
    // Instant::never() if nothing changed.
    Instant next_deadline() const noexcept { return due_; }
    bool is_due(Instant now) const noexcept { return due_ <= now; }
    void done(Instant now) noexcept {
        last_ = now;
        ever_ = true;
        due_ = Instant::never();
    }

  private:
    Config config_;
    Instant due_ = Instant::never();
    Instant last_{};
    bool ever_ = false;
};

}  // namespace sluice::mgmt
