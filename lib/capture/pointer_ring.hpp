#pragma once

#include <rte_common.h>
#include <rte_ring.h>

#include <cstddef>
#include <memory>

namespace sluice::capture {

// A ring of pointers from one thread to another. Not from rte_ring_create(): that one wants names
// that are unique in the process.
template <class T>
class PointerRing {
  public:
    // False: no memory. For at least so many at a time, so that push() always has room.
    bool init(unsigned elements) {
        const unsigned size = rte_align32pow2(elements + 1);
        const auto bytes = static_cast<std::size_t>(rte_ring_get_memsize(size));
        memory_ = std::make_unique<std::byte[]>(bytes + RTE_CACHE_LINE_SIZE);
        ring_ = static_cast<rte_ring*>(
            static_cast<void*>(RTE_PTR_ALIGN_CEIL(memory_.get(), RTE_CACHE_LINE_SIZE)));
        return rte_ring_init(ring_, "capture", size, RING_F_SP_ENQ | RING_F_SC_DEQ) == 0;
    }
    void push(T* item) noexcept { static_cast<void>(rte_ring_sp_enqueue(ring_, item)); }
    // nullptr: empty.
    T* pop() noexcept {
        void* item = nullptr;
        return rte_ring_sc_dequeue(ring_, &item) == 0 ? static_cast<T*>(item) : nullptr;
    }
    // Any thread, roughly.
    unsigned count() const noexcept { return rte_ring_count(ring_); }

  private:
    std::unique_ptr<std::byte[]> memory_;
    rte_ring* ring_ = nullptr;
};

}  // namespace sluice::capture
