#pragma once

#include <rte_memcpy.h>

#include <cstddef>
#include <cstdint>
#if defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#endif

namespace sluice::capture {

// The one copy a packet costs. Most packets are short, and a masked store has no branch on the
// length; it neither reads nor writes a byte beyond `n`.
inline void copy_packet(std::byte* to, const std::byte* from, std::uint32_t n) noexcept {
#if defined(__AVX512BW__) && defined(__AVX512VL__)
    if (n <= 256) [[likely]] {
        while (n >= 64) {
            _mm512_storeu_si512(to, _mm512_loadu_si512(from));
            to += 64;
            from += 64;
            n -= 64;
        }
        const __mmask64 mask = (std::uint64_t{1} << n) - 1;  // n < 64
        _mm512_mask_storeu_epi8(to, mask, _mm512_maskz_loadu_epi8(mask, from));
        return;
    }
#endif
    rte_memcpy(to, from, n);
}

}  // namespace sluice::capture
