// One of the targets: SLUICE_FUZZ_TARGET says which.
#include <cstdint>

#include "rina_targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static_cast<void>(
        sluice::fuzz::SLUICE_FUZZ_TARGET({reinterpret_cast<const std::byte*>(data), size}));
    return 0;
}
