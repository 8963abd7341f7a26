#include "capture/block_writer.hpp"

#include <fcntl.h>
#include <rte_cycles.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.hpp"
#include "base/log.hpp"

namespace sluice::capture {
namespace {

constexpr std::uint32_t kDeviceAlign = 4096;
constexpr std::uint64_t kFlushCookie = ~std::uint64_t{0};

std::uint32_t aligned(std::uint32_t n) noexcept {
    return (n + kDeviceAlign - 1) / kDeviceAlign * kDeviceAlign;
}

}  // namespace

BlockWriter::BlockWriter(BlockPool& pool, std::unique_ptr<pcap::BlockIo> io, Options options)
    : pool_(pool),
      io_(std::move(io)),
      options_(std::move(options)),
      // Every file has a block in it or under way, but for those that are being opened and closed.
      waiting_(pool.count()),
      in_flight_(pool.count()),
      files_(pool.count() + 2),
      closing_(pool.count() + 2) {
    unused_.reserve(2 * pool.count() + 4);
}

BlockWriter::~BlockWriter() { abandon(); }

Result<> BlockWriter::init() {
    if (options_.codec != pcap::Codec::none) {
        SLUICE_TRY(compressor_, pcap::Compressor::create(options_.codec, options_.codec_level));
        // A block, and the part of a record that the one before ended with.
        carried_.reserve(2 * std::size_t{pool_.block_bytes()});
        compressed_.resize(compressor_->bound(carried_.capacity()));
    }
    stream_ = !options_.files;
    FileKeeper::Options keeper;
    keeper.files = std::move(options_.files);
    keeper.format = options_.format;
    keeper.block_bytes = pool_.block_bytes();
    keeper.sidecars = options_.codec == pcap::Codec::none;
    keeper.group_readable = options_.group_readable;
    keeper.preallocate = options_.preallocate;
    keeper.file_bytes = options_.file_bytes;
    SLUICE_TRY(keeper_, FileKeeper::create(std::move(keeper), 2 * pool_.count() + 4));
    for (int i = 0; i < 3; ++i) unused_.push_back(std::make_unique<File>());
    if (!stream_) return {};
    auto file = std::make_unique<File>();
    file->stream = true;
    file->path = options_.stream == "-" ? "standard output" : options_.stream;
    if (options_.stream.empty()) {  // nothing is written
        file_ = file.get();
        files_.push_back(std::move(file));
        return {};
    }
    file->fd = options_.stream == "-" ? ::dup(STDOUT_FILENO)
                                      : ::open(options_.stream.c_str(), O_WRONLY | O_CLOEXEC);
    if (file->fd < 0)
        return fail(errno, "cannot open \"{}\" for writing: {}", file->path, std::strerror(errno));
    // A write to a pipe that nobody reads must not be for ever.
    struct stat info {};
    if (::fstat(file->fd, &info) == 0 && S_ISFIFO(info.st_mode))
        ::fcntl(file->fd, F_SETFL, ::fcntl(file->fd, F_GETFL) | O_NONBLOCK);
    keeper_->set_path(file->path);
    file_ = file.get();
    files_.push_back(std::move(file));
    counters_.files.add(1);
    return {};
}

std::string BlockWriter::error() const {
    const std::lock_guard lock(mutex_);
    return error_;
}

void BlockWriter::report(std::string text) {
    log::error("capture", "{}", text);
    const std::lock_guard lock(mutex_);
    if (error_.empty()) error_ = std::move(text);
}

bool BlockWriter::poll(Instant now, std::int64_t wall_ns) noexcept {
    const std::uint64_t begin = rte_rdtsc();
    now_ = now;
    // As long as whole blocks go out, nothing waits for long.
    const bool flush_due = now - written_at_ >= options_.flush_interval;
    take_blocks();
    finish_jobs();
    bool busy = finish_writes();
    busy |= start_writes(wall_ns);
    busy |= finish_writes();
    if (flush_due) flush();
    close_done();
    if (dead_ && now >= retry_at_) {
        retry_at_ = now + options_.retry_interval;
        asked_ = true;
        if (ask_for_file_) ask_for_file_();
    }
    if (busy) counters_.busy_cycles.add(rte_rdtsc() - begin);
    return busy;
}

void BlockWriter::take_blocks() noexcept {
    while (Block* const block = pool_.next()) waiting_.push_back(block);
}

bool BlockWriter::start_writes(std::int64_t wall_ns) noexcept {
    bool busy = false;
    while (!waiting_.empty()) {
        Block* const block = waiting_.front();
        const ChunkFill fill = block->seen();
        // As soon as the header is there: slow traffic is to be seen before the block is full.
        if (block->first && fill.bytes != 0 && opened_for_ != block) {
            opened_for_ = block;
            if (!dead_ || asked_) open_file(wall_ns);
        }
        // What waits for its file has the rest of the buffer to wait in.
        if (opening_ || flushing_ || !fill.sealed) break;
        busy = true;
        if (fill.bytes == 0) {  // a spare one that was never used
            waiting_.pop_front();
            pool_.give_back(block);
            continue;
        }
        if (file_ == nullptr || file_->failed) {
            lose(block, fill);
        } else if (!start_write(block, fill)) {
            break;
        }
        waiting_.pop_front();
        flushed_ = flushed_records_ = 0;
        opened_for_ = nullptr;
    }
    return busy;
}

// Counts, and gives the block back.
void BlockWriter::lose(Block* block, ChunkFill fill) noexcept {
    counters_.disk_error.add(fill.records - flushed_records_);
    if (block->last && file_ != nullptr) end_of(*file_);
    pool_.give_back(block);
}

// Its last block is on its way, or lost.
void BlockWriter::end_of(File& file) noexcept {
    if (file.stream) return;
    file.ended = true;
    file.length = file.offset;
    file_ = nullptr;
}

// False: not now.
bool BlockWriter::start_write(Block* block, ChunkFill fill) noexcept {
    File& file = *file_;
    if (compressor_) return compress_block(block, fill);
    if (io_->room() == 0) return false;
    Write write;
    write.block = block;
    write.file = &file;
    write.offset = file.offset;
    write.used = fill.bytes;
    write.records = fill.records;
    write.flushed = flushed_;
    write.flushed_records = flushed_records_;
    write.asked = fill.bytes;
    const bool direct = io_->direct() && !file.stream;
    if (direct) {
        write.asked = aligned(fill.bytes);
        if (!has_blocks(file, file.offset + write.asked)) return false;
        std::memset(block->data + fill.bytes, 0, write.asked - fill.bytes);
    }
    // What a flush has put out already goes out once only where it cannot be overwritten.
    const std::uint32_t skip = direct ? 0 : flushed_;
    write.asked -= skip;
    io_->submit(file.fd, {block->data + skip, write.asked}, write.offset + skip,
                first_cookie_ + in_flight_.size());
    in_flight_.push_back(write);
    written_at_ = now_;
    ++file.writing;
    file.offset += fill.bytes;
    if (block->last) end_of(file);
    return true;
}

// Each frame ends where a record does, so that a file that ends early does, too.
bool BlockWriter::compress_block(Block* block, ChunkFill fill) noexcept {
    File& file = *file_;
    if (block->first) carried_.clear();
    carried_.insert(carried_.end(), block->data, block->data + block->whole);
    std::size_t bytes = 0;
    if (!carried_.empty()) {
        const auto size = compressor_->compress(carried_, compressed_);
        if (!size) {
            report(fmt::format("cannot compress for \"{}\": {}", file.path,
                               size.error().message));
            fail_file(file, EIO, now_);
            lose(block, fill);
            return true;
        }
        bytes = *size;
        io_->submit(file.fd, {compressed_.data(), bytes}, file.offset, kFlushCookie - 1);
        pcap::BlockIo::Completion done;
        io_->poll({&done, 1});
        if (done.result != static_cast<std::int64_t>(bytes)) {
            fail_file(file, done.result < 0 ? static_cast<int>(-done.result) : ENOSPC, now_);
            lose(block, fill);
            return true;
        }
    }
    carried_.assign(block->data + block->whole, block->data + fill.bytes);
    file.offset += bytes;
    file.safe = file.offset;
    counters_.written.add(fill.records);
    counters_.file_bytes.add(bytes);
    file.records += fill.records;
    if (block->last) end_of(file);
    pool_.give_back(block);
    return true;
}

bool BlockWriter::finish_writes() noexcept {
    std::array<pcap::BlockIo::Completion, 32> done;
    const unsigned n = io_->poll(done);
    for (unsigned i = 0; i < n; ++i) {
        if (done[i].cookie == kFlushCookie) {
            finish_flush(done[i].result);
            continue;
        }
        Write& write = in_flight_[static_cast<std::size_t>(done[i].cookie - first_cookie_)];
        write.done = true;
        write.result = done[i].result;
    }
    while (!in_flight_.empty() && in_flight_.front().done) {
        finish_write(in_flight_.front());
        in_flight_.pop_front();
        ++first_cookie_;
    }
    return n != 0;
}

// In the order of the file, so that what is safe grows without gaps.
void BlockWriter::finish_write(Write& w) noexcept {
    File& file = *w.file;
    --file.writing;
    if (!file.failed && w.result != static_cast<std::int64_t>(w.asked))
        fail_file(file, w.result < 0 ? static_cast<int>(-w.result) : ENOSPC, now_);
    if (file.failed) {
        counters_.disk_error.add(w.records - w.flushed_records);
    } else {
        counters_.written.add(w.records - w.flushed_records);
        counters_.file_bytes.add(w.used - w.flushed);
        file.records += w.records - w.flushed_records;
        if (w.block->whole != 0) file.safe = w.offset + w.block->whole;
        if (file.sidecar) file.sidecar->commit(w.offset + w.used);
    }
    pool_.give_back(w.block);
}

// Packets are to be seen in the file soon, also if it takes long to fill a block.
void BlockWriter::flush() noexcept {
    if (waiting_.empty() || file_ == nullptr || file_->failed || compressor_ || opening_) return;
    // What the sidecar says is there must be there without gaps.
    if (flushing_ || !in_flight_.empty()) return;
    if (io_->room() == 0) return;
    Block* const block = waiting_.front();
    const ChunkFill fill = block->seen();
    if (fill.sealed || fill.bytes <= flushed_) return;
    File& file = *file_;
    const bool direct = io_->direct() && !file.stream;
    const std::uint32_t begin = direct ? flushed_ / kDeviceAlign * kDeviceAlign : flushed_;
    const std::uint32_t end = direct ? aligned(fill.bytes) : fill.bytes;
    if (direct && !has_blocks(file, file.offset + end)) return;
    written_at_ = now_;
    flush_fill_ = fill;
    flush_asked_ = end - begin;
    flushing_ = true;
    // The block does not go out, or back, before this has ended.
    io_->submit(file.fd, {block->data + begin, flush_asked_}, file.offset + begin, kFlushCookie);
    finish_writes();
}

void BlockWriter::finish_flush(std::int64_t result) noexcept {
    flushing_ = false;
    File& file = *file_;
    if (result != static_cast<std::int64_t>(flush_asked_)) {
        // Where it goes out once more, the whole block will tell.
        if (!io_->direct() || file.stream)
            fail_file(file, result < 0 ? static_cast<int>(-result) : ENOSPC, now_);
        return;
    }
    const ChunkFill fill = flush_fill_;
    if (file.sidecar) file.sidecar->commit(file.offset + fill.bytes);
    // What is committed by the recorder ends with a whole record, and now it is in the file.
    file.safe = file.offset + fill.bytes;
    file.records += fill.records - flushed_records_;
    counters_.written.add(fill.records - flushed_records_);
    counters_.file_bytes.add(fill.bytes - flushed_);
    flushed_ = fill.bytes;
    flushed_records_ = fill.records;
}

// ---- what the keeper does ----

void BlockWriter::open_file(std::int64_t wall_ns) noexcept {
    if (stream_) return;  // open from the start
    // The one before may have the same name, and a sidecar.
    close_done();
    asked_ = false;
    flushed_ = flushed_records_ = 0;
    if (unused_.empty()) unused_.push_back(std::make_unique<File>());
    opening_ = std::move(unused_.back());
    unused_.pop_back();
    opening_->wall_ns = wall_ns;
    opening_->direct = io_->direct();
    ask(*opening_, File::Job::open);
}

void BlockWriter::file_opened(File* file) noexcept {
    if (!file->error.empty()) {
        report(std::move(file->error));
        file_ = nullptr;
        dead_ = true;
        retry_at_ = now_ + options_.retry_interval;
        if (options_.stop_on_error) over_.store(true, std::memory_order_release);
        opening_ = nullptr;
        return;
    }
    dead_ = false;
    file_ = file;
    files_.push_back(std::move(opening_));
    counters_.files.add(1);
}

// False: not yet.
bool BlockWriter::has_blocks(File& file, std::uint64_t end) noexcept {
    if (file.job == File::Job::none && keeper_->wants_more(file, end)) {
        file.wanted = end;
        ask(file, File::Job::allocate);
    }
    return !keeper_->preallocates() || file.failed || end <= file.allocated;
}

void BlockWriter::ask(File& file, File::Job job) noexcept {
    ++jobs_;
    keeper_->ask(file, job);
    finish_jobs();
}

void BlockWriter::finish_jobs() noexcept {
    while (File* const file = keeper_->done()) {
        --jobs_;
        const File::Job job = file->job;
        file->job = File::Job::none;
        switch (job) {
            case File::Job::none: break;
            case File::Job::open: file_opened(file); break;
            case File::Job::allocate: file->allocated = file->reached; break;
            case File::Job::close:
                if (!file->error.empty()) report(std::move(file->error));
                *file = File();
                unused_.push_back(std::move(closing_.front()));
                closing_.pop_front();
                break;
        }
    }
}

void BlockWriter::fail_file(File& file, int code, Instant now) noexcept {
    if (file.failed) return;
    file.failed = true;
    report(fmt::format("cannot write to \"{}\": {}", file.path, std::strerror(code)));
    if (file.stream || options_.stop_on_error) {
        over_.store(true, std::memory_order_release);
        return;
    }
    dead_ = true;
    retry_at_ = now + options_.retry_interval;
}

void BlockWriter::close_done() noexcept {
    while (!files_.empty() && !files_.front()->stream && files_.front()->writing == 0 &&
           files_.front()->ended && files_.front()->job == File::Job::none) {
        close_file(std::move(files_.front()));
        files_.pop_front();
    }
}

// A file ends with its last whole record.
void BlockWriter::close_file(std::unique_ptr<File> file) noexcept {
    if (file->fd < 0) return;
    if (file->failed || !file->ended) file->length = file->safe;
    File& job = *file;
    closing_.push_back(std::move(file));
    ask(job, File::Job::close);
}

void BlockWriter::abandon() noexcept {
    if (!keeper_) return;
    stop_keeper();
    finish_jobs();
    while (!in_flight_.empty() || flushing_) finish_writes();
    take_blocks();
    for (; !waiting_.empty(); waiting_.pop_front()) {
        Block* const block = waiting_.front();
        counters_.disk_error.add(block->seen().records - flushed_records_);
        flushed_records_ = 0;
        pool_.give_back(block);
    }
    for (; !files_.empty(); files_.pop_front()) close_file(std::move(files_.front()));
    file_ = nullptr;
}

}  // namespace sluice::capture
