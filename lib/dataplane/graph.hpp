#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/types.hpp"
#include "dataplane/kind.hpp"

// The stage graph as data. A role makes it from its configuration with a pure function; plan()
// turns it into what each lcore does. Nothing here touches DPDK, so --check needs no device.
namespace sluice::dp {

// What happens to packets that the other end of an edge cannot take.
enum class Backpressure : std::uint8_t {
    drop_tail,  // dropped and counted (edge_full)
    hold,       // kept; whatever feeds this edge is not polled until they are gone
    credit,     // the producer asks LoopCtx::credit first and never sends more
};

std::string_view to_string(Backpressure b) noexcept;
std::optional<Backpressure> backpressure_of(std::string_view text) noexcept;

// key = value settings of a stage, as written; the kind's factory checks them.
using Params = std::map<std::string, std::string, std::less<>>;

struct NodeSpec {
    std::string name;
    std::string kind;
    Params params{};
    std::optional<LcoreId> lcore{};   // nothing: the planner chooses
    std::string with{};               // place on the same lcore as this node
    std::uint32_t mbufs_held = 0;     // the most packets it keeps (rings of a port, queues)
    std::string where{};              // "file:line" for errors
};

struct EdgeSpec {
    std::string from;
    unsigned outlet = 0;
    std::string to;
    unsigned inlet = 0;
    Backpressure backpressure = Backpressure::drop_tail;
    unsigned capacity = 1024;  // of the ring, if it becomes one; a power of two
    std::string where{};
};

struct Graph {
    std::vector<NodeSpec> nodes;
    std::vector<EdgeSpec> edges;
};

// kind name -> what the planner must know. An instance may need its own (outlets counted from its
// configuration); then it is registered under "kind:node".
using KindTable = std::map<std::string, KindInfo, std::less<>>;

enum class Idle : std::uint8_t {
    busy,      // polls for ever
    adaptive,  // spins for a while, naps, then sleeps until woken
};

// Where the graph runs.
struct Placement {
    std::vector<LcoreId> workers;     // in the order they are filled
    Idle idle = Idle::adaptive;
    std::map<LcoreId, Idle> idle_of;  // exceptions
    std::uint32_t mbufs_extra = 0;    // on top of what the plan computes
    std::uint32_t mbuf_cache = 256;   // per lcore
};

}  // namespace sluice::dp
