#pragma once

#include <cstddef>
#include <vector>

#include "base/check.hpp"

namespace sluice::capture {

// A queue that holds at most as many as it was made for, so that nothing is allocated on an lcore.
template <class T>
class Fifo {
  public:
    explicit Fifo(std::size_t most) : items_(most) {}

    bool empty() const noexcept { return count_ == 0; }
    std::size_t size() const noexcept { return count_; }
    T& front() noexcept { return (*this)[0]; }
    T& operator[](std::size_t i) noexcept { return items_[(first_ + i) % items_.size()]; }
    void push_back(T item) noexcept {
        SLUICE_CHECK(count_ < items_.size());
        items_[(first_ + count_++) % items_.size()] = std::move(item);
    }
    void pop_front() noexcept {
        first_ = (first_ + 1) % items_.size();
        --count_;
    }
    void clear() noexcept { first_ = count_ = 0; }

  private:
    std::vector<T> items_;
    std::size_t first_ = 0;
    std::size_t count_ = 0;
};

}  // namespace sluice::capture
