#pragma once

#include <rte_memcpy.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace sluice::capture {

// How many bytes copy_freely() may touch behind the last one that is asked for.
inline constexpr std::uint32_t kCopySlack = 64;
inline constexpr std::uint32_t kShortCopy = 256;

// The one copy a packet costs. Short packets, which are most, go in whole vectors: what lies behind
// the packet is read, and what lies behind the record is overwritten, up to kCopySlack bytes, and
// the caller has seen to it that both may be.
inline void copy_freely(std::byte* to, const std::byte* from, std::uint32_t n) noexcept {
    if (n > kShortCopy) [[unlikely]] {
        rte_memcpy(to, from, n);
        return;
    }
    using Line = char __attribute__((vector_size(64), aligned(1), may_alias));
    for (std::uint32_t at = 0; at < n; at += 64)
        *reinterpret_cast<Line*>(to + at) = *reinterpret_cast<const Line*>(from + at);
}

}  // namespace sluice::capture
