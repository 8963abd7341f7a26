#pragma once

#include <cstdint>
#include <type_traits>

namespace sluice::dp {

class Stage;

// A message of the control thread to one stage on its lcore. Small and plain: what is larger is
// passed by pointer, whose ownership the receiver takes or returns by Punt, as the type says.
struct Mail {
    Stage* to = nullptr;
    std::uint32_t type = 0;  // the meaning is the stage's; 0xffff0000 and up are the loop's
    std::uint32_t arg = 0;
    std::uint64_t words[3] = {0, 0, 0};
    void* pointer = nullptr;
};

static_assert(std::is_trivially_copyable_v<Mail>);
static_assert(sizeof(Mail) % 4 == 0, "rte_ring takes elements in multiples of 4 bytes");

}  // namespace sluice::dp
