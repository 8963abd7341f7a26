// One of a table of targets: SLUICE_FUZZ_TARGET says which.
#include <cstdint>
#include <string_view>

#include "base/check.hpp"
#include "target.hpp"

namespace {

const sluice::fuzz::Target& chosen() {
    for (const sluice::fuzz::Target& target : sluice::fuzz::targets())
        if (target.name == SLUICE_FUZZ_TARGET) return target;
    SLUICE_CHECK(false);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const sluice::fuzz::Target& target = chosen();
    static_cast<void>(target.run({reinterpret_cast<const std::byte*>(data), size}));
    return 0;
}
