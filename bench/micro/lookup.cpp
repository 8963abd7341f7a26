#include "lookup.hpp"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/rng.hpp"

namespace sluice::bench {

namespace {

void shuffle(std::vector<std::uint32_t>& values, std::uint64_t seed) {
    Rng rng(seed);
    for (std::size_t i = values.size(); i > 1; --i)
        std::swap(values[i - 1], values[rng.below(i)]);
}

}  // namespace

HashTable::HashTable(std::span<const std::uint32_t> keys)
    : slots_(std::bit_ceil(2 * keys.size())), mask_(slots_.size() - 1) {
    std::vector<std::uint32_t> circle(keys.begin(), keys.end());
    shuffle(circle, 2);
    for (std::size_t i = 0; i < circle.size(); ++i) {
        std::size_t at = slot_of(circle[i]);
        while (slots_[at].key != 0) at = (at + 1) & mask_;
        slots_[at] = {circle[i], circle[(i + 1) % circle.size()]};
    }
}

Chase::Chase(std::size_t bytes) : lines_(std::max<std::size_t>(bytes / sizeof(Line), 1)) {
    std::vector<std::uint32_t> order(lines_.size());
    std::iota(order.begin(), order.end(), 0u);
    shuffle(order, 3);
    for (std::size_t i = 0; i < order.size(); ++i)
        lines_[order[i]].next = order[(i + 1) % order.size()];
}

}  // namespace sluice::bench
