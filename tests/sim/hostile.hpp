#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/rng.hpp"
#include "rina/vmpi.hpp"

namespace sluice::sim {

// A frame that a hostile peer might put on the ring: random bytes, or a real frame with something
// changed. It never names a living use of a channel correctly (that would be the peer's right, not
// an attack), so whatever it is, no flow may notice it.
std::vector<std::byte> make_garbage(Rng& rng, rina::vmpi::Profile profile,
                                    std::uint32_t max_channels,
                                    const std::vector<std::vector<std::byte>>& samples);

}  // namespace sluice::sim
