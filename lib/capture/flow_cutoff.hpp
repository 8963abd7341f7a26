#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "base/instant.hpp"
#include "base/result.hpp"

struct rte_mbuf;

namespace sluice::capture {

// Leaves out what a flow carries beyond its first bytes, which is where most of the bytes of a
// network are and least of what an analyst reads ("Enriching Network Security Analysis with Time
// Travel", Maier et al., SIGCOMM 2008).
//
// A flow is a 5-tuple of IPv4 or IPv6 with both its directions, within its VLANs (also stripped
// ones). Fragments and protocols without ports are told apart by addresses and protocol alone.
// What is not IP, or ends before the header does, is kept. A TCP SYN starts its flow again.
//
// Memory is fixed: flows live in sets of one cache line. Where a set is full, the flow that was
// silent longest is forgotten, and starts again if it goes on: errors are packets too many.
// A flow is known by a keyed hash of 64 bits; two flows that share it are counted as one.
class FlowCutoff {
  public:
    struct Options {
        std::uint64_t bytes = 0;  // the packet that crosses this is still kept whole
        std::uint32_t flows_max = 1u << 20;  // rounded up to 4 times a power of two
        Duration idle = Duration::seconds(60);  // a flow silent for longer starts again
        std::uint64_t seed = 0;  // so that nobody outside can make flows collide
    };

    struct Counters {
        std::uint64_t flows = 0;      // begun, or begun again
        std::uint64_t forgotten = 0;  // flows not yet idle that had to make room
        std::uint64_t cut_packets = 0;
        std::uint64_t cut_bytes = 0;
    };

    static Result<FlowCutoff> create(const Options& options);

    // Writes the indices of the packets to keep to `out` (room for `count`, at most 65536), in
    // order, and returns how many they are. One thread; `now` never runs backwards.
    unsigned keep(rte_mbuf* const* packets, unsigned count, std::uint16_t* out,
                  Instant now) noexcept;

    const Counters& counters() const noexcept { return counters_; }
    std::uint64_t memory_bytes() const noexcept { return sets_.size() * sizeof(Set); }

  private:
    static constexpr unsigned kWays = 4;
    static constexpr unsigned kBurst = 64;  // flows looked up ahead of their cache misses

    struct Entry {
        std::uint64_t key;   // 0: free
        std::uint32_t bytes;
        std::uint32_t seen;  // in ticks
    };
    struct alignas(64) Set {
        std::array<Entry, kWays> ways;
    };
    static_assert(sizeof(Set) == 64);

    FlowCutoff(const Options& options, std::uint64_t sets);

    Set& set_of(std::uint64_t key) const noexcept;
    Entry& entry_of(std::uint64_t key, std::uint32_t tick) noexcept;
    bool keep_one(std::uint64_t key, bool restarts, std::uint32_t length,
                  std::uint32_t tick) noexcept;

    std::unique_ptr<Set[]> memory_;
    std::span<Set> sets_;
    std::uint32_t bytes_;
    std::uint32_t idle_ticks_;
    std::uint64_t seed_;
    Counters counters_;
};

}  // namespace sluice::capture
