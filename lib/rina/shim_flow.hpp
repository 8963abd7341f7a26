#pragma once

#include <cstdint>
#include <string>

#include "rina/names.hpp"

// What the shims whose flows are nothing on the wire (Ethernet, UDP) tell their users about them.
// `Handle` is a StrongId of the shim's own, so that flows of two shims are not taken for each
// other.
namespace sluice::rina::shim_flow {

// A peer has sent the first SDU: answer with accept() or refuse(). SDUs that come before the answer
// have the verdict `hold`.
template <typename Handle>
struct Requested {
    Handle flow{};
    AppName local;
    AppName remote;
};
template <typename Handle>
struct Allocated {
    Handle flow{};
    std::uint32_t cookie = 0;   // as it was given to allocate()
    std::uint32_t max_sdu = 0;  // bytes
};
// An allocation ended without a flow, or a request was withdrawn. Held SDUs are to be dropped.
template <typename Handle>
struct Failed {
    Handle flow{};
    std::uint32_t cookie = 0;  // 0 of a request
    Reason reason = Reason::ok;
    std::string text;  // one sentence, for people
};
// Nothing gets through, but the flow is kept: Up will follow, or the user deallocates.
template <typename Handle>
struct Down {
    Handle flow{};
    Reason why = Reason::ok;
};
template <typename Handle>
struct Up {
    Handle flow{};
};

}  // namespace sluice::rina::shim_flow
