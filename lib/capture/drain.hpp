#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "base/instant.hpp"
#include "capture/capture_tap.hpp"
#include "capture/chunk.hpp"
#include "dataplane/counters.hpp"
#include "pcap_writer/pcap.hpp"
#include "pcap_writer/sink.hpp"

namespace sluice::capture {

// A tap, and how far the writer has come with its chunks.
struct Source {
    explicit Source(std::unique_ptr<CaptureTap> t) : tap(std::move(t)) {}

    std::unique_ptr<CaptureTap> tap;
    std::atomic<bool> retired{false};  // nothing more will be tapped

    // Writer only.
    bool closing = false;  // `retired`, as it was before the writer looked at the chunks
    struct Waiting {
        Chunk* chunk;
        ChunkFill seen;
    };
    std::deque<Waiting> chunks;     // in the order of their records
    std::uint32_t bytes_taken = 0;  // of the first one
    std::uint32_t records_taken = 0;
    std::int64_t complete_to = 0;  // every earlier record is in `chunks`
};

// What became of the records that were taken from the taps.
struct alignas(64) DrainCounters {
    dp::Counter captured;      // in the file
    dp::Counter bytes;         // of these packets
    dp::Counter write_errors;  // lost with a failed write
    dp::Counter restamped;     // came too late to be written in order with their own time
    dp::Counter file_bytes;
};

// Moves records from the taps' chunks to the file, in the order of their time stamps. One thread;
// counters and error() for any.
class Drain {
  public:
    Drain(pcap::Sink& sink, const CaptureConfig& config);

    // What must be done before the first round.
    Result<> write_file_header();

    enum class Take : std::uint8_t {
        ordered,  // what no record that is still to come can precede
        all,      // everything that was committed
    };
    // `wall_now_ns` must have been read before. False: nothing was left waiting.
    bool round(std::span<Source* const> sources, std::int64_t wall_now_ns, Take take);
    // After the round in which nothing was left: that of a retired source will stay so.
    static bool finished(const Source& source) noexcept;

    const DrainCounters& counters() const noexcept { return counters_; }
    std::string error() const;  // the first one, or nothing
    void report(const Error& error);

  private:
    static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::min();
    static constexpr std::int64_t kForever = std::numeric_limits<std::int64_t>::max();

    void refresh(Source& source, std::int64_t wall_now_ns, Take take) const;
    std::int64_t head_stamp(Source& source);
    std::int64_t relief_stamp(const Source& source) const noexcept;
    std::int64_t stamp_at(const Source& source) const noexcept;
    void take_chunks(Source& source);
    void merge(std::span<Source* const> sources, std::int64_t horizon);
    void take_run(Source& source, std::int64_t limit);
    void add_piece(pcap::Bytes piece, std::uint32_t records);
    void write_batch();
    void write_failed(pcap::Written& written);

    pcap::Sink& sink_;
    const pcap::Resolution resolution_;
    const pcap::Linktype linktype_;
    const std::uint32_t snaplen_;
    const std::int64_t merge_window_ns_;

    std::int64_t written_ns_ = 0;  // stamp of the last record that was taken

    // What the next write will take, and the chunks that can go back to their taps after it.
    std::vector<pcap::Bytes> pieces_;
    std::uint64_t batch_bytes_ = 0;
    std::uint64_t batch_records_ = 0;
    std::vector<std::pair<CaptureTap*, Chunk*>> done_;
    bool torn_ = false;  // half a record is at the end of the file for good

    DrainCounters counters_;
    mutable std::mutex error_mutex_;
    std::string error_;
};

}  // namespace sluice::capture
