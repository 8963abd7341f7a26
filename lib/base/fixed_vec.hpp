#pragma once

#include <array>
#include <cstddef>
#include <type_traits>
#include <utility>

#include "base/check.hpp"

namespace sluice {

// A vector in place, for the packet path: at most N elements, no allocation. push_back on a full
// one is a programmer's error; try_push says no.
template <typename T, std::size_t N>
class FixedVec {
  public:
    constexpr std::size_t size() const noexcept { return size_; }
    static constexpr std::size_t capacity() noexcept { return N; }
    constexpr std::size_t room() const noexcept { return N - size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr bool full() const noexcept { return size_ == N; }
    constexpr void clear() noexcept { size_ = 0; }

    constexpr void push_back(T value) noexcept(std::is_nothrow_move_assignable_v<T>) {
        SLUICE_DCHECK(size_ < N);
        items_[size_++] = std::move(value);
    }
    constexpr bool try_push(T value) noexcept(std::is_nothrow_move_assignable_v<T>) {
        if (size_ == N) return false;
        items_[size_++] = std::move(value);
        return true;
    }

    constexpr T& operator[](std::size_t i) noexcept { return items_[i]; }
    constexpr const T& operator[](std::size_t i) const noexcept { return items_[i]; }
    constexpr T* data() noexcept { return items_.data(); }
    constexpr T* begin() noexcept { return items_.data(); }
    constexpr T* end() noexcept { return items_.data() + size_; }
    constexpr const T* begin() const noexcept { return items_.data(); }
    constexpr const T* end() const noexcept { return items_.data() + size_; }

  private:
    std::array<T, N> items_{};
    std::size_t size_ = 0;
};

}  // namespace sluice
