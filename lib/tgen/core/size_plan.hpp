#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/check.hpp"

namespace sluice::tgen {

inline constexpr std::uint32_t kSduSizeMax = 65000;

// from, from + step, ... up to and including at most `to`, and again from the start. A constant
// size is the range with from == to.
struct SizeRange {
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    std::uint32_t step = 1;

    static constexpr SizeRange constant(std::uint32_t size) noexcept { return {size, size, 1}; }
    constexpr bool is_constant() const noexcept { return from == to; }
    constexpr bool valid() const noexcept {
        return from <= to && to <= kSduSizeMax && step > 0;
    }
    bool operator==(const SizeRange&) const = default;
};

// The sizes of the SDUs to come.
class SizePlan {
  public:
    SizePlan() noexcept = default;
    explicit SizePlan(SizeRange range) noexcept : range_(range), next_(range.from) {
        SLUICE_DCHECK(range.valid());
    }

    const SizeRange& range() const noexcept { return range_; }
    std::uint32_t peek() const noexcept { return next_; }
    void advance() noexcept {
        next_ = range_.to - next_ < range_.step ? range_.from : next_ + range_.step;
    }

  private:
    SizeRange range_{};
    std::uint32_t next_ = 0;
};

// A byte string in pieces: what raw mode sends of a file.
class Chunker {
  public:
    Chunker() noexcept = default;
    explicit Chunker(std::span<const std::byte> data) noexcept : data_(data) {}

    bool at_end() const noexcept { return data_.empty(); }
    std::size_t left() const noexcept { return data_.size(); }
    // The next `size` bytes, or what is left of them.
    std::span<const std::byte> peek(std::size_t size) const noexcept {
        return data_.first(size < data_.size() ? size : data_.size());
    }
    void advance(std::size_t size) noexcept { data_ = data_.subspan(peek(size).size()); }

  private:
    std::span<const std::byte> data_{};
};

}  // namespace sluice::tgen
