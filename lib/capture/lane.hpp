#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.hpp"
#include "capture/block.hpp"
#include "capture/block_writer.hpp"
#include "capture/filter.hpp"
#include "capture/flow_cutoff.hpp"
#include "capture/packer.hpp"
#include "capture/port_clock.hpp"
#include "capture/stamper.hpp"
#include "capture/wall_clock.hpp"
#include "capture/writer_work.hpp"
#include "dataplane/burst.hpp"
#include "dataplane/counters.hpp"

namespace sluice::capture {

// none: everything but the disk, to see what the cores can do.
enum class IoKind : std::uint8_t { automatic, uring, posix, none };

// One stream of packets, in the order of one lcore, to one file after the other.
struct LaneConfig {
    std::string port;        // as the operator calls it
    unsigned queue = 0;
    std::uint32_t direction = 1;  // pcapng's, of what feeds a merge: 1 in, 2 out
    bool tapped = false;     // by a LaneTap: packets have the time of their iteration
    std::string file;        // a path or pattern (pcap::FileSet), "-", or a FIFO
    Format format = Format::pcap_ns;
    pcap::Linktype linktype = pcap::Linktype::ethernet;
    std::uint32_t snaplen = 262144;
    std::string filter;      // pcap-filter(7); empty: everything
    std::uint32_t sample = 1;  // every so many-th packet
    std::uint64_t flow_cutoff = 0;  // bytes of each flow; 0: all
    // The port's own, where it gives some; otherwise ours.
    bool port_stamps = false;
    std::uint64_t seed = 0;         // so that nobody outside can make flows collide
    pcap::RotationLimits rotation;      // -b
    FileLimits stop;                    // -a, -c
    std::uint32_t stop_files = 0;
    std::uint64_t disk_limit_bytes = 0;
    unsigned disk_limit_percent = 0;
    bool group_readable = false;
    pcap::Codec codec = pcap::Codec::none;
    IoKind io = IoKind::automatic;
    // Files are extended by this much at a time: about a microsecond of CPU time a MiB, on
    // whatever core it happens.
    std::uint64_t preallocate = std::uint64_t{64} << 20;
    std::uint64_t buffer_bytes = std::uint64_t{128} << 20;  // -B
    std::uint32_t block_bytes = 4u << 20;
    bool stop_on_error = false;
    std::vector<unsigned> io_worker_cpus;  // for the kernel's io-wq; empty: anywhere
    std::string where;       // "file:line" for errors
};

// The configuration as it will be used, or what is wrong with it.
Result<LaneConfig> checked(LaneConfig config);

// received = filtered + sampled_out + cut_off + no_chunk + packed, and, drained,
// packed = written + disk_error.
struct alignas(64) LaneCounters {
    dp::Counter received;
    dp::Counter filtered;     // not let through by the filter: not a loss
    dp::Counter sampled_out;
    dp::Counter cut_off;
    dp::Counter no_chunk;     // lost: no block was free
    dp::Counter packed;
    dp::Counter bytes;        // of the packed ones, as cut by snaplen
    dp::Counter busy_cycles;  // TSC, of bursts that were not empty
    dp::Counter stamp_error_ns;      // bound of the last burst
    dp::Counter stamp_error_max_ns;  // and of all
};

struct LaneStats {
    std::string port, file, error, io;
    unsigned queue = 0;
    std::uint64_t received = 0, filtered = 0, sampled_out = 0, cut_off = 0, no_chunk = 0;
    std::uint64_t packed = 0, written = 0, disk_error = 0, pending = 0;
    std::uint64_t bytes = 0, file_bytes = 0, files = 0;
    std::uint64_t busy_cycles = 0, writer_cycles = 0;
    std::uint64_t stamp_error_ns = 0, stamp_error_max_ns = 0;
    std::uint64_t restamped = 0;  // by a merge: too late for their place in the file
    unsigned buffer_percent = 0;  // in use
    bool over = false;
    std::string filter;
    std::uint32_t snaplen = 0;
};

class Lane final : public WriterWork {
  public:
    // The clock is shared by all lanes and outlives them.
    static Result<std::unique_ptr<Lane>> create(const LaneConfig& config, const WallClock& clock);
    // One that leaves its records in its blocks, for a Merge.
    static Result<std::unique_ptr<Lane>> create_feed(const LaneConfig& config,
                                                     const WallClock& clock);
    ~Lane() override;
    Lane(const Lane&) = delete;
    Lane& operator=(const Lane&) = delete;

