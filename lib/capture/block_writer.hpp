#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/instant.hpp"
#include "base/result.hpp"
#include "capture/block.hpp"
#include "capture/fifo.hpp"
#include "capture/file_keeper.hpp"
#include "dataplane/counters.hpp"
#include "pcap_writer/block_io.hpp"
#include "pcap_writer/compress.hpp"
#include "pcap_writer/file_set.hpp"

namespace sluice::capture {

// What became of the records that were packed. written + disk_error = packed, once all is drained.
struct alignas(64) WriterCounters {
    dp::Counter written;      // records in files
    dp::Counter disk_error;   // records lost because a file could not be written
    dp::Counter file_bytes;   // in all files
    dp::Counter files;        // begun
    dp::Counter busy_cycles;  // TSC, of polls that found something to do
};

// Puts the blocks of one recorder into files. Belongs to one thread or lcore; with a keeper in a
// thread, poll() does not wait for the disk unless its BlockIo does.
class BlockWriter {
  public:
    struct Options {
        std::optional<pcap::FileSet> files;  // or a stream:
        std::string stream;                  // "-", or a FIFO
        pcap::FileFormat format = pcap::FileFormat::pcap;
        bool group_readable = false;
        std::uint64_t preallocate = 0;  // bytes at a time; 0: files grow as they are written
        std::uint64_t file_bytes = 0;   // at which the recorder begins another; 0: not known
        pcap::Codec codec = pcap::Codec::none;
        int codec_level = 0;
        Duration flush_interval = Duration::milliseconds(100);
        // After a failure: this long until the next file is tried.
        Duration retry_interval = Duration::seconds(1);
        // Instead of trying again: the capture is over.
        bool stop_on_error = false;
    };
    BlockWriter(BlockPool& pool, std::unique_ptr<pcap::BlockIo> io, Options options);
    ~BlockWriter();
    BlockWriter(const BlockWriter&) = delete;
    BlockWriter& operator=(const BlockWriter&) = delete;

    // Opens the stream, makes the compressor: before the first poll.
    Result<> init();
    // Control thread, while nobody polls: files are opened, extended and closed in a thread, as a
    // writer on a polling lcore needs it.
    Result<> start_keeper() { return keeper_->start_thread(); }
    void stop_keeper() noexcept { keeper_->stop_thread(); }
    // Asks the recorder for a new file, for the present one is lost. Any thread.
    void on_failure(std::function<void()> f) { ask_for_file_ = std::move(f); }

    // True if there was something to do.
    bool poll(Instant now, std::int64_t wall_ns) noexcept;
    // All blocks that were handed over, sealed and empty ones included, are written and back, and
    // every file that has its last block is closed.
    bool drained() const noexcept {
        return waiting_.empty() && in_flight_.empty() && !flushing_ && !files_open();
    }
    // Files are being opened, extended or closed in the keeper's thread.
    bool waits_for_keeper() const noexcept { return jobs_ != 0; }
    // It is to come to an end: readers that read nothing are not waited for. Any thread.
    void hurry() noexcept { io_->hurry(); }
    // Gives up: closes what is open after the last whole record.
    void abandon() noexcept;

    const WriterCounters& counters() const noexcept { return counters_; }
    const char* io_name() const noexcept { return io_->name(); }
    bool io_blocks() const noexcept { return io_->blocks() || options_.codec != pcap::Codec::none; }
    // Any thread.
    std::string error() const;         // the first one, or nothing
    std::string file() const { return keeper_->path(); }  // the present or last one
    bool failed_for_good() const noexcept { return over_.load(std::memory_order_acquire); }

  private:
    using File = CaptureFile;
    struct Write {
        Block* block = nullptr;
        File* file = nullptr;
        std::uint64_t offset = 0;
        std::uint32_t used = 0;
        std::uint32_t asked = 0;  // bytes, as aligned for the device
        bool done = false;
        std::int64_t result = 0;
        std::uint32_t records = 0;
        std::uint32_t flushed = 0;  // of them: in the file before
        std::uint32_t flushed_records = 0;
    };

    bool files_open() const noexcept {
        return opening_ != nullptr || !closing_.empty() ||
               !(files_.empty() || (files_.size() == 1 && stream_));
    }
    void take_blocks() noexcept;
    bool start_writes(std::int64_t wall_ns) noexcept;
    bool start_write(Block* block, ChunkFill fill) noexcept;
    bool compress_block(Block* block, ChunkFill fill) noexcept;
    bool finish_writes() noexcept;
    void finish_write(Write& write) noexcept;
    void flush() noexcept;
    void finish_flush(std::int64_t result) noexcept;
    void end_of(File& file) noexcept;
    void open_file(std::int64_t wall_ns) noexcept;
    void file_opened(File* file) noexcept;
    bool has_blocks(File& file, std::uint64_t end) noexcept;
    void ask(File& file, File::Job job) noexcept;
    void finish_jobs() noexcept;
    void fail_file(File& file, int code, Instant now) noexcept;
    void close_done() noexcept;
    void close_file(std::unique_ptr<File> file) noexcept;
    void lose(Block* block, ChunkFill fill) noexcept;
    void report(std::string text);

    BlockPool& pool_;
    std::unique_ptr<pcap::BlockIo> io_;
    Options options_;
    std::unique_ptr<FileKeeper> keeper_;
    std::unique_ptr<pcap::Compressor> compressor_;
    std::vector<std::byte> compressed_;
    std::vector<std::byte> carried_;  // the beginning of a record, and the block it goes on in
    std::function<void()> ask_for_file_;

    Fifo<Block*> waiting_;
    Fifo<Write> in_flight_;           // in the order of the file
    std::uint64_t first_cookie_ = 0;  // of in_flight_.front()
    Fifo<std::unique_ptr<File>> files_;
    Fifo<std::unique_ptr<File>> closing_;  // the keeper has them, in this order
    std::unique_ptr<File> opening_;        // as well
    std::vector<std::unique_ptr<File>> unused_;
    unsigned jobs_ = 0;
    bool stream_ = false;
    File* file_ = nullptr;          // that blocks go to; nullptr: they are lost, or none began yet
    bool dead_ = false;             // between a failure and the next file
    bool asked_ = false;            // for that file
    Instant retry_at_{};
    Block* opened_for_ = nullptr;   // the first waiting block, once its file has been asked for
    Instant written_at_{};          // a block or a flush, by the clock of poll()
    bool flushing_ = false;
    ChunkFill flush_fill_{};        // what a flush that is on its way covers
    std::uint32_t flush_asked_ = 0;
    std::uint32_t flushed_ = 0;     // bytes of the first waiting block
    std::uint32_t flushed_records_ = 0;
    Instant now_{};

    WriterCounters counters_;
    std::atomic<bool> over_{false};
    mutable std::mutex mutex_;
    std::string error_;
};

}  // namespace sluice::capture
