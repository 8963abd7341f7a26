#pragma once

#include <rte_mbuf.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/instant.hpp"
#include "capture/block.hpp"
#include "capture/stamper.hpp"
#include "pcap_writer/pcap.hpp"
#include "pcap_writer/pcapng.hpp"

namespace sluice::capture {

enum class Format : std::uint8_t { pcap_ns, pcap_us, pcapng };

// When the next file begins, or when the capture is over; 0: not by this.
struct FileLimits {
    std::uint64_t bytes = 0;
    std::uint64_t packets = 0;
    Duration duration{};
};

// What stands in the last block of a pcapng file, if the format has a place for it.
struct PackerTotals {
    std::uint64_t received = 0;  // since the file began
    std::uint64_t accepted = 0;  // by the filter
    std::uint64_t lost = 0;      // for want of a block
    std::uint64_t missed = 0;    // by the port
    std::string comment;         // other losses, and how good the stamps are
};

// Makes the bytes of capture files out of packets, block by block, and decides where one file ends
// and the next begins. Belongs to one lcore; rotate() and asked-for values are for any thread.
class Packer {
  public:
    struct Options {
        Format format = Format::pcap_ns;
        pcap::Linktype linktype = pcap::Linktype::ethernet;
        std::uint32_t snaplen = 262144;  // as the files' headers say it
        // Nothing but records, in one endless file: what a merge reads.
        bool bare = false;
        pcap::NgSection section;
        struct Interface {
            std::string name, description, filter;
        };
        std::vector<Interface> interfaces;  // pcapng's
        FileLimits next_file;            // -b
        FileLimits stop;                 // -a, -c
        std::uint32_t stop_files = 0;
    };
    Packer(BlockPool& pool, const Options& options);
    Packer(const Packer&) = delete;
    Packer& operator=(const Packer&) = delete;

    struct Outcome {
        unsigned packed = 0;
        unsigned lost = 0;     // no block was free
        unsigned refused = 0;  // the capture is over
        std::uint64_t bytes = 0;
    };
    // The first stamp of a batch, divided once.
    struct Clockwork {
        explicit Clockwork(std::int64_t ns) noexcept
            : wall_ns(ns),
              seconds(static_cast<std::uint32_t>(ns / 1'000'000'000)),
              nanoseconds(static_cast<std::uint32_t>(ns % 1'000'000'000)) {}
        std::int64_t wall_ns;
        std::uint32_t seconds;
        std::uint32_t nanoseconds;
    };
    struct Batch {
        rte_mbuf* const* packets = nullptr;
        const std::uint16_t* which = nullptr;  // nullptr: the first `count`
        unsigned count = 0;
        Stamper::Run wall;       // stamps by index in `packets`, time of day
        const std::int64_t* stamps = nullptr;  // instead, if the port gives them; by index, too
        std::uint32_t snaplen = 0;
        std::uint32_t direction = 1;  // pcapng's: 1 in, 2 out
        std::uint32_t interface_id = 0;
    };
    // lcore. The stamps may be moved forward, so that they do not run backwards.
    Outcome pack(Batch& batch) noexcept;
    // lcore, now and then when nothing comes: begins the first file, rotates when asked.
    void idle(std::int64_t wall_ns) noexcept;
    // lcore: writes the trailer and seals; false: no block is free for that yet, come again.
    bool finish(std::int64_t wall_ns) noexcept;

    // Any thread: the present file is to end.
    void rotate() noexcept { rotate_asked_.fetch_add(1, std::memory_order_relaxed); }
    // Any thread: a limit of `stop` was reached.
    bool over() const noexcept { return over_.load(std::memory_order_acquire); }
    // Control thread, before the lcore starts: asked when a file ends; must not block.
    void on_totals(std::function<void(unsigned interface_id, PackerTotals&)> f) {
        totals_ = std::move(f);
    }
    // lcore: whether a record, however long, and a new file would find blocks.
    bool room() noexcept { return finished_ || want_spares(2); }

  private:
    template <Format F, bool All>
    unsigned pack_plain(const Batch& batch, unsigned i, unsigned end, std::byte*& place,
                        const Clockwork& clock) noexcept;
    template <Format F, bool All>
    unsigned pack_run(const Batch& batch, unsigned begin, unsigned end, Outcome& out) noexcept;
    template <Format F>
    unsigned pack_some(const Batch& batch, unsigned begin, unsigned end, Outcome& out) noexcept;
    template <Format F>
    bool append(const rte_mbuf* m, std::uint32_t kept, const Clockwork& clock,
                std::int64_t after, const Batch& batch) noexcept;
    template <Format F>
    void write_record(std::byte* at, const rte_mbuf* m, std::uint32_t kept, const Clockwork& clock,
                      std::int64_t after, const Batch& batch) noexcept;
    bool file_has_records() const noexcept { return file_base_ != 0 || records_ != 0; }
    std::uint32_t record_bytes(std::uint32_t kept) const noexcept;

    bool want_spares(unsigned count) noexcept;
    bool begin_file(std::int64_t wall_ns) noexcept;
    bool end_file(std::int64_t wall_ns) noexcept;
    bool switch_file(std::int64_t wall_ns) noexcept;
    bool due_by_time_or_request(std::int64_t wall_ns) noexcept;
    void make_trailer(std::int64_t wall_ns);
    void open_block(bool first) noexcept;
    void seal(bool last) noexcept;
    void put(const std::byte* bytes, std::size_t size) noexcept;
    void commit() noexcept;
    void set_limit_in_block() noexcept;
    std::uint64_t file_position() const noexcept {
        const auto in_block = block_ == nullptr ? 0 : at_ - block_->data;
        return file_base_ + static_cast<std::uint64_t>(in_block);
    }

    BlockPool& pool_;
    const Options options_;
    std::vector<std::byte> header_;   // of every file
    std::vector<std::byte> scratch_;  // for a record that goes on in the next block
    std::function<void(unsigned, PackerTotals&)> totals_;
    // What it takes to end a file, with room from the start: the lcore allocates nothing.
    std::vector<std::byte> trailer_;
    PackerTotals file_totals_;
    pcap::NgStats file_stats_;

    Block* block_ = nullptr;
    std::byte* at_ = nullptr;         // in the block
    std::byte* fast_end_ = nullptr;   // up to here a record needs no thought
    std::uint32_t records_ = 0;       // that end in the block
    std::uint32_t whole_ = 0;
    std::array<Block*, 2> spares_{};
    unsigned spare_count_ = 0;

    std::uint64_t file_base_ = 0;     // of the block in the file
    std::uint64_t file_records_ = 0;
    std::int64_t file_begun_ns_ = 0;
    std::uint32_t files_ = 0;
    std::uint64_t total_records_ = 0;
    std::int64_t last_ns_ = 0;        // stamps do not run backwards
    std::uint64_t lost_since_ = 0;    // packets, since the last record
    std::uint32_t rotate_done_ = 0;
    bool finished_ = false;
    std::atomic<std::uint32_t> rotate_asked_{0};
    std::atomic<bool> over_{false};
};

}  // namespace sluice::capture