    // ---- the lcore of the packets ----
    // They stay the caller's. `full`: there may be more where these came from.
    void record(Instant now, rte_mbuf* const* packets, unsigned count, bool full,
                std::uint32_t direction) noexcept;
    void nothing(Instant now) noexcept;
    // Instead, for a lane that is not told of polls in vain: whatever is recorded from here on is
    // not earlier than `now`.
    void reached(Instant now) noexcept;

    // ---- the writer's lcore or thread ----
    bool write(Instant now) noexcept override;
    bool wants_thread() const noexcept override { return writer_->io_blocks(); }
    Result<> prepare_for_lcore() override { return writer_->start_keeper(); }

    // ---- control thread ----
    // Filter and snaplen of the packets from now on; the lcore changes over between two bursts.
    Result<> change(std::optional<std::string> filter, std::optional<std::uint32_t> snaplen);
    void rotate() noexcept { packer_.rotate(); }
    // A limit was reached, or writing failed for good.
    bool over() const noexcept {
        return packer_.over() || (writer_ && writer_->failed_for_good());
    }
    // Whose stamps are used; before the lcore starts. Outlives the lane.
    void set_port_clock(const PortClock* clock) noexcept { port_clock_ = clock; }
    // What the port lost before we saw it, for the file's statistics.
    void set_missed(std::uint64_t packets) noexcept {
        missed_.store(packets, std::memory_order_relaxed);
    }
    // Nobody calls record() or write() any more: everything is written and closed. The first
    // error, if any.
    Result<> close();
    LaneStats stats() const;
    const LaneConfig& config() const noexcept { return config_; }

    // ---- for Merge ----
    BlockPool& pool() noexcept { return *pool_; }
    // Every record that is still to come has this stamp or a later one.
    std::int64_t complete_to() const noexcept {
        return complete_to_.load(std::memory_order_acquire);
    }
    // The lcore has stopped: seals what there is. False: later.
    bool finish_feed() noexcept;
    // What is a number in stats(). Any thread.
    LaneStats counts() const noexcept;
    static void totals(const LaneStats& of, std::uint64_t missed, PackerTotals& out);
    std::uint64_t missed() const noexcept { return missed_.load(std::memory_order_relaxed); }
    static Packer::Options packer_options(const LaneConfig& config);
    struct Output {
        std::unique_ptr<BlockPool> pool;
        std::unique_ptr<BlockWriter> writer;
    };
    static Result<Output> make_output(const LaneConfig& config);

  private:
    // What may change while it runs.
    struct Settings {
        const Filter* filter = nullptr;  // one of filters_
        std::uint32_t snaplen = 0;
    };

    Lane(const LaneConfig& config, const WallClock& clock, Output output,
         const Packer::Options& packer);
    Result<> init();
    bool stamps_of(rte_mbuf* const* packets, unsigned count, std::int64_t* out) const noexcept;
    unsigned select(rte_mbuf* const* packets, unsigned count, Instant now,
                    const Settings& settings, std::uint16_t* which) noexcept;

    const LaneConfig config_;
    const WallClock& clock_;
    std::unique_ptr<BlockPool> pool_;
    Packer packer_;
    std::unique_ptr<BlockWriter> writer_;  // none if it feeds a merge
    std::atomic<std::int64_t> complete_to_{0};

    std::atomic<const Settings*> settings_{nullptr};
    // All since the start: they are few and small, and who knows what the lcore still looks at.
    std::vector<std::unique_ptr<const Settings>> kept_;
    std::vector<std::unique_ptr<const Filter>> filters_;

    Stamper stamper_;
    std::optional<FlowCutoff> cutoff_;
    std::uint32_t sample_at_ = 0;
    unsigned idle_polls_ = 0;
    LaneCounters counters_;
    std::atomic<std::uint64_t> missed_{0};
    const PortClock* port_clock_ = nullptr;

    bool closed_ = false;
};

}  // namespace sluice::capture
