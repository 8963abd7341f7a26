#pragma once

#include <rte_mbuf.h>

#include <cstdint>

namespace sluice::dp {

// What stages tell each other about a packet. It lives in the first cache line of the mbuf, in the
// 8 bytes of the hash field: the line is hot anyway, no PMD reads that field on transmit, and a
// receiving stage has used the NIC's hash before it writes here.
struct PduMeta {
    std::uint32_t port_id;  // the flow (N-1 port) it belongs to
    std::uint16_t aux;      // the meaning is between two adjacent stages
    std::uint16_t flags;
};

static_assert(sizeof(PduMeta) <= sizeof(rte_mbuf::hash));

inline PduMeta& meta_of(rte_mbuf* m) noexcept { return reinterpret_cast<PduMeta&>(m->hash); }
inline const PduMeta& meta_of(const rte_mbuf* m) noexcept {
    return reinterpret_cast<const PduMeta&>(m->hash);
}

}  // namespace sluice::dp
