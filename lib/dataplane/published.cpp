#include "dataplane/published.hpp"

#include <rte_lcore.h>

#include <cstdlib>
#include <thread>

#include "base/check.hpp"

namespace sluice::dp {

Qsbr::Qsbr() {
    const std::size_t size = rte_rcu_qsbr_get_memsize(RTE_MAX_LCORE);
    state_ = static_cast<rte_rcu_qsbr*>(
        std::aligned_alloc(RTE_CACHE_LINE_SIZE, RTE_ALIGN_CEIL(size, RTE_CACHE_LINE_SIZE)));
    SLUICE_CHECK(state_ != nullptr);
    SLUICE_CHECK(rte_rcu_qsbr_init(state_, RTE_MAX_LCORE) == 0);
}

Qsbr::~Qsbr() { std::free(state_); }

void Qsbr::attach(unsigned lcore) noexcept {
    SLUICE_CHECK(rte_rcu_qsbr_thread_register(state_, lcore) == 0);
    rte_rcu_qsbr_thread_online(state_, lcore);
}

void Qsbr::detach(unsigned lcore) noexcept {
    offline(lcore);
    SLUICE_CHECK(rte_rcu_qsbr_thread_unregister(state_, lcore) == 0);
}

void Qsbr::synchronize() noexcept {
    const std::uint64_t token = begin_grace();
    while (!grace_over(token)) std::this_thread::yield();
}

}  // namespace sluice::dp
