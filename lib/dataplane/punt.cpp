#include "dataplane/punt.hpp"

#include <rte_errno.h>
#include <rte_ring_elem.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cstring>

namespace sluice::dp {

static_assert(sizeof(PuntItem) % 4 == 0);

Result<std::unique_ptr<Punt>> Punt::create(const std::string& name, unsigned capacity) {
    rte_ring* ring = rte_ring_create_elem(name.c_str(), sizeof(PuntItem), capacity, SOCKET_ID_ANY,
                                          RING_F_SC_DEQ);
    if (ring == nullptr)
        return fail(rte_errno, "cannot create the punt ring {}: {}", name, rte_strerror(rte_errno));
    const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0) {
        const int code = errno;
        rte_ring_free(ring);
        return fail(code, "cannot create an eventfd: {}", std::strerror(code));
    }
    return std::unique_ptr<Punt>(new Punt(ring, fd));
}

Punt::~Punt() {
    PuntItem item;
    while (drain(&item, 1) == 1)
        if (item.packet != nullptr) rte_pktmbuf_free(item.packet);
    rte_ring_free(ring_);
    close(fd_);
}

Punt::Pushed Punt::push(const PuntItem& item) noexcept {
    if (item.quota != nullptr) {
        if (item.quota->waiting_.fetch_add(1, std::memory_order_relaxed) >= item.quota->limit_) {
            item.quota->waiting_.fetch_sub(1, std::memory_order_relaxed);
            return Pushed::over_quota;
        }
    }
    if (rte_ring_enqueue_elem(ring_, const_cast<PuntItem*>(&item), sizeof(item)) != 0) {
        if (item.quota != nullptr) item.quota->waiting_.fetch_sub(1, std::memory_order_relaxed);
        return Pushed::full;
    }
    if (!signalled_.exchange(true, std::memory_order_seq_cst)) {
        const std::uint64_t one = 1;
        // Fails only if 2^64 - 1 wake-ups are pending.
        [[maybe_unused]] const ssize_t written = write(fd_, &one, sizeof(one));
    }
    return Pushed::ok;
}

unsigned Punt::drain(PuntItem* items, unsigned most) noexcept {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(fd_, &count, sizeof(count));
    // Cleared before looking: what is pushed from here on kicks again. An exchange, because a
    // plain store would not order us after the push whose kick it takes back.
    signalled_.exchange(false, std::memory_order_seq_cst);
    unsigned taken = 0;
    while (taken < most &&
           rte_ring_dequeue_elem(ring_, &items[taken], sizeof(PuntItem)) == 0) {
        if (items[taken].quota != nullptr)
            items[taken].quota->waiting_.fetch_sub(1, std::memory_order_relaxed);
        ++taken;
    }
    return taken;
}

}  // namespace sluice::dp
