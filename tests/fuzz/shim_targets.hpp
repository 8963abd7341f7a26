#pragma once

#include <cstddef>
#include <span>

// The cores of the Ethernet and UDP shims under whatever a network and a user may do. The bytes are
// a script of frames, answers, calls and time; a violation aborts. Says whether anything was
// received, that is, whether some flow carried data.

namespace sluice::fuzz {

bool shim_eth(std::span<const std::byte> bytes);
bool shim_udp(std::span<const std::byte> bytes);

}  // namespace sluice::fuzz
