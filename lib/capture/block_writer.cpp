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

// "a.pcap", 2: "a_2.pcap".
std::string numbered(const std::string& path, unsigned n) {
    const std::size_t slash = path.rfind('/');
    const std::size_t name = slash == std::string::npos ? 0 : slash + 1;
    const std::size_t dot = path.find('.', name + 1);
    const std::size_t end = dot == std::string::npos ? path.size() : dot;
    return fmt::format("{}_{}{}", path.substr(0, end), n, path.substr(end));
}

}  // namespace

BlockWriter::BlockWriter(BlockPool& pool, std::unique_ptr<pcap::BlockIo> io, Options options)
    : pool_(pool), io_(std::move(io)), options_(std::move(options)) {}

BlockWriter::~BlockWriter() { abandon(); }

Result<> BlockWriter::init() {
    if (options_.codec != pcap::Codec::none) {
        SLUICE_TRY(compressor_, pcap::Compressor::create(options_.codec, options_.codec_level));
        compressed_.resize(compressor_->bound(pool_.block_bytes()));
    }
    if (options_.files) return {};
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
    path_ = file->path;
    file_ = file.get();
    files_.push_back(std::move(file));
    counters_.files.add(1);
    return {};
}

std::string BlockWriter::error() const {
    const std::lock_guard lock(mutex_);
    return error_;
}

std::string BlockWriter::file() const {
    const std::lock_guard lock(mutex_);
    return path_;
}

void BlockWriter::report(std::string text) {
    log::error("capture", "{}", text);
    const std::lock_guard lock(mutex_);
    if (error_.empty()) error_ = std::move(text);
}

