#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/instant.hpp"

namespace sluice::mgmt {

// Numbers for port-ids and CEP-ids: from 0 upwards as rlite hands them out, but one that was given
// back rests before somebody else gets it. PDUs and M_DELETEs that are still under way for the old
// owner find nobody then, instead of the new one. Everything is O(1).
class IdPool {
  public:
    // `count` numbers from 0, which rest for `rest`: at least as long as a PDU lives.
    IdPool(std::uint32_t count, Duration rest) : count_(count), rest_(rest) {}

    // A pool of all numbers of this many bytes, but of no more than two million: a flow takes a few
    // hundred bytes here, and one more number takes a bit.
    static IdPool of_width(unsigned bytes, Duration rest) {
        const std::uint32_t most = 1u << 21;
        return IdPool(bytes >= 3 ? most : 1u << (8 * bytes), rest);
    }

    // Nothing: all are in use or at rest.
    std::optional<std::uint32_t> acquire(Instant now);
    // False, and nothing happens, if `id` is not in use.
    bool release(Instant now, std::uint32_t id);

    bool is_used(std::uint32_t id) const noexcept { return id < used_.size() && used_[id]; }
    std::size_t in_use() const noexcept { return in_use_; }
    std::size_t resting() const noexcept { return resting_.size(); }
    std::uint32_t count() const noexcept { return count_; }

  private:
    struct Resting {
        Instant until{};
        std::uint32_t id = 0;
    };

    std::uint32_t count_;
    Duration rest_;
    std::vector<bool> used_;  // as long as the numbers that were ever handed out
    std::deque<Resting> resting_;  // the first to come back in front
    std::size_t in_use_ = 0;
};

}  // namespace sluice::mgmt
