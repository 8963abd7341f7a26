#pragma once

#include <algorithm>
#include <bit>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/check.hpp"
#include "base/instant.hpp"
#include "base/types.hpp"
#include "rina/pci.hpp"

namespace sluice::rmt {

// What a scheduler is told about a PDU that waits for an N-1 port.
struct SchedItem {
    PduToken token{};
    std::uint32_t bytes = 0;
    rina::QosId qos{};

    bool operator==(const SchedItem&) const = default;
};

enum class Enqueue : std::uint8_t {
    accepted,
    marked,   // accepted, and its sender is to hear of congestion: mark_congestion()
    dropped,  // the token stays with the caller: DropReason::dif_queue_full
};

struct QueueLimits {
    std::uint32_t pdus_max = 1024;
    std::uint64_t bytes_max = 131072;  // rlite's default
    // A PDU is marked if with it more than this waits.
    std::uint64_t mark_above_bytes = std::numeric_limits<std::uint64_t>::max();
};

struct Backlog {
    std::uint64_t pdus = 0;
    std::uint64_t bytes = 0;

    bool operator==(const Backlog&) const = default;
};

struct QueueStats {
    std::uint64_t pdus_in = 0, bytes_in = 0;  // accepted
    std::uint64_t pdus_out = 0, bytes_out = 0;
    std::uint64_t pdus_dropped = 0, bytes_dropped = 0;
    std::uint64_t pdus_marked = 0;
    std::uint64_t bytes_highest = 0;
};

// What every scheduler does. Who owns one has it to himself: an N-1 port belongs to one lcore.
template <typename S>
concept Scheduler = requires(S s, const S c, Instant now, const SchedItem& item,
                             std::uint64_t budget, std::span<SchedItem> out, std::size_t queue) {
    { s.enqueue(now, item) } noexcept -> std::same_as<Enqueue>;
    // The PDUs to send now, in order: at most out.size(), and together at most `budget` bytes. It
    // ends before a PDU that the rest of the budget does not cover, rather than send another first.
    { s.dequeue(now, budget, out) } noexcept -> std::same_as<std::size_t>;
    { c.backlog() } noexcept -> std::same_as<Backlog>;
    { c.queues() } noexcept -> std::same_as<std::size_t>;
    { c.queue_backlog(queue) } noexcept -> std::same_as<Backlog>;
    { c.stats(queue) } noexcept -> std::same_as<const QueueStats&>;
};

// First in, first out, with drop-tail. Its memory is got once.
class PduQueue {
  public:
    struct Entry {
        PduToken token{};
        Instant arrival{};
        std::uint32_t bytes = 0;
        rina::QosId qos{};
    };

    explicit PduQueue(const QueueLimits& limits)
        : limits_(limits),
          mask_(std::bit_ceil(std::max(limits.pdus_max, 1u)) - 1),
          ring_(std::size_t{mask_} + 1) {}

    bool empty() const noexcept { return in_ == out_; }
    Backlog backlog() const noexcept { return {in_ - out_, bytes_}; }
    const QueueStats& stats() const noexcept { return stats_; }
    const QueueLimits& limits() const noexcept { return limits_; }

    bool has_room(std::uint32_t bytes) const noexcept {
        return in_ - out_ < limits_.pdus_max && bytes_ + bytes <= limits_.bytes_max;
    }
    Enqueue push(Instant now, const SchedItem& item) noexcept {
        return has_room(item.bytes) ? accept(now, item) : refuse(item);
    }
    // Without a look at bytes_max: for schedulers that share memory between queues.
    Enqueue accept(Instant now, const SchedItem& item) noexcept {
        SLUICE_DCHECK(in_ - out_ < limits_.pdus_max);
        ring_[in_++ & mask_] = {item.token, now, item.bytes, item.qos};
        bytes_ += item.bytes;
        ++stats_.pdus_in;
        stats_.bytes_in += item.bytes;
        stats_.bytes_highest = std::max(stats_.bytes_highest, bytes_);
        if (bytes_ <= limits_.mark_above_bytes) return Enqueue::accepted;
        ++stats_.pdus_marked;
        return Enqueue::marked;
    }
    Enqueue refuse(const SchedItem& item) noexcept {
        ++stats_.pdus_dropped;
        stats_.bytes_dropped += item.bytes;
        return Enqueue::dropped;
    }

    // There must be one.
    const Entry& front() const noexcept {
        SLUICE_DCHECK(!empty());
        return ring_[out_ & mask_];
    }
    SchedItem pop() noexcept {
        const Entry& entry = front();
        ++out_;
        bytes_ -= entry.bytes;
        ++stats_.pdus_out;
        stats_.bytes_out += entry.bytes;
        return {entry.token, entry.bytes, entry.qos};
    }

  private:
    QueueLimits limits_;
    std::uint32_t mask_;
    std::uint32_t in_ = 0, out_ = 0;  // counted on; the mask makes indices of them
    std::uint64_t bytes_ = 0;
    QueueStats stats_;
    std::vector<Entry> ring_;
};

inline constexpr std::size_t kQueuesMax = 64;

// The queues of a scheduler with classes: the QoS-id is the number of the queue, those beyond the
// last queue go there (as rlite does it).
class QueueSet {
  public:
    QueueSet(std::size_t queues, const QueueLimits& limits) : queues_(queues, PduQueue(limits)) {
        SLUICE_CHECK(queues >= 1 && queues <= kQueuesMax);
    }

    Enqueue push(Instant now, const SchedItem& item) noexcept {
        const std::size_t queue = std::min<std::size_t>(item.qos.value, queues_.size() - 1);
        const Enqueue result = queues_[queue].push(now, item);
        if (result == Enqueue::dropped) return result;
        waiting_ |= std::uint64_t{1} << queue;
        ++backlog_.pdus;
        backlog_.bytes += item.bytes;
        return result;
    }
    SchedItem pop(std::size_t queue) noexcept {
        const SchedItem item = queues_[queue].pop();
        if (queues_[queue].empty()) waiting_ &= ~(std::uint64_t{1} << queue);
        --backlog_.pdus;
        backlog_.bytes -= item.bytes;
        return item;
    }
    std::uint32_t front_bytes(std::size_t queue) const noexcept {
        return queues_[queue].front().bytes;
    }

    bool empty() const noexcept { return waiting_ == 0; }
    bool waits(std::size_t queue) const noexcept { return (waiting_ >> queue & 1) != 0; }
    // There must be one that waits.
    std::size_t first() const noexcept {
        return static_cast<std::size_t>(std::countr_zero(waiting_));
    }
    // The next that waits after `queue`, round and round.
    std::size_t after(std::size_t queue) const noexcept {
        const std::uint64_t above = queue + 1 < 64 ? waiting_ >> (queue + 1) << (queue + 1) : 0;
        return above != 0 ? static_cast<std::size_t>(std::countr_zero(above)) : first();
    }

    Backlog backlog() const noexcept { return backlog_; }
    std::size_t size() const noexcept { return queues_.size(); }
    const PduQueue& operator[](std::size_t queue) const noexcept { return queues_[queue]; }

  private:
    std::vector<PduQueue> queues_;
    std::uint64_t waiting_ = 0;
    Backlog backlog_;
};

}  // namespace sluice::rmt
