#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/counters.hpp"

namespace sluice::dp {

// What the planner must know of a kind of stage; pure data, no DPDK.
struct KindInfo {
    std::string name;
    bool source = false;   // has work of its own: poll() is called
    unsigned inlets = 0;   // process() is called with burst.inlet below this
    unsigned outlets = 0;  // emit() takes outlets below this
    // Which outlets poll() and process(inlet) may emit to, as bit masks: what the planner needs to
    // see that a stage which both receives and sends is not a loop.
    std::uint32_t poll_reaches = 0;
    std::vector<std::uint32_t> inlet_reaches;
    std::vector<CounterDesc> counters;  // at most kStageCounters; indices of LoopCtx::count

    // All of `outlets`, as a mask. The planner refuses more than fit.
    static constexpr std::uint32_t mask_of(unsigned outlets) noexcept {
        return outlets >= 32 ? ~std::uint32_t{0} : (std::uint32_t{1} << outlets) - 1;
    }

    // One of the usual shapes.
    static KindInfo source_of(std::string name, unsigned outlets = 1) {
        KindInfo k;
        k.name = std::move(name);
        k.source = true;
        k.outlets = outlets;
        k.poll_reaches = mask_of(outlets);
        return k;
    }
    static KindInfo filter_of(std::string name, unsigned outlets = 1) {
        KindInfo k;
        k.name = std::move(name);
        k.inlets = 1;
        k.outlets = outlets;
        k.inlet_reaches = {mask_of(outlets)};
        return k;
    }
    static KindInfo sink_of(std::string name) {
        KindInfo k;
        k.name = std::move(name);
        k.inlets = 1;
        k.inlet_reaches = {0};
        return k;
    }
};

}  // namespace sluice::dp