bool BlockWriter::poll(Instant now, std::int64_t wall_ns) noexcept {
    const std::uint64_t begin = rte_rdtsc();
    now_ = now;
    take_blocks();
    bool busy = finish_writes();
    busy |= start_writes(now, wall_ns);
    busy |= finish_writes();
    busy |= flush(now);
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

bool BlockWriter::start_writes(Instant now, std::int64_t wall_ns) noexcept {
    bool busy = false;
    while (!waiting_.empty()) {
        Block* const block = waiting_.front();
        const ChunkFill fill = block->seen();
        // As soon as the header is there: slow traffic is to be seen before the block is full.
        if (block->first && fill.bytes != 0 && opened_for_ != block) {
            opened_for_ = block;
            if (!dead_ || asked_) open_file(now, wall_ns);
        }
        if (!fill.sealed) break;
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
    if (block->last && file_ != nullptr && !file_->stream) {
        file_->ended = true;
        file_ = nullptr;
    }
    pool_.give_back(block);
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
        std::memset(block->data + fill.bytes, 0, write.asked - fill.bytes);
        allocate(file, file.offset + write.asked);
    }
    // What a flush has put out already goes out once only where it cannot be overwritten.
    const std::uint32_t skip = direct ? 0 : flushed_;
    write.asked -= skip;
    io_->submit(file.fd, {block->data + skip, write.asked}, write.offset + skip,
                first_cookie_ + in_flight_.size());
    in_flight_.push_back(write);
    ++file.writing;
    file.offset += fill.bytes;
    if (block->last && !file.stream) {
        file.ended = true;
        file.length = file.offset;
        file_ = nullptr;
    }
    return true;
}

bool BlockWriter::compress_block(Block* block, ChunkFill fill) noexcept {
    File& file = *file_;
    const auto size = compressor_->compress({block->data, fill.bytes}, compressed_);
    if (!size) {
        report(fmt::format("cannot compress for \"{}\": {}", file.path, size.error().message));
        fail_file(file, EIO, now_);
        lose(block, fill);
        return true;
    }
    io_->submit(file.fd, {compressed_.data(), *size}, file.offset, kFlushCookie - 1);
    pcap::BlockIo::Completion done;
    io_->poll({&done, 1});
    if (done.result != static_cast<std::int64_t>(*size)) {
        fail_file(file, done.result < 0 ? static_cast<int>(-done.result) : ENOSPC, now_);
        lose(block, fill);
        return true;
    }
    file.offset += *size;
    file.safe = file.offset;
    counters_.written.add(fill.records);
    counters_.file_bytes.add(*size);
    file.records += fill.records;
    if (block->last && !file.stream) {
        file.ended = true;
        file.length = file.offset;
        file_ = nullptr;
    }
    pool_.give_back(block);
    return true;
}

bool BlockWriter::finish_writes() noexcept {
    std::array<pcap::BlockIo::Completion, 32> done;
    const unsigned n = io_->poll(done);
    for (unsigned i = 0; i < n; ++i) {
        if (done[i].cookie == kFlushCookie) continue;
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
bool BlockWriter::flush(Instant now) noexcept {
    if (waiting_.empty() || file_ == nullptr || file_->failed || compressor_) return false;
    // What the sidecar says is there must be there without gaps.
    if (!in_flight_.empty()) return false;
    if (now - flushed_at_ < options_.flush_interval || io_->room() == 0) return false;
    Block* const block = waiting_.front();
    const ChunkFill fill = block->seen();
    if (fill.sealed || fill.bytes <= flushed_) return false;
    flushed_at_ = now;
    File& file = *file_;
    const bool direct = io_->direct() && !file.stream;
    const std::uint32_t begin = direct ? flushed_ / kDeviceAlign * kDeviceAlign : flushed_;
    const std::uint32_t end = direct ? aligned(fill.bytes) : fill.bytes;
    // By pwrite: this is for slow traffic, and the block may not be sealed before it is over.
    if (direct) {
        allocate(file, file.offset + end);
        const ssize_t n = ::pwrite(file.fd, block->data + begin, end - begin,
                                   static_cast<off_t>(file.offset + begin));
        if (n != static_cast<ssize_t>(end - begin)) return false;  // the whole block will tell
    } else {
        io_->submit(file.fd, {block->data + begin, end - begin}, file.offset + begin, kFlushCookie);
        pcap::BlockIo::Completion done;
        io_->poll({&done, 1});
        if (done.result != static_cast<std::int64_t>(end - begin)) {
            fail_file(file, done.result < 0 ? static_cast<int>(-done.result) : ENOSPC, now);
            return true;
        }
    }
    if (file.sidecar) file.sidecar->commit(file.offset + fill.bytes);
    // What is committed by the recorder ends with a whole record, and now it is in the file.
    file.safe = file.offset + fill.bytes;
    file.records += fill.records - flushed_records_;
    counters_.written.add(fill.records - flushed_records_);
    counters_.file_bytes.add(fill.bytes - flushed_);
    flushed_ = fill.bytes;
    flushed_records_ = fill.records;
    return true;
}

void BlockWriter::open_file(Instant now, std::int64_t wall_ns) noexcept {
    if (!options_.files) return;  // a stream is open from the start
    // The one before may have the same name, and a sidecar.
    close_done();
    asked_ = false;
    flushed_ = flushed_records_ = 0;
    auto file = opened(wall_ns);
    if (!file) {
        report(file.error().message);
        file_ = nullptr;
        dead_ = true;
        retry_at_ = now + options_.retry_interval;
        if (options_.stop_on_error) over_.store(true, std::memory_order_release);
        return;
    }
    dead_ = false;
    file_ = file->get();
    files_.push_back(std::move(*file));
    counters_.files.add(1);
    const std::lock_guard lock(mutex_);
    path_ = file_->path;
}

Result<std::unique_ptr<BlockWriter::File>> BlockWriter::opened(std::int64_t wall_ns) {
    SLUICE_TRY(pcap::FileSet::Next next, options_.files->next(wall_ns, options_.file_bytes));
    const std::string name = next.path;
    // After a failure, a capture of one file would begin by emptying what it had saved.
    for (unsigned n = 2; kept_.contains(next.path); ++n) next.path = numbered(name, n);
    if (next.path != name) options_.files->forget(name);
    auto file = prepared(next);
    // It does not exist, or is not ours: it is not to be recycled later.
    if (!file) options_.files->forget(next.path);
    return file;
}

Result<std::unique_ptr<BlockWriter::File>> BlockWriter::prepared(
    const pcap::FileSet::Next& next) {
    auto file = std::make_unique<File>();
    file->path = next.path;
    // Before the old file gets the new name: what it holds must never pass for the new capture.
    // Compressed files are no records, and grow as they are written.
    if (!compressor_) {
        SLUICE_TRY(auto sidecar, pcap::Sidecar::create(next.path, {options_.format,
                                                                   pool_.block_bytes(),
                                                                   kDeviceAlign}));
        file->sidecar = std::move(sidecar);
    }
    const auto applied = pcap::FileSet::apply(next);
    if (!applied) {
        if (file->sidecar) static_cast<void>(file->sidecar->remove());
        return fail(applied.error());
    }
    const bool recycled = *applied;
    // Captures show what others sent, so they are their owner's unless the group is to read them.
    const mode_t mode = options_.group_readable ? 0640 : 0600;
    const int flags = O_WRONLY | O_CREAT | O_CLOEXEC | (recycled ? 0 : O_TRUNC);
    file->fd = ::open(next.path.c_str(), flags | (io_->direct() ? O_DIRECT : 0), mode);
    if (file->fd < 0 && errno == EINVAL && io_->direct()) {
        // Not on every file system (tmpfs before 6.6): slower, but it works.
        file->fd = ::open(next.path.c_str(), flags, mode);
        if (file->fd >= 0)
            log::warn("capture", "\"{}\": this file system has no O_DIRECT; writing through the "
                      "page cache", next.path);
    }
    if (file->fd < 0) {
        const int code = errno;
        if (file->sidecar) static_cast<void>(file->sidecar->remove());
        return fail(code, "cannot open \"{}\" for writing: {}", next.path, std::strerror(code));
    }
    if (recycled) {
        struct stat info {};
        if (::fstat(file->fd, &info) == 0)
            file->allocated = static_cast<std::uint64_t>(info.st_size);
        ::fchmod(file->fd, mode);
    }
    return file;
}

// Blocks that exist are written much faster than blocks that a file grows by.
void BlockWriter::allocate(File& file, std::uint64_t end) noexcept {
    if (options_.preallocate == 0 || end <= file.allocated || file.failed) return;
    std::uint64_t to = file.allocated + options_.preallocate;
    if (options_.file_bytes != 0) to = std::min(to, options_.file_bytes + kDeviceAlign);
    to = std::max(to, end);
    if (::fallocate(file.fd, 0, static_cast<off_t>(file.allocated),
                    static_cast<off_t>(to - file.allocated)) == 0) {
        file.allocated = to;
        return;
    }
    if (errno != ENOSPC && errno != EFBIG)
        log::warn("capture", "\"{}\": cannot preallocate ({}); the file grows as it is written",
                  file.path, std::strerror(errno));
    // Without it, the writes themselves say when nothing more fits.
    options_.preallocate = errno == ENOSPC || errno == EFBIG ? options_.preallocate : 0;
    file.allocated = end;
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
           files_.front()->ended) {
        close_file(*files_.front());
        files_.pop_front();
    }
}

// A file ends with its last whole record.
void BlockWriter::close_file(File& file) noexcept {
    if (file.fd < 0) return;
    const bool cut = file.failed || !file.ended;
    const std::uint64_t length = cut ? file.safe : file.length;
    bool good = true;
    if (!file.stream)
        good = ::ftruncate(file.fd, static_cast<off_t>(length)) == 0;
    if (!good)
        report(fmt::format("cannot cut \"{}\" to its {} bytes: {}", file.path, length,
                           std::strerror(errno)));
    if (::close(file.fd) != 0 && errno != EINTR)
        report(fmt::format("error when closing \"{}\": {}", file.path, std::strerror(errno)));
    file.fd = -1;
    // One that could not be cut needs it for --recover.
    if (file.sidecar && good) static_cast<void>(file.sidecar->remove());
    if (!options_.files) return;
    if (file.failed && file.records == 0) {
        // Nothing came of it: on a full disk there would soon be thousands of these.
        ::unlink(file.path.c_str());
        options_.files->forget(file.path);
    } else {
        options_.files->closed(file.path, length);
        if (file.failed) kept_.insert(file.path);
        // Files that followed each other faster than the disk took them were all open at once.
        for (const std::string& path : options_.files->trim()) ::unlink(path.c_str());
    }
}

void BlockWriter::abandon() noexcept {
    while (!in_flight_.empty()) finish_writes();
    take_blocks();
    for (Block* const block : waiting_) {
        counters_.disk_error.add(block->seen().records - flushed_records_);
        flushed_records_ = 0;
        pool_.give_back(block);
    }
    waiting_.clear();
    for (const auto& file : files_) close_file(*file);
    files_.clear();
    file_ = nullptr;
}

}  // namespace sluice::capture
