#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "base/check.hpp"

namespace sluice::rmt {

// The least first, of up to kIds small numbers that each have a key; any can be taken out. Keys are
// compared by their difference, so that counters may roll over.
template <std::size_t kIds>
class CubeHeap {
    static_assert(kIds < 255);

  public:
    CubeHeap() noexcept { place_.fill(kNowhere); }

    bool empty() const noexcept { return size_ == 0; }
    std::size_t size() const noexcept { return size_; }
    bool contains(std::size_t id) const noexcept { return place_[id] != kNowhere; }
    // There must be one.
    std::size_t top() const noexcept {
        SLUICE_DCHECK(size_ > 0);
        return heap_[0];
    }
    std::int64_t top_key() const noexcept { return keys_[top()]; }

    // It must not be in there.
    void push(std::size_t id, std::int64_t key) noexcept {
        SLUICE_DCHECK(!contains(id));
        keys_[id] = key;
        put(size_, static_cast<std::uint8_t>(id));
        rise(size_++);
    }
    // Nothing if it is not in there.
    void remove(std::size_t id) noexcept {
        if (!contains(id)) return;
        const std::size_t at = place_[id];
        place_[id] = kNowhere;
        if (at == --size_) return;
        put(at, heap_[size_]);
        rise(at);
        sink(at);
    }
    std::size_t pop() noexcept {
        const std::size_t id = top();
        remove(id);
        return id;
    }

  private:
    static constexpr std::uint8_t kNowhere = 255;

    bool before(std::size_t a, std::size_t b) const noexcept {
        return static_cast<std::int64_t>(static_cast<std::uint64_t>(keys_[heap_[a]]) -
                                         static_cast<std::uint64_t>(keys_[heap_[b]])) < 0;
    }
    void put(std::size_t at, std::uint8_t id) noexcept {
        heap_[at] = id;
        place_[id] = static_cast<std::uint8_t>(at);
    }
    void swap(std::size_t a, std::size_t b) noexcept {
        const std::uint8_t id = heap_[a];
        put(a, heap_[b]);
        put(b, id);
    }
    void rise(std::size_t at) noexcept {
        for (; at > 0 && before(at, (at - 1) / 2); at = (at - 1) / 2) swap(at, (at - 1) / 2);
    }
    void sink(std::size_t at) noexcept {
        for (;;) {
            std::size_t least = at;
            for (std::size_t child = 2 * at + 1; child <= 2 * at + 2 && child < size_; ++child)
                if (before(child, least)) least = child;
            if (least == at) return;
            swap(at, least);
            at = least;
        }
    }

    std::array<std::int64_t, kIds> keys_{};
    std::array<std::uint8_t, kIds> heap_{};
    std::array<std::uint8_t, kIds> place_{};
    std::size_t size_ = 0;
};

}  // namespace sluice::rmt
