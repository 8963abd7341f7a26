#include "dif_targets.hpp"

#include "target.hpp"

namespace sluice::fuzz {

std::span<const Target> targets() noexcept {
    static constexpr Target kTargets[] = {
        {"flow_allocator", flow_allocator},
        {"ipcp", ipcp},
        {"transfer", transfer},
        {"efcp", efcp},
        {"sdu_protection", sdu_protection},
        {"reassembler", reassembler},
    };
    return kTargets;
}

}  // namespace sluice::fuzz
