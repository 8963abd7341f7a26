#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "base/result.hpp"
#include "normal_dif/core/rmt/address_table.hpp"
#include "normal_dif/core/rmt/n1_port.hpp"
#include "rina/pci.hpp"

// The PDU forwarding table: from a destination address to the N-1 port of the next hop. It is built
// in one go by the control plane and never changes after that.
namespace sluice::rmt {

struct NextHop {
    N1PortId port{};
    std::uint16_t weight = 1;  // its share among the hops of an entry

    bool operator==(const NextHop&) const = default;
};
inline constexpr std::size_t kHopsMax = 64;  // of one entry

// Where an entry leads: one N-1 port, or several that flows are spread over. The alternate is used
// while none of them is up; routing answers for its making no loop (RFC 5286).
struct Hops {
    std::vector<NextHop> ports;
    std::optional<N1PortId> alternate;

    bool operator==(const Hops&) const = default;
};

// The destination of the default entry, used for what no other entry is there for (rlite's
// convention too; no PDU for address 0 is ever looked up).
inline constexpr rina::Address kDefaultRoute{0};

// For Rmt::set_source(), what may come from an N-1 port. A member that has the greatest address of
// 8 bytes is not checked.
inline constexpr rina::Address kAnySource{~std::uint64_t{0}};
inline constexpr rina::Address kNoSource = rina::kThisHop;

struct Route {
    rina::Address destination{};
    std::optional<rina::QosId> qos;  // none: for those that no entry of this destination names
    Hops hops;

    bool operator==(const Route&) const = default;
};

// Names a direction of a flow within the DIF.
struct FlowKey {
    rina::Address destination{};
    rina::Address source{};
    rina::CepId destination_cep{};
    rina::CepId source_cep{};
    rina::QosId qos{};

    auto operator<=>(const FlowKey&) const noexcept = default;
};
constexpr FlowKey flow_of(const rina::Pci& pci) noexcept {
    return {pci.destination, pci.source, pci.destination_cep, pci.source_cep, pci.qos};
}

struct FlowRoute {
    FlowKey flow;
    Hops hops;

    bool operator==(const FlowRoute&) const = default;
};

enum class RouteStatus : std::uint8_t {
    found,
    no_route,
    down,  // there is an entry, and none of its ports is up
};
struct NextPort {
    N1PortId port = kNoN1Port;
    RouteStatus status = RouteStatus::no_route;

    bool operator==(const NextPort&) const = default;
};

// The most specific entry wins: that of the flow, of destination and QoS-id, of the destination,
// and the default entry.
class Pft {
  public:
    Pft() = default;  // leads nowhere

    NextPort route(const rina::Pci& pci, const N1PortSet& up) const noexcept {
        // Most tables hold single ports by destination; all else is out of line.
        const std::uint32_t answer = addresses_.find(pci.destination.value);
        if (is_single(answer) && flows_.empty()) [[likely]] {
            const N1PortId port = first_of(answer);
            if (up.test(port)) [[likely]]
                return {port, RouteStatus::found};
        }
        return route_rare(pci, answer, up);
    }
    // Larger than what a core has to itself: worth a prefetch() before a route() that is to come.
    bool is_large() const noexcept { return addresses_.bytes() > 128 * 1024; }
    void prefetch(rina::Address destination) const noexcept {
        addresses_.prefetch(destination.value);
    }

    // An entry of its own, not the default one.
    bool has_entry(rina::Address destination) const noexcept {
        return addresses_.find(destination.value) != 0;
    }
    std::size_t destinations() const noexcept { return addresses_.size(); }
    std::size_t bytes() const noexcept;  // of memory

    // What is in it, in order. For people and tests.
    std::vector<Route> routes() const;
    std::vector<FlowRoute> flow_routes() const;

  private:
    friend class PftBuilder;

    // Answers: 0 none; two bits that say what, then a port and its alternate, or an index.
    static constexpr unsigned kKindShift = 30, kPortBits = 13;
    static constexpr std::uint32_t kPortMask = (1u << kPortBits) - 1;
    static constexpr std::uint32_t kSingle = 1, kSpread = 2, kByQos = 3;
    static_assert(kN1PortsMax <= kPortMask, "one value more says that there is none");
    static constexpr std::uint32_t kind_of(std::uint32_t answer) { return answer >> kKindShift; }
    static constexpr bool is_single(std::uint32_t answer) { return kind_of(answer) == kSingle; }
    static constexpr std::uint32_t index_of(std::uint32_t answer) {
        return answer & ((1u << kKindShift) - 1);
    }
    static constexpr N1PortId first_of(std::uint32_t answer) {
        return N1PortId{static_cast<std::uint16_t>(answer & kPortMask)};
    }
    static constexpr N1PortId alternate_of(std::uint32_t answer) {
        return N1PortId{static_cast<std::uint16_t>(answer >> kPortBits & kPortMask)};
    }

    static constexpr std::size_t kShares = 256;
    // Ports that flows are spread over: a flow's hash picks a share, each share belongs to a port.
    struct Spread {
        std::array<std::uint16_t, kShares> shares{};
        std::vector<NextHop> ports;
        N1PortId alternate = kNoN1Port;
    };
    struct ByQos {
        std::vector<std::pair<rina::QosId, std::uint32_t>> answers;  // in order
        std::uint32_t otherwise = 0;
    };
    struct FlowSlot {
        FlowKey flow{};
        std::uint32_t answer = 0;
    };

    NextPort route_rare(const rina::Pci& pci, std::uint32_t answer,
                        const N1PortSet& up) const noexcept;
    std::uint32_t refine(std::uint32_t answer, rina::QosId qos) const noexcept;
    std::uint32_t find_flow(const FlowKey& flow) const noexcept;
    NextPort follow(std::uint32_t answer, const FlowKey& flow, const N1PortSet& up) const noexcept;
    NextPort pick(const Spread& spread, std::uint64_t hash, const N1PortSet& up) const noexcept;
    std::uint64_t hash(const FlowKey& flow) const noexcept;
    Hops hops_of(std::uint32_t answer) const;

    AddressTable addresses_;
    std::uint32_t default_ = 0;
    std::uint64_t seed_ = 0;
    std::vector<Spread> spreads_;
    std::vector<ByQos> by_qos_;
    std::vector<FlowSlot> flows_;  // open addressing, a power of two or empty
};

// Collects entries. EINVAL from add() for one that makes no sense, from build() for two that
// contradict each other.
class PftBuilder {
  public:
    // With the same seed, flows keep their paths from table to table as far as the ports allow.
    // Nodes need different ones: if all chose alike, a node would only get flows of one hash.
    explicit PftBuilder(std::uint64_t seed) noexcept : seed_(seed) {}

    Result<> add(Route route);
    Result<> add(FlowRoute route);
    void reserve(std::size_t routes) { routes_.reserve(routes); }
    Result<Pft> build();

  private:
    std::uint32_t encode(Pft& pft, const Hops& hops);
    Result<> encode_routes(Pft& pft);
    Result<> encode_flows(Pft& pft);

    std::uint64_t seed_;
    std::vector<Route> routes_;
    std::vector<FlowRoute> flows_;
    std::map<std::vector<std::uint32_t>, std::uint32_t> spreads_;  // equal ones are one
};

}  // namespace sluice::rmt
