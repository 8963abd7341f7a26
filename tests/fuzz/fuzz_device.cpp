#include "targets.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    sluice::fuzz::device({reinterpret_cast<const std::byte*>(data), size});
    return 0;
}
