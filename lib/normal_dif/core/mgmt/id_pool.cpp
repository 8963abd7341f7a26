#include "normal_dif/core/mgmt/id_pool.hpp"

namespace sluice::mgmt {

std::optional<std::uint32_t> IdPool::acquire(Instant now) {
    std::uint32_t id = 0;
    // Used numbers first: tables that are indexed by them stay as small as the load was.
    if (!resting_.empty() && resting_.front().until <= now) {
        id = resting_.front().id;
        resting_.pop_front();
    } else if (used_.size() < count_) {
        id = static_cast<std::uint32_t>(used_.size());
        used_.push_back(false);
    } else {
        return std::nullopt;
    }
    used_[id] = true;
    ++in_use_;
    return id;
}

bool IdPool::release(Instant now, std::uint32_t id) {
    if (!is_used(id)) return false;
    used_[id] = false;
    --in_use_;
    resting_.push_back({now + rest_, id});
    return true;
}

}  // namespace sluice::mgmt
