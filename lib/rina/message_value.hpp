#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

// What the values of CDAP messages and RIB objects are made of.
namespace sluice::rina {

using Bytes = std::vector<std::byte>;

// How much of a message is written. Both say the same to every receiver, for an absent field means
// its default.
enum class Emission : std::uint8_t {
    as_rlite,  // zeros and empty strings wherever rlite writes them: byte for byte what it sends
    sparse,    // only what differs from the default, and what is required
};

// An integer that is small on the wire when it is negative (protobuf's sint32 and sint64).
template <typename T>
struct SInt {
    T value = 0;
    bool operator==(const SInt&) const = default;
};

// A value that may be absent and takes no more than a pointer then: for the many parts of an object
// that nobody sends. Copies and compares what it holds.
template <typename T>
class Boxed {
  public:
    Boxed() noexcept = default;
    Boxed(T value) : value_(std::make_unique<T>(std::move(value))) {}
    Boxed(const Boxed& other) : value_(other ? std::make_unique<T>(*other) : nullptr) {}
    Boxed(Boxed&&) noexcept = default;
    Boxed& operator=(const Boxed& other) {
        if (this != &other) value_ = other ? std::make_unique<T>(*other) : nullptr;
        return *this;
    }
    Boxed& operator=(Boxed&&) noexcept = default;

    explicit operator bool() const noexcept { return value_ != nullptr; }
    const T& operator*() const noexcept { return *value_; }
    T& operator*() noexcept { return *value_; }
    const T* operator->() const noexcept { return value_.get(); }
    T* operator->() noexcept { return value_.get(); }
    T& emplace() {
        value_ = std::make_unique<T>();
        return *value_;
    }

    bool operator==(const Boxed& other) const {
        if (value_ == nullptr || other.value_ == nullptr) return value_ == other.value_;
        return *value_ == *other.value_;
    }

  private:
    std::unique_ptr<T> value_;
};

}  // namespace sluice::rina
