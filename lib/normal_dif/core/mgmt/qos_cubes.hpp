#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "normal_dif/core/mgmt/flow_policies.hpp"
#include "rina/pci.hpp"

namespace sluice::mgmt {

// A class of flows that a DIF treats alike: what it promises them, and what it makes of them. The
// RMT's schedulers know cubes by their QoS-id.
struct QosCube {
    std::string name;
    rina::QosId id{};
    // What it promises. Nothing: it says nothing about it, and serves only who does not ask.
    std::optional<std::uint32_t> delay_us;
    std::optional<std::uint32_t> jitter_us;
    std::uint16_t loss = kLossAny;         // 1/10000; without retransmission
    std::uint64_t bandwidth_bps_min = 0;   // average bandwidth that a flow may ask for
    std::uint64_t bandwidth_bps_max = ~std::uint64_t{0};
    // What it makes of every flow. Nothing: as the flow asks.
    std::optional<std::int32_t> sdu_gap_max;
    std::optional<bool> in_order;

    bool operator==(const QosCube&) const = default;
};

class QosCubes {
  public:
    // The one cube of a DIF in which nobody said anything about cubes: QoS-id 0, any flow.
    QosCubes();
    // EINVAL: no cube, two with one id or name, bounds that nothing fulfils, ids wider than the
    // format's. The order is the preference: cheap ones come first.
    static Result<QosCubes> make(std::vector<QosCube> cubes, const rina::PciFormat& format);

    // The first cube that promises what the flow asks for.
    const QosCube* choose(const FlowSpec& spec) const noexcept;
    const QosCube* find(rina::QosId id) const noexcept;
    const QosCube& first() const noexcept { return cubes_.front(); }
    std::span<const QosCube> all() const noexcept { return cubes_; }

  private:
    std::vector<QosCube> cubes_;
};

bool serves(const QosCube& cube, const FlowSpec& spec) noexcept;
// The flow as the cube makes it: at least as good as asked for if the cube serves it.
FlowSpec within(const QosCube& cube, FlowSpec spec) noexcept;

}  // namespace sluice::mgmt
