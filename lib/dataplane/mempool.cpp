#include "dataplane/mempool.hpp"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_mbuf.h>

#include <limits>

namespace sluice::dp {

Result<std::unique_ptr<Mempool>> Mempool::create(const Options& o) {
    const std::uint64_t room = std::uint64_t{o.data_size} + RTE_PKTMBUF_HEADROOM;
    if (o.data_size < 256 || room > std::numeric_limits<std::uint16_t>::max())
        return fail(EINVAL, "mbuf data size {} is out of range, expected 256 to {} bytes",
                    o.data_size,
                    std::numeric_limits<std::uint16_t>::max() - RTE_PKTMBUF_HEADROOM);
    // The mempool library's own limits, which it reports as a bare EINVAL.
    if (o.cache > RTE_MEMPOOL_CACHE_MAX_SIZE || o.count < o.cache + o.cache / 2 || o.count == 0)
        return fail(EINVAL, "{} mbufs with a cache of {} per lcore are not possible, expected a "
                    "cache of at most {} and of two thirds of the mbufs", o.count, o.cache,
                    RTE_MEMPOOL_CACHE_MAX_SIZE);
    rte_mempool* pool =
        rte_pktmbuf_pool_create(o.name.c_str(), o.count, o.cache, 0,
                                static_cast<std::uint16_t>(room), SOCKET_ID_ANY);
    if (pool == nullptr) {
        const std::uint64_t mib = (o.count * (room + sizeof(rte_mbuf) + 64)) >> 20;
        return fail(rte_errno,
                    "no memory for {} mbufs of {} bytes (about {} MiB): give EAL more with -m, "
                    "reserve hugepages, or ask for fewer in [mempool] ({})",
                    o.count, o.data_size, mib, rte_strerror(rte_errno));
    }
    return std::unique_ptr<Mempool>(new Mempool(pool));
}

Mempool::~Mempool() { rte_mempool_free(pool_); }

}  // namespace sluice::dp
