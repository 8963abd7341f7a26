#pragma once

#include <cstddef>

namespace sluice::test {

// How often libcrypto has asked for memory in this process.
std::size_t libcrypto_allocations();

}  // namespace sluice::test
